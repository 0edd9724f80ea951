"""SAC (Haarnoja et al., 2018) without a regulariser, the backbone of R2PGO (Li et al., 2024) and CORRO.

    y       = r + gamma (1 - d) ( min_k Q'_k(s', a') - T log pi(a'|s') ),   a' ~ pi(.|s')
    L_Q     = E sum_k ( Q_k(s, a) - y )^2
    L_pi    = E [ T log pi(a~|s) - min_k Q_k(s, a~) ],                      a~ ~ pi(.|s), reparameterised

Deviations
* R2PGO names no form of SAC; this is the one without a separate V network, with a fixed temperature T, as in CORRO.
* Critics and policy step together, from one batch, with one Adam; the policy sees the critics before their step.
* Rewards are divided by their standard deviation over the training data, so that one T serves all families. T stays
  at the papers' 0.2, which belongs to rewards of about that size.

Nothing keeps the policy near the data, on purpose: R2PGO compares all methods that way. Expect values that are too
high where the data do not cover the actions.

Gradients: z receives the gradient of L_Q; `policy_z` that of L_pi, through the policy's input only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .backbone import Backbone, MakeNetwork
from .networks import frozen, standard_normal, take_seed
from .policies import Actor
from .training import Batch

BACKBONES = {"sac": "SAC"}


@dataclass(frozen=True)
class SACConfig:
    """Hyper-parameters; CORRO's in brackets where another value is used (R2PGO gives none)."""

    width: int = 128  # of the two hidden layers of every network [256; 64 on the point]
    batch: int = 256  # transitions per update and seed
    learning_rate: float = 1e-3  # of all networks [3e-4]
    discount: float = 0.99
    temperature: float = 0.2  # T, fixed
    target_rate: float = 0.005  # Polyak rate of the target Q network
    layer_norm: bool = False  # before every ReLU

    PRESETS: ClassVar = {"quick": {"width": 64}, "paper": {"width": 256, "learning_rate": 3e-4}}


class SAC(Backbone):
    """Twin Q and a tanh-Gaussian policy of R seeds, on (s, z)."""

    Config = SACConfig
    config: SACConfig

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """The policy, beside the critics."""
        super().build(observation_size, action_size, make)
        self.policy = make(observation_size, 2 * action_size)

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of both losses."""
        fixed = z.detach()
        target = self.target(batch, fixed if next_z is None else next_z)
        actions, log_prob = self.sample(batch.observations, fixed if policy_z is None else policy_z)
        losses = self.critic_loss(batch, z, target) + self.policy_loss(batch, fixed, actions, log_prob)
        return losses.sum()

    @torch.no_grad()
    def target(self, batch: Batch, next_z: Tensor) -> Tensor:
        """Y, (R, B)."""
        actions, log_prob = self.sample(batch.next_observations, next_z)
        value = self.target_value(batch.next_observations, actions, next_z) - self.config.temperature * log_prob
        return batch.rewards + self.config.discount * (1 - batch.terminated) * value

    def critic_loss(self, batch: Batch, z: Tensor, target: Tensor) -> Tensor:
        """L_Q, (R,)."""
        q = self.q(self.critics, batch.observations, batch.actions, z)
        return ((q - target) ** 2).mean(dim=-1).sum(dim=0)

    def policy_loss(self, batch: Batch, z: Tensor, actions: Tensor, log_prob: Tensor) -> Tensor:
        """L_pi, (R,), of actions of the policy, (R, B, action size), and their log-densities, (R, B)."""
        q = self.q(frozen(self.critics), batch.observations, actions, z).amin(dim=0)
        return (self.config.temperature * log_prob - q).mean(dim=-1)

    def target_value(self, observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """What targets bootstrap from apart from the entropy, (R, B)."""
        return self.q(self.target_critics, observations, actions, z).amin(dim=0)

    def sample(self, observations: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Actions a = tanh(u), u ~ N(mean, deviation), and their log-densities: (R, B, action size), (R, B)."""
        mean, log_std = self.policy(observations, z).chunk(2, dim=-1)
        log_std = log_std.clamp(-20.0, 2.0)
        noise = standard_normal(self.rngs, *mean.shape[1:]).to(mean.dtype)
        u = mean + log_std.exp() * noise
        log_gaussian = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - u - softplus(-2 * u))  # of tanh: log(1 - tanh(u)^2) without cancellation
        return torch.tanh(u), (log_gaussian - log_slope).sum(dim=-1)

    def actor(self, index: int) -> Actor:
        """One seed's tanh of the mean."""
        policy = take_seed(self.policy, index)

        def act(observations: Tensor, z: Tensor) -> Tensor:
            return torch.tanh(policy(observations, z).chunk(2, dim=-1)[0])

        return act
