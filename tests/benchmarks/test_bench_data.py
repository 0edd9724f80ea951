import tracemalloc

import minari
import numpy as np
import pytest

from omrl_bench.data.manifest import build_dataset
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.store import dataset_id, read_episodes
from omrl_bench.envs.families import get_family


@pytest.mark.slow
@pytest.mark.parametrize("name", ["point-goal", pytest.param("ant-mass", marks=pytest.mark.slow)])
def test_load_against_iterating_minari(compare, name, tmp_path, monkeypatch):
    """Loading a MetaDataset, hashes checked, against iterating the same file's episodes with Minari."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    family = get_family(name)
    build_dataset(family, "mixed", threads=2)

    def load():
        MetaDataset.load(name, "mixed")

    def iterate():
        for _ in minari.load_dataset(dataset_id(family, "mixed")).iterate_episodes():
            pass

    compare(load, iterate, at_least=10.0)


@pytest.mark.slow
def test_building_is_mostly_physics(compare, tmp_path, monkeypatch):
    """A dataset collected, hashed and written, against the simulator steps that it takes."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    family = get_family("cheetah-vel")
    build_dataset(family, "mixed", threads=1)
    episodes = read_episodes(family, "mixed")[0]
    lanes = len(episodes.tasks)
    actions = episodes.actions.reshape(lanes, family.horizon, -1).astype(float)
    law = family.make_law()
    physics = law.batched_physics(lanes)
    start = np.stack([law.initial_state(np.random.default_rng(seed)) for seed in episodes.seeds.tolist()])

    def simulate():
        states = start
        for step in range(family.horizon):
            states = physics.advance(states, actions[:, step])

    compare(lambda: build_dataset(family, "mixed", threads=1), simulate, at_least=0.7)


def test_memory_of_loading(tmp_path, monkeypatch):
    """Loading takes at most twice the memory of the dataset's arrays."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    family = get_family("point-goal")
    build_dataset(family, "mixed", threads=1)
    size = sum(array.nbytes for array in read_episodes(family, "mixed")[0].arrays().values())

    tracemalloc.start()
    try:
        MetaDataset.load("point-goal", "mixed")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak <= 2 * size
