"""All episodes of a dataset as contiguous arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Episodes:
    """All episodes of a dataset, one after the other, ordered by task.

    Attributes:
        observations: (N, observation size) float32; N transitions.
        actions: (N, action size) float32.
        rewards: (N,) float32.
        next_observations: (N, observation size) float32.
        terminated: (N,) bool; the last transition of a truncated episode is not terminated.
        offsets: (E+1,) int64; episode e has rows ``offsets[e]:offsets[e+1]``.
        tasks: (E,) int64 task ids, ascending.
        behaviours: (E,) int64; see :mod:`omrl_bench.data.behaviour`.
        seeds: (E,) int64 environment seeds.
        told: (E,) int64 task that the behaviour policy was told it is in, where that is another one (``cross``).
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    offsets: np.ndarray
    tasks: np.ndarray
    behaviours: np.ndarray
    seeds: np.ndarray
    told: np.ndarray | None = None

    @classmethod
    def joined(cls, parts: Sequence[Episodes]) -> Episodes:
        """Episodes of different tasks, in the order of their tasks."""
        if len(parts) == 1:
            return parts[0]
        ends = np.cumsum([0, *(len(part.rewards) for part in parts)])
        offsets = [part.offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
        arrays = {name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()}
        together = cls(**arrays | {"offsets": np.concatenate([[0], *offsets]).astype(np.int64)})
        order = np.argsort(together.tasks, kind="stable")
        return together if (np.diff(order) == 1).all() else together.select(order)

    def of_tasks(self, tasks: np.ndarray) -> Episodes:
        """The episodes of some tasks."""
        return self.select(np.flatnonzero(np.isin(self.tasks, tasks)))

    def counts(self, tasks: int) -> np.ndarray:
        """Number of episodes of each of so many tasks, (tasks,)."""
        return np.bincount(self.tasks, minlength=tasks)

    def select(self, kept: np.ndarray) -> Episodes:
        """The episodes of the given numbers, in that order."""
        lengths = (self.offsets[1:] - self.offsets[:-1])[kept]
        ends = np.cumsum(lengths)
        rows = np.arange(lengths.sum()) + np.repeat(self.offsets[:-1][kept] - (ends - lengths), lengths)
        return Episodes(
            observations=self.observations[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            next_observations=self.next_observations[rows],
            terminated=self.terminated[rows],
            offsets=np.concatenate([[0], ends]).astype(np.int64),
            tasks=self.tasks[kept],
            behaviours=self.behaviours[kept],
            seeds=self.seeds[kept],
            told=None if self.told is None else self.told[kept],
        )

    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, (E,) float64."""
        sums: np.ndarray = np.add.reduceat(self.rewards.astype(np.float64), self.offsets[:-1])
        return sums

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {name: array for name, array in vars(self).items() if array is not None}

    def content_hash(self) -> str:
        """sha256 over the name, type, shape and bytes of every array."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
