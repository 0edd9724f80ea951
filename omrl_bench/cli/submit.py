"""``omrl-bench submit``: a row for the leaderboard, from the records of a run to the maintainers' shelf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from omrl_bench.submissions.checking import Checked

app = typer.Typer(help="Submit a row: make its folder, check it, pack it.", no_args_is_help=True)
SHELF = Path("submissions")
Folder = Annotated[Path, typer.Argument(help="The submission's folder.")]
Shelf = Annotated[Path, typer.Option(help="Folder of merged submissions.")]


@app.command()
def new(
    adapter: Annotated[str, typer.Argument(metavar="FILE.py:CLASS", help="The method, as `run` took it.")],
    suite: Annotated[str, typer.Option(help="Suite that it was run on.")],
    preset: Annotated[str | None, typer.Option(help="Its preset (default: the suite's).")] = None,
    results: Annotated[Path, typer.Option(help="Results folder of the run.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Where to make the folder, which is called like the class.")] = SHELF,
) -> None:
    """Make the folder of a submission from the records of a run; what they cannot tell is left to be filled in.

    Example:
      omrl-bench submit new my_method.py:MyMethod --suite shift --preset standard
    """
    from omrl_bench.submissions.declaration import FILE
    from omrl_bench.submissions.drafting import draft

    folder = draft(results, adapter, suite, preset, out)
    typer.echo(f"{folder} made; fill in {folder / FILE}, then: omrl-bench submit check {folder}")


@app.command()
def check(
    folder: Folder,
    shelf: Shelf = SHELF,
    markdown: Annotated[Path | None, typer.Option(help="Write what is found, and the table, to this file.")] = None,
) -> None:
    """Check a submission without running its code, and show the rows that it would make.

    Exit code 2, and a line for everything that must be mended, if it cannot be merged.

    Example:
      omrl-bench submit check submissions/MyMethod
    """
    from omrl_bench.files import write_atomically
    from omrl_bench.submissions.changes import changes
    from omrl_bench.submissions.checking import check as check_folder
    from omrl_bench.submissions.text import report_text

    checked = check_folder(folder, _others(shelf, folder))
    earlier = _earlier(checked, folder, shelf)
    if earlier is not None:
        version, before = earlier
        lines = changes(checked, before)
        checked = _with_notes(checked, [f"since version {version}: {line}" for line in lines])
    for note in checked.notes:
        typer.echo(f"note: {note}")
    tables = [] if checked.problems else _tables(folder)
    for table in tables:
        typer.echo(f"\n{table}")
    if markdown is not None:
        write_atomically(markdown, report_text(checked, tables).encode())
    for problem in checked.problems:
        typer.echo(f"problem: {problem}", err=True)
    if checked.problems:
        raise typer.Exit(2)
    typer.echo(f"{folder}: can be merged; {len(checked.cubes)} records agree with what it says")


@app.command()
def pack(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Where to write <name>-<version>.zip.")] = Path(),
) -> None:
    """Check a submission and write it to one file, the same bytes for the same content."""
    from omrl_bench.errors import InputError
    from omrl_bench.submissions.checking import check as check_folder
    from omrl_bench.submissions.packing import pack as pack_folder

    checked = check_folder(folder)
    if checked.problems:
        raise InputError(f"{folder} is not packed: {checked.problems[0]}; omrl-bench submit check {folder} says all")
    typer.echo(pack_folder(folder, out))


@app.command()
def merge(
    source: Annotated[Path, typer.Argument(help="A submission's folder, or what `submit pack` wrote.")],
    shelf: Shelf = SHELF,
    rerun: Annotated[
        Path | None,
        typer.Option(help="Results folder in which you ran cells of it again: it is verified if they agree."),
    ] = None,
) -> None:
    """For maintainers: check a submission and put it on the shelf, which gives it its badge.

    Example:
      omrl-bench submit merge MyMethod-1.zip --rerun reproduced
    """
    from omrl_bench.submissions.merging import merge as merge_submission

    row = merge_submission(source, shelf, rerun, _others(shelf, source))
    badge = f"verified: {row.verified}" if row.verified else "self-reported"
    typer.echo(f"{row.name}, version {row.version}: merged into {shelf / row.name}; {badge}")


def _others(shelf: Path, folder: Path) -> dict[str, Path]:
    """Results folders of all other rows: the shelf's, and the package's own."""
    from omrl_bench.runner.references import shipped_records
    from omrl_bench.submissions.shelf import read_rows

    others = {
        f"submission {row.name}": shelf / row.name / "records"
        for row in read_rows(shelf)
        if row.name != folder.name and not folder.name.startswith(f"{row.name}-")
    }
    own = shipped_records()
    return {"the reference records": own, **others} if own is not None else others


def _earlier(checked: Checked, folder: Path, shelf: Path) -> tuple[int, Path] | None:
    """Version and folder of what is merged of this row, if that is another folder."""
    from omrl_bench.submissions.shelf import read_rows

    if checked.declaration is None:
        return None
    name = checked.declaration.name
    merged = shelf / name
    versions = [row.version for row in read_rows(shelf) if row.name == name]
    return (versions[0], merged) if versions and merged.is_dir() and merged.resolve() != folder.resolve() else None


def _with_notes(checked: Checked, notes: list[str]) -> Checked:
    from dataclasses import replace

    return replace(checked, notes=(*checked.notes, *notes))


def _tables(folder: Path) -> list[str]:
    """The score tables of a submission, beside the reference rows, as Markdown."""
    from omrl_bench.report.reading.frames import read
    from omrl_bench.report.tables.boards import board_of
    from omrl_bench.report.tables.layout import layout_of
    from omrl_bench.report.tables.text import markdown
    from omrl_bench.report.tables.wide import score_table
    from omrl_bench.runner.references import shipped_records
    from omrl_bench.stats.panels import panels

    tables = []
    for found in read(folder / "records", reference=shipped_records()).sets:
        board = board_of(panels(found.frame))
        layout = layout_of(found, board.summary, board.discrimination)
        tables.append(markdown(score_table(found, board.summary, layout)))
    return tables
