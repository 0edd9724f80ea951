"""The behaviour policies: what acted when the data was logged.

MuJoCo families: ten checkpoints of one task-conditioned agent (``policies/<family>/<k>.safetensors``), from the first
to the expert. Point families: scripted controllers at ten skills from 0 to 1. A family says which it has
(:attr:`omrl_bench.envs.families.Family.controller`).
A *behaviour* is a number: 0..9, the expert is 9; :data:`RANDOM` is uniform actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
from safetensors.numpy import load

from omrl_bench.api import BEHAVIOURS, Behaviour
from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.families import BUILT_IN, Family, get_family
from omrl_bench.errors import InputError
from omrl_bench.named import import_named

EXPERT = BEHAVIOURS - 1
RANDOM = -1

LOG_STD_RANGE = (-20.0, 2.0)  # Stable-Baselines3's limits


class UniformActor:
    """Uniform actions, whatever the behaviour."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def reset(self, behaviours: np.ndarray, rng: np.random.Generator) -> None:
        """Keep the number of lanes."""
        self._lanes = len(behaviours)

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """Uniform in the action box."""
        limit = self.family.action_limit
        return rng.uniform(-limit, limit, (self._lanes, self.family.action_size))


class PointActor:
    """Walks straight to a guess of the goal: the goal turned by up to pi (1 - skill) either way.

    The skill is ``behaviour / 9``; the guess is drawn once per episode. Low skill means confidently walking to
    a wrong place, as early checkpoints of a learner do, so the state distribution depends on the skill.
    """

    NOISE = (0.01, 0.05)  # standard deviation of the action noise at skill 1 and at skill 0

    def __init__(self, family: Family) -> None:
        self.family = family

    def reset(self, behaviours: np.ndarray, rng: np.random.Generator) -> None:
        """Draw the error of each lane's guess."""
        self._skill = behaviours / EXPERT
        self._draw_error(rng)
        low, high = self.NOISE
        self._noise = (low + (high - low) * (1 - self._skill))[:, None]

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """Step to the guessed goal, as far as the limits allow."""
        limit = self.family.action_limit
        actions: np.ndarray = np.clip(self._step(observations, descriptors), -limit, limit)
        if not deterministic:
            actions = np.clip(actions + self._noise * rng.standard_normal(actions.shape), -limit, limit)
        return actions

    def _draw_error(self, rng: np.random.Generator) -> None:
        angle = np.pi * (1 - self._skill) * rng.uniform(-1, 1, len(self._skill))
        self._cos, self._sin = np.cos(angle), np.sin(angle)

    def _guess(self, goals: np.ndarray) -> np.ndarray:
        x, y = goals[:, 0], goals[:, 1]
        return np.stack([self._cos * x - self._sin * y, self._sin * x + self._cos * y], axis=1)

    def _step(self, observations: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        return self._guess(descriptors) - observations


class PointSquareActor(PointActor):
    """The guess is the goal, moved the fraction 1 - skill of the way to a random place of the square."""

    def _draw_error(self, rng: np.random.Generator) -> None:
        self._elsewhere = rng.uniform(-1, 1, (len(self._skill), 2))

    def _guess(self, goals: np.ndarray) -> np.ndarray:
        guess: np.ndarray = goals + (1 - self._skill)[:, None] * (self._elsewhere - goals)
        return guess


class PointWindActor(PointActor):
    """Walks to a guess of the one goal, (1, 0), and steers against the wind."""

    def _step(self, observations: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        return self._guess(np.broadcast_to([1.0, 0.0], descriptors.shape)) - observations - descriptors


class PointHardActor(PointActor):
    """Walks to a guess of the first goal, then of the second."""

    def _step(self, observations: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        guess = self._guess(descriptors)
        return np.where(observations[:, 2:] > 0, guess, guess / 2) - observations[:, :2]


class ReplayActor:
    """The actions of logged episodes again, one episode per lane, and zeros after an episode's end.

    Args:
        episodes: The episodes.
        steps: Steps to be able to act for.
    """

    def __init__(self, episodes: Episodes, steps: int) -> None:
        within = np.arange(steps) < np.diff(episodes.offsets)[:, None]
        self._actions = np.zeros((*within.shape, episodes.actions.shape[1]))
        self._actions[within] = episodes.actions

    def reset(self, behaviours: np.ndarray, rng: np.random.Generator) -> None:
        """Begin with the first action."""
        self._step = 0

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """The next logged action of every lane."""
        self._step += 1
        return self._actions[:, self._step - 1]


class CheckpointActor:
    """Gaussian actors, one per behaviour, on (observation, descriptor).

    Args:
        family: The family.
        weights: Tensors of each behaviour: two hidden ReLU layers and ``mean``. With a layer ``log_std`` the actor is
            SAC's (tanh of the sample); with a vector ``log_std`` it is PPO's (the sample, clipped).
    """

    def __init__(self, family: Family, weights: Sequence[Mapping[str, np.ndarray]]) -> None:
        self.family = family
        self._weights = [{name: array.astype(np.float32) for name, array in tensors.items()} for tensors in weights]

    def reset(self, behaviours: np.ndarray, rng: np.random.Generator) -> None:
        """Group the lanes by behaviour."""
        self._lanes = [(k, np.flatnonzero(behaviours == k)) for k in np.unique(behaviours)]

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """A Gaussian sample, or its mean."""
        inputs = np.concatenate([observations, descriptors], axis=1, dtype=np.float32)
        noise = rng.standard_normal((len(inputs), self.family.action_size), dtype=np.float32)
        actions = np.empty((len(inputs), self.family.action_size))
        for behaviour, lanes in self._lanes:
            actions[lanes] = self._forward(self._weights[behaviour], inputs[lanes], noise[lanes] * (not deterministic))
        return self.family.action_limit * actions

    @staticmethod
    def _forward(weights: dict[str, np.ndarray], hidden: np.ndarray, noise: np.ndarray) -> np.ndarray:
        for name in ("hidden0", "hidden1"):
            hidden = np.maximum(hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], 0)
        mean = hidden @ weights["mean.weight"].T + weights["mean.bias"]
        if "log_std" in weights:
            return np.clip(mean + np.exp(weights["log_std"]) * noise, -1, 1)
        log_std = hidden @ weights["log_std.weight"].T + weights["log_std.bias"]
        return np.tanh(mean + np.exp(np.clip(log_std, *LOG_STD_RANGE)) * noise)


def data_files(family: Family) -> Traversable:
    """Return the folder with a family's ``policies`` and ``manifests``: this one for the built-in ones."""
    return resources.files("omrl_bench.data" if family.home == BUILT_IN else family.home)


def read_checkpoints(family: Family) -> list[dict[str, np.ndarray]]:
    """Read the tensors of a family's ten checkpoints.

    Raises:
        InputError: if it has none.
    """
    owner = get_family(family.policies) if family.policies else family
    folder = data_files(owner).joinpath("policies", owner.name)
    if not folder.is_dir():
        raise InputError(f"family {family.name!r} has no behaviour policies yet: {folder} does not exist")
    return [load(folder.joinpath(f"{k}.safetensors").read_bytes()) for k in range(BEHAVIOURS)]


def make_actor(family: Family) -> Behaviour:
    """Return the behaviour policies of a family: its scripted controllers, or its checkpoints.

    Raises:
        InputError: if the family has none, or its controllers cannot be imported.
    """
    if family.controller:
        scripted: Behaviour = import_named(family.controller)(family)
        return scripted
    return CheckpointActor(family, read_checkpoints(family))


def half_way(means: np.ndarray, random: float) -> tuple[int, float]:
    """The two neighbouring behaviours whose mixture is half-way between random and expert return.

    Args:
        means: (BEHAVIOURS,) mean return of each behaviour's sampled actions.
        random: Mean return of uniform actions.

    Returns:
        The lower behaviour k, and the share of episodes by k + 1; behaviour k is the last below half-way (0 if none).
    """
    target = (random + means[EXPERT]) / 2
    below = np.flatnonzero(means[:EXPERT] <= target)
    if not len(below):
        return 0, 0.0
    lower = int(below[-1])
    step = means[lower + 1] - means[lower]
    return lower, float(np.clip((target - means[lower]) / step, 0, 1)) if step > 0 else 0.0
