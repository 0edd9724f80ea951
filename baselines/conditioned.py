"""A backbone that is conditioned on a task representation z: what all trained methods share."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Budget, Log, MetaPolicy, Setup, TaskSpace, TrainingData, Transitions
from omrl_bench.registry import load_backbone

from .backbone import Learner, Network
from .networks import ConditionedMLP
from .policies import Actor, ContextPolicy, Prior
from .seeded import Seeded
from .training import Batch, Batches, Scale, adam, seed_generators

META_BATCH = 16  # tasks per update of the backbone, as in FOCAL++ (table 7) and CORRO


@dataclass(frozen=True)
class NoConfig:
    """A method with no hyper-parameters of its own."""


class Conditioned(Seeded):
    """A backbone on (s, z); subclasses say where z comes from.

    Attributes:
        Config: The method's hyper-parameters, a dataclass.
        network: What the backbone's networks are made of.
        own_backbone: The learner of a method that is not one without it; None where the suite chooses.
        backbone: The policy learner of all seeds.
    """

    Config: ClassVar[Any] = NoConfig
    network: ClassVar[Network] = ConditionedMLP
    own_backbone: ClassVar[type[Learner] | None] = None

    def __init__(self, space: TaskSpace, setup: Setup) -> None:
        super().__init__(space, setup)
        self._backbone_class: type[Learner] = self.own_backbone or load_backbone(setup.backbone)
        ours = {name: value for name, value in setup.settings.items() if not name.startswith("backbone.")}
        theirs = {name.removeprefix("backbone."): v for name, v in setup.settings.items() if name not in ours}
        self.config = resolve(self.Config, setup.preset, ours)
        self.backbone_config = resolve(self._backbone_class.Config, setup.preset, theirs)

    @property
    @abstractmethod
    def z_size(self) -> int:
        """Length of the task representation."""

    @property
    def seen_size(self) -> int:
        """Length of what the backbone sees of an observation."""
        return self.space.observation_size

    def seen(self, batch: Batch) -> Batch:
        """What the backbone sees of a batch; all of it by default."""
        return batch

    @abstractmethod
    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """Return the function from a context to z (lanes, z size) of the seed at ``index``, as it is trained now."""

    def modules(self) -> dict[str, nn.Module]:
        """Everything that is saved, by name."""
        return {"backbone": self.backbone}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks of all seeds."""
        self.seeds, self.scale = list(seeds), scale
        self.backbone = self.make_backbone("backbone")

    def make_backbone(self, purpose: str) -> Learner:
        """Construct a policy learner of all seeds, with random numbers of its own."""
        return self._backbone_class(
            seed_generators(self.seeds, purpose),
            self.seen_size,
            self.space.action_size,
            self.z_size,
            self.backbone_config,
            self.network,
        )

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """The representation, then the policy."""
        self.build(seeds, Scale.of(data, self.space))
        batches = Batches(data, self.scale, self.space, seed_generators(seeds, "data"))
        other = data.representation_data
        first = batches if other is data else Batches(other, self.scale, self.space, batches.rngs)
        self.train_representation(first, budget.encoder_updates, log)
        self.train_policy(batches, budget.updates, log)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Train what is trained before the policy; nothing by default."""

    @abstractmethod
    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Train the backbone."""

    def policy(self, seed: int) -> MetaPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        return ContextPolicy(self.actor(index), self.inference(index), self.prior(index), self.scale)

    def actor(self, index: int) -> Actor:
        """One seed's actor on z."""
        return self.backbone.actor(index)

    def prior(self, index: int) -> Prior:
        """What the seed at ``index`` acts on before it has a context; z = 0 by default."""
        return Prior.zero(self.z_size)

    def configuration(self) -> Mapping[str, Any]:
        """Hyper-parameters of the method and of its backbone."""
        return {**dataclasses.asdict(self.config), "backbone": dataclasses.asdict(self.backbone_config)}


def fit_backbone(method: Conditioned, batches: Batches, embeddings: Tensor, updates: int, log: Log) -> None:
    """Train the backbone on transitions, each with the representation of some episode of its task.

    Args:
        method: A method whose networks are built.
        batches: The training data.
        embeddings: (R, E, z size), a representation of every training episode.
        updates: Number of gradient updates.
        log: Progress.
    """
    optimiser = adam((method.backbone, method.backbone_config.learning_rate))
    seed = torch.arange(len(method.seeds))[:, None]
    for update in range(updates):
        tasks, batch = draw_batch(method, batches)
        each = batch.rewards.shape[1] // tasks.shape[1]
        episodes = batches.episodes(np.repeat(tasks, each, axis=1))
        z = embeddings[seed, torch.as_tensor(episodes)]
        method.backbone.update(optimiser, method.seen(batch), z)
        log("policy", update + 1, updates)


def draw_batch(method: Conditioned, batches: Batches) -> tuple[np.ndarray, Batch]:
    """Draw a meta-batch of tasks, (R, T), and the backbone's batch of transitions, equally many of each task."""
    tasks, rows = draw_rows(method, batches)
    return tasks, batches.transitions(rows)


def draw_rows(method: Conditioned, batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """The same with the rows of the transitions, (R, B)."""
    tasks = batches.tasks(META_BATCH)
    return tasks, batches.rows(tasks, method.backbone_config.batch // tasks.shape[1])


def resolve(config: Any, preset: str, settings: Mapping[str, Any]) -> Any:
    """Construct a hyper-parameter dataclass: its defaults, the preset's values, the user's settings.

    Raises:
        ValueError: if the dataclass has no hyper-parameter of a setting's name.
    """
    names = [field.name for field in dataclasses.fields(config)]
    for name in settings:
        if name not in names:
            raise ValueError(f"{config.__name__} has no hyper-parameter {name!r}; it has: {', '.join(names) or 'none'}")
    return config(**{**getattr(config, "PRESETS", {}).get(preset, {}), **settings})
