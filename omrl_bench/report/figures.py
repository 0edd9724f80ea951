"""The figure: score by method and context quality (or episode), one panel per family."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from omrl_bench.report.captions import DAGGER, TIMES, Sizes, condition_word, sizes_text
from omrl_bench.report.tables import Entry, Table
from omrl_bench.stats.panels import ALL

FORMATS = ("svg", "pdf", "png")
_PANELS_PER_ROW = 5
_WIDTHS = (3.5, 5.2, 7.2)  # of figures with one, two and more panels in a row; inches, like all lengths here
_RIGHT, _TOP, _BOTTOM = 0.14, 0.68, 0.8  # around the panels
_EDGE = 0.1  # where the legend and the note begin
_LETTER = 0.06  # width of a letter of a method's name
_GAP, _ROW_GAP = 0.14, 0.9  # between panels
_POINT_HEIGHT, _METHOD_GAP = 0.08, 0.1
_VIEW = (-50.0, 150.0)  # what lies beyond is drawn as an arrow at the edge: one failure must not squash the rest
_DARK, _GREY, _BAND = "#333333", "#666666", "#f2f2f2"
_SMALL = {"fontsize": 5.8, "color": _GREY, "va": "bottom"}
# Colours by Okabe and Ito, whose lightness differs from neighbour to neighbour, each with a marker of its own.
_MARKS = (("#0072B2", "o"), ("#E69F00", "s"), ("#000000", "D"), ("#CC79A7", "^"), ("#009E73", "v"), ("#56B4E9", "P"))
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same on every machine
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": _DARK,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "lines.markersize": 3.4,
    "text.parse_math": False,  # a method's name is not mathematics
    "pdf.fonttype": 42,  # publishers refuse type 3
    "svg.hashsalt": "omrl-bench",
    "savefig.dpi": 300,
}
_METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


def score_figure(table: Table, sizes: Mapping[str, Sizes]) -> dict[str, bytes]:
    """Draw a score table.

    Args:
        table: What :func:`omrl_bench.report.tables.score_table` returns.
        sizes: Usual (seeds, tasks, draws) of each family.

    Returns:
        The files' contents by format (``svg``, ``pdf``, ``png``): the same bytes for the same table.
    """
    files = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the figure
        mpl.rcParams.update(_STYLE)
        figure = _draw(table, sizes)
        for name in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, metadata=_METADATA[name])
            files[name] = buffer.getvalue()
    return files


def _draw(table: Table, sizes: Mapping[str, Sizes]) -> Figure:
    """Lay the panels out by hand: every length is in inches, so that panels look the same in every figure."""
    layout = table.layout
    rows = math.ceil(len(layout.families) / _PANELS_PER_ROW)
    columns = math.ceil(len(layout.families) / rows)
    panel_height = len(layout.methods) * _lane(table)
    width = _WIDTHS[min(columns, len(_WIDTHS)) - 1]
    height = _TOP + rows * panel_height + (rows - 1) * _ROW_GAP + _BOTTOM
    panel_width = (width - _left(table) - _RIGHT - (columns - 1) * _GAP) / columns
    figure = Figure(figsize=(width, height))
    limits = _limits(table)
    for index, family in enumerate(layout.families):
        row, column = divmod(index, columns)
        left = _left(table) + column * (panel_width + _GAP)
        bottom = height - _TOP - panel_height - row * (panel_height + _ROW_GAP)
        box = (left / width, bottom / height, panel_width / width, panel_height / height)
        axes = figure.add_axes(box, xlim=limits)
        _panel(axes, table, family, first=column == 0)
        mean_of = f"mean of {len(layout.families) - 1} families"
        detail = mean_of if family == ALL else f"n = {sizes_text(sizes[family], words=False)}"
        # a long name is set smaller, lest it runs into the next one
        name = {"fontsize": min(8.0, 100 * panel_width / len(family)), "fontweight": "bold", "va": "bottom"}
        axes.text(0, 1 + 0.17 / panel_height, family, name, transform=axes.transAxes)
        axes.text(0, 1 + 0.05 / panel_height, detail, _SMALL, transform=axes.transAxes)
    _surroundings(figure, table)
    return figure


def _panel(axes: Axes, table: Table, family: str, first: bool) -> None:
    """Draw one family: methods downwards, their context qualities side by side within a band."""
    layout = table.layout
    lane = _lane(table)
    for score in (0, 100):
        axes.axvline(score, color=_GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    axes.axvline(50, color="#dddddd", linewidth=0.5, zorder=0.5)
    for row, method in enumerate(layout.methods):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color=_BAND, linewidth=0, zorder=0)
        for index, quality in enumerate(layout.qualities):
            entry = table.entries.get((method, family, quality))
            if entry is not None:
                offset = (index - (len(layout.qualities) - 1) / 2) * _POINT_HEIGHT / lane
                _point(axes, entry, row + offset, index)
        if not any((method, family, quality) in table.entries for quality in layout.qualities):
            reason = "lacks a family" if family == ALL else "no results"
            axes.text(50, row, reason, color=_GREY, fontsize=5.5, fontstyle="italic", ha="center", va="center")
    axes.set_ylim(len(layout.methods) - 0.5, -0.5)
    labels = [f"{method} {DAGGER}" if method in layout.marked else method for method in layout.methods]
    axes.set_yticks(range(len(labels)), labels if first else [])
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([0, 50, 100], ["0\nrandom", "50\n", "100\nexpert"], fontsize=6.5)
    low, high = axes.get_xlim()
    axes.set_xlabel("score", labelpad=1, x=(50 - low) / (high - low))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _point(axes: Axes, entry: Entry, y: float, index: int) -> None:
    """Draw an estimate with its interval, or an arrow and a number where it lies outside of the panel."""
    color, marker = _mark(index)
    low, high = axes.get_xlim()
    axes.plot([entry.low, entry.high], [y, y], color=color, linewidth=1.2, solid_capstyle="butt", zorder=2)
    if low <= entry.estimate <= high:
        axes.plot(entry.estimate, y, marker, color=color, markeredgewidth=0, zorder=3)
        return
    left = entry.estimate < low
    edge, inwards, align = (0.03, 0.04, "left") if left else (0.97, -0.04, "right")
    inside = axes.get_yaxis_transform()  # x from 0 to 1 across the panel
    axes.plot(edge, y, "<" if left else ">", color=color, transform=inside)
    style = {"fontsize": 5, "color": _DARK, "ha": align, "va": "center_baseline"}
    axes.text(edge + inwards, y, entry.texts()[0], style, transform=inside)


def _surroundings(figure: Figure, table: Table) -> None:
    """Add the legend above and the note below the panels."""
    width, height = figure.get_size_inches()
    handles = []
    for index, quality in enumerate(table.layout.qualities):
        color, marker = _mark(index)
        handles.append(Line2D([], [], color=color, marker=marker, linewidth=1.2, markeredgewidth=0, label=quality))
    word = condition_word(table.layout.qualities)
    figure.text(_EDGE / width, 1 - 0.17 / height, word, va="center", fontsize=7)
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=((_EDGE + 0.78) / width, 1 - 0.175 / height),
        ncols=len(handles),
        frameon=False,
        fontsize=7,
        handlelength=1.6,
        columnspacing=1.0,
    )
    note = f"n: seeds {TIMES} tasks {TIMES} draws; bars: 95 % intervals, bootstrap over seeds and tasks."
    if table.layout.marked & set(table.layout.methods):
        note += f"\n{DAGGER} sees more than the training data and the context."
    figure.text(_EDGE / width, 0.09 / height, note, _SMALL, linespacing=1.4)


def _limits(table: Table) -> tuple[float, float]:
    """Limits of the score axis, the same for all panels: 0, 100 and all intervals, within :data:`_VIEW`."""
    ends = np.array([0.0, 100.0, *(end for entry in table.entries.values() for end in (entry.low, entry.high))])
    low, high = np.clip((ends.min(), ends.max()), *_VIEW)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _left(table: Table) -> float:
    """Room for the methods' names, but never so much that none is left for the panels."""
    longest = max(len(method) + 2 * (method in table.layout.marked) for method in table.layout.methods)
    return min(2.0, 0.2 + _LETTER * longest)


def _lane(table: Table) -> float:
    """Height of a method's band."""
    return len(table.layout.qualities) * _POINT_HEIGHT + _METHOD_GAP


def _mark(index: int) -> tuple[str, str]:
    return _MARKS[index % len(_MARKS)]
