import json
import os
from itertools import product

import numpy as np
import pandas as pd
import pytest

from omrl_bench.report.build import build
from omrl_bench.report.reading.frames import collect
from omrl_bench.report.reading.results import COLUMNS
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.records import Cell, Hashes, Record, write_record

QUALITIES = ("high", "medium", "low", "random")
METHODS, SEEDS, TASKS, DRAWS = 20, 10, 20, 10
FAMILIES = ("point-goal", "cheetah-vel", "ant-dir", "walker-params", "hopper-params")


def write_records(folder, families, methods, seeds, tasks, draws):
    """Write complete records with random cubes; nothing in them is of a suite that exists."""
    rng = np.random.default_rng(0)
    names = {"suite": "shift", "dataset": "mixed", "backbone": "iql", "preset": "standard"}
    for family, method, seed in product(families, range(methods), range(seeds)):
        record = Record(
            cell=Cell(family=family, method=f"method-{method}", seed=seed, **names),
            family_version="v1",
            status="complete",
            hashes=Hashes(suite="s", family="f", dataset="d", contexts="c", method="m"),
            dataset_status="canonical",
            privileges=(),
            configuration={f"parameter-{number}": number / 7 for number in range(30)},
            trained_together=tuple(range(seeds)),
            created="2026-01-01T00:00:00+00:00",
        )
        cube = Cube(
            conditions=QUALITIES,
            tasks=np.arange(40, 40 + tasks),
            returns=rng.normal(-100, 20, (len(QUALITIES), tasks, draws)),
            random=np.full(tasks, -200.0),
            expert=np.full(tasks, -50.0),
        )
        write_record(folder, record, cube)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of 200 records with cubes as large as those of suite `shift`."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    write_records(tmp_path, ("point-goal",), METHODS, SEEDS, TASKS, DRAWS)
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


@pytest.mark.slow
def test_report_is_linear_in_its_records(benchmark, tmp_path, monkeypatch, capsys):
    """Of 20,000 records, twice the methods and twice the seeds, in at most 4.5 times the processor time of 5,000."""
    if benchmark.disabled:
        pytest.skip("takes minutes")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    seconds = []
    for name, methods, seeds in (("small", 25, 40), ("large", 50, 80)):
        write_records(tmp_path / name, FAMILIES, methods, seeds, tasks=4, draws=2)
        before = sum(os.times()[:4])
        build(tmp_path / name, tmp_path / f"report-{name}")
        seconds.append(sum(os.times()[:4]) - before)
    benchmark.extra_info["ratio"] = ratio = seconds[1] / seconds[0]
    benchmark.pedantic(lambda: None)
    with capsys.disabled():
        print(f"\n  {benchmark.name}: {seconds[0]:.1f} s, {seconds[1]:.1f} s: {ratio:.2f} (at most 4.5)")
    assert ratio <= 4.5
