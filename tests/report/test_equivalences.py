"""Records whose hashes are declared equal are of one version on every page."""

import numpy as np
import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.reading.frames import collect
from omrl_bench.report.site import leaderboard as leaderboard_module
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.runner.equivalences import FILE
from omrl_bench.runner.known_tasks import KnownTasks


def digest(number):
    return f"{number:016x}"


def declare(folder, *declarations):
    """Write the file of a results folder: (field, old, new) each."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [
        f'[[equal]]\nfield = "{field}"\nold = "{old}"\nnew = "{new}"\n'
        'commit = "1234567"\nwhy = "tidied up"\nevidence = ["a cell"]\n'
        for field, old, new in declarations
    ]
    (folder / FILE).write_text("\n".join(blocks))


@pytest.mark.parametrize("name", ["suite", "family"])
def test_versions_that_are_declared_equal_share_a_board(store, name):
    store.fill(families=("ant-dir",), seeds=2, hashes={name: digest(1)})
    for seed in (2, 3, 4):
        store.put("ant-dir", "focal", seed, hashes={name: digest(3)})
    (apart,) = collect(store.path)
    assert any("records left out: they are of another version" in note for note in map(str, apart.notes))
    other = "family" if name == "suite" else "suite"
    declare(store.path, (other, digest(1), digest(3)))
    assert collect(store.path)[0].notes == apart.notes
    declare(store.path, (name, digest(1), digest(2)), (name, digest(3), digest(2)))
    (together,) = collect(store.path)
    assert not any("another version" in note for note in map(str, together.notes))
    assert len(together.records) == 9 and len(set(together.frame["seed"])) == 5
    assert {getattr(record.hashes, name) for record in together.records} == {digest(1), digest(3)}  # as they are


def test_a_third_version_is_still_left_out(store):
    store.fill(families=("ant-dir",), seeds=2, hashes={"suite": digest(1)})
    store.put("ant-dir", "corro", 0, hashes={"suite": digest(2)})
    store.put("ant-dir", "focal", 2, hashes={"suite": digest(3)})
    declare(store.path, ("suite", digest(1), digest(2)))
    (found,) = collect(store.path)
    (note,) = [note for note in map(str, found.notes) if "left out" in note]
    assert note.startswith("ant-dir: 1 of 8 records left out: they are of another version of the suite than the rest")


def test_together_they_may_be_the_most(store):
    """Two records of versions declared equal outnumber one of a third, which neither does alone."""
    for seed, version in enumerate((1, 2, 3, 3)):
        store.put("ant-dir", "focal", seed, hashes={"suite": digest(version)})
    store.put("ant-dir", "focal", 4, hashes={"suite": digest(1)})
    declare(store.path, ("suite", digest(1), digest(2)))
    assert {record.cell.seed for record in collect(store.path)[0].records} == {0, 1, 4}


def test_seeds_of_versions_of_the_method_that_are_declared_equal(store):
    for seed in range(3):
        store.put("ant-dir", "focal", seed, hashes={"method": digest(seed)})
    note = "ant-dir / focal: the seeds were run with different versions of the method"
    assert note in map(str, collect(store.path)[0].notes)
    declare(store.path, ("method", digest(0), digest(1)))
    assert note in map(str, collect(store.path)[0].notes)
    declare(store.path, ("method", digest(0), digest(1)), ("method", digest(2), digest(1)))
    assert note not in map(str, collect(store.path)[0].notes)


@pytest.mark.parametrize("name", ["dataset", "contexts"])
def test_canonical_data_whose_hashes_are_declared_equal(store, name):
    store.fill(families=("ant-dir",), seeds=2, hashes={name: digest(1)})
    store.put("ant-dir", "focal", 0, hashes={name: digest(2)})
    assert any(f"differ in their {name} hash" in note for note in map(str, collect(store.path)[0].notes))
    declare(store.path, (name, digest(1), digest(2)))
    assert not any("hash" in note for note in map(str, collect(store.path)[0].notes))


def test_a_family_run_by_what_is_declared_equal_to_todays_suite(store):
    suite = load_suite("shift")
    today = suite.fingerprint("quick", "point-goal")
    store.fill(families=("point-goal",), seeds=1, hashes={"suite": today})
    store.fill(families=("point-sparse",), seeds=1, hashes={"suite": digest(1)})
    note = "point-sparse: run by another version of the suite than the other families"
    assert note in map(str, collect(store.path)[0].notes)
    declare(store.path, ("suite", digest(1), suite.fingerprint("quick", "point-sparse")))
    assert note not in map(str, collect(store.path)[0].notes)


def test_reference_rows_bring_their_declarations(store, store_class, tmp_path):
    """One's own records are of today's code, those of the reference of older code that it declares equal."""
    reference = store_class(tmp_path / "reference")
    store.put("ant-dir", "mine", 0, hashes={"suite": digest(2)})
    reference.put("ant-dir", "focal", 0, hashes={"suite": digest(1)})
    shown = [record.cell.method for record in collect(store.path, reference=reference.path)[0].records]
    assert shown == ["mine"]
    declare(reference.path, ("suite", digest(1), digest(2)))
    shown = [record.cell.method for record in collect(store.path, reference=reference.path)[0].records]
    assert sorted(shown) == ["focal", "mine"]


@pytest.fixture
def board(store, monkeypatch):
    """The row of focal on a leaderboard whose seeds were run by several versions of the suite and of the method."""
    ours = KnownTasks({"t": np.arange(100)}, np.zeros(100), np.ones(100))  # "t" is the hash that they have
    monkeypatch.setattr(leaderboard_module, "known_tasks", lambda family: ours)
    monkeypatch.setattr(leaderboard_module, "shipped_records", lambda: store.path)
    suite = load_suite("shift")
    now = suite.fingerprint("quick", "point-goal")
    fields = {"costs": {"git": {"commit": "a" * 40, "dirty": False}}}
    for seed in suite.presets["quick"].seeds:
        hashes = {"suite": digest(1), "method": digest(10 + seed)}
        store.put("point-goal", "focal", seed, hashes=hashes, **fields)

    def row():
        (run,) = [run for run in leaderboard(store.path).runs if run.method == "focal" and run.family == "point-goal"]
        return run

    return row, now, [digest(10 + seed) for seed in suite.presets["quick"].seeds]


def test_the_leaderboard_has_no_doubts_of_what_is_declared_equal(store, board):
    row, now, methods = board
    doubts = [
        "run by another version of the suite than this package has",
        "the seeds were run with different versions of the method",
    ]
    assert len(methods) > 1 and list(row().doubts) == doubts and row().badge == "self-reported"
    of_suite = ("suite", digest(1), now)
    of_method = [("method", methods[0], other) for other in methods[1:]]
    declare(store.path, of_suite)
    assert list(row().doubts) == doubts[1:]
    declare(store.path, *of_method)
    assert list(row().doubts) == doubts[:1]
    declare(store.path, of_suite, *of_method)
    assert row().badge == "reference" and not row().doubts
