"""The committed records are what the code of today would make: none of them is stale."""

from collections import Counter
from pathlib import Path

import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.plan import inspect_cells, select

RESULTS = Path(__file__).parents[1] / "results"
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
