"""Paired differences of mean scores: what a shift of the context costs, and what adaptation gains."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from omrl_bench.stats.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    difference_distribution,
    holm,
    seed_from,
)
from omrl_bench.stats.estimated import Estimated
from omrl_bench.stats.estimators import mean
from omrl_bench.stats.panels import Key, Panel, Panels, counts, panels
from omrl_bench.stats.small_samples import difference_parts

_COUNTS = ("n_seeds", "n_tasks", "n_draws")
_DROP_KEY = tuple(name for name in Key._fields if name != "condition")
DROP_COLUMNS = (
    *_DROP_KEY,
    *("from_condition", "to_condition", "score_from", "score_to", "drop", "drop_low", "drop_high"),
    *_COUNTS,
)
GAIN_COLUMNS = (
    *Key._fields,
    *("baseline", "score", "baseline_score", "gain", "gain_low", "gain_high", "p_value", "p_holm", "verdict"),
    *_COUNTS,
)


def drop_under_shift(
    frame: pd.DataFrame | Panels,
    from_condition: str = "high",
    to_condition: str = "low",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean score with one context quality minus that with another, paired over seeds and tasks.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        from_condition: Context quality before the shift.
        to_condition: Context quality after the shift.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, method) that has both conditions, sorted by them, with
        columns ``from_condition``, ``to_condition``, ``score_from``, ``score_to``, ``drop`` (positive: the shift
        costs), ``drop_low``, ``drop_high``, ``n_seeds``, ``n_tasks``, ``n_draws``. Family ``all`` as in
        :func:`omrl_bench.stats.summary.summarise`.

    Raises:
        ValueError: if no row of the frame has one of the conditions, results are incomplete, or the tasks of the two
            conditions are not the same.
    """
    groups = panels(frame)
    known = {key.condition for key in groups}
    for condition in (from_condition, to_condition):
        if condition not in known:
            raise ValueError(f"no scores with context quality {condition!r}; there are {', '.join(sorted(known))}")
    rows = []
    for key, group in groups.items():
        other = groups.get(key._replace(condition=to_condition))
        if key.condition != from_condition or other is None:
            continue
        drop = paired_difference(key, group, other, f"drop to {to_condition}", resamples)
        about: dict[str, object] = {name: getattr(key, name) for name in _DROP_KEY}
        about |= {"from_condition": from_condition, "to_condition": to_condition}
        about |= {"score_from": mean_score(group), "score_to": mean_score(other)}
        rows.append(about | drop.columns("drop", confidence) | fewest(group, other))
    rows.sort(key=lambda row: [row[name] for name in _DROP_KEY])
    return pd.DataFrame(rows, columns=list(DROP_COLUMNS))


