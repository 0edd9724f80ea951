"""What the trained policies share: one seed's actor on a task representation z, and where that comes from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import MetaPolicy, Transitions

from .training import Scale

#: (1, lanes, observation size), (1, lanes, z size) -> actions (1, lanes, action size) in [-1, 1].
Actor = Callable[[Tensor, Tensor], Tensor]


class LatentPolicy(MetaPolicy):
    """One seed's actor, acting on a task representation z; subclasses say which, in ``self._z`` (lanes, z size).

    Args:
        actor: The seed's actor.
        scale: The scaling of the training data.
    """

    _z: Tensor

    def __init__(self, actor: Actor, scale: Scale) -> None:
        self._actor, self._scale = actor, scale

    @abstractmethod
    def reset(self, lanes: int) -> None:
        """Return to the z of no experience."""

    @abstractmethod
    def condition(self, context: Transitions) -> None:
        """Infer z from the context."""

    def representation(self) -> np.ndarray:
        """Z, (lanes, z size)."""
        return self._z.cpu().numpy()

    @torch.no_grad()
    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The actor's mean action."""
        actions = self._actor(self._scale.observations(observations)[None], self._z[None])[0]
        return (actions * self._scale.action_limit).cpu().numpy()


class ContextPolicy(LatentPolicy):
    """Acts on the z of the given context, whatever it sees after that.

    Args:
        actor: The seed's actor.
        infer: Context -> z (lanes, z size).
        prior: z of an empty context, (z size,).
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, infer: Callable[[Transitions], Tensor], prior: Tensor, scale: Scale) -> None:
        super().__init__(actor, scale)
        self._infer, self._prior = infer, prior

    def reset(self, lanes: int) -> None:
        """Return to the prior."""
        self._z = self._prior.expand(lanes, -1)

    @torch.no_grad()
    def condition(self, context: Transitions) -> None:
        """Infer z from the context."""
        self._z = self._infer(context)


class MeanPolicy(LatentPolicy):
    """Acts on the mean embedding of all transitions that it was given or has taken in; 0 where there are none.

    Args:
        actor: The seed's actor.
        embed: Features (1, lanes, n, F) -> embeddings (1, lanes, n, z size).
        z_size: Length of an embedding.
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, embed: Callable[[Tensor], Tensor], z_size: int, scale: Scale) -> None:
        super().__init__(actor, scale)
        self._embed, self._z_size = embed, z_size

    def reset(self, lanes: int) -> None:
        """Forget everything."""
        self._total, self._count = torch.zeros(lanes, self._z_size), torch.zeros(lanes, 1)
        self.update()

    def condition(self, context: Transitions) -> None:
        """The context takes the place of all that was taken in."""
        self._total, self._count = torch.zeros_like(self._total), torch.zeros_like(self._count)
        self.take(context)
        self.update()

    @torch.no_grad()
    def take(self, transitions: Transitions) -> None:
        """Take transitions into the mean; the actor sees it when it is told to :meth:`update`."""
        valid = torch.as_tensor(transitions.valid)[..., None]
        embedded = self._embed(self._scale.features(transitions)[None])[0]
        self._total = self._total + (embedded * valid).sum(dim=1)
        self._count = self._count + valid.sum(dim=1)

    def update(self) -> None:
        """Act on the present mean."""
        self._z = self._total / self._count.clamp(min=1)
