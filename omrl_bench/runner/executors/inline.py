"""Jobs in this process, one after the other: for debuggers and notebooks.

Breakpoints in a method stop here, and what it prints is seen here. The numbers are those of any other executor, to the
bit, but the method can reach whatever scores it: records say so (``refereed``), and no table takes them. A method that
crashes the process crashes this one, and no time limit can end a job.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from omrl_bench.errors import InputError
from omrl_bench.processes import processors
from omrl_bench.runner.executors import Ended, Watcher
from omrl_bench.runner.job import Job, Progress


class Inline:
    """This process.

    Args:
        jobs: Jobs at a time: none but one.

    Raises:
        InputError: if more are asked for.
    """

    slots = 1
    in_process = True  # its own records will do for it

    def __init__(self, jobs: int | None = None) -> None:
        if jobs not in (None, 1):
            raise InputError(f"executor 'inline' runs one job at a time, not {jobs}")
        self.threads = processors()

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Ended]:
        """See :meth:`omrl_bench.runner.executors.Executor.run`."""
        for job in jobs:
            watcher.started(job)
            started = time.monotonic()
            how = _call(job, watcher)
            yield Ended(job, time.monotonic() - started, how)


def _call(job: Job, watcher: Watcher) -> str:
    """Run a job and return how it ended, for the cells that it left no record of."""
    from omrl_bench.runner.worker import describe, run_job

    def report(progress: Progress) -> None:
        watcher.progressed(job, progress.stage, progress.fraction)

    try:
        with _one_thread():
            run_job(job, report, in_process=True)
    except SystemExit as ending:
        return f"the method ended its process, with {ending.code!r}"
    except Exception as error:
        return describe(error)
    return "the worker ended before it wrote its records"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra in one thread, as in a worker's process, so that sums have the same bits; as before afterwards."""
    import torch

    before = torch.get_num_threads()
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
