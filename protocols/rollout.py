"""Episodes in many lanes at once: what all protocols are made of."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.data.contexts import sparse_view
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family


class PolicyError(Exception):
    """A method returned something other than what it was asked for."""


class Episode(NamedTuple):
    """What was played in one episode of every lane.

    Attributes:
        returns: (tasks, draws) float64, undiscounted.
        transitions: (lanes, horizon) what the policy observed; not valid, and zero, after a lane's end.
    """

    returns: np.ndarray
    transitions: Transitions


def lane_seeds(family: Family, tasks: np.ndarray, draws: int, seed: int, episode: int = 0) -> np.ndarray:
    """Environment seeds (tasks * draws,) of one training seed: the same for every method and what it was given."""
    which = [episode] if episode else []  # the first episode's are those of `given-context`
    seeds = [
        np.random.SeedSequence([zlib.crc32(family.name.encode()), int(task), seed, *which]).generate_state(draws)
        for task in tasks
    ]
    return np.concatenate(seeds)


class Rollout:
    """Lanes of one evaluation: lane ``i * draws + j`` is draw j of task i, and stays in its task.

    Args:
        family: The family.
        tasks: (tasks,) task ids.
        draws: Lanes per task.
        seed: The training seed, which the environment seeds depend on.
        threads: Simulator threads.
        descriptors: (lanes, descriptor size) for a method with the privilege, else None.
        rho: Sparse rewards for what is observed (:func:`omrl_bench.data.contexts.sparse_view`); returns are dense.

    Attributes:
        lanes: Their number.
        descriptors: As given.
    """

    def __init__(
        self,
        family: Family,
        tasks: np.ndarray,
        draws: int,
        seed: int,
        threads: int,
        descriptors: np.ndarray | None = None,
        rho: float | None = None,
    ) -> None:
        self.lanes = len(tasks) * draws
        self.descriptors = descriptors
        self._family, self._tasks, self._draws, self._seed = family, tasks, draws, seed
        self._rho = rho
        self._env = BatchedEnv(family, self.lanes, threads)

    def episode(self, policy: MetaPolicy, number: int = 0, explore: bool = False) -> Episode:
        """Act for one episode in every lane.

        Args:
            policy: It has been reset, and told what it may know.
            number: Which episode in these tasks it is; each has environment seeds of its own.
            explore: Whether the policy is to learn about the task rather than to earn reward.

        Returns:
            The returns, and what was observed.

        Raises:
            PolicyError: if an action has the wrong shape or is not finite, or makes the simulation unstable.
        """
        env, family = self._env, self._family
        seeds = lane_seeds(family, self._tasks, self._draws, self._seed, number)
        observations = env.reset(np.repeat(self._tasks, self._draws), seeds)
        returns = np.zeros(self.lanes)
        running = np.ones(self.lanes, dtype=bool)
        steps = []
        for _ in range(family.horizon):
            # a lane that has ended is shown zeros
            shown = np.where(running[:, None], observations, 0.0).astype(np.float32)
            actions = check_actions(policy.act(shown, explore=True) if explore else policy.act(shown), running, family)
            following, rewards, terminated, _ = env.step(actions, running)
            if not np.isfinite(following[running]).all():
                raise PolicyError("the simulation became unstable (NaN) under the policy's actions")
            happened = self._one_step(observations, actions, rewards, following, terminated, running)
            policy.observe(happened)
            steps.append(happened)
            returns[running] += rewards[running]
            running &= ~terminated
            observations = following
        policy.end_episode()
        return Episode(returns.reshape(len(self._tasks), self._draws), self._joined(steps))

    def seen(self, played: Sequence[Episode]) -> Transitions:
        """One context per lane of all that was observed: (lanes, n); n = 1 and not valid if nothing was."""
        if not played:
            size, action_size = self._family.observation_size, self._family.action_size
            nothing = np.zeros((self.lanes, 1, size), np.float32)
            return Transitions(
                observations=nothing,
                actions=np.zeros((self.lanes, 1, action_size), np.float32),
                rewards=np.zeros((self.lanes, 1), np.float32),
                next_observations=nothing.copy(),
                terminated=np.zeros((self.lanes, 1), bool),
                valid=np.zeros((self.lanes, 1), bool),
                descriptors=self.descriptors,
            )
        return self._joined([episode.transitions for episode in played])

    def _joined(self, parts: Sequence[Transitions]) -> Transitions:
        """Transitions one after the other."""
        names = [name for name in vars(parts[0]) if name != "descriptors"]
        joined = {name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in names}
        return Transitions(**joined, descriptors=self.descriptors)

    def _one_step(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        following: np.ndarray,
        terminated: np.ndarray,
        running: np.ndarray,
    ) -> Transitions:
        shown = rewards if self._rho is None else sparse_view(rewards, self._rho)
        return Transitions(
            observations=np.where(running[:, None], observations, 0.0)[:, None].astype(np.float32),
            actions=actions[:, None].astype(np.float32),
            rewards=np.where(running, shown, 0.0)[:, None].astype(np.float32),
            next_observations=np.where(running[:, None], following, 0.0)[:, None].astype(np.float32),
            terminated=(terminated & running)[:, None],
            valid=running[:, None].copy(),
            descriptors=self.descriptors,
        )


def check_actions(actions: np.ndarray, running: np.ndarray, family: Family) -> np.ndarray:
    """Return the actions, clipped to the limits, or raise :class:`PolicyError` saying what is wrong with them.

    Args:
        actions: What the policy returned.
        running: (lanes,) bool; an ended lane's action does not matter and becomes 0.
        family: The family.
    """
    expected = (len(running), family.action_size)
    if not isinstance(actions, np.ndarray) or actions.shape != expected:
        got = f"shape {actions.shape}" if isinstance(actions, np.ndarray) else f"a {type(actions).__name__}"
        raise PolicyError(f"act returned {got}; expected a NumPy array of shape {expected} (lanes, action size)")
    if actions.dtype.kind not in "fiu":
        raise PolicyError(
            f"act returned numbers of type {actions.dtype.name}; expected real numbers, {expected} (lanes, action size)"
        )
    wrong = running & ~np.isfinite(actions).all(axis=1)
    if wrong.any():
        raise PolicyError(f"act returned NaN or infinity in lane {int(wrong.argmax())}")
    limit = family.action_limit
    return np.where(running[:, None], np.clip(actions, -limit, limit), 0.0)
