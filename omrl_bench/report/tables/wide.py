"""Wide tables: a row per method, a group of columns per family, a column per condition.

A :class:`Table` holds numbers and plain text; :mod:`omrl_bench.report.tables.text` and
:mod:`omrl_bench.report.tables.terminal` write it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.captions import (
    INTERVAL_NOTE,
    MISSING,
    RATIO_NOTE,
    SCORE_NOTE,
    Z_NOTE,
    collapse_note,
    condition_word,
    discrimination_note,
    privilege_note,
    sample_note,
)
from omrl_bench.report.tables.layout import COLLAPSED, Layout
from omrl_bench.stats.panels import ALL

Z = "all (z)"  # stands for the mean of z-scores over all families of a table
ROBUST: Mapping[str, str] = {"score_mean": "mean", "score_iqm": "IQM", "score_ratio": "ratio of sums"}


@dataclass(frozen=True)
class Entry:
    """An estimate and its interval, how many decimals to show, and a mark behind it."""

    estimate: float
    low: float
    high: float
    decimals: int = 1
    mark: str = ""

    def texts(self) -> tuple[str, str]:
        """The estimate and the interval, with the mark: ``("83.1", "[80.2, 86.0]")``."""
        estimate, low, high = (_fixed(value, self.decimals) for value in (self.estimate, self.low, self.high))
        return estimate, " ".join(filter(None, (f"[{low}, {high}]", self.mark)))

    def __str__(self) -> str:
        """The same as one text: ``83.1 [80.2, 86.0]``."""
        return " ".join(self.texts())


@dataclass(frozen=True)
class Table:
    """A wide table.

    Attributes:
        title: What the numbers are.
        layout: Order of rows and columns.
        entries: By (method, family, condition); what is not in it is shown as missing.
        footnotes: What a reader must know, a paragraph each.
    """

    title: str
    layout: Layout
    entries: Mapping[tuple[str, str, str], Entry]
    footnotes: tuple[str, ...]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Family and condition of each column."""
        return [(family, condition) for family in self.layout.families for condition in self.layout.conditions]

    def text(self, method: str, family: str, condition: str) -> str:
        """A cell: ``83.1 [80.2, 86.0]``, or a dash."""
        entry = self.entries.get((method, family, condition))
        return MISSING if entry is None else str(entry)


def score_table(results: Results, summary: pd.DataFrame, layout: Layout) -> Table:
    """Mean scores with intervals, from a summary of the results."""
    footnotes = [SCORE_NOTE, sample_note(summary, layout), INTERVAL_NOTE]
    footnotes += [*discrimination_note(layout), *collapse_note(summary, layout)]
    if ALL in layout.families:
        footnotes.append(
            f"{ALL}: mean over the {len(layout.families) - 1} families; empty for a method that lacks one of them."
        )
    return Table(
        title=f"Score by method and {condition_word(layout.conditions)} ({where(results)})",
        layout=layout,
        entries=_entries(summary, "score_mean"),
        footnotes=(*footnotes, *_last_notes(results)),
    )


def with_z_scores(table: Table, summary: pd.DataFrame) -> Table:
    """A score table with columns for the means of z-scores behind the means of scores, if it has these."""
    if ALL not in table.layout.families or summary["z"].isna().all():
        return table
    rows = summary[(summary["family"] == ALL) & summary["z"].notna()].assign(family=Z)
    place = table.footnotes.index(INTERVAL_NOTE) + 1
    return replace(
        table,
        layout=replace(table.layout, families=(*table.layout.families, Z)),
        entries={**table.entries, **_entries(rows, "z", {Z: 2})},
        footnotes=(*table.footnotes[:place], Z_NOTE, *table.footnotes[place:]),
    )


