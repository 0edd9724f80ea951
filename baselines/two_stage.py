"""The shape that FOCAL, FOCAL++ and HS-OMRL share: an encoder trained by itself, then frozen under a backbone.

A method file says what is its own: the encoder network, the loss, the hyper-parameters.

Deviation of all of them: the backbone sees z in standard units, each dimension with mean 0 and deviation 1 over the
training episodes. The papers give it z as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omrl_bench.api import Log

from .conditioned import fit_backbone
from .encoded import Encoded
from .networks import TensorModule, take_seed
from .policies import Actor
from .training import Batches, Scale, adam, step

EMBEDDING_CHUNK = 256  # episodes embedded at once


class Standard(TensorModule):
    """Standard units of z, in every dimension: (R, ..., z size) -> the same shape; the identity until it is fitted."""

    def __init__(self, seeds: int, z_size: int) -> None:
        super().__init__()
        # parameters, though nobody trains them, so that each seed takes its own
        self.mean = nn.Parameter(torch.zeros(seeds, 1, z_size), requires_grad=False)
        self.deviation = nn.Parameter(torch.ones(seeds, 1, z_size), requires_grad=False)

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Take mean and deviation over (R, C, z size)."""
        self.mean.copy_(z.mean(dim=1, keepdim=True))
        self.deviation.copy_(z.std(dim=1, keepdim=True) + 1e-3)

    def forward(self, z: Tensor) -> Tensor:
        """Z in standard units, of (R, C, z size)."""
        return (z - self.mean) / self.deviation


class TwoStage(Encoded):
    """Stage 1: train the encoder alone. Stage 2: embed every training episode once, train the backbone on (s, z).

    Attributes:
        standard: What the backbone sees z through.
    """

    def modules(self) -> dict[str, nn.Module]:
        """Backbone, encoder, what the prior draws from, and the standard units."""
        return super().modules() | {"standard": self.standard}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks."""
        super().build(seeds, scale)
        self.standard = Standard(len(seeds), self.z_size)

    def actor(self, index: int) -> Actor:
        """One seed's actor on z as the encoder gives it."""
        actor, standard = super().actor(index), take_seed(self.standard, index)
        return lambda observations, z: actor(observations, standard(z))

    @abstractmethod
    def representation_loss(self, batches: Batches) -> Tensor:
        """Draw a batch and return the encoder's loss, summed over the seeds."""

    def after_encoder_step(self) -> None:
        """What follows each gradient step of the encoder; nothing by default."""

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Train the encoder alone."""
        optimiser = adam((self.encoder, self.config.learning_rate))
        for update in range(updates):
            step(optimiser, self.representation_loss(batches))
            self.after_encoder_step()
            log("representation", update + 1, updates)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Embed every training episode once, train the backbone on (s, z)."""
        embeddings = self.embed_episodes(batches)
        self.tried.keep(embeddings)
        self.standard.fit(embeddings)
        fit_backbone(self, batches, self.standard(embeddings), updates, log)

    @torch.no_grad()
    def embed_episodes(self, batches: Batches) -> Tensor:
        """Representation of every training episode, (R, E, z size)."""
        chunks = []
        for _, features, valid in batches.every_episode(EMBEDDING_CHUNK):
            shape = (len(self.seeds), *features.shape)
            chunks.append(self.encoder(features.expand(shape), valid.expand(shape[:-1])))
        return torch.cat(chunks, dim=1)
