"""``omrl-bench data``: build, verify and list datasets; the two verbs by which maintainers make new ones."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from omrl_bench.cli import card, hosting
from omrl_bench.cli.selection import Families, Qualities, chosen
from omrl_bench.errors import InputError
from omrl_bench.processes import processors

app = typer.Typer(help="Build, verify and list datasets.", no_args_is_help=True)
app.command()(hosting.pull)
app.command()(hosting.push)
app.command()(card.show)
app.command()(card.render)


@app.command()
def build(
    families: Families = None,
    quality: Qualities = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
) -> None:
    """Build datasets by rolling out the behaviour policies, one per core; what is there already is kept.

    Without FAMILIES, all built-in ones but the papers' variants. An interrupted build goes on with what is missing.

    Examples:
      omrl-bench data build

      omrl-bench data build cheetah-vel --quality expert --force
    """
    from omrl_bench.cli.display import building
    from omrl_bench.cli.execution import interruptible
    from omrl_bench.data.manifest import read_manifest, verify_dataset
    from omrl_bench.data.parallel import build_datasets
    from omrl_bench.data.store import data_root, dataset_folder, dataset_id, estimated_size, read_receipt
    from omrl_bench.envs.families import get_family

    wanted, size = [], 0
    for family, name in chosen(families, quality):
        entry = read_manifest(family).datasets[name]  # a family without data is told before anything is built
        if dataset_folder(family, name).exists() and not force:
            read_receipt(family, name)
            typer.echo(f"{dataset_id(family, name)}: already there")
        else:
            wanted.append((family.name, name))
            size += estimated_size(family, sum(entry.episodes), entry.transitions)
    if wanted:
        typer.echo(f"datasets to build: {len(wanted)}, about {size / 2**30:.1f} GiB, in {data_root()}")
    errors = []
    with (
        interruptible("datasets"),
        building() as progress,
        closing(build_datasets(wanted, processors(), progress, typer.echo, again=force)) as built,
    ):
        for (family_name, name), error in built:
            family = get_family(family_name)
            if error is None:
                status, reason = verify_dataset(family, name)
                typer.echo(f"{dataset_id(family, name)}: built, {status}")
                if status == "wrong":
                    errors.append(f"{dataset_id(family, name)} is not the benchmark's: {reason}")
            elif isinstance(error, InputError):
                errors.append(f"{dataset_id(family, name)}: {error}")
            else:
                raise error
    if errors:
        raise InputError("; ".join(errors))


@app.command()
def verify(families: Families = None, quality: Qualities = None) -> None:
    """Compare local datasets with the manifest: canonical, equivalent, or wrong (exit code 2).

    Examples:
      omrl-bench data verify point-goal
    """
    from omrl_bench.data.manifest import verify_dataset
    from omrl_bench.data.store import dataset_folder, dataset_id

    wrong = []
    for family, name in chosen(families, quality):
        if not dataset_folder(family, name).exists():
            typer.echo(f"{dataset_id(family, name)}: not built")
            continue
        try:
            status, reason = verify_dataset(family, name)
        except InputError as error:
            status, reason = "wrong", str(error)
        typer.echo(f"{dataset_id(family, name)}: {status} ({reason})")
        if status == "wrong":
            wrong.append(dataset_id(family, name))
    if wrong:
        raise InputError(f"wrong: {', '.join(wrong)}; omrl-bench data build FAMILY --quality QUALITY --force")


@app.command("list")
def list_datasets() -> None:
    """List all datasets, and which of them are here.

    Examples:
      omrl-bench data list
    """
    from rich.console import Console
    from rich.table import Table

    from omrl_bench.data.manifest import read_manifest
    from omrl_bench.data.store import data_root, dataset_folder, dataset_id
    from omrl_bench.envs.families import families

    typer.echo(f"datasets in {data_root()}")
    table = Table()
    table.add_column("dataset", no_wrap=True)
    for column in ("episodes", "transitions", "mean return", "here"):
        table.add_column(column, justify="right")
    for family, name in chosen(list(families()[0]), None):
        try:
            entry = read_manifest(family).datasets[name]
        except InputError as error:
            table.add_row(
                dataset_id(family, name), "", "", "", "not yet" if "has no manifest" in str(error) else "stale"
            )
            continue
        folder = dataset_folder(family, name)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0
        mean = sum(m * n for m, n in zip(entry.return_mean, entry.episodes, strict=True)) / sum(entry.episodes)
        here = f"{size / 2**20:.0f} MiB" if size else "no"
        table.add_row(dataset_id(family, name), str(sum(entry.episodes)), str(entry.transitions), f"{mean:.1f}", here)
    Console().print(table)


@app.command("train-behaviour")
def train_behaviour(
    family: Annotated[str, typer.Argument(help="A MuJoCo family.")],
    folder: Annotated[Path, typer.Option(help="Where checkpoints go; the same folder resumes.")] = Path("behaviour"),
) -> None:
    """Train a family's behaviour policies again (maintainers; needs the extra `collect`; about 20 minutes, one core).

    Leaves ten checkpoints in FOLDER/FAMILY/selected and the training's curve beside them. To make them the family's
    policies, copy them to omrl_bench/data/policies/FAMILY, or to policies/FAMILY of the family's own package, and run
    `omrl-bench data freeze FAMILY`.

    Examples:
      omrl-bench data train-behaviour cheetah-vel --folder behaviour
    """
    from omrl_bench.envs.families import get_family

    definition = get_family(family)
    try:
        from omrl_bench.data.train_behaviour import CONFIGS, SacConfig, select, train
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; pip install 'omrl-bench[collect]'") from error
    target = folder / definition.name
    train(definition, CONFIGS.get(definition.name, SacConfig()), target)
    select(target, target / "selected", target / "selected" / "curve.csv")
    typer.echo(f"ten checkpoints in {target / 'selected'}")


@app.command()
def freeze(
    family: Annotated[str, typer.Argument(help="Family.")],
    out: Annotated[Path, typer.Option(help="Folder to write the manifest to, FAMILY-VERSION.json.")] = Path(),
    take: Annotated[
        list[str] | None, typer.Option(help="QUALITY=MINARI_ID: a dataset that was collected elsewhere (repeatable).")
    ] = None,
) -> None:
    """Measure reference returns, build all datasets and write the manifest of a new version of a family (authors).

    The manifest belongs into the folder `manifests` of the family's package. A dataset that is taken is a Minari
    dataset of the family's tasks whose episodes have the metadata task_id, split, behaviour and return.

    Examples:
      omrl-bench data freeze point-goal --out omrl_bench/data/manifests

      omrl-bench data freeze ring-goal --out omrl_ring/manifests --take mixed=ring/replay-v0
    """
    from omrl_bench.data.manifest import freeze as freeze_family
    from omrl_bench.data.manifest import manifest_name
    from omrl_bench.envs.families import get_family
    from omrl_bench.errors import unknown_name
    from omrl_bench.files import write_atomically
    from omrl_bench.vocabulary import QUALITIES

    definition = get_family(family)
    taken = {}
    for text in take or ():
        quality, _, minari_id = text.partition("=")
        if quality not in QUALITIES:
            raise unknown_name("quality", quality, QUALITIES)
        if not minari_id:
            raise InputError(f"--take {text}: write it as QUALITY=MINARI_ID")
        taken[quality] = minari_id
    content = freeze_family(definition, processors(), typer.echo, taken)
    write_atomically(out / manifest_name(definition), content.encode())
    typer.echo(f"wrote {out / manifest_name(definition)}")
