"""results merge: every record of every folder is there afterwards, once, or it is said which is not and why."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omrl_bench.errors import InputError
from omrl_bench.locks import Claims
from omrl_bench.runner.cubes import Cube, read_cube
from omrl_bench.runner.job import claim_path
from omrl_bench.runner.merge import ConflictError, merge
from omrl_bench.runner.records import JOBS, Cell, Hashes, Record, iterate_records, read_record, write_record
from omrl_bench.runner.traces import Traces, read_traces, write_traces


def record_of(method="focal", seed=0, status="complete", value=1.0, **changes):
    record = Record(
        cell=Cell(
            suite="s", family="point-goal", dataset="mixed", backbone="iql", preset="quick", method=method, seed=seed
        ),
        family_version="v1",
        status=status,
        error=None if status == "complete" else f"error {value}",
        hashes=Hashes(suite="s", family="f", dataset="d", contexts="c", method="m"),
        dataset_status="canonical",
        privileges=(),
        configuration={},
        trained_together=(seed,),
        created="2026-01-01T00:00:00+00:00",
        **changes,
    )
    cube = Cube(
        conditions=("high",),
        tasks=np.array([30]),
        returns=np.full((1, 1, 2), value, np.float32),
        random=np.array([-2.0], np.float32),
        expert=np.array([-1.0], np.float32),
    )
    return record, cube if status == "complete" else None


def write(folder, *arguments, **named):
    record, cube = record_of(*arguments, **named)
    write_record(folder, record, cube)
    return record.cell


def content(folder):
    """What is in a folder, but for files of runs."""
    files = (path for path in folder.rglob("*") if path.is_file() and JOBS not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def folders(tmp_path):
    """Folders by name, empty."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        return folder

    return [make(name) for name in ("dest", "one", "two")]


def test_records_are_copied_as_they_are_with_what_is_beside_them(folders):
    dest, one, two = folders
    write(dest, "a")
    cell = write(one, "b")
    traces = Traces(conditions=("high",), tasks=np.array([30]), paths=np.zeros((1, 1, 3, 2), np.float32))
    write_traces(one, cell, traces)
    write(two, "a", seed=1)
    expected = content(dest) | content(one) | content(two)
    found = merge(dest, [one, two])
    assert content(dest) == expected and (found.copied, found.refused) == (2, [])
    assert read_traces(dest, cell).paths.shape == (1, 1, 3, 2)
    assert list(dest.rglob("*.tmp")) == list(dest.rglob("*.claim")) == []
    again = merge(dest, [one, two])
    assert (again.copied, again.same) == (0, 2) and content(dest) == expected


def test_the_destination_need_not_be_there(folders, tmp_path):
    write(folders[1])
    merge(tmp_path / "new" / "dest", [folders[1]])
    assert content(tmp_path / "new" / "dest") == content(folders[1])


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_complete_record_is_worth_more_than_a_failure(folders, order):
    dest = folders[0]
    cell = write(folders[1], status="failed")
    write(folders[2])
    merge(dest, [folders[index] for index in order])
    assert read_record(cell.record_path(dest)).status == "complete"
    read_cube(cell.cube_path(dest), read_record(cell.record_path(dest)).cube)
    merge(dest, [folders[1]])
    assert read_record(cell.record_path(dest)).status == "complete"


def test_of_two_failures_the_first_is_kept(folders):
    dest, one, _ = folders
    cell = write(dest, status="failed", value=1)
    write(one, status="failed", value=2)
    assert merge(dest, [one]).worse == 1
    assert read_record(cell.record_path(dest)).error == "error 1"


def test_the_same_numbers_made_elsewhere_are_no_conflict(folders):
    dest, one, _ = folders
    cell = write(dest, job="x", fit_seconds=3.0)
    write(one, job="y", fit_seconds=5.0, machine={"cpu": "other"})
    assert merge(dest, [one]).same == 1
    assert read_record(cell.record_path(dest)).job == "x"


