"""How many published numbers have a counterpart: a cell that `omrl-bench run` can make, whether it was run or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from omrl_bench import registry
from omrl_bench.conditions import names
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.suite import Suite, load_suite
from omrl_bench.report.papers.mapping import (
    AS_PUBLISHED,
    VARIANTS,
    Paper,
    PaperFigure,
    Published,
    Target,
    figure_targets,
    load_paper,
    locate,
    locate_variants,
    published,
)
from omrl_bench.runner.settings import split_reference

Key = TypeVar("Key")


@dataclass(frozen=True)
class Coverage:
    """What a paper's tables and figures have of ours.

    Attributes:
        paper: The paper.
        preset: Preset of our suites.
        numbers: Published numbers by table; a dash is none.
        covered: Those with a counterpart, by table.
        as_published: Those with a second counterpart, in the environment as the paper has it, by table; none for a
            preset of another budget.
        lacking: Numbers without a counterpart by table and reason.
        figures: What is published as a figure only, and whether we have such numbers, by label.
    """

    paper: Paper
    preset: str
    numbers: Mapping[str, int]
    covered: Mapping[str, int]
    as_published: Mapping[str, int]
    lacking: Mapping[tuple[str, str], int]
    figures: Mapping[str, bool]


def coverage(name: str, preset: str) -> Coverage:
    """Count the published numbers of a paper that have a counterpart in the suites of the package.

    Raises:
        InputError: if there is no such paper, or a suite has no such preset.
    """
    paper = load_paper(name)
    rows = [row for row in published(name) if row.mean]
    located = _checked(locate(paper, rows, preset))
    second = _checked(locate_variants(paper, located))
    return Coverage(
        paper=paper,
        preset=preset,
        numbers=Counter(row.table for row in rows),
        covered=_by_table(located),
        as_published=_by_table(second),
        lacking=Counter((row.table, place) for row, place in located.items() if isinstance(place, str)),
        figures={figure.label: _drawn(figure, preset) for figure in paper.figures},
    )


def sentences(found: Coverage) -> list[str]:
    """Say it: a line for the paper, for each table, each reason and each figure."""
    lines = [
        f"{found.paper.name}: {_of(found.covered, found.numbers)} published numbers have a counterpart"
        f" (preset {found.preset})"
    ]
    for table, count in found.numbers.items():
        line = f"  {table}: {found.covered.get(table, 0)} of {count}"
        if found.as_published.get(table):
            line += f"; {found.as_published[table]} also in the {AS_PUBLISHED} (preset {VARIANTS})"
        lines.append(line)
        lines += [f"    {n} without: {reason}" for (of, reason), n in found.lacking.items() if of == table]
    for figure in found.paper.figures:
        which = "counterpart" if found.figures[figure.label] else "no counterpart, nearest"
        lines.append(f"  {figure.label} (curves only): {which}: {figure.nearest}")
    return lines


def _of(covered: Mapping[str, int], numbers: Mapping[str, int]) -> str:
    return f"{sum(covered.values())} of {sum(numbers.values())}"


def _by_table(located: Mapping[Published, Target | str]) -> Counter[str]:
    return Counter(row.table for row, place in located.items() if isinstance(place, Target))


def _drawn(figure: PaperFigure, preset: str) -> bool:
    """Whether all that stands beside a figure can be run."""
    targets = figure_targets(figure, preset)
    return bool(targets) and targets == list(_checked(dict(enumerate(targets))).values())


def _checked(places: Mapping[Key, Target | str]) -> dict[Key, Target | str]:
    """The places, each with the reason in its stead if nothing can be run there."""
    targets = [place for place in places.values() if isinstance(place, Target)]
    suites = {name: load_suite(name) for name in dict.fromkeys(target.suite for target in targets)}
    return {
        key: place if isinstance(place, str) else _problem(suites[place.suite], place) or place
        for key, place in places.items()
    }


def _problem(suite: Suite, place: Target) -> str:
    """What keeps a cell from being run; empty if nothing does."""
    if split_reference(place.method)[0] not in registry.methods():
        return f"no method {place.method} is registered"
    if place.dataset not in suite.datasets:
        return f"suite {suite.name} has no dataset {place.dataset}"
    if place.condition not in names(suite.protocol.conditions(suite.preset(place.preset)[1].qualities)):
        return f"suite {suite.name}, preset {place.preset}, has no condition {place.condition}"
    if not len(get_family(place.family).tasks().ids(suite.protocol.split)):
        return f"family {place.family} has no {suite.protocol.split} tasks"
    return ""
