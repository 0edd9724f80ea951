"""Builds several datasets at once, one process each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from queue import Empty
from typing import Any

from omrl_bench.data.manifest import build_dataset
from omrl_bench.envs.families import get_family
from omrl_bench.processes import process_pool

Wanted = tuple[str, str]  # family, quality
POLL = 0.2  # seconds


def build_datasets(
    wanted: Sequence[Wanted], processes: int, progress: Callable[[Wanted, float], None]
) -> Iterator[tuple[Wanted, Exception | None]]:
    """Build datasets, and yield each as it is finished, with the error that it ended with, if any.

    A process per dataset uses the cores better than a simulation with many threads, which wait for each other at
    every step. One dataset alone gets all of them as threads.

    Args:
        wanted: What to build.
        processes: How many at a time.
        progress: Called with the fraction simulated of a dataset.
    """
    if len(wanted) == 1:
        yield wanted[0], _build(wanted[0], processes, partial(progress, wanted[0]))
        return
    with multiprocessing.get_context("spawn").Manager() as manager, process_pool(processes) as pool:
        queue = manager.Queue()
        running: dict[Future[Exception | None], Wanted] = {pool.submit(_work, item, queue): item for item in wanted}
        try:
            while running:
                done, _ = wait(running, timeout=POLL, return_when="FIRST_COMPLETED")
                for item, fraction in _drain(queue):
                    progress(item, fraction)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _work(item: Wanted, queue: Any) -> Exception | None:
    return _build(item, 1, lambda fraction: queue.put((item, fraction)))


def _build(item: Wanted, threads: int, progress: Callable[[float], None]) -> Exception | None:
    try:
        build_dataset(get_family(item[0]), item[1], threads, progress)
    except Exception as error:
        return error
    return None


def _drain(queue: Any) -> Iterator[tuple[Wanted, float]]:
    try:
        while True:
            yield queue.get_nowait()
    except Empty:
        return
