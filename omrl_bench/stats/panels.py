"""From a tidy frame to complete (seeds, tasks) matrices.

The tidy frame has one row per (suite, preset, family, dataset, method, backbone, seed, condition, task, draw), with
columns ``return`` and ``score``; and, for the ratio of sums, ``range``, the expert's return minus the random policy's
of the task. Further columns are ignored, and so is the order of the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

_VALUES = ("seed", "task", "draw", "return", "score")
_RANGE = "range"  # a frame need not have it
ALL = "all"  # stands for the mean over all families of a table


class Key(NamedTuple):
    """What a row of a summary is about; ``family`` may be :data:`ALL`."""

    suite: str
    preset: str
    dataset: str
    backbone: str
    family: str
    condition: str
    method: str

    @property
    def table(self) -> tuple[str, str, str, str]:
        """What all rows of one table share."""
        return self[:4]

    @property
    def label(self) -> str:
        """Name that seeds the bootstrap."""
        return "/".join(self)


@dataclass(frozen=True)
class Panel:
    """All results of one method in one family under one condition.

    Attributes:
        family: The family.
        scores: (seeds, tasks), means over the draws.
        returns: (seeds, tasks), means over the draws.
        seeds: What the rows are, ascending.
        tasks: What the columns are, ascending.
        draws: Number of context draws of each seed and task.
        ranges: (tasks,), the expert's return minus the random policy's; None where the frame does not say.
    """

    family: str
    scores: np.ndarray
    returns: np.ndarray
    seeds: tuple[Any, ...]
    tasks: tuple[Any, ...]
    draws: int
    ranges: np.ndarray | None = None


#: What :func:`panels` makes; some keys may have been left out.
Panels = Mapping[Key, tuple[Panel, ...]]


def panels(frame: pd.DataFrame | Panels) -> dict[Key, tuple[Panel, ...]]:
    """Cut a tidy frame into matrices, sorted by key; what is cut already is returned as it is.

    A key with a family has one panel. Where a table has more than one family, a key with family :data:`ALL` is
    added for every method and condition that has a panel in each of them: one panel per family. A method that lacks
    a family has no such key: it is never averaged over fewer families than the others.

    Raises:
        ValueError: naming what is missing, doubled, uneven or not finite.
    """
    if not isinstance(frame, pd.DataFrame):
        return dict(frame)
    columns = [*Key._fields, *_VALUES]
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame lacks the columns {', '.join(missing)}")
    nameless = [column for column in Key._fields if frame[column].isna().any()]
    if nameless:
        raise ValueError(f"a row of the frame lacks its {', '.join(nameless)}")
    single: dict[Key, Panel] = {}
    values = {column: frame[column].to_numpy() for column in (*_VALUES, _RANGE) if column in frame.columns}
    positions = frame.groupby(list(Key._fields), sort=True, observed=True).indices
    for names, of_key in positions.items():
        key = Key(*map(str, names))
        if key.family == ALL:
            raise ValueError(f"a family must not be called {ALL!r}")
        single[key] = _panel(key, {column: array[of_key] for column, array in values.items()})
    return with_means(single)


def with_means(single: Mapping[Key, Panel]) -> dict[Key, tuple[Panel, ...]]:
    """Add means over families to the panels of single ones, as :func:`panels` says."""
    families: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for key in single:
        families[key.table].add(key.family)
    result: dict[Key, tuple[Panel, ...]] = {key: (panel,) for key, panel in single.items()}
    for key in single:
        every = [key._replace(family=family) for family in sorted(families[key.table])]
        if len(every) > 1 and all(each in single for each in every):
            result[key._replace(family=ALL)] = tuple(single[each] for each in every)
    return dict(sorted(result.items()))


def counts(group: tuple[Panel, ...]) -> dict[str, int]:
    """Sample sizes: the fewest seeds and draws of any family, and the tasks of all families together."""
    return {
        "n_seeds": min(len(panel.seeds) for panel in group),
        "n_tasks": sum(len(panel.tasks) for panel in group),
        "n_draws": min(panel.draws for panel in group),
    }


def _panel(key: Key, rows: Mapping[str, np.ndarray]) -> Panel:
    """Cut the rows of a key, one array per column, into matrices."""
    where = f"{key.family} / {key.method} / {key.condition}"
    labels = [rows[column] for column in ("seed", "task", "draw")]
    if any(pd.isna(column).any() for column in labels):
        raise ValueError(f"{where}: a row lacks its seed, task or draw")
    (seeds, seed_index), (tasks, task_index), (draws, draw_index) = (np.unique(c, return_inverse=True) for c in labels)
    count = np.bincount(seed_index * len(tasks) + task_index, minlength=len(seeds) * len(tasks))
    count = count.reshape(len(seeds), len(tasks))
    for seed, present in zip(seeds, count > 0, strict=True):
        if not present.all():
            raise ValueError(f"{where}: seed {seed} lacks tasks {', '.join(map(str, tasks[~present]))}")
    place = (seed_index * len(tasks) + task_index) * len(draws) + draw_index
    if np.bincount(place).max() > 1:
        raise ValueError(f"{where}: a draw of a seed and task is there twice")
    if count.min() != count.max():
        raise ValueError(f"{where}: seeds or tasks differ in their number of draws ({count.min()} to {count.max()})")

    order = np.argsort(place)
    shape = (len(seeds), len(tasks), int(count.max()))
    cubes = [rows[name].astype(float)[order].reshape(shape) for name in ("score", "return")]
    for seed, *values in zip(seeds, *cubes, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"{where}: seed {seed} has a score or return that is not finite")
    scores, returns = (cube.mean(axis=2) for cube in cubes)
    ranges = rows[_RANGE][order].reshape(shape)[0, :, 0] if _RANGE in rows else None
    return Panel(key.family, scores, returns, tuple(seeds.tolist()), tuple(tasks.tolist()), shape[2], ranges)
