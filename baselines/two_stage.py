"""The shape that FOCAL, FOCAL++ and HS-OMRL share: an encoder trained by itself, then frozen under a backbone.

A method file says what is its own: the encoder network, the loss, the hyper-parameters.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from omrl_bench.api import Log

from .conditioned import fit_backbone
from .encoded import Encoded
from .training import Batches, adam, step

EMBEDDING_CHUNK = 256  # episodes embedded at once


class TwoStage(Encoded):
    """Stage 1: train the encoder alone. Stage 2: embed every training episode once, train the backbone on (s, z)."""

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
        if self.config.standardise:
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
