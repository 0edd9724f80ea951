"""Own records beside the rows of another results folder."""

from io import StringIO

import pandas as pd
import pytest

import omrl_bench.report.tables.terminal
from omrl_bench.errors import InputError
from omrl_bench.report.build import build
from omrl_bench.report.reading.frames import collect
from omrl_bench.report.reading.results import Note
from omrl_bench.report.tables.terminal import print_scores

NOTE = "\N{DOUBLE DAGGER} reference rows, from records of another folder: task-blind, oracle, focal"


@pytest.fixture
def own(store):
    """Records of one method in one family."""
    for seed in range(3):
        store.put("point-goal", "mine", seed, (90, 60))
    return store


@pytest.fixture
def reference(store_class, tmp_path):
    """Records of three methods in two families."""
    return store_class(tmp_path / "reference").fill()


def methods_of(results):
    return sorted(results.frame["method"].unique())


def test_reference_rows_stand_beside_own_ones_in_the_families_of_those(own, reference):
    (alone,) = collect(own.path)
    assert (methods_of(alone), alone.reference, alone.notes) == (["mine"], frozenset(), ())
    (results,) = collect(own.path, reference=reference.path)
    assert methods_of(results) == ["focal", "mine", "oracle", "task-blind"]
    assert results.frame["family"].unique().tolist() == ["point-goal"]
    assert results.reference == {"focal", "oracle", "task-blind"}
    assert results.notes == (Note(NOTE),)
    assert {results.folders[method] for method in results.reference} == {reference.path}
    assert results.folders["mine"] == own.path
    assert results.privileges == {"oracle": ("descriptors",)}
    (there,) = collect(reference.path)
    columns = ["method", "seed", "condition", "task", "draw", "score"]
    expected = there.frame.query("family == 'point-goal'")[columns].sort_values(columns)
    found = results.frame.query("method != 'mine'")[columns].sort_values(columns)
    assert found.astype({"method": str}).to_numpy().tolist() == expected.astype({"method": str}).to_numpy().tolist()


def test_a_row_never_mixes_two_folders(own, reference):
    """Own focal has one seed, the reference three, also of a family in which own focal has none."""
    own.put("point-goal", "focal", 0, (10, 10))
    own.put("cheetah-vel", "mine", 0)
    (results,) = collect(own.path, reference=reference.path)
    focal = results.frame.query("method == 'focal'")
    assert set(zip(focal["family"], focal["seed"], strict=True)) == {("point-goal", 0)}
    assert focal.query("condition == 'high'")["score"].mean() < 40
    assert results.reference == {"oracle", "task-blind"}


def test_sets_that_are_not_ones_own_are_not_shown(own, reference):
    reference.put("point-goal", "focal", 0, suite="ood")
    reference.put("point-goal", "focal", 0, backbone="brac")
    assert [(each.suite, each.backbone) for each in collect(own.path, reference=reference.path)] == [("shift", "iql")]
    assert collect(own.path, "ood", reference=reference.path) == []
    assert collect(own.path / "nowhere", reference=reference.path) == []


def test_without_complete_records_of_ones_own_there_is_no_table(store, reference):
    store.put("point-goal", "mine", 0, error="ValueError: loss is NaN")
    (results,) = collect(store.path, reference=reference.path)
    assert results.frame.empty
    assert "point-goal / mine: seed 0 failed: ValueError: loss is NaN" in map(str, results.notes)
    with pytest.raises(InputError, match="no complete records"):
        build(store.path, store.path / "report", reference=reference.path)


def test_own_records_decide_which_version_is_shown(own, reference):
    """Though there are more of the reference, and newer ones."""
    for method in ("focal", "oracle", "task-blind"):
        for seed in range(3):
            reference.put("point-goal", method, seed, hashes={"suite": "old"})
    (results,) = collect(own.path, reference=reference.path)
    assert methods_of(results) == ["mine"]
    assert results.reference == frozenset()
    assert (
        "point-goal: 9 of 12 records left out: they are of another version of the suite than the rest "
        "(of focal, oracle, task-blind)"
    ) in map(str, results.notes)


def test_own_records_decide_which_tasks_are_shown(own, reference):
    for seed in range(3):
        reference.put("point-goal", "focal", seed, tasks=5)
        reference.put("point-goal", "oracle", seed, tasks=5)
    (results,) = collect(own.path, reference=reference.path)
    assert methods_of(results) == ["mine", "task-blind"]
    note = "point-goal / focal: seed 0 left out: its cube has other tasks than most of its family"
    assert note in map(str, results.notes)


def test_damaged_files_of_the_reference_are_told_from_ones_own(own, reference):
    path = next(reference.path.glob("shift/quick/point-goal/*/focal/*/seed-1.json"))
    path.write_text("no record")
    reference.put("point-goal", "oracle", 2).cell.cube_path(reference.path).unlink()
    (reference.path / "seed-0.json").write_text("elsewhere: not for us to say")
    lines = []
    (results,) = collect(own.path, warn=lines.append, reference=reference.path)
    assert [line.partition(" left out")[0] for line in lines] == [
        "reference shift/quick/point-goal/mixed/focal/iql/seed-1.json",
        "reference shift/quick/point-goal/mixed/oracle/iql/seed-2.npz",
    ]
    assert len(results.records) == 3 + 7


def test_tables_and_figures_have_the_reference_rows(own, reference, tmp_path):
    build(own.path, tmp_path / "out", reference=reference.path)
    folder = tmp_path / "out" / "shift-quick"
    text = (folder / "score.md").read_text()
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:] == [
        "task-blind ‡",
        "oracle †‡",
        "focal ‡",
        "mine",
    ]
    assert f"- {NOTE}\n" in text
    assert set(pd.read_csv(StringIO((folder / "score.csv").read_text()))["method"]) >= {"mine", "focal"}
    build(own.path, tmp_path / "alone")
    assert "reference" not in (tmp_path / "alone" / "shift-quick" / "score.md").read_text()


def test_the_terminal_shows_reference_rows(own, reference, monkeypatch):
    shown = StringIO()
    console = omrl_bench.report.tables.terminal.Console
    monkeypatch.setattr(
        omrl_bench.report.tables.terminal, "Console", lambda: console(file=shown, width=200, force_terminal=False)
    )
    print_scores(collect(own.path, reference=reference.path))
    text = " ".join(shown.getvalue().split())
    assert NOTE in text
    assert [name for name in ("mine", "focal", "task-blind", "oracle †") if name not in text] == []
    assert "cheetah-vel" not in text
