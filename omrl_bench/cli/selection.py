"""Which datasets a verb is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.vocabulary import DATASETS

if TYPE_CHECKING:
    from omrl_bench.envs.families import Family

Families = Annotated[list[str] | None, typer.Argument(help="Families (default: the built-in ones but variants).")]
Qualities = Annotated[list[str] | None, typer.Option(help=f"Only this quality: {', '.join(DATASETS)} (repeatable).")]


def chosen(families: list[str] | None, qualities: list[str] | None) -> list[tuple[Family, str]]:
    """The (family, quality) pairs that were asked for; without names, all of the built-in families but variants.

    Raises:
        InputError: if there is no such family or quality.
    """
    from omrl_bench.envs.families import FAMILIES, get_family
    from omrl_bench.errors import unknown_name

    for quality in qualities or ():
        if quality not in DATASETS:
            raise unknown_name("quality", quality, DATASETS)
    names = families or [name for name, family in FAMILIES.items() if not family.variant_of]
    return [(get_family(name), quality) for name in names for quality in qualities or DATASETS]
