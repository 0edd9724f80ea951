"""Pictures of a family's data: its tasks and returns, where its episodes go, and point robots' rollouts.

Small PNG files for the data card. A quality has the same colour everywhere, but always a panel of its own with its name
too, and splits and tasks are told by markers and line styles: nothing is said by colour alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.families import Family
from omrl_bench.report.figures import canvas
from omrl_bench.vocabulary import SPLITS

COLORS = {"mixed": "#0072B2", "expert": "#D55E00", "medium": "#009E73", "random": "#000000", "cross": "#CC79A7"}
_HATCHES = {"mixed": "//", "expert": "", "medium": "..", "random": "xx", "cross": "--"}
_SPLIT_MARKS: dict[str, dict[str, Any]] = {
    "train": {"marker": "o", "color": "#000000", "s": 14},
    "validation": {"marker": "s", "facecolor": "#ffffff", "edgecolor": "#000000", "linewidth": 0.8, "s": 16},
    "test": {"marker": "^", "color": "#999999", "s": 14, "zorder": 0.9},  # there are many: the others on top
    "extrapolation": {"marker": "x", "color": "#000000", "linewidth": 0.8, "s": 18},
}
_TASK_MARKS, _LINES = "os^D", ("-", "--", ":", "-.")
ROLLOUT_QUALITIES = ("random", "medium", "expert")
EPISODES_SHOWN = 2  # of each task in the picture of rollouts
ROWS = 60_000  # transitions in the picture of coverage, at most
_VIEW = (0.2, 99.8)  # per cent of the projected transitions that the picture of coverage is cut to
_STYLE = {"axes.titlesize": 7.5, "hatch.linewidth": 0.4, "savefig.dpi": 110}


def data_pictures(family: Family, datasets: Mapping[str, Episodes], reference: tuple[float, float]) -> dict[str, bytes]:
    """Draw all pictures of a family's data card.

    Args:
        family: The family.
        datasets: Episodes by quality; ``mixed`` and :data:`ROLLOUT_QUALITIES` are needed.
        reference: Mean reference return of the random policy and of the expert.

    Returns:
        PNG files by name, ``tasks``, ``coverage`` and, of a point family, ``rollouts``: the same bytes for the same
        data.
    """
    pictures = {}
    with canvas.settings(canvas.BASE | _STYLE):
        pictures["tasks"] = _png(_tasks(family, datasets, reference))
        pictures["coverage"] = _png(_coverage(family, datasets))
        if family.is_point:
            pictures["rollouts"] = _png(_rollouts(family, datasets))
    return pictures


def _tasks(family: Family, datasets: Mapping[str, Episodes], reference: tuple[float, float]) -> Figure:
    """Tasks on the left, a histogram of returns for each quality on the right."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    grid = figure.add_gridspec(len(datasets), 2)
    draw = {1: _strip, 2: _plane}.get(len(family.descriptor), _heat_map)
    draw(figure.add_subplot(grid[:, 0]), family)
    returns = {quality: episodes.returns() for quality, episodes in datasets.items()}
    everything = np.concatenate([*returns.values(), reference])
    low, high = float(everything.min()), float(everything.max())
    bins = np.linspace(low, high, 41).tolist()
    margin = 0.02 * (high - low)
    for row, (quality, values) in enumerate(returns.items()):
        axes = figure.add_subplot(grid[row, 1], xlim=(low - margin, high + margin))
        axes.hist(
            values,
            bins,
            histtype="stepfilled",
            facecolor=f"{COLORS[quality]}55",
            edgecolor=COLORS[quality],
            hatch=_HATCHES[quality],
            linewidth=0.8,
        )
        for value, line in zip(reference, (":", "--"), strict=True):
            axes.axvline(value, color="#333333", linewidth=0.8, linestyle=line)
        axes.set_yticks([])
        axes.set_ylabel(quality, rotation=0, ha="right", va="center")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelbottom=row == len(returns) - 1)
    axes.set_xlabel("return of an episode")
    return figure


def _strip(axes: Axes, family: Family) -> None:
    """One parameter: a line for each split."""
    table = family.tasks()
    present = [split for split in SPLITS if split in table.splits]
    for row, split in enumerate(present):
        values = table.descriptors[table.ids(split), 0]
        axes.scatter(values, np.full(len(values), row), **_SPLIT_MARKS[split])
    axes.set_yticks(range(len(present)), present)
    axes.set_ylim(len(present) - 0.5, -0.5)
    axes.set_xlabel(family.descriptor[0])
    axes.set_title("tasks")
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)


def _plane(axes: Axes, family: Family) -> None:
    """Two parameters: a point for each task."""
    table = family.tasks()
    for split in SPLITS:
        values = table.descriptors[table.ids(split)]
        if len(values):
            axes.scatter(values[:, 0], values[:, 1], label=split, **_SPLIT_MARKS[split])
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(family.descriptor[0])
    axes.set_ylabel(family.descriptor[1])
    axes.set_title("tasks")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=len(SPLITS),
        frameon=False,
        fontsize=6.5,
        handletextpad=0,
        columnspacing=0.8,
    )


