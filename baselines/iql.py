"""IQL: implicit Q-learning, the backbone of HS-OMRL (Zhao, Zhou & Liu, ICIC 2023, eq. 1-3).

Deviations
* Q target is r + gamma (1 - d) V(s'), as in Kostrikov et al.; HS-OMRL's eq. 2 prints a Q(s', a') with the same
  expectation, and its public code leaves out the (1 - d).
* Q is twin; eq. 1 and the advantage take the smaller of the two target Q values, as Kostrikov et al. do.
* The three losses step together, from one batch, with one Adam.
* The policy is a Gaussian with a tanh mean and a deviation that does not depend on the state.
* Rewards are divided by their standard deviation over the training data, so that one advantage temperature
  serves all families. Preset `paper` keeps the paper's 3.0, which there belongs to raw rewards.

Gradients: z receives the gradient of the Q loss, `policy_z` that of the policy's; V sees z detached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .backbone import Backbone, MakeNetwork
from .networks import take_seed
from .policies import Actor
from .training import Batch

BACKBONES = {"iql": "IQL"}


@dataclass(frozen=True)
class IQLConfig:
    """Hyper-parameters; HS-OMRL's table 2 in brackets where another value is used."""

    width: int = 128  # of the two hidden layers of every network [64]
    batch: int = 256  # transitions per update and seed
    learning_rate: float = 1e-3  # of all networks [3e-4]
    discount: float = 0.99
    expectile: float = 0.8  # tau in eq. 1
    temperature: float = 10.0  # beta in eq. 3, for rewards of unit deviation [3]
    max_weight: float = 100.0  # clip of exp(beta A), from the public code
    target_rate: float = 0.005  # Polyak rate of the target Q network
    layer_norm: bool = False  # before every ReLU

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 64, "learning_rate": 3e-4, "temperature": 3.0},
    }


class IQL(Backbone):
    """V, twin Q and policy of R seeds, on (s, z)."""

    Config = IQLConfig
    config: IQLConfig

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """V, the policy and its deviation, beside the critics."""
        super().build(observation_size, action_size, make)
        self.value = make(observation_size, 1)
        self.policy = make(observation_size, action_size)
        self.log_std = nn.Parameter(torch.full((len(self.rngs), 1, action_size), -1.0))

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of the three losses."""
        fixed = z.detach()
        with torch.no_grad():
            q_target = self.q(self.target_critics, batch.observations, batch.actions, fixed).amin(dim=0)
            next_value = self.value(batch.next_observations, fixed if next_z is None else next_z)[..., 0]
        value = self.value(batch.observations, fixed)[..., 0]
        losses = (
            self.value_loss(q_target, value)
            + self.critic_loss(batch, z, next_value)
            + self.policy_loss(batch, fixed if policy_z is None else policy_z, q_target - value.detach())
        )
        return losses.sum()

    def value_loss(self, q_target: Tensor, value: Tensor) -> Tensor:
        """Eq. 1: expectile regression of V towards the target Q; (R,)."""
        difference = q_target - value
        weight = torch.where(difference < 0, 1 - self.config.expectile, self.config.expectile)
        return (weight * difference**2).mean(dim=-1)

    def critic_loss(self, batch: Batch, z: Tensor, next_value: Tensor) -> Tensor:
        """Eq. 2: squared temporal-difference error of both Q; (R,)."""
        target = batch.rewards + self.config.discount * (1 - batch.terminated) * next_value
        q = self.q(self.critics, batch.observations, batch.actions, z)
        return ((q - target) ** 2).mean(dim=-1).sum(dim=0)

    def policy_loss(self, batch: Batch, z: Tensor, advantage: Tensor) -> Tensor:
        """Eq. 3: advantage-weighted log-likelihood of the data's actions; (R,)."""
        weight = (self.config.temperature * advantage).exp().clamp(max=self.config.max_weight)
        return -(weight * self.log_prob(batch.observations, z, batch.actions)).mean(dim=-1)

    def log_prob(self, observations: Tensor, z: Tensor, actions: Tensor) -> Tensor:
        """Log-density of actions, (R, B)."""
        log_std = self.log_std.clamp(-5.0, 2.0)
        error = (actions - torch.tanh(self.policy(observations, z))) / log_std.exp()
        return (-0.5 * error**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def actor(self, index: int) -> Actor:
        """One seed's mean action."""
        policy = take_seed(self.policy, index)
        return lambda observations, z: torch.tanh(policy(observations, z))
