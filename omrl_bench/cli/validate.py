"""``omrl-bench validate``: what is wrong with a suite, before anything runs, and what it would cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from omrl_bench.data.manifest import Manifest
    from omrl_bench.envs.families import Family
    from omrl_bench.protocols.suite import Suite


def validate(
    suite: Annotated[str, typer.Argument(metavar="FILE", help="A suite's TOML file, or the name of a shipped suite.")],
) -> None:
    """Check a suite and say what it would cost. Nothing is run.

    All problems are reported, one line each, with exit code 2.

    Examples:
      omrl-bench validate my_suite.toml

      omrl-bench validate shift
    """
    from rich.console import Console

    definition, problems = check(suite)
    for problem in problems:
        typer.echo(f"{suite}: {problem}", err=True)
    if problems or definition is None:
        raise typer.Exit(2)
    typer.echo(f"{suite}: valid")
    Console().print(presets_table(definition))


def check(reference: str) -> tuple[Suite | None, list[str]]:
    """Read a suite by name or file and return it with its problems; without it, if its keys are wrong.

    Raises:
        InputError: if there is no such suite, or the file is no TOML.
    """
    import tomllib
    from importlib import resources
    from pathlib import Path

    from pydantic import ValidationError

    from omrl_bench.errors import InputError
    from omrl_bench.protocols.suite import load_suite, suite_problem

    suite, problems = None, []
    try:
        suite = load_suite(reference)
    except InputError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        problems = [suite_problem(each) for each in error.__cause__.errors()]
    shipped = resources.files("omrl_bench.protocols")
    file = Path(reference) if reference.endswith(".toml") else shipped.joinpath(f"{reference}.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    found = [*problems, *_name_problems(table, suite), *_registry_problems(table), *_family_problems(table)]
    return suite, list(dict.fromkeys(found))


def presets_table(suite: Suite) -> Table:
    """What each preset of a suite runs and costs on this machine's cores, a column per preset."""
    from rich.table import Table
    from rich.text import Text

    from omrl_bench.conditions import names
    from omrl_bench.protocols.suite import seed_text

    slots = os.cpu_count() or 1
    columns = []
    for name, preset in suite.presets.items():
        families, methods = suite.families_of(name), suite.methods_of(name)
        jobs = len(families) * len(suite.datasets) * len(methods) * len(suite.backbones)
        job_seconds = sum(preset.of(family).job_seconds for family in families) / len(families)
        columns.append(
            {
                "preset": name + (" (default)" if name == suite.default_preset else ""),
                "families": ", ".join(families),
                "methods": str(len(methods)),
                "training tasks": str(preset.train_tasks or "all"),
                "seeds": seed_text(preset.seeds),
                "conditions": ", ".join(names(suite.protocol.conditions(preset.qualities))),
                "encoder updates": f"{preset.encoder_updates:,}",
                "policy updates": preset.updates_text(),
                "cells": f"{jobs * len(preset.seeds):,}",
                "jobs": f"{jobs:,}",
                "estimated time": _duration(-(-jobs // slots) * job_seconds),
            }
        )
    head, *rows = ([name, *(column[name] for column in columns)] for name in columns[0])
    table = Table(
        caption=f"times: or less, for {slots} jobs at a time, from a measurement on 2 cores", caption_justify="left"
    )
    for name in head:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _name_problems(table: Mapping[str, Any], suite: Suite | None) -> Iterator[str]:
    """Names that become folders: the suite's, which may be taken, and the presets'."""
    from pydantic import TypeAdapter, ValidationError

    from omrl_bench.protocols.suite import load_suite, suite_names
    from omrl_bench.runner.records import Name

    name = table.get("name")
    if name in suite_names() and load_suite(str(name)) != suite:
        yield f"key 'name': suite {name!r} comes with the package and is another; records of both would mix: rename it"
    for preset in _tables(table, "presets"):
        try:
            TypeAdapter(Name).validate_python(preset)
        except ValidationError as error:
            yield f"preset {preset!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"


def _registry_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Families, methods and backbones that do not exist."""
    from omrl_bench.envs.families import get_family
    from omrl_bench.errors import InputError, unknown_name
    from omrl_bench.registry import backbones, methods, resolve_method

    registered = methods()
    places = {"": table} | {f"presets.{name}.": preset for name, preset in _tables(table, "presets").items()}
    for prefix, place in places.items():
        for name in _texts(place, "families"):
            try:
                get_family(name)
            except InputError as error:
                yield f"key {prefix + 'families'!r}: {error}"
        for name in _texts(place, "methods"):
            if name not in registered:  # perhaps an adapter
                try:
                    resolve_method(name)
                except InputError as error:
                    yield f"key {prefix + 'methods'!r}: {error}"
    for name in _texts(table, "backbones"):
        if name not in backbones():
            yield f"key 'backbones': {unknown_name('backbone', name, backbones())}"


def _family_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Tasks, data and contexts that a family does not have, as far as the file says what it wants of them."""
    from omrl_bench.envs.families import get_family
    from omrl_bench.envs.task_table import SPLITS
    from omrl_bench.errors import InputError

    split = _table(table, "protocol").get("split", "test")
    presets = _tables(table, "presets")
    wanted = [name for place in (table, *presets.values()) for name in _texts(place, "families")]
    for name in dict.fromkeys(wanted):
        try:
            family = get_family(name)
        except InputError:  # said above
            continue
        if split in SPLITS and not len(family.tasks().ids(split)):
            yield f"family {name!r} has no {split} tasks"
        train = len(family.tasks().ids("train"))
        for preset_name, preset in presets.items():
            count = preset.get("train_tasks", 0)
            if isinstance(count, int) and count > train and name in _families_of(table, preset):
                yield f"preset {preset_name!r}: {count} training tasks; family {name!r} has {train}"
        yield from _data_problems(table, family, split)


def _data_problems(table: Mapping[str, Any], family: Family, split: Any) -> Iterator[str]:
    """Datasets and context sets that a family does not have."""
    from omrl_bench.data.contexts import SOURCES, UNITS
    from omrl_bench.data.manifest import read_manifest
    from omrl_bench.data.store import QUALITIES
    from omrl_bench.errors import InputError
    from omrl_bench.protocols.suite import dataset_parts

    try:
        manifest = read_manifest(family)
    except InputError as error:
        yield str(error)
        return
    for dataset in _texts(table, "datasets"):
        for part in dataset_parts(dataset):
            if part in QUALITIES and part not in manifest.datasets:  # others are a matter of the schema
                yield f"family {family.name!r} has no {part} data"
    unit = _table(table, "protocol").get("unit", "episode")
    for preset in _tables(table, "presets").values():
        if family.name not in _families_of(table, preset) or unit not in UNITS:
            continue
        for quality in _texts(preset, "qualities"):
            if quality == "cross" and split == "train":
                yield "contexts of quality 'cross' are of other tasks than those for training, but split is 'train'"
            elif quality in SOURCES and not _has_contexts(manifest, quality, unit):
                yield f"family {family.name!r} has no contexts of quality {quality!r} and unit {unit!r}"


def _has_contexts(manifest: Manifest, quality: str, unit: str) -> bool:
    from omrl_bench.data.contexts import source_dataset

    entry = manifest.datasets.get(source_dataset(quality))
    return entry is not None and f"{quality}.{unit}" in entry.contexts


def _families_of(table: Mapping[str, Any], preset: Mapping[str, Any]) -> list[str]:
    return _texts(preset, "families") or _texts(table, "families")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table of the file; empty if there is something else in its place."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _tables(table: Mapping[str, Any], key: str) -> dict[str, Mapping[str, Any]]:
    return {name: value for name, value in _table(table, key).items() if isinstance(value, dict)}


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    """The strings of a list; none if there is something else in its place."""
    value = table.get(key)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:.0f} s"
