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
    interval,
    p_value,
    seed_from,
)
from omrl_bench.stats.estimators import mean
from omrl_bench.stats.panels import Key, Panel, counts, panels

_COUNTS = ("n_seeds", "n_tasks", "n_draws")
_DROP_KEY = tuple(name for name in Key._fields if name != "quality")
DROP_COLUMNS = (
    *_DROP_KEY,
    *("from_quality", "to_quality", "score_from", "score_to", "drop", "drop_low", "drop_high"),
    *_COUNTS,
)
GAIN_COLUMNS = (
    *Key._fields,
    *("baseline", "score", "baseline_score", "gain", "gain_low", "gain_high", "p_value", "p_holm", "verdict"),
    *_COUNTS,
)


def drop_under_shift(
    frame: pd.DataFrame,
    from_quality: str = "high",
    to_quality: str = "low",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean score with one context quality minus that with another, paired over seeds and tasks.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        from_quality: Context quality before the shift.
        to_quality: Context quality after the shift.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the percentile intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, method) that has both qualities, sorted by them, with
        columns ``from_quality``, ``to_quality``, ``score_from``, ``score_to``, ``drop`` (positive: the shift costs),
        ``drop_low``, ``drop_high``, ``n_seeds``, ``n_tasks``, ``n_draws``. Family ``all`` as in
        :func:`omrl_bench.stats.summary.summarise`.

    Raises:
        ValueError: if no row of the frame has one of the qualities, results are incomplete, or the tasks of the two
            qualities are not the same.
    """
    groups = panels(frame)
    known = {key.quality for key in groups}
    for quality in (from_quality, to_quality):
        if quality not in known:
            raise ValueError(f"no scores with context quality {quality!r}; there are {', '.join(sorted(known))}")
    rows = []
    for key, group in groups.items():
        other = groups.get(key._replace(quality=to_quality))
        if key.quality != from_quality or other is None:
            continue
        samples = _resample(key, group, other, f"drop to {to_quality}", resamples)
        low, high = interval(samples, confidence)
        before, after = _mean(group), _mean(other)
        about: dict[str, object] = {name: getattr(key, name) for name in _DROP_KEY}
        about |= {"from_quality": from_quality, "to_quality": to_quality, "score_from": before, "score_to": after}
        rows.append(about | _numbers("drop", before - after, low, high) | _fewest(group, other))
    rows.sort(key=lambda row: [row[name] for name in _DROP_KEY])
    return pd.DataFrame(rows, columns=list(DROP_COLUMNS))


def adaptation_gain(
    frame: pd.DataFrame,
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
        confidence: Coverage of the percentile intervals, and 1 - the level of the verdict.

    Returns:
        One row per (suite, preset, dataset, backbone, family, quality, method other than the baseline), sorted by
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
        enough = max(resamples, int(4 * comparisons[key.table] / (1 - confidence)))
        rows.append(_gain(key, group, groups.get(key._replace(method=baseline)), baseline, enough, confidence))
    table = pd.DataFrame(rows, columns=list(GAIN_COLUMNS))
    return _with_verdicts(table, 1 - confidence)


def _gain(
    key: Key,
    group: tuple[Panel, ...],
    other: tuple[Panel, ...] | None,
    baseline: str,
    resamples: int,
    confidence: float,
) -> dict[str, object]:
    """One row of :func:`adaptation_gain`, without the columns that need the whole table."""
    score = _mean(group)
    about = key._asdict() | {"baseline": baseline, "score": score}
    if other is None:
        return about | counts(group)
    samples = _resample(key, group, other, f"gain over {baseline}", resamples)
    low, high = interval(samples, confidence)
    about |= {"baseline_score": _mean(other), "p_value": p_value(samples)}
    return about | _numbers("gain", score - _mean(other), low, high) | _fewest(group, other)


def _with_verdicts(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Fill ``p_holm`` and ``verdict``."""
    table["p_holm"] = float("nan")
    for _, rows in table[table["p_value"].notna()].groupby(list(Key._fields[:4])):
        table.loc[rows.index, "p_holm"] = holm(rows["p_value"].to_numpy(dtype=float))
    # One seed or one task leaves half of the uncertainty out, and a p value of zero spread means nothing.
    decided = (table["p_holm"] < level) & (table["n_seeds"] > 1) & (table["n_tasks"] > 1)
    direction = np.where(table["gain"].to_numpy(dtype=float) > 0, "better", "worse")
    verdict = np.where(decided, direction, "undecided")
    table["verdict"] = np.where(table["p_value"].isna(), "no baseline", verdict)
    return table


def _resample(key: Key, first: tuple[Panel, ...], second: tuple[Panel, ...], label: str, resamples: int) -> np.ndarray:
    """Bootstrap distribution (resamples,) of the difference of mean scores."""
    for a, b in zip(first, second, strict=True):
        if a.tasks != b.tasks:
            raise ValueError(f"{key.family} / {key.method} / {key.quality}: {label}: the tasks are not the same")
    return difference_distribution(
        [panel.scores for panel in first],
        [panel.scores for panel in second],
        [a.seeds == b.seeds for a, b in zip(first, second, strict=True)],
        seed_from(f"{key.label}/{label}"),
        resamples=resamples,
    )


def _numbers(name: str, estimate: float, low: float, high: float) -> dict[str, float]:
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def _mean(group: tuple[Panel, ...]) -> float:
    return float(np.mean([mean(panel.scores) for panel in group]))


def _fewest(first: tuple[Panel, ...], second: tuple[Panel, ...]) -> dict[str, int]:
    a, b = counts(first), counts(second)
    return {name: min(a[name], b[name]) for name in a}
