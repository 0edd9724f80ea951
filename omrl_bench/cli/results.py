"""``omrl-bench results``: what is done with results folders as such."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Join results folders.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Join results folders."""


@app.command()
def merge(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Results folder that gets the records.")],
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Results folders to copy from.")],
    keep: Annotated[
        Literal["first", "last"] | None,
        typer.Option(help="Of different complete records of a cell, which to keep; DEST comes first."),
    ] = None,
) -> None:
    """Copy the records of other folders into one, with their cubes, pictures' data and kept weights.

    What is there already is skipped; a complete record replaces a failure. Different complete records of the same cell
    are named and nothing is changed (exit code 2), unless --keep says which to keep. Files that cannot be used, and
    links, are named and left out (exit code 1). Interrupted, the same command goes on.

    Examples:
      omrl-bench results merge runs node-1/runs node-2/runs

      omrl-bench results merge runs newer-runs --keep last
    """
    from omrl_bench.cli.execution import interruptible
    from omrl_bench.runner import merge as merging

    with interruptible("records"):
        try:
            merged = merging.merge(destination, sources, keep)
        except merging.ConflictError as error:
            lines = str(error).splitlines()
            for line in lines:
                typer.echo(line, err=True)
            typer.echo(f"{len(lines)} differ; nothing was changed; --keep first or last keeps one of each", err=True)
            raise typer.Exit(2) from None
    typer.echo(
        f"{destination}: {merged.copied} records copied, {merged.same} were there, {merged.worse} failures not needed, "
        f"{merged.trainings} trainings copied"
    )
    for line in merged.refused:
        typer.echo(line, err=True)
    if merged.refused:
        raise typer.Exit(1)
