"""Where the jobs of cells are, how far, and what their workers printed last; nothing is run or changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omrl_bench.errors import InputError
from omrl_bench.locks import claimed_by
from omrl_bench.runner.job import Job, claim_path, log_path, read_job, read_progress, record_of
from omrl_bench.runner.records import JOBS, Cell
from omrl_bench.runner.slurm import Queue, ending_of
from omrl_bench.runner.submissions import Submission, submission_of

LAST_LINES = 5
_LAST_BYTES = 4096


class Printed(NamedTuple):
    """The last lines that the worker of a job printed."""

    job: Job
    log: Path
    lines: list[str]


def whereabouts(results: Path, cells: Sequence[Cell]) -> dict[Cell, str]:
    """Say of those cells that are being made where that is: in a queue, or in a process and how far."""
    running = {cell: text for cell in cells if (text := _running(results, cell))}
    return running | _queued(results, cells)


def last_printed(results: Path, cells: Iterable[Cell]) -> list[Printed]:
    """What the jobs of some cells printed that have failed or were left to a queue, and that no run is doing again."""
    found = []
    for cell in {cell.group(): cell for cell in cells}.values():
        if claimed_by(results / JOBS, claim_path(results, cell)):
            continue
        submission = submission_of(results, cell)
        for file, job in _jobs(results, cell):
            queued = submission is not None and submission.file == file
            log = submission.log if submission and queued else log_path(file)
            if job.cells[0].group() == cell.group() and log.is_file() and (queued or _has_failed(job)):
                found.append(Printed(job, log, _last_lines(log)))
    return found


def _running(results: Path, cell: Cell) -> str:
    """Where a cell is being made: the worker says it, once it has begun; until then the run that claimed the job."""
    owner = claimed_by(results / JOBS, claim_path(results, cell))
    for file, job in _jobs(results, cell) if owner else ():
        if cell in job.cells:
            progress = read_progress(file)
            if progress is not None:
                return f"runs in {progress.where or owner}: {progress.stage} {progress.fraction:.0%}"
            return f"started by {owner}"
    return ""


def _queued(results: Path, cells: Sequence[Cell]) -> dict[Cell, str]:
    """Where those jobs wait or run that were left to a queue, or how they ended there."""
    submitted: dict[Cell, Submission] = {}
    for cell in cells:
        submission = submission_of(results, cell)
        if submission and any(file == submission.file and cell in job.cells for file, job in _jobs(results, cell)):
            submitted[cell] = submission
    tasks = Queue().look(each.name for each in submitted.values())
    found = {}
    for cell, submission in submitted.items():
        if tasks is None:
            found[cell] = f"submitted to Slurm as {submission.name}; squeue does not answer here"
            continue
        task = tasks.get(submission.key)
        words = task.words if task else f"submitted to Slurm as {submission.name}"
        if task is None or task.is_over:
            words += f", not there any more: {ending_of(task, submission.log).words}"
        found[cell] = words
    return found


def _jobs(results: Path, cell: Cell) -> Iterator[tuple[Path, Job]]:
    """The job files beside a cell's, as far as they can be read."""
    for file in sorted(cell.jobs_folder(results).glob("seed-*.job")):
        try:
            yield file, read_job(file)
        except (OSError, ValueError, LookupError, TypeError, InputError):
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
