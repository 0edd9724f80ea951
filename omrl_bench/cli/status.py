"""``omrl-bench status``: what a results folder holds of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def status(
    suite: Annotated[str, typer.Option(help="Suite: a name or a TOML file.")],
    preset: Annotated[str | None, typer.Option(help="Preset (default: the suite's).")] = None,
    adapter: Annotated[list[str] | None, typer.Option(help="A method of your own, path/to/file.py:Class.")] = None,
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("runs"),
) -> None:
    """Show which cells of a suite are complete, missing, failed or stale. Nothing is run.

    Examples:
      omrl-bench status --suite shift

      omrl-bench status --suite shift --preset standard --out results
    """
    from rich.console import Console
    from rich.table import Table

    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.plan import inspect_cells, select

    definition = load_suite(suite)
    selection = select(definition, preset, methods=[*definition.methods, *(adapter or [])])
    table = Table(title=f"{out}: suite {definition.name}, preset {selection.preset_name}", title_justify="left")
    for column in ("family", "dataset", "method", "backbone", "seed", "state", "reason"):
        table.add_column(column)
    cells = inspect_cells(selection, out)
    for planned in cells:
        cell = planned.cell
        reason = planned.reason.replace("[", "\\[")
        table.add_row(cell.family, cell.dataset, cell.method, cell.backbone, str(cell.seed), planned.state, reason)
    console = Console()
    console.print(table)
    counts = {state: sum(p.state == state for p in cells) for state in ("complete", "missing", "failed", "stale")}
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()))
