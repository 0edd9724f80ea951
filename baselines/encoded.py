"""What the methods with an encoder share: z is what the encoder makes of a context.

Deviation of all of them: before there is a context (the first episode of `one-shot`, `zero-shot` and `explore`) the
policy acts on the representation of a training context, another one every few steps. The papers say nothing of it, or
act on z = 0 (GENTLE's public code): ``prior=zero``. Methods with a prior of their own keep it (PEARL, BOReL, R2PGO).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from omrl_bench.api import Transitions

from .conditioned import Conditioned
from .networks import Encoder, Rngs, take_seed, with_layer_norm
from .policies import Prior
from .training import Scale, seed_generators

TRIED = 64  # representations of training contexts that are kept for the prior

#: What acts before there is a context: `redrawn`, the representation of some training context, another one every few
#: steps; `zero`, z = 0, as in most papers.
PriorName = Literal["redrawn", "zero"]


@dataclass(frozen=True)
class EncodedConfig:
    """Hyper-parameters that every encoder has."""

    prior: PriorName = "redrawn"
    layer_norm: bool = False  # before every ReLU of the encoder

    def __post_init__(self) -> None:
        if self.prior not in get_args(PriorName):
            raise ValueError(f"prior {self.prior!r}: there are {', '.join(get_args(PriorName))}")


class TrainingRepresentations(nn.Module):
    """Representations of some training contexts, (R, TRIED, z size), saved with the weights.

    Args:
        seeds: R.
        z_size: Length of a representation.
    """

    z: Tensor

    def __init__(self, seeds: int, z_size: int) -> None:
        super().__init__()
        self.register_buffer("z", torch.zeros(seeds, TRIED, z_size))

    def keep(self, z: Tensor) -> None:
        """Keep some of (R, C, z size), evenly spaced: in the order of the tasks, some of every task."""
        self.z.copy_(z.detach()[:, torch.linspace(0, z.shape[1] - 1, TRIED).round().long()])


class Encoded(Conditioned):
    """An encoder of contexts under a backbone; subclasses say which, and how the two are trained.

    Attributes:
        encoder: Contexts -> z, of all seeds.
        tried: What the prior `redrawn` draws from; whoever trains the policy keeps there what it learns from.
    """

    encoder: Encoder
    tried: TrainingRepresentations

    @abstractmethod
    def make_encoder(self, rngs: Rngs, features: int) -> Encoder:
        """Construct the encoder of contexts (R, C, n, features)."""

    @property
    def z_size(self) -> int:
        """Length of the task representation."""
        return self.config.latent

    def modules(self) -> dict[str, nn.Module]:
        """Backbone, encoder and what the prior draws from."""
        return super().modules() | {"encoder": self.encoder, "tried": self.tried}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and encoder."""
        super().build(seeds, scale)
        rngs = seed_generators(seeds, "encoder")
        self.encoder = self.make_encoder(rngs, self.space.feature_size)
        if self.config.layer_norm:
            with_layer_norm(self.encoder, rngs)
        self.tried = TrainingRepresentations(len(seeds), self.z_size)

    def prior(self, index: int) -> Prior:
        """What the configuration says."""
        if self.config.prior == "zero":
            return Prior.zero(self.z_size)
        return Prior(self.tried.z[index], self.seeds[index])

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """The encoder of one seed."""
        encoder = take_seed(self.encoder, index)

        def infer(context: Transitions) -> Tensor:
            return encoder(self.scale.features(context)[None], torch.as_tensor(context.valid)[None])[0]

        return infer
