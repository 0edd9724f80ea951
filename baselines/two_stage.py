"""The shape that FOCAL and HS-OMRL share: an encoder trained on its own objective, then frozen under a backbone.

A method file says what is its own: the encoder network, the loss, the hyper-parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log, Transitions

from .conditioned import Conditioned, fit_backbone
from .networks import Rngs, take_seed
from .training import Batches, Scale, adam, seed_generators, step

EMBEDDING_CHUNK = 256  # episodes embedded at once


class TwoStage(Conditioned):
    """Stage 1: train the encoder alone. Stage 2: embed every training episode once, train the backbone on (s, z)."""

    @abstractmethod
    def make_encoder(self, rngs: Rngs, features: int) -> nn.Module:
        """Encoder (R, C, n, features), valid (R, C, n) or None -> z (R, C, z size)."""

    @abstractmethod
    def representation_loss(self, batches: Batches) -> Tensor:
        """Draw a batch and return the encoder's loss, summed over the seeds."""

    def after_encoder_step(self) -> None:
        """What follows each gradient step of the encoder; nothing by default."""

    @property
    def z_size(self) -> int:
        """Length of the task representation."""
        size: int = self.config.latent
        return size

    def modules(self) -> dict[str, nn.Module]:
        """Backbone and encoder."""
        return super().modules() | {"encoder": self.encoder}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and encoder."""
        super().build(seeds, scale)
        features = 2 * self.space.observation_size + self.space.action_size + 1
        self.encoder = self.make_encoder(seed_generators(seeds, "encoder"), features)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Train the encoder alone."""
        optimiser = adam((self.encoder, self.config.learning_rate))
        for update in range(updates):
            step(optimiser, self.representation_loss(batches))
            self.after_encoder_step()
            log("representation", update + 1, updates)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Embed every training episode once, train the backbone on (s, z)."""
        fit_backbone(self, batches, self.embed_episodes(batches), updates, log)

    @torch.no_grad()
    def embed_episodes(self, batches: Batches) -> Tensor:
        """Representation of every training episode, (R, E, z size)."""
        offsets = batches.data.episode_offsets
        steps = np.arange(int(np.diff(offsets).max()))
        chunks = []
        for first in range(0, len(offsets) - 1, EMBEDDING_CHUNK):
            starts, stops = offsets[first:-1][:EMBEDDING_CHUNK], offsets[first + 1 :][:EMBEDDING_CHUNK]
            rows = starts[:, None] + steps
            valid = torch.as_tensor(rows < stops[:, None])
            features = batches.features[torch.as_tensor(np.minimum(rows, stops[:, None] - 1))]
            shape = (len(self.seeds), *features.shape)
            chunks.append(self.encoder(features.expand(shape), valid.expand(shape[:-1])))
        return torch.cat(chunks, dim=1)

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """The encoder of one seed."""
        encoder = take_seed(self.encoder, index)

        def infer(context: Transitions) -> Tensor:
            z: Tensor = encoder(self.scale.features(context)[None], torch.as_tensor(context.valid)[None])[0]
            return z

        return infer
