"""Curves over the episodes that a method collects itself: the area under them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from omrl_bench.conditions import EPISODE, Condition
from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.contrasts import marginals, on_new_tasks, over_families
from omrl_bench.stats.panels import Key, Panel, counts, panels

_KEY = tuple(name for name in Key._fields if name != "condition")
_COUNTS = ("n_seeds", "n_tasks", "n_draws")
AREA_COLUMNS = (*_KEY, "episodes", "area", "area_low", "area_high", *_COUNTS)
_Curve = list[tuple[Key, tuple[Panel, ...]]]  # by episode


def area_under_episodes(frame: pd.DataFrame, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Mean over episodes of the mean score: the area under the adaptation curve, in score units.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`. Only conditions ``episode-1``, ``episode-2`` ... count.
        confidence: Coverage of the intervals.

    Returns:
        One row per (suite, preset, dataset, backbone, family, method), sorted by them, with columns ``episodes``
        (their number), ``area``, ``area_low``, ``area_high``, ``n_seeds``, ``n_tasks``, ``n_draws``. Family ``all`` as
        in :func:`omrl_bench.stats.summary.summarise`.

    Raises:
        ValueError: if there are no episodes, results are incomplete, or a method lacks episodes that others have.
    """
    rows = []
    for key, curve in _curves(frame).items():
        families = list(zip(*(group for _, group in curve), strict=True))  # per family, a panel of each episode
        over_episodes = [np.mean([panel.scores for panel in each], axis=0) for each in families]
        area = over_families([on_new_tasks(marginals(scores)) for scores in over_episodes])
        about = _about(key, curve)
        rows.append(about | area.columns("area", confidence) | counts(curve[0][1]))
    return pd.DataFrame(rows, columns=list(AREA_COLUMNS))


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
