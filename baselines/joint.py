"""The shape that PEARL and its like share: an encoder trained together with the backbone, by one of its losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log, Transitions

from .conditioned import Conditioned, draw_batch
from .networks import Rngs, take_seed
from .training import Batch, Batches, Scale, adam, seed_generators, step


class Joint(Conditioned):
    """Every update draws one context of each task of a meta-batch and sends a loss of the backbone into its encoder."""

    @abstractmethod
    def make_encoder(self, rngs: Rngs, features: int) -> nn.Module:
        """The encoder of contexts (R, C, n, features), valid (R, C, n) or None."""

    @abstractmethod
    def represent(self, encoder: nn.Module, context: Tensor, valid: Tensor) -> Tensor:
        """Z to act on: contexts (R, C, n, features), valid (R, C, n) -> (R, C, z size)."""

    @abstractmethod
    def sample(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Z to learn from, (R, T, z size), of the drawn contexts, and what its encoder adds to the loss, (R,)."""

    def draw_contexts(self, batches: Batches, tasks: np.ndarray) -> Tensor:
        """Contexts to learn from, (R, C, n, features), given a meta-batch of tasks (R, T): one of each by default."""
        episodes = batches.data.sample_episodes(batches.rngs, tasks)
        return batches.contexts(episodes, self.config.transitions)

    def after_update(self, batches: Batches) -> None:
        """What follows each update; nothing by default."""

    def backbone_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """The backbone's loss; which part of it trains the encoder: that of the critics."""
        return self.backbone.loss(batch, z)

    @property
    def z_size(self) -> int:
        """Length of the task representation."""
        size: int = self.config.latent
        return size

    def modules(self) -> dict[str, nn.Module]:
        """Backbone and encoder."""
        return super().modules() | {"encoder": self.encoder}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and encoder."""
        super().build(seeds, scale)
        features = 2 * self.space.observation_size + self.space.action_size + 1
        self.encoder = self.make_encoder(seed_generators(seeds, "encoder"), features)
        self.noise = seed_generators(seeds, "noise")

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Encoder and backbone together."""
        rates = self.config.learning_rate, self.backbone_config.learning_rate
        optimiser = adam((self.encoder, rates[0]), (self.backbone, rates[1]))
        for update in range(updates):
            tasks, batch = draw_batch(self, batches)
            z, penalty = self.sample(self.draw_contexts(batches, tasks))
            z = z.repeat_interleave(batch.rewards.shape[1] // tasks.shape[1], dim=1)
            self.backbone.before_step(batch, z.detach())
            step(optimiser, self.backbone_loss(batch, z) + penalty.sum())
            self.backbone.after_step()
            self.after_update(batches)
            log("policy", update + 1, updates)

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """The encoder of one seed."""
        encoder = take_seed(self.encoder, index)

        def infer(context: Transitions) -> Tensor:
            features, valid = self.scale.features(context)[None], torch.as_tensor(context.valid)[None]
            return self.represent(encoder, features, valid)[0]

        return infer
