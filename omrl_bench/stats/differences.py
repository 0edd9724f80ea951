"""Differences of mean scores, on these tasks and on new ones; what a shift of the context costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.contrasts import (
    Contrast,
    Marginals,
    Questions,
    marginals,
    on_new_tasks,
    on_these_tasks,
    over_families,
)
from omrl_bench.stats.estimators import mean
from omrl_bench.stats.panels import Key, Panel, Panels, counts, panels

_COUNTS = ("n_seeds", "n_tasks", "n_draws")
_DROP_KEY = tuple(name for name in Key._fields if name != "condition")
DROP_COLUMNS = (
    *_DROP_KEY,
    *("from_condition", "to_condition", "score_from", "score_to", "drop"),
    *("these_low", "these_high", "new_low", "new_high"),
    *_COUNTS,
)


def drop_under_shift(
    frame: pd.DataFrame | Panels,
    from_condition: str = "high",
    to_condition: str = "low",
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean score with one context quality minus that with another.

    Seeds are paired, for both sides are the same training runs (not so where a side lacks some of them).

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        from_condition: Context quality before the shift.
        to_condition: Context quality after the shift.
        confidence: Coverage of the intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, method) that has both conditions, sorted by them, with
        columns ``from_condition``, ``to_condition``, ``score_from``, ``score_to``, ``drop`` (positive: the shift
        costs), its interval on these tasks (``these_low``, ``these_high``) and on new ones (``new_low``,
        ``new_high``), ``n_seeds``, ``n_tasks``, ``n_draws``. Family ``all`` as in
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
        same_runs = [one.seeds == another.seeds for one, another in zip(group, other, strict=True)]
        drop = difference(key, group, other, same_runs, f"drop to {to_condition}")
        about: dict[str, object] = {name: getattr(key, name) for name in _DROP_KEY}
        about |= {"from_condition": from_condition, "to_condition": to_condition}
        about |= {"score_from": mean_score(group), "score_to": mean_score(other), "drop": drop.new.estimate}
        for question, contrast in drop._asdict().items():
            ends = contrast.interval(confidence)
            about |= dict(zip((f"{question}_low", f"{question}_high"), ends, strict=True))
        rows.append(about | fewest(group, other))
    rows.sort(key=lambda row: [row[name] for name in _DROP_KEY])
    return pd.DataFrame(rows, columns=list(DROP_COLUMNS))


def difference(
    key: Key, first: Sequence[Panel], second: Sequence[Panel], paired: Sequence[bool], label: str
) -> Questions:
    """Difference of mean scores, averaged over families, for both questions.

    Args:
        key: What ``first`` is.
        first: A panel per family.
        second: A panel per family.
        paired: For each family, whether seeds are paired; see :mod:`omrl_bench.stats.pairing`.
        label: What is compared, for the error.

    Raises:
        ValueError: if the two sides do not have the same tasks.
    """
    check_tasks(key, first, second, label)
    of_families: list[tuple[Marginals, ...]] = [
        (marginals(a.scores - b.scores),) if pair else (marginals(a.scores), marginals(b.scores))
        for a, b, pair in zip(first, second, paired, strict=True)
    ]
    questions: tuple[Callable[..., Contrast], ...] = (on_these_tasks, on_new_tasks)
    return Questions(*(over_families([question(*sides) for sides in of_families]) for question in questions))


def check_tasks(key: Key, first: Sequence[Panel], second: Sequence[Panel], label: str) -> None:
    """Raise a ValueError unless both sides have the same tasks in every family."""
    for a, b in zip(first, second, strict=True):
        if a.tasks != b.tasks:
            raise ValueError(f"{key.family} / {key.method} / {key.condition}: {label}: the tasks are not the same")


def mean_score(group: Sequence[Panel]) -> float:
    """Mean over families of the mean score."""
    return float(np.mean([mean(panel.scores) for panel in group]))


def fewest(first: tuple[Panel, ...], second: tuple[Panel, ...]) -> dict[str, int]:
    """Sample sizes: the smaller of both sides."""
    a, b = counts(first), counts(second)
    return {name: min(a[name], b[name]) for name in a}
