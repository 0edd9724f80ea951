"""How well a board tells its methods apart.

A board is one family (or the mean over families) under one condition. The scores of its methods differ because the
methods differ, and because of the seeds; on new tasks, because of the tasks too. Reliability is the share of the first
in the variance of the scores: the correlation of the scores with those that somebody else would get who trained all
methods again. Below :data:`RELIABLE` a board does not discriminate: its order says little about the methods.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from omrl_bench.stats.bootstrap import CONFIDENCE, seed_from
from omrl_bench.stats.contrasts import marginals, on_these_tasks, over_families
from omrl_bench.stats.panels import Key, Panel, Panels, counts, panels

RELIABLE = 0.7
FEWEST_METHODS = 4
BEST = 0.75  # of the methods: a few that fail would make any board look as if it told the rest apart
HALVES = 20  # random halves of the seeds
DISCRIMINATION_COLUMNS = (
    *(name for name in Key._fields if name != "method"),
    *("methods", "between", "error", "reliability", "between_new", "error_new", "reliability_new"),
    *("rank_agreement", "at_oracle", "discriminates", "n_seeds", "n_tasks", "n_draws"),
)


def discrimination(frame: pd.DataFrame | Panels, controls: Collection[str] = (), oracle: str = "") -> pd.DataFrame:
    """Measure how well each board tells its methods apart.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        controls: Methods that bound the others and do not count as methods of the board.
        oracle: The method that is told the task; a board may have none.

    Returns:
        One row per (suite, preset, dataset, backbone, family, condition), sorted by them, with columns

        * ``methods``: their number, without controls and without methods of a single seed;
        * ``between``: standard deviation of the true scores of the best :data:`BEST` of them, ``error``: the root mean
          square of their standard errors, ``reliability``: between^2 / (between^2 + error^2), all on these tasks;
        * ``between_new``, ``error_new``, ``reliability_new``: the same for new tasks;
        * ``rank_agreement``: Kendall's tau of the order of all methods by one half of their seeds with that by the
          other half, mean over :data:`HALVES` random halves;
        * ``at_oracle``: methods whose score is not shown to be below the oracle's on these tasks (Welch's test, one row
          at a time); NaN without an oracle;
        * ``discriminates``: whether ``reliability`` is at least :data:`RELIABLE`; None where it is not known;
        * ``n_seeds``, ``n_tasks``, ``n_draws``: the fewest of any method.

        Everything but ``methods`` and ``at_oracle`` is not known with fewer than :data:`FEWEST_METHODS` methods.

    Raises:
        ValueError: if results are incomplete, or the methods of a board do not have the same tasks.
    """
    boards: dict[Key, dict[str, tuple[Panel, ...]]] = defaultdict(dict)
    for key, group in panels(frame).items():
        if min(len(panel.seeds) for panel in group) > 1:
            boards[key._replace(method="")][key.method] = group
    rows = []
    for board, groups in boards.items():
        contestants = [group for method, group in groups.items() if method not in controls]
        if any(a.tasks != b.tasks for group in contestants for a, b in zip(contestants[0], group, strict=True)):
            raise ValueError(f"{board.family} / {board.condition}: the methods do not have the same tasks")
        about = {name: value for name, value in board._asdict().items() if name != "method"}
        sizes = [counts(group) for group in contestants or groups.values()]
        row = about | {name: min(size[name] for size in sizes) for name in sizes[0]}
        row |= {"methods": len(contestants), "discriminates": None}
        if oracle in groups and contestants:
            row["at_oracle"] = _at_oracle(contestants, groups[oracle])
        if len(contestants) >= FEWEST_METHODS:
            row |= _spread(contestants) | {"rank_agreement": _rank_agreement(contestants, board.label)}
            row["discriminates"] = bool(row["reliability"] >= RELIABLE)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(DISCRIMINATION_COLUMNS))


def _spread(contestants: Sequence[tuple[Panel, ...]]) -> dict[str, float]:
    """Deviations between the best methods and their errors, for both questions."""
    scores = np.array([_score(group) for group in contestants])
    best = np.argsort(-scores, kind="stable")[: math.ceil(BEST * len(scores))]
    chosen = [contestants[index] for index in best]
    errors = np.sum([_errors([group[place] for group in chosen]) for place in range(len(chosen[0]))], axis=0)
    result: dict[str, float] = {}
    for suffix, error in zip(("", "_new"), errors / len(chosen[0]) ** 2, strict=True):
        observed = scores[best].var(ddof=1)
        between = max(0.0, observed - error)
        result |= {f"between{suffix}": np.sqrt(between), f"error{suffix}": np.sqrt(error)}
        result[f"reliability{suffix}"] = between / observed if observed > 0 else 0.0
    return result


def _errors(of_family: Sequence[Panel]) -> tuple[float, float]:
    """Mean error variance of the methods' scores in one family: on these tasks, and among each other on new tasks.

    On new tasks the interaction of methods and tasks adds to it; what is common to all methods does not. As for
    differences of two methods, the part that both variances hold is taken off once.
    """
    seeds = float(np.mean([panel.scores.mean(axis=1).var(ddof=1) / len(panel.seeds) for panel in of_family]))
    means = np.array([panel.scores.mean(axis=0) for panel in of_family])  # (methods, tasks)
    tasks = means.shape[1]
    if tasks == 1:
        return seeds, float("nan")
    degrees = (len(means) - 1) * (tasks - 1)
    interaction = float((_residuals(means) ** 2).sum()) / degrees / tasks
    both = np.mean([(_residuals(p.scores) ** 2).sum() / ((len(p.seeds) - 1) * p.scores.size) for p in of_family])
    both = float(both) / (tasks - 1)
    return seeds, max(seeds + interaction - both, seeds, interaction)


def _residuals(matrix: np.ndarray) -> np.ndarray:
    rows, columns = matrix.mean(axis=1, keepdims=True), matrix.mean(axis=0, keepdims=True)
    residuals: np.ndarray = matrix - rows - columns + matrix.mean()
    return residuals


def _rank_agreement(contestants: Sequence[tuple[Panel, ...]], label: str) -> float:
    """Kendall's tau of the orders by two halves of the seeds; ties count as in tau-b."""
    rng = np.random.default_rng(seed_from(label))
    halves = np.zeros((2, HALVES, len(contestants)))
    for place, group in enumerate(contestants):
        for panel in group:
            seeds = panel.scores.mean(axis=1)
            order = rng.permuted(np.tile(np.arange(len(seeds)), (HALVES, 1)), axis=1)
            for half, drawn in enumerate(np.array_split(seeds[order], 2, axis=1)):
                halves[half, :, place] += drawn.mean(axis=1)
    return float(np.nanmean([kendalltau(first, second).statistic for first, second in zip(*halves, strict=True)]))


def _at_oracle(contestants: Sequence[tuple[Panel, ...]], oracle: tuple[Panel, ...]) -> int:
    """Methods that are not below the oracle by a two-sided Welch test over seeds."""
    tied = 0
    for group in contestants:
        sides = zip(oracle, group, strict=True)
        below = over_families([on_these_tasks(marginals(a.scores), marginals(b.scores)) for a, b in sides])
        tied += not (below.estimate > 0 and below.p_value() < 1 - CONFIDENCE)
    return tied


def _score(group: tuple[Panel, ...]) -> float:
    return float(np.mean([panel.scores.mean() for panel in group]))
