"""The datasets of one family, each read once: training data and contexts come from here."""

from __future__ import annotations

import numpy as np

from omrl_bench.api import Transitions
from omrl_bench.data.contexts import ContextSet, gather, source_dataset
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.store import read_contexts, read_episodes
from omrl_bench.envs.families import Family


class Datasets:
    """What a job needs of a family's datasets, read when it is first asked for.

    Args:
        family: The family.
        privileges: What the method declared.
        rho: Sparse rewards for contexts (:func:`omrl_bench.data.contexts.sparse_view`).
    """

    def __init__(self, family: Family, privileges: frozenset[str] = frozenset(), rho: float | None = None) -> None:
        self.family, self.privileges, self.rho = family, privileges, rho
        self._episodes: dict[str, Episodes] = {}
        self._context_sets: dict[str, ContextSet] = {}

    def episodes(self, quality: str) -> Episodes:
        """All episodes of a dataset.

        Raises:
            InputError: if it is missing, foreign, damaged, or of another version.
        """
        if quality not in self._episodes:
            self._episodes[quality] = read_episodes(self.family, quality)[0]
        return self._episodes[quality]

    def training(self, policy: str, representation: str, train_tasks: int = 0) -> MetaDataset:
        """What the method may see of the training tasks.

        Args:
            policy: Quality of the data that the policy learns from.
            representation: Quality of those that the representation learns from.
            train_tasks: How many of the training tasks, a fixed subset; 0 for all.

        Raises:
            InputError: as :meth:`episodes`.
        """
        other = None if policy == representation else self.episodes(representation)
        return MetaDataset(self.family, self.episodes(policy), self.privileges, train_tasks, other, self.rho)

    def context(self, tasks: np.ndarray, quality: str, draws: int, unit: str = "episode") -> Transitions:
        """The first context draws of each task, one per lane: (tasks * draws, n, ...), task by task.

        Args:
            tasks: (tasks,) task ids.
            quality: Context quality, in :data:`omrl_bench.data.contexts.SOURCES`.
            draws: Of each task, at most :data:`omrl_bench.data.contexts.DRAWS`.
            unit: What one draw is, in :data:`omrl_bench.data.contexts.UNITS`.

        Raises:
            InputError: as :meth:`episodes`; and if a task has no such context.
        """
        dataset = source_dataset(quality)
        if dataset not in self._context_sets:
            self._context_sets[dataset] = read_contexts(self.family, dataset)
        drawn = self._context_sets[dataset].draws[quality, unit][tasks, :draws]
        lanes = drawn.reshape(-1, *drawn.shape[2:])
        return gather(self.episodes(dataset), lanes, self.descriptors(tasks, draws), unit, self.rho)

    def descriptors(self, tasks: np.ndarray, draws: int) -> np.ndarray | None:
        """True parameters of every lane's task, (lanes, descriptor size), for a method with the privilege."""
        if "descriptors" not in self.privileges:
            return None
        return self.family.tasks().descriptors[np.repeat(tasks, draws)].astype(np.float32)
