"""``omrl-bench validate``: what is wrong with a suite, before anything runs, and what it would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.processes import processors

if TYPE_CHECKING:
    from rich.table import Table

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

    from omrl_bench.runner.validation import check_suite

    definition, problems = check_suite(suite)
    for problem in problems:
        typer.echo(f"{suite}: {problem}", err=True)
    if problems or definition is None:
        raise typer.Exit(2)
    typer.echo(f"{suite}: valid")
    Console().print(presets_table(definition))


def presets_table(suite: Suite) -> Table:
    """What each preset of a suite runs and costs on this machine's cores, a column per preset."""
    from rich.table import Table
    from rich.text import Text

    from omrl_bench.conditions import names
    from omrl_bench.protocols.suite import seed_text

    slots = processors()
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
                "draws": str(suite.protocol_of(name).draws),
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


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:.0f} s"
