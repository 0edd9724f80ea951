"""One run, from a script, notebook or thread: lock the results folder, prepare the data, plan, do what is left."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.runner.executors import Ended, Executor, Watcher
from omrl_bench.runner.executors.local import Local
from omrl_bench.runner.job import Job, failed_record, job_path, progress_path, write_job
from omrl_bench.runner.plan import PlannedCell, Selection, inspect_cells, make_jobs, prepare_data
from omrl_bench.runner.records import Cell, read_record, write_record
from omrl_bench.vocabulary import Rerun


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

    Args:
        selection: What to run, see :func:`omrl_bench.runner.plan.select`.
        out: Results folder; it is locked while this runs.
        rerun: Which cells run: ``missing``, ``failed``, ``stale`` or ``all``, each with those before it.
        executor: Where jobs run, see :func:`omrl_bench.runner.executors.make_executor`; None for processes of this
            machine, one per core.
        watcher: Is told what happens.

    Raises:
        InputError: if the folder is not writable or another run holds it, or the data are not what they should be.
    """
    executor, watcher = executor or Local(), watcher or Watcher()
    with locked(out):
        statuses = prepare_data(selection, os.cpu_count() or 1, watcher.preparing)
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
    cells = inspect_cells(selection, out)
    jobs = make_jobs(selection, cells, rerun, statuses, out, executor.threads)
    waves = -(-len(jobs) // executor.slots)
    job_seconds = sum(job.preset.job_seconds for job in jobs) / max(1, len(jobs))
    return Plan(selection, cells, jobs, executor.slots, waves * job_seconds)


def run_jobs(jobs: Sequence[Job], executor: Executor, watcher: Watcher) -> list[str]:
    """Run jobs and return the errors of those that failed, as ``label: error``; every cell has a record then.

    If an exception ends this, the workers are ended first, and no record is left half-written.
    """
    for job in jobs:
        progress_path(job_path(job)).unlink(missing_ok=True)
        write_job(job_path(job), job)
    errors = []
    with closing(executor.run(jobs, watcher)) as endings:
        for ended in endings:
            error = _conclude(ended)
            if error:
                errors.append(f"{ended.job.label}: {error}")
            watcher.finished(ended.job, ended.seconds, error)
    return errors


def _conclude(ended: Ended) -> str | None:
    """Make sure that every cell of a job has a record, and return the error of the first that failed."""
    job, file = ended.job, job_path(ended.job)
    lost = [index for index, cell in enumerate(job.cells) if not _written_since(job, cell)]
    for index in lost:
        write_record(job.results, failed_record(job, index, ended.how), None)
    if lost:
        return ended.how
    for cell in job.cells:
        record = read_record(cell.record_path(job.results))
        if record.status == "failed":
            return record.error
    for each in (file, progress_path(file), file.with_suffix(".log")):
        each.unlink(missing_ok=True)
    return None


def _written_since(job: Job, cell: Cell) -> bool:
    """Whether the job's worker got as far as writing the cell's record."""
    path = cell.record_path(job.results)
    return path.exists() and path.stat().st_mtime >= job_path(job).stat().st_mtime


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the results folder for one run.

    Raises:
        InputError: if the folder is not writable, or another run holds it.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        handle = (results / ".lock").open("w")
    except OSError as error:
        raise InputError(f"the results folder {results} is not writable: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another run is using {results}; wait for it, or choose another --out") from error
        yield
