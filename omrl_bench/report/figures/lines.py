"""Figures with a line per method: performance profiles, learning curves, episodes in a new task, numbers of tasks.

A method has the same colour, marker and line in all of them (:mod:`omrl_bench.report.figures.styles`, which also says
which methods are drawn where there are many).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from omrl_bench.conditions import EPISODE, Condition
from omrl_bench.report.figures import canvas
from omrl_bench.report.figures.intervals import condition_text, labels_of, mark_note, panel_detail
from omrl_bench.report.figures.styles import method_style, shown, shown_note
from omrl_bench.report.tables.captions import TIMES, Sizes
from omrl_bench.report.tables.layout import Layout

_HEIGHT = 1.55  # of a panel; inches, like all lengths here
_LEFT, _GAP = 0.5, 0.3  # room left of the panels, and between them
_LABELS, _UNLABELLED = 0.38, 0.08  # for the horizontal axis
_PER_ROW = 3
_DODGE = 0.5  # share of the distance between two points of a line that the methods' bars are spread over
_N = f"n: seeds {TIMES} tasks {TIMES} draws."
_BOOTSTRAP = "95 % intervals, bootstrap over seeds and tasks."


@dataclass(frozen=True)
class Axis:
    """One axis of all panels: label, limits, and ticks where they are not numbers."""

    label: str
    limits: tuple[float, float]
    ticks: Mapping[float, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """What is drawn in a panel.

    Attributes:
        title: In bold.
        detail: Below it, in small.
        lines: By method: (points, 4) with x, estimate, low and high; a line is broken where x is NaN.
        legend: Texts of a legend of the panel's own, by method; without it the figure has one for all panels.
    """

    title: str
    detail: str
    lines: Mapping[str, np.ndarray]
    legend: Mapping[str, str] = field(default_factory=dict)


def profile_figure(
    profiles: pd.DataFrame, layout: Layout, conditions: Sequence[str], sizes: Mapping[str, Sizes]
) -> dict[str, bytes]:
    """Draw performance profiles: the share of (seed, task) with a score above a threshold.

    Args:
        profiles: What :func:`omrl_bench.stats.ranks.performance_profiles` returns.
        layout: Order of everything.
        conditions: Context qualities that are drawn, side by side.
        sizes: Usual (seeds, tasks, draws) of each family.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    names = ("threshold", "fraction", "fraction_low", "fraction_high")
    panels = [
        Panel(
            family,
            f"{condition_text(condition)}; {panel_detail(family, layout, sizes)}",
            _lines(profiles[(profiles["family"] == family) & (profiles["condition"] == condition)], names),
        )
        for family in layout.families
        for condition in conditions
    ]
    thresholds = profiles["threshold"]
    x = Axis("score threshold", (float(thresholds.min()), float(thresholds.max())))
    y = Axis("share of runs above", (-0.02, 1.02))
    note = f"Share of (seed, task) whose mean score over the draws is above the threshold. {_N} Bands: {_BOOTSTRAP}"
    per_row = len(conditions) * max(1, _PER_ROW // len(conditions))
    return canvas.render(lambda: draw_lines(panels, layout, x, y, note, bands=True, per_row=per_row))


def learning_figure(curves: pd.DataFrame, layout: Layout) -> dict[str, bytes]:
    """Draw learning curves: the score on the validation tasks after so many updates of the policy.

    Args:
        curves: One row per point, with columns ``family``, ``method``, ``seed``, ``step``, ``score``.
        layout: Order of everything.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    by_step = curves.groupby(["family", "method", "step"], observed=True)["score"]
    rows = by_step.agg(["mean", "min", "max"]).reset_index()
    seeds = curves.groupby("family", observed=True)["seed"].nunique()
    names = ("step", "mean", "min", "max")
    panels = [
        Panel(family, f"n = {seeds[family]} seeds", _lines(rows[rows["family"] == family], names))
        for family in layout.families
        if family in seeds
    ]
    x = Axis("updates of the policy", (0.0, 1.02 * float(rows["step"].max())))
    note = "Mean over seeds of the score on the validation tasks. Bands: lowest and highest seed."
    return canvas.render(lambda: draw_lines(panels, layout, x, _score_axis(panels), note, bands=True))


def episode_figure(
    summary: pd.DataFrame, layout: Layout, sizes: Mapping[str, Sizes], areas: pd.DataFrame | None = None
) -> dict[str, bytes]:
    """Draw the score of each episode in a new task.

    Args:
        summary: What :func:`omrl_bench.stats.summary.summarise` returns.
        layout: Order of everything; contexts that are given stand beside the episodes, as bounds.
        sizes: Usual (seeds, tasks, draws) of each family.
        areas: What :func:`omrl_bench.stats.episodes.area_under_episodes` returns, for the legend.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    places = {condition: float(index) for index, condition in enumerate(layout.conditions)}
    rows = summary.assign(x=summary["condition"].map(places).astype(float))
    panels = []
    for family in layout.families:
        lines = _lines(rows[rows["family"] == family], ("x", "score_mean", "score_mean_low", "score_mean_high"))
        broken = {method: _broken(line, layout.conditions) for method, line in lines.items()}
        legend = {} if areas is None else _area_texts(areas[areas["family"] == family], layout)
        panels.append(Panel(family, panel_detail(family, layout, sizes), broken, legend))
    ticks = dict(zip(places.values(), _episode_texts(layout.conditions), strict=True))
    x = Axis("episode in a new task", (-0.5, len(places) - 0.5), ticks)
    note = f"{_N} Bars: {_BOOTSTRAP}"
    if areas is not None:
        note += " Numbers: mean score of all episodes (area under the curve), with its interval."
    return canvas.render(lambda: draw_lines(panels, layout, x, _score_axis(panels), note))


def task_number_figure(scores: pd.DataFrame, layout: Layout, note: str = "") -> dict[str, bytes]:
    """Draw scores by the number of training tasks.

    Args:
        scores: With columns ``family``, ``method``, ``train_tasks``, ``score``, ``low``, ``high``.
        layout: Order of everything.
        note: What a reader must know, such as the condition and the sample sizes.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    names = ("train_tasks", "score", "low", "high")
    present = set(scores["family"])
    panels = [
        Panel(family, "", _lines(scores[scores["family"] == family], names))
        for family in layout.families
        if family in present
    ]
    numbers = np.unique(scores["train_tasks"])
    margin = 0.5 * _spacing(numbers)
    ticks = {float(number): str(number) for number in numbers}
    x = Axis("training tasks", (numbers[0] - margin, numbers[-1] + margin), ticks)
    sentences = " ".join(filter(None, (note, f"Bars: {_BOOTSTRAP}")))
    return canvas.render(lambda: draw_lines(panels, layout, x, _score_axis(panels), sentences))


def draw_lines(
    panels: Sequence[Panel], layout: Layout, x: Axis, y: Axis, note: str, bands: bool = False, per_row: int = _PER_ROW
) -> Figure:
    """Draw panels of lines, with one legend above all panels or one below each.

    Args:
        panels: What to draw.
        layout: Order of the methods, of which those are drawn that are :func:`~omrl_bench.report.figures.styles.shown`.
        x: The horizontal axis.
        y: The vertical axis.
        note: What is written below.
        bands: Draw intervals as bands; else as bars, beside each other.
        per_row: Panels in a row.
    """
    present = {method for panel in panels for method in panel.lines}
    drawn = [method for method in shown(layout.methods) if method in present]
    own = canvas.LINE * max(len(panel.legend) for panel in panels)  # height of the panels' legends
    labels = [canvas.short(label) for label in labels_of(drawn, layout)]
    named = zip(drawn, labels, strict=True)
    handles = [Line2D([], [], **method_style(method).artist(), label=label) for method, label in named]
    labels_height = _LABELS + canvas.LINE * max((text.count("\n") for text in x.ticks.values()), default=0)
    sheet = canvas.sheet(
        len(panels),
        height=_HEIGHT,
        per_row=per_row,
        left=_LEFT,
        gap=_GAP,
        below=labels_height + own,
        between=_UNLABELLED + own,
        legend=() if own else handles,
        note=(note, shown_note(layout.methods), mark_note(drawn, layout)),
    )
    for index, (axes, panel) in enumerate(zip(sheet.panels, panels, strict=True)):
        _panel(axes, panel, drawn, x, y, bands)
        first, last = sheet.first_in_row(index), sheet.last_in_column(index)
        axes.tick_params(labelleft=first, labelbottom=last)  # of a figure, all panels have the same axes
        axes.set_ylabel(y.label if first else "", labelpad=2)
        axes.set_xlabel(x.label if last else "", labelpad=1.5)
        canvas.title(axes, panel.title, panel.detail)
        if panel.legend:
            of_panel = [Line2D([], [], **method_style(m).artist(), label=panel.legend[m]) for m in panel.legend]
            _own_legend(axes, of_panel, -((labels_height if last else _UNLABELLED) - 0.02) / _HEIGHT)
    return sheet.figure


def _panel(axes: Axes, panel: Panel, methods: Sequence[str], x: Axis, y: Axis, bands: bool) -> None:
    axes.set_xlim(x.limits)
    axes.set_ylim(y.limits)
    spread = 0.0 if bands else _DODGE * _spacing(np.array(list(x.ticks)))
    for index, method in enumerate(methods):
        if method not in panel.lines:
            continue
        style = method_style(method)
        steps, estimate, low, high = panel.lines[method].T
        if bands:
            axes.fill_between(steps, low, high, color=style.color, alpha=0.1, linewidth=0, zorder=1)
        else:
            steps = steps + spread * (index - (len(methods) - 1) / 2) / len(methods)
            axes.vlines(steps, low, high, color=style.color, linewidth=0.8, zorder=2)
        every = max(1, len(steps) // 6)  # a long line has few markers, and not all lines at the same place
        # a label that begins with an underscore keeps the line out of automatic legends
        axes.plot(steps, estimate, **style.artist(), markevery=(index % every, every), label=f"_{method}", zorder=3)
    if x.ticks:
        axes.set_xticks(list(x.ticks), list(x.ticks.values()))
    axes.grid(color=canvas.LIGHT, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _own_legend(axes: Axes, handles: Sequence[Line2D], top: float) -> None:
    """A panel's own legend, below its axis."""
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.02, top),
        frameon=False,
        fontsize=5.8,
        handlelength=2.4,
        labelspacing=0.3,
        borderpad=0,
        borderaxespad=0,
    )


