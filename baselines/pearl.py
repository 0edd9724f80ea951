"""Offline PEARL (Rakelly et al., ICML 2019, on logged data): a probabilistic encoder trained by the value loss.

    q(z | c) proportional to the product over transitions of N(z; mu(c_n), sigma^2(c_n))               (PEARL, eq. 2)
    L_encoder = L_Q(s, a, z) + kl_weight KL( q(z | c) || N(0, I) ),   z ~ q(z | c)                      (PEARL, eq. 1)

Deviations
* A context is one episode (the benchmark's unit), from which training draws i.i.d. transitions; PEARL draws them from
  recently collected episodes of the task.
* The policy acts on the posterior's mean; PEARL samples z once per episode.
* Rewards have unit deviation and the divergence is a mean over contexts, so that kl_weight is in other units than the
  public code's: 0.1 there, beside rewards times 5 and a sum over 16 tasks, is 0.02 to 0.08 here, by family. What
  larger and smaller ones score is in docs/decisions.md.
* s' is always part of the context; PEARL leaves it out where the dynamics are fixed.
* Backbone: the suite's choice; the paper's is SAC. Its Q loss reaches the encoder, value and policy losses do not.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 120 thousand parameters, 1.1 of its training
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from .encoded import PriorName
from .joint import Joint, JointConfig
from .networks import Encoder, Rngs, mlp, standard_normal

METHODS = {"pearl": "Pearl"}


@dataclass(frozen=True)
class PearlConfig(JointConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    prior: PriorName = "zero"  # the mean of N(0, I)
    latent: int = 5
    width: int = 128  # of the encoder's three hidden layers [200]
    transitions: int = 32  # per context in the loss [100 to 256]
    kl_weight: float = 0.01  # [0.1, in other units]
    learning_rate: float = 1e-3  # of the encoder [3e-4]

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 200, "transitions": 100, "learning_rate": 3e-4},
    }


class GaussianEncoder(Encoder):
    """One Gaussian factor per transition, multiplied over the context."""

    MIN_VARIANCE = 1e-7

    def __init__(self, rngs: Rngs, features: int, config: PearlConfig) -> None:
        super().__init__()
        width = config.width
        self.factor = mlp(rngs, features, width, width, width, 2 * config.latent)

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """Posterior mean: (R, C, n, features) -> (R, C, latent)."""
        return self.posterior(context, valid)[0]

    def posterior(self, context: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(R, C, n, features) -> mean and variance, (R, C, latent) each."""
        return product(*self.factors(context), valid)

    def factors(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and precision of each transition's factor, (R, C, n, latent) each."""
        mean, raw = self.factor(context).chunk(2, dim=-1)
        return mean, 1 / softplus(raw).clamp(min=self.MIN_VARIANCE)


class Pearl(Joint):
    """Offline PEARL."""

    Config = PearlConfig
    encoder: GaussianEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> GaussianEncoder:
        """The probabilistic encoder."""
        return GaussianEncoder(rngs, features, self.config)

    def sample(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """A draw from the posterior, and its weighted divergence from the prior."""
        mean, variance = self.encoder.posterior(context)
        z = mean + variance.sqrt() * standard_normal(self.noise, *mean.shape[1:])
        return z, self.config.kl_weight * kl_divergence(mean, variance)


def product(mean: Tensor, precision: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance of a product of Gaussians: (R, C, n, latent) each -> (R, C, latent) each."""
    if valid is not None:
        precision = precision * valid[..., None]
    variance = 1 / precision.sum(dim=-2)
    return variance * (precision * mean).sum(dim=-2), variance


def kl_divergence(mean: Tensor, variance: Tensor) -> Tensor:
    """KL( N(mean, variance) || N(0, I) ), mean over contexts: (R, C, latent) -> (R,)."""
    return 0.5 * (variance + mean**2 - 1 - variance.log()).sum(dim=-1).mean(dim=-1)
