"""Processes of their own, which share the cores."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits

#: Environment of a process whose linear algebra keeps to one thread: threads that wait for each other are slower by far
#: where every core has a process.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def process_pool(number: int) -> ProcessPoolExecutor:
    """Return a pool of so many new processes, of one thread each.

    A script that uses it needs ``if __name__ == "__main__":``.
    """
    return ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _one_thread)


def _one_thread() -> None:
    os.environ.update(ONE_THREAD)  # for libraries that are loaded later; they read it once
    threadpool_limits(1)  # for those that the script's own imports have loaded
