"""``omrl-bench list``: the names that other verbs take."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Kind(enum.StrEnum):
    """What can be listed."""

    suites = "suites"
    families = "families"
    methods = "methods"
    sets = "sets"
    backbones = "backbones"


def list_names(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List suites, families, methods (with installed plug-ins), sets of methods or backbones.

    Examples:
      omrl-bench list methods
    """
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "")
    for name, description in sorted(_entries(kind).items()):
        table.add_row(name, description.replace("[", "\\["))
    Console().print(table)


def _entries(kind: Kind) -> dict[str, str]:
    if kind is Kind.families:
        from omrl_bench.envs.families import families

        found, wrong = families()
        entries = {
            family.name: f"{family.env_id}, {len(family.tasks())} tasks, horizon {family.horizon}"
            + (f", variant of {family.variant_of}" if family.variant_of else "")
            + (", train = test" if family.tasks().train_is_test else "")
            for family in found.values()
        }
        for name, error in wrong.items():
            entries[name] = f"{entries[name]}; another: {error}" if name in entries else f"not usable: {error}"
        return entries
    if kind is Kind.suites:
        from omrl_bench.protocols.suite import load_suite, suite_names

        return {name: load_suite(name).title for name in suite_names()}
    if kind is Kind.sets:
        from omrl_bench.protocols.method_sets import MARK, expanded, method_sets

        return {f"{MARK}{name}": ", ".join(expanded([f"{MARK}{name}"])) for name in method_sets()}
    from omrl_bench.registry import backbones, methods, unusable_methods

    if kind is Kind.backbones:
        return backbones()
    usable = methods()
    left_out = {
        name: f"{usable[name]}; another: {reason}" if name in usable else f"not usable: {reason}"
        for name, reason in unusable_methods().items()
    }
    return usable | left_out
