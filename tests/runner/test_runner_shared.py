"""Several runs, users and clocks on one results folder: each job is done once, and nothing that is good is lost."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner import trained
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.executors import Ended, Watcher
from omrl_bench.runner.job import failed_record, job_path, read_job
from omrl_bench.runner.records import iterate_records, read_record, write_failure, write_record
from omrl_bench.runner.run import run_jobs, taken
from omrl_bench.runner.trained import Training

CUBE = Cube(
    conditions=("high",),
    tasks=np.array([30]),
    returns=np.zeros((1, 1, 2), np.float32),
    random=np.array([-2.0], np.float32),
    expert=np.array([-1.0], np.float32),
)


def write(job, status="complete", error=None):
    """Write the records of a job's cells, as its worker would."""
    for index in range(len(job.cells)):
        record = failed_record(job, index, error or "").model_copy(update={"status": status, "error": error})
        if status == "complete":
            write_record(job.results, record, CUBE)
        else:
            write_failure(job.results, record)


class Doing:
    """An executor whose worker is a function of the job."""

    slots = threads = 1

    def __init__(self, work):
        self.work, self.jobs = work, []

    def run(self, jobs, watcher):
        for job in jobs:
            assert read_job(job_path(job)) == job
            self.jobs.append(job)
            self.work(job)
            yield Ended(job, 0.0, "the worker ended with exit code 0")

    @property
    def methods(self):
        return [job.cells[0].method for job in self.jobs]


class Listening(Watcher):
    """Keeps what it is told, and does something when it has to wait."""

    def __init__(self, while_waiting=lambda: None):
        self.events, self.while_waiting = [], while_waiting

    def waiting(self, text):
        self.events.append(text)
        self.while_waiting()

    def elsewhere(self, job, error):
        self.events.append((job.cells[0].method, error))


NAMES = ("Zero", "Nan", "Shape", "Raises")


@pytest.fixture
def two_runs(jobs, monkeypatch):
    """Let a second run begin while the first is at its first job; both have planned all of them.

    Returns the two executors, what the second's watcher was told, what the first's was, and the errors of both.
    """
    monkeypatch.setattr("omrl_bench.runner.run.POLL", 0.02)

    def both(outcome):
        reached, go, errors = threading.Event(), threading.Event(), {}

        def first_work(job):
            reached.set()
            assert go.wait(60)
            outcome(job)

        first, second = Doing(first_work), Doing(outcome)
        others, mine = Listening(), Listening(go.set)
        plans = jobs(*NAMES), jobs(*NAMES)
        thread = threading.Thread(target=lambda: errors.update(first=run_jobs(plans[0], first, others)))
        thread.start()
        assert reached.wait(60)
        errors["second"] = run_jobs(plans[1], second, mine)
        thread.join(60)
        return first, second, others.events, mine.events, errors

    return both


def test_two_runs_do_each_job_once(two_runs, tmp_path):
    first, second, others, mine, errors = two_runs(write)
    assert (first.methods, second.methods) == (["Zero"], ["Nan", "Shape", "Raises"])
    assert others == [("Nan", None), ("Shape", None), ("Raises", None)]
    waiting, done = mine
    assert waiting.startswith(f"waiting for 1 job that another run has: process {os.getpid()} on ")
    assert done == ("Zero", None)
    assert errors == {"first": [], "second": []}
    tokens = {record.cell.method: record.job for record in iterate_records(tmp_path / "runs")}
    assert tokens == {job.cells[0].method: job.token for job in first.jobs + second.jobs}
    assert [path for path in (tmp_path / "runs" / ".jobs").rglob("*") if path.is_file()] == []


def test_a_failure_is_one_of_both_runs_and_is_not_tried_twice(two_runs):
    first, second, others, mine, errors = two_runs(lambda job: write(job, "failed", f"no {job.cells[0].method}"))
    assert (first.methods, second.methods) == (["Zero"], ["Nan", "Shape", "Raises"])
    assert ("Zero", "no Zero") in mine and ("Raises", "no Raises") in others
    for found in errors.values():
        assert sorted(found) == sorted(f"point-goal / {name} (seeds 0, 1): no {name}" for name in NAMES)


def test_a_run_with_some_of_the_seeds_leaves_the_others(jobs):
    (whole,), (other,) = jobs("Zero"), jobs("Zero")
    write(other.model_copy(update={"cells": other.cells[:1]}))
    executor = Doing(write)
    assert run_jobs([whole], executor, Watcher()) == []
    assert [job.seeds for job in executor.jobs] == [(1,)]


def test_a_record_of_other_code_is_not_taken_for_the_jobs(jobs):
    (job,), (other,) = jobs("Zero"), jobs("Zero")
    write(other.model_copy(update={"hashes": other.hashes.model_copy(update={"method": "another"})}))
    executor = Doing(write)
    assert run_jobs([job], executor, Watcher()) == []
    assert [job.seeds for job in executor.jobs] == [(0, 1)]


