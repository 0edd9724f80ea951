"""The behaviour policies: what acted when the data was logged.

MuJoCo families: ten checkpoints of one task-conditioned SAC agent (``data/policies/<family>/<k>.safetensors``),
from the first to the expert. Point families: a scripted controller at ten skills from 0 to 1.
A *behaviour* is a number: 0..9, the expert is 9; :data:`RANDOM` is uniform actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import numpy as np
from safetensors.numpy import load

from omrl_bench.api import Behaviour
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError

BEHAVIOURS = 10
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
        skill = behaviours / EXPERT
        angle = np.pi * (1 - skill) * rng.uniform(-1, 1, len(behaviours))
        self._cos, self._sin = np.cos(angle), np.sin(angle)
        low, high = self.NOISE
        self._noise = (low + (high - low) * (1 - skill))[:, None]

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """Step to the guessed goal, as far as the limits allow."""
        x, y = descriptors[:, 0], descriptors[:, 1]
        guess = np.stack([self._cos * x - self._sin * y, self._sin * x + self._cos * y], axis=1)
        limit = self.family.action_limit
        actions: np.ndarray = np.clip(guess - observations, -limit, limit)
        if not deterministic:
            actions = np.clip(actions + self._noise * rng.standard_normal(actions.shape), -limit, limit)
        return actions


class CheckpointActor:
    """Squashed-Gaussian SAC actors, one per behaviour, on (observation, descriptor)."""

    def __init__(self, family: Family) -> None:
        self.family = family
        folder = resources.files("omrl_bench.data").joinpath("policies", family.name)
        if not folder.is_dir():
            raise InputError(f"family {family.name!r} has no behaviour policies yet: {folder} does not exist")
        self._weights = [
            {k: v.astype(np.float32) for k, v in load(folder.joinpath(f"{i}.safetensors").read_bytes()).items()}
            for i in range(BEHAVIOURS)
        ]

    def reset(self, behaviours: np.ndarray, rng: np.random.Generator) -> None:
        """Group the lanes by behaviour."""
        self._lanes = [(k, np.flatnonzero(behaviours == k)) for k in np.unique(behaviours)]

    def act(
        self, observations: np.ndarray, descriptors: np.ndarray, rng: np.random.Generator, deterministic: bool = False
    ) -> np.ndarray:
        """Tanh of a Gaussian sample, or of its mean."""
        inputs = np.concatenate([observations, descriptors], axis=1, dtype=np.float32)
        noise = rng.standard_normal((len(inputs), self.family.action_size), dtype=np.float32)
        actions = np.empty((len(inputs), self.family.action_size))
        for behaviour, lanes in self._lanes:
            mean, log_std = self._forward(self._weights[behaviour], inputs[lanes])
            sample = mean if deterministic else mean + np.exp(log_std) * noise[lanes]
            actions[lanes] = np.tanh(sample)
        return self.family.action_limit * actions

    @staticmethod
    def _forward(weights: dict[str, np.ndarray], hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for name in ("hidden0", "hidden1"):
            hidden = np.maximum(hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], 0)
        mean = hidden @ weights["mean.weight"].T + weights["mean.bias"]
        log_std = hidden @ weights["log_std.weight"].T + weights["log_std.bias"]
        return mean, np.clip(log_std, *LOG_STD_RANGE)


SCRIPTED: Mapping[str, type[PointActor]] = {"point-goal": PointActor}


def make_actor(family: Family) -> Behaviour:
    """Return the behaviour policies of a family.

    Raises:
        InputError: if the family has none.
    """
    return SCRIPTED[family.name](family) if family.name in SCRIPTED else CheckpointActor(family)
