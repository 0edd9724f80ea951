"""Drawing from the arrays of a training set; in the harness and in the method's process, the draws are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class PrivilegeError(Exception):
    """A method used something it did not declare."""


class Sampling:
    """Samplers over contiguous episodes, grouped by task; see :class:`omrl_bench.api.TrainingData`.

    Args:
        privileges: What the method declared.
    """

    tasks: np.ndarray
    task_offsets: np.ndarray
    task_episodes: np.ndarray
    episode_offsets: np.ndarray

    def __init__(self, privileges: frozenset[str]) -> None:
        self._privileges = privileges

    def sample_tasks(self, rngs: Sequence[np.random.Generator], count: int) -> np.ndarray:
        """Draw ``count`` different tasks for each seed: (seeds, count)."""
        if count > len(self.tasks):
            raise ValueError(f"{count} different tasks asked for; there are {len(self.tasks)}")
        keys = np.stack([rng.random(len(self.tasks)) for rng in rngs])
        return np.argsort(keys, axis=1)[:, :count]

    def sample_rows(self, rngs: Sequence[np.random.Generator], tasks: np.ndarray, count: int) -> np.ndarray:
        """Draw rows of given tasks with replacement: tasks (seeds, k) -> (seeds, k, count)."""
        return _uniform(rngs, self.task_offsets[tasks], self.task_offsets[tasks + 1], count)

    def sample_episodes(self, rngs: Sequence[np.random.Generator], tasks: np.ndarray) -> np.ndarray:
        """Draw one episode of each given task: tasks (seeds, ...) -> the same shape."""
        return _uniform(rngs, self.task_episodes[tasks], self.task_episodes[tasks + 1], 1)[..., 0]

    def sample_within(
        self, rngs: Sequence[np.random.Generator], episodes: np.ndarray, count: int, consecutive: bool = False
    ) -> np.ndarray:
        """Draw rows of given episodes: (seeds, ...) -> (seeds, ..., count).

        With ``consecutive`` the rows are one segment; an episode shorter than that repeats its last row.
        """
        starts, stops = self.episode_offsets[episodes], self.episode_offsets[episodes + 1]
        if not consecutive:
            return _uniform(rngs, starts, stops, count)
        first = _uniform(rngs, starts, np.maximum(stops - count, starts) + 1, 1)
        return np.minimum(first + np.arange(count), stops[..., None] - 1)

    def demand(self, privilege: str) -> None:
        """Raise PrivilegeError unless the method declared a privilege."""
        if privilege not in self._privileges:
            raise PrivilegeError(
                f"the method reads {privilege!r} without declaring it; "
                f"set requires = Requirements(privileges=frozenset({{{privilege!r}}}))"
            )


def _uniform(rngs: Sequence[np.random.Generator], low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Integers in [low, high): bounds (seeds, ...) -> (seeds, ..., count), each seed from its own generator."""
    unit = np.stack([rng.random((*low.shape[1:], count)) for rng in rngs])
    integers: np.ndarray = low[..., None] + (unit * (high - low)[..., None]).astype(np.int64)
    return integers
