"""Collapsed seeds: trainings that ended far below the method's others.

With one collapse in five, no interval of five seeds holds a method's mean as often as it says; so collapses are named.
A seed's score, the mean over tasks, counts as collapsed where it lies below the median of the method's seeds by more
than

* :data:`POINTS`, so that what is too small to matter is not named;
* :data:`DEVIATIONS` robust deviations of what seeds of this family and condition usually differ by: half of all
  methods' seeds lie nearer to their median than 0.67 of one deviation;
* :data:`DEVIATIONS` robust deviations of the method's other seeds: a method whose seeds all differ is unstable, which
  its interval shows.

``docs/statistics.md`` says how often the rule names a seed where none collapsed, and how often it finds one that did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from omrl_bench.stats.panels import ALL, Key, Panels, panels

POINTS = 10.0
DEVIATIONS = 5.0
FEWEST_SEEDS = 4  # with three, the median and one other say what is usual
COLLAPSE_COLUMNS = (*Key._fields, "seed", "score", "median")
_NORMAL = 1.4826  # standard deviations in a median absolute deviation of a normal law


def collapsed_seeds(frame: pd.DataFrame | Panels, controls: Collection[str] = ()) -> pd.DataFrame:
    """Name the collapsed seeds.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        controls: Methods that do not count in what seeds usually differ by, as long as there are others: some do not
            train.

    Returns:
        One row per collapsed seed, with the key of its method (never of family ``all``), ``seed``, ``score`` (of the
        seed) and ``median`` (of the method's seeds). None of methods with fewer than :data:`FEWEST_SEEDS` seeds.

    Raises:
        ValueError: if results are incomplete.
    """
    boards: dict[Key, list[Key]] = defaultdict(list)
    groups = panels(frame)
    for key, (panel, *_) in groups.items():
        if key.family != ALL and len(panel.seeds) >= FEWEST_SEEDS:
            boards[key._replace(method="")].append(key)
    rows = []
    for keys in boards.values():
        scores = [groups[key][0].scores.mean(axis=1) for key in keys]
        typical = [each for key, each in zip(keys, scores, strict=True) if key.method not in controls]
        usual = usual_deviation(typical or scores)
        for key, each in zip(keys, scores, strict=True):
            for index in np.flatnonzero(is_collapsed(each, usual)):
                row = {"seed": groups[key][0].seeds[index], "score": each[index], "median": np.median(each)}
                rows.append(key._asdict() | row)
    table = pd.DataFrame(rows, columns=list(COLLAPSE_COLUMNS))
    return table.sort_values([*Key._fields, "seed"], ignore_index=True)


def usual_deviation(scores: Sequence[np.ndarray]) -> float:
    """Robust deviation of seeds from the median of their method, from an array (seeds,) of each method."""
    deviations = [np.abs(each - np.median(each)) * _for_few(len(each)) for each in scores]
    return float(_NORMAL * np.median(np.concatenate(deviations)))


def is_collapsed(scores: np.ndarray, usual: float) -> np.ndarray:
    """Which seeds of a method are collapsed, (seeds,) bool."""
    falls = np.median(scores) - scores
    size = len(scores)
    # of the others of each seed; a median of those that are left in a row of the matrix
    others = np.abs(np.broadcast_to(falls, (size, size))[~np.eye(size, dtype=bool)].reshape(size, size - 1))
    own = _NORMAL * np.median(others, axis=1) * _for_few(size)
    collapsed: np.ndarray = falls > np.maximum(POINTS, DEVIATIONS * np.maximum(own, usual))
    return collapsed


def _for_few(seeds: int) -> float:
    """What deviations from the median of so many seeds are too small by, about."""
    return float(np.sqrt(seeds / (seeds - 1)))
