"""Published tables, and what of ours is nearest to every number in them.

``protocols/papers/published.csv`` has the numbers, one TOML file per paper (schema: :class:`Paper`) the layout of its
tables and the suite, family, condition and method that come nearest to each row and column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal, NamedTuple

from pydantic import model_validator

from omrl_bench.errors import unknown_name
from omrl_bench.frozen import Frozen
from omrl_bench.protocols.suite import Suite, load_suite, parse_as, parse_toml

Field = Literal["env", "split", "condition", "algorithm"]
TRAIN_SPLIT = "train"
AS_PUBLISHED = "environment as published"
VARIANTS = "variants"  # preset of the families that are environments as a paper has them
#: Presets of one budget, which :data:`VARIANTS` and the presets of figures have too: beside others these are not shown.
FULL_BUDGET = ("standard", "reference")


class _Counterpart(Frozen):
    """What something published is of ours, or why it is nothing."""

    absent: str = ""  # why there is no counterpart
    differs: tuple[str, ...] = ()


class Environment(_Counterpart):
    """A published environment and the family that is nearest to it."""

    family: str = ""
    variant: str = ""  # a family that is the environment as the paper has it, where `family` differs
    suites: dict[str, str] = {}  # suites in the place of a setting's, where the environment needs one of its own

    @model_validator(mode="after")
    def _either(self) -> Environment:
        _one_of(self.family, self.absent, "family")
        return self


class PaperAlgorithm(_Counterpart):
    """A published algorithm and the method that implements it."""

    method: str = ""

    @model_validator(mode="after")
    def _either(self) -> PaperAlgorithm:
        _one_of(self.method, self.absent, "method")
        return self


class PaperSetting(_Counterpart):
    """How something was trained and tested in the paper, and the suite that is nearest to it."""

    name: str
    split: Literal["train", "test"]  # tasks that were tested
    suite: str = ""
    dataset: str = ""
    condition: str = ""  # context quality or episode
    measure: str = ""  # of the representation, instead of the score
    method_suffix: str = ""  # what a method's name ends in where this is a setting of the methods

    @model_validator(mode="after")
    def _either(self) -> PaperSetting:
        for name in ("suite", "dataset", "condition"):
            _one_of(getattr(self, name), self.absent, name)
        return self


class PaperTable(Frozen):
    """Layout of a table: which fields of its numbers are its rows and columns, in the order of published.csv."""

    label: str
    caption: str
    parts: tuple[Field, ...] = ()  # printed one below the other
    rows: tuple[Field, ...]
    columns: tuple[Field, ...]
    differs: tuple[str, ...] = ()


class PaperFigure(Frozen):
    """A result that is published as a figure only, and which of our numbers are nearest."""

    label: str
    caption: str
    nearest: str
    suite: str = ""
    condition: str = ""
    methods: tuple[str, ...] = ()
    families: tuple[str, ...] = ()  # instead of all of the suite's
    presets: tuple[str, ...] = ()  # beside the one that is asked for, which is one of FULL_BUDGET then


class Paper(Frozen):
    """A paper's tables and figures."""

    name: str
    title: str
    authors: str
    venue: str
    arxiv: str = ""
    numbers: str  # what the numbers are, and what stands behind the plus-minus sign
    seeds: int = 0  # runs behind a spread; 0 if there are no spreads
    spread: Literal["standard deviation", "not said"] = "not said"  # what stands behind the plus-minus sign
    differs: tuple[str, ...]  # in all tables
    own: tuple[str, ...] = ()  # the algorithms that the paper proposes
    environments: dict[str, Environment] = {}
    conditions: tuple[PaperSetting, ...] = ()
    algorithms: dict[str, PaperAlgorithm] = {}
    tables: tuple[PaperTable, ...] = ()
    figures: tuple[PaperFigure, ...] = ()

    def setting(self, split: str, name: str) -> PaperSetting:
        """The setting of that name on that split; KeyError if there is none."""
        known: dict[tuple[str, str], PaperSetting] = {(each.split, each.name): each for each in self.conditions}
        return known[split, name]


@dataclass(frozen=True)
class Published:
    """A published number, as printed; ``mean`` and ``std`` may be empty."""

    table: str
    env: str
    split: str
    condition: str
    algorithm: str
    mean: str
    std: str

    @property
    def value(self) -> float:
        """The mean; NaN where the paper prints a dash."""
        return float(self.mean) if self.mean else math.nan

    @property
    def spread(self) -> float:
        """The number behind the plus-minus sign; NaN where there is none."""
        return float(self.std) if self.std else math.nan

    @property
    def text(self) -> str:
        """As in the paper: ``-80.4 ± 20.4``; empty for a dash."""
        return f"{self.mean} ± {self.std}" if self.std else self.mean


class Target(NamedTuple):
    """Where one of our numbers is found; ``measure`` is empty for the score."""

    suite: str
    preset: str
    dataset: str
    backbone: str
    family: str
    condition: str
    method: str
    measure: str


