"""ER-TRL (Nakhaei et al., 2025): FOCAL's encoder, and actions of the behaviour that z says as little of as possible.

    L_encoder = L_metric - entropy_weight mean_i H( pi_beta | z_i )
    H( pi_beta | z_i ) = 1/2 log det( 2 pi e ( Cov_s[ G(noise, s, z_i) ] + 1e-5 I ) ),    s of the contexts of task i

G is the generator of a conditional GAN of the behaviour's actions, which learns beside the encoder, D the
discriminator:

    L_D = - E log D(s, z, a) - E log(1 - D(s, z, G(noise, s, z))),    L_G = - E log D(s, z, G(noise, s, z))

H is the entropy of a Gaussian with the covariance of the generated actions. Its gradient goes into z only: where z
gives the behaviour away, the actions that G makes of it are spread less than those of all behaviours.

Deviations
* The metric loss is that of `focal`. The public code's has a root over positive distances and means over dimensions,
  and is weighted with 10 beside an entropy weight of 5 (2.5 on cheetah-vel and humanoid-dir); here the weights are 1
  and `entropy_weight`, the same for all families.
* The five steps of the GAN take the (s, z, a) of the encoder's own meta-batch, with noise of their own; z is that of
  before the encoder's step. G's loss is the usual non-saturating one.
* s' is always part of the context; the public code has it where dynamics vary.
* The encoder is trained first and then frozen; contexts and embeddings are those of `focal`.
* G and D are narrower, and are neither saved nor counted: they are tools of training.
* Backbone: the suite's choice; the paper's is BRAC.

Privileges: none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from omrl_bench.api import Log

from .focal import Focal, FocalConfig, metric_loss
from .networks import Rngs, TensorModule, frozen, mlp, standard_normal
from .training import Batches, adam, seed_generators, step

METHODS = {"er-trl": "ERTRL"}


@dataclass(frozen=True)
class ERTRLConfig(FocalConfig):
    """Hyper-parameters beside FOCAL's; the public code's in brackets where another value is used."""

    entropy_weight: float = 0.5  # [5 or 2.5, beside 10 times the metric loss]
    noise: int = 20  # length of the generator's noise
    generator_width: int = 64  # of G's three hidden layers [200]
    discriminator_width: int = 64  # of D's two hidden layers [256]
    gan_steps: int = 5  # per update of the encoder
    gan_learning_rate: float = 2e-4

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {
            "width": 200,
            "transitions": 100,
            "learning_rate": 3e-4,
            "generator_width": 200,
            "discriminator_width": 256,
        },
    }


class BehaviourGAN(TensorModule):
    """G and D of R seeds.

    Args:
        rngs: One generator per seed: initial weights, then the noise.
        observation_size: Length of s.
        action_size: Length of a.
        config: Hyper-parameters.
    """

    def __init__(self, rngs: Rngs, observation_size: int, action_size: int, config: ERTRLConfig) -> None:
        super().__init__()
        self.rngs, self.noise = rngs, config.noise
        inputs, wide, narrow = observation_size + config.latent, config.generator_width, config.discriminator_width
        self.generator = mlp(rngs, config.noise + inputs, wide, wide, wide, action_size)
        self.discriminator = mlp(rngs, inputs + action_size, narrow, narrow, 1)

    def forward(self, known: Tensor) -> Tensor:
        """Actions of the behaviour, in [-1, 1]: (s, z), (R, ..., inputs) -> (R, ..., action size)."""
        return torch.tanh(self.generator(torch.cat([self.draw(known), known], dim=-1)))

    def draw(self, known: Tensor) -> Tensor:
        """Noise for each (s, z)."""
        return standard_normal(self.rngs, *known.shape[1:-1], self.noise).to(known.dtype)

    def losses(self, known: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """L_D and L_G, (R,) each, of (s, z) and the logged actions there."""
        generated = self(known)
        real, fake = (self.discriminator(torch.cat([known, a], dim=-1)) for a in (actions, generated.detach()))
        judged = frozen(self.discriminator)(torch.cat([known, generated], dim=-1))
        of_discriminator = (softplus(-real) + softplus(fake)).flatten(1).mean(dim=1)
        return of_discriminator, softplus(-judged).flatten(1).mean(dim=1)


class ERTRL(Focal):
    """ER-TRL."""

    Config = ERTRLConfig

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Encoder and GAN side by side."""
        space = self.space
        self.gan = BehaviourGAN(
            seed_generators(self.seeds, "gan"), space.observation_size, space.action_size, self.config
        )
        self.gan_optimiser = adam((self.gan, self.config.gan_learning_rate))
        super().train_representation(batches, updates, log)
        del self.gan, self.gan_optimiser

    def representation_loss(self, batches: Batches) -> Tensor:
        """Metric loss less the weighted entropy of a meta-batch, once the GAN has taken its steps on it."""
        config = self.config
        contexts, labels = self.draw_contexts(batches)
        z = self.encoder(contexts)
        known, actions = self.told(contexts, z)
        for _ in range(config.gan_steps):
            step(self.gan_optimiser, sum_of(self.gan.losses(known.detach(), actions)))
        entropy = gaussian_entropy(frozen(self.gan)(known))
        metric = metric_loss(z, labels, config.beta, config.epsilon)
        return (metric - config.entropy_weight * entropy.mean(dim=1)).sum()

    def told(self, contexts: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """(s, z) and a of every transition, (R, T, 2 n, ...) each, of two contexts of each task, (R, C, n, F)."""
        size = self.space.observation_size
        states, actions, _ = torch.split(contexts, [size, self.space.action_size, 1 + size], dim=-1)
        known = torch.cat([states, z[:, :, None].expand(-1, -1, states.shape[2], -1)], dim=-1)
        known, actions = (x.reshape(len(x), x.shape[1] // 2, -1, x.shape[3]) for x in (known, actions))
        return known, actions


def sum_of(losses: tuple[Tensor, ...]) -> Tensor:
    """Sum over losses and seeds."""
    return torch.stack(losses).sum()


def gaussian_entropy(actions: Tensor) -> Tensor:
    """Entropy of the Gaussian with the covariance of actions, in nats: (R, T, n, action size) -> (R, T)."""
    centred = actions - actions.mean(dim=2, keepdim=True)
    size = actions.shape[-1]
    covariance = centred.mT @ centred / actions.shape[2] + 1e-5 * torch.eye(size, dtype=actions.dtype)
    return 0.5 * (torch.linalg.slogdet(covariance)[1] + size * math.log(2 * math.pi * math.e))
