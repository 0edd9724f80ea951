"""The controls, which are the rows that bound the others, and ``supervised``, which is none: it infers the task.

* ``random``: uniform actions; score 0 by definition, up to sampling.
* ``behaviour``: the policies that made the `mixed` data (privilege: behaviour, descriptors).
* ``task-blind``: the backbone on s alone; what can be had without knowing the task.
* ``oracle``: the backbone on (s, descriptor); what could be had if inference were perfect (privilege: descriptors).
* ``supervised``: an encoder trained by the losses of critics and policy alone, end to end; what a representation has
  to beat.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 78 to 129 thousand parameters, 0.7 to 1.1 of its
training time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import (
    BEHAVIOURS,
    Algorithm,
    Behaviour,
    Budget,
    Log,
    MetaPolicy,
    Requirements,
    TrainingData,
    Transitions,
)

from .conditioned import Conditioned, fit_backbone
from .focal import MeanEncoder
from .joint import Joint, JointConfig
from .networks import Encoder, Rngs
from .training import Batches, descriptor_scale, load_tensors, save_tensors

METHODS = {
    "random": "Random",
    "behaviour": "BehaviourControl",
    "task-blind": "TaskBlind",
    "oracle": "Oracle",
    "supervised": "Supervised",
}


class Untrained(Algorithm):
    """A control with nothing to train."""

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    def load(self, folder: Path) -> None:
        """Nothing to restore."""


class Random(Untrained):
    """Uniform actions."""

    requires = Requirements(context=False)

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """Nothing to train."""

    def policy(self, seed: int) -> MetaPolicy:
        """Uniform actions from the seed's generator."""
        return RandomPolicy(self.space.action_size, self.space.action_limit, seed)


class RandomPolicy(MetaPolicy):
    """Uniform actions."""

    def __init__(self, action_size: int, action_limit: float, seed: int) -> None:
        self._size, self._limit, self._seed = action_size, action_limit, seed

    def reset(self, lanes: int) -> None:
        """Start the generator again."""
        self._rng = np.random.default_rng([self._seed, lanes])

    def condition(self, context: Transitions) -> None:
        """Ignore the context."""

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """Uniform actions."""
        return self._rng.uniform(-self._limit, self._limit, (len(observations), self._size)).astype(np.float32)


class BehaviourControl(Untrained):
    """The ten behaviour policies, in turn over the lanes, with sampled actions."""

    requires = Requirements(privileges=frozenset({"behaviour", "descriptors"}), context=False)

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """Keep the behaviour policies."""
        self._behaviour = data.behaviour

    def policy(self, seed: int) -> MetaPolicy:
        """The behaviour policies with the seed's generator."""
        return BehaviourPolicy(copy.copy(self._behaviour), seed)  # each keeps the state of its own episodes


class BehaviourPolicy(MetaPolicy):
    """The behaviour policies, told the task."""

    def __init__(self, behaviour: Behaviour, seed: int) -> None:
        self._behaviour, self._seed = behaviour, seed

    def reset(self, lanes: int) -> None:
        """Start an episode in every lane."""
        self._rng = np.random.default_rng([self._seed, lanes])
        self._behaviour.reset(np.arange(lanes) % BEHAVIOURS, self._rng)

    def condition(self, context: Transitions) -> None:
        """Take the descriptors."""
        assert context.descriptors is not None
        self._descriptors = context.descriptors

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """Sampled actions of the behaviour policies."""
        return self._behaviour.act(observations, self._descriptors, self._rng).astype(np.float32)


class TaskBlind(Conditioned):
    """The backbone with an empty z."""

    requires = Requirements(context=False)

    @property
    def z_size(self) -> int:
        """No representation."""
        return 0

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """No representation, whatever the context."""
        return lambda context: torch.zeros(len(context.observations), 0)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Train the backbone."""
        embeddings = torch.zeros(len(self.seeds), len(batches.data.episode_offsets) - 1, 0)
        fit_backbone(self, batches, embeddings, updates, log)


class Oracle(Conditioned):
    """The backbone with z = the standardised descriptor."""

    requires = Requirements(privileges=frozenset({"descriptors"}), context=False)

    @property
    def z_size(self) -> int:
        """Length of the descriptor."""
        return self.space.descriptor_size

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """The standardised descriptor that comes with the context."""

        def infer(context: Transitions) -> Tensor:
            assert context.descriptors is not None
            return torch.as_tensor((context.descriptors - self._mean) / self._std).float()

        return infer

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Train the backbone."""
        data = batches.data
        self._mean, self._std = descriptor_scale(data)
        z = torch.as_tensor((data.descriptors - self._mean) / self._std).float()
        per_episode = z[torch.as_tensor(np.repeat(np.arange(len(z)), np.diff(data.task_episodes)))]
        fit_backbone(self, batches, per_episode.expand(len(self.seeds), -1, -1), updates, log)

    def save(self, folder: Path) -> None:
        """Write weights and the descriptor's scaling."""
        super().save(folder)
        seeds, tensors = load_tensors(folder)
        scaling = {"descriptor": torch.as_tensor(np.stack([self._mean, self._std]))}
        save_tensors(folder, seeds, tensors | scaling)

    def load(self, folder: Path) -> None:
        """Read weights and the descriptor's scaling."""
        super().load(folder)
        self._mean, self._std = load_tensors(folder)[1]["descriptor"].numpy()


@dataclass(frozen=True)
class SupervisedConfig(JointConfig):
    """Hyper-parameters of the encoder, which is FOCAL's; ours."""

    latent: int = 20
    width: int = 128  # of the three hidden layers
    transitions: int = 32  # per context in training
    learning_rate: float = 1e-3

    PRESETS: ClassVar = {"quick": {"width": 64}}


class Supervised(Joint):
    """An encoder that gets the gradient of the critics' and of the policy's loss, and no other."""

    Config = SupervisedConfig

    def make_encoder(self, rngs: Rngs, features: int) -> Encoder:
        """FOCAL's mean encoder."""
        return MeanEncoder(rngs, features, self.config.width, self.config.latent)

    def views(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses train it."""
        return z, z