def test_records_that_a_run_is_making_are_not_made_by_a_script(jobs, tmp_path):
    (job,) = jobs("Zero")
    problems = []

    def work(job):
        said = "tiny/quick/point-goal/mixed/Zero/iql are being made by process"
        with pytest.raises(InputError, match=said) as error, taken(job.results, job.cells):
            pytest.fail("both make them")
        problems.append(error)
        write(job)

    assert run_jobs([job], Doing(work), Watcher()) == [] and problems
    with taken(job.results, job.cells):
        pass


def test_a_clock_that_was_set_back_loses_nothing(jobs, tmp_path):
    def work(job):
        write(job)
        for cell in job.cells:
            os.utime(cell.record_path(job.results), (0, 0))

    assert run_jobs(jobs("Zero"), Doing(work), Watcher()) == []
    assert {record.status for record in iterate_records(tmp_path / "runs")} == {"complete"}


def test_an_old_record_is_not_the_jobs_whatever_its_time(jobs, tmp_path):
    """The worker writes nothing; the clock was ahead when the old record was written."""
    write(*jobs("Zero"), status="failed", error="old")
    for record in iterate_records(tmp_path / "runs"):
        os.utime(record.cell.record_path(tmp_path / "runs"), (2**33, 2**33))
    errors = run_jobs(jobs("Zero"), Doing(lambda job: None), Watcher())
    assert errors == ["point-goal / Zero (seeds 0, 1): the worker ended with exit code 0"]
    assert {record.error for record in iterate_records(tmp_path / "runs")} == {"the worker ended with exit code 0"}


@pytest.mark.parametrize("work", [lambda job: write(job, "failed", "no licence"), lambda job: None])
def test_a_failure_never_replaces_a_complete_record(jobs, tmp_path, work):
    write(*jobs("Zero"))
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("seed-*") if ".jobs" not in path.parts}
    (error,) = run_jobs(jobs("Zero", rerun="all"), Doing(work), Watcher())
    assert error.removeprefix("point-goal / Zero (seeds 0, 1): ") in ("no licence", "the worker ended with exit code 0")
    assert {path: path.read_bytes() for path in before} == before and before
    assert run_jobs(jobs("Zero", rerun="all"), Doing(write), Watcher()) == []
    assert [path for path in (tmp_path / "runs" / ".jobs").rglob("*") if path.is_file()] == []


def test_a_failure_replaces_a_complete_record_without_its_cube(jobs, tmp_path):
    write(*jobs("Zero"))
    for path in (tmp_path / "runs").rglob("*.npz"):
        path.unlink()
    run_jobs(jobs("Zero"), Doing(lambda job: write(job, "failed", "no licence")), Watcher())
    assert {record.error for record in iterate_records(tmp_path / "runs")} == {"no licence"}


class Saving:
    """Saves as safetensors does: for the owner only."""

    def keep(self, folder):
        (folder / "deep").mkdir(mode=0o700)
        for file in (folder / "weights", folder / "deep" / "weights"):
            file.write_text("1")
            file.chmod(0o600)


TRAINING = Training(
    suite="s", suite_hash="h", seeds=(0, 1), curves={}, parameters=0, fit_seconds=0, update_milliseconds={},
    peak_memory_mib=0,
)  # fmt: skip


@pytest.mark.parametrize(("umask", "of_folders", "of_files"), [(0o002, 0o775, 0o664), (0o077, 0o700, 0o600)])
def test_what_is_kept_of_a_training_is_for_all_that_the_umask_lets(jobs, umask, of_folders, of_files):
    (job,) = jobs("Zero")
    before = os.umask(umask)
    try:
        trained.keep(job, Saving(), TRAINING)
        trained.keep(job, Saving(), TRAINING)  # again, in its place
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in (job.results / ".trained").rglob("*")}
    assert {mode for path, mode in found.items() if path.is_dir()} == {of_folders}
    assert {mode for path, mode in found.items() if path.is_file()} == {of_files} and len(found) == 7


class Other(Saving):
    """Weights of another method, which could be loaded."""

    def keep(self, folder):
        (folder / "weights").write_text("2")


def change(path, content):
    path.write_bytes(content)


@pytest.mark.parametrize("swapped", [("weights",), ("weights", "training.json")])
def test_the_weights_of_another_training_are_not_taken_for_its_own(jobs, swapped):
    one, other = jobs("Zero", "Nan")
    trained.keep(one, Saving(), TRAINING)
    trained.keep(other, Other(), TRAINING)
    (folder, _), (of_other, _) = trained.find(one), trained.find(other)
    for name in swapped:
        change(folder / name, (of_other / name).read_bytes())
    assert trained.find(one) is None and trained.find(other) is not None


@pytest.mark.parametrize("content", [b"", b'{"seeds"', b"\xff\xfe", b"[]"])
def test_a_training_that_cannot_be_read_is_none(jobs, content):
    (job,) = jobs("Zero")
    trained.keep(job, Saving(), TRAINING)
    change(trained.find(job)[0] / "training.json", content)
    assert trained.find(job) is None


