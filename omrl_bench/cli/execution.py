"""How the verbs that run something show it, and how they end when it is interrupted or fails."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from omrl_bench.runner.executors import Executor
    from omrl_bench.runner.plan import Selection
    from omrl_bench.runner.run import Outcome
    from omrl_bench.vocabulary import Rerun

INTERRUPTED = 130
ExecutorOption = Annotated[
    str,
    typer.Option(
        help="Where jobs run: local (processes here), inline (this process, to debug), ray, slurm (clusters)."
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Jobs at a time (default: one per processor that this process may use; slurm: no limit)."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Of ray: the cluster's address, e.g. auto or 10.0.0.1:6379 (default: $RAY_ADDRESS, else auto)."),
]
GpusOption = Annotated[float | None, typer.Option(min=0, help="Of ray: GPUs of each job, e.g. 0.25.")]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Of slurm: an option of sbatch, e.g. partition=short (repeatable)."),
]
DetachOption = Annotated[
    bool,
    typer.Option("--detach", help="Of slurm: submit the jobs and leave; the same command goes on."),
]


LimitOption = Annotated[
    float | None,
    typer.Option(
        metavar="H",
        help="Hours that this may take: jobs that would not end in time, by the durations of this run's or else the "
        "preset's, are not started. The same command goes on.",
    ),
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Show the curves of what trains as it goes: tensorboard or wandb (extras of the package), in "
        "OUT/.track and, if wandb is online, on its server.",
    ),
]


def given(**options: object) -> dict[str, object]:
    """The options of an executor that were given on the command line."""
    return {name: value for name, value in options.items() if value not in (None, False)}


def show_run(
    selection: Selection,
    out: Path,
    rerun: Rerun,
    executor: Executor,
    notes: Sequence[str] = (),
    limit_hours: float | None = None,
    track: str | None = None,
) -> Outcome:
    """Run what is left of a selection, show plan and progress, and return what was done.

    Args:
        selection: What to run.
        out: Results folder.
        rerun: Which cells run.
        executor: Where they run.
        notes: What to say of the plan before anything trains.
        limit_hours: How long this may take, if there is a limit.
        track: Tracker of live curves.
    """
    from omrl_bench.cli.display import watching
    from omrl_bench.runner.run import execute

    with interruptible(), watching(notes) as watcher:
        hours = math.inf if limit_hours is None else limit_hours
        return execute(selection, out, rerun, executor, watcher, hours, track)


@contextmanager
def interruptible(finished: str = "cells") -> Iterator[None]:
    """Make a request to end (SIGTERM) what Ctrl-C is: it ends the workers, and the command with its own exit code."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; finished {finished} are kept, the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with(errors: Sequence[str], left: int = 0) -> None:
    """Say how many jobs the limit of time left, list those that failed, and end with exit code 1 if there are any."""
    if left:
        jobs = f"{left} job{'s' * (left > 1)}"
        typer.echo(f"\n{jobs} left that would not have ended in time; the same command goes on from here", err=True)
    if errors:
        typer.echo(f"\n{len(errors)} failed; the same command tries them again:", err=True)
        for error in errors:
            typer.echo(f"  {error}", err=True)
        raise typer.Exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
