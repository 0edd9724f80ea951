"""``omrl-bench report``: tables and figures from records."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Option(help="Results folder to read.")] = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="Folder to write to (default: RESULTS/report).")] = None,
    suite: Annotated[str | None, typer.Option(help="Only this suite.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Results folder whose rows stand beside these in tables and figures.")
    ] = None,
    submissions: Annotated[
        Path | None, typer.Option(help="Folder of merged submissions whose rows are shown too, with badges.")
    ] = None,
    site: Annotated[
        bool, typer.Option("--site", help="Write the leaderboard instead: index.html, leaderboard.json.")
    ] = False,
) -> None:
    """Write tables (Markdown, CSV, LaTeX) and figures (SVG, PDF, PNG) from the records of a results folder.

    With --site, write the leaderboard: a page that opens from disk, and its data as JSON.

    Examples:
      omrl-bench report --results results --suite shift --preset standard --out results/report

      omrl-bench report --results runs --against results

      omrl-bench report --results results --submissions submissions --site --out site
    """
    from omrl_bench.errors import InputError, no_results_folder

    if results.exists() and not results.is_dir():
        raise no_results_folder(results)
    if against and not against.is_dir():
        raise no_results_folder(against, "--against")
    if against and site:
        raise InputError("--site shows the records of one folder; --against is for tables and figures")
    folder = out or results / "report"
    warn = partial(typer.echo, err=True)
    if site:
        from omrl_bench.report.site.page import build_site

        paths = build_site(results, folder, suite, preset, warn, submissions)
    else:
        from omrl_bench.report.build import build

        paths = build(results, folder, suite, preset, warn, against, submissions)
    for path in paths:
        typer.echo(path)
