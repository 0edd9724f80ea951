"""What a method loses from the tasks that it was trained on to new ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES, estimate_of_counts, shared_counts
from omrl_bench.stats.differences import fewest, mean_score
from omrl_bench.stats.estimated import Estimated, over_families
from omrl_bench.stats.panels import Key, Panel, Panels, panels
from omrl_bench.stats.small_samples import difference_parts

GAP_COLUMNS = (
    *Key._fields,
    *("score_train", "score_test", "gap", "gap_low", "gap_high"),
    *("n_seeds", "n_tasks", "n_draws"),
)


def generalisation_gap(
    train: pd.DataFrame | Panels,
    test: pd.DataFrame | Panels,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean score on training tasks minus mean score on test tasks.

    Seeds are resampled jointly where both sides have the same, for they are the same training runs; tasks
    independently, for they are different ones.

    Args:
        train: Tidy frame of results on training tasks; see :mod:`omrl_bench.stats.panels`.
        test: Tidy frame of results on test tasks, of the same methods, families and conditions.
        resamples: Resamples of the two-way bootstrap.
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
        gap = over_families([_gap(key, a, b, resamples) for a, b in zip(group, other, strict=True)])
        about = key._asdict() | {"score_train": mean_score(group), "score_test": mean_score(other)}
        rows.append(about | gap.columns("gap", confidence) | fewest(group, other))
    return pd.DataFrame(rows, columns=list(GAP_COLUMNS))


def _gap(key: Key, train: Panel, test: Panel, resamples: int) -> Estimated:
    """The gap of one family."""
    if common := set(train.tasks) & set(test.tasks):
        names = ", ".join(map(str, sorted(common)))
        raise ValueError(f"{key.family} / {key.method} / {key.condition}: training and test share the tasks {names}")
    label = "/".join((*key.table, train.family))
    # counts are a function of label and names, so the same seeds are drawn the same on both sides
    samples = [
        estimate_of_counts(
            panel.scores,
            shared_counts(f"{label}/seeds", panel.seeds, resamples),
            shared_counts(f"{label}/tasks", panel.tasks, resamples),
        )
        for panel in (train, test)
    ]
    same_seeds = [train.seeds == test.seeds]
    parts = difference_parts([train.scores], [test.scores], same_seeds, same_tasks=False)
    estimate = float(np.mean(train.scores) - np.mean(test.scores))
    return Estimated(estimate, samples[0] - samples[1], tuple(parts))
