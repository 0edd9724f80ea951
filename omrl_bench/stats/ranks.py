"""Where methods stand among each other: ranks, performance profiles and the worst tasks, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit
from scipy.stats import rankdata

from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES
from omrl_bench.stats.estimated import Resamples, over_families
from omrl_bench.stats.estimators import mean_of_counts, worst_mean
from omrl_bench.stats.panels import Key, Panel, Panels, counts, panels

_COUNTS = ("n_seeds", "n_tasks", "n_draws")
_RANKS = ("rank", "rank_low", "rank_high")
RANK_COLUMNS = (*Key._fields, *_RANKS, *_COUNTS)
PROFILE_COLUMNS = (*Key._fields, "threshold", "fraction", "fraction_low", "fraction_high", *_COUNTS)
WORST_COLUMNS = (*Key._fields, "k", "worst", "worst_low", "worst_high", "worst_tasks", *_COUNTS)


def rank_intervals(
    frame: pd.DataFrame | Panels, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Rank of each method by mean score among the methods of its table, family and condition.

    In a resample all methods see the same tasks, and the same seeds where their seed sets are the same; ranks are
    taken anew in each. So that few seeds do not make ranks look sure, the deviations of a resample from the data are
    widened, on the axis of n seeds or tasks, by sqrt(n / (n - 1)) and t / z (:mod:`omrl_bench.stats.small_samples`).

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the intervals.

    Returns:
        One row per key with columns ``rank``, ``rank_low``, ``rank_high`` (whole numbers; 1 is the best; methods with
        the same mean share the best rank of their group, as in 1, 2, 2, 4), ``n_seeds``, ``n_tasks``, ``n_draws``.
        Family ``all`` ranks the means over families of the methods that have every family.

    Raises:
        ValueError: if results are incomplete, or the methods of a family and condition do not have the same tasks.
    """
    groups = panels(frame)
    races: dict[Key, list[Key]] = defaultdict(list)
    for key in groups:
        races[key._replace(method="")].append(key)
    shared = Resamples(resamples)
    rows: dict[Key, dict[str, object]] = {}
    for race, keys in races.items():
        _check_tasks(race, [groups[key] for key in keys])
        scores = np.array([np.mean([panel.scores.mean() for panel in groups[key]]) for key in keys])
        samples = np.array([_widened_means(key, groups[key], shared, confidence) for key in keys])
        rank, resampled = _ranks(scores), _ranks(samples)
        tail = (1 - confidence) / 2
        low, high = np.quantile(resampled, (tail, 1 - tail), axis=1, method="inverted_cdf").astype(int)
        ends = zip(keys, rank, np.minimum(low, rank), np.maximum(high, rank), strict=True)
        for key, *values in ends:
            rows[key] = {**dict(zip(_RANKS, map(int, values), strict=True)), **counts(groups[key])}
    return pd.DataFrame([key._asdict() | rows[key] for key in groups], columns=list(RANK_COLUMNS))


def performance_profiles(
    frame: pd.DataFrame | Panels,
    thresholds: Sequence[float],
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Share of (seed, task) pairs whose score is above each threshold (Agarwal et al. 2021, section 4.2).

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        thresholds: Scores.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the intervals, of each threshold on its own.

    Returns:
        One row per key and threshold with columns ``fraction``, ``fraction_low``, ``fraction_high``, ``n_seeds``,
        ``n_tasks``, ``n_draws``. Family ``all`` is the mean over families.

    Raises:
        ValueError: if results are incomplete.
    """
    shared = Resamples(resamples)
    levels = np.array(thresholds, dtype=float)
    rows = []
    for key, group in panels(frame).items():
        above = [shared.estimate(key, panel, (panel.scores > levels[:, None, None]).astype(float)) for panel in group]
        columns = over_families(above).columns("fraction", confidence)
        about, numbers = key._asdict(), counts(group)
        for threshold, *values in zip(levels, *(column.clip(0, 1) for column in columns.values()), strict=True):
            rows.append(about | {"threshold": threshold} | dict(zip(columns, values, strict=True)) | numbers)
    return pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))


def worst_tasks(
    frame: pd.DataFrame | Panels, k: int = 3, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Mean score on the ``k`` tasks whose mean over seeds is the worst.

    They are chosen anew in every resample, so that the interval holds the luck of the choice.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        k: Number of tasks; all where a family has fewer.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the intervals.

    Returns:
        One row per key with columns ``k``, ``worst``, ``worst_low``, ``worst_high``, ``worst_tasks`` (their ids, the
        worst first: ``4, 17, 2``; with family ``all``, which is the mean over families, ``ant-dir: 4, 17, 2; ...``),
        ``n_seeds``, ``n_tasks``, ``n_draws``.

    Raises:
        ValueError: if results are incomplete, or k is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    shared, estimator = Resamples(resamples), worst_mean(k)
    rows = []
    for key, group in panels(frame).items():
        estimates = [shared.estimate(key, panel, panel.scores, estimator) for panel in group]
        names = [_worst(panel, k) for panel in group]
        text = names[0] if len(group) == 1 else "; ".join(f"{p.family}: {n}" for p, n in zip(group, names, strict=True))
        numbers = over_families(estimates).columns("worst", confidence)
        rows.append(key._asdict() | {"k": k} | numbers | {"worst_tasks": text} | counts(group))
    return pd.DataFrame(rows, columns=list(WORST_COLUMNS))


def _check_tasks(race: Key, contestants: Sequence[tuple[Panel, ...]]) -> None:
    for first, other in ((contestants[0], other) for other in contestants[1:]):
        if any(a.tasks != b.tasks for a, b in zip(first, other, strict=True)):
            raise ValueError(f"{race.family} / {race.condition}: the methods to rank do not have the same tasks")


def _widened_means(key: Key, group: tuple[Panel, ...], shared: Resamples, confidence: float) -> np.ndarray:
    """Bootstrap distribution (resamples,) of the mean score, wide enough for the numbers of seeds and tasks."""
    return np.mean(
        [
            mean_of_counts(panel.scores, *(_widened(counts, confidence) for counts in shared.counts(key, panel)))
            for panel in group
        ],
        axis=0,
    )


def _widened(drawn: np.ndarray, confidence: float) -> np.ndarray:
    """Counts (resamples, n) with wider deviations from one of each."""
    size = drawn.shape[1]
    if size == 1:
        return drawn
    tail = (1 - confidence) / 2
    return 1 + np.sqrt(size / (size - 1)) * stdtrit(size - 1, tail) / ndtri(tail) * (drawn - 1)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks along the first axis, 1 for the highest; rounding keeps equal methods equal whatever the order of sums."""
    return np.asarray(rankdata(-np.round(scores, 9), method="min", axis=0)).astype(int)


def _worst(panel: Panel, k: int) -> str:
    order = np.argsort(panel.scores.mean(axis=0), kind="stable")[:k]
    return ", ".join(str(panel.tasks[index]) for index in order)
