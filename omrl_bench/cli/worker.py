"""``omrl-bench worker`` (hidden): what an executor starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(
    job: Annotated[Path, typer.Argument(help="Job file.")],
    package: Annotated[
        str | None,
        typer.Option(help="Hash of the package that planned it, on a machine that shares no folder with this one."),
    ] = None,
) -> None:
    """Run one job file and leave the records of its cells behind."""
    from omrl_bench.runner.worker import main

    main(job, package)
