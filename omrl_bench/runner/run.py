"""One run, from a script, notebook or thread: prepare the data, plan, do what is left and nobody else is doing."""

from __future__ import annotations

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
from omrl_bench.runner.executors import Ended, Executor, Watcher
from omrl_bench.runner.executors.local import Local
from omrl_bench.runner.job import Job, failed_record, job_path, progress_path, record_of, write_job
from omrl_bench.runner.plan import PlannedCell, Selection, inspect_cells, make_jobs, prepare_data
from omrl_bench.runner.records import JOBS, Cell, Record, is_complete, read_record, write_failure
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
        errors: Of the jobs that failed, as ``label: error``. Every other cell of the plan's jobs has a complete record.
    """

    plan: Plan
    errors: tuple[str, ...]


def execute(
    selection: Selection,
    out: Path,
    rerun: Rerun = "stale",
    executor: Executor | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Run what is left of a selection; afterwards every cell of it has a record.

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

    Raises:
        InputError: if the folder is not writable or takes no locks, or the data are not what they should be.
    """
    executor, watcher = executor or Local(), watcher or Watcher()
    check_folder(out)
    statuses = prepare_data(selection, processors(), watcher.preparing)
    plan = make_plan(selection, out, rerun, executor, statuses)
    watcher.planned(plan)
    return Outcome(plan, tuple(run_jobs(plan.jobs, executor, watcher)))


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


def run_jobs(jobs: Sequence[Job], executor: Executor, watcher: Watcher) -> list[str]:
    """Run jobs and return the errors of those that failed, as ``label: error``; every cell has a record then.

    If an exception ends this, the workers are ended first, and no record is left half-written.
    """
    errors: list[str] = []
    if jobs:
        with _Shared(jobs, watcher) as shared:
            while shared.waiting:
                first = next(mine := shared.take(errors), None)
                if first is not None:
                    with closing(executor.run(chain([first], mine), watcher)) as endings:
                        for ended in endings:
                            _finish(ended, watcher, errors)
                            shared.release(ended.job)
                elif shared.waiting:
                    shared.wait()
    return errors


class _Shared:
    """The jobs of a run, of which other runs on the folder may have the same. A context manager.

    Attributes:
        waiting: Those that this run has not taken, and that no other has done.
    """

    def __init__(self, jobs: Sequence[Job], watcher: Watcher) -> None:
        self.waiting = list(jobs)
        self._watcher, self._said = watcher, False
        self._claims = Claims(jobs[0].results / JOBS)
        self._taken: list[Job] = []
        self._before = {cell: _content(job, cell) for job in jobs for cell in job.cells}

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._taken:
            self._sweep(job)
        self._claims.close()

    def take(self, errors: list[str]) -> Iterator[Job]:
        """Take jobs, one by one as they are asked for, that no other run has taken or done; their files are written."""
        for job in list(self.waiting):
            if not self._claims.claim(_claim_path(job.results, job.cells[0])):
                continue
            self.waiting.remove(job)
            done = {record.cell: record for record in self._done_elsewhere(job)}
            left = tuple(cell for cell in job.cells if cell not in done)
            if left:
                mine = job.model_copy(update={"cells": left})
                self._sweep(mine)
                self._taken.append(mine)
                progress_path(job_path(mine)).unlink(missing_ok=True)
                write_job(job_path(mine), mine)
                yield mine
                continue
            self.release(job)
            error = next((record.error for record in done.values() if record.status == "failed"), None)
            if error:
                errors.append(f"{job.label}: {error}")
            self._watcher.elsewhere(job, error)

    def release(self, job: Job) -> None:
        """Let other runs see that a job is done."""
        self._claims.release(_claim_path(job.results, job.cells[0]))

    @staticmethod
    def _sweep(job: Job) -> None:
        """Remove what workers that were killed, of this run or of one that is gone, left half-written."""
        for cell in job.cells:
            path = cell.record_path(job.results)
            sweep(path.parent, path.stem)

    def wait(self) -> None:
        """Wait a moment for other runs, and say so once."""
        job = self.waiting[0]
        if not self._said:
            holder, count = self._claims.holder(_claim_path(job.results, job.cells[0])), len(self.waiting)
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
    job, file = ended.job, job_path(ended.job)
    records = [record_of(job, cell) for cell in job.cells]
    for index, record in enumerate(records):
        if record is None:
            write_failure(job.results, failed_record(job, index, ended.how))
    for record in records:
        if record is None:
            return ended.how
        if record.status == "failed":
            return record.error
    failures = (cell.failure_path(job.results) for cell in job.cells)
    for path in (file, progress_path(file), file.with_suffix(".log"), *failures):
        path.unlink(missing_ok=True)
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


def _claim_path(results: Path, cell: Cell) -> Path:
    return cell.jobs_folder(results) / f"seeds-{cell.group()[1]}.claim"


@contextmanager
def taken(results: Path, cells: Iterable[Cell]) -> Iterator[None]:
    """Be the only one who makes some records.

    Raises:
        InputError: if the folder is not writable, or a run is making one of them.
    """
    check_folder(results)
    with Claims(results / JOBS) as claims:
        for path in {_claim_path(results, cell): None for cell in cells}:
            if not claims.claim(path):
                where = path.parent.relative_to(results / JOBS).as_posix()
                raise InputError(f"records of {where} are being made by {claims.holder(path)}")
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
