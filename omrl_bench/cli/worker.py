"""``omrl-bench worker`` (hidden): what an executor starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(
    job: Annotated[Path, typer.Argument(help="Job file; with a number, the list of a submission.")],
    number: Annotated[int | None, typer.Argument(help="Which job of the list.")] = None,
    package: Annotated[
        str | None,
        typer.Option(help="Hash of the package that planned it, on a machine that shares no folder with this one."),
    ] = None,
) -> None:
    """Run one job and leave the records of its cells behind."""
    from omrl_bench.runner.worker import main, main_submitted

    if number is None:
        main(job, package)
    else:
        main_submitted(job, number)
