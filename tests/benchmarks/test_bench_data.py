import minari
import pytest

from omrl_bench.data.manifest import build_dataset
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.store import dataset_id
from omrl_bench.envs.families import get_family


@pytest.mark.parametrize("name", ["point-goal", pytest.param("cheetah-vel", marks=pytest.mark.slow)])
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

    compare(load, iterate, at_least=5.0)
