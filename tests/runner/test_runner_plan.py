"""Which cells run: states, reasons, --rerun, --seeds, --dry-run, status."""

import json

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.plan import check_device
from omrl_bench.runner.records import Record, iterate_records, read_record, write_record


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


@pytest.fixture
def mixed_states(results, undisturbed):
    """Complete: Held 0. Failed: random 0, Held 1. Missing: random 1. Stale: focal 0 and 1."""
    records = {(r.cell.method, r.cell.seed): r for r in iterate_records(results)}
    for key in (("random", 0), ("Held", 1)):
        broken = records[key].model_copy(update={"status": "failed", "error": "ValueError: [/oops] (x.py:3)"})
        write_record(results, broken, None)
    records["random", 1].cell.record_path(results).unlink()
    for seed in (0, 1):
        old = records["focal", seed]
        hashes = old.hashes.model_copy(update={"method": "0123456789abcdef", "dataset": "f" * 64})
        write_record(results, old.model_copy(update={"hashes": hashes}), None)
    return results


@pytest.fixture
def all_methods(undisturbed):
    held = f"{undisturbed[0].parent / 'held' / 'held.py'}:Held"
    return ("--method", "random", "--method", "focal", "--method", held)


@pytest.mark.parametrize(
    ("rerun", "cells", "jobs"),
    [("missing", 1, 1), ("failed", 3, 2), ("stale", 5, 3), ("all", 6, 3), (None, 5, 3)],
)
def test_rerun_chooses_the_cells(cli, tiny, mixed_states, all_methods, rerun, cells, jobs):
    choice = ("--rerun", rerun) if rerun else ()
    command = ("run", "--suite", tiny(), *all_methods, "--out", mixed_states, "--dry-run")
    outcome = cli(*command, *choice, "--jobs", 2)
    assert outcome.code == 0
    assert f"6 cells, {cells} to run in {jobs} jobs, 2 at a time" in outcome.words
    estimate = {1: "100 s", 2: "100 s", 3: "3 min"}[jobs].replace("100 s", "2 min")
    assert f"estimated time: {estimate} or less" in outcome.words


def test_plan_and_status_say_why(cli, tiny, mixed_states, all_methods):
    common = ("--suite", tiny(), *all_methods, "--out", mixed_states)
    plan = cli("run", *common, "--dry-run").words
    assert "failed: point-goal / random seed 0: ValueError: [/oops] (x.py:3)" in plan
    for seed in (0, 1):
        assert f"stale: point-goal / focal seed {seed}: changed since: dataset, method" in plan
    assert "1 failed, 1 missing" in plan and "2 stale" in plan and "1 complete, 1 failed" in plan
    shown = cli("status", *common)
    assert shown.code == 0
    assert "1 complete, 1 missing, 2 failed, 2 stale" in shown.out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.out.splitlines() if "│" in line]
    assert ["point-goal", "mixed", "random", "iql", "0", "failed", "ValueError: [/oops] (x.py:3)"] in rows
    assert ["point-goal", "mixed", "random", "iql", "1", "missing", ""] in rows
    assert ["point-goal", "mixed", "focal", "iql", "1", "stale", "changed since: dataset, method"] in rows
    assert ["point-goal", "mixed", "Held", "iql", "0", "complete", ""] in rows


def test_dry_run_and_status_change_nothing(cli, tiny, mixed_states, all_methods):
    suite = tiny()
    before = snapshot(mixed_states)
    assert cli("run", "--suite", suite, *all_methods, "--out", mixed_states, "--dry-run").code == 0
    assert cli("status", "--suite", suite, *all_methods, "--out", mixed_states).code == 0
    assert snapshot(mixed_states) == before


