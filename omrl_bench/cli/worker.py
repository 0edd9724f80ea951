"""``omrl-bench worker`` (hidden): what an executor starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(job: Annotated[Path, typer.Argument(help="Job file.")]) -> None:
    """Run one job file and leave the records of its cells behind."""
    from omrl_bench.runner.worker import main

    main(job)
