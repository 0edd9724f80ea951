"""Every command that shows records reads each of them once."""

from collections import Counter

import pytest

from omrl_bench.cli.run import _report
from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.build import build
from omrl_bench.report.papers.pages import compare_with, write
from omrl_bench.report.reading.frames import collect, load
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.report.tables.terminal import print_scores
from omrl_bench.runner import records
from omrl_bench.runner.plan import select


@pytest.fixture
def read(monkeypatch):
    """How often each record and each cube is read."""
    found = Counter()
    for name in ("read_record", "read_cube"):
        original = getattr(records, name)

        def counting(path, *args, original=original):
            found[path] += 1
            return original(path, *args)

        for module in ("omrl_bench.runner.records", "omrl_bench.report.reading.frames"):
            monkeypatch.setattr(f"{module}.{name}", counting, raising=False)
    return found


@pytest.fixture
def filled(store):
    """Complete records and a failed one of the suites that a paper needs, and of another."""
    for suite in ("shift", "shift-matrix"):
        store.fill(("point-goal", "ant-dir"), seeds=2, suite=suite, preset="standard")
    measured = {"representation": {"high": {"separation": 0.5}, "low": {"separation": 0.4}}}
    for seed in range(2):
        store.put("point-sparse", "focal", seed, suite="shift", preset="standard", costs=measured)
    store.put("point-goal", "csro", 0, error="boom", suite="shift", preset="standard")
    return store


def check(read, results, suites):
    """Every record of these suites was read once, and every cube; no record of another one was."""
    expected = {path for suite in suites for path in (results / suite).rglob("seed-*")}
    assert set(read) == expected
    assert set(read.values()) == {1}


def test_tables(filled, read, tmp_path):
    load(filled.path)
    check(read, filled.path, ("shift", "shift-matrix"))
    read.clear()
    print_scores(collect(filled.path, "shift", "standard"))
    check(read, filled.path, ("shift",))


@pytest.fixture
def undrawn(monkeypatch):
    """Without figures, which take long and read nothing."""
    monkeypatch.setattr("omrl_bench.report.build.figures_of", lambda *args: {})


def test_the_end_of_a_run(filled, read, store_class, tmp_path, undrawn):
    """The printed table and the files are of one reading, of reference rows too."""
    suite = load_suite("shift")
    _report(filled.path, select(suite, "standard"), None)
    check(read, filled.path, ("shift",))
    assert (filled.path / "report" / "shift-standard" / "score.md").is_file()
    read.clear()
    own = store_class(tmp_path / "own")
    own.put("point-goal", "mine", 0, suite="shift", preset="standard")
    _report(own.path, select(suite, "standard"), filled.path)
    assert set(read.values()) == {1}
    assert {path.parts[-3] for path in read} == {"mine", "focal", "oracle", "task-blind", "csro"}


@pytest.mark.parametrize(
    "command",
    [("report",), ("report", "--site"), ("compare", "focal", "task-blind"), ("paper", "hs-omrl")],
    ids=" ".join,
)
def test_commands(filled, read, invoke, tmp_path, undrawn, command):
    options = ("--suite", "shift") if command[0] != "paper" else ("--out", tmp_path / "papers")
    outcome = invoke(*command, "--results", filled.path, *options)
    assert outcome.code == 0, outcome
    check(read, filled.path, ("shift",))


def test_report(filled, read, tmp_path, undrawn):
    build(filled.path, tmp_path / "out", "shift")
    check(read, filled.path, ("shift",))


def test_leaderboard(filled, read):
    board = leaderboard(filled.path)
    check(read, filled.path, ("shift", "shift-matrix"))
    (failed,) = [run for run in board.runs if run.method == "csro" and run.family == "point-goal"]
    assert (failed.status, failed.reasons) == ("missing", ("seed 0 failed: boom", "no results"))


@pytest.mark.parametrize(("paper", "suites"), [("focalpp", ("shift", "shift-matrix")), ("hs-omrl", ("shift",))])
def test_paper(filled, read, tmp_path, paper, suites):
    """Scores, measures of the representation and curves come of one reading."""
    comparison = compare_with(paper, filled.path, "standard")
    write(comparison, tmp_path)
    check(read, filled.path, suites)
    assert any(sample.is_measure for sample in comparison.found.values()) == (paper == "focalpp")