def test_dry_run_on_a_fresh_machine_builds_nothing(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    suite = tiny()
    outcome = cli("run", "--suite", suite, "--out", tmp_path / "runs", "--dry-run")
    assert outcome.code == 0 and "4 cells, 4 to run in 2 jobs" in outcome.words
    assert list(tmp_path.iterdir()) == [suite]


@pytest.mark.parametrize(
    "change",
    [
        ("updates = 4\nencoder_updates = 4", "updates = 5\nencoder_updates = 4"),
        ("encoder_updates = 4", "encoder_updates = 5"),
        ("updates = 4\nencoder", "family_updates = { point-goal = 5 }\nupdates = 4\nencoder"),
        ("draws = 2", "draws = 3"),
        ('qualities = ["high", "low"]', 'qualities = ["low", "high"]'),
        ("version = 0", "version = 1"),
    ],
    ids=lambda change: change[1][:12],
)
def test_a_changed_suite_makes_its_cells_stale(cli, tiny, results, change):
    outcome = cli("status", "--suite", tiny(change), "--out", results)
    assert "0 complete, 0 missing, 0 failed, 4 stale" in outcome.out
    assert "changed since: suite" in outcome.words


@pytest.mark.parametrize(
    "change",
    [("time_limit = 120", "time_limit = 99"), ("job_seconds = 100", "job_seconds = 9"), ("A suite for", "Suite for")],
    ids=lambda change: change[1][:10],
)
def test_what_changes_no_number_makes_nothing_stale(cli, tiny, results, change):
    assert "4 complete, 0 missing, 0 failed, 0 stale" in cli("status", "--suite", tiny(change), "--out", results).out


def test_stale_cells_run_again_but_not_with_rerun_missing(cli, inline, tiny, results):
    changed = tiny(("updates = 4\nencoder_updates = 4", "updates = 6\nencoder_updates = 4"))
    command = ("run", "--suite", changed, "--method", "random", "--out", results)
    path = results / "tiny/quick/point-goal/mixed/random/iql/seed-0.json"
    before = path.read_bytes()
    outcome = cli(*command, "--rerun", "missing")
    assert outcome.code == 0 and "2 cells, 0 to run in 0 jobs" in outcome.words
    assert path.read_bytes() == before
    outcome = cli(*command)
    assert outcome.code == 0 and "2 cells, 2 to run in 1 jobs" in outcome.words
    assert read_record(path).hashes.suite != json.loads(before)["hashes"]["suite"]
    assert "2 cells, 0 to run in 0 jobs" in cli(*command).words


def test_more_seeds_run_the_new_ones_only(cli, inline, tiny, results):
    before = {p: p.stat().st_mtime_ns for p in results.rglob("seed-*")}
    outcome = cli("run", "--suite", tiny(), "--method", "random", "--seeds", "0-2", "--out", results)
    assert outcome.code == 0
    assert "3 cells, 1 to run in 1 jobs" in outcome.words
    assert "start  point-goal / random (seed 2)" in outcome.out
    after = {p: p.stat().st_mtime_ns for p in results.rglob("seed-*")}
    new = {p.relative_to(results).as_posix() for p in set(after) - set(before)}
    folder = "tiny/quick/point-goal/mixed/random/iql"
    assert new == {f"{folder}/seed-2.json", f"{folder}/seed-2.npz"}
    assert all(after[path] == time for path, time in before.items())


def test_rerun_all_trains_again_and_finds_the_same_numbers(cli, inline, tiny, results, undisturbed):
    outcome = cli("run", "--suite", tiny(), "--method", "focal", "--out", results, "--rerun", "all")
    assert outcome.code == 0 and "2 cells, 2 to run in 1 jobs" in outcome.words
    for seed in (0, 1):
        path = f"tiny/quick/point-goal/mixed/focal/iql/seed-{seed}"
        old, new = undisturbed[0] / path, results / path
        assert new.with_suffix(".json").stat().st_ino != old.with_suffix(".json").stat().st_ino
        assert read_record(new.with_suffix(".json")).created > read_record(old.with_suffix(".json")).created
        np.testing.assert_array_equal(
            read_cube(new.with_suffix(".npz")).returns, read_cube(old.with_suffix(".npz")).returns
        )


def test_a_new_method_leaves_the_others_alone(cli, tiny, results):
    outcome = cli("run", "--suite", tiny(), "--method", "random", "--method", "oracle", "--out", results, "--dry-run")
    assert "4 cells, 2 to run in 1 jobs" in outcome.words


def test_methods_given_twice_count_once(cli, tiny, tmp_path):
    outcome = cli(
        "run", "--suite", tiny(), "--method", "random", "--method", "random", "--out", tmp_path / "r", "--dry-run"
    )
    assert "2 cells, 2 to run in 1 jobs" in outcome.words


def test_an_adapters_hash_follows_its_code_but_not_its_comments(cli, tiny, results, held):
    common = (
        "status",
        "--suite",
        tiny(),
        "--method",
        "random",
        "--method",
        "focal",
        "--method",
        held.reference,
        "--out",
        results,
    )
    assert "6 complete" in cli(*common).out  # another folder, the same code
    original = held.file.read_text()
    commented = original.replace("weights -= 0.1", "# a remark\n                weights -= 0.1").replace(
        '"""Behaviour cloning', '"""Cloning'
    )
    assert commented != original
    held.file.write_text(commented)
    assert "6 complete" in cli(*common).out
    held.file.write_text(original.replace("weights -= 0.1", "weights -= 0.2"))
    outcome = cli(*common)
    assert "4 complete, 0 missing, 0 failed, 2 stale" in outcome.out
    assert "changed since: method" in outcome.words


def test_a_garbage_record_is_a_failed_cell_that_runs_again(cli, inline, tiny, results):
    path = results / "tiny/quick/point-goal/mixed/random/iql/seed-1.json"
    path.write_bytes(path.read_bytes()[:700])
    common = ("--suite", tiny(), "--out", results)
    assert "3 complete, 0 missing, 1 failed, 0 stale" in cli("status", *common).out
    outcome = cli("run", *common, "--dry-run")
    assert outcome.code == 0
    assert "its record is not a record: truncated" in outcome.words
    assert cli("run", *common).code == 0
    assert read_record(path).status == "complete"


def test_records_of_other_suites_are_left_alone(cli, tiny, results):
    suite = tiny(('name = "tiny"', 'name = "other"'))
    assert "0 complete, 4 missing" in cli("status", "--suite", suite, "--out", results).out


def test_estimate_counts_waves_of_jobs(cli, tiny, tmp_path):
    common = ("run", "--suite", tiny(), "--out", tmp_path / "runs", "--dry-run")
    assert "estimated time: 3 min or less" in cli(*common, "--jobs", 1).words
    assert "estimated time: 2 min or less" in cli(*common, "--jobs", 7).words


def test_threads_share_the_cores(cli, tiny, tmp_path, datasets, monkeypatch):
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.executors import make_executor
    from omrl_bench.runner.plan import select
    from omrl_bench.runner.run import make_plan

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    monkeypatch.setattr("omrl_bench.runner.executors.local.processors", lambda: 8)
    selection = select(load_suite(str(tiny())), methods=["random"])
    statuses = {("point-goal", "mixed"): "canonical"}
    for slots, threads in ((1, 8), (3, 2), (8, 1), (20, 1)):
        plan = make_plan(selection, tmp_path / "runs", "stale", make_executor("local", slots), statuses)
        assert {job.threads for job in plan.jobs} == {threads}
    assert not (tmp_path / "runs").exists()


def test_a_cell_without_its_cube_runs_again(cli, tiny, results):
    (results / "tiny/quick/point-goal/mixed/random/iql/seed-1.npz").unlink()
    outcome = cli("run", "--suite", tiny(), "--out", results, "--dry-run")
    assert "4 cells, 1 to run in 1 jobs" in outcome.words


def test_record_of_a_plan_is_what_the_worker_wrote(results):
    """Whatever is read back is written the same: the plan compares exactly what is in the file."""
    for path in results.rglob("seed-*.json"):
        assert Record.model_validate_json(path.read_text()) == read_record(path)
        written = read_record(path).model_dump_json(indent=1, exclude={"trained_elsewhere"})  # it is there if it is set
        assert path.read_text() == written + "\n"


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cpu:x"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(InputError, match=f"--device {device}: torch cannot use it here: "):
        check_device(device)


def test_the_cpu_is_always_there():
    assert check_device("cpu") == "cpu"


NAMED = """
from omrl_bench.api import Algorithm


class Mine(Algorithm):
    fit = policy = save = load = None
"""


@pytest.fixture
def named(tmp_path):
    """The reference of a method of any name."""

    def make(name, file="named.py"):
        (tmp_path / file).write_text(NAMED.replace("Mine", name))
        return f"--method={tmp_path / file}:{name}"

    return make


def test_a_name_that_is_too_long_is_said_before_anything_runs(cli, tiny, named, tmp_path):
    outcome = cli("run", "--suite", tiny(), named("M" * 300), "--method", "random", "--out", tmp_path / "runs")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "MMM: the name is longer than 200 bytes; rename it" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_names_that_differ_in_case_only_share_a_folder_on_some_disks(cli, tiny, named, tmp_path):
    methods = named("Mine", "a.py"), named("mINE", "b.py")
    outcome = cli("run", "--suite", tiny(), *methods, "--out", tmp_path / "runs", "--dry-run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "methods 'Mine' and 'mINE' have the same folder on disks that do not tell" in outcome.err


def test_records_of_another_case_are_not_overwritten(cli, tiny, named, results):
    """What a disk that does not tell case shows: the records of `mine` in the folder of `MINE`."""
    for record in list(iterate_records(results)):
        its = record.model_copy(update={"cell": record.cell.model_copy(update={"method": "mine"})})
        if record.cell.method == "random":
            write_record(results, its, read_cube(record.cell.cube_path(results)))
    (results / "tiny/quick/point-goal/mixed/mine").rename(results / "tiny/quick/point-goal/mixed/MINE")
    for command in (("run", "--dry-run"), ("status",)):
        outcome = cli(*command, "--suite", tiny(), named("MINE"), "--out", results)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert f"the records of 'mine' are in {results} already" in outcome.err


def test_a_name_that_looks_like_a_built_in_one_is_refused(cli, tiny, named, results):
    for command in (("run", "--dry-run"), ("status",)):
        outcome = cli(*command, "--suite", tiny(), named("RANDOM"), "--out", results)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "method 'RANDOM' looks like the benchmark's own 'random'; rename it" in outcome.err
