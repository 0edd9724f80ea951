"""A job: one file that says everything a worker needs to know."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from pydantic import Field

from omrl_bench.envs.families import get_family
from omrl_bench.errors import RecordError
from omrl_bench.files import write_atomically
from omrl_bench.frozen import Frozen
from omrl_bench.protocols.protocol import AnyProtocol
from omrl_bench.protocols.suite import Preset
from omrl_bench.runner.circumstances import circumstances, now
from omrl_bench.runner.records import Cell, Hashes, Record, read_record


class Job(Frozen):
    """The cells that differ in their seed only: they train together."""

    cells: tuple[Cell, ...]
    target: str  # the method's class, see registry.resolve_method
    settings: dict[str, Any]
    protocol: AnyProtocol
    preset: Preset
    hashes: Hashes
    trainer: tuple[str, str]  # the method whose training it is, see Algorithm.trained_as, and the hash of that method
    equivalent_to: Hashes | None
    dataset_status: str
    results: Path = Field(exclude=True)  # the job's file is in it
    threads: int
    context_rho: float | None = None  # see Suite.context_rho
    device: str = "cpu"
    train_again: bool = False  # although a kept training would do
    track: str | None = None  # tracker of live curves, see omrl_bench.runner.trackers
    token: str = Field(default_factory=lambda: secrets.token_hex(8))  # is in the records that this job writes

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the job's cells."""
        return tuple(cell.seed for cell in self.cells)

    @property
    def label(self) -> str:
        """Short name for progress and messages."""
        cell = self.cells[0]
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"seeds {', '.join(map(str, self.seeds))}"
        return f"{cell.family} / {cell.method} ({seeds})"

    def file_content(self) -> bytes:
        """What its file holds: in ASCII, as paths may have bytes that are no text."""
        return json.dumps(self.model_dump()).encode("ascii")


class Progress(Frozen):
    """What a worker says of its state, several times a minute."""

    stage: str
    fraction: float  # of the whole job, 0 to 1
    where: str = ""  # it is: its process and machine, or what an engine calls it


def write_job(path: Path, job: Job) -> None:
    """Write the job file."""
    write_atomically(path, job.file_content(), durable=False)


def read_job(path: Path) -> Job:
    """Read a job file: its results folder is the one that it is in, see :func:`job_path`."""
    fields = json.loads(path.read_text(encoding="ascii"))
    depth = len(Cell.model_validate(fields["cells"][0]).jobs_folder(Path()).parts)
    return Job.model_validate(fields | {"results": path.absolute().parents[depth]})


def job_path(job: Job) -> Path:
    """Where the file of a job is; its log and the reports of its worker lie beside it."""
    return job.cells[0].jobs_folder(job.results) / f"seed-{job.seeds[0]}.job"


def record_of(job: Job, cell: Cell) -> Record | None:
    """The record that a job left of one of its cells: it has the job's token."""
    for path in (cell.record_path(job.results), cell.failure_path(job.results)):
        try:
            record = read_record(path) if path.exists() else None
        except RecordError:
            continue
        if record is not None and record.job == job.token:
            return record
    return None


def clear(job: Job) -> None:
    """Remove what only a run that goes on needs: every cell has its complete record."""
    file = job_path(job)
    failures = (cell.failure_path(job.results) for cell in job.cells)
    for path in (file, progress_path(file), log_path(file), *failures):
        path.unlink(missing_ok=True)


def claim_path(results: Path, cell: Cell) -> Path:
    """The claim that a run has on the job of a cell, see :class:`omrl_bench.locks.Claims`."""
    return cell.jobs_folder(results) / f"seeds-{cell.group()[1]}.claim"


def log_path(job_file: Path) -> Path:
    """Where that which the worker of a job printed lies."""
    return job_file.with_suffix(".log")


def progress_path(job_file: Path) -> Path:
    """Where the worker of a job reports."""
    return job_file.with_suffix(".progress")


def write_progress(job_file: Path, progress: Progress) -> None:
    """Write a report."""
    write_atomically(progress_path(job_file), progress.model_dump_json().encode(), durable=False)


def read_progress(job_file: Path) -> Progress | None:
    """Return the last report, if there is one that can be read."""
    try:
        return Progress.model_validate_json(progress_path(job_file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def failed_record(job: Job, index: int, error: str) -> Record:
    """The record of a cell that did not make it."""
    return Record(
        cell=job.cells[index],
        family_version=get_family(job.cells[index].family).version,
        status="failed",
        error=error.encode(errors="backslashreplace").decode(),  # it may have a path in it whose bytes are no text
        hashes=job.hashes,
        equivalent_to=job.equivalent_to,
        dataset_status=job.dataset_status,
        privileges=(),
        configuration={},
        trained_together=job.seeds,
        created=now(),
        job=job.token,
        **circumstances(),
    )
