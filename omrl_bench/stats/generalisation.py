"""What a method loses from the tasks that it was trained on to new ones."""

from __future__ import annotations

import pandas as pd

from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.contrasts import Contrast, crossed, marginals, over_families, part_of
from omrl_bench.stats.differences import fewest, mean_score
from omrl_bench.stats.panels import Key, Panel, Panels, panels

GAP_COLUMNS = (
    *Key._fields,
    *("score_train", "score_test", "gap", "gap_low", "gap_high"),
    *("n_seeds", "n_tasks", "n_draws"),
)


def generalisation_gap(
    train: pd.DataFrame | Panels,
    test: pd.DataFrame | Panels,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean score on training tasks minus mean score on test tasks.

    Seeds are paired where both sides have the same, for they are the same training runs; tasks are not, for they are
    different ones. The interval is about new seeds and new tasks (:mod:`omrl_bench.stats.contrasts`).

    Args:
        train: Tidy frame of results on training tasks; see :mod:`omrl_bench.stats.panels`.
        test: Tidy frame of results on test tasks, of the same methods, families and conditions.
        confidence: Coverage of the intervals.

    Returns:
        One row per key with columns ``score_train``, ``score_test``, ``gap`` (positive: new tasks are harder),
        ``gap_low``, ``gap_high``, ``n_seeds``, ``n_tasks``, ``n_draws`` (the smaller of both sides).

    Raises:
        ValueError: if results are incomplete, one side lacks a key that the other has, or they share a task.
    """
    sides = panels(train), panels(test)
    for name, here, there in (("test", sides[0], sides[1]), ("training", sides[1], sides[0])):
        missing = next((key for key in here if key not in there), None)
        if missing:
            raise ValueError(f"{missing.family} / {missing.method} / {missing.condition}: no results on {name} tasks")
    rows = []
    for key, group in sides[0].items():
        other = sides[1][key]
        gap = over_families([_gap(key, a, b) for a, b in zip(group, other, strict=True)])
        about = key._asdict() | {"score_train": mean_score(group), "score_test": mean_score(other)}
        rows.append(about | gap.columns("gap", confidence) | fewest(group, other))
    return pd.DataFrame(rows, columns=list(GAP_COLUMNS))


def _gap(key: Key, train: Panel, test: Panel) -> Contrast:
    """The gap of one family: seeds are those of the same runs where both sides have the same, tasks are different."""
    if common := set(train.tasks) & set(test.tasks):
        names = ", ".join(map(str, sorted(common)))
        raise ValueError(f"{key.family} / {key.method} / {key.condition}: training and test share the tasks {names}")
    sides = marginals(train.scores), marginals(test.scores)
    seeds = [side.seeds for side in sides]
    if train.seeds == test.seeds:
        seeds = [part_of(train.scores.mean(axis=1) - test.scores.mean(axis=1))]
    tasks, residuals = [part_of(side.tasks) for side in sides], [side.residual for side in sides]
    return crossed(sides[0].mean - sides[1].mean, seeds, tasks, residuals)
