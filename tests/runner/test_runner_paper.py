"""omrl-bench paper --run: a real run of what a paper's table needs and the folder lacks."""

import csv

import pytest

PAPER = """
name = "mine"
title = "A paper with one table"
authors = "A. Author"
venue = "Nowhere"
numbers = "Means."
differs = ["Everything."]

[environments.Point]
family = "point-goal"

[[conditions]]
split = "test"
name = "bad context"
suite = "shift"
dataset = "mixed"
condition = "low"

[algorithms.Nothing]
method = "random"

[algorithms.Logged]
method = "behaviour"

[[tables]]
label = "Table 1"
caption = "One number each."
rows = ["algorithm"]
columns = ["env"]
"""

NUMBERS = """paper,table,env,split,condition,algorithm,mean,std
mine,Table 1,Point,test,bad context,Nothing,-60.0,1.0
mine,Table 1,Point,test,bad context,Logged,-20.0,1.0
"""


@pytest.fixture
def mine(monkeypatch, tmp_path, tiny):
    """A paper of our own, whose suite is the small one under the name of `shift`."""
    from omrl_bench.protocols import suite
    from omrl_bench.report.papers import mapping as papers
    from omrl_bench.report.papers import pages as paper_tables

    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "mine.toml").write_text(PAPER)
    (folder / "published.csv").write_text(NUMBERS)
    path = str(tiny(('name = "tiny"', 'name = "shift"')))
    original = suite.load_suite
    for module in (suite, papers, paper_tables):
        monkeypatch.setattr(module, "load_suite", lambda name: original(path))
    monkeypatch.setattr(papers, "_folder", lambda: folder)


@pytest.mark.slow
def test_run_makes_what_is_missing(cli, inline, mine, tmp_path):
    outcome = cli("paper", "mine", "--preset", "quick", "--run", "--results", tmp_path / "r")
    assert outcome.code == 0, outcome
    assert "4 cells, 4 to run" in outcome.out
    assert "Of 1 published orderings" in outcome.out and "1 can be checked in our records" in outcome.out
    again = cli("paper", "mine", "--preset", "quick", "--run", "--results", tmp_path / "r")
    assert again.code == 0 and "4 cells, 0 to run" in again.out
    pages = tmp_path / "r" / "report" / "papers"
    rows = list(csv.DictReader((pages / "mine.csv").read_text().splitlines()))
    assert [(row["our_method"], row["n_seeds"], row["n_tasks"], row["n_draws"]) for row in rows] == [
        ("random", "2", "100", "2"),
        ("behaviour", "2", "100", "2"),
    ]
    text = (pages / "mine.md").read_text()
    for row in rows:
        assert f"{float(row['ours']):.1f} [{float(row['ours_low']):.1f}, {float(row['ours_high']):.1f}]" in text
