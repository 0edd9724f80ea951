"""``omrl-bench report``: tables and figures from records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Option(help="Results folder to read.")] = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="Folder to write to (default: RESULTS/report).")] = None,
    suite: Annotated[str | None, typer.Option(help="Only this suite.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset.")] = None,
) -> None:
    """Write tables (Markdown, CSV, LaTeX) and figures (SVG, PDF, PNG) from the records of a results folder.

    Examples:
      omrl-bench report --results results --suite shift --preset standard --out results/report
    """
    from omrl_bench.report.build import build

    for path in build(results, out or results / "report", suite, preset):
        typer.echo(path)
