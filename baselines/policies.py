"""What the trained policies share: one seed's actor on a task representation z, and where that comes from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import MetaPolicy, Transitions

from .training import Scale

REDRAW = 5  # steps that a policy which knows nothing of its task acts on the same z

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


class Prior(NamedTuple):
    """What a seed acts on before it knows anything of its task.

    Attributes:
        candidates: (P, z size); one of them, drawn for each lane anew every :data:`REDRAW` steps. P = 1 is a fixed z.
        seed: Seed of the draws.
    """

    candidates: Tensor
    seed: int

    @classmethod
    def zero(cls, z_size: int) -> Prior:
        """The fixed z = 0."""
        return cls(torch.zeros(1, z_size), 0)


class PriorPolicy(LatentPolicy):
    """Acts on z of the prior in every lane that it knows nothing of.

    Args:
        actor: The seed's actor.
        prior: What it acts on there.
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, prior: Prior, scale: Scale) -> None:
        super().__init__(actor, scale)
        self._prior = prior

    def reset(self, lanes: int) -> None:
        """Return to the prior; its generator starts again."""
        self._rng, self._steps = np.random.default_rng([self._prior.seed, lanes]), 0
        self._known = torch.zeros(lanes, 1, dtype=torch.bool)
        self._z = self._drawn()

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The actor's mean action."""
        if self._steps and self._steps % REDRAW == 0 and not self._known.all():
            self._z = torch.where(self._known, self._z, self._drawn())
        self._steps += 1
        return super().act(observations, explore)

    def know(self, z: Tensor, known: Tensor) -> None:
        """Act on z (lanes, z size) from now on in the lanes where ``known`` (lanes, 1) is True."""
        self._z, self._known = torch.where(known, z, self._z), known

    def _drawn(self) -> Tensor:
        """One candidate for each lane."""
        candidates = self._prior.candidates
        return candidates[torch.as_tensor(self._rng.integers(len(candidates), size=len(self._known)))]


class ContextPolicy(PriorPolicy):
    """Acts on the z of the given context, whatever it sees after that.

    Args:
        actor: The seed's actor.
        infer: Context -> z (lanes, z size).
        prior: Before there is a context.
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, infer: Callable[[Transitions], Tensor], prior: Prior, scale: Scale) -> None:
        super().__init__(actor, prior, scale)
        self._infer = infer

    @torch.no_grad()
    def condition(self, context: Transitions) -> None:
        """Infer z from the context."""
        self.know(self._infer(context), torch.ones_like(self._known))


class MeanPolicy(PriorPolicy):
    """Acts on the mean embedding of all transitions that it was given or has taken in; before that on the prior.

    Args:
        actor: The seed's actor.
        embed: Features (1, lanes, n, F) -> embeddings (1, lanes, n, z size).
        prior: Before it has taken anything in.
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, embed: Callable[[Tensor], Tensor], prior: Prior, scale: Scale) -> None:
        super().__init__(actor, prior, scale)
        self._embed = embed

    def reset(self, lanes: int) -> None:
        """Forget everything."""
        super().reset(lanes)
        self._total, self._count = torch.zeros_like(self._z), torch.zeros(lanes, 1)

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
        self.know(self._total / self._count.clamp(min=1), self._count > 0)
