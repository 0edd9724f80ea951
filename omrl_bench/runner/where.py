"""Where the jobs of cells are, and what their workers printed; nothing is run or changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.runner.job import Job, log_path, read_job
from omrl_bench.runner.records import Cell
from omrl_bench.runner.slurm import Queue, ending_of
from omrl_bench.runner.submissions import Submission, submission_of


def whereabouts(results: Path, cells: Iterable[Cell]) -> dict[Cell, str]:
    """Say of those cells whose jobs were left to a queue where they wait or run, or how they ended there."""
    submitted: dict[Cell, Submission] = {}
    for cell in cells:
        submission = submission_of(results, cell)
        job = _read(submission.file) if submission else None
        if submission and job and cell in job.cells:
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


def printed(results: Path, cells: Iterable[Cell]) -> list[tuple[str, Path]]:
    """The logs of the jobs of cells, each once, with the job's label."""
    found = {}
    for cell in cells:
        for file in sorted(cell.jobs_folder(results).glob("seed-*.job")):
            job = _read(file)
            if job is not None and cell in job.cells:
                submission = submission_of(results, cell)
                log = submission.log if submission and submission.file == file else log_path(file)
                if log.exists():
                    found[log] = job.label
    return [(label, log) for log, label in found.items()]


def _read(file: Path) -> Job | None:
    try:
        return read_job(file)
    except (OSError, ValueError, InputError):
        return None
