"""Starts workers and watches over them: one process per job, so that a crash costs that job only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omrl_bench.processes import ONE_THREAD
from omrl_bench.runner.job import Job, failed_record, progress_path, read_progress, write_job
from omrl_bench.runner.records import Cell, read_record, write_record

POLL = 0.1  # seconds
GRACE = 5.0  # seconds between asking a worker to end and killing it


class Watcher(Protocol):
    """Is told what happens."""

    def started(self, job: Job) -> None:
        """A worker took up the job."""
        ...

    def progressed(self, job: Job, stage: str, fraction: float) -> None:
        """The worker reported."""
        ...

    def finished(self, job: Job, seconds: float, error: str | None) -> None:
        """The job's records are written; ``error`` is the first one's, if they failed."""
        ...


@dataclass
class _Running:
    job: Job
    file: Path
    process: subprocess.Popen[bytes]
    started: float


def run_jobs(jobs: Sequence[Job], slots: int, watcher: Watcher) -> list[str]:
    """Run all jobs, ``slots`` at a time, and return the errors of those that failed, as ``label: error``.

    Afterwards every cell has a record. When interrupted, the workers are ended first; no record is left half-written.
    """
    waiting = list(jobs)
    running: list[_Running] = []
    errors: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                job = waiting.pop(0)
                running.append(_start(job))
                watcher.started(job)
            time.sleep(POLL)
            for worker in list(running):
                if not _watch(worker, watcher):
                    continue
                running.remove(worker)
                error = _conclude(worker)
                if error:
                    errors.append(f"{worker.job.label}: {error}")
                watcher.finished(worker.job, time.monotonic() - worker.started, error)
    finally:
        for worker in running:
            _end(worker.process)
    return errors


def _start(job: Job) -> _Running:
    file = job.results / ".jobs" / job.cells[0].folder() / f"seed-{job.seeds[0]}.job"
    file.parent.mkdir(parents=True, exist_ok=True)
    progress_path(file).unlink(missing_ok=True)
    write_job(file, job)
    environment = os.environ | ONE_THREAD
    with file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "omrl_bench", "worker", str(file)],
            stdin=subprocess.PIPE,  # never written to: it closes when this process ends, however it ends
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    return _Running(job, file, process, time.monotonic())


def _watch(worker: _Running, watcher: Watcher) -> bool:
    """Report a worker's progress and return whether it has ended; end it if it is over its time."""
    if worker.process.poll() is not None:
        return True
    if time.monotonic() - worker.started > worker.job.preset.time_limit:
        _end(worker.process)
        return True
    progress = read_progress(worker.file)
    if progress is not None:
        watcher.progressed(worker.job, progress.stage, progress.fraction)
    return False


def _conclude(worker: _Running) -> str | None:
    """Make sure that every cell has a record, and return the error of the first that failed."""
    job = worker.job
    lost = [index for index, cell in enumerate(job.cells) if not _written_since(worker, cell)]
    if lost:
        error = f"{_ending(worker)}; its output is in {worker.file.with_suffix('.log')}"
        for index in lost:
            write_record(job.results, failed_record(job, index, error), None)
        return error
    for cell in job.cells:
        record = read_record(cell.record_path(job.results))
        if record.status == "failed":
            return record.error
    for file in (worker.file, progress_path(worker.file), worker.file.with_suffix(".log")):
        file.unlink(missing_ok=True)
    return None


def _ending(worker: _Running) -> str:
    """How a worker ended before its records were written."""
    code = worker.process.returncode
    if time.monotonic() - worker.started > worker.job.preset.time_limit:
        return f"exceeded the time limit of {worker.job.preset.time_limit} s"
    if code < 0:
        return f"the worker was ended by signal {signal.Signals(-code).name}"
    return f"the worker ended with exit code {code}"


def _written_since(worker: _Running, cell: Cell) -> bool:
    """Whether this worker got as far as writing the cell's record."""
    path = cell.record_path(worker.job.results)
    return path.exists() and path.stat().st_mtime >= worker.file.stat().st_mtime


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
