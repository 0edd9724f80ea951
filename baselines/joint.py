"""The shape that PEARL and its like share: an encoder trained together with the backbone, by one of its losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import Log

from .conditioned import draw_batch
from .encoded import Encoded
from .training import Batches, Scale, adam, seed_generators


class Joint(Encoded):
    """Every update draws one context of each task of a meta-batch and sends a loss of the backbone into its encoder."""

    def sample(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Z of the drawn contexts to learn from, (R, T, z size), and what it adds to the loss, (R,); 0 by default."""
        return self.encoder(context), torch.zeros(len(self.seeds))

    def draw_contexts(self, batches: Batches, tasks: np.ndarray) -> Tensor:
        """Contexts to learn from, (R, C, n, features), given a meta-batch of tasks (R, T): one of each by default."""
        return batches.contexts(batches.episodes(tasks), self.config.transitions)

    def views(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Z as the critics see it, and as the policy does; the loss that sees it undetached trains the encoder."""
        return z, z.detach()

    def after_update(self, batches: Batches) -> None:
        """What follows each update; nothing by default."""

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks, and the generators of the encoder's noise."""
        super().build(seeds, scale)
        self.noise = seed_generators(seeds, "noise")

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Encoder and backbone together."""
        rates = self.config.learning_rate, self.backbone_config.learning_rate
        optimiser = adam((self.encoder, rates[0]), (self.backbone, rates[1]))
        for update in range(updates):
            tasks, batch = draw_batch(self, batches)
            z, penalty = self.sample(self.draw_contexts(batches, tasks))
            self.tried.keep(z)
            z = z.repeat_interleave(batch.rewards.shape[1] // tasks.shape[1], dim=1)
            critics_z, policy_z = self.views(z)
            self.backbone.update(optimiser, batch, critics_z, policy_z=policy_z, encoder_loss=penalty)
            self.after_update(batches)
            log("policy", update + 1, updates)
