"""FOCAL (Li et al., ICLR 2021): a deterministic encoder trained by an inverse-power distance metric loss.

    L = 1{y_i = y_j} ||z_i - z_j||^2  +  1{y_i != y_j} beta / (||z_i - z_j||^n + epsilon),   n = 2

over all pairs of contexts of a meta-batch, positives and negatives each divided by their number.

Deviations
* Every task of a meta-batch gives two contexts, so that positive pairs always exist (the public code had none
  before December 2023). Distances are the paper's; the public code takes roots and dimension-wise means.
* The encoder is trained first and then frozen. In the paper both train side by side, but no gradient of the policy
  reaches the encoder there either.
* A context is one episode (the benchmark's unit), from which the loss draws i.i.d. transitions; the paper draws them
  from all episodes of the task. s' is always part of the context.
* The backbone sees embeddings of whole episodes, with more transitions than the loss draws.
* (s, a, r, s') go into the encoder in standard units, and its last layer begins like the others; in the public code
  they are raw, and z begins near 0.
* Backbone: the suite's choice; the paper's is BRAC.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included): 129 thousand parameters; its training time is the unit in the other
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .conditioned import META_BATCH
from .encoded import EncodedConfig
from .networks import Encoder, Rngs, masked_mean, mlp
from .training import Batches
from .two_stage import TwoStage

METHODS = {"focal": "Focal"}


@dataclass(frozen=True)
class FocalConfig(EncodedConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    latent: int = 20
    width: int = 128  # of the encoder's three hidden layers [200]
    transitions: int = 32  # per context in the loss [100 in all, from many episodes]
    learning_rate: float = 1e-3  # of the encoder [3e-4]
    beta: float = 1.0  # weight of the negative pairs
    epsilon: float = 0.1  # keeps the repulsion finite

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 200, "transitions": 100, "learning_rate": 3e-4},
    }


class MeanEncoder(Encoder):
    """MLP per transition, tanh, mean over the context."""

    def __init__(self, rngs: Rngs, features: int, width: int, latent: int) -> None:
        super().__init__()
        self.transition = mlp(rngs, features, width, width, width, latent)

    def embed(self, context: Tensor) -> Tensor:
        """Each transition's embedding: (R, C, n, features) -> (R, C, n, latent)."""
        return torch.tanh(self.transition(context))

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """(R, C, n, features) -> (R, C, latent)."""
        return masked_mean(self.embed(context), valid)


class Focal(TwoStage):
    """FOCAL."""

    Config = FocalConfig

    def make_encoder(self, rngs: Rngs, features: int) -> Encoder:
        """The deterministic encoder."""
        return MeanEncoder(rngs, features, self.config.width, self.config.latent)

    def representation_loss(self, batches: Batches) -> Tensor:
        """The metric loss of a meta-batch."""
        contexts, labels = self.draw_contexts(batches)
        return metric_loss(self.encoder(contexts), labels, self.config.beta, self.config.epsilon).sum()

    def draw_contexts(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """Two contexts of each task of a meta-batch, (R, C, n, features), and the tasks that they are of, (R, C)."""
        labels = np.repeat(batches.tasks(META_BATCH), 2, axis=1)
        episodes = batches.episodes(labels)
        return batches.contexts(episodes, self.config.transitions), torch.as_tensor(labels)


def metric_loss(z: Tensor, labels: Tensor, beta: float, epsilon: float) -> Tensor:
    """FOCAL's distance metric loss: z (R, C, latent), labels (R, C) -> (R,), with beta and epsilon of the formula."""
    squared = (z[:, :, None] - z[:, None]).square().sum(dim=-1)
    same = labels[:, :, None] == labels[:, None]
    upper = torch.ones_like(same).triu(diagonal=1)  # each pair once
    positive, negative = same & upper, ~same & upper
    repulsion = beta / (squared + epsilon)
    return _mean_over(squared, positive) + _mean_over(repulsion, negative)


def _mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)
