"""Jobs in a Slurm cluster: array jobs over job files in a results folder that all nodes share.

They are submitted with ``sbatch``, ``squeue`` says whether they are alive, and their records what became of them. What
is not in the queue and left no record is submitted again, a few times, if another try may go better. That a job is
submitted is written beside its file (:mod:`omrl_bench.runner.submissions`), so that a later run finds it.
"""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.files import beside
from omrl_bench.processes import ONE_THREAD, command
from omrl_bench.runner.executors import Ended, Watcher
from omrl_bench.runner.job import Job, log_path, read_job, read_progress, record_of
from omrl_bench.runner.slurm import Ending, Queue, Task, check_commands, ending_of, sbatch, scancel
from omrl_bench.runner.submissions import LIST, Submission, submission_of, submit_marks, sweep_submissions

POLL = 1.0  # seconds between looks at files
SETTLE = 10.0  # seconds that a job must be out of the queue: what its node wrote last is on its way
GRACE = 60.0  # seconds that cancelled jobs have to end
LARGEST = 1000  # jobs of an array, as Slurm has it where nobody changed it
MOST_TRIES = 3
#: Options of sbatch that are not the user's, by their short forms.
OWN = {"a": "array", "e": "error", "J": "job-name", "M": "clusters", "o": "output", "W": "wait"}
OWN_TOO = {"open-mode", "parsable", "test-only", "wrap"}


