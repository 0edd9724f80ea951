"""``omrl-bench status``: what a results folder holds of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omrl_bench.cli.run import MethodOption, parse_seeds
from omrl_bench.vocabulary import STATES


def status(
    suite: Annotated[str, typer.Option(help="Suite: a name or a TOML file.")],
    preset: Annotated[str | None, typer.Option(help="Preset (default: the suite's).")] = None,
    method: MethodOption = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family (repeatable).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, e.g. 0-4 or 0,3,7 (default: the preset's).")] = None,
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("runs"),
) -> None:
    """Show which cells of a suite are complete, missing, failed or stale. Nothing is run.

    The reason says where a cell is being made, or waits, and how far that is. Below are the last lines that jobs
    printed which failed or were left to Slurm.

    Examples:
      omrl-bench status --suite shift

      omrl-bench status --suite shift --preset standard --out results
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from omrl_bench.errors import no_results_folder
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.plan import CellElsewhere, PlannedCell, inspect_cells, inspect_elsewhere, select
    from omrl_bench.runner.where import last_printed, whereabouts

    if out.exists() and not out.is_dir():
        raise no_results_folder(out, "--out")
    definition = load_suite(suite)
    selection = select(definition, preset, family or (), method or (), parse_seeds(seeds))
    typer.echo(f"{out}: suite {definition.name}, preset {selection.preset_name}")
    table = Table()
    for column in ("family", "dataset", "method", "backbone", "seed", "state", "reason"):
        table.add_column(column)
    # a row that was trained elsewhere is none of the suite's methods: it is shown where no method is named
    elsewhere = [] if method else inspect_elsewhere(selection, out)
    cells: list[PlannedCell | CellElsewhere] = [*inspect_cells(selection, out), *elsewhere]
    where = whereabouts(out, [planned.cell for planned in cells])
    for planned in cells:
        cell = planned.cell
        reason = "; ".join(filter(None, (where.get(cell), planned.reason)))
        texts = (cell.family, cell.dataset, cell.method, cell.backbone, str(cell.seed), planned.state, reason)
        table.add_row(*map(Text, texts))
    console = Console()
    console.print(table)
    counts = {state: sum(p.state == state for p in cells) for state in STATES}
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()))
    for printed in last_printed(out, [planned.cell for planned in cells]):
        for line in (f"\n{printed.job.label}, last lines of {printed.log}:", *(f"  {x}" for x in printed.lines)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