def robust_table(results: Results, summary: pd.DataFrame, layout: Layout, condition: str) -> Table:
    """Mean, interquartile mean and ratio of sums of the scores under one condition."""
    here = summary[summary["condition"] == condition]
    entries: dict[tuple[str, str, str], Entry] = {}
    for column, name in ROBUST.items():
        entries |= _entries(here[here[column].notna()].assign(condition=name), column)
    unreliable = {
        (family, name): value
        for (family, of), value in layout.unreliable.items()
        if of == condition
        for name in ROBUST.values()
    }
    return Table(
        title=f"Score in {condition}: mean, interquartile mean and ratio of sums ({where(results)})",
        layout=replace(layout, conditions=tuple(ROBUST.values()), unreliable=unreliable),
        entries=entries,
        footnotes=(
            *(SCORE_NOTE, RATIO_NOTE, sample_note(here, layout), INTERVAL_NOTE),
            *(*discrimination_note(replace(layout, conditions=(condition,))), *collapse_note(here, layout)),
            *_last_notes(results),
        ),
    )


def return_table(results: Results, summary: pd.DataFrame, layout: Layout) -> Table:
    """Mean undiscounted returns with intervals, from a summary of the results."""
    summary = summary[summary["family"] != ALL]
    layout = layout.without_means()
    largest = summary.groupby("family")["return_mean"].agg(lambda values: values.abs().max())
    decimals = {family: 2 if value < 100 else 1 if value < 1000 else 0 for family, value in largest.items()}
    return Table(
        title=f"Undiscounted return by method and {condition_word(layout.conditions)} ({where(results)})",
        layout=layout,
        entries=_entries(summary, "return_mean", decimals),
        footnotes=(
            *(sample_note(summary, layout), INTERVAL_NOTE),
            *(*discrimination_note(layout), *collapse_note(summary, layout), *_last_notes(results)),
        ),
    )


def drop_table(results: Results, drops: pd.DataFrame, layout: Layout) -> Table:
    """Drops of the mean score, from :func:`omrl_bench.stats.differences.drop_under_shift` of the results.

    Raises:
        ValueError: if there are no drops.
    """
    if drops.empty:
        raise ValueError("no method has results with both context qualities")
    before, after = drops["from_condition"].iloc[0], drops["to_condition"].iloc[0]
    note = f"Score with {before}-quality context minus score with {after}-quality context: positive means that the "
    note += "shift costs. Both are of the same training runs and tasks. On these tasks: only training runs vary; on "
    note += "new tasks: tasks vary too."
    methods = tuple(method for method in layout.methods if method in set(drops["method"]))
    questions = {"on these tasks": "these", "on new tasks": "new"}  # a column each
    layout = replace(layout, conditions=tuple(questions), methods=methods, unreliable={})
    rows = [
        drops.assign(condition=words, drop_low=drops[f"{name}_low"], drop_high=drops[f"{name}_high"])
        for words, name in questions.items()
    ]
    return Table(
        title=f"Drop in score from {before} to {after} context quality ({where(results)})",
        layout=layout,
        entries=_entries(pd.concat(rows), "drop"),
        footnotes=(SCORE_NOTE, note, sample_note(drops, layout), INTERVAL_NOTE, *_last_notes(results)),
    )


def where(results: Results) -> str:
    """Which records the numbers of a table are of."""
    return f"suite {results.suite}, preset {results.preset}, {results.dataset} data, backbone {results.backbone}"


def _entries(
    rows: pd.DataFrame, name: str, decimals: Mapping[str, int] | None = None
) -> dict[tuple[str, str, str], Entry]:
    columns = rows[["method", "family", "condition", name, f"{name}_low", f"{name}_high"]]
    collapsed = rows["collapsed"] != "" if "collapsed" in rows else [False] * len(rows)
    return {
        (method, family, condition): Entry(
            estimate, low, high, (decimals or {}).get(family, 1), COLLAPSED if marked else ""
        )
        for (method, family, condition, estimate, low, high), marked in zip(
            columns.itertuples(index=False), collapsed, strict=True
        )
    }


def _last_notes(results: Results) -> tuple[str, ...]:
    privileges = [privilege_note(results.privileges)] if results.privileges else []
    return (*privileges, *map(str, results.notes))


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text  # no "-0.0"
