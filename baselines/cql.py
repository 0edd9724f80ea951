"""CQL, conservative Q-learning (Kumar et al., NeurIPS 2020), the backbone of DORA: SAC, and Q kept low off the data.

    L_Q  = E sum_k [ ( Q_k(s, a) - y )^2 + conservatism ( log sum_i exp( Q_k(s, a_i) - log p_i ) - Q_k(s, a) ) ]
    a_i:   as many uniform actions as actions of the policy at s and at s', p_i their densities  (CQL(H), appendix F)

y, L_pi and all else are SAC's. The logarithm is of a mean, so that it estimates log of the integral of exp Q.

Deviations
* Fewer actions of each kind [10]; the weight is fixed, there is no dual form of it.
* Rewards are divided by their standard deviation over the training data; the public weight of 5 (10 with raw values)
  belongs to values of hundreds.

Gradients: z receives the gradient of L_Q, the new term's included; `policy_z` that of L_pi, through the policy's input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .sac import SAC, SACConfig
from .training import Batch

BACKBONES = {"cql": "CQL"}


@dataclass(frozen=True)
class CQLConfig(SACConfig):
    """Hyper-parameters beside SAC's; the public code's in brackets where another value is used."""

    conservatism: float = 1.0  # weight of the new term [5]
    drawn: int = 4  # actions of each of the three kinds [10]

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 256, "learning_rate": 3e-4, "conservatism": 5.0, "drawn": 10},
    }


class CQL(SAC):
    """SAC with conservative critics."""

    Config = CQLConfig
    config: CQLConfig

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of SAC's losses and of the new term."""
        ordinary = super().loss(batch, z, next_z, policy_z)
        return ordinary + self.config.conservatism * self.conservative_loss(batch, z, next_z).sum()

    def conservative_loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None) -> Tensor:
        """The new term, summed over both critics, (R,)."""
        actions, log_density = self.draw(batch, z.detach(), z.detach() if next_z is None else next_z)
        count = 3 * self.config.drawn
        s, told = (x.repeat_interleave(count, dim=1) for x in (batch.observations, z))
        q = self.q(self.critics, s, actions.flatten(1, 2), told).reshape(2, *batch.rewards.shape, count)
        soft = (q - log_density).logsumexp(dim=3) - math.log(count)
        return (soft - self.q(self.critics, batch.observations, batch.actions, z)).mean(dim=2).sum(dim=0)

    @torch.no_grad()
    def draw(self, batch: Batch, z: Tensor, next_z: Tensor) -> tuple[Tensor, Tensor]:
        """Actions, (R, B, 3 drawn, action size), and the logarithms of their densities, (R, B, 3 drawn)."""
        count, size = self.config.drawn, batch.actions.shape[-1]
        shape = batch.actions.shape[1], count, size
        uniform = np.stack([rng.uniform(-1, 1, shape).astype(np.float32) for rng in self.rngs])
        drawn = [torch.as_tensor(uniform).to(batch.actions.dtype)]
        densities = [torch.full_like(drawn[0][..., 0], -size * math.log(2))]
        for observations, told in ((batch.observations, z), (batch.next_observations, next_z)):
            s, each = (x.repeat_interleave(count, dim=1) for x in (observations, told))
            actions, log_prob = self.sample(s, each)
            drawn.append(actions.reshape(drawn[0].shape))
            densities.append(log_prob.reshape(drawn[0].shape[:-1]))
        return torch.cat(drawn, dim=2), torch.cat(densities, dim=2)
