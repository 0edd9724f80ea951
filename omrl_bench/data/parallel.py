"""Builds several datasets at once, one process each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from omrl_bench.data.manifest import build_dataset
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.processes import start

Wanted = tuple[str, str]  # family, quality
GRACE = 5.0  # seconds between asking a process to end and killing it


def build_datasets(
    wanted: Sequence[Wanted],
    processes: int,
    progress: Callable[[Wanted, float], None],
    say: Callable[[str], object] = lambda text: None,
    again: bool = False,
) -> Generator[tuple[Wanted, Exception | None]]:
    """Build datasets, and yield each as it is finished, with the error that it ended with, if any.

    A process per dataset uses the cores better than a simulation with many threads, which wait for each other at
    every step. One dataset alone gets all of them as threads. Whatever ends this ends the processes too.

    Args:
        wanted: What to build.
        processes: How many at a time.
        progress: Called with the fraction simulated of a dataset.
        say: Told whom a dataset waits for, see :func:`omrl_bench.data.manifest.build_dataset`.
        again: Whether those are replaced that are there.
    """
    if len(wanted) == 1:
        yield wanted[0], _build(wanted[0], processes, partial(progress, wanted[0]), say, again)
        return
    waiting, running = list(wanted), dict[Connection, tuple[Wanted, BaseProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                item = waiting.pop(0)
                ours, theirs = multiprocessing.Pipe(duplex=False)
                running[ours] = item, start(_work, item, theirs, again)
                theirs.close()  # so that the end of the process is the end of what we read
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                item, process = running[connection]
                try:
                    told = connection.recv()
                except EOFError:
                    process.join()
                    told = InputError(f"its process ended with exit code {process.exitcode}")
                if isinstance(told, float):
                    progress(item, told)
                elif isinstance(told, str):
                    say(told)
                else:
                    del running[connection]
                    process.join()
                    yield item, told
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join(GRACE)
            process.kill()


def _work(item: Wanted, report: Connection, again: bool) -> None:
    report.send(_build(item, 1, report.send, report.send, again))


def _build(
    item: Wanted,
    threads: int,
    progress: Callable[[float], None],
    say: Callable[[str], object],
    again: bool,
) -> Exception | None:
    try:
        build_dataset(get_family(item[0]), item[1], threads, progress, say, again)
    except InputError as error:
        return InputError(str(error))  # others of its kind do not survive being sent
    except Exception as error:
        return error
    return None
