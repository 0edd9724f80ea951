"""Processes of their own, which share the processors and import nothing from the working folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from threadpoolctl import threadpool_limits

#: Environment of a process whose linear algebra keeps to one thread: threads that wait for each other are slower by far
#: where every core has a process.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_SAFE_PATH = "PYTHONSAFEPATH"
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
#: Runs the `main` of a module of this very package, whatever other copy of it Python would find.
_COMMAND = """
import os, sys
from importlib import import_module
from importlib.util import find_spec
root, module = sys.argv.pop(1), sys.argv.pop(1)
found = find_spec("omrl_bench")
if found is None or found.origin != os.path.join(root, "omrl_bench", "__init__.py"):
    sys.path.insert(0, root)
import_module(module).main()
"""


def command(*arguments: str, module: str = "omrl_bench.cli.main") -> list[str]:
    """Return the command that runs this very package in a process of its own, e.g. ``command("worker", path)``.

    Without a ``module`` it is the command line; else ``main()`` of that one, which has the arguments in ``sys.argv``.

    ``python -m omrl_bench`` would run the copy in the working folder, if there is one, and import a ``random.py`` that
    lies there in place of Python's.
    """
    return [sys.executable, "-P", "-c", _COMMAND, str(Path(__file__).parents[1]), module, *arguments]


def processors() -> int:
    """How many processors this process may use: by its affinity, its cgroups' quotas or its Slurm task, the least."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    limits = [len(affinity(0)) if affinity else os.cpu_count() or 1, *_quotas()]
    of_task = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if of_task.isdecimal():
        limits.append(int(of_task))
    return max(1, min(limits))


def start(target: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Start a new process of one thread, which ends with this one, and which a request to end interrupts.

    A script that uses it needs ``if __name__ == "__main__":``.
    """
    process = multiprocessing.get_context("spawn").Process(target=_call, args=(target, *arguments), daemon=True)
    with _safe_path():
        process.start()
    return process


@contextmanager
def process_pool(number: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of so many new processes, of one thread each, which end with this one.

    A script that uses it needs ``if __name__ == "__main__":``.
    """
    context = multiprocessing.get_context("spawn")
    with _safe_path(), ProcessPoolExecutor(number, context, initializer=_begin) as pool:
        yield pool


def _call(target: Callable[..., object], *arguments: Any) -> None:
    _begin()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        target(*arguments)
    except KeyboardInterrupt:  # nobody wants to see where
        sys.exit(130)


def _begin() -> None:
    os.environ.update(ONE_THREAD)  # for libraries that are loaded later; they read it once
    threadpool_limits(1)  # for those that the script's own imports have loaded
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _safe_path() -> Iterator[None]:
    """What multiprocessing starts meanwhile imports nothing from the working folder."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_SAFE_PATH, None)
        else:
            os.environ[_SAFE_PATH] = before


def _quotas() -> Iterator[int]:
    """Processors that the quotas of this process's cgroups, of version 1 or 2, amount to."""
    try:
        lines = _OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = (_CGROUPS / "cpu", _CGROUPS / controllers) if controllers else (_CGROUPS, _CGROUPS / "unified")
        for base in mounted:
            own = base / path.strip("/")
            # a container may see its cgroup as the root, under the path that it has outside
            for folder in {own, *(parent for parent in own.parents if parent.is_relative_to(base))}:
                quota = _quota_of(folder)
                if quota is not None:
                    yield quota


def _quota_of(folder: Path) -> int | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text(encoding="utf-8") for name in names).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and period.isdecimal() and int(period):
            return max(1, int(quota) // int(period))
    return None
