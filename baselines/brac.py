"""BRAC, behaviour-regularised actor-critic (Wu et al., 2019), the backbone of FOCAL and FOCAL++ (Li et al., 2021).

SAC with a penalty on the divergence of the policy from the data, D = KL(pi || data), in its dual form
with a critic c of its own:

    g     = softplus(c(s, a)),  at the optimum the ratio of the densities pi(a|s) / data(a|s)
    D     = max_c E_s[ E_{a~ ~ pi} log g(s, a~) - E_{a ~ data} g(s, a) + 1 ]
    L_c   = -D + gradient_weight E[ max(|| grad_a c(s, a_mix) || - 1, 0)^2 ],  a_mix between a and a~
    L_pi  = E [ T log pi(a~|s) - min_k Q_k(s, a~) + alpha log g(s, a~) ]
    alpha = alpha + alpha_rate (D - target_divergence) after every update, clipped to [0, alpha_max] where it is used

Every update draws one action a~ of the policy at each s. On it c takes three steps (its own Adam) and alpha one, and
then L_pi is computed.

Deviations
* No separate V network (FOCAL has one): targets use the target critics at an action of the policy, as in SAC here.
* The part of D in L_pi that does not depend on the policy is left out; it has no gradient.
* The gradient penalty is Wu et al.'s. FOCAL's public code penalises |c| itself, at a_mix; `gradient_of_action = False`
  does so at a and a~, where c is known anyway. It is cheaper; what it was tried with is in docs/decisions.md.
* The D that alpha follows is the mean of those that the three steps of c begin with.
* With `value_penalty`, targets lose alpha log g at (s', a'), the policy's part of D; at the optimum of c the rest is 0,
  and it would need the data's action at s'. FOCAL's public code subtracts all of D, but at s.
* FOCAL's small penalties on the policy's mean and deviation are left out, and its networks have three hidden layers.
* The three steps of c divide the update's batch between them; the public code draws a batch for each.
* Rewards are divided by their standard deviation over the training data. The papers' alpha (500 to 2000) and T = 1
  belong to rewards times 5 or 100, values of hundreds; ours are smaller in proportion.

Gradients: z receives the gradient of the Q loss; `policy_z` that of L_pi, through the policy's input only; nothing
but c receives that of L_c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from .backbone import MakeNetwork
from .networks import frozen
from .sac import SAC, SACConfig
from .training import Batch, adam, step

BACKBONES = {"brac": "BRAC"}


@dataclass(frozen=True)
class BRACConfig(SACConfig):
    """Hyper-parameters; those of FOCAL's public code in brackets where another value is used; see also SAC's."""

    alpha: float = 1.0  # weight of the divergence at the start [50 or 500, to 1e6 on the ant]
    alpha_max: float = 20.0  # [2000, to 5e6 on the ant]
    alpha_rate: float = 0.01  # [1]
    target_divergence: float = 0.05  # [0.1 on the ant]
    dual_steps: int = 3  # steps of c per update, each on its share of the batch
    dual_rate: float = 1e-4  # learning rate of c
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
        self.register_buffer("alpha", torch.full((len(self.rngs),), self.config.alpha))
        self._dual_optimiser = adam((self.dual, self.config.dual_rate))

    def policy_loss(self, batch: Batch, z: Tensor, actions: Tensor, log_prob: Tensor) -> Tensor:
        """L_pi, (R,), once c and alpha have taken their steps on the same actions."""
        self.train_dual(batch, z, actions.detach())
        penalty = self.penalty(frozen(self.dual), batch.observations, actions, z)
        return super().policy_loss(batch, z, actions, log_prob) + penalty.mean(dim=-1)

    def train_dual(self, batch: Batch, z: Tensor, actions: Tensor) -> None:
        """Steps of the dual critic, then of alpha, with actions of the policy."""
        count, divergences = self.config.dual_steps, []
        for first in range(count):  # every count-th transition, so that each step sees all tasks
            part = Batch(**{name: value[:, first::count] for name, value in vars(batch).items()})
            loss, found = self.dual_loss(part, z[:, first::count], actions[:, first::count])
            step(self._dual_optimiser, loss.sum())
            divergences.append(found.detach())
        self._dual_optimiser.zero_grad(set_to_none=True)  # nothing for the optimiser of the rest to step on
        self.alpha += self.config.alpha_rate * (torch.stack(divergences).mean(dim=0) - self.config.target_divergence)

    def dual_loss(self, batch: Batch, z: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """L_c and D, (R,) each, with actions of the policy."""
        of_data, of_policy = (dual_value(self.dual, batch.observations, a, z) for a in (batch.actions, actions))
        divergence = (log_ratio(of_policy) - softplus(of_data)).mean(dim=-1) + 1
        if self.config.gradient_of_action:
            sizes = self.gradient_sizes(batch, z, actions)
        else:
            sizes = torch.cat([of_data, of_policy], dim=-1).abs()
        penalty = (sizes - 1).clamp(min=0).square().mean(dim=-1)
        return self.config.gradient_weight * penalty - divergence, divergence

    def gradient_sizes(self, batch: Batch, z: Tensor, actions: Tensor) -> Tensor:
        """Norm of c's gradient between the data's actions and the policy's, (R, B)."""
        uniform = np.stack([rng.random((actions.shape[1], 1), dtype=np.float32) for rng in self.rngs])
        share = torch.as_tensor(uniform).to(actions.dtype)
        mixed = (share * batch.actions + (1 - share) * actions).requires_grad_()
        c = dual_value(self.dual, batch.observations, mixed, z)
        (gradient,) = torch.autograd.grad(c.sum(), mixed, create_graph=True)
        return gradient.square().sum(dim=-1).clamp(min=1e-12).sqrt()

    def target_value(self, observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """What targets bootstrap from apart from the entropy, (R, B)."""
        value = super().target_value(observations, actions, z)
        return value - self.penalty(self.dual, observations, actions, z) if self.config.value_penalty else value

    def penalty(self, dual: Callable[..., Tensor], observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """Alpha log g, (R, B)."""
        alpha = self.alpha.clamp(0.0, self.config.alpha_max)[:, None]
        return alpha * log_ratio(dual_value(dual, observations, actions, z))


def dual_value(dual: Callable[..., Tensor], observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
    """C, (R, B)."""
    return dual(torch.cat([observations, actions], dim=-1), z)[..., 0]


def log_ratio(c: Tensor) -> Tensor:
    """Log g, elementwise."""
    return (softplus(c) + 1e-8).log()
