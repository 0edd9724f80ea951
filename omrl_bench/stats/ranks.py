"""Where methods stand among each other: ranks and performance profiles, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES
from omrl_bench.stats.contrasts import (
    Contrast,
    all_pairs_on_new_tasks,
    marginals,
    on_new_tasks,
    over_families,
)
from omrl_bench.stats.estimated import Resamples
from omrl_bench.stats.estimated import over_families as profile_over_families
from omrl_bench.stats.pairing import Paired, are_paired, pairing
from omrl_bench.stats.panels import Key, Panel, Panels, counts, panels

_COUNTS = ("n_seeds", "n_tasks", "n_draws")
_RANKS = ("rank", "rank_low", "rank_high", "could_be_best")
RANK_COLUMNS = (*Key._fields, *_RANKS, *_COUNTS)
PROFILE_COLUMNS = (*Key._fields, "threshold", "fraction", "fraction_low", "fraction_high", *_COUNTS)


def rank_intervals(frame: pd.DataFrame | Panels, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Rank of each method by mean score on new tasks, among the methods of its table, family and condition.

    Every two methods are compared (:func:`omrl_bench.stats.contrasts.on_new_tasks`). The interval of a rank leaves out
    the places of methods that are better, or worse, by a one-sided test at 1 - ``confidence``; it is *marginal*, of
    each method on its own, and the tests are not corrected: an error needs a rival that is almost equal and on the
    wrong side, so that intervals hold the true rank about as often as they should (``docs/statistics.md``, measured).
    The set of those that *could be best* is simultaneous: with ``confidence`` it holds the method that is truly best.
    A method is out if any of its M - 1 rivals is better by a one-sided test at (1 - ``confidence``) / (M - 1)
    (comparisons with the best, Hsu 1981, with Bonferroni's bound, which needs neither equal variances nor
    independence). Methods with one seed, and those with one task, are told apart from none.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        confidence: Coverage.

    Returns:
        One row per key with columns ``rank``, ``rank_low``, ``rank_high`` (whole numbers; 1 is the best; methods with
        the same mean share the best rank of their group, as in 1, 2, 2, 4), ``could_be_best`` (bool), ``n_seeds``,
        ``n_tasks``, ``n_draws``. Family ``all`` ranks the means over families of the methods that have every family.

    Raises:
        ValueError: if results are incomplete, or the methods of a family and condition do not have the same tasks.
    """
    groups = panels(frame)
    races: dict[Key, list[Key]] = defaultdict(list)
    for key in groups:
        races[key._replace(method="")].append(key)
    paired = pairing(groups)
    rows: dict[Key, dict[str, object]] = {}
    for race, keys in races.items():
        contestants = [groups[key] for key in keys]
        _check_tasks(race, contestants)
        scores = np.array([np.mean([panel.scores.mean() for panel in group]) for group in contestants])
        pairs = over_families([_pairs(race, of_family, paired) for of_family in zip(*contestants, strict=True)])
        numbers = [counts(group) for group in contestants]
        single = np.array([each["n_seeds"] == 1 or each["n_tasks"] == 1 for each in numbers])
        low, high, best = places(pairs, 1 - confidence, single)
        rank = _ranks(scores)
        for index, key in enumerate(keys):
            ends = (rank[index], min(low[index], rank[index]), max(high[index], rank[index]))
            values: dict[str, object] = dict(zip(_RANKS, (*map(int, ends), bool(best[index])), strict=True))
            rows[key] = values | numbers[index]
    return pd.DataFrame([key._asdict() | rows[key] for key in groups], columns=list(RANK_COLUMNS))


def places(pairs: Contrast, level: float, single: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest rank of each of M methods, and whether it could be best; see :func:`rank_intervals`.

    Args:
        pairs: (M, M) differences, row minus column.
        level: Of each one-sided test; for the best, of all M - 1 together.
        single: (M,) whether a method has one seed or task, so that it is told apart from none.
    """
    p_above = pairs.p_above()  # [i, j]: small where i is above j
    p_above[single | single[:, None]] = 1.0
    np.fill_diagonal(p_above, 1.0)
    above = p_above < level
    best = (p_above >= level / max(1, len(above) - 1)).all(axis=0)
    return 1 + above.sum(axis=0), len(above) - above.sum(axis=1), best


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
        columns = profile_over_families(above).columns("fraction", confidence)
        about, numbers = key._asdict(), counts(group)
        for threshold, *values in zip(levels, *(column.clip(0, 1) for column in columns.values()), strict=True):
            rows.append(about | {"threshold": threshold} | dict(zip(columns, values, strict=True)) | numbers)
    return pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))


def _check_tasks(race: Key, contestants: Sequence[tuple[Panel, ...]]) -> None:
    for first, other in ((contestants[0], other) for other in contestants[1:]):
        if any(a.tasks != b.tasks for a, b in zip(first, other, strict=True)):
            raise ValueError(f"{race.family} / {race.condition}: the methods to rank do not have the same tasks")


def _pairs(race: Key, methods: Sequence[Panel], paired: Paired) -> Contrast:
    """Differences of every method (rows) from every other (columns) in one family, on new tasks."""
    unpaired = all_pairs_on_new_tasks([panel.scores for panel in methods])
    estimate, variance, degrees = (np.array(values) for values in vars(unpaired).values())
    same_seeds: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, panel in enumerate(methods):
        if are_paired(paired, race, panel, panel):
            same_seeds[panel.seeds].append(index)
    for indices in same_seeds.values():
        scores = np.array([methods[index].scores for index in indices])
        among = on_new_tasks(marginals(scores[:, None] - scores[None, :]))
        block = np.ix_(indices, indices)
        variance[block], degrees[block] = among.variance, among.degrees
    return Contrast(estimate, variance, degrees)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks along the first axis, 1 for the highest; rounding keeps equal methods equal whatever the order of sums."""
    return np.asarray(rankdata(-np.round(scores, 9), method="min", axis=0)).astype(int)