def _lines(rows: pd.DataFrame, names: tuple[str, str, str, str]) -> dict[str, np.ndarray]:
    """Lines of one panel from its rows; ``names`` are the columns with x, estimate, low and high."""
    groups = rows.groupby("method", sort=False, observed=True)
    return {str(method): group[list(names)].sort_values(names[0]).to_numpy(dtype=float) for method, group in groups}


def _broken(line: np.ndarray, conditions: Sequence[str]) -> np.ndarray:
    """Break a line where episodes of another kind begin: those that explore are not to be compared with the last."""
    kinds = [Condition.parse(conditions[int(place)]).kind for place in line[:, 0]]
    changes = [index for index in range(1, len(kinds)) if kinds[index] != kinds[index - 1]]
    return np.insert(line, changes, np.nan, axis=0)


def _episode_texts(conditions: Sequence[str]) -> list[str]:
    """``1`` for ``episode-1``; another kind is named below its first: ``1 explore``, ``2``, ``high context given``."""
    texts, before = [], EPISODE
    for condition in map(Condition.parse, conditions):
        lines = [condition.quality or str(condition.number or "")]
        if condition.kind not in (EPISODE, before):
            lines.append("context\ngiven" if condition.given else condition.kind)
        texts.append("\n".join(filter(None, lines)))
        before = condition.kind
    return texts


def _area_texts(areas: pd.DataFrame, layout: Layout) -> dict[str, str]:
    rows = areas.set_index("method")
    methods = [method for method in shown(layout.methods) if method in rows.index]
    labels = [canvas.short(label) for label in labels_of(methods, layout)]
    return {
        method: "{}  {:.1f} [{:.1f}, {:.1f}]".format(label, *rows.loc[method, ["area", "area_low", "area_high"]])
        for method, label in zip(methods, labels, strict=True)
    }


def _score_axis(panels: Sequence[Panel]) -> Axis:
    """Limits that all intervals are within, but not beyond :data:`canvas.VIEW`."""
    ends = [line[:, column] for panel in panels for line in panel.lines.values() for column in (2, 3)]
    low, high = np.clip((np.nanmin(np.concatenate(ends)), np.nanmax(np.concatenate(ends))), *canvas.VIEW)
    margin = 0.04 * max(high - low, 1.0)
    return Axis("score", (float(low - margin), float(high + margin)))


def _spacing(places: np.ndarray) -> float:
    """The smallest distance of two places; 1 if there is only one."""
    return float(np.diff(np.sort(places)).min()) if len(places) > 1 else 1.0
