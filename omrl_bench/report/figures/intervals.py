"""Figures with a row per method: scores by context quality (or episode), and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from omrl_bench.conditions import Condition
from omrl_bench.report.figures import canvas
from omrl_bench.report.figures.styles import condition_style, method_style
from omrl_bench.report.reading.results import REFERENCE
from omrl_bench.report.tables.captions import TIMES, Sizes, condition_word, sizes_text
from omrl_bench.report.tables.layout import DAGGER, Layout
from omrl_bench.report.tables.wide import Entry, Table
from omrl_bench.stats.panels import ALL

_PANELS_PER_ROW = 5
_GAP, _LABELS = 0.14, 0.46  # between panels, and below them; inches, like all lengths here
_POINT_HEIGHT, _METHOD_GAP = 0.08, 0.1
_RANK_HEIGHT, _RANK_WIDTH = 0.15, 1.5


def score_figure(table: Table, sizes: Mapping[str, Sizes]) -> dict[str, bytes]:
    """Draw a score table, one panel per family.

    Args:
        table: What :func:`omrl_bench.report.tables.wide.score_table` returns.
        sizes: Usual (seeds, tasks, draws) of each family.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    return canvas.render(lambda: draw_scores(table, sizes))


def rank_figure(ranks: pd.DataFrame, layout: Layout, scopes: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """Draw the methods' ranks with their intervals, best first.

    Args:
        ranks: What :func:`omrl_bench.stats.ranks.rank_intervals` returns.
        layout: Order of everything.
        scopes: (family, condition) of each panel.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    return canvas.render(lambda: draw_ranks(ranks, layout, scopes))


def draw_scores(table: Table, sizes: Mapping[str, Sizes]) -> Figure:
    """The figure of :func:`score_figure`."""
    layout = table.layout
    labels = labels_of(layout.methods, layout)
    handles = []
    for index, condition in enumerate(layout.conditions):
        color, marker = condition_style(index)
        handles.append(Line2D([], [], color=color, marker=marker, linewidth=1.2, markeredgewidth=0, label=condition))
    sheet = canvas.sheet(
        len(layout.families),
        height=len(layout.methods) * _lane(table),
        per_row=_PANELS_PER_ROW,
        left=canvas.names_width(labels),
        gap=_GAP,
        below=_LABELS,
        between=_LABELS + 0.01,
        legend=handles,
        word=condition_word(layout.conditions),
        note=(
            f"n: seeds {TIMES} tasks {TIMES} draws; bars: 95 % intervals, bootstrap over seeds and tasks.",
            mark_note(layout.methods, layout),
        ),
    )
    limits = _limits(table)
    for index, (axes, family) in enumerate(zip(sheet.panels, layout.families, strict=True)):
        axes.set_xlim(limits)
        _score_panel(axes, table, family)
        if sheet.first_in_row(index):
            axes.set_yticks(range(len(labels)), labels)
        else:
            axes.set_yticks([])
        canvas.title(axes, family, panel_detail(family, layout, sizes))
    return sheet.figure


def draw_ranks(ranks: pd.DataFrame, layout: Layout, scopes: Sequence[tuple[str, str]]) -> Figure:
    """The figure of :func:`rank_figure`."""
    rows = [_scope(ranks, layout, scope) for scope in scopes]
    methods = list(dict.fromkeys(method for each in rows for method in each["method"]))
    left = canvas.names_width(labels_of(methods, layout), most=1.7)
    longest = max(map(len, rows))
    sheet = canvas.sheet(
        len(scopes),
        width=_RANK_WIDTH,
        height=longest * _RANK_HEIGHT,
        left=left,
        gap=left,
        below=0.4,
        between=0.37,
        note=(
            "Rank 1 is the best mean score. Bars: 95 % intervals on new tasks, of each method on its own. Bold: could "
            "be best, all methods taken together.",
            mark_note(methods, layout),
        ),
    )
    for axes, scope, each in zip(sheet.panels, scopes, rows, strict=True):
        _rank_panel(axes, each, longest)
        axes.set_yticks(range(len(each)), labels_of(each["method"], layout))
        for label, could_be_best in zip(axes.get_yticklabels(), each["could_be_best"], strict=True):
            label.set_fontweight("bold" if could_be_best else "normal")
        canvas.title(axes, scope[0], condition_text(scope[1]))
    return sheet.figure


def labels_of(methods: Sequence[str], layout: Layout) -> list[str]:
    """The methods' names with their marks."""
    return [layout.label(method) for method in methods]


def mark_note(methods: Sequence[str], layout: Layout) -> str:
    """What the marks of these methods mean; empty if none has any."""
    meanings = (
        (layout.marked, f"{DAGGER} sees more than the training data and the context."),
        (layout.reference, f"{REFERENCE} reference row, run elsewhere."),
    )
    return " ".join(meaning for marked, meaning in meanings if not marked.isdisjoint(methods))


def panel_detail(family: str, layout: Layout, sizes: Mapping[str, Sizes]) -> str:
    """What is written below a family's name: its sample sizes."""
    if family == ALL:
        return f"mean of {len(layout.families) - 1} families"
    return f"n = {sizes_text(sizes[family], words=False)}"


def condition_text(condition: str) -> str:
    """Say under which condition a panel's numbers were measured."""
    return f"{condition} context" if Condition.parse(condition).given else condition


def _score_panel(axes: Axes, table: Table, family: str) -> None:
    """Draw one family: methods downwards, their context qualities side by side within a band."""
    layout = table.layout
    lane = _lane(table)
    for score in (0, 100):
        axes.axvline(score, color=canvas.GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    axes.axvline(50, color=canvas.LIGHT, linewidth=0.5, zorder=0.5)
    _stripes(axes, len(layout.methods))
    for index, condition in enumerate(layout.conditions):
        offset = (index - (len(layout.conditions) - 1) / 2) * _POINT_HEIGHT / lane
        entries = {row: table.entries.get((method, family, condition)) for row, method in enumerate(layout.methods)}
        _points(axes, {row + offset: entry for row, entry in entries.items() if entry is not None}, index)
    for row, method in enumerate(layout.methods):
        if not any((method, family, condition) in table.entries for condition in layout.conditions):
            reason = "lacks a family" if family == ALL else "no results"
            axes.text(50, row, reason, color=canvas.GREY, fontsize=5.5, fontstyle="italic", ha="center", va="center")
    axes.set_ylim(len(layout.methods) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([0, 50, 100], ["0\nrandom", "50\n", "100\nexpert"], fontsize=6.5)
    low, high = axes.get_xlim()
    axes.set_xlabel("score", labelpad=1, x=(50 - low) / (high - low))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _points(axes: Axes, entries: Mapping[float, Entry], index: int) -> None:
    """Draw estimates with their intervals by place, or an arrow and a number where they lie outside of the panel."""
    color, marker = condition_style(index)
    low, high = axes.get_xlim()
    lows, highs = [entry.low for entry in entries.values()], [entry.high for entry in entries.values()]
    axes.hlines(list(entries), lows, highs, color=color, linewidth=1.2, zorder=2)
    inside = {y: entry.estimate for y, entry in entries.items() if low <= entry.estimate <= high}
    axes.plot(list(inside.values()), list(inside), marker, color=color, markeredgewidth=0, zorder=3)
    for y, entry in entries.items():
        if y not in inside:
            left = entry.estimate < low
            edge, inwards, align = (0.03, 0.04, "left") if left else (0.97, -0.04, "right")
            across = axes.get_yaxis_transform()  # x from 0 to 1 across the panel
            axes.plot(edge, y, "<" if left else ">", color=color, transform=across)
            style = {"fontsize": 5, "color": canvas.DARK, "ha": align, "va": "center_baseline"}
            axes.text(edge + inwards, y, entry.texts()[0], style, transform=across)


def _stripes(axes: Axes, rows: int) -> None:
    """Shade every other row."""
    stripes = [Rectangle((0, row - 0.5), 1, 1) for row in range(0, rows, 2)]
    across = axes.get_yaxis_transform()
    axes.add_collection(
        PatchCollection(stripes, facecolor=canvas.BAND, linewidth=0, zorder=0, transform=across), autolim=False
    )


def _scope(ranks: pd.DataFrame, layout: Layout, scope: tuple[str, str]) -> pd.DataFrame:
    """Ranks of one family and condition, best first; methods of equal rank in the order of the layout."""
    rows = ranks[(ranks["family"] == scope[0]) & (ranks["condition"] == scope[1])]
    place = rows["method"].map(layout.methods.index).astype(int)
    return rows.assign(place=place).sort_values(["rank", "place"], ignore_index=True)


def _rank_panel(axes: Axes, rows: pd.DataFrame, longest: int) -> None:
    """Draw the ranks of one family and condition."""
    _stripes(axes, len(rows))
    styles = [method_style(method) for method in rows["method"]]
    colors = [style.color for style in styles]
    axes.hlines(range(len(rows)), rows["rank_low"], rows["rank_high"], colors, linewidth=1.4, zorder=2)
    for row, (rank, style) in enumerate(zip(rows["rank"], styles, strict=True)):
        axes.plot(rank, row, **style.artist() | {"linestyle": ""}, zorder=3)
    axes.set_xlim(0.4, longest + 0.6)
    axes.set_ylim(longest - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    step = next(step for step in (1, 2, 5, 10, longest) if longest <= 8 * step)
    axes.set_xticks(sorted({1, *range(step, longest + 1, step)}))
    axes.set_xlabel("rank", labelpad=1)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _limits(table: Table) -> tuple[float, float]:
    """Limits of the score axis, the same for all panels: 0, 100 and all intervals, within :data:`canvas.VIEW`."""
    ends = np.array([0.0, 100.0, *(end for entry in table.entries.values() for end in (entry.low, entry.high))])
    low, high = np.clip((ends.min(), ends.max()), *canvas.VIEW)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _lane(table: Table) -> float:
    """Height of a method's band."""
    return len(table.layout.conditions) * _POINT_HEIGHT + _METHOD_GAP
