"""The summary of a tidy frame: estimates with intervals, one row per method, family and condition.

Intervals of means are Student's, for new seeds and tasks (:mod:`omrl_bench.stats.contrasts`); those of interquartile
means are of the two-way bootstrap (:mod:`omrl_bench.stats.bootstrap`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.contrasts import marginals, on_new_tasks
from omrl_bench.stats.contrasts import over_families as mean_of_means
from omrl_bench.stats.estimated import Resamples, over_families
from omrl_bench.stats.estimators import iqm, mean
from omrl_bench.stats.panels import ALL, Key, Panel, Panels, counts, panels

SUMMARY_RESAMPLES = 2_000  # of the IQM: each has to sort through all seeds x tasks, in every row of a report
#: What is estimated: name of the column, values it is computed from, estimator.
ESTIMATES = (
    ("score_mean", "scores", mean),
    ("score_iqm", "scores", iqm),
    ("score_ratio", "ratio", mean),
    ("return_mean", "returns", mean),
)
SUMMARY_COLUMNS = (
    *Key._fields,
    *(name + suffix for name, _, _ in ESTIMATES for suffix in ("", "_low", "_high")),
    *("n_seeds", "n_tasks", "n_draws"),
)


def summarise(
    frame: pd.DataFrame | Panels, resamples: int = SUMMARY_RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Estimate every method in every family under every condition.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        resamples: Resamples of the two-way bootstrap, for interquartile means.
        confidence: Coverage of the intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, condition, method), sorted by them, with columns
        ``score_mean``, ``score_iqm``, ``score_ratio`` (the ratio of sums over tasks, see :func:`ratio_of_sums`; NaN
        where the frame has no ``range``), ``return_mean``, each with ``_low`` and ``_high``, and ``n_seeds``,
        ``n_tasks``, ``n_draws``. Where a table has several families, rows with family ``all`` hold the mean over the
        families, for methods that have every family; there the numbers of seeds and draws are the smallest of any
        family, the tasks are those of all families, and the returns are NaN, because returns of different families
        have no common scale.

    Raises:
        ValueError: if results are incomplete (a seed lacks tasks), doubled or not finite; the message names them.
    """
    groups = panels(frame)
    by_method: dict[Key, dict[str, tuple[Panel, ...]]] = defaultdict(dict)
    for key, group in groups.items():
        by_method[key._replace(family="")][key.family] = group
    shared = Resamples(resamples)
    rows: dict[Key, dict[str, object]] = {}
    for key, families in by_method.items():
        # the distributions of the families are also what their mean needs; only one method's are kept at a time
        known = {family: _estimates(key, group[0], shared) for family, group in families.items() if family != ALL}
        for family, group in families.items():
            of_families = [known[panel.family] for panel in group]
            row: dict[str, object] = {}
            for number, (name, attribute, estimator) in enumerate(ESTIMATES):
                if family == ALL and attribute == "returns":
                    row |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
                else:
                    together = mean_of_means if estimator is mean else over_families
                    row |= together([estimates[number] for estimates in of_families]).columns(name, confidence)
            rows[key._replace(family=family)] = row | counts(group)
    return pd.DataFrame([key._asdict() | rows[key] for key in groups], columns=list(SUMMARY_COLUMNS))


def ratio_of_sums(panel: Panel) -> np.ndarray:
    """Matrix (seeds, tasks) whose mean is 100 sum(R - random) / sum(expert - random), sums over tasks.

    That is the mean of the scores with tasks weighted by their range: a task with little to gain, where a score is
    100 times a small difference over another one, weighs little. The matrix is the ratio linearised in the seeds and
    tasks, ratio + weight (score - ratio), so that its resamples and variance are those of the delta method.
    """
    if panel.ranges is None:
        return np.full_like(panel.scores, np.nan)
    weights = panel.ranges / panel.ranges.mean()
    ratio = (weights * panel.scores).mean()
    linear: np.ndarray = ratio + weights * (panel.scores - ratio)
    return linear


def _estimates(key: Key, panel: Panel, shared: Resamples) -> list[Any]:
    matrices = {"scores": panel.scores, "returns": panel.returns, "ratio": ratio_of_sums(panel)}
    return [
        on_new_tasks(marginals(matrices[name]))
        if estimator is mean
        else shared.estimate(key, panel, matrices[name], estimator)
        for _, name, estimator in ESTIMATES
    ]
