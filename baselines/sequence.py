"""What the methods share that are a sequence model and nothing else: no backbone, one network, one supervised loss.

Deviations of all of them: the learning rate rises over the first tenth of the updates, whatever their number (the
papers: over 10,000 of some 50,000 to 100,000); gradients are clipped for each seed by itself.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Budget, Log, Setup, TaskSpace, TrainingData, Transitions

from .conditioned import resolve
from .networks import Rngs
from .seeded import Seeded
from .training import Batches, Scale, seed_generators

WARM_UP = 0.1  # share of the updates over which the learning rate rises
BEST = 0.1  # share of a task's episodes that count as its best


@dataclass(frozen=True)
class TransformerConfig:
    """Hyper-parameters of every transformer."""

    width: int = 48  # of a token
    layers: int = 2
    heads: int = 1
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class SequenceConfig(TransformerConfig):
    """Hyper-parameters of every sequence model."""

    weight_decay: float = 1e-4
    clip: float = 1.0  # of the gradient's length


class SequenceMethod(Seeded):
    """A network of R seeds, trained by one loss.

    Attributes:
        Config: The method's hyper-parameters, a dataclass.
        model: The network of all seeds.
    """

    Config: ClassVar[Any] = SequenceConfig
    model: nn.Module

    def __init__(self, space: TaskSpace, setup: Setup) -> None:
        super().__init__(space, setup)
        self.config = resolve(self.Config, setup.preset, setup.settings)

    @abstractmethod
    def make_model(self, rngs: Rngs) -> nn.Module:
        """Construct the network of all seeds."""

    @abstractmethod
    def loss(self, batches: Batches) -> Tensor:
        """Draw a batch and return the loss of each seed, (R,)."""

    @abstractmethod
    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """Return the function from a context to what the seed at ``index`` makes of it, (lanes, size)."""

    def prepare(self, batches: Batches) -> None:
        """Measure the training data before the first update; nothing by default."""

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Train what is trained before the sequence model; nothing by default."""

    def modules(self) -> dict[str, nn.Module]:
        """Everything that is saved, by name."""
        return {"model": self.model}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the network of all seeds."""
        self.seeds, self.scale = list(seeds), scale
        self.model = self.make_model(seed_generators(seeds, "model"))

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """Train the network of all seeds."""
        self.build(seeds, Scale.of(data, self.space))
        batches = Batches(data, self.scale, self.space, seed_generators(seeds, "data"))
        self.prepare(batches)
        self.train_representation(batches, budget.encoder_updates, log)
        train(self.model, self.config, lambda: self.loss(batches), budget.updates, log)

    def configuration(self) -> Mapping[str, Any]:
        """Hyper-parameters."""
        return dataclasses.asdict(self.config)


def train(model: nn.Module, config: SequenceConfig, loss: Callable[[], Tensor], updates: int, log: Log) -> None:
    """AdamW on a loss (R,) that is drawn anew in every update; stage ``policy``."""
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.0, weight_decay=config.weight_decay, fused=True
    )
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = config.learning_rate * min(1.0, (update + 1) / (WARM_UP * updates))
        optimiser.zero_grad(set_to_none=True)
        loss().sum().backward()  # type: ignore[no-untyped-call]
        clip_gradients(model, config.clip)
        optimiser.step()
        log("policy", update + 1, updates)


@torch.no_grad()
def clip_gradients(model: nn.Module, longest: float) -> None:
    """Shorten the gradient of each seed, over all parameters (R, ...), to a length of ``longest`` at most."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    squared = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0)
    factor = (longest / (squared.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.dim() - 1)))


class EpisodeSteps:
    """Where each training row is in its episode.

    Attributes:
        episode: (N,) number of its episode.
        step: (N,) its step, from 0.
        first: (E,) first row of each episode.
        lengths: (E,) steps of each episode.
    """

    def __init__(self, data: TrainingData) -> None:
        self.first, self.lengths = data.episode_offsets[:-1], np.diff(data.episode_offsets)
        self.episode = np.repeat(np.arange(len(self.first)), self.lengths)
        self.step = np.arange(len(self.episode)) - self.first[self.episode]


def cut_episodes(context: Transitions, horizon: int) -> list[np.ndarray]:
    """Columns of each episode of a context: it holds one, or several of ``horizon`` steps each on end.

    Episodes that no lane has a step of are left out.
    """
    columns = np.arange(context.valid.shape[1])
    parts = np.split(columns, range(horizon, len(columns), horizon))
    return [part for part in parts if context.valid[:, part].any()]


def returns_to_go(rewards: np.ndarray, where: EpisodeSteps) -> np.ndarray:
    """Undiscounted sum of an episode's rewards from each row on, (N,) float64."""
    backwards = np.cumsum(rewards[::-1].astype(np.float64))[::-1]
    after = np.append(backwards, 0.0)[where.first + where.lengths]
    found: np.ndarray = backwards - after[where.episode]
    return found


def best_episodes(returns: np.ndarray, task_episodes: np.ndarray) -> list[np.ndarray]:
    """The best tenth of each task's episodes, one at least: returns (E,), task_episodes (T + 1,)."""
    found = []
    for first, stop in pairwise(task_episodes):
        count = max(1, round(BEST * (stop - first)))
        found.append(first + np.argsort(returns[first:stop], kind="stable")[-count:])
    return found
