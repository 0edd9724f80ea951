"""What is known of jobs that run, or that have failed: where, how far, and what they printed last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from omrl_bench.locks import claimed_by
from omrl_bench.runner.job import Job, claim_path, log_path, read_job, read_progress, record_of
from omrl_bench.runner.records import JOBS, Cell

LAST_LINES = 5
_LAST_BYTES = 4096


class FailedJob(NamedTuple):
    """A job that has failed, and the last lines that its worker printed."""

    job: Job
    log: Path
    lines: list[str]


def where_it_runs(results: Path, cell: Cell) -> str:
    """Say where a cell is being made and how far that is, or "" if nobody is making it.

    The worker says where it is, once it has begun; until then it is the run that has claimed the job.
    """
    owner = claimed_by(results / JOBS, claim_path(results, cell))
    for file, job in _jobs(results, cell) if owner else ():
        if cell in job.cells:
            progress = read_progress(file)
            if progress is not None:
                return f"runs in {progress.where or owner}: {progress.stage} {progress.fraction:.0%}"
            return f"started by {owner}"
    return ""


def failed_jobs(results: Path, cells: Iterable[Cell]) -> list[FailedJob]:
    """The jobs of some cells that have failed and that nobody is doing again, as far as their logs are there."""
    found = []
    for cell in {cell.group(): cell for cell in cells}.values():
        if not claimed_by(results / JOBS, claim_path(results, cell)):
            for file, job in _jobs(results, cell):
                log = log_path(file)
                if job.cells[0].group() == cell.group() and log.is_file() and _has_failed(job):
                    found.append(FailedJob(job, log, _last_lines(log)))
    return found


def _jobs(results: Path, cell: Cell) -> Iterator[tuple[Path, Job]]:
    """The job files beside a cell's, as far as they can be read."""
    for file in sorted(cell.jobs_folder(results).glob("seed-*.job")):
        try:
            yield file, read_job(file)
        except (OSError, ValueError, LookupError, TypeError):
            continue


def _has_failed(job: Job) -> bool:
    records = (record_of(job, cell) for cell in job.cells)
    return any(record is not None and record.status == "failed" for record in records)


def _last_lines(log: Path) -> list[str]:
    """The last lines of a file, without what a terminal would not print."""
    try:
        with log.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES)
            file.seek(start)
            text = file.read(_LAST_BYTES).decode(errors="replace")
    except OSError as error:
        return [f"it cannot be read: {error.strerror}"]
    lines = [line.expandtabs(4).rstrip() for line in text.splitlines()]
    printable = ["".join(character for character in line if character.isprintable()) for line in lines]
    return [line for line in printable if line][-LAST_LINES:]
