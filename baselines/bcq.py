"""BCQ, batch-constrained Q-learning (Fujimoto, Meger & Precup, ICML 2019), the backbone of MBML (Li et al., 2020).

    L_VAE = E (a - D(s, u))^2 + kl_weight KL( N(mean(s, a), deviation(s, a)^2) || N(0, I) ),   u ~ that Gaussian
    pi(s) = argmax over candidates a_i of Q_1(s, a_i),   a_i = clip( D(s, u_i) + phi xi(s, D(s, u_i)) ),   u_i clipped
    y     = r + gamma (1 - d) max_i [ .75 min_k Q'_k(s', a'_i) + .25 max_k Q'_k(s', a'_i) ],   a'_i with the target xi'
    L_Q   = E sum_k ( Q_k(s, a) - y )^2,        L_xi = - E Q_1(s, clip( D(s, u) + phi xi(s, D(s, u)) ))

D is the VAE's decoder, tanh at its end, xi the perturbation, tanh times phi; u is clipped to +-0.5 where actions are
made, not where the VAE learns.

Deviations
* The policy acts on a set of u_i that is drawn once, so that it is deterministic; the public code draws them anew at
  every step.
* Fewer candidates in the targets; all networks step together, from one batch, and xi sees Q and D before their step.
* Rewards are divided by their standard deviation over the training data.

Gradients: z receives the gradient of L_Q; `policy_z` that of L_VAE; xi sees z detached.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .backbone import Backbone, MakeNetwork
from .networks import TensorModule, follow, frozen, standard_normal, take_seed
from .policies import Actor
from .training import Batch

BACKBONES = {"bcq": "BCQ"}

CLIP = 0.5  # of u where actions are made


@dataclass(frozen=True)
class BCQConfig:
    """Hyper-parameters; the public code's (MBML's) in brackets where another value is used."""

    width: int = 128  # of the two hidden layers of every network [400, 300; the VAE's 750]
    batch: int = 256  # transitions per update and seed [100 of each task]
    learning_rate: float = 1e-3  # of all networks [3e-4]
    discount: float = 0.99
    kl_weight: float = 0.5
    perturbation: float = 0.05  # phi, of actions in [-1, 1]
    pessimism: float = 0.75  # weight of the smaller Q in targets
    candidates: int = 4  # actions that a target is the maximum of [10]
    choices: int = 10  # actions that the policy chooses from
    target_rate: float = 0.005  # Polyak rate of the targets
    layer_norm: bool = False  # before every ReLU

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 400, "learning_rate": 3e-4, "candidates": 10},
    }


class Proposer(nn.Module):
    """The decoder of logged actions and the perturbation of what it makes: actions to choose from.

    Args:
        observation_size: Length of s.
        action_size: Length of a; u is twice as long.
        make: Constructs networks on (x, z).
        phi: Bound of the perturbation.
    """

    def __init__(self, observation_size: int, action_size: int, make: MakeNetwork, phi: float) -> None:
        super().__init__()
        self.latent, self.phi = 2 * action_size, phi
        self.decoder = make(observation_size + self.latent, action_size)
        self.perturbation = make(observation_size + action_size, action_size)

    def decode(self, observations: Tensor, u: Tensor, z: Tensor) -> Tensor:
        """D(s, u), (R, ..., action size)."""
        return torch.tanh(self.decoder(torch.cat([observations, u], dim=-1), z))

    def perturbed(
        self, observations: Tensor, actions: Tensor, z: Tensor, xi: Callable[..., Tensor] | None = None
    ) -> Tensor:
        """Actions moved by at most phi."""
        return (actions + self.phi * self.move(observations, actions, z, xi)).clamp(-1, 1)

    def move(self, observations: Tensor, actions: Tensor, z: Tensor, xi: Callable[..., Tensor] | None = None) -> Tensor:
        """Where to, in units of phi; by another network than the perturbation if one is given."""
        return torch.tanh((xi or self.perturbation)(torch.cat([observations, actions], dim=-1), z))


class BCQ(Backbone):
    """Twin Q and proposed actions of R seeds, on (s, z)."""

    Config = BCQConfig
    config: BCQConfig

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """What proposes actions, the target of the perturbation, and the u_i of the policy."""
        super().build(observation_size, action_size, make)
        self.posterior = make(observation_size + action_size, 4 * action_size)
        self.proposer = Proposer(observation_size, action_size, make, self.config.perturbation)
        self.target_perturbation = copy.deepcopy(self.proposer.perturbation).requires_grad_(False)
        drawn = standard_normal(self.rngs, self.config.choices, self.proposer.latent).clamp(-CLIP, CLIP)
        self.choices = nn.Parameter(drawn, requires_grad=False)

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of the three losses."""
        fixed = z.detach()
        told = fixed if policy_z is None else policy_z
        losses = (
            self.critic_loss(batch, z, self.target(batch, fixed if next_z is None else next_z))
            + self.vae_loss(batch, told)
            + self.perturbation_loss(batch, fixed)
        )
        return losses.sum()

    @torch.no_grad()
    def target(self, batch: Batch, next_z: Tensor) -> Tensor:
        """Y, (R, B): the maximum over candidates."""
        count = self.config.candidates
        observations, told = (x.repeat_interleave(count, dim=1) for x in (batch.next_observations, next_z))
        u = self.draw(observations).clamp(-CLIP, CLIP)
        made = self.proposer.decode(observations, u, told)
        actions = self.proposer.perturbed(observations, made, told, self.target_perturbation)
        q = self.q(self.target_critics, observations, actions, told)
        mixed = self.config.pessimism * q.amin(dim=0) + (1 - self.config.pessimism) * q.amax(dim=0)
        best = mixed.reshape(len(mixed), -1, count).amax(dim=2)
        return batch.rewards + self.config.discount * (1 - batch.terminated) * best

    def critic_loss(self, batch: Batch, z: Tensor, target: Tensor) -> Tensor:
        """L_Q, (R,)."""
        q = self.q(self.critics, batch.observations, batch.actions, z)
        return ((q - target) ** 2).mean(dim=-1).sum(dim=0)

    def vae_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """L_VAE, mean over transitions and components, (R,)."""
        mean, log_std = self.posterior(torch.cat([batch.observations, batch.actions], dim=-1), z).chunk(2, dim=-1)
        log_std = log_std.clamp(-4.0, 15.0)
        made = self.proposer.decode(batch.observations, mean + log_std.exp() * self.draw(mean), z)
        divergence = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std)
        return (made - batch.actions).square().mean(dim=(1, 2)) + self.config.kl_weight * divergence.mean(dim=(1, 2))

    def perturbation_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """L_xi, (R,), of the first critic."""
        with torch.no_grad():
            made = self.proposer.decode(batch.observations, self.draw(batch.actions).clamp(-CLIP, CLIP), z)
        actions = self.proposer.perturbed(batch.observations, made, z)
        return -self.q(frozen(self.critics), batch.observations, actions, z)[0].mean(dim=-1)

    def draw(self, like: Tensor) -> Tensor:
        """Noise u, (R, B, latent), for each row of a tensor (R, B, ...)."""
        return standard_normal(self.rngs, like.shape[1], self.proposer.latent).to(like.dtype)

    @torch.no_grad()
    def after_step(self) -> None:
        """Polyak step of the target critics and of the target perturbation."""
        super().after_step()
        follow(self.target_perturbation, self.proposer.perturbation, self.config.target_rate)

    def actor(self, index: int) -> Actor:
        """One seed's choice."""
        critic, proposer = take_seed(self.critics, index), take_seed(self.proposer, index)
        return chooser(critic, proposer, self.choices[index].clone())


def chooser(critic: TensorModule, proposer: Proposer, choices: Tensor) -> Actor:
    """The policy of one seed: of the actions that some u (n, latent) make, the one of the highest Q."""

    def act(observations: Tensor, z: Tensor) -> Tensor:
        count, lanes = len(choices), observations.shape[1]
        s, told = (x.repeat_interleave(count, dim=1) for x in (observations, z))
        made = proposer.decode(s, choices.repeat(lanes, 1)[None], told)
        actions = proposer.perturbed(s, made, told)
        q = critic(torch.cat([s, actions], dim=-1), told)[..., 0]
        best = q.reshape(1, lanes, count).argmax(dim=2)
        each = actions.reshape(1, lanes, count, -1)
        return each.gather(2, best[..., None, None].expand(-1, -1, 1, each.shape[3]))[:, :, 0]

    return act
