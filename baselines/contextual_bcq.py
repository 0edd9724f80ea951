"""Contextual BCQ (in Li et al., NeurIPS 2020): BCQ on (s, z), its encoder trained by the losses of VAE and critics.

    L = L_Q(s, a, z) + L_VAE(s, a, z) + L_xi(s, z detached),   q(z | c) a product of Gaussians of transitions, z ~ q

The losses are those of `bcq`. With one task z has nothing to tell, and it is BCQ.

Deviations
* A context is one episode, from which training draws i.i.d. transitions, as in `pearl`; the paper draws them from all
  episodes of a task. The policy acts on the posterior's mean.
* As in the public code there is no divergence from a prior, although the encoder is called PEARL's; before it has a
  context the policy acts on representations of training contexts (``prior=zero``: z = 0).
* s' is always part of the context.

It has BCQ under it whichever backbone the suite chooses. Privileges: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .bcq import BCQ
from .encoded import PriorName
from .pearl import Pearl, PearlConfig

METHODS = {"contextual-bcq": "ContextualBCQ"}


@dataclass(frozen=True)
class ContextualBCQConfig(PearlConfig):
    """Hyper-parameters of the encoder; the public code's in brackets where another value is used."""

    prior: PriorName = "redrawn"
    latent: int = 20
    kl_weight: float = 0.0

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 200, "transitions": 128, "learning_rate": 3e-4},
    }


class ContextualBCQ(Pearl):
    """BCQ on (s, z)."""

    Config = ContextualBCQConfig
    own_backbone: ClassVar = BCQ

    def views(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of critics and VAE train the encoder."""
        return z, z
