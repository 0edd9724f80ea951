"""HS-OMRL (Zhao, Zhou & Liu, ICIC 2023): supervised contrastive task representations with hard positives and negatives.

Notation: w_a the normalised projections, T the temperature (the paper's beta), P and N the positives and negatives of
an anchor q, s_a = w_q . w_a.

    -1/|P| sum_p log( u_p exp(s_p/T) / (sum_P u_a exp(s_a/T) + sum_N v_a exp(s_a/T)) )                         (eq. 8)

    hs-scl   SCL     u = 1, v = 1                                                                              (eq. 4)
    hs-hg    HG      u = 1, v_a = exp(h s_a) / sum_N exp(h s)                                              (eq. 5 - 7)
    hs-hp    HP      u_a = exp(-h s_a) / sum_P exp(-h s), v = 1                                        (section 5.4)
    hs-hard  HP+HG   both                                                                                      (eq. 8)

The hardness h is 1 in the paper. As the equations stand, the weights of a set sum to 1, not to its size: h = 0 makes
them uniform, but weighs each set by 1/|P| or 1/|N|, so that HP+HG becomes SCL with |P| and |N| evened out. It would be
SCL itself if u were multiplied by |P| and v by |N|, as in the public code.

Deviations
* The loss is a mean over anchors, not a sum. The weights u and v are differentiated like the rest of the equation, as
  the paper writes it; u_p in the numerator is what pulls far positives. The public code detaches them, puts u_p
  outside the logarithm, has the temperature in them, and bounds the negative sum from below. It has no HP alone.
* Two views of an episode are two random segments of half the horizon, thinned to `transitions` evenly spaced steps.
* The aggregator is single-head self-attention with a residual connection, then the mean; the paper says "attention".
* The backbone sees embeddings of whole episodes, which are longer than the views that the loss sees.
* Backbone: the suite's choice; the paper's is IQL.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 141 thousand parameters, 1.1 to 1.2 of its
training time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from .conditioned import META_BATCH
from .encoded import EncodedConfig
from .networks import Encoder, Rngs, SelfAttention, masked_mean, mlp
from .training import Batches
from .two_stage import TwoStage

METHODS = {
    "hs-scl": "SupervisedContrastive",
    "hs-hg": "HardNegatives",
    "hs-hp": "HardPositives",
    "hs-hard": "HardSampling",
}


@dataclass(frozen=True)
class HSConfig(EncodedConfig):
    """Hyper-parameters; the paper's table 2 in brackets where another value is used."""

    width: int = 64  # of the transition encoder's hidden layers, the aggregator and the projection head
    transition: int = 20  # length of a transition's embedding
    latent: int = 64  # length of the task representation
    projection: int = 5  # length of the projection that the loss sees
    temperature: float = 0.1
    episodes: int = 32  # per update and seed, each gives two views [256]
    transitions: int = 25  # kept of each view [100]
    learning_rate: float = 1e-3  # [3e-4]

    PRESETS: ClassVar = {"quick": {"width": 32}, "paper": {"episodes": 256, "transitions": 100, "learning_rate": 3e-4}}


@dataclass(frozen=True)
class HardConfig(HSConfig):
    """Hyper-parameters with hard sampling."""

    hardness: float = 1.0  # h: how much the weights favour far positives and near negatives


class AttentionEncoder(Encoder):
    """Transition encoder f, attention aggregator g, both with outputs on the unit sphere (section 4.1)."""

    def __init__(self, rngs: Rngs, features: int, config: HSConfig) -> None:
        super().__init__()
        self.transition = mlp(rngs, features, config.width, config.width, config.transition)
        self.enter = mlp(rngs, config.transition, config.width)
        self.attention = SelfAttention(rngs, config.width)
        self.leave = mlp(rngs, config.width, config.latent)
        self.projection = mlp(rngs, config.latent, config.width, config.projection)  # used by the loss only

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """(R, C, n, features) -> (R, C, latent)."""
        v = normalize(self.transition(context), dim=-1)
        attended = self.attention(self.enter(v), valid)
        return normalize(self.leave(masked_mean(attended, valid)), dim=-1)

    def project(self, z: Tensor) -> Tensor:
        """(R, C, latent) -> (R, C, projection), on the unit sphere."""
        return normalize(self.projection(z), dim=-1)


class SupervisedContrastive(TwoStage):
    """HS-OMRL without hard sampling."""

    Config = HSConfig
    encoder: AttentionEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> AttentionEncoder:
        """The attention encoder with its projection head."""
        return AttentionEncoder(rngs, features, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """Two views of each episode of a batch, all tasks of a meta-batch equally often."""
        tasks = batches.tasks(META_BATCH)
        labels = np.repeat(tasks, self.config.episodes // tasks.shape[1], axis=1)
        episodes = np.tile(batches.episodes(labels), 2)
        views = batches.segments(episodes, self.space.horizon // 2, self.config.transitions)
        w = self.encoder.project(self.encoder(views))
        return self.contrastive_loss(w, torch.as_tensor(np.tile(labels, 2))).sum()

    def contrastive_loss(self, w: Tensor, labels: Tensor) -> Tensor:
        """Mean over anchors: projections w (R, C, projection), labels (R, C) -> (R,)."""
        similarity = w @ w.transpose(1, 2)
        other = ~torch.eye(w.shape[1], dtype=torch.bool)  # the anchor itself is left out
        same = labels[:, :, None] == labels[:, None]
        return self.anchor_loss(similarity, same & other, ~same).mean(dim=-1)

    def anchor_loss(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Eq. 8 for every anchor (a row), with the weights of the variant: (R, C, C) each -> (R, C)."""
        weights = torch.where(positive, self.log_u(similarity, positive), self.log_v(similarity, negative))
        weighted = similarity / self.config.temperature + weights
        return _log_sum_exp(weighted, positive | negative) - _mean_over(weighted, positive)

    def log_u(self, similarity: Tensor, positive: Tensor) -> Tensor:
        """Logarithm of the weights of the positives, (R, C, C)."""
        return torch.zeros_like(similarity)

    def log_v(self, similarity: Tensor, negative: Tensor) -> Tensor:
        """Logarithm of the weights of the negatives, (R, C, C)."""
        return torch.zeros_like(similarity)


class HardNegatives(SupervisedContrastive):
    """HS-OMRL with hard negative sampling (HG)."""

    Config = HardConfig

    def log_v(self, similarity: Tensor, negative: Tensor) -> Tensor:
        """Larger for near negatives."""
        nearness = self.config.hardness * similarity
        return nearness - _log_sum_exp(nearness, negative)[..., None]


class HardPositives(SupervisedContrastive):
    """HS-OMRL with hard positive sampling (HP)."""

    Config = HardConfig

    def log_u(self, similarity: Tensor, positive: Tensor) -> Tensor:
        """Larger for far positives."""
        distance = -self.config.hardness * similarity
        return distance - _log_sum_exp(distance, positive)[..., None]


class HardSampling(HardPositives, HardNegatives):
    """HS-OMRL with hard positive and hard negative sampling (HP+HG)."""


def _log_sum_exp(values: Tensor, members: Tensor) -> Tensor:
    # finite, so that an empty set (a single task has no negatives) gives no NaN where it is masked out later
    return values.masked_fill(~members, torch.finfo(values.dtype).min / 2).logsumexp(dim=-1)


def _mean_over(values: Tensor, members: Tensor) -> Tensor:
    return (values * members).sum(dim=-1) / members.sum(dim=-1)