def test_a_training_that_is_kept_from_an_earlier_version_is_taken(jobs):
    (job,) = jobs("Zero")
    trained.keep(job, Saving(), TRAINING)
    folder, found = trained.find(job)
    assert found.key == trained.trained_key(job) and set(found.files) == {"weights", "deep/weights"}
    change(folder / "training.json", TRAINING.model_dump_json(exclude={"key", "files"}).encode())
    assert trained.find(job) == (folder, TRAINING)


def test_a_training_that_cannot_be_kept_costs_nothing(jobs, capsys):
    (job,) = jobs("Zero")
    job.results.mkdir()
    (job.results / ".trained").write_text("a file is in the way, as another user's folder may be")
    trained.keep(job, Saving(), TRAINING)
    assert "the training is not kept: " in capsys.readouterr().out


def test_a_kept_training_that_cannot_be_loaded_is_trained_again(tiny, cli, inline, held, tmp_path):
    command = ("run", "--suite", tiny(), "--method", f"{held.file}:Quick", "--seeds", "0", "--out", tmp_path / "runs")
    assert cli(*command).code == 0
    (path,) = (tmp_path / "runs" / "tiny").rglob("seed-0.json")
    metrics = read_record(path).metrics
    (weights,) = (tmp_path / "runs" / ".trained").rglob("weights.json")
    weights.write_text(weights.read_text()[:-9])  # truncated
    path.unlink()
    assert cli(*command).code == 0
    assert read_record(path).metrics == metrics


def test_a_worker_depends_on_nothing_in_the_working_folder(jobs, tmp_path, monkeypatch, bad):
    """Nor on names of folders being text."""
    from omrl_bench.runner.executors.local import Local

    folder = tmp_path / "hostile"
    (folder / "omrl_bench").mkdir(parents=True)
    for name in ("omrl_bench/__init__", "random", "torch", "numpy"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(folder)
    mine = Path(os.fsdecode(os.fsencode(tmp_path) + b"/mine-\xff"))
    mine.mkdir()
    (mine / "bad.py").write_bytes((tmp_path / "bad.py").read_bytes())
    (planned,) = jobs("Zero", results=Path(os.fsdecode(b"runs-\xfe")))
    job = planned.model_copy(update={"target": f"{mine / 'bad.py'}:Zero"})
    assert run_jobs([job], Local(1), Watcher()) == []
    assert [record.status for record in iterate_records(job.results)] == ["complete", "complete"]
    lost = planned.model_copy(update={"target": f"{mine / 'bad.py'}:Exits"})
    (error,) = run_jobs([lost.model_copy(update={"train_again": True, "token": "another"})], Local(1), Watcher())
    assert "the method's process ended with exit code 3, in fit; its output is in " in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_becomes_read_only_is_one_line(jobs):
    def work(job):
        write(job)
        for folder, _, _ in os.walk(job.results):
            Path(folder).chmod(0o555)

    (job,) = jobs("Zero")
    try:
        with pytest.raises(InputError, match="Permission denied"):
            run_jobs([job], Doing(work), Watcher())
    finally:
        for folder, _, _ in os.walk(job.results):
            Path(folder).chmod(0o755)


def test_files_that_cannot_be_removed_are_one_line(jobs, monkeypatch):
    """As in a folder that became read-only; claims that stay are nobody's when the run has ended."""

    def refuse(self, missing_ok=False):
        if ".jobs" in self.parts and self.suffix != ".run":
            raise PermissionError(13, "Permission denied", str(self))

    def work(job):
        write(job)
        monkeypatch.setattr(Path, "unlink", refuse)

    first, second = jobs("Zero", "Nan")
    with pytest.raises(InputError, match=r"the run cannot go on: .*seed-0.job: Permission denied"):
        run_jobs([first, second], Doing(work), Watcher())
    monkeypatch.undo()
    assert run_jobs(jobs("Zero", "Nan"), Doing(write), Watcher()) == []


def test_a_watcher_whose_reader_is_gone_is_not_the_folders_fault(jobs):
    class Gone(Watcher):
        def finished(self, job, seconds, error):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        run_jobs(jobs("Zero"), Doing(write), Gone())


def test_what_killed_workers_and_runs_left_is_swept(jobs):
    (job,) = jobs("Zero")
    trained.keep(job, Saving(), TRAINING)
    kept, _ = trained.find(job)
    unfinished = kept.with_name(".seeds-0-1.0123456789abcdef.tmp")
    unfinished.mkdir()
    (unfinished / "weights").write_text("1")
    locks = job.results / ".jobs"
    code = (
        "import os, sys; from pathlib import Path; from omrl_bench.locks import Claims; c = Claims(Path(sys.argv[1])); "
    )
    subprocess.run([sys.executable, "-c", f"{code}os.kill(os.getpid(), 9)", locks])
    assert len(list(locks.glob("*.run"))) == 1
    assert run_jobs([job], Doing(write), Watcher()) == []
    assert not unfinished.exists() and kept.exists() and list(locks.glob("*.run")) == []