class Slurm:
    """A Slurm cluster.

    Args:
        jobs: Jobs at a time; by default as many as Slurm starts.
        slurm_option: Options of sbatch: ``partition=short``, ``p=short``, ``exclusive``.
        detach: Submit the jobs and leave.

    Raises:
        InputError: if there is no Slurm here, or an option is not the user's.
    """

    def __init__(self, jobs: int | None = None, slurm_option: Sequence[str] = (), detach: bool = False) -> None:
        check_commands()
        given = dict(map(_parsed, slurm_option))
        processors = given.get("cpus-per-task") or given.get("c") or ""
        self.threads = int(processors) if processors.isdecimal() else 1
        self.slots = jobs or LARGEST
        self._limit, self._detach = jobs, detach
        self._timed = not given.keys().isdisjoint({"time", "t"})
        self._options = [_argument(name, value) for name, value in given.items()]
        self._queue = Queue()

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Ended]:
        """See :meth:`omrl_bench.runner.executors.Executor.run`; with ``detach`` it leaves what Slurm has."""
        taken: list[Job] = []
        mine: list[_Queued] = []
        try:
            taken += jobs
            before = [(job, submission_of(job.results, job.cells[0])) for job in taken]
            mine += [_Queued(job, submission, 1) for job, submission in before if submission]
            self._submit([(job, 1) for job, submission in before if not submission], mine)
            while mine:
                tasks = self._queue.look(each.submission.name for each in mine)
                for each in mine:
                    each.look(tasks, watcher)
                yield from self._endings(mine, watcher)
                if self._detach and all(each.gone is None for each in mine):
                    count = f"{len(mine)} job{'s' * (len(mine) > 1)}"
                    watcher.waiting(f"{count} left to Slurm: omrl-bench status shows them, the same command goes on")
                    mine.clear()
                if mine:
                    time.sleep(POLL)
        finally:
            if not self._cancel([each.submission for each in mine]):
                watcher.waiting("squeue does not answer: jobs may still be in Slurm; the same command finds them")
            if taken:
                sweep_submissions(taken[0].results)

    def resume(self, job: Job, submission: Submission) -> Job | None:
        """See :meth:`omrl_bench.runner.executors.Resuming.resume`."""
        try:
            theirs = read_job(submission.file)
        except (OSError, ValueError):
            theirs = None
        if theirs is not None and _is_same(theirs, job):
            return theirs if self._queue.may_have(submission) or _lacks_records(theirs) else None
        if not self._cancel([submission]):  # it was planned with other code, data or settings
            raise InputError(
                f"squeue does not say whether Slurm still has {submission.name}, of an earlier run; try later"
            )
        return None

    def _submit(self, jobs: Sequence[tuple[Job, int]], mine: list[_Queued]) -> None:
        """Submit jobs, each with the number of its try; they join mine."""
        for first in range(0, len(jobs), LARGEST):
            these = jobs[first : first + LARGEST]
            before = sorted({each.array for each in mine if each.array and each.gone is None})
            name = f"omrl-{secrets.token_hex(6)}"
            submissions = submit_marks([job for job, _ in these], name)
            added = [_Queued(job, at, tried) for (job, tried), at in zip(these, submissions, strict=True)]
            mine += added
            try:
                array = sbatch(self._arguments(added, before))
            except InputError:
                for submission in submissions:
                    submission.take_back()
                raise
            for each in added:
                each.array = array

    def _arguments(self, jobs: Sequence[_Queued], before: Sequence[str]) -> list[str]:
        """Arguments of sbatch, for an array that may have to wait for others: each array counts for itself."""
        folder = jobs[0].submission.folder
        limit = f"%{self._limit}" if self._limit else ""
        minutes = -(-max(each.job.preset.time_limit for each in jobs) // 60)
        exports = " ".join(f"{name}={value}" for name, value in ONE_THREAD.items())
        worker = shlex.join(command("worker", str(folder / LIST)))
        script = (
            f'export {exports}\n{worker} "$SLURM_ARRAY_TASK_ID"\n'
            'code=$?\necho "the worker ended with exit code $code"\nexit $code'
        )
        return [
            f"--job-name={folder.name}",
            f"--array=0-{len(jobs) - 1}{limit}",
            f"--output={str(folder).replace('%', '%%')}/%a.log",
            "--open-mode=append",  # Slurm starts some jobs again by itself
            *([] if self._timed else [f"--time={minutes}"]),
            *([f"--dependency=afterany:{':'.join(before)}"] if self._limit and before else []),
            *self._options,
            f"--wrap={script}",
        ]

    def _endings(self, mine: list[_Queued], watcher: Watcher) -> Generator[Ended]:
        """Yield those that have ended, which are mine no longer; submit again what is lost."""
        again: list[tuple[Job, int]] = []
        for each in list(mine):
            how = each.how_it_ended()
            if how is None:
                continue
            if how.again and each.tries < MOST_TRIES and _lacks_records(each.job):
                again.append((each.job, each.tries + 1))
                mine.remove(each)
                continue
            each.submission.settle()
            mine.remove(each)
            each.start(watcher)
            log = log_path(each.submission.file)
            output = f"; its output is in {log}" if log.exists() else ""
            yield Ended(each.job, time.monotonic() - each.started, how.words + output)
        self._submit(again, mine)

    def _cancel(self, submissions: Sequence[Submission]) -> bool:
        """Cancel what is in the queue and take it back; False if Slurm does not say that all of it is gone."""
        left, deadline, asked = list(submissions), time.monotonic() + GRACE, False
        while left:
            tasks = self._queue.look((each.name for each in left), at_once=True)
            if tasks is None:
                return False
            alive = {each: task.id for each in left if (task := tasks.get(each.key)) and not task.is_over}
            for each in left:
                if each not in alive:
                    each.take_back()
            left = list(alive)
            if left and time.monotonic() > deadline:
                return False
            if left and not asked:
                scancel(list(alive.values()))
                asked = True
            if left:
                time.sleep(POLL)
        return True


@dataclass
class _Queued:
    job: Job
    submission: Submission
    tries: int
    array: str = ""  # its id
    task: Task | None = None  # what Slurm last said of it
    gone: float | None = None  # since when it is not in the queue
    started: float = 0.0

    def look(self, tasks: dict[tuple[str, int], Task] | None, watcher: Watcher) -> None:
        """See how far it is."""
        if tasks is not None:
            self.task = tasks.get(self.submission.key)
            if self.task is not None and not self.task.is_over:
                self.gone, self.array = None, self.task.id.partition("_")[0]
            elif self.gone is None:
                self.gone = time.monotonic()
        if not self.started and self.submission.log.exists():
            self.start(watcher)
        progress = read_progress(self.submission.file) if self.started else None
        if progress is not None:
            watcher.progressed(self.job, progress.stage, progress.fraction)

    def start(self, watcher: Watcher) -> None:
        """It has started, if that is news."""
        if not self.started:
            self.started = time.monotonic()
            watcher.started(self.job)

    def how_it_ended(self) -> Ending | None:
        """How it ended; None if it has not.

        Raises:
            InputError: if it could not even begin, because its node lacks a folder.
        """
        mark = self.submission.mark
        if mark.exists() and (self.gone is None or time.monotonic() - self.gone < SETTLE):
            return None
        for folder in {cell.record_path(self.job.results).parent for cell in self.job.cells} | {mark.parent}:
            _see_anew(folder)
        if not mark.exists():
            return Ending("", "", "the worker ended before it wrote its records")
        _see_anew(self.submission.folder)
        ending, log = ending_of(self.task, self.submission.log), self.submission.log
        if self.task is not None and self.task.state == "FAILED" and not log.exists():
            raise InputError(
                f"node {self.task.node} does not see the results folder {self.job.results}; --out chooses one that all "
                "nodes share"
            )
        return ending


def _parsed(option: str) -> tuple[str, str | None]:
    name, equals, value = option.strip().lstrip("-").partition("=")
    name = name.strip()
    if not name:
        raise InputError(f"--slurm-option {option!r}: write an option of sbatch, such as partition=short or exclusive")
    if OWN.get(name, name) in {*OWN.values(), *OWN_TOO}:
        raise InputError(f"--slurm-option {option!r}: omrl-bench sets --{OWN.get(name, name)} itself")
    return name, value.strip() if equals else None


def _argument(name: str, value: str | None) -> str:
    if len(name) == 1:
        return f"-{name}{value or ''}"
    return f"--{name}" if value is None else f"--{name}={value}"


def _is_same(theirs: Job, job: Job) -> bool:
    """Whether a job that was submitted before would make the records that are wanted now, of whatever seeds."""
    if job.train_again and not theirs.train_again:
        return False
    free = ("cells", "token", "threads", "train_again")
    return theirs.model_copy(update={name: getattr(job, name) for name in free}) == job


def _lacks_records(job: Job) -> bool:
    return any(record_of(job, cell) is None for cell in job.cells)


def _see_anew(folder: Path) -> None:
    """Let a file system of the network forget what it remembers of a folder: a change of our own makes it ask."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = beside(folder / "probe")
    probe.touch()
    probe.unlink()
