"""Where jobs run: one module per executor, imported when it is used.

An executor only starts workers: ``omrl-bench worker <job file>`` (:func:`omrl_bench.processes.command`) for every job,
in a process of its own, on another machine, or as a call in this one. What became of a job is what its record files
say, never what an executor says; :func:`omrl_bench.runner.run.execute` reads them as jobs end, and writes the records
of cells that were lost.

Other packages add executors under the entry-point group ``omrl_bench.executors`` (``name = "module:Class"``).
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from omrl_bench.errors import InputError, unknown_name
from omrl_bench.named import import_named

if TYPE_CHECKING:
    from omrl_bench.runner.job import Job
    from omrl_bench.runner.run import Plan

ENTRY_POINTS = "omrl_bench.executors"
BUILT_IN = {
    "local": f"{__name__}.local:Local",
    "inline": f"{__name__}.inline:Inline",
    "ray": f"{__name__}.ray:Ray",
}


class Watcher:
    """Is told what happens in a run, and does nothing about it; a subclass overrides what it cares for."""

    def preparing(self, text: str) -> None:
        """A dataset is missing and is being built."""

    def planned(self, plan: Plan) -> None:
        """Data are there; this is what will be done."""

    def waiting(self, text: str) -> None:
        """Another run is doing what is left."""

    def elsewhere(self, job: Job, error: str | None) -> None:
        """Another run has done the job; ``error`` is that of its first record of a failure, if there is one."""

    def started(self, job: Job) -> None:
        """A worker took up the job."""

    def progressed(self, job: Job, stage: str, fraction: float) -> None:
        """The worker reported."""

    def finished(self, job: Job, seconds: float, error: str | None) -> None:
        """The job's records are written; ``error`` is the first one's, if they failed."""


@dataclass(frozen=True)
class Ended:
    """A job whose worker has ended, well or not.

    Attributes:
        job: The job.
        seconds: How long it ran.
        how: How its worker ended, in words: the error of the cells that it left no record of.
    """

    job: Job
    seconds: float
    how: str


@runtime_checkable
class Executor(Protocol):
    """Runs jobs somewhere.

    Attributes:
        slots: Jobs at a time, for the estimate of a run's duration.
        threads: Simulator threads of each job.
    """

    slots: int
    threads: int

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Ended]:
        """Run jobs whose files are written (:func:`omrl_bench.runner.job.job_path`) and yield each as it ends.

        A job that is taken from the iterator is this run's: take the next one when there is room for it, so that other
        runs on the folder may have the rest, or all of them at once if something else queues them. Every job is yielded
        once, in whatever order, after its records are in ``job.results`` if it wrote any. The watcher hears
        :meth:`Watcher.started` and, where the executor can tell, :meth:`Watcher.progressed`. A job that exceeds its
        ``preset.time_limit`` is ended, as far as the executor can. When the iterator is closed, or an
        exception leaves it, no worker of its goes on.
        """
        ...


def executors() -> dict[str, str]:
    """All executors: name -> ``module:Class``. A built-in one wins over an entry point of its name."""
    return {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)} | BUILT_IN


def make_executor(name: str, jobs: int | None = None, **options: object) -> Executor:
    """Make an executor.

    Args:
        name: One of :func:`executors`.
        jobs: Jobs at a time; None leaves it to the executor.
        options: Of this executor alone: further arguments of its class, whose first is ``jobs``.

    Raises:
        InputError: if there is no executor of that name, with the nearest names; it cannot be imported, or is no
            executor; it cannot run so many jobs at a time; or it has no such option.
    """
    known = executors()
    if name not in known:
        raise unknown_name("executor", name, known)
    make = import_named(known[name], f"executor {name!r}")
    for option in options.keys() - inspect.signature(make).parameters.keys():
        raise InputError(f"executor {name!r} has no option --{option.replace('_', '-')}")
    made = make(jobs, **options)
    if not isinstance(made, Executor):
        raise InputError(f"executor {name!r}: {known[name]} has not all of {Executor.__module__}.Executor")
    return made
