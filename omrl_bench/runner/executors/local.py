"""Jobs on this machine: one process per job, so many at a time. A crash costs that job only."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.processes import ONE_THREAD, command, processors
from omrl_bench.runner.executors import Ended, Watcher
from omrl_bench.runner.job import Job, job_path, log_path, read_progress

POLL = 0.1  # seconds
GRACE = 5.0  # seconds between asking a worker to end and killing it


class Local:
    """Processes of this machine.

    Args:
        jobs: Jobs at a time; one per processor by default. They share the processors between their simulators.
    """

    def __init__(self, jobs: int | None = None) -> None:
        available = processors()
        self.slots = jobs or available
        self.threads = max(1, available // self.slots)

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Ended]:
        """See :meth:`omrl_bench.runner.executors.Executor.run`."""
        waiting = iter(jobs)
        running: list[_Worker] = []
        try:
            while True:
                while len(running) < self.slots and (job := next(waiting, None)):
                    running.append(_start(job))
                    watcher.started(job)
                if not running:
                    return
                time.sleep(POLL)
                for worker in list(running):
                    if _has_ended(worker, watcher):
                        running.remove(worker)
                        yield Ended(worker.job, time.monotonic() - worker.started, _how(worker))
        finally:
            for worker in running:
                _end(worker.process)


@dataclass
class _Worker:
    job: Job
    log: Path
    process: subprocess.Popen[bytes]
    started: float


def _start(job: Job) -> _Worker:
    file = job_path(job)
    log_file = log_path(file)
    log_file.unlink(missing_ok=True)  # another user's, in a folder that is shared, cannot be written to
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command("worker", str(file)),
            stdin=subprocess.PIPE,  # never written to: it closes when this process ends, however it ends
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    return _Worker(job, log_file, process, time.monotonic())


def _has_ended(worker: _Worker, watcher: Watcher) -> bool:
    """Report a worker's progress and return whether it has ended; end it if it is over its time."""
    if worker.process.poll() is not None:
        return True
    if _over_its_time(worker):
        _end(worker.process)
        return True
    progress = read_progress(job_path(worker.job))
    if progress is not None:
        watcher.progressed(worker.job, progress.stage, progress.fraction)
    return False


def _over_its_time(worker: _Worker) -> bool:
    return time.monotonic() - worker.started > worker.job.preset.time_limit


def _how(worker: _Worker) -> str:
    code = worker.process.returncode
    if _over_its_time(worker):
        ending = f"exceeded the time limit of {worker.job.preset.time_limit} s"
    elif code < 0:
        ending = f"the worker was ended by signal {signal.Signals(-code).name}"
    else:
        ending = f"the worker ended with exit code {code}"
    return f"{ending}; its output is in {worker.log}"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
