"""What the methods with an encoder share: z is what the encoder makes of a context."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from omrl_bench.api import Transitions

from .conditioned import Conditioned
from .networks import Encoder, Rngs, take_seed
from .training import Scale, seed_generators


class Encoded(Conditioned):
    """An encoder of contexts under a backbone; subclasses say which, and how the two are trained.

    Attributes:
        encoder: Contexts -> z, of all seeds.
    """

    encoder: Encoder

    @abstractmethod
    def make_encoder(self, rngs: Rngs, features: int) -> Encoder:
        """Construct the encoder of contexts (R, C, n, features)."""

    @property
    def z_size(self) -> int:
        """Length of the task representation."""
        return self.config.latent

    def modules(self) -> dict[str, nn.Module]:
        """Backbone and encoder."""
        return super().modules() | {"encoder": self.encoder}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and encoder."""
        super().build(seeds, scale)
        self.encoder = self.make_encoder(seed_generators(seeds, "encoder"), self.space.feature_size)

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """The encoder of one seed."""
        encoder = take_seed(self.encoder, index)

        def infer(context: Transitions) -> Tensor:
            return encoder(self.scale.features(context)[None], torch.as_tensor(context.valid)[None])[0]

        return infer
