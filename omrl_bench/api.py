"""The contract between methods, protocols and harness. Nothing here imports the rest of the project.

A method is a subclass of :class:`Algorithm`. The harness constructs it, calls :meth:`Algorithm.fit` once with
the training tasks' data, and then evaluates :meth:`Algorithm.policy` of each seed. Arrays are NumPy float32.
The leading axis of everything a policy sees is *lanes*: parallel episodes, each in a task of its own.

A method that trains one seed at a time loops over ``seeds`` in ``fit``; the built-in ones train all of them at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np

#: Everything a method may see beyond its training data and the context, and what it means.
PRIVILEGES: Mapping[str, str] = {
    "descriptors": "the true task parameters, in training and in every context",
    "behaviour": "the behaviour policies that made the data",
    "reward_function": "the true reward function, to relabel logged episodes of training tasks",
    "expert_labels": "the expert's action in every logged state of the training tasks",
    "target_return": "the return that a paper asks for in this family, to be had at test time",
}


#: What a method trains: a representation before its policy, where it has one; the policy and what trains beside it.
Stage = Literal["representation", "policy"]
STAGES: tuple[Stage, ...] = get_args(Stage)

#: How many behaviour policies a family has: 0..9, from the first to the expert.
BEHAVIOURS = 10


@dataclass(frozen=True)
class TaskSpace:
    """What all tasks of a family share.

    Attributes:
        family: Name of the family.
        observation_size: Length of an observation.
        action_size: Length of an action.
        action_limit: Actions lie in ``[-action_limit, action_limit]``.
        horizon: Length of an episode that does not terminate.
        descriptor_size: Number of true task parameters.
    """

    family: str
    observation_size: int
    action_size: int
    action_limit: float
    horizon: int
    descriptor_size: int

    @property
    def input_size(self) -> int:
        """Length of (s, a) written as one vector."""
        return self.observation_size + self.action_size

    @property
    def feature_size(self) -> int:
        """Length of a transition (s, a, r, s') written as one vector."""
        return self.input_size + 1 + self.observation_size


@dataclass(frozen=True)
class Setup:
    """How the suite wants a method to be built.

    Attributes:
        preset: ``quick``, ``standard`` or ``paper``; a method may keep hyper-parameters for each.
        backbone: Offline-RL learner under the method; a method without one ignores it.
        settings: Hyper-parameters that override the method's own; those of the backbone are ``backbone.<name>``.
        device: Where to train, as torch writes it. It is torch's default device while the harness calls the method,
            so that a method that names no device need not read this.
    """

    preset: str = "quick"
    backbone: str = "iql"
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Budget:
    """What a method may spend.

    Attributes:
        updates: Gradient updates of the policy and its critics.
        encoder_updates: Gradient updates of a representation that is trained on its own, before the policy.
    """

    updates: int
    encoder_updates: int


@dataclass(frozen=True)
class Requirements:
    """What a method declares it needs; the harness gives it that and no more.

    Attributes:
        privileges: Names in :data:`PRIVILEGES`.
        context: Whether the method makes use of a given context.
    """

    privileges: frozenset[str] = frozenset()
    context: bool = True


@dataclass(frozen=True)
class Transitions:
    """Transitions of several lanes; a context is one of these.

    Attributes:
        observations: (lanes, n, observation size).
        actions: (lanes, n, action size), in the environment's units.
        rewards: (lanes, n).
        next_observations: (lanes, n, observation size).
        terminated: (lanes, n) bool; a truncated episode is not terminated.
        valid: (lanes, n) bool; False where a shorter lane is padded with zeros.
        descriptors: (lanes, descriptor size) for a method with the privilege ``descriptors``, else None.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    valid: np.ndarray
    descriptors: np.ndarray | None = None


class Behaviour(Protocol):
    """The :data:`BEHAVIOURS` behaviour policies of a family, acting in many lanes (privilege ``behaviour``)."""

    def reset(self, behaviours: np.ndarray, rng: np.random.Generator) -> None:
        """Start an episode in every lane; behaviours (lanes,) in 0..9 say which policy acts there, 9 is the expert."""
        ...

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """Return actions (lanes, action size) for observations (lanes, ...) and descriptors (lanes, ...)."""
        ...


class TrainingData(Protocol):
    """Logged episodes of the training tasks, one block of rows per task, one block per episode within it.

    Attributes:
        tasks: (T,) ids of the training tasks; methods number them 0..T-1.
        observations: (N, observation size).
        actions: (N, action size), in the environment's units.
        rewards: (N,).
        context_rewards: (N,) what a context shows; other than ``rewards`` only where a suite makes contexts sparse.
        next_observations: (N, observation size).
        terminated: (N,) bool.
        task_offsets: (T+1,) rows of task k are ``task_offsets[k]:task_offsets[k+1]``.
        episode_offsets: (E+1,) rows of episode e are ``episode_offsets[e]:episode_offsets[e+1]``.
        task_episodes: (T+1,) episodes of task k are ``task_episodes[k]:task_episodes[k+1]``.
        behaviours: (E,) who acted in each episode: 0 to 9 in the order of learning, 9 the expert, -1 uniform actions.
    """

    tasks: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    context_rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    task_offsets: np.ndarray
    episode_offsets: np.ndarray
    task_episodes: np.ndarray
    behaviours: np.ndarray

    @property
    def representation_data(self) -> TrainingData:
        """What a method that trains its representation before its policy learns it from: these data, or others."""
        ...

    @property
    def descriptors(self) -> np.ndarray:
        """True parameters (T, descriptor size); raises unless the privilege is declared."""
        ...

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour policies; raises unless the privilege is declared."""
        ...

    def relabelled_rewards(self, episodes: np.ndarray, tasks: np.ndarray) -> np.ndarray:
        """Rewards that episodes (k,) would have had in tasks (k,), as ``context_rewards`` shows them.

        Returns (k, longest) zero-padded; raises unless the privilege ``reward_function`` is declared.
        """
        ...

    def expert_actions(self, rows: np.ndarray) -> np.ndarray:
        """What the expert would have done, without noise, in the states of rows (...), in the task of each.

        Returns (..., action size), in the environment's units; raises unless ``expert_labels`` is declared.
        """
        ...

    def sample_tasks(self, rngs: Sequence[np.random.Generator], count: int) -> np.ndarray:
        """Draw ``count`` different tasks for each seed: (seeds, count)."""
        ...

    def sample_rows(self, rngs: Sequence[np.random.Generator], tasks: np.ndarray, count: int) -> np.ndarray:
        """Draw rows of given tasks with replacement: tasks (seeds, k) -> (seeds, k, count)."""
        ...

    def sample_episodes(self, rngs: Sequence[np.random.Generator], tasks: np.ndarray) -> np.ndarray:
        """Draw one episode of each given task: tasks (seeds, ...) -> the same shape."""
        ...

    def sample_within(
        self, rngs: Sequence[np.random.Generator], episodes: np.ndarray, count: int, consecutive: bool = False
    ) -> np.ndarray:
        """Draw rows of given episodes, i.i.d. or as one segment: episodes (seeds, ...) -> (seeds, ..., count)."""
        ...


class Log(Protocol):
    """How a method reports progress; the harness may evaluate the method's policies during the call."""

    def __call__(self, stage: Stage, step: int, total: int, seeds: Sequence[int] | None = None) -> None:
        """Report that ``step`` of ``total`` updates of ``stage`` are done; raises ValueError for any other stage.

        Call it after each update. In stage ``"policy"`` the harness may call :meth:`Algorithm.policy` of the seeds
        that are being trained: all of them, or those given in ``seeds`` by a method that trains one after the other.
        """
        ...


class MetaPolicy(ABC):
    """One trained seed, acting in many lanes at once.

    A lane is an episode of its own: what it does must depend neither on the other lanes, nor on its place among them or
    their number (but for the random numbers that it draws), nor on what the policy did before :meth:`reset`.
    """

    @abstractmethod
    def reset(self, lanes: int) -> None:
        """Forget everything: the prior belief, ``lanes`` parallel episodes."""

    @abstractmethod
    def condition(self, context: Transitions) -> None:
        """Take the given context of each lane."""

    @abstractmethod
    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """Return actions (lanes, action size) for observations (lanes, observation size).

        Args:
            observations: One per lane.
            explore: Whether to act so as to learn about the task, rather than to earn reward.
        """

    def observe(self, transitions: Transitions) -> None:  # noqa: B027  (methods without a running belief keep it)
        """Take what just happened (n = 1 per lane) into a running belief."""

    def representation(self) -> np.ndarray | None:
        """What the policy believes of each lane's task, (lanes, size), or None; it is measured, nothing else."""
        return None

    def end_episode(self) -> None:  # noqa: B027
        """The episode of every lane has ended; the next one is in the same task."""


class Algorithm(ABC):
    """A method. The constructor must not touch any global random state.

    Args:
        space: What the family's tasks share.
        setup: How the suite wants the method to be built.

    Attributes:
        requires: What the method needs.
        trained_as: The registered method that this one is trained exactly as, where the two differ only in how they
            act: one training serves both. None if it has a training of its own.
    """

    requires: ClassVar[Requirements] = Requirements()
    trained_as: ClassVar[str | None] = None

    def __init__(self, space: TaskSpace, setup: Setup) -> None:
        self.space = space
        self.setup = setup

    @abstractmethod
    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """Train every seed on the data of the training tasks."""

    @abstractmethod
    def policy(self, seed: int) -> MetaPolicy:
        """Return the policy of a seed that ``fit`` trained (in its current state, if ``fit`` is still running)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all trained seeds to an existing folder: safetensors and JSON, never pickle."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote; the policies then act as before.

        A run evaluates policies that were loaded, each in a new process; only behaviour policies come with ``fit``.
        """

    def attention_weights(self, seed: int, context: Transitions) -> np.ndarray | None:
        """Weights of the transitions of given contexts in the task representation of a seed, (lanes, n), or None.

        Like :meth:`MetaPolicy.representation` it is measured, nothing else.
        """
        return None

    def configuration(self) -> Mapping[str, Any]:
        """Return the resolved hyper-parameters as JSON-ready values; they are part of the record and its hash."""
        return dict(self.setup.settings)

    def parameter_count(self) -> int:
        """Number of trained parameters per seed (0 where there is no such thing)."""
        return 0
