"""Families, small datasets and artificial episodes for the tests of the data layer."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.data.behaviour import make_actor
from omrl_bench.data.build import Levels, collect
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import write_dataset
from omrl_bench.envs import families
from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import CONTEXT_ONLY, QUALITIES


def _has_policies(family):
    try:
        make_actor(family)
    except InputError as error:
        assert "has no behaviour policies yet" in str(error)
        return False
    return True


ACTING = [family.name for family in FAMILIES.values() if _has_policies(family)]


@pytest.fixture(scope="session", params=ACTING)
def acting(request):
    """Every family that has behaviour policies."""
    return get_family(request.param)


@pytest.fixture(scope="session", params=FAMILIES)
def every(request):
    """Every family."""
    return get_family(request.param)


@pytest.fixture(scope="session")
def qualities_of():
    """The datasets that a family can have now: all, or only the one that needs no behaviour policies."""
    return lambda family: (*QUALITIES, *CONTEXT_ONLY) if family.name in ACTING else ("random",)


@pytest.fixture(scope="session")
def point():
    return get_family("point-goal")


@pytest.fixture(scope="session")
def cheetah():
    return get_family("cheetah-vel")


@pytest.fixture
def some_tasks(monkeypatch):
    """Make families have a few of their tasks only: some_tasks(table, ids)."""

    def keep(table, ids):
        some = replace(
            table,
            splits=tuple(table.splits[i] for i in ids),
            descriptors=table.descriptors[ids],
            since=table.since[ids],
        )
        monkeypatch.setattr(families, "_read_task_table", lambda family: some)

    return keep


@pytest.fixture(scope="session")
def canonical(point):
    """All datasets of point-goal in full, as `data build` collects them."""
    levels = read_manifest(point).levels()
    return {q: collect(point, q, threads=1, levels=levels).episodes for q in (*QUALITIES, *CONTEXT_ONLY)}


@pytest.fixture(scope="session")
def small(point):
    """Two episodes of every task."""
    return collect(point, "mixed", threads=1, episodes=2).episodes


@pytest.fixture(scope="session")
def levels():
    """Made-up mean returns: half-way is an equal mixture of behaviours 4 and 5."""
    return Levels(0.0, tuple(float(k) for k in range(10)))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty Minari root folder."""
    folder = tmp_path / "datasets"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    return folder


@pytest.fixture(scope="session")
def small_root(point, small, tmp_path_factory):
    """A root folder with `small` as point-goal's mixed dataset; not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "datasets"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "MINARI_DATASETS_PATH", str(folder))
        write_dataset(point, "mixed", small, (-60.0, -4.0))
    return folder


@pytest.fixture
def written(small_root, root):
    """The folder of a fresh copy of `small`, in a root of its own."""
    shutil.copytree(small_root, root)
    return root / "omrl" / "point-goal" / "mixed-v1"


@pytest.fixture(scope="session")
def make_ragged():
    """Artificial episodes of different numbers and lengths; every row tells where it is.

    ``rewards`` number the rows, ``observations[:, 0]`` is the task and ``observations[:, 1]`` the episode.
    About half of the episodes terminate.
    """

    def make(family, seed=0, episodes=(1, 4), length=(1, 6)):
        rng = np.random.default_rng(seed)
        table = family.tasks()
        tasks = np.repeat(table.ids(), rng.integers(*episodes, len(table), endpoint=True))
        lengths = rng.integers(*length, len(tasks), endpoint=True)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        count = int(offsets[-1])
        episode = np.repeat(np.arange(len(tasks)), lengths)
        observations = np.zeros((count, family.observation_size), np.float32)
        observations[:, 0], observations[:, 1] = tasks[episode], episode
        terminated = np.zeros(count, bool)
        terminated[offsets[1:] - 1] = rng.random(len(tasks)) < 0.5
        limit = family.action_limit
        return Episodes(
            observations=observations,
            actions=rng.uniform(-limit, limit, (count, family.action_size)).astype(np.float32),
            rewards=np.arange(count, dtype=np.float32),
            next_observations=observations + 0.5,
            terminated=terminated,
            offsets=offsets.astype(np.int64),
            tasks=tasks.astype(np.int64),
            behaviours=rng.integers(0, 10, len(tasks)),
            seeds=rng.integers(0, 2**32, len(tasks)),
        )

    return make
