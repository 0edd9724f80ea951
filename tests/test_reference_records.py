"""The committed records: those of today's code are not stale, those of version 0 are whole and say which they are."""

from collections import Counter
from pathlib import Path

import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.plan import inspect_cells, select
from omrl_bench.runner.records import iterate_records

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
BOARDS = sorted({tuple(path.relative_to(RESULTS).parts[:2]) for path in RESULTS.glob("*/*/*/*/*/*/seed-*.json")})


@pytest.mark.parametrize(("suite", "preset"), BOARDS)
def test_no_reference_record_is_stale_or_damaged(suite, preset, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))  # as in a clone that has built no data
    cells = inspect_cells(select(load_suite(suite), preset), RESULTS)
    states = Counter(each.state for each in cells)
    wrong = [(each.cell.family, each.cell.method, each.reason) for each in cells if each.state in ("stale", "failed")]
    assert not wrong, wrong[:3]
    there = sum(1 for _ in (RESULTS / suite / preset).rglob("seed-*.json"))
    assert states["complete"] == there > 0


def test_the_records_of_version_0_are_whole_and_stand_apart():
    folder = ROOT / "results-version-0"
    records = list(iterate_records(folder))  # raises for one that is damaged
    for record in records:
        read_cube(record.cell.cube_path(folder), record.cube)
    assert len(records) == sum(1 for _ in folder.rglob("seed-*.json")) == 1000
    assert {record.family_version for record in records} == {"v0"}
    assert "v0" not in {record.family_version for record in iterate_records(RESULTS)}