@pytest.mark.parametrize(
    "changes",
    [{"value": 2.0}, {"configuration": {"a": 1}}, {"device": "cuda"}],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("both_sources", [False, True])
def test_different_complete_records_are_named_and_nothing_is_changed(folders, changes, both_sources):
    dest, one, two = folders
    write(one if both_sources else dest)
    record, cube = record_of(value=changes.get("value", 1.0))
    write_record(two, record.model_copy(update={k: v for k, v in changes.items() if k != "value"}), cube)
    write(two, "another")
    before = content(dest)
    with pytest.raises(ConflictError) as error:
        merge(dest, [one, two])
    first = one if both_sources else dest
    assert str(error.value) == f"s/quick/point-goal/mixed/focal/iql/seed-0.json differs in {first} and {two}"
    assert content(dest) == before
    merge(dest, [one, two], keep="first")
    assert content(dest) == content(first) | {k: v for k, v in content(two).items() if "another" in k} | before
    merge(dest, [one, two], keep="last")
    assert content(dest) == content(two)


def test_traces_of_a_record_that_is_replaced_go(folders):
    dest, one, _ = folders
    cell = write(dest)
    write_traces(dest, cell, Traces(conditions=("high",), tasks=np.array([30])))
    write(one, value=2.0)
    merge(dest, [one], keep="last")
    assert content(dest) == content(one)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def move(path):
    path.rename(path.with_name("seed-9.json"))


def change(path):
    path.write_text(path.read_text().replace('"canonical"', '"equivalent"'))


@pytest.mark.parametrize(
    ("damage", "suffix", "said"),
    [
        (truncate, ".json", "truncated"),
        (truncate, ".npz", "is missing or damaged"),
        (lambda path: path.unlink(), ".npz", "is missing or damaged"),
        (change, ".json", "was changed after it was written"),
        (move, ".json", "a copy"),
    ],
)
def test_what_cannot_be_used_is_refused(folders, damage, suffix, said):
    dest, one, _ = folders
    cell = write(one)
    write(one, "good")
    damage(cell.record_path(one).with_suffix(suffix))
    found = merge(dest, [one])
    assert found.copied == 1 and [record.cell.method for record in iterate_records(dest)] == ["good"]
    assert len(found.refused) == 1 and said in found.refused[0] and str(one) in found.refused[0]


def test_a_damaged_record_of_the_destination_gives_way(folders):
    dest, one, _ = folders
    cell = write(dest)
    truncate(cell.cube_path(dest))
    write(one, value=2.0)
    assert merge(dest, [one]).copied == 1
    assert content(dest) == content(one)


def test_links_and_pipes_are_not_followed(folders, tmp_path):
    dest, one, _ = folders
    cell = write(one)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, "hidden")
    (one / "linked").symlink_to(elsewhere / "s")
    (cell.record_path(one).with_name("seed-1.json")).symlink_to(cell.record_path(elsewhere))
    os.mkfifo(cell.record_path(one).with_name("seed-2.json"))
    cube = write(one, "other")
    moved = cube.cube_path(one).rename(tmp_path / "cube.npz")
    cube.cube_path(one).symlink_to(moved)
    found = merge(dest, [one])
    assert [record.cell.method for record in iterate_records(dest)] == ["focal"]
    assert sorted(line.rpartition("/")[2] for line in found.refused) == [
        "linked is a link: it is not followed",
        "seed-0.npz is a link: it is not followed",
        "seed-0.npz is no file",
        "seed-1.json is a link: it is not followed",
        "seed-2.json is no file: it is not followed",
    ]


def keep_training(folder, key="k", seeds="0-1", text="weights"):
    training = folder / ".trained" / "focal" / key / f"seeds-{seeds}"
    (training / "deep").mkdir(parents=True)
    (training / "training.json").write_text("{}")
    (training / "deep" / "weights").write_text(text)
    return training


