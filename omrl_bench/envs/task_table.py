"""The frozen task table of a family: its tasks, their splits and their true parameters."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omrl_bench.errors import InputError, unknown_name
from omrl_bench.vocabulary import SPLITS


@dataclass(frozen=True, eq=False)
class TaskTable:
    """A family's tasks, one row each; row number = task id.

    Attributes:
        splits: Split of each task, in :data:`omrl_bench.vocabulary.SPLITS`.
        descriptors: True parameters, float64 of shape (tasks, descriptor size).
        since: Version of the family in which each task came, int64 of shape (tasks,): a later version appends tasks and
            keeps those that there are, with their data.
        text: The file as read.
    """

    splits: tuple[str, ...]
    descriptors: np.ndarray
    since: np.ndarray
    text: str

    def __len__(self) -> int:
        return len(self.splits)

    def ids(self, *splits: str) -> np.ndarray:
        """Return the ids of the tasks in the given splits (all tasks if none is given), int64, ascending.

        Raises:
            InputError: if there is no such split.
        """
        for split in splits:
            if split not in SPLITS:
                raise unknown_name("split", split, SPLITS)
        return np.array([i for i, s in enumerate(self.splits) if not splits or s in splits], dtype=np.int64)

    def first(self) -> np.ndarray:
        """Return the ids of the tasks that the family had in its first version, ascending."""
        return np.flatnonzero(self.since == self.since[0])

    def row_text(self, tasks: np.ndarray) -> str:
        """Return what the table says of some tasks: their ids and parameters."""
        return json.dumps([[int(task), *self.descriptors[task].tolist()] for task in tasks])

    def by_split(self) -> dict[str, np.ndarray]:
        """Return the ids of each split that has tasks."""
        return {split: ids for split in SPLITS if len(ids := self.ids(split))}

    def training_subset(self, count: int) -> np.ndarray:
        """Return the ids of a fixed subset of the training tasks, ascending; a smaller one lies within a larger one.

        Where the test tasks are the training tasks (:attr:`train_is_test`), these are all tasks that there are, and
        at most all of them are returned.

        Raises:
            InputError: if there are not so many training tasks.
        """
        train = self.ids("train")
        if count > len(train) and self.train_is_test:
            return train
        if count > len(train):
            raise InputError(f"{count} training tasks asked for; the table has {len(train)}")
        order = np.random.default_rng(len(train)).permutation(len(train))  # as the papers draw theirs, but once
        return np.sort(train[order[:count]])

    @property
    def train_is_test(self) -> bool:
        """Whether the test tasks are the training tasks again, as in a family of two tasks."""
        train, test = (np.unique(self.descriptors[self.ids(split)], axis=0) for split in ("train", "test"))
        return bool(np.array_equal(train, test))

    def check(self, tasks: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return task ids as an array, or raise :class:`InputError` for one that does not exist."""
        ids = np.asarray(tasks)
        if ids.size and ids.dtype.kind not in "iu":
            raise InputError(f"task ids are integers, not {tasks!r}")
        ids = ids.astype(np.int64)
        wrong = ids[(ids < 0) | (ids >= len(self))]
        if wrong.size:
            raise InputError(f"task {wrong.flat[0]} does not exist; the table has tasks 0 to {len(self) - 1}")
        return ids


def parse_task_table(text: str, name: str, descriptor: Sequence[str]) -> TaskTable:
    """Read a task table.

    Args:
        text: CSV with the columns ``task`` (0, 1, ...), ``split``, those of the descriptor, and ``since``, which may be
            absent: then all tasks are of the first version, 0.
        name: The file's name, for errors.
        descriptor: Names of the true parameters.

    Raises:
        InputError: if a column is absent, a number is none, ids have gaps, or there is no such split.
    """
    columns = ("task", "split", *descriptor)
    rows = list(csv.DictReader(text.splitlines()))
    absent = [column for column in columns if not rows or column not in rows[0]]
    if absent:
        raise InputError(f"task table {name} has no column {absent[0]!r}, or no task; expected {', '.join(columns)}")
    try:
        ids = [int(row["task"]) for row in rows]
        descriptors = np.array([[float(row[column]) for column in descriptor] for row in rows])
        since = np.array([int(row.get("since", 0)) for row in rows], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise InputError(f"task table {name}: {error}") from error
    if ids != list(range(len(rows))):
        raise InputError(f"task table {name}: task ids must run from 0 without gaps")
    if (np.diff(since) < 0).any():
        raise InputError(f"task table {name}: tasks of a later version come after all others")
    for row in rows:
        if row["split"] not in SPLITS:
            raise InputError(f"task table {name}, task {row['task']}: {unknown_name('split', row['split'], SPLITS)}")
    return TaskTable(tuple(row["split"] for row in rows), descriptors, since, text)
