"""What the executor `slurm` does where no Slurm is: bad input, and a Slurm that is slow, forgetful or silent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner import slurm
from omrl_bench.runner.executors import Watcher, make_executor
from omrl_bench.runner.executors import slurm as executor_module
from omrl_bench.runner.executors.inline import Inline
from omrl_bench.runner.job import failed_record, job_path, read_job, record_of, write_job
from omrl_bench.runner.records import iterate_records, write_failure
from omrl_bench.runner.run import run_jobs, taken
from omrl_bench.runner.slurm import Task, ending_of
from omrl_bench.runner.submissions import submission_of, submit_marks, submitted, sweep_submissions
from omrl_bench.runner.where import whereabouts


class Fake:
    """Slurm's commands: what is submitted gets a state, and is listed until it is forgotten.

    Attributes:
        calls: Every command.
        state: Of what is submitted next.
        tasks: Lines of squeue, by name and number.
        silent: Whether squeue says nothing.
        on_submit: Called with a submission's name and the number of its jobs.
        looks: How often squeue was called; on_look is called then.
    """

    def __init__(self):
        self.calls, self.tasks, self.state, self.silent = [], {}, "RUNNING", False
        self.on_submit, self.looks, self.on_look = lambda name, count: None, 0, lambda: None

    def __call__(self, command):
        self.calls.append(list(command))
        return getattr(self, command[0])(list(command[1:]))

    @staticmethod
    def answer(out=""):
        return subprocess.CompletedProcess([], 0, out, "")

    def sbatch(self, arguments):
        options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
        name, count = options["job-name"], int(options["array"].partition("%")[0].removeprefix("0-")) + 1
        array = 100 + sum(call[0] == "sbatch" for call in self.calls)
        if self.state:
            self.tasks |= {(name, index): [f"{array}_{index}", self.state] for index in range(count)}
        self.on_submit(name, count)
        return self.answer(f"{array};cluster\n")

    def squeue(self, arguments):
        self.looks += 1
        self.on_look()
        if self.silent:
            return None
        (names,) = (each.partition("=")[2].split(",") for each in arguments if each.startswith("--name="))
        rows = [(name, i, *task) for (name, i), task in self.tasks.items() if name in names]
        return self.answer("".join(f"{name}|{task}|{i}|{state}|n7|None\n" for name, i, task, state in rows))

    def scancel(self, ids):
        for task in self.tasks.values():
            if task[0] in ids:
                task[1] = "CANCELLED"
        return self.answer()

    def submitted(self):
        """Arguments of each sbatch."""
        return [call[1:] for call in self.calls if call[0] == "sbatch"]


class Listening(Watcher):
    """Keeps what it is told, and does something when it has to wait."""

    def __init__(self, while_waiting=lambda: None):
        self.texts, self.begun, self.while_waiting = [], [], while_waiting

    def waiting(self, text):
        self.texts.append(text)
        self.while_waiting()

    def started(self, job):
        self.begun.append(job.cells[0].method)


@pytest.fixture
def fake(monkeypatch):
    """Slurm's commands, and no time between looks."""
    commands = Fake()
    monkeypatch.setattr(slurm, "_call", commands)
    monkeypatch.setattr(executor_module, "check_commands", lambda: None)
    monkeypatch.setattr(slurm.Queue, "EVERY", 0.0)
    monkeypatch.setattr("omrl_bench.runner.run.POLL", 0.01)
    for name, seconds in (("POLL", 0.01), ("SETTLE", 0.0), ("GRACE", 0.1)):
        monkeypatch.setattr(executor_module, name, seconds)
    return commands


def make(**options):
    return make_executor("slurm", **options)


def fail(job, error="no"):
    for index in range(len(job.cells)):
        write_failure(job.results, failed_record(job, index, error))


def leave(jobs):
    """Submit as a run does that left at once."""
    for job in jobs:
        write_job(job_path(job), job)
    assert list(make(detach=True).run(jobs, Watcher())) == []
    return [submission_of(job.results, job.cells[0]) for job in jobs]


def interrupt(now):
    if now:
        raise KeyboardInterrupt


def work(fake, results):
    """Let what is submitted from now on fail at once, as its worker would."""

    def worker(name, count):
        for index in range(count):
            submission = submitted(results / f".jobs/.slurm/{name}/jobs.json", index)
            fail(read_job(submission.file))
            submission.settle()

    fake.on_submit = worker


