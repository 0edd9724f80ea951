"""Pictures of attention: which transitions of a context an encoder weighs, against their reward (FOCAL++, figure 7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from omrl_bench.report.figures import canvas
from omrl_bench.report.figures.styles import condition_style
from omrl_bench.stats.representation import attention_by_reward

_HEIGHT = 1.55  # of a panel; inches, like all lengths here
_LEFT, _GAP, _LABELS, _PER_ROW = 0.5, 0.2, 0.38, 4
_MOST = 1000  # transitions drawn in a panel


def attention_figure(method: str, detail: str, pairs: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Draw the attention weight of transitions against their reward, one panel per context quality.

    Args:
        method: Title.
        detail: Which family, seed and contexts.
        pairs: By context quality: (contexts, n, 2) reward and weight, NaN where a context is shorter.

    Returns:
        The files' contents by format, see :func:`omrl_bench.report.figures.canvas.render`.

    Raises:
        ValueError: if there is no condition.
    """
    if not pairs:
        raise ValueError("there are no attention weights")
    return canvas.render(lambda: draw_attention(method, detail, pairs))


def draw_attention(method: str, detail: str, pairs: Mapping[str, np.ndarray]) -> Figure:
    """The figure of :func:`attention_figure`."""
    sheet = canvas.sheet(
        len(pairs),
        height=_HEIGHT,
        per_row=_PER_ROW,
        left=_LEFT,
        gap=_GAP,
        below=_LABELS,
        note=(
            f"{method}: {detail}. Every point is a transition (evenly thinned to {_MOST:,}). Rank correlation: "
            "Spearman's, within a context, mean over the contexts that have more than one reward.",
        ),
    )
    every = np.concatenate([pair.reshape(-1, 2) for pair in pairs.values()])
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    margin = np.maximum(0.05 * (high - low), 1e-3)
    for index, (axes, (condition, pair)) in enumerate(zip(sheet.panels, pairs.items(), strict=True)):
        color, marker = condition_style(index)
        points = pair.reshape(-1, 2)
        points = points[np.isfinite(points).all(axis=1)]
        points = points[np.linspace(0, len(points) - 1, min(_MOST, len(points))).astype(int)]
        axes.scatter(points[:, 0], points[:, 1], 5, facecolors="none", edgecolors=color, marker=marker, linewidths=0.4)
        axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
        axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
        axes.set_xlabel("reward")
        axes.spines[["top", "right"]].set_visible(False)
        if sheet.first_in_row(index):
            axes.set_ylabel("attention weight")
        else:
            axes.tick_params(labelleft=False)
        correlation = attention_by_reward(pair[..., 1], pair[..., 0], np.isfinite(pair[..., 0]))
        text = "one reward only" if np.isnan(correlation) else f"rank correlation {correlation:.2f}"
        canvas.title(axes, condition, text)
    return sheet.figure
