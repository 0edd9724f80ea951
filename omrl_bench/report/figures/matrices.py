"""Heat maps with numbers: which method beats which, and how training data and context data fit together.

Colours go from light to dark with the number, so that they can be read in black and white.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from omrl_bench.report.figures import canvas
from omrl_bench.report.figures.intervals import condition_text, labels_of, mark_note
from omrl_bench.report.figures.styles import shown, shown_note
from omrl_bench.report.reading.groups import ordered
from omrl_bench.report.tables.layout import Layout

MOST_METHODS = 16  # in a matrix with numbers
_COLORS = LinearSegmentedColormap.from_list("omrl", ["#ffffff", "#9ecae1", "#08306b"])
_MISSING = "#f2f2f2"
_CELL = 0.21  # width of a method's cell; inches, like all lengths here
_DATA_CELL = (0.44, 0.3)  # width and height
_ROW_LETTER = 0.055


def improvement_figure(
    improvements: pd.DataFrame, layout: Layout, scopes: Sequence[tuple[str, str]]
) -> dict[str, bytes]:
    """Draw the probability that the method of a row beats the method of a column.

    Args:
        improvements: What :func:`omrl_bench.stats.comparison.improvement_matrix` returns.
        layout: Order of everything; if there are more methods than :data:`MOST_METHODS`, some are chosen.
        scopes: (family, condition) of each panel.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.
    """
    return canvas.render(lambda: draw_improvements(improvements, layout, scopes))


def dataset_figure(summaries: pd.DataFrame, layout: Layout) -> dict[str, bytes]:
    """Draw scores by training data (rows) and context (columns), one panel per method and family.

    This is the layout of table 3 of FOCAL++. Panels without two datasets are left out.

    Args:
        summaries: What :func:`omrl_bench.stats.summary.summarise` returns, of sets that differ in their dataset only.
        layout: Order of everything.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`; none if there is nothing to
        draw.
    """
    panels = dataset_panels(summaries, layout)
    return canvas.render(lambda: draw_datasets(summaries, layout, panels)) if panels else {}


def dataset_panels(summaries: pd.DataFrame, layout: Layout) -> list[tuple[str, str]]:
    """(family, method) of the panels of :func:`dataset_figure`: those with at least two datasets."""
    numbers = summaries.groupby(["family", "method"], observed=True)["dataset"].nunique()
    several = {(str(family), str(method)) for (family, method), number in numbers.items() if number > 1}
    drawn = shown([method for method in layout.methods if any(method == other for _, other in several)])
    return [(family, method) for family in layout.families for method in drawn if (family, method) in several]


def draw_improvements(improvements: pd.DataFrame, layout: Layout, scopes: Sequence[tuple[str, str]]) -> Figure:
    """The figure of :func:`improvement_figure`."""
    matrices = [_matrix(improvements, layout, scope) for scope in scopes]
    most = max(len(methods) for methods, _ in matrices)
    names = [method for methods, _ in matrices for method in methods]
    left = 0.1 + _ROW_LETTER * max(map(len, labels_of(names, layout)))
    left = min(left, 1.6)
    sheet = canvas.sheet(
        len(scopes),
        width=most * _CELL,
        left=left,
        gap=left,
        below=left + 0.02,
        between=left,
        note=(
            "Probability in % that a run of the row's method scores higher than a run of the column's method on the "
            "same task (ties count half). Bold: the 95 % interval (bootstrap over seeds and tasks) does not contain "
            "50.",
            shown_note(layout.methods, MOST_METHODS),
            mark_note(names, layout),
        ),
    )
    for axes, scope, (methods, values) in zip(sheet.panels, scopes, matrices, strict=True):
        estimate, low, high = 100 * values
        decided = (low > 50) | (high < 50)
        _heat_map(axes, estimate, (0, 100), np.where(decided, "bold", "normal"), size=most)
        labels = labels_of(methods, layout)
        axes.set_yticks(range(len(methods)), labels)
        axes.set_xticks(range(len(methods)), labels, rotation=90)
        canvas.title(axes, scope[0], condition_text(scope[1]))
    return sheet.figure


def draw_datasets(summaries: pd.DataFrame, layout: Layout, panels: Sequence[tuple[str, str]]) -> Figure:
    """The figure of :func:`dataset_figure`."""
    datasets = ordered(map(str, summaries["dataset"].unique()), layout.conditions)
    conditions = [condition for condition in layout.conditions if condition in set(summaries["condition"])]
    values = summaries.set_index(["family", "method", "dataset", "condition"])["score_mean"].sort_index()
    finite = values[values.index.get_level_values("method").isin([method for _, method in panels])]
    limits = float(finite.clip(*canvas.VIEW).min()), float(finite.clip(*canvas.VIEW).max())
    methods = [method for method in layout.methods if method in set(summaries["method"])]
    sheet = canvas.sheet(
        len(panels),
        width=len(conditions) * _DATA_CELL[0],
        height=len(datasets) * _DATA_CELL[1],
        left=0.35 + _ROW_LETTER * max(map(len, datasets)),
        gap=0.2,
        below=0.4,
        between=0.35,
        note=(
            "Mean scores: 0 is the random policy, 100 the expert. Rows: training data; columns: context; framed: both "
            "the same. Intervals are in the tables.",
            shown_note(methods),
            mark_note(methods, layout),
        ),
    )
    for index, (axes, (family, method)) in enumerate(zip(sheet.panels, panels, strict=True)):
        rows = [[values.get((family, method, row, column), np.nan) for column in conditions] for row in datasets]
        _heat_map(axes, np.array(rows, dtype=float), limits, None, size=8)
        for row, column in ((datasets.index(name), conditions.index(name)) for name in {*datasets} & {*conditions}):
            axes.add_patch(
                Rectangle(
                    (column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor="#000000", linewidth=1.0, zorder=3
                )
            )
        axes.set_yticks(range(len(datasets)), datasets if sheet.first_in_row(index) else [])
        axes.set_xticks(range(len(conditions)), conditions)
        axes.set_xlabel("context", labelpad=1)
        axes.set_ylabel("training data" if sheet.first_in_row(index) else "", labelpad=1)
        canvas.title(axes, canvas.short(labels_of([method], layout)[0]), family)
    return sheet.figure


def _matrix(rows: pd.DataFrame, layout: Layout, scope: tuple[str, str]) -> tuple[list[str], np.ndarray]:
    """The methods of a panel, and estimate, low and high of each pair: (3, methods, methods), NaN if there is none."""
    rows = rows[(rows["family"] == scope[0]) & (rows["condition"] == scope[1])]
    present = {*rows["first"], *rows["second"]}
    methods = [method for method in shown(layout.methods, MOST_METHODS) if method in present]
    rows = rows[rows["first"].isin(methods) & rows["second"].isin(methods)]
    places = {method: index for index, method in enumerate(methods)}
    values = np.full((3, len(methods), len(methods)), np.nan)
    names = ["first", "second", "improvement", "improvement_low", "improvement_high"]
    for first, second, *numbers in rows[names].itertuples(index=False):
        values[:, places[first], places[second]] = numbers
    return methods, values


def _heat_map(
    axes: Axes, values: np.ndarray, limits: tuple[float, float], weights: np.ndarray | None, size: int
) -> None:
    """Draw cells with their numbers; missing ones are empty."""
    low, high = limits
    colors = _COLORS.with_extremes(bad=_MISSING)
    axes.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    middle = (low + high) / 2
    style = {"fontsize": 6.5 if size <= 15 else 5.0, "ha": "center", "va": "center_baseline"}
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            weight = "normal" if weights is None else str(weights[row, column])
            color = "#ffffff" if value > middle + 0.15 * (high - low) else "#000000"
            axes.text(column, row, f"{value:.0f}", style, color=color, fontweight=weight)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(values.shape[1] - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#ffffff", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
