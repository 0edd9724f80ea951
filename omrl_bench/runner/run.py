"""One run: lock the results folder, see what is missing, do it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.runner.job import Job
from omrl_bench.runner.plan import PlannedCell, Rerun, Selection, inspect_cells, make_jobs


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        cells: Every cell of the selection, with its state.
        jobs: The jobs that are left.
        slots: Workers at a time.
        seconds: Estimated duration, from the preset's measured seconds per job.
    """

    cells: list[PlannedCell]
    jobs: list[Job]
    slots: int
    seconds: float


def make_plan(
    selection: Selection, results: Path, rerun: Rerun, slots: int, statuses: dict[tuple[str, str], str]
) -> Plan:
    """See what is there and what is left to do; nothing is run."""
    cells = inspect_cells(selection, results)
    threads = max(1, (os.cpu_count() or 1) // slots)
    jobs = make_jobs(selection, cells, rerun, statuses, results, threads)
    waves = -(-len(jobs) // slots)
    job_seconds = sum(job.preset.job_seconds for job in jobs) / max(1, len(jobs))
    return Plan(cells, jobs, slots, waves * job_seconds)


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
