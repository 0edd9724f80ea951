"""Pictures of a task representation: context embeddings in the plane, by task and by context quality.

The layout is that of figures 2 and 3 of HS-OMRL.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from omrl_bench.report.figures import canvas
from omrl_bench.report.figures.styles import condition_style

FEWEST = 4  # contexts that can be placed
_PERPLEXITY = 30
_SIDE = 3.05  # of a panel; inches, like all lengths here
_LEFT, _GAP = 0.14, 0.3
_TASK_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_POINT = 9.0


def embedding_figure(
    name: str, detail: str, embeddings: np.ndarray, tasks: np.ndarray, conditions: Sequence[str]
) -> dict[str, bytes]:
    """Draw the context embeddings of one method in one family, placed by t-SNE.

    Args:
        name: Title: the method.
        detail: Below it: the family, the seed, which contexts.
        embeddings: (contexts, size).
        tasks: (contexts,) task ids.
        conditions: (contexts,) context qualities; their order of appearance is the order of the legend.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`: the same on one machine;
        another processor may round differently, and t-SNE makes much of little.

    Raises:
        ValueError: if there are fewer than :data:`FEWEST` contexts, or the numbers of contexts do not agree.
    """
    if len(embeddings) < FEWEST:
        raise ValueError(f"{len(embeddings)} contexts cannot be placed by t-SNE; {FEWEST} are needed")
    if not len(embeddings) == len(tasks) == len(conditions):
        raise ValueError(f"{len(embeddings)} embeddings, {len(tasks)} tasks and {len(conditions)} conditions")
    places = coordinates(embeddings)
    return canvas.render(lambda: draw_embeddings(name, detail, places, np.asarray(tasks), list(conditions)))


def coordinates(embeddings: np.ndarray) -> np.ndarray:
    """Place embeddings (contexts, size) in the plane by t-SNE, from the same start every time: (contexts, 2)."""
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    model = TSNE(perplexity=perplexity, init="random", random_state=0)
    with threadpool_limits(1):  # threads that wait for each other are slower by far where other processes run
        return np.asarray(model.fit_transform(np.asarray(embeddings, dtype=np.float64)))


def draw_embeddings(name: str, detail: str, places: np.ndarray, tasks: np.ndarray, conditions: list[str]) -> Figure:
    """The figure of :func:`embedding_figure`; ``places`` are (contexts, 2)."""
    kinds = list(dict.fromkeys(conditions))
    number = len(np.unique(tasks))
    sheet = canvas.sheet(
        2,
        width=_SIDE,
        left=_LEFT,
        gap=_GAP,
        below=0.24,
        note=(
            f"{len(places)} contexts of {number} tasks, placed by t-SNE (perplexity at most {_PERPLEXITY}, fixed "
            "start): neighbours are meaningful, distances between groups and the axes are not. Left: one colour and "
            "marker per task. Right: by context quality.",
        ),
    )
    left, right = sheet.panels
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(canvas.LIGHT)
    _by_task(left, places, tasks)
    handles = []
    for index, kind in enumerate(kinds):
        color, marker = condition_style(index)
        chosen = np.array([condition == kind for condition in conditions])
        points = places[chosen]
        # hollow, so that what lies below can be seen
        right.scatter(
            points[:, 0], points[:, 1], _POINT, facecolors="none", edgecolors=color, marker=marker, linewidths=0.6
        )
        mark = Line2D([], [], linestyle="", marker=marker, color=color, markersize=3.4, label=kind)
        mark.set(markerfacecolor="none", markeredgewidth=0.6)
        handles.append(mark)
    right.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.02, -0.02), ncols=min(len(kinds), 5), frameon=False
    )
    canvas.title(left, name, f"{detail}; by task")
    canvas.title(right, "", "by context quality")
    return sheet.figure


def _by_task(axes: Axes, places: np.ndarray, tasks: np.ndarray) -> None:
    """One colour and marker per task: tasks of neighbouring colours have different markers."""
    ids, ranks = np.unique(tasks, return_inverse=True)
    colors = mpl.colormaps["viridis"](0.92 * ranks / max(len(ids) - 1, 1))  # its light end cannot be seen on white
    for index, marker in enumerate(_TASK_MARKERS):
        chosen = ranks % len(_TASK_MARKERS) == index
        if chosen.any():
            axes.scatter(places[chosen, 0], places[chosen, 1], _POINT, colors[chosen], marker=marker, linewidths=0)
