"""Curves over the episodes that a method collects itself: the area under them, and what adaptation brings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd

from omrl_bench.conditions import EPISODE, Condition
from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES
from omrl_bench.stats.differences import fewest, mean_score, paired_difference
from omrl_bench.stats.estimated import Resamples, over_families
from omrl_bench.stats.panels import Key, Panel, counts, panels

_KEY = tuple(name for name in Key._fields if name != "condition")
_COUNTS = ("n_seeds", "n_tasks", "n_draws")
AREA_COLUMNS = (*_KEY, "episodes", "area", "area_low", "area_high", *_COUNTS)
ADAPTATION_COLUMNS = (
    *_KEY,
    *("episodes", "score_first", "score_last", "adaptation", "adaptation_low", "adaptation_high", *_COUNTS),
)

_Curve = list[tuple[Key, tuple[Panel, ...]]]  # by episode


def area_under_episodes(
    frame: pd.DataFrame, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Mean over episodes of the mean score: the area under the adaptation curve, in score units.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`. Only conditions ``episode-1``, ``episode-2`` ... count.
        resamples: Resamples of the two-way bootstrap; a resample has the same seeds and tasks in every episode.
        confidence: Coverage of the intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, method), sorted by them, with columns ``episodes``
        (their number), ``area``, ``area_low``, ``area_high``, ``n_seeds``, ``n_tasks``, ``n_draws``. Family ``all`` as
        in :func:`omrl_bench.stats.summary.summarise`.

    Raises:
        ValueError: if there are no episodes, results are incomplete, or a method lacks episodes that others have.
    """
    shared = Resamples(resamples)
    rows = []
    for key, curve in _curves(frame).items():
        families = list(zip(*(group for _, group in curve), strict=True))  # per family, a panel of each episode
        over_episodes = [
            replace(each[0], scores=np.mean([panel.scores for panel in each], axis=0)) for each in families
        ]
        area = over_families([shared.estimate(key, panel, panel.scores) for panel in over_episodes])
        about = _about(key, curve)
        rows.append(about | area.columns("area", confidence) | counts(curve[0][1]))
    return pd.DataFrame(rows, columns=list(AREA_COLUMNS))


def adaptation_from_first(
    frame: pd.DataFrame, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Mean score of the last episode minus that of the first, paired over seeds and tasks.

    Args:
        frame: As for :func:`area_under_episodes`.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, method), sorted by them, with columns ``episodes``
        (their number), ``score_first``, ``score_last``, ``adaptation``, ``adaptation_low``, ``adaptation_high``,
        ``n_seeds``, ``n_tasks``, ``n_draws``.

    Raises:
        ValueError: as :func:`area_under_episodes`; and if there is only one episode.
    """
    rows = []
    for key, curve in _curves(frame).items():
        if len(curve) == 1:
            raise ValueError(f"{key.family} / {key.method}: one episode is no curve")
        first, (last_key, last) = curve[0][1], curve[-1]
        adaptation = paired_difference(last_key, last, first, "adaptation from the first episode", resamples)
        about = _about(key, curve) | {"score_first": mean_score(first), "score_last": mean_score(last)}
        rows.append(about | adaptation.columns("adaptation", confidence) | fewest(first, last))
    return pd.DataFrame(rows, columns=list(ADAPTATION_COLUMNS))


def _curves(frame: pd.DataFrame) -> dict[Key, _Curve]:
    """The episodes of each key without its condition, in their order."""
    found: dict[Key, dict[int, tuple[Key, tuple[Panel, ...]]]] = defaultdict(dict)
    episodes: dict[tuple[str, ...], set[int]] = defaultdict(set)
    conditions = {name: Condition.parse(name) for name in map(str, frame["condition"].unique())}
    acting = [name for name, condition in conditions.items() if condition.kind == EPISODE and condition.number]
    for key, group in panels(frame[frame["condition"].isin(acting)]).items():
        number = conditions[key.condition].number
        found[key._replace(condition="")][number] = key, group
        episodes[key.table].add(number)
    if not found:
        raise ValueError("no results of episodes (conditions episode-1, episode-2, ...)")
    for key, curve in found.items():
        expected = range(1, max(episodes[key.table]) + 1)
        missing = [str(number) for number in expected if number not in curve]
        if missing:
            raise ValueError(f"{key.family} / {key.method}: no results of episode {', '.join(missing)}")
        group = curve[1][1]
        for _, other in curve.values():
            if any(a.seeds != b.seeds or a.tasks != b.tasks for a, b in zip(group, other, strict=True)):
                raise ValueError(f"{key.family} / {key.method}: episodes differ in their seeds or tasks")
    return {key: [curve[number] for number in sorted(curve)] for key, curve in sorted(found.items())}


def _about(key: Key, curve: _Curve) -> dict[str, object]:
    return {name: getattr(key, name) for name in _KEY} | {"episodes": len(curve)}