@pytest.mark.parametrize("missing", ["sbatch", "squeue", "scancel"])
def test_a_machine_without_slurm(tmp_path, monkeypatch, cli, tiny, missing):
    for name in {"sbatch", "squeue", "scancel"} - {missing}:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = cli("run", "--suite", tiny(), "--executor", "slurm", "--out", tmp_path / "runs")
    assert outcome.code == 2
    assert outcome.err == (f"error: executor 'slurm': there is no {missing} here; run it where Slurm's commands are\n")
    assert not (tmp_path / "runs").exists()


def test_a_refusal_of_sbatch_loses_nothing(tmp_path, monkeypatch, cli, tiny, bad):
    script = "#!/bin/sh\necho 'sbatch: error: Batch job submission failed: Invalid account' >&2\nexit 1\n"
    for name, text in {"sbatch": script, "squeue": "#!/bin/sh\n", "scancel": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    common = ("run", "--suite", tiny(), "--method", bad("Zero"), "--executor", "slurm", "--out", tmp_path / "runs")
    outcome = cli(*common)
    assert outcome.code == 2
    assert outcome.err == "error: sbatch refused the jobs: Batch job submission failed: Invalid account\n"
    files = {path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert files == {"seed-0.job"}


@pytest.mark.parametrize("option", ["array=0-3", "--array=0-3", "J=mine", "wrap=true", "output=here", "clusters=a"])
def test_options_that_are_not_the_users(fake, option):
    with pytest.raises(InputError, match=r"--slurm-option .*: omrl-bench sets --[a-z-]+ itself"):
        make(slurm_option=[option])


@pytest.mark.parametrize("option", ["", "=short", "--"])
def test_options_without_a_name(fake, option):
    with pytest.raises(InputError, match="write an option of sbatch, such as partition=short or exclusive"):
        make(slurm_option=[option])


def test_what_sbatch_is_told(fake, jobs, tmp_path):
    planned = jobs("Zero", "Nan")
    work(fake, planned[0].results)
    options = ["partition=short", "--exclusive", "p=long", "comment=a=b c"]
    executor = make(jobs=3, slurm_option=options)
    assert len(run_jobs(planned, executor, Watcher())) == 2
    (arguments,) = fake.submitted()
    assert {"--array=0-1%3", "--time=2", "--partition=short", "--exclusive", "-plong", "--comment=a=b c"} < set(
        arguments
    )
    assert (executor.slots, executor.threads) == (3, 1)
    assert make(slurm_option=["cpus-per-task=4"]).threads == make(slurm_option=["c=4"]).threads == 4
    for given in ("time=1:00", "t=5"):
        run_jobs(jobs("Raises", rerun="all"), make(slurm_option=[given]), Watcher())
        assert "--time=2" not in fake.submitted()[-1]


def test_more_jobs_than_an_array_takes(fake, jobs, monkeypatch):
    monkeypatch.setattr(executor_module, "LARGEST", 2)
    planned = jobs("Zero", "Nan", "Shape")
    fake.on_submit = lambda name, count: (
        count == 1 and [(fail(job), submission_of(job.results, job.cells[0]).settle()) for job in planned]
    )
    watcher = Listening()
    assert len(run_jobs(planned, make(jobs=5), watcher)) == 3
    first, second = fake.submitted()
    assert {"--array=0-1%5"} <= set(first) and {"--array=0-0%5", "--dependency=afterany:101"} <= set(second)
    assert not [argument for argument in first if argument.startswith("--dependency")]
    assert sorted(watcher.begun) == ["Nan", "Shape", "Zero"]


@pytest.mark.parametrize("state", ["", "NODE_FAIL", "PREEMPTED"])
def test_a_lost_job_is_tried_again_a_few_times(fake, jobs, state):
    """Whether Slurm says how it was lost, or has forgotten it."""
    fake.state = state
    (error,) = run_jobs(jobs("Zero"), make(), Watcher())
    words = {"": "Slurm lost it", "NODE_FAIL": "its node failed", "PREEMPTED": "Slurm gave its place to another job"}
    assert words[state] in error
    assert len(fake.submitted()) == executor_module.MOST_TRIES


@pytest.mark.parametrize("state", ["TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "DEADLINE"])
def test_what_would_end_the_same_way_is_not_tried_again(fake, jobs, state):
    fake.state = state
    (job,) = jobs("Zero")
    (error,) = run_jobs([job], make(), Watcher())
    assert len(fake.submitted()) == 1
    assert {record.error for record in iterate_records(job.results)} == {error.partition(": ")[2]}
    assert submission_of(job.results, job.cells[0]) is None


def test_a_lost_job_with_its_records_is_done(fake, jobs):
    fake.state = ""
    (planned,) = jobs("Zero")
    fake.on_submit = lambda name, count: fail(read_job(job_path(planned)), "its own words")
    (error,) = run_jobs([planned], make(), Watcher())
    assert error.endswith(": its own words") and len(fake.submitted()) == 1


def test_while_squeue_is_silent_nothing_is_lost(fake, jobs):
    """A job is not given up, not submitted again, and not cancelled blindly."""
    (planned,) = jobs("Zero")
    fake.silent, fake.on_look = True, lambda: interrupt(fake.looks == 20)
    watcher = Listening()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([planned], make(), watcher)
    assert watcher.texts == ["squeue does not answer: jobs may still be in Slurm; the same command finds them"]
    assert len(fake.submitted()) == 1 and list(iterate_records(planned.results)) == []
    assert submission_of(planned.results, planned.cells[0]) is not None
    assert "squeue does not answer here" in whereabouts(planned.results, planned.cells)[planned.cells[0]]


def test_an_interrupted_run_cancels_its_jobs(fake, jobs):
    planned, watcher = jobs("Zero", "Nan"), Listening()
    fake.on_look = lambda: interrupt(fake.looks == 1)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(planned, make(), watcher)
    assert watcher.texts == []
    assert {state for _, state in fake.tasks.values()} == {"CANCELLED"}
    assert [submission_of(job.results, job.cells[0]) for job in planned] == [None, None]


def test_a_worker_that_is_not_named_does_nothing(fake, jobs, capsys):
    """What was taken back, or submitted again, is not done by the first submission."""
    from omrl_bench.runner.worker import main_submitted

    planned = jobs("Raises")
    (first,) = leave(planned)
    (second,) = submit_marks(planned, "omrl-second")
    main_submitted(first.folder / "jobs.json", 0)
    assert "nothing to do" in capsys.readouterr().out
    assert list(iterate_records(planned[0].results)) == []
    main_submitted(second.folder / "jobs.json", 0)
    assert {record.job for record in iterate_records(planned[0].results)} == {planned[0].token}
    assert not second.mark.exists()
    second.take_back()
    main_submitted(second.folder / "jobs.json", 0)
    sweep_submissions(planned[0].results)
    assert not first.folder.exists() and not second.folder.exists()


def test_a_method_that_changed_while_its_job_waited(fake, jobs, tmp_path, capsys):
    """Its record would have the hash of one and the numbers of the other."""
    from omrl_bench.runner.worker import main_submitted

    (job,) = jobs("Zero")
    (submission,) = leave([job])
    adapter = tmp_path / "bad.py"
    adapter.write_text(adapter.read_text().replace("np.zeros(", "np.ones("))
    main_submitted(submission.folder / "jobs.json", 0)
    errors = {record.error for record in iterate_records(job.results)}
    assert len(errors) == 1
    assert "the method was changed while its job waited; the same command runs it as it is now" in errors.pop()


def test_a_later_run_takes_over_what_is_queued(fake, jobs):
    (theirs,), (again,) = jobs("Zero"), jobs("Zero")
    (submission,) = leave([theirs])
    last = fake.looks + 4

    def on_look():
        if fake.looks == last:
            fail(theirs, "as submitted")
            submission.settle()

    fake.on_look = on_look
    (error,) = run_jobs([again], make(), Watcher())
    assert error.endswith(": as submitted") and len(fake.submitted()) == 1
    assert {record.job for record in iterate_records(theirs.results)} == {theirs.token} != {again.token}


def test_a_job_of_other_code_is_cancelled(fake, jobs):
    (theirs,), (mine,) = jobs("Zero"), jobs("Zero")
    leave([theirs.model_copy(update={"hashes": theirs.hashes.model_copy(update={"method": "before"})})])
    work(fake, mine.results)
    run_jobs([mine], make(), Watcher())
    assert [state for _, state in fake.tasks.values()] == ["CANCELLED", "RUNNING"]
    assert {record.job for record in iterate_records(mine.results)} == {mine.token}


def test_seeds_that_are_queued_and_others(fake, jobs):
    """The others come after those that are queued; a run that does not wait leaves them out, and says so."""
    (whole,) = jobs("Zero")
    first = whole.model_copy(update={"cells": whole.cells[:1], "token": "theirs"})
    leave([first])
    watcher = Listening()
    assert run_jobs([whole], make(detach=True), watcher) == []
    assert (
        watcher.texts[-1]
        == "point-goal / Zero (seeds 0, 1): left out, until point-goal / Zero (seed 0) has left the queue"
    )
    assert len(fake.submitted()) == 1
    fake.tasks.clear()  # and Slurm has forgotten the first
    work(fake, whole.results)
    assert len(run_jobs([whole], make(), Watcher())) == 2
    assert {record.cell.seed: record.job for record in iterate_records(whole.results)} == {0: "theirs", 1: whole.token}


def test_another_executor_waits_for_what_is_queued(fake, jobs):
    theirs, mine = jobs("Raises"), jobs("Raises")
    (submission,) = leave(theirs)
    with (
        pytest.raises(InputError, match=f"are being made by Slurm, as {submission.name}"),
        taken(mine[0].results, mine[0].cells),
    ):
        pass
    watcher = Listening(fake.tasks.clear)
    (error,) = run_jobs(mine, Inline(), watcher)
    assert watcher.texts == [f"waiting for 1 job that another run has: {submission.holder}"]
    assert "the matrix is singular" in error
    assert record_of(mine[0], mine[0].cells[0]) is not None and not submission.mark.exists()


def test_where_queued_jobs_are(fake, jobs):
    planned = jobs("Zero")
    cell = planned[0].cells[0]
    (submission,) = leave(planned)
    assert whereabouts(planned[0].results, [cell]) == {cell: "Slurm job 101_0, running on n7"}
    fake.tasks.clear()
    lost = f"submitted to Slurm as {submission.name}, not there any more: Slurm lost it"
    assert whereabouts(planned[0].results, [cell])[cell].startswith(lost)
    submission.take_back()
    assert whereabouts(planned[0].results, [cell]) == {}


LOGS = {
    "*** JOB 5 ON n1 CANCELLED AT 2026-11-28T22:04:41 ***": "it was cancelled in Slurm",
    "*** JOB 5 ON n1 CANCELLED AT 2026-11-28T22:04:41 DUE TO TIME LIMIT ***": "Slurm ended it at its time limit",
    "*** JOB 5 ON n1 CANCELLED AT 2026-11-28T22:04:41 DUE TO NODE FAILURE, SEE LOG ***": "its node failed",
    "error: Detected 1 oom_kill event in StepId=5.batch": "it needed more memory than it had",
    "the worker ended with exit code 137": "the worker was ended by signal SIGKILL",
    "the worker ended with exit code 255": "the worker ended with exit code 255",
    "nothing of the kind": "Slurm lost it",
}


@pytest.mark.parametrize("line", LOGS)
def test_what_ended_a_worker_when_slurm_has_forgotten(tmp_path, line):
    log = tmp_path / "0.log"
    log.write_text(f"a line\n{line}\n")
    assert ending_of(None, log).words.startswith(LOGS[line])


def test_what_slurm_says_is_believed_first(tmp_path):
    log = Path(tmp_path / "0.log")
    log.write_text("*** JOB 5 ON n1 CANCELLED AT 2026 DUE TO NODE FAILURE ***\nthe worker ended with exit code 143\n")
    assert ending_of(Task("5_0", "TIMEOUT", "n1", "None"), log).words.startswith("Slurm ended it at its time limit")
    assert ending_of(Task("5_0", "FAILED", "n1", "None"), log).words == "the worker was ended by signal SIGTERM"
    assert "failed, Prolog" in ending_of(Task("5_0", "FAILED", "n1", "Prolog"), tmp_path / "none").words


def test_a_command_that_hangs_is_given_up(tmp_path, monkeypatch):
    for name in ("sbatch", "squeue"):
        (tmp_path / name).write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm, "PATIENCE", 0.2)
    assert slurm.Queue().look(["omrl-a"]) is None
    with pytest.raises(InputError, match="sbatch did not answer within"):
        slurm.sbatch([])
