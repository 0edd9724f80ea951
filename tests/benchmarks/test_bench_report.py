import json

import numpy as np
import pandas as pd
import pytest

from omrl_bench.report.reading.frames import collect
from omrl_bench.report.reading.results import COLUMNS
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.records import Cell, Hashes, Record, write_record

QUALITIES = ("high", "medium", "low", "random")
METHODS, SEEDS, TASKS, DRAWS = 20, 10, 20, 10


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of 200 records with cubes as large as those of suite `shift`."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    rng = np.random.default_rng(0)
    names = {"suite": "shift", "family": "point-goal", "dataset": "mixed", "backbone": "iql", "preset": "standard"}
    for method, seed in np.ndindex(METHODS, SEEDS):
        record = Record(
            cell=Cell(method=f"method-{method}", seed=seed, **names),
            family_version="v1",
            status="complete",
            hashes=Hashes(suite="s", family="f", dataset="d", contexts="c", method="m"),
            dataset_status="canonical",
            privileges=(),
            configuration={f"parameter-{number}": number / 7 for number in range(30)},
            trained_together=tuple(range(SEEDS)),
            created="2026-01-01T00:00:00+00:00",
        )
        cube = Cube(
            conditions=QUALITIES,
            tasks=np.arange(40, 40 + TASKS),
            returns=rng.normal(-100, 20, (len(QUALITIES), TASKS, DRAWS)),
            random=np.full(TASKS, -200.0),
            expert=np.full(TASKS, -50.0),
        )
        write_record(tmp_path, record, cube)
    return tmp_path


def test_collecting_records_against_a_frame_of_each(compare, results):
    """Records validated, hashes of records and cubes checked, against NumPy's and pandas' own way, unchecked."""

    def collected():
        (found,) = collect(results)
        assert found.notes == () and len(found.frame) == METHODS * SEEDS * len(QUALITIES) * TASKS * DRAWS

    def one_by_one():
        frames = []
        for path in sorted(results.rglob("seed-*.json")):
            cell = json.loads(path.read_text())["cell"]
            with np.load(path.with_suffix(".npz")) as file:
                cube = dict(file)
            condition, task, draw = np.meshgrid(cube["conditions"], cube["tasks"], np.arange(DRAWS), indexing="ij")
            returns, random, expert = cube["returns"], cube["random"][:, None], cube["expert"][:, None]
            columns = {"condition": condition, "task": task, "draw": draw, "return": returns}
            columns["score"] = 100 * (returns - random) / (expert - random)
            columns["range"] = np.broadcast_to(expert - random, returns.shape)
            frames.append(pd.DataFrame(cell | {name: values.ravel() for name, values in columns.items()}))
        assert len(pd.concat(frames, ignore_index=True)[list(COLUMNS)])

    compare(collected, one_by_one, at_least=1.5)


def test_memory_of_a_frame(results):
    """Names are stored once: a row takes little more than its six numbers."""
    (found,) = collect(results)
    assert found.frame.memory_usage(deep=True).sum() <= 58 * len(found.frame)
