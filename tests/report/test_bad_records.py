"""Results folders with files that are not as they should be: a clear line each, and the rest is still reported."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.build import build
from omrl_bench.report.reading.frames import collect, load
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.runner.plan import select
from omrl_bench.runner.records import write_record
from omrl_bench.runner.states import expected_hashes
from omrl_bench.stats.panels import panels

from .conftest import make_cube, make_record


def unreadable(folder):
    """What is said of files that cannot be used."""
    lines = []
    collect(folder, warn=lines.append)
    return lines


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit(path):
    """Better numbers by hand."""
    change(path, metrics={"high": {"score": 100.0, "mean_return": 0.0}})


def rename(path):
    """A method whose files would lie outside of the results folder."""
    change(path, cell=json.loads(path.read_text())["cell"] | {"method": "../../../../../up"})


def to_other_seed(path):
    """A copy of seed 0 that poses as seed 1."""
    path.write_bytes(path.with_name("seed-0.json").read_bytes())


def to_no_file(path):
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


FOLDER = "shift/quick/ant-dir/mixed/focal/iql"
DAMAGES = [
    (truncate, "it is not a record: truncated, or something else"),
    (lambda path: path.write_bytes(b""), "it is not a record: truncated, or something else"),
    (lambda path: path.write_text("[" * 100_000), "it is not a record: truncated, or something else"),
    (lambda path: change(path, schema_version=2), "it is of schema 2, not 1: another omrl-bench wrote it"),
    (lambda path: change(path, status="good"), "it is not a record of schema 1: status: Input should be 'complete' or"),
    (edit, "it was changed after it was written: its content hash disagrees"),
    (rename, "it is not a record of schema 1: cell.method: Value error, a name that cannot be a folder's"),
    (to_other_seed, f"it is the record of {FOLDER}/seed-0.json: a copy"),
    (to_no_file, "it cannot be read: No such file or directory"),
]
NAMES = ["truncated", "empty", "deep", "schema", "value", "edited", "names", "copied", "gone"]


@pytest.fixture
def damaged(store):
    """A results folder with one record that a function has damaged: damaged(function)."""

    def make(damage):
        store.fill(families=("ant-dir",), seeds=3)
        damage(store.path / FOLDER / "seed-1.json")
        return store.path

    return make


@pytest.mark.parametrize(("damage", "reason"), DAMAGES, ids=NAMES)
def test_a_bad_record_costs_itself_only(damaged, damage, reason):
    folder = damaged(damage)
    (line,) = unreadable(folder)
    assert line.startswith(f"{FOLDER}/seed-1.json left out: {reason}")
    (results,) = collect(folder)
    assert tuple(map(str, results.notes)) == (line, "ant-dir / focal: 2 of 3 seeds (without 1)")
    assert set(results.frame.query("method == 'focal'")["seed"]) == {0, 2}
    assert set(results.frame.query("method == 'oracle'")["seed"]) == {0, 1, 2}


def test_the_report_is_made_of_the_rest_and_says_what_is_not_in_it(invoke, damaged, tmp_path):
    folder = damaged(edit)
    truncate(folder / FOLDER.replace("focal", "oracle") / "seed-0.npz")
    outcome = invoke("report", "--results", folder, "--out", tmp_path / "out")
    assert outcome.code == 0
    text = (tmp_path / "out" / "shift-quick" / "score.md").read_text()
    assert "focal/iql/seed-1.json left out: it was changed after it was written" in text
    assert "ant-dir / oracle: seed 0 left out: its cube is missing or damaged" in text
    assert str(tmp_path) not in text  # the same records make the same bytes, wherever they lie
    table = pd.read_csv(tmp_path / "out" / "shift-quick" / "score.csv").query("condition == 'high'")
    assert table.set_index("method")["n_seeds"].to_dict() == {"focal": 2, "oracle": 2, "task-blind": 3}


def test_a_copied_folder_is_not_counted_twice(store):
    store.fill(families=("ant-dir",), seeds=2)
    before, _ = load(store.path)
    shutil.copytree(store.path / FOLDER, store.path / FOLDER.replace("focal", "focal-copy"))
    shutil.copytree(store.path / "shift", store.path / "backup" / "shift")
    frame, notes = load(store.path)
    pd.testing.assert_frame_equal(frame, before)
    lines = unreadable(store.path)
    assert notes == lines[-2:] + lines[:-2]  # first what lies in a set's place
    for folder, method, seed in (
        ("backup/shift", "oracle", 1),
        ("backup/shift", "focal", 0),
        ("shift", "focal-copy", 1),
    ):
        original = method.removesuffix("-copy")
        assert (
            f"{folder}/quick/ant-dir/mixed/{method}/iql/seed-{seed}.json left out: it is the record of "
            f"shift/quick/ant-dir/mixed/{original}/iql/seed-{seed}.json: a copy"
        ) in lines
    assert len(lines) == 2 + 8


def test_bad_files_of_one_set_are_no_matter_of_another(store):
    store.put("ant-dir", "focal", 0)
    store.put("ant-dir", "focal", 0, suite="ood")
    store.put("ant-dir", "focal", 0, backbone="brac")
    truncate(store.put("ant-dir", "focal", 1).cell.record_path(store.path))
    truncate(store.put("ant-dir", "focal", 1, suite="limited").cell.record_path(store.path))
    (store.path / "seed-7.json").write_text("")
    noted = [len(results.notes) for results in collect(store.path)]
    assert noted == [0, 0, 1]  # ood; shift with brac and iql
    lines = unreadable(store.path)
    assert [line.split("/")[0] for line in lines] == [
        "limited",
        "seed-7.json left out: it is not a record: truncated, or something else",
        "shift",
    ]
    assert sorted(load(store.path)[1]) == lines
    assert load(store.path, suite="shift")[1] == [lines[2], lines[1]]
    assert load(store.path, suite="limited")[1] == lines[:2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("place", [FOLDER, f"{FOLDER}/seed-1.json"])
def test_without_permission(damaged, place):
    folder = damaged(lambda path: None)
    (folder / place).chmod(0)
    try:
        (line,) = unreadable(folder)
        assert line == f"{place} left out: it cannot be read: Permission denied"
        assert line in load(folder)[1] and len(load(folder)[0])
    finally:
        (folder / place).chmod(0o700)


def test_hostile_texts_of_records_are_one_printable_line(store):
    store.put("ant-dir", "<script>", 0)
    path = store.put("ant-dir", "focal", 0).cell.record_path(store.path)
    change(path, **{"\x1b[31m<b>\n\u202e": 1})
    (line,) = unreadable(store.path)
    assert line.isprintable() and "[31m<b>: Extra inputs are not permitted" in line
    folder = build(store.path, store.path / "report")[0].parent
    assert "<script>" not in (folder / "score.md").read_text()
    assert "<script>" not in (folder / "score.svg").read_text()


@pytest.mark.filterwarnings("error")
def test_scores_that_cannot_be_computed_are_left_out(store):
    """A cube whose expert is no better than the random policy, and one of infinite references."""
    store.fill(families=("ant-dir",), seeds=3)
    for seed, expert in ((0, -300.0), (1, np.inf)):
        record = make_record("ant-dir", "focal", seed)
        cube = make_cube((80, 50), seed)
        write_record(store.path, record, cube.model_copy(update={"expert": np.full(4, expert)}))
    frame, notes = load(store.path)
    assert set(frame.query("method == 'focal'")["seed"]) == {2}
    assert notes[:2] == [
        f"ant-dir / focal: seed {seed} left out: its cube has returns or scores that are not finite" for seed in (0, 1)
    ]


@pytest.mark.parametrize(("suite", "words"), [(None, "has no complete records"), ("ood", "records of suite 'ood'")])
def test_nothing_that_could_be_reported(invoke, store, suite, words):
    """No folder, an empty one, one with bad files only: one line, exit code 2, nothing written."""
    choice = ("--suite", suite) if suite else ()
    for prepare in (
        lambda: None,
        lambda: store.path.mkdir(),
        lambda: truncate(store.put("ant-dir", "focal", 0).cell.record_path(store.path)),
        lambda: store.put("ant-dir", "focal", 1, error="boom"),
        lambda: store.put("ant-dir", "focal", 2, levels=(np.nan, np.nan)),
    ):
        prepare()
        outcome = invoke("report", "--results", store.path, *choice)
        assert outcome.code == 2
        assert words in outcome.err and "Traceback" not in outcome.err
        assert not (store.path / "report").exists()


def test_a_file_is_no_results_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert unreadable(tmp_path / "file") == [". left out: it cannot be read: Not a directory"]
    with pytest.raises(InputError, match="file has no complete records"):
        build(tmp_path / "file", tmp_path / "out")


def columns_of(outcome):
    """Seed, state and reason of every row of `status`."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in outcome.out.splitlines() if "│" in line]
    return {int(row[4]): row[5:] for row in rows}


