"""UNICORN (Li et al., NeurIPS 2024): FOCAL's metric loss and a decoder of the task's transitions from z (UNICORN-SS).

    L = L_reconstruction + metric_weight L_metric
    L_reconstruction = - mean_t log p(delta s_t, r_t | s_t, a_t, z),   p a diagonal Gaussian

over the transitions t of the context that z is of. In the paper's account the metric loss raises what z knows about
whole transitions, an upper bound of what it knows about the task, and the reconstruction what it knows about (s', r)
beyond (s, a), a lower bound.

``unicorn-sup``, the supervised variant, maximises the information directly: which training task is it?

    L = - log p(i | z),   p a softmax over the training tasks of a linear map of z, i the task of the context

Deviations
* The encoder is deterministic. The public code's output has noise of a learned deviation, at test time too.
* No terminal flag in the context (the public code has one), as in all methods here.
* The log-density is a sum over r and the dimensions of delta s; the public code has a decoder for each of the two and
  takes means over dimensions, so that the reward weighs as much as the whole state, in the metric loss too, and
  weights the metric loss with .01 to 1.5, family by family. Here the weight is the same for all families.
* delta s is the difference of standardised states, r the standardised reward; the log-variance is kept between -5
  and 2, so that what can be predicted exactly does not drive the loss by itself.
* The encoder is trained first and then frozen, as in the paper no gradient of the policy reaches it; metric loss,
  contexts and embeddings are those of `focal`.
* The supervised variant is not in the public code: encoder and contexts are those of the other one, and its classifier
  is linear, so that tasks are apart in z itself.
* Backbone: the suite's choice; the paper's are SAC and BRAC.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 139 thousand parameters, 1.1 of its training
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from omrl_bench.api import Log

from .encoded import EncodedConfig
from .focal import Focal, FocalConfig, MeanEncoder, metric_loss
from .networks import Rngs, SeedLinear, mlp
from .training import Batches, adam, seed_generators, split_features, step

METHODS = {"unicorn": "Unicorn", "unicorn-sup": "UnicornSup"}


@dataclass(frozen=True)
class UnicornConfig(FocalConfig):
    """Hyper-parameters beside FOCAL's; the public code's in brackets where another value is used."""

    latent: int = 20  # [5; 32 for walker, 40 for hopper]
    metric_weight: float = 1.0  # [.15 cheetah-vel and ant, .01 cheetah-dir, .7 walker, beside means over dimensions]
    decoder_width: int = 64  # of the decoder's two hidden layers

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        # widths and metric_weight are ours; so is 100 of the trajectory's 200 transitions
        "paper": {"latent": 5, "width": 200, "transitions": 100, "learning_rate": 3e-4, "decoder_width": 200},
    }


@dataclass(frozen=True)
class UnicornSupConfig(EncodedConfig):
    """Hyper-parameters of the supervised variant."""

    latent: int = 20
    width: int = 128  # of the encoder's three hidden layers
    transitions: int = 32  # per context in the loss
    learning_rate: float = 1e-3

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"latent": 5, "width": 200, "transitions": 100, "learning_rate": 3e-4},  # ours: not given
    }


class DecodedEncoder(MeanEncoder):
    """FOCAL's encoder, and the decoder, which only the loss uses."""

    LOG_VARIANCE = (-5.0, 2.0)

    def __init__(self, rngs: Rngs, features: int, inputs: int, config: UnicornConfig) -> None:
        super().__init__(rngs, features, config.width, config.latent)
        width, targets = config.decoder_width, features - inputs
        self.decoder = mlp(rngs, inputs + config.latent, width, width, 2 * targets)

    def predict(self, inputs: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of (r, delta s): (R, C, n, inputs), (R, C, latent) -> (R, C, n, targets) each."""
        told = z[..., None, :].expand(*inputs.shape[:-1], -1)
        mean, log_variance = self.decoder(torch.cat([inputs, told], dim=-1)).chunk(2, dim=-1)
        return mean, log_variance.clamp(*self.LOG_VARIANCE)


class Unicorn(Focal):
    """UNICORN, self-supervised."""

    Config = UnicornConfig
    encoder: DecodedEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> DecodedEncoder:
        """FOCAL's encoder with the decoder beside it."""
        return DecodedEncoder(rngs, features, self.space.input_size, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """Reconstruction and weighted metric loss of a meta-batch."""
        config = self.config
        contexts, labels = self.draw_contexts(batches)
        z = self.encoder(contexts)
        metric = metric_loss(z, labels, config.beta, config.epsilon)
        return (self.reconstruction_loss(contexts, z) + config.metric_weight * metric).sum()

    def reconstruction_loss(self, contexts: Tensor, z: Tensor) -> Tensor:
        """Mean over transitions: contexts (R, C, n, features), z (R, C, latent) -> (R,)."""
        known, targets = split_features(contexts, self.space.observation_size)
        mean, log_variance = self.encoder.predict(known, z)
        return gaussian_nll(targets, mean, log_variance).mean(dim=(1, 2))


class UnicornSup(Focal):
    """UNICORN, supervised.

    Attributes:
        classifier: z -> logits of the training tasks; a tool of training, neither saved nor counted.
    """

    Config: ClassVar[Any] = UnicornSupConfig

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Encoder and classifier together."""
        rngs = seed_generators(self.seeds, "classifier")
        self.classifier = SeedLinear(rngs, self.z_size, len(batches.data.tasks))
        optimiser = adam((self.encoder, self.config.learning_rate), (self.classifier, self.config.learning_rate))
        for update in range(updates):
            step(optimiser, self.representation_loss(batches))
            log("representation", update + 1, updates)
        del self.classifier

    def representation_loss(self, batches: Batches) -> Tensor:
        """Cross entropy of the contexts of a meta-batch."""
        contexts, labels = self.draw_contexts(batches)
        return classification_loss(self.classifier(self.encoder(contexts)), labels).sum()


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """- log p(i | z), mean over contexts: logits (R, C, tasks), labels (R, C) -> (R,)."""
    return -logits.log_softmax(dim=-1).gather(2, labels[..., None])[..., 0].mean(dim=1)


def gaussian_nll(targets: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log-density without its constant, summed over the last axis."""
    return 0.5 * ((targets - mean) ** 2 * (-log_variance).exp() + log_variance).sum(dim=-1)
