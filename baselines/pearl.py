"""Offline PEARL (Rakelly et al., ICML 2019, on logged data): a probabilistic encoder trained by the value loss.

    q(z | c) proportional to the product over transitions of N(z; mu(c_n), sigma^2(c_n))               (PEARL, eq. 2)
    L_encoder = L_Q(s, a, z) + kl_weight KL( q(z | c) || N(0, I) ),   z ~ q(z | c)                      (PEARL, eq. 1)

Deviations
* A context is one episode (the benchmark's unit), from which training draws i.i.d. transitions; PEARL draws them from
  recently collected episodes of the task.
* The policy acts on the posterior's mean; PEARL samples z once per episode.
* s' is always part of the context; PEARL leaves it out where the dynamics are fixed.
* Backbone: the suite's choice; the paper's is SAC. Its Q loss reaches the encoder, value and policy losses do not.

Privileges: none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from omrl_bench.api import Budget, Log, TrainingData, Transitions

from .conditioned import META_BATCH, Conditioned
from .networks import Rngs, mlp, take_seed
from .training import Batches, Scale, adam, seed_generators, step

METHODS = {"pearl": "Pearl"}


@dataclass(frozen=True)
class PearlConfig:
    """Hyper-parameters; the public code's in brackets where another value is used."""

    latent: int = 5
    width: int = 128  # of the encoder's three hidden layers [200]
    transitions: int = 32  # per context in the loss [100 to 256]
    kl_weight: float = 0.1
    learning_rate: float = 1e-3  # of the encoder [3e-4]

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 200, "transitions": 100, "learning_rate": 3e-4},
    }


class GaussianEncoder(nn.Module):
    """One Gaussian factor per transition, multiplied over the context."""

    MIN_VARIANCE = 1e-7

    def __init__(self, rngs: Rngs, features: int, config: PearlConfig) -> None:
        super().__init__()
        width = config.width
        self.factor = mlp(rngs, features, width, width, width, 2 * config.latent)

    def forward(self, context: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(R, C, n, features) -> mean and variance, (R, C, latent) each."""
        mean, raw = self.factor(context).chunk(2, dim=-1)
        precision = 1 / softplus(raw).clamp(min=self.MIN_VARIANCE)
        if valid is not None:
            precision = precision * valid[..., None]
        variance = 1 / precision.sum(dim=-2)
        return variance * (precision * mean).sum(dim=-2), variance


class Pearl(Conditioned):
    """Offline PEARL."""

    Config = PearlConfig

    @property
    def z_size(self) -> int:
        """Length of z."""
        size: int = self.config.latent
        return size

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and encoder."""
        super().build(seeds, scale)
        features = 2 * self.space.observation_size + self.space.action_size + 1
        self.encoder = GaussianEncoder(seed_generators(seeds, "encoder"), features, self.config)

    def modules(self) -> dict[str, nn.Module]:
        """Backbone and encoder."""
        return super().modules() | {"encoder": self.encoder}

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """Encoder and backbone together."""
        self.build(seeds, Scale.of(data, self.space))
        batches = Batches(data, self.scale, self.space, seed_generators(seeds, "data"))
        noise = seed_generators(seeds, "noise")
        rates = self.config.learning_rate, self.backbone_config.learning_rate
        optimiser = adam((self.encoder, rates[0]), (self.backbone, rates[1]))
        for update in range(budget.updates):
            tasks = batches.tasks(META_BATCH)
            each = self.backbone_config.batch // tasks.shape[1]
            context = batches.contexts(batches.data.sample_episodes(batches.rngs, tasks), self.config.transitions)
            mean, variance = self.encoder(context)
            z = (mean + variance.sqrt() * _standard_normal(noise, mean.shape)).repeat_interleave(each, dim=1)
            loss = self.backbone.loss(batches.transitions(tasks, each), z)
            step(optimiser, loss + self.config.kl_weight * kl_divergence(mean, variance).sum())
            self.backbone.update_target()
            log("policy", update + 1, budget.updates)

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """Posterior mean by one seed's encoder."""
        encoder = take_seed(self.encoder, index)

        def infer(context: Transitions) -> Tensor:
            mean: Tensor = encoder(self.scale.features(context)[None], torch.from_numpy(context.valid)[None])[0]
            return mean[0]

        return infer


def kl_divergence(mean: Tensor, variance: Tensor) -> Tensor:
    """KL( N(mean, variance) || N(0, I) ), mean over contexts: (R, C, latent) -> (R,)."""
    return 0.5 * (variance + mean**2 - 1 - variance.log()).sum(dim=-1).mean(dim=-1)


def _standard_normal(rngs: Rngs, shape: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.stack([rng.standard_normal(tuple(shape[1:]), dtype=np.float32) for rng in rngs]))