CUBE_DAMAGES = [
    (lambda path: path.unlink(), "its cube is missing or damaged: No such file or directory"),
    (truncate, "its cube is missing or damaged: File is not a zip file"),
    (
        lambda path: path.write_bytes(path.with_name("seed-0.npz").read_bytes()),
        "its cube is not the cube that its record was written with: its hash disagrees",
    ),
]


def test_status_shows_bad_cells_as_failed(invoke, store, monkeypatch):
    """Each seed of a method is damaged in another way, but for the first; one was never run."""
    monkeypatch.setenv("COLUMNS", "400")
    selection = select(load_suite("shift"), "quick", ["point-goal"], ["focal"])
    hashes = expected_hashes(selection, "point-goal", "mixed", selection.methods[0], "iql")[0].model_dump()
    record = store.put("point-goal", "focal", 0, hashes=hashes)
    expected = {0: ["complete", ""], 99: ["missing", ""]}
    # a link to nowhere is no record: it is missing, and run writes one in its place
    expected_reasons = [(damage, f"its record {reason.removeprefix('it ')}") for damage, reason in DAMAGES[:-1]]
    for seed, (damage, reason) in enumerate(expected_reasons + CUBE_DAMAGES, 1):
        path = store.put("point-goal", "focal", seed, hashes=hashes).cell.record_path(store.path)
        damage(path if reason.startswith("its record") else path.with_suffix(".npz"))
        expected[seed] = ["failed", reason.replace("it is the record of", "its record is that of")]
    seeds = ",".join(map(str, expected))
    command = ("status", "--suite", "shift", "--preset", "quick", "--family", "point-goal", "--method", "focal")
    outcome = invoke(*command, "--seeds", seeds, "--out", store.path)
    assert outcome.code == 0 and outcome.err == ""
    assert "1 complete, 1 missing, 11 failed, 0 stale" in outcome.out
    found = columns_of(outcome)
    assert list(found) == list(expected)
    copied = f"its record is that of {record.cell.record_path(Path()).as_posix()}"
    for seed, (state, reason) in expected.items():
        assert found[seed][0] == state
        assert found[seed][1].startswith(copied if FOLDER in reason else reason)


