"""FOCAL with an exploration that learns nothing: the bounds of what looking for the task can bring.

Encoder, backbone and hyper-parameters are those of ``focal``. The rows differ from it, and from each other, in how the
context comes about that FOCAL's policy then acts on, and in nothing else: the difference is what exploring is worth.

* ``uniform``: uniform actions.
* ``sweep``: the family's expert, told one training task after another: on the way to the first one for half an episode,
  the next one at each step after that; the next episode goes on where this one stopped, and after the last task the
  sweep comes back. Along the arc of the goals for a point, from the slowest to the fastest for a robot. It knows the
  range of the tasks and how to get there, and nothing of the task that it is in.

The expert executes in no row: it would hide whether the policy can use what was found. That bound is ``oracle``.

Privileges: ``uniform``: none. ``sweep``: behaviour (the expert), descriptors (of the training tasks).

Cost: that of FOCAL.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from omrl_bench.api import BEHAVIOURS, Behaviour, Budget, Log, MetaPolicy, Requirements, TrainingData, Transitions

from .controls import RandomPolicy
from .focal import Focal

METHODS = {"uniform": "UniformExploration", "sweep": "SweepExploration"}


class UniformExploration(Focal):
    """FOCAL that explores by uniform actions."""

    def policy(self, seed: int) -> MetaPolicy:
        """Random actions, then FOCAL's policy."""
        return ScriptedPolicy(super().policy(seed), RandomPolicy(self.space.action_size, self.space.action_limit, seed))


class SweepExploration(Focal):
    """FOCAL that explores by the expert's walk through the training tasks.

    Restored from disk it has no expert and explores as FOCAL; the harness trains what has the privilege anew.
    """

    requires = Requirements(privileges=frozenset({"behaviour", "descriptors"}))
    _expert: tuple[Behaviour, np.ndarray] | None = None  # comes with the data, not with what is saved

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """FOCAL's training; keep the expert and the training tasks."""
        self._expert = data.behaviour, in_order(data.descriptors)
        super().fit(data, budget, seeds, log)

    def policy(self, seed: int) -> MetaPolicy:
        """The sweep, then FOCAL's policy."""
        if self._expert is None:
            return super().policy(seed)
        behaviour, tasks = self._expert
        sweep = SweepPolicy(copy.copy(behaviour), tasks, self.space.horizon, seed)
        return ScriptedPolicy(super().policy(seed), sweep)


class ScriptedPolicy(MetaPolicy):
    """One policy where the protocol asks for exploration, another elsewhere.

    Args:
        executing: What acts on the context.
        exploring: What collects it.
    """

    def __init__(self, executing: MetaPolicy, exploring: MetaPolicy) -> None:
        self._executing, self._exploring = executing, exploring

    def reset(self, lanes: int) -> None:
        """Forget everything."""
        self._executing.reset(lanes)
        self._exploring.reset(lanes)

    def condition(self, context: Transitions) -> None:
        """Infer the task."""
        self._executing.condition(context)

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The action of the policy whose turn it is."""
        return (self._exploring if explore else self._executing).act(observations)

    def end_episode(self) -> None:
        """The next episode begins."""
        self._exploring.end_episode()

    def representation(self) -> np.ndarray | None:
        """What the executing policy acts on."""
        return self._executing.representation()


class SweepPolicy(MetaPolicy):
    """The expert, told one task after another.

    Args:
        behaviour: The family's behaviour policies.
        tasks: (T, descriptor size), in the order of the sweep.
        horizon: Length of an episode.
        seed: Of the behaviour's random numbers; its actions are the mean ones.
    """

    def __init__(self, behaviour: Behaviour, tasks: np.ndarray, horizon: int, seed: int) -> None:
        self._behaviour, self._tasks, self._horizon, self._seed = behaviour, tasks, horizon, seed

    def reset(self, lanes: int) -> None:
        """Back to the first task."""
        self._rng, self._lanes, self._told = np.random.default_rng([self._seed, lanes]), lanes, 0
        self._begin()

    def condition(self, context: Transitions) -> None:
        """Ignore the context."""

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The expert's action for the task whose turn it is."""
        self._told += self._step > self._horizon // 2
        self._step += 1
        last = len(self._tasks) - 1
        task = last - abs(last - self._told % max(2 * last, 1))  # to the last one and back
        told = np.broadcast_to(self._tasks[task], (self._lanes, self._tasks.shape[1]))
        return self._behaviour.act(observations, told, self._rng, deterministic=True).astype(np.float32)

    def end_episode(self) -> None:
        """The next episode goes on with the same task."""
        self._begin()

    def _begin(self) -> None:
        self._step = 0
        self._behaviour.reset(np.full(self._lanes, BEHAVIOURS - 1), self._rng)


def in_order(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors (T, size) in the order of a sweep: by angle where they are points of the plane, else by value."""
    if descriptors.shape[1] == 2:
        return descriptors[np.argsort(np.arctan2(descriptors[:, 1], descriptors[:, 0]))]
    return descriptors[np.lexsort(descriptors.T[::-1])]
