"""The summary of a tidy frame: estimates with intervals, one row per method, family and context quality."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES, distribution, interval, seed_from
from omrl_bench.stats.estimators import iqm, mean
from omrl_bench.stats.panels import ALL, Key, counts, panels

#: What is estimated: name of the column, values it is computed from, estimator.
ESTIMATES = (("score_mean", "scores", mean), ("score_iqm", "scores", iqm), ("return_mean", "returns", mean))
SUMMARY_COLUMNS = (
    *Key._fields,
    *(name + suffix for name, _, _ in ESTIMATES for suffix in ("", "_low", "_high")),
    *("n_seeds", "n_tasks", "n_draws"),
)


def summarise(frame: pd.DataFrame, resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Estimate every method in every family with every context quality.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the percentile intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, quality, method), sorted by them, with columns
        ``score_mean``, ``score_iqm``, ``return_mean``, each with ``_low`` and ``_high``, and ``n_seeds``,
        ``n_tasks``, ``n_draws``. Where a table has several families, rows with family ``all`` hold the mean over the
        families, for methods that have every family; there the numbers of seeds and draws are the smallest of any
        family, the tasks are those of all families, and the returns are NaN, because returns of different families
        have no common scale.

    Raises:
        ValueError: if results are incomplete (a seed lacks tasks), doubled or not finite; the message names them.
    """
    rows = []
    for key, group in panels(frame).items():
        row: dict[str, object] = key._asdict()
        for name, attribute, estimator in ESTIMATES:
            if key.family == ALL and attribute == "returns":
                estimate = low = high = float("nan")
            else:
                matrices = [getattr(panel, attribute) for panel in group]
                estimate = float(np.mean([estimator(matrix) for matrix in matrices]))
                samples = distribution(matrices, seed_from(f"{key.label}/{name}"), estimator, resamples)
                low, high = interval(samples, confidence)
            row |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | counts(group))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
