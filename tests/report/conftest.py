"""Synthetic records for the tests of the report."""

from pathlib import Path

import numpy as np
import pytest

from omrl_bench.report.reading.provenance import version_today
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.records import Cell, Hashes, Record, write_record

QUALITIES = ("high", "low")


def make_record(
    family, method, seed, *, error=None, privileges=(), dataset_status="canonical", hashes=None, costs=None, **cell
):
    """A record of the families' version today; failed if there is an error."""
    names = {"suite": "shift", "preset": "quick", "dataset": "mixed", "backbone": "iql"} | cell
    return Record(
        cell=Cell(family=family, method=method, seed=seed, **names),
        status="failed" if error else "complete",
        error=error,
        hashes=Hashes(**{name: name[0] for name in Hashes.model_fields} | (hashes or {})),
        family_version=version_today(family) or "v1",
        dataset_status=dataset_status,
        privileges=privileges,
        configuration={},
        trained_together=(seed,),
        created="2026-01-01T00:00:00Z",
        **(costs or {}),
    )


def make_cube(levels, seed, tasks=4, draws=2):
    """A cube with scores around the level of each condition; random returns -300, the expert -50."""
    task_effect = np.random.default_rng(99).normal(0, 10, (1, tasks, 1))
    noise = np.random.default_rng(seed).normal(0, 3, (len(levels), tasks, draws))
    scores = np.array(levels, dtype=float)[:, None, None] + task_effect + noise
    return Cube(
        conditions=QUALITIES[: len(levels)],
        tasks=np.arange(40, 40 + tasks),
        returns=(-300 + 2.5 * scores).astype(np.float32),
        random=np.full(tasks, -300.0),
        expert=np.full(tasks, -50.0),
    )


class Store:
    """A results folder that records are put into."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, family, method, seed, levels=(80, 50), tasks=4, draws=2, **fields):
        record = make_record(family, method, seed, **fields)
        cube = make_cube(levels, seed, tasks, draws) if record.status == "complete" else None
        write_record(self.path, record, cube)
        return record

    def fill(self, families=("point-goal", "cheetah-vel"), seeds=3, **fields):
        for family in families:
            for seed in range(seeds):
                self.put(family, "task-blind", seed, (40, 40), **fields)
                self.put(family, "focal", seed, (80, 50), **fields)
                self.put(family, "oracle", seed, (95, 95), privileges=("descriptors",), **fields)
        return self


@pytest.fixture
def store(tmp_path):
    """An empty results folder."""
    return Store(tmp_path / "results")


@pytest.fixture(scope="session")
def store_class():
    """The class of results folders, for those that fill one for several tests."""
    return Store


@pytest.fixture
def boards(store):
    """Five methods that differ in one family and not in the other, and a collapsed seed."""
    for index in range(5):
        for seed in range(5):
            fall = 60 * (index == 4 and seed == 1)
            store.put("point-goal", f"m{index}", seed, (90 - 5 * index - fall, 60 - 10 * index))
            jitter = float(np.random.default_rng([index, seed]).normal(0, 3))
            store.put("cheetah-vel", f"m{index}", seed, (80 + jitter, 50 + jitter))
    for family, seed in ((family, seed) for family in ("point-goal", "cheetah-vel") for seed in range(5)):
        store.put(family, "oracle", seed, (95, 95))
    return store


@pytest.fixture
def filled(store):
    """HS-OMRL's table 1 and 3 in one environment: FOCAL is best with bad contexts, against the paper."""
    levels = {"hs-hard": (94, 60), "hs-scl": (94, 60), "focal": (90, 80), "pearl": (91, 20)}
    for method, of_method in levels.items():
        for seed in range(3):
            store.put("point-goal", method, seed, of_method, preset="standard")
    return store
