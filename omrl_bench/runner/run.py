"""One run, from a script, notebook or thread: prepare the data, plan, do what is left and nobody else is doing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from omrl_bench.errors import InputError, RecordError
from omrl_bench.files import beside, sweep
from omrl_bench.locks import Claims, Lock
from omrl_bench.processes import processors
from omrl_bench.runner.executors import Ended, Executor, Resuming, Watcher
from omrl_bench.runner.executors.local import Local
from omrl_bench.runner.job import Job, claim_path, clear, failed_record, job_path, progress_path, record_of, write_job
from omrl_bench.runner.limit import Limit
from omrl_bench.runner.plan import PlannedCell, Selection, inspect_cells, make_jobs, prepare_data
from omrl_bench.runner.records import JOBS, Cell, Record, is_complete, read_record, write_failure
from omrl_bench.runner.slurm import Queue
from omrl_bench.runner.submissions import submission_of
from omrl_bench.runner.trackers import log_in
from omrl_bench.runner.trained import sweep_unfinished
from omrl_bench.vocabulary import Rerun

POLL = 1.0  # seconds between looks at what other runs do


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        selection: What was asked for.
        cells: Every cell of the selection, with its state.
        jobs: The jobs that are left.
        slots: Workers at a time.
        seconds: Estimated duration, from the preset's measured seconds per job.
    """

    selection: Selection
    cells: list[PlannedCell]
    jobs: list[Job]
    slots: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        plan: What there was to do.
        errors: Of the jobs that failed, as ``label: error``.
        left: Jobs that would not have ended within the limit of time and were not started. Every cell of the plan's
            other jobs that did not fail has a complete record, or was left to a queue.
    """

    plan: Plan
    errors: tuple[str, ...]
    left: tuple[Job, ...] = ()


def execute(
    selection: Selection,
    out: Path,
    rerun: Rerun = "stale",
    executor: Executor | None = None,
    watcher: Watcher | None = None,
    limit_hours: float = math.inf,
    track: str | None = None,
) -> Outcome:
    """Run what is left of a selection; afterwards every cell of it has a record, if there was time for it.

    Nothing is printed and no signal is caught: an exception, such as KeyboardInterrupt, ends the workers and passes.
    The cells that have ended by then keep their records, and the same call goes on from there.

    Several runs, of several machines, may fill one results folder: each job is done by one of them, and those that
    need it wait for it.

    Args:
        selection: What to run, see :func:`omrl_bench.runner.plan.select`.
        out: Results folder.
        rerun: Which cells run: ``missing``, ``failed``, ``stale`` or ``all``, each with those before it.
        executor: Where jobs run, see :func:`omrl_bench.runner.executors.make_executor`; None for processes of this
            machine, one per core.
        watcher: Is told what happens.
        limit_hours: How long this may take, data and all: jobs that would not end in time are not started, see
            :class:`omrl_bench.runner.limit.Limit`. Nothing that was started is ended.
        track: Tracker that is shown the curves of what trains (:func:`omrl_bench.runner.trackers.trackers`). It changes
            no number.

    Raises:
        InputError: if the folder is not writable or takes no locks, the data are not what they should be, the limit is
            none, or the tracker cannot be used.
    """
    limit = Limit(limit_hours)
    if track is not None:
        log_in(track)
    executor, watcher = executor or Local(), watcher or Watcher()
    check_folder(out)
    statuses = prepare_data(selection, processors(), watcher.preparing)
    plan = make_plan(selection, out, rerun, executor, statuses)
    watcher.planned(plan)
    jobs = [job.model_copy(update={"track": track}) for job in plan.jobs]
    errors = run_jobs(jobs, executor, watcher, limit)
    return Outcome(plan, tuple(errors), tuple(limit.left))


def make_plan(
    selection: Selection, out: Path, rerun: Rerun, executor: Executor, statuses: dict[tuple[str, str], str]
) -> Plan:
    """See what is there and what is left to do; nothing is run.

    Args:
        selection: What is asked for.
        out: Results folder; it need not be there.
        rerun: Which cells run.
        executor: Where they would run.
        statuses: Of the datasets, from :func:`omrl_bench.runner.plan.prepare_data` or
            :func:`omrl_bench.runner.plan.unknown_statuses`.
    """
    cells = inspect_cells(selection, out, in_process=getattr(executor, "in_process", False))
    jobs = make_jobs(selection, cells, rerun, statuses, out, executor.threads)
    waves = -(-len(jobs) // executor.slots)
    job_seconds = sum(job.preset.job_seconds for job in jobs) / max(1, len(jobs))
    return Plan(selection, cells, jobs, executor.slots, waves * job_seconds)


def run_jobs(jobs: Sequence[Job], executor: Executor, watcher: Watcher, limit: Limit | None = None) -> list[str]:
    """Run jobs and return the errors of those that failed, as ``label: error``.

    Every cell has a record then, but for the jobs that the limit leaves, and those that the executor leaves to a queue
    (:class:`omrl_bench.runner.executors.Resuming`): whether they have records is for a later run to see. If an
    exception ends this, the workers are ended first, and no record is left half-written.

    Raises:
        InputError: if the results folder cannot be written to any more.
    """
    errors: list[str] = []
    try:
        if jobs:
            with _Shared(jobs, executor, watcher, limit or Limit()) as shared:
                _work_off(shared, executor, watcher, errors)
    except BrokenPipeError:  # of the watcher: nobody reads what is printed
        raise
    except OSError as error:  # the folder was there, and is full, or not writable any more
        raise InputError(f"the run cannot go on: {error.filename or 'the results folder'}: {error.strerror}") from error
    return errors


def _work_off(shared: _Shared, executor: Executor, watcher: Watcher, errors: list[str]) -> None:
    while shared.waiting:
        first = next(mine := shared.take(errors), None)
        if first is not None:
            with closing(executor.run(chain([first], mine), watcher)) as endings:
                for ended in endings:
                    _finish(ended, watcher, errors)
                    shared.end(ended)
        elif shared.waiting:
            shared.wait()


class _Shared:
    """The jobs of a run, of which other runs on the folder may have the same. A context manager.

    Attributes:
        waiting: Those that this run has not taken, and that no other has done.
    """

    def __init__(self, jobs: Sequence[Job], executor: Executor, watcher: Watcher, limit: Limit) -> None:
        self.waiting = list(jobs)
        self._executor, self._watcher, self._said = executor, watcher, False
        self._queue = Queue()
        self._limit, self._unfinished = limit, 0
        self._claims = Claims(jobs[0].results / JOBS)
        self._taken: list[Job] = []
        self._before = {cell: _content(job, cell) for job in jobs for cell in job.cells}

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        # what workers that were killed, of this run or of one that is gone, have left half-written
        stems: dict[Path, list[str]] = {}
        for job in self._taken:
            if submission_of(job.results, job.cells[0]) is None:  # else its worker may be writing
                for folder in (job.results / job.cells[0].folder(), job.cells[0].jobs_folder(job.results)):
                    stems.setdefault(folder, []).extend(f"seed-{seed}" for seed in job.seeds)
                sweep_unfinished(job)
        for folder, of_seeds in stems.items():
            sweep(folder, of_seeds)
        self._claims.close()

    def take(self, errors: list[str]) -> Iterator[Job]:
        """Take jobs, one by one as they are asked for, that no other run has taken or done; their files are written.

        What the limit of time leaves for later stays where it is while others run: they may end early.
        """
        for job in list(self.waiting):
            if not self._claims.claim(claim_path(job.results, job.cells[0])):
                if self._limit.is_over:
                    self._leave(job)
                continue
            submission = submission_of(job.results, job.cells[0])
            if submission is not None:
                if isinstance(self._executor, Resuming):
                    theirs = self._executor.resume(job, submission)
                    if theirs is not None:
                        yield from self._take_over(theirs, job)
                        continue
                elif self._queue.may_have(submission):
                    self._release(job)
                    continue
                submission.take_back()
            done = {record.cell: record for record in self._done_elsewhere(job)}
            left = tuple(cell for cell in job.cells if cell not in done)
            if left and not self._limit.allows(job, self._unfinished // self._executor.slots + 1):
                self._release(job)
                if not self._unfinished:
                    self._leave(job)
                continue
            self.waiting.remove(job)
            if left:
                mine = job if left == job.cells else job.model_copy(update={"cells": left})
                self._unfinished += 1
                self._taken.append(mine)
                progress_path(job_path(mine)).unlink(missing_ok=True)
                write_job(job_path(mine), mine)
                yield mine
                continue
            self._release(job)
            error = next((record.error for record in done.values() if record.status == "failed"), None)
            if error:
                errors.append(f"{job.label}: {error}")
            self._watcher.elsewhere(job, error)

    def _take_over(self, theirs: Job, job: Job) -> Iterator[Job]:
        """Take a job that an earlier run has submitted; seeds that it does not have come after it."""
        left = theirs in self._taken  # it was taken over already, and is still in the queue: nobody waits for it
        if left or set(job.cells) <= set(theirs.cells):
            self.waiting.remove(job)
        if left:
            self._watcher.waiting(f"{job.label}: left out, until {theirs.label} has left the queue")
        else:
            self._unfinished += 1
            self._taken.append(theirs)
            yield theirs

    def end(self, ended: Ended) -> None:
        """Let other runs see that a job is done."""
        self._unfinished -= 1
        self._limit.measure(ended.job, ended.seconds)
        self._release(ended.job)

    def _release(self, job: Job) -> None:
        self._claims.release(claim_path(job.results, job.cells[0]))

    def _leave(self, job: Job) -> None:
        self.waiting.remove(job)
        self._limit.left.append(job)

    def wait(self) -> None:
        """Wait a moment for other runs, and say so once."""
        job = self.waiting[0]
        if not self._said:
            submission, count = submission_of(job.results, job.cells[0]), len(self.waiting)
            holder = submission.holder if submission else self._claims.holder(claim_path(job.results, job.cells[0]))
            self._watcher.waiting(f"waiting for {count} job{'s' * (count > 1)} that another run has: {holder}")
            self._said = True
        time.sleep(POLL)

    def _done_elsewhere(self, job: Job) -> Iterator[Record]:
        """Records that other runs have made of cells of a job since it was planned."""
        for cell in job.cells:
            record = _record(job, cell)
            if record is None or not {job.hashes, job.equivalent_to} & {record.hashes, record.equivalent_to} - {None}:
                continue
            changed = record.content != self._before[cell]
            if changed or (not job.train_again and is_complete(job.results, cell)):
                yield record


def _finish(ended: Ended, watcher: Watcher, errors: list[str]) -> None:
    error = _conclude(ended)
    if error:
        errors.append(f"{ended.job.label}: {error}")
    watcher.finished(ended.job, ended.seconds, error)


def _conclude(ended: Ended) -> str | None:
    """Make sure that every cell of a job has a record, and return the error of the first that failed."""
    job = ended.job
    records = [record_of(job, cell) for cell in job.cells]
    for index, record in enumerate(records):
        if record is None:
            write_failure(job.results, failed_record(job, index, ended.how))
    for record in records:
        if record is None:
            return ended.how
        if record.status == "failed":
            return record.error
    clear(job)
    return None


def _record(job: Job, cell: Cell) -> Record | None:
    path = cell.record_path(job.results)
    try:
        return read_record(path) if path.exists() else None
    except (OSError, RecordError):
        return None


def _content(job: Job, cell: Cell) -> str | None:
    record = _record(job, cell)
    return None if record is None else record.content


@contextmanager
def taken(results: Path, cells: Iterable[Cell]) -> Iterator[None]:
    """Be the only one who makes some records.

    Raises:
        InputError: if the folder is not writable, or a run is making one of them.
    """
    check_folder(results)
    with Claims(results / JOBS) as claims:
        for path, cell in {claim_path(results, cell): cell for cell in cells}.items():
            submission = submission_of(results, cell)
            holder = submission.holder if submission and Queue().may_have(submission) else None
            if holder is None and not claims.claim(path):
                holder = claims.holder(path)
            if holder is not None:
                raise InputError(f"records of {cell.folder().as_posix()} are being made by {holder}")
        yield


def check_folder(results: Path) -> None:
    """Make sure that a results folder can be used, before anything is simulated.

    Raises:
        InputError: if it is not writable, or its file system takes no locks.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = beside(results / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"the results folder {results} is not writable: {error.strerror}") from error
    lock = Lock(probe)
    lock.take()
    lock.release()
