"""BRAC, behaviour-regularised actor-critic (Wu et al., 2019), the backbone of FOCAL and FOCAL++ (Li et al., 2021).

SAC with a penalty on the divergence of the policy from the data, D = KL(pi || data), in its dual form
with a dual critic c:

    g     = softplus(c(s, a)),  at the optimum the ratio of the densities pi(a|s) / data(a|s)
    D     = max_c E_s[ E_{a~ ~ pi} log g(s, a~) - E_{a ~ data} g(s, a) + 1 ]
    L_c   = -D + gradient_weight E[ max(|| grad_a c(s, a_mix) || - 1, 0)^2 ],  a_mix between a and a~
    L_pi  = E [ T log pi(a~|s) - min_k Q_k(s, a~) + alpha log g(s, a~) ]
    alpha = alpha + alpha_rate (D - target_divergence) after every update, clipped to [0, alpha_max] where it is used

All losses step together and see each other's networks before the step; one action a~ of the policy serves them all.

Deviations
* No separate V network (FOCAL has one): targets use the target critics at an action of the policy, as in SAC here.
* The part of D in L_pi that does not depend on the policy is left out; it has no gradient.
* The gradient penalty is Wu et al.'s. FOCAL's public code penalises |c| itself, at a_mix; `gradient_of_action = False`
  does so at a and a~, where c is known anyway.
* c takes one step per update, at the rate of the others; in the public code three, each at a third of that rate and on
  a batch of its own.
* With `value_penalty`, targets lose alpha log g at (s', a'), the policy's part of D; at the optimum of c the rest is 0,
  and it would need the data's action at s'. FOCAL's public code subtracts all of D, but at s.
* FOCAL's small penalties on the policy's mean and deviation are left out, and its networks have three hidden layers.
* Rewards are divided by their standard deviation over the training data. The papers' alpha (500 to 2000) and T = 1
  belong to rewards times 5 or 100, values of hundreds; ours are smaller in proportion.

Gradients: z receives the gradient of the Q loss; `policy_z` that of L_pi, through the policy's input only; nothing
but c receives that of L_c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from .backbone import MakeNetwork
from .sac import SAC, SACConfig
from .training import Batch

BACKBONES = {"brac": "BRAC"}


@dataclass(frozen=True)
class BRACConfig(SACConfig):
    """Hyper-parameters; those of FOCAL's public code in brackets where another value is used; see also SAC's."""

    alpha: float = 1.0  # weight of the divergence at the start [50 or 500, to 1e6 on the ant]
    alpha_max: float = 20.0  # [2000, to 5e6 on the ant]
    alpha_rate: float = 0.01  # [1]
    target_divergence: float = 0.05  # [0.1 on the ant]
    gradient_weight: float = 5.0  # of the gradient penalty
    gradient_of_action: bool = True  # penalise the gradient with respect to the action, not c itself [False]
    value_penalty: bool = False  # subtract the divergence from the targets too [True on the -dir families]

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {
            "width": 256,
            "learning_rate": 3e-4,
            "temperature": 1.0,
            "alpha": 500.0,
            "alpha_max": 2000.0,
            "alpha_rate": 1.0,
        },
    }


class BRAC(SAC):
    """Twin Q, a tanh-Gaussian policy and a dual critic of R seeds, on (s, z)."""

    Config = BRACConfig
    config: BRACConfig

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """The policy, the dual critic and alpha."""
        super().build(observation_size, action_size, make)
        self.dual = make(observation_size + action_size, 1)
        self.alpha: Tensor
        self.divergence: Tensor  # D of the last batch
        self.register_buffer("alpha", torch.full((len(self.rngs),), self.config.alpha))
        self.register_buffer("divergence", torch.zeros(len(self.rngs)), persistent=False)

    def policy_loss(self, batch: Batch, z: Tensor, actions: Tensor, log_prob: Tensor) -> Tensor:
        """L_pi + L_c, (R,): both need c at the policy's actions."""
        reached = actions.detach().requires_grad_()
        of_data, of_policy = (self.dual_value(batch.observations, a, z) for a in (batch.actions, reached))
        self.divergence = divergence(of_data, of_policy).detach()
        penalty = self.alpha_now * passed_on(log_ratio(of_policy), reached, actions)
        policy_loss = super().policy_loss(batch, z, actions, log_prob) + penalty.mean(dim=-1)
        return policy_loss + self.dual_loss(batch, z, reached, of_data, of_policy)

    def dual_loss(self, batch: Batch, z: Tensor, actions: Tensor, of_data: Tensor, of_policy: Tensor) -> Tensor:
        """L_c, (R,), with actions of the policy, and c at the data's actions and at these, (R, B) each."""
        if self.config.gradient_of_action:
            sizes = self.gradient_sizes(batch, z, actions)
        else:
            sizes = torch.cat([of_data, of_policy], dim=-1).abs()
        excess = (sizes - 1).clamp(min=0)
        return self.config.gradient_weight * excess.square().mean(dim=-1) - divergence(of_data, of_policy)

    def gradient_sizes(self, batch: Batch, z: Tensor, actions: Tensor) -> Tensor:
        """Norm of c's gradient between the data's actions and the policy's, (R, B)."""
        uniform = np.stack([rng.random((actions.shape[1], 1), dtype=np.float32) for rng in self.rngs])
        share = torch.as_tensor(uniform).to(actions.dtype)
        mixed = (share * batch.actions + (1 - share) * actions).detach().requires_grad_()
        c = self.dual_value(batch.observations, mixed, z)
        (gradient,) = torch.autograd.grad(c.sum(), mixed, create_graph=True)
        return gradient.square().sum(dim=-1).clamp(min=1e-12).sqrt()

    def target_value(self, observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """What targets bootstrap from apart from the entropy, (R, B)."""
        value = super().target_value(observations, actions, z)
        if self.config.value_penalty:
            value = value - self.alpha_now * log_ratio(self.dual_value(observations, actions, z))
        return value

    def dual_value(self, observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """C, (R, B)."""
        return self.dual(torch.cat([observations, actions], dim=-1), z)[..., 0]

    @property
    def alpha_now(self) -> Tensor:
        """Alpha as it is used, (R, 1)."""
        return self.alpha.clamp(0.0, self.config.alpha_max)[:, None]

    @torch.no_grad()
    def after_step(self) -> None:
        """Polyak step of the target critics, and the step of alpha."""
        super().after_step()
        self.alpha += self.config.alpha_rate * (self.divergence - self.config.target_divergence)


def log_ratio(c: Tensor) -> Tensor:
    """Log g, elementwise."""
    return (softplus(c) + 1e-8).log()


def divergence(of_data: Tensor, of_policy: Tensor) -> Tensor:
    """D, (R,), given c at the data's actions and at the policy's, (R, B) each."""
    return (log_ratio(of_policy) - softplus(of_data)).mean(dim=-1) + 1


def passed_on(value: Tensor, point: Tensor, source: Tensor) -> Tensor:
    """``value`` (...,), computed at ``point`` (..., n), with its gradient sent to ``source`` and to nothing else.

    So one evaluation of c serves L_c, which trains c, and L_pi, which trains the policy.
    """
    (gradient,) = torch.autograd.grad(value.sum(), point, retain_graph=True)
    return value.detach() + (gradient * (source - point.detach())).sum(dim=-1)