@pytest.mark.parametrize("option", [(), ("--site",)])
def test_report_names_the_bad_file_and_writes_the_rest(option, store, invoke, tmp_path):
    store.fill()
    record = store.put("point-goal", "focal", 0)
    path = record.cell.record_path(store.path)
    path.write_bytes(path.read_bytes()[:100])
    outcome = invoke("report", "--results", store.path, "--out", tmp_path / "out", *option)
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert "focal/iql/seed-0.json left out: it is not a record: truncated" in line
    assert len(outcome.out.splitlines()) == len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) > 1


@pytest.mark.parametrize("option", [(), ("--site",)])
def test_report_names_a_bad_cube_once(option, store, invoke, tmp_path):
    store.fill()
    path = store.put("point-goal", "focal", 0).cell.cube_path(store.path)
    path.write_bytes(path.read_bytes()[:100])
    outcome = invoke("report", "--results", store.path, "--out", tmp_path / "out", *option)
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert "focal/iql/seed-0.npz left out: it is missing or damaged" in line


def test_report_on_bad_files_only_says_so(store, invoke, tmp_path):
    path = store.put("point-goal", "focal", 0).cell.record_path(store.path)
    path.write_text("{")
    outcome = invoke("report", "--results", store.path, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "truncated" in outcome.err
    assert "no complete records" in outcome.err


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tasks": 3}, "other tasks than most of its family"),
        ({"draws": 3}, "other draws than most of its family"),
        ({"levels": (80,)}, "other conditions than most of its method"),
    ],
)
def test_a_record_unlike_the_others_costs_itself_only(store, fields, reason):
    store.fill(families=("ant-dir", "point-goal"))
    store.put("ant-dir", "focal", 1, **fields)
    (results,) = collect(store.path)
    seeds = results.frame.groupby(["family", "method"], observed=True)["seed"].nunique().to_dict()
    assert seeds.pop(("ant-dir", "focal")) == 2 and set(seeds.values()) == {3}
    assert f"ant-dir / focal: seed 1 left out: its cube has {reason}" in map(str, results.notes)
    assert "ant-dir / focal: 2 of 3 seeds (without 1)" in map(str, results.notes)
    assert unreadable(store.path) == [f"{FOLDER}/seed-1.npz left out: it has {reason}"]
    panels(results.frame)


def test_a_record_with_reference_returns_of_its_own_is_left_out(store):
    store.fill(families=("ant-dir",))
    cube = make_cube((80, 50), 1)
    write_record(store.path, make_record("ant-dir", "focal", 1), cube.model_copy(update={"expert": cube.expert + 100}))
    assert unreadable(store.path) == [
        f"{FOLDER}/seed-1.npz left out: it has other reference returns than most of its family"
    ]


def test_a_method_may_lack_a_condition_in_all_of_its_seeds(store):
    store.fill(families=("ant-dir",))
    for seed in range(3):
        store.put("ant-dir", "focal", seed, (80,))
    assert unreadable(store.path) == [] and not collect(store.path)[0].notes


def test_more_seeds_than_the_preset_has_are_asked_of_nobody(store):
    seeds = load_suite("shift").presets["quick"].seeds
    store.fill(families=("point-goal",), seeds=len(seeds))
    for seed in range(10):
        store.put("point-goal", "mine", seed)
    (results,) = collect(store.path)
    assert not results.notes
    assert {run.status for run in leaderboard(store.path).runs} == {"complete"}
    store.put("point-goal", "mine", 1, error="ValueError: no")
    assert {run.method for run in leaderboard(store.path).runs if run.status == "partial"} == {"mine"}


def test_privileges_of_all_seeds_count(store):
    store.put("ant-dir", "mine", 0, privileges=("reward_function",))
    store.put("ant-dir", "mine", 1, privileges=("descriptors",))
    assert collect(store.path)[0].privileges == {"mine": ("descriptors", "reward_function")}
