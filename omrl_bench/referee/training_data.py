"""Training data as files that the method's process maps: what it may see of them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omrl_bench.api import Behaviour
from omrl_bench.data.sampling import Sampling

if TYPE_CHECKING:
    from omrl_bench.data.meta_dataset import MetaDataset

ARRAYS = (
    "tasks",
    "observations",
    "actions",
    "rewards",
    "context_rewards",
    "next_observations",
    "terminated",
    "task_offsets",
    "episode_offsets",
    "task_episodes",
    "behaviours",
)
_DESCRIPTORS = "descriptors"
_EXPERT_ACTIONS = "expert_actions"
_REPRESENTATION = "representation"

#: (data, episodes, tasks) -> rewards, see :meth:`omrl_bench.api.TrainingData.relabelled_rewards`.
Relabel = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


def write_training(folder: Path, data: MetaDataset, privileges: frozenset[str]) -> None:
    """Write what a method may see of the training tasks into a new folder, an array a file."""
    folder.mkdir()
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(data, name))
    if "descriptors" in privileges:
        np.save(folder / f"{_DESCRIPTORS}.npy", data.descriptors)
    if "expert_labels" in privileges:
        np.save(folder / f"{_EXPERT_ACTIONS}.npy", data.expert_actions(np.arange(len(data.actions))))
    if data.representation_data is not data:
        write_training(folder / _REPRESENTATION, data.representation_data, privileges)


class MappedData(Sampling):
    """The training data in the method's process; see :class:`omrl_bench.api.TrainingData`.

    Args:
        folder: What :func:`write_training` wrote.
        privileges: What the method declared.
        make_behaviour: Makes the behaviour policies.
        relabel: Asks the referee for rewards of episodes of these data, by their name.
        name: ``training``, or ``representation``.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    context_rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    behaviours: np.ndarray

    def __init__(
        self,
        folder: Path,
        privileges: frozenset[str],
        make_behaviour: Callable[[], Behaviour],
        relabel: Relabel,
        name: str = "training",
    ) -> None:
        super().__init__(privileges)
        self._folder, self._make_behaviour, self._relabel, self._name = folder, make_behaviour, relabel, name
        for array in ARRAYS:
            setattr(self, array, _mapped(folder, array))
        other = folder / _REPRESENTATION
        self._representation = (
            MappedData(other, privileges, make_behaviour, relabel, _REPRESENTATION) if other.exists() else self
        )

    @property
    def representation_data(self) -> MappedData:
        """What the representation learns from."""
        return self._representation

    @property
    def descriptors(self) -> np.ndarray:
        """True parameters, for a method with the privilege."""
        self.demand("descriptors")
        return _mapped(self._folder, _DESCRIPTORS)

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour policies, for a method with the privilege."""
        self.demand("behaviour")
        return self._make_behaviour()

    def relabelled_rewards(self, episodes: np.ndarray, tasks: np.ndarray) -> np.ndarray:
        """Rewards of episodes in other tasks, for a method with the privilege; the referee simulates them."""
        self.demand("reward_function")
        return self._relabel(self._name, np.asarray(episodes), np.asarray(tasks))

    def expert_actions(self, rows: np.ndarray) -> np.ndarray:
        """What the expert would have done in logged states, for a method with the privilege."""
        self.demand("expert_labels")
        return _mapped(self._folder, _EXPERT_ACTIONS)[rows]


def _mapped(folder: Path, name: str) -> np.ndarray:
    """An array of a file: private, so that changing it changes no file."""
    array: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return np.asarray(array)
