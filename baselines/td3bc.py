"""TD3+BC (Fujimoto & Gu, NeurIPS 2021), the backbone of GENTLE (Zhou et al., AAAI 2024).

    y    = r + gamma (1 - d) min_k Q'_k(s', a'),   a' = clip( pi'(s') + clip(N(0, noise^2), -c, c), -1, 1 )
    L_Q  = E sum_k ( Q_k(s, a) - y )^2
    L_pi = E [ -lambda Q(s, pi(s)) + (pi(s) - a)^2 ],   lambda = alpha / mean |Q|             (GENTLE, eq. 2)

The policy takes a step in every second update, and only then do the target networks follow (TD3).

Deviations
* The policy is deterministic, as in TD3+BC; GENTLE's public code samples a tanh-Gaussian.
* Q in L_pi is the smaller of the two, as in GENTLE's public code; Fujimoto & Gu take the first.
* In the policy's turn it steps together with the critics, and sees them before their step.
* Rewards are divided by their standard deviation over the training data; lambda makes L_pi independent of that.
* Three hidden layers in GENTLE, two here.

Gradients: z receives the gradient of L_Q; `policy_z` that of L_pi, through the policy's input only.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .backbone import Backbone, MakeNetwork
from .networks import follow, frozen, standard_normal, take_seed
from .policies import Actor
from .training import Batch

BACKBONES = {"td3bc": "TD3BC"}


@dataclass(frozen=True)
class TD3BCConfig:
    """Hyper-parameters; GENTLE's in brackets where another value is used."""

    width: int = 128  # of the two hidden layers of every network [256; 64 on the point]
    batch: int = 256  # transitions per update and seed
    learning_rate: float = 1e-3  # of all networks [3e-4]
    discount: float = 0.99  # [0.9 on the point]
    alpha: float = 1.0  # weight of the values against the data's actions [2.5, which learns slower on our mixed data]
    noise: float = 0.2  # deviation of the noise on the target policy's actions
    noise_clip: float = 0.5  # c
    policy_period: int = 2  # updates from one step of the policy and the targets to the next
    target_rate: float = 0.01  # Polyak rate of the target networks, in every second update [0.005]
    layer_norm: bool = False  # before every ReLU

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 256, "learning_rate": 3e-4, "alpha": 2.5, "target_rate": 0.005},
    }


class TD3BC(Backbone):
    """Twin Q and a deterministic policy of R seeds, on (s, z)."""

    Config = TD3BCConfig
    config: TD3BCConfig

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """The policy and its target, beside the critics."""
        super().build(observation_size, action_size, make)
        self.policy = make(observation_size, action_size)
        self.target_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.updates = 0

    @property
    def policy_turn(self) -> bool:
        """Whether the policy takes part in the update at hand."""
        return self.updates % self.config.policy_period == 0

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of the critics' loss and, in its turn, the policy's.

        Out of turn the policy has no gradient at all, so that Adam leaves it and its moments alone.
        """
        fixed = z.detach()
        losses = self.critic_loss(batch, z, self.target(batch, fixed if next_z is None else next_z))
        if self.policy_turn:
            losses = losses + self.policy_loss(batch, fixed, fixed if policy_z is None else policy_z)
        return losses.sum()

    @torch.no_grad()
    def target(self, batch: Batch, next_z: Tensor) -> Tensor:
        """Y, (R, B)."""
        actions = torch.tanh(self.target_policy(batch.next_observations, next_z))
        noise = self.config.noise * standard_normal(self.rngs, *actions.shape[1:])
        smoothed = (actions + noise.clamp(-self.config.noise_clip, self.config.noise_clip)).clamp(-1, 1)
        q = self.q(self.target_critics, batch.next_observations, smoothed, next_z).amin(dim=0)
        return batch.rewards + self.config.discount * (1 - batch.terminated) * q

    def critic_loss(self, batch: Batch, z: Tensor, target: Tensor) -> Tensor:
        """L_Q, (R,)."""
        q = self.q(self.critics, batch.observations, batch.actions, z)
        return ((q - target) ** 2).mean(dim=-1).sum(dim=0)

    def policy_loss(self, batch: Batch, z: Tensor, policy_z: Tensor) -> Tensor:
        """L_pi (GENTLE, eq. 2), (R,); the policy acts on ``policy_z``, the critics judge with z."""
        actions = torch.tanh(self.policy(batch.observations, policy_z))
        q = self.q(frozen(self.critics), batch.observations, actions, z).amin(dim=0)
        weight = self.config.alpha / q.detach().abs().mean(dim=-1).clamp(min=1e-6)  # lambda, of each seed
        return ((actions - batch.actions) ** 2).mean(dim=(-2, -1)) - weight * q.mean(dim=-1)

    @torch.no_grad()
    def after_step(self) -> None:
        """Polyak step of the target critics and the target policy, in the policy's turn."""
        if self.policy_turn:
            super().after_step()
            follow(self.target_policy, self.policy, self.config.target_rate)
        self.updates += 1

    def actor(self, index: int) -> Actor:
        """One seed's policy."""
        policy = take_seed(self.policy, index)
        return lambda observations, z: torch.tanh(policy(observations, z))
