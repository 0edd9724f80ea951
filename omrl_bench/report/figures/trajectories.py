"""Pictures of where a method's point robots go."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from omrl_bench.envs.families import Family
from omrl_bench.report.figures import canvas

_LEFT, _GAP, _PER_ROW = 0.42, 0.2, 4  # inches, like all lengths here
_LABELS = 0.22
_LINES = ("solid", (0, (4, 1.5)), (0, (1, 1.2)))


def trajectory_figure(
    family: Family, method: str, detail: str, paths: Mapping[str, np.ndarray], tasks: np.ndarray
) -> dict[str, bytes]:
    """Draw the paths of point robots to the goals of their tasks, one panel per condition.

    Args:
        family: A point family.
        method: The method.
        detail: Which seed, which episodes.
        paths: By condition: (episodes, steps, 2) positions.
        tasks: (episodes,) task id of each path, the same in all conditions.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.

    Raises:
        ValueError: if the family's robot is no point, there is no condition, or the shapes do not fit.
    """
    if not family.is_point:
        raise ValueError(f"{family.name} has no paths in the plane")
    if not paths:
        raise ValueError("there are no paths")
    for condition, path in paths.items():
        if path.ndim != 3 or path.shape[2] != 2 or len(path) != len(tasks):
            raise ValueError(f"{condition}: paths of shape {path.shape} do not fit {len(tasks)} tasks")
    return canvas.render(lambda: draw_trajectories(family, method, detail, paths, np.asarray(tasks)))


def draw_trajectories(
    family: Family, method: str, detail: str, paths: Mapping[str, np.ndarray], tasks: np.ndarray
) -> Figure:
    """The figure of :func:`trajectory_figure`."""
    targets = family.task_goals()[tasks]  # (episodes, goals, 2)
    every = np.concatenate([targets.reshape(-1, 2), *(path.reshape(-1, 2) for path in paths.values())])
    every = every[np.isfinite(every).all(axis=1)]
    low, high = every.min(axis=0), every.max(axis=0)
    middle, reach = (low + high) / 2, max(float((high - low).max()) / 2 * 1.06, 0.1)
    sheet = canvas.sheet(
        len(paths),
        per_row=_PER_ROW,
        left=_LEFT,
        gap=_GAP,
        below=_LABELS,
        note=(
            f"{method}: {detail}. Paths from the start (dot) and the goals (cross) of {len(np.unique(tasks))} tasks; a "
            "path and its goal share the colour.",
        ),
    )
    for index, (axes, (condition, path)) in enumerate(zip(sheet.panels, paths.items(), strict=True)):
        _panel(axes, path, tasks, targets)
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach, middle[1] + reach)
        axes.set_aspect("equal")
        if not sheet.first_in_row(index):
            axes.tick_params(labelleft=False)
        canvas.title(axes, condition, family.name)
    return sheet.figure


def _panel(axes: Axes, paths: np.ndarray, tasks: np.ndarray, targets: np.ndarray) -> None:
    """All paths of one condition as one artist, and their goals as another."""
    ids, ranks = np.unique(tasks, return_inverse=True)
    colors = mpl.colormaps["viridis"](0.92 * ranks / max(len(ids) - 1, 1))  # its light end cannot be seen on white
    styles = [_LINES[rank % len(_LINES)] for rank in ranks]
    axes.add_collection(LineCollection(list(paths), colors=colors, linestyles=styles, linewidths=0.8))
    axes.scatter(paths[:, 0, 0], paths[:, 0, 1], 5, "#000000", linewidths=0, zorder=3)
    flat = targets.reshape(-1, 2)
    repeated = np.repeat(colors, targets.shape[1], axis=0)
    axes.scatter(flat[:, 0], flat[:, 1], 26, "#ffffff", marker="X", linewidths=0, zorder=3)
    axes.scatter(flat[:, 0], flat[:, 1], 16, repeated, marker="X", linewidths=0.4, edgecolors="#000000", zorder=4)
    axes.spines[["top", "right"]].set_visible(False)