def _heat_map(axes: Axes, family: Family) -> None:
    """Many parameters: a row for each, a column for each task, in the order of the splits."""
    table = family.tasks()
    order = np.concatenate([table.ids(split) for split in SPLITS])
    picture = axes.imshow(table.descriptors[order].T, aspect="auto", cmap="cividis", interpolation="nearest")
    assert axes.figure is not None
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02, fraction=0.05)
    bar.set_label("log multiplier")
    ends = np.cumsum([0, *(len(table.ids(split)) for split in SPLITS)])
    named = [(split, a, b) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True) if b > a]
    axes.set_xticks([(a + b - 1) / 2 for _, a, b in named], [split[:5] for split, _, _ in named])
    groups = [name.split("_")[0] for name in family.descriptor]
    starts = [row for row, group in enumerate(groups) if row == 0 or group != groups[row - 1]]
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(groups)], strict=True)]
    axes.set_yticks(middles, [groups[row] for row in starts])
    axes.tick_params(length=0)
    for _, start, _ in named[1:]:
        axes.axvline(start - 0.5, color="#ffffff", linewidth=1.2)
    for row in starts[1:]:
        axes.axhline(row - 0.5, color="#ffffff", linewidth=1.2)
    axes.set_title("tasks: multipliers of the model")


def _coverage(family: Family, datasets: Mapping[str, Episodes]) -> Figure:
    """Where each dataset is: positions of a point, two principal components of a robot's observations."""
    figure = Figure(figsize=(7.2, 1.95), layout="constrained")
    panels = figure.subplots(1, len(datasets), sharex=True, sharey=True, squeeze=False)[0]
    seen = {quality: _sample(episodes.observations) for quality, episodes in datasets.items()}
    if family.is_point:
        places, shown = {quality: values[:, :2] for quality, values in seen.items()}, family.task_goals().reshape(-1, 2)
        note = "x, y of visited positions; + goals of all tasks"
    else:
        project, shares = _principal_components(seen["mixed"])
        places, shown = {quality: project(values) for quality, values in seen.items()}, np.empty((0, 2))
        note = (
            f"principal components 1 and 2 of the observations of `mixed`: {shares[0]:.0%} and {shares[1]:.0%} of the "
            "variance of the standardised values"
        )
    ends = np.percentile(np.concatenate(list(places.values())), _VIEW, axis=0)
    low, high = np.vstack([ends, shown]).min(axis=0), np.vstack([ends, shown]).max(axis=0)
    margin = 0.05 * (high - low)
    (left, bottom), (right, top) = low - margin, high + margin
    for axes, (quality, values) in zip(panels, places.items(), strict=True):
        colors = LinearSegmentedColormap.from_list(quality, [f"{COLORS[quality]}40", COLORS[quality]])
        extent = (left, right, bottom, top)
        axes.hexbin(*values.T, gridsize=28, bins="log", mincnt=1, extent=extent, cmap=colors, linewidths=0.1)
        axes.set(title=quality, xlim=(left, right), ylim=(bottom, top))
        axes.scatter(*shown.T, marker="+", color="#000000", s=7, linewidth=0.5)
        axes.set_aspect("equal" if family.is_point else "auto")
    figure.supxlabel(note, fontsize=7)
    return figure


def _rollouts(family: Family, datasets: Mapping[str, Episodes]) -> Figure:
    """Ways of the point by quality, on the same four training tasks."""
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    panels = figure.subplots(1, len(ROLLOUT_QUALITIES), sharex=True, sharey=True)
    train = family.tasks().ids("train")
    chosen = train[np.linspace(0, len(train), len(_LINES), endpoint=False).astype(int)]
    for axes, quality in zip(panels, ROLLOUT_QUALITIES, strict=True):
        for task, mark, line in zip(chosen, _TASK_MARKS, _LINES, strict=True):
            axes.plot(*family.task_goals()[task].T, mark, color="#000000", fillstyle="none", markersize=7, linestyle="")
            numbers = np.flatnonzero(datasets[quality].tasks == task)[:EPISODES_SHOWN]
            for way in (_way(datasets[quality], number) for number in numbers):
                axes.plot(*way.T, line, color=COLORS[quality], linewidth=0.9)
                axes.plot(*way[-1], mark, color=COLORS[quality], markersize=3.5)
        axes.set(title=quality, aspect="equal")
    ids = ", ".join(map(str, chosen))
    figure.supxlabel(f"ways of tasks {ids}: hollow = goals, filled = end of the episode", fontsize=7)
    return figure


def _way(episodes: Episodes, number: int) -> np.ndarray:
    start, stop = episodes.offsets[number], episodes.offsets[number + 1]
    observations = np.concatenate([episodes.observations[start:stop], episodes.next_observations[stop - 1 : stop]])
    way: np.ndarray = observations[:, :2]
    return way


def _sample(observations: np.ndarray) -> np.ndarray:
    rows = np.random.default_rng(0).choice(len(observations), min(ROWS, len(observations)), replace=False)
    sample: np.ndarray = observations[rows].astype(np.float64)
    return sample


def _principal_components(observations: np.ndarray) -> tuple[Any, np.ndarray]:
    """A function that projects observations on the first two principal components, and their shares of variance."""
    mean, scale = observations.mean(axis=0), np.maximum(observations.std(axis=0), 1e-9)
    _, singular, axes = np.linalg.svd((observations - mean) / scale, full_matrices=False)
    axes = axes[:2]
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]  # the sign is the library's choice
    return lambda values: (values - mean) / scale @ axes.T, singular[:2] ** 2 / np.sum(singular**2)


def _png(figure: Figure) -> bytes:
    """A PNG file with a palette: a third of the size. Pillow comes with Matplotlib."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()
