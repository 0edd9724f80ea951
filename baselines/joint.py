"""The shape that PEARL and its like share: an encoder trained together with the backbone, by one of its losses.

How often each of the two is trained is RETRO's schedule (ICLR 2025): n_enc updates of the encoder to each of the
policy, or one to every n_acc of the policy, or none at all, where it has been trained before. Ours is one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import Log

from .conditioned import draw_batch
from .encoded import Encoded, EncodedConfig
from .training import Batch, Batches, Scale, adam, seed_generators


@dataclass(frozen=True)
class JointConfig(EncodedConfig):
    """Hyper-parameters of the schedule."""

    encoder_steps: int = 1  # of the encoder in an update (n_enc); 0: it stays as it was before the policy's training
    encoder_period: int = 1  # updates from one turn of the encoder to the next (n_acc)


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
        # CCM's configuration has no schedule yet
        schedule = self.config if isinstance(self.config, JointConfig) else JointConfig()
        for update in range(updates):
            turn = schedule.encoder_steps > 0 and update % schedule.encoder_period == 0
            for _ in range(schedule.encoder_steps - 1 if turn else 0):
                self.encoder_step(optimiser, batches)
            batch, z, penalty = self.draw(batches)
            critics_z, policy_z = self.views(z if turn else z.detach())
            encoder_loss = penalty if turn else None
            self.backbone.update(optimiser, batch, critics_z, policy_z=policy_z, encoder_loss=encoder_loss)
            self.after_update(batches)
            log("policy", update + 1, updates)

    def draw(self, batches: Batches) -> tuple[Batch, Tensor, Tensor]:
        """Transitions to learn from, z of each, (R, B, z size), and what it adds to the loss, (R,)."""
        tasks, batch = draw_batch(self, batches)
        z, penalty = self.sample(self.draw_contexts(batches, tasks))
        self.tried.keep(z)
        return batch, z.repeat_interleave(batch.rewards.shape[1] // tasks.shape[1], dim=1), penalty

    def encoder_step(self, optimiser: torch.optim.Optimizer, batches: Batches) -> None:
        """One step of the encoder alone, on the loss that it shares with the backbone."""
        batch, z, penalty = self.draw(batches)
        critics_z, policy_z = self.views(z)
        loss = self.backbone.loss(batch, critics_z, policy_z=policy_z) + penalty.sum()
        trained = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        optimiser.zero_grad(set_to_none=True)
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True):
            parameter.grad = gradient
        optimiser.step()