def test_kept_trainings_are_taken_too(folders):
    dest, one, two = folders
    keep_training(dest, text="mine")
    keep_training(one, text="theirs")
    keep_training(one, key="new")
    unfinished = keep_training(two, key="unfinished")
    (unfinished / "training.json").unlink()
    linked = keep_training(two, key="linked")
    (linked / "more").symlink_to(linked / "training.json")
    found = merge(dest, [one, two])
    assert found.trainings == 1 and len(found.refused) == 1 and "more is a link" in found.refused[0]
    texts = {path.parts[-4]: path.read_text() for path in dest.rglob("weights")}
    assert texts == {"k": "mine", "new": "weights"}
    assert list(dest.rglob("*.tmp")) == []


def test_a_record_that_a_run_is_making_is_left_to_it(folders):
    dest, one, _ = folders
    cell = write(one)
    with Claims(dest / JOBS) as run:
        run.claim(claim_path(dest, cell))
        with pytest.raises(InputError, match="records of s/quick/point-goal/mixed/focal/iql are being made by process"):
            merge(dest, [one])
    assert content(dest) == {}
    assert merge(dest, [one]).copied == 1


def test_declarations_are_left_to_the_user(folders):
    dest, one, _ = folders
    (one / "equivalences.toml").write_text("")
    assert merge(dest, [one]).refused == [
        f"{one / 'equivalences.toml'} is not merged: add its declarations to {dest}'s"
    ]


CELLS = st.tuples(st.sampled_from("ab"), st.integers(0, 1))
FOLDERS = st.lists(
    st.dictionaries(CELLS, st.tuples(st.sampled_from(["complete", "failed"]), st.sampled_from([1.0, 2.0]))),
    min_size=2,
    max_size=3,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folders=FOLDERS, keep=st.sampled_from([None, "first", "last"]))
def test_against_brute_force(folders, keep, tmp_path, monkeypatch):
    """The destination has what a fold over all records in order leaves."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    paths = [tmp_path / f"folder-{number}" for number in range(len(folders))]
    for path, records in zip(paths, folders, strict=True):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for (method, seed), (status, value) in records.items():
            write(path, method, seed, status, value)
    expected, conflict = dict(folders[0]), False
    for records in folders[1:]:
        for cell, (status, value) in records.items():
            if cell not in expected or (expected[cell][0], status) == ("failed", "complete"):
                expected[cell] = status, value
            elif expected[cell][0] == status == "complete" and expected[cell][1] != value:
                conflict = True
                if keep == "last":
                    expected[cell] = status, value
    if conflict and keep is None:
        expected = folders[0]
        with pytest.raises(ConflictError):
            merge(paths[0], paths[1:])
    else:
        merge(paths[0], paths[1:], keep)
    found = {}
    for record in iterate_records(paths[0]):
        complete = record.status == "complete"
        cube = read_cube(record.cell.cube_path(paths[0]), record.cube) if complete else None
        value = float(cube.returns[0, 0, 0]) if complete else float(record.error.split()[1])
        found[record.cell.method, record.cell.seed] = record.status, value
    assert found == expected


def test_the_command(invoke, folders, tmp_path):
    dest, one, two = folders
    write(one)
    outcome = invoke("results", "merge", dest, one)
    said = f"{dest}: 1 records copied, 0 were there, 0 failures not needed, 0 trainings copied\n"
    assert (outcome.code, outcome.out, outcome.err) == (0, said, "")
    write(two, value=2.0)
    outcome = invoke("results", "merge", dest, one, two)
    assert outcome.code == 2 and outcome.out == ""
    assert outcome.err.splitlines() == [
        f"s/quick/point-goal/mixed/focal/iql/seed-0.json differs in {dest} and {two}",
        "1 differ; nothing was changed; --keep first or last keeps one of each",
    ]
    assert invoke("results", "merge", dest, two, "--keep", "last").code == 0
    assert content(dest) == content(two)
    truncate(next(two.rglob("*.json")))
    outcome = invoke("results", "merge", dest, two)
    assert outcome.code == 1 and len(outcome.err.splitlines()) == 1 and "truncated" in outcome.err


@pytest.mark.parametrize("source", ["missing", "dest", "dest/s", "."])
def test_sources_that_are_none(invoke, folders, tmp_path, source):
    write(folders[0])
    outcome = invoke("results", "merge", folders[0], tmp_path / source)
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
