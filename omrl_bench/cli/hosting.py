"""``omrl-bench data pull`` and ``omrl-bench data push``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.cli.selection import Families, Qualities, chosen
from omrl_bench.errors import InputError

if TYPE_CHECKING:
    from omrl_bench.data.hosting import Advance, Index

VARIABLE = "OMRL_BENCH_DATA_SOURCE"


def pull(
    families: Families = None,
    quality: Qualities = None,
    source: Annotated[
        str | None,
        typer.Option(envvar=VARIABLE, help="hf://OWNER/NAME@COMMIT, https://HOST/PATH or file:///FOLDER."),
    ] = None,
) -> None:
    """Download datasets instead of building them; interrupted, the same command goes on from there.

    What is here and canonical is kept; if that is everything, no network is needed. A family of another package may
    name its own source, which is asked if none is given.

    Examples:
      omrl-bench data pull point-goal --source https://mirror.example.org/omrl-bench

      omrl-bench data pull --quality mixed --source file:///shared/omrl-bench
    """
    from omrl_bench.data.hosting import is_canonical, is_here, pull_dataset, read_index
    from omrl_bench.data.sources import parse_pinned_source
    from omrl_bench.data.store import dataset_id

    wanted = []
    for family, name in chosen(families, quality):
        if is_canonical(family, name):
            typer.echo(f"{dataset_id(family, name)}: already there, canonical")
        else:
            wanted.append((family, name))
    if not all(source or family.source for family, _ in wanted):
        raise InputError(
            f"no source to pull from: no host is the default yet, so give --source or set {VARIABLE}; "
            "`omrl-bench data build` makes the same data on this machine"
        )
    indices: dict[str, Index] = {}
    absent = []
    for family, name in wanted:
        place = parse_pinned_source(source or family.source)
        if str(place) not in indices:
            indices[str(place)] = read_index(place)
        dataset = dataset_id(family, name)
        hosted = indices[str(place)].datasets.get(dataset)
        if hosted is None:
            absent.append(f"{place} does not have {dataset}")
        elif is_here(family, name, hosted):
            typer.echo(f"{dataset}: already there, as hosted")
        else:
            with _meter(dataset, hosted.size) as advance:
                status, _ = pull_dataset(place, hosted, family, name, advance, typer.echo)
            typer.echo(f"{dataset}: pulled, {status}")
    if absent:
        raise InputError(f"{'; '.join(absent)}; `omrl-bench data build` makes them")


def push(
    to: Annotated[str, typer.Option(help="hf://OWNER/NAME or file:///FOLDER.")],
    families: Families = None,
    quality: Qualities = None,
) -> None:
    """Upload canonical datasets and print how to pull them (maintainers).

    Examples:
      omrl-bench data push point-goal --to hf://OWNER/NAME

      omrl-bench data push --to file:///shared/omrl-bench
    """
    from omrl_bench.data.publishing import describe
    from omrl_bench.data.publishing import push as push_datasets
    from omrl_bench.data.store import dataset_id

    datasets = {dataset_id(family, name): describe(family, name) for family, name in chosen(families, quality)}
    size = sum(dataset.size for dataset in datasets.values())
    typer.echo(f"pushing {len(datasets)} datasets, {size / 2**20:.1f} MiB, to {to}")
    source = push_datasets(to, datasets)
    typer.echo(f"pushed; omrl-bench data pull --source {source}")


@contextmanager
def _meter(label: str, size: int) -> Iterator[Advance]:
    """A bar in a terminal, a line elsewhere; yields what is told of the bytes that arrive."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console()
    if not console.is_terminal:
        typer.echo(f"{label}: pulling {size / 2**20:.1f} MiB")
        yield lambda count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=size)
        yield lambda count: progress.advance(task, count)