def paper_names() -> list[str]:
    """Names of the papers whose tables come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load_paper(name: str) -> Paper:
    """Read a paper's tables.

    Raises:
        InputError: if there is no such paper, with the nearest names, or its file is not as it should be.
    """
    if name not in paper_names():
        raise unknown_name("paper", name, paper_names())
    return parse_paper(_folder().joinpath(f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def parse_paper(text: str, where: str) -> Paper:
    """Parse the text of a paper's file; ``where`` names it in errors.

    Raises:
        InputError: naming the file and the first key that is wrong.
    """
    return parse_as(Paper, parse_toml(text, where), where)


def published(name: str) -> list[Published]:
    """The published numbers of a paper, in the order of its tables."""
    lines = _folder().joinpath("published.csv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in csv.DictReader(lines) if row.pop("paper") == name]
    return [Published(**row) for row in rows]


def locate(paper: Paper, rows: Iterable[Published], preset: str) -> dict[Published, Target | str]:
    """Where our counterpart of each published number is found, or the reason why there is none.

    Raises:
        InputError: if a suite has no such preset.
    """
    named = [setting.suite for setting in paper.conditions]
    named += [name for environment in paper.environments.values() for name in environment.suites.values()]
    suites = {name: load_suite(name) for name in dict.fromkeys(named) if name}
    return {row: _locate(paper, row, suites, preset) for row in rows}


def locate_variants(paper: Paper, located: Mapping[Published, Target | str]) -> dict[Published, Target]:
    """A second counterpart of published numbers, in preset :data:`VARIANTS`: in the environment as the paper has it.

    There is none beside presets of another budget, see :data:`FULL_BUDGET`.
    """
    suites = {place.suite for place in located.values() if isinstance(place, Target)}
    families = {name: _variants(load_suite(name)) for name in suites}
    found = {}
    for row, place in located.items():
        variant = paper.environments[row.env].variant
        if isinstance(place, Target) and place.preset in FULL_BUDGET and variant in families[place.suite]:
            found[row] = place._replace(preset=VARIANTS, family=variant)
    return found


def figure_targets(figure: PaperFigure, preset: str) -> list[Target]:
    """Our numbers that are nearest to a figure: every method of it in each of its columns."""
    if not figure.suite:
        return []
    suite = load_suite(figure.suite)
    return [
        Target(suite.name, of, suite.datasets[0], suite.backbones[0], family, figure.condition, method, "")
        for method in figure.methods
        for family, of in figure_columns(figure, preset)
    ]


def figure_columns(figure: PaperFigure, preset: str) -> list[tuple[str, str]]:
    """(family, preset) of a figure's columns; none if it has presets of its own, whose budget is another one's."""
    if figure.presets and preset not in FULL_BUDGET:
        return []
    return [(family, of) for family in figure_families(figure, preset) for of in (preset, *figure.presets)]


def figure_families(figure: PaperFigure, preset: str) -> tuple[str, ...]:
    """The families of a figure: its own, or all of the suite's preset."""
    return figure.families or load_suite(figure.suite).families_of(preset)


def all_targets(paper: Paper, located: Mapping[Published, Target | str], preset: str) -> list[Target]:
    """Everything of ours that the page of a paper shows, each once."""
    of_tables = [place for place in located.values() if isinstance(place, Target)]
    of_figures = [target for figure in paper.figures for target in figure_targets(figure, preset)]
    return list(dict.fromkeys([*of_tables, *locate_variants(paper, located).values(), *of_figures]))


def _locate(paper: Paper, row: Published, suites: Mapping[str, Suite], preset: str) -> Target | str:
    algorithm, environment = paper.algorithms[row.algorithm], paper.environments[row.env]
    setting = paper.setting(row.split, row.condition)
    named: tuple[tuple[str, _Counterpart], ...] = (
        (row.env, environment),
        (f"{row.condition} ({row.split} tasks)", setting),
        (row.algorithm, algorithm),
    )
    for name, counterpart in named:
        if counterpart.absent:
            return f"{name}: {counterpart.absent}"
    suite = suites[environment.suites.get(setting.suite, setting.suite)]
    if environment.family not in _families(suite, preset):
        return f"{row.env}: family {environment.family} is not in suite {suite.name}"
    return Target(
        suite=suite.name,
        preset=preset,
        dataset=setting.dataset,
        backbone=suite.backbones[0],
        family=environment.family,
        condition=setting.condition,
        method=algorithm.method + setting.method_suffix,
        measure=setting.measure,
    )


def _families(suite: Suite, preset: str) -> set[str]:
    """Families that can be run: ``omrl-bench run --family`` takes any of the suite's or the preset's."""
    return {*suite.families, *suite.families_of(preset)}


def _variants(suite: Suite) -> tuple[str, ...]:
    return suite.families_of(VARIANTS) if VARIANTS in suite.presets else ()


def _folder() -> Traversable:
    return resources.files("omrl_bench.protocols").joinpath("papers")


def _one_of(value: str, absent: str, name: str) -> None:
    if bool(value) == bool(absent):
        raise ValueError(f"needs either {name!r} or the reason why there is none, 'absent'")
