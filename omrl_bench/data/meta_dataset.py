"""MetaDataset: what a method sees of a dataset while it trains."""

from __future__ import annotations

import numpy as np

from omrl_bench.api import Behaviour
from omrl_bench.data.behaviour import EXPERT, make_actor
from omrl_bench.data.contexts import sparse_view
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.sampling import Sampling
from omrl_bench.data.store import read_episodes
from omrl_bench.envs.families import Family, get_family
from omrl_bench.errors import InputError


class MetaDataset(Sampling):
    """Contiguous arrays of the training tasks' episodes; see :class:`omrl_bench.api.TrainingData`.

    Sampling is vectorised over (seed, task, batch); each seed draws from its own generator, so what a seed
    sees does not depend on the seeds beside it.

    Args:
        family: The family.
        episodes: A whole dataset, all tasks.
        privileges: What the method declared.
        train_tasks: How many of the training tasks it holds, a fixed subset; 0 for all.
        representation_data: Other data of the same tasks for the representation.
        rho: Sparse rewards for contexts (:func:`omrl_bench.data.contexts.sparse_view`).
    """

    def __init__(
        self,
        family: Family,
        episodes: Episodes,
        privileges: frozenset[str] = frozenset(),
        train_tasks: int = 0,
        representation_data: Episodes | None = None,
        rho: float | None = None,
    ) -> None:
        super().__init__(privileges)
        self._family = family
        table = family.tasks()
        self.tasks = table.training_subset(train_tasks) if train_tasks else table.ids("train")
        chosen = episodes.select(np.flatnonzero(np.isin(episodes.tasks, self.tasks)))
        self.observations = chosen.observations
        self.actions = chosen.actions
        self.rewards = chosen.rewards
        self._rho = rho
        self.context_rewards = self._shown(self.rewards)
        self.next_observations = chosen.next_observations
        self.terminated = chosen.terminated
        self.episode_offsets = chosen.offsets
        self.task_episodes = np.append(np.searchsorted(chosen.tasks, self.tasks), len(chosen.tasks))
        self.task_offsets = self.episode_offsets[self.task_episodes]
        self.behaviours = chosen.behaviours
        self._seeds = chosen.seeds
        self._representation = (
            None
            if representation_data is None
            else MetaDataset(family, representation_data, privileges, train_tasks, rho=rho)
        )

    @classmethod
    def load(cls, family: str, quality: str, privileges: frozenset[str] = frozenset()) -> MetaDataset:
        """Load the training tasks of a local dataset.

        Raises:
            InputError: if the family does not exist, or the dataset is missing, foreign, damaged or of another version.
        """
        definition = get_family(family)
        return cls(definition, read_episodes(definition, quality)[0], privileges)

    @property
    def representation_data(self) -> MetaDataset:
        """What the representation learns from: this, unless other data were given."""
        return self._representation or self

    @property
    def descriptors(self) -> np.ndarray:
        """True parameters (T, descriptor size).

        Raises:
            PrivilegeError: unless the method declares the privilege ``descriptors``.
        """
        self.demand("descriptors")
        return self._family.tasks().descriptors[self.tasks]

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour policies.

        Raises:
            PrivilegeError: unless the method declares the privilege ``behaviour``.
        """
        self.demand("behaviour")
        return make_actor(self._family)

    def relabelled_rewards(self, episodes: np.ndarray, tasks: np.ndarray) -> np.ndarray:
        """Rewards that episodes would have had in other tasks, as a context shows them.

        The logged actions are simulated again from each episode's seed, because a reward may depend on what is not
        observed; so they are exact. It takes as long as collecting the episodes did; one that is asked for in several
        tasks is simulated once.

        Args:
            episodes: (k,) episode numbers.
            tasks: (k,) task numbers, 0 to T-1.

        Returns:
            (k, longest episode asked for) float32, 0 after an episode's end.

        Raises:
            PrivilegeError: unless the method declares the privilege ``reward_function``.
            InputError: if the family's tasks differ in dynamics: there the episodes would have gone elsewhere; or if
                the data were collected elsewhere and do not replay from their seeds.
        """
        self.demand("reward_function")
        if "dynamics" in self._family.varies:
            raise InputError(f"rewards of {self._family.name} cannot be relabelled: its tasks differ in dynamics")
        episodes, tasks = np.asarray(episodes), np.asarray(tasks)
        if not len(episodes):
            return np.zeros((0, 0), np.float32)
        simulated, lane_of = np.unique(episodes, return_inverse=True)
        if (self._seeds[simulated] < 0).any():
            raise InputError(
                f"rewards of {self._family.name} cannot be relabelled: these data do not replay from seeds"
            )
        starts, stops = self.episode_offsets[simulated], self.episode_offsets[simulated + 1]
        descriptors = self._family.tasks().descriptors[self.tasks]
        law = self._family.make_law()
        physics = law.batched_physics(len(simulated))
        own = np.searchsorted(self.task_episodes, simulated, side="right") - 1
        physics.assign(np.arange(len(simulated)), descriptors[own])
        states = np.stack([law.initial_state(np.random.default_rng(int(seed))) for seed in self._seeds[simulated]])
        rewards = np.zeros((len(episodes), int((stops - starts).max())), np.float32)
        for step in range(rewards.shape[1]):
            # an episode that has ended repeats its last action, and what comes of it is left out
            actions = self.actions[np.minimum(starts + step, stops - 1)].astype(np.float64)
            following = physics.advance(states, actions)
            going = np.flatnonzero((starts + step < stops)[lane_of])
            lanes = lane_of[going]
            rewards[going, step] = law.reward(
                states[lanes], actions[lanes], following[lanes], descriptors[tasks[going]]
            )
            states = following
        ended = starts[:, None] + np.arange(rewards.shape[1]) >= stops[:, None]
        return np.where(ended[lane_of], np.float32(0), self._shown(rewards))

    def expert_actions(self, rows: np.ndarray) -> np.ndarray:
        """What the expert would have done, without noise, in logged states.

        Args:
            rows: (...) row numbers.

        Returns:
            (..., action size) float32, in the environment's units.

        Raises:
            PrivilegeError: unless the method declares the privilege ``expert_labels``.
            InputError: if the family has no behaviour policies.
        """
        self.demand("expert_labels")
        flat = np.asarray(rows).reshape(-1)
        tasks = self.tasks[np.searchsorted(self.task_offsets, flat, side="right") - 1]
        actor, rng = make_actor(self._family), np.random.default_rng(0)  # which nothing depends on: no noise
        actor.reset(np.full(len(flat), EXPERT), rng)
        descriptors = self._family.tasks().descriptors[tasks]
        actions = actor.act(self.observations[flat].astype(np.float64), descriptors, rng, deterministic=True)
        limit = self._family.action_limit
        return np.clip(actions, -limit, limit).astype(np.float32).reshape(*np.shape(rows), -1)

    def _shown(self, rewards: np.ndarray) -> np.ndarray:
        """What a context shows of rewards."""
        return rewards if self._rho is None else sparse_view(rewards, self._rho)