def adaptation_gain(
    frame: pd.DataFrame | Panels,
    baseline: str = "task-blind",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean score minus that of a baseline, paired over tasks (and over seeds where both have the same).

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        baseline: Method to compare with.
        resamples: Resamples of the two-way bootstrap; raised where a table has so many comparisons that the
            smallest p value could not survive the correction.
        confidence: Coverage of the intervals, and 1 - the level of the verdict.

    Returns:
        One row per (suite, preset, dataset, backbone, family, condition, method other than the baseline), sorted by
        them, with columns ``baseline``, ``score``, ``baseline_score``, ``gain``, ``gain_low``, ``gain_high`` (not
        corrected), ``p_value`` (two-sided), ``p_holm`` (corrected over all rows of the same suite, preset, dataset
        and backbone), ``verdict``, ``n_seeds``, ``n_tasks``, ``n_draws``. The verdict is ``better`` or ``worse``
        where ``p_holm`` is below 1 - ``confidence``, else ``undecided``; with a single seed or task on either side
        it is always ``undecided``, and where the baseline has no result ``no baseline`` (numbers NaN, no part in
        the correction).

    Raises:
        ValueError: if the baseline is not in the frame, results are incomplete, or the two sides do not have the
            same tasks.
    """
    groups = panels(frame)
    if not any(key.method == baseline for key in groups):
        raise ValueError(f"the baseline {baseline!r} has no results")
    comparisons = Counter(key.table for key in groups if key.method != baseline)
    rows = []
    for key, group in groups.items():
        if key.method == baseline:
            continue
        enough = enough_resamples(resamples, comparisons[key.table], confidence)
        rows.append(_gain(key, group, groups.get(key._replace(method=baseline)), baseline, enough, confidence))
    table = pd.DataFrame(rows, columns=list(GAIN_COLUMNS))
    table = with_verdicts(table, "gain", 1 - confidence)
    table.loc[table["p_value"].isna(), "verdict"] = "no baseline"
    return table


def enough_resamples(resamples: int, comparisons: int, confidence: float) -> int:
    """At least so many resamples that the smallest p value can survive the correction for so many comparisons."""
    return max(resamples, int(4 * comparisons / (1 - confidence)))


def paired_difference(
    key: Key, first: tuple[Panel, ...], second: tuple[Panel, ...], label: str, resamples: int
) -> Estimated:
    """Difference of mean scores, paired over tasks, and over seeds in the families where both have the same.

    Args:
        key: What ``first`` is.
        first: A panel per family.
        second: A panel per family.
        label: What is compared; it seeds the bootstrap, and says so in the error.
        resamples: Resamples of the two-way bootstrap.

    Raises:
        ValueError: if the two sides do not have the same tasks.
    """
    check_tasks(key, first, second, label)
    a, b = ([panel.scores for panel in side] for side in (first, second))
    same_seeds = [one.seeds == other.seeds for one, other in zip(first, second, strict=True)]
    samples = difference_distribution(a, b, same_seeds, seed_from(f"{key.label}/{label}"), resamples=resamples)
    parts = difference_parts(a, b, same_seeds)
    return Estimated(mean_score(first) - mean_score(second), samples, tuple(parts))


def check_tasks(key: Key, first: tuple[Panel, ...], second: tuple[Panel, ...], label: str) -> None:
    """Raise a ValueError unless both sides have the same tasks in every family."""
    for a, b in zip(first, second, strict=True):
        if a.tasks != b.tasks:
            raise ValueError(f"{key.family} / {key.method} / {key.condition}: {label}: the tasks are not the same")


def with_verdicts(table: pd.DataFrame, difference: str, level: float) -> pd.DataFrame:
    """Fill ``p_holm`` and ``verdict`` of a table of differences.

    Args:
        table: With columns ``p_value``, ``n_seeds``, ``n_tasks``, the columns of :attr:`Key.table`, and the difference.
        difference: Name of the column whose sign decides between ``better`` and ``worse``.
        level: Level of the verdicts. Rows without a p value take no part in the correction.
    """
    table["p_holm"] = float("nan")
    for _, rows in table[table["p_value"].notna()].groupby(list(Key._fields[:4])):
        table.loc[rows.index, "p_holm"] = holm(rows["p_value"].to_numpy(dtype=float))
    # One seed or one task leaves half of the uncertainty out, and a p value of zero spread means nothing.
    decided = (table["p_holm"] < level) & (table["n_seeds"] > 1) & (table["n_tasks"] > 1)
    direction = np.where(table[difference].to_numpy(dtype=float) > 0, "better", "worse")
    table["verdict"] = np.where(decided, direction, "undecided")
    return table


def mean_score(group: tuple[Panel, ...]) -> float:
    """Mean over families of the mean score."""
    return float(np.mean([mean(panel.scores) for panel in group]))


def fewest(first: tuple[Panel, ...], second: tuple[Panel, ...]) -> dict[str, int]:
    """Sample sizes: the smaller of both sides."""
    a, b = counts(first), counts(second)
    return {name: min(a[name], b[name]) for name in a}


def _gain(
    key: Key,
    group: tuple[Panel, ...],
    other: tuple[Panel, ...] | None,
    baseline: str,
    resamples: int,
    confidence: float,
) -> dict[str, object]:
    """One row of :func:`adaptation_gain`, without the columns that need the whole table."""
    about = key._asdict() | {"baseline": baseline, "score": mean_score(group)}
    if other is None:
        return about | counts(group)
    gain = paired_difference(key, group, other, f"gain over {baseline}", resamples)
    about |= {"baseline_score": mean_score(other), "p_value": gain.p_value()}
    return about | gain.columns("gain", confidence) | fewest(group, other)
