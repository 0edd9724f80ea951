"""What the backbones share: twin critics, their targets, one update, and the contract with the methods."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from .networks import ConditionedMLP, Rngs, TensorModule, follow, with_layer_norm
from .policies import Actor
from .training import Batch, step


class MakeNetwork(Protocol):
    """Constructs the networks of a learner."""

    def __call__(self, inputs: int, outputs: int, copies: int = 1) -> TensorModule:
        """Return a network on (x, z), given the lengths of x and of its output; its leading axis is copies x R."""
        ...


class Network(Protocol):
    """Constructs a network on (x, z); :class:`ConditionedMLP` unless a method brings its own."""

    def __call__(self, rngs: Rngs, inputs: int, z_size: int, hidden: tuple[int, ...], outputs: int) -> TensorModule:
        """Return a module (R, ..., inputs), (R, ..., z size) -> (R, ..., outputs)."""
        ...


class Learner(nn.Module):
    """Learns a policy of R seeds on (s, z) from batches of logged transitions.

    Args:
        rngs: One generator per seed: initial weights, then the noise of the losses.
        observation_size: Length of s.
        action_size: Length of a.
        z_size: Length of z, 0 or more.
        config: The learner's ``Config``.
        network: What its networks are made of.
    """

    Config: ClassVar[Any]

    def __init__(
        self,
        rngs: Rngs,
        observation_size: int,
        action_size: int,
        z_size: int,
        config: Any,
        network: Network = ConditionedMLP,
    ) -> None:
        super().__init__()
        self.config = config
        self.rngs = rngs

        def make(inputs: int, outputs: int, copies: int = 1) -> TensorModule:
            own = [*rngs] * copies
            made = network(own, inputs, z_size, (config.width, config.width), outputs)
            return with_layer_norm(made, own) if config.layer_norm else made

        self.build(observation_size, action_size, make)

    @abstractmethod
    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """Construct the networks, out of networks on (x, z) that ``make`` constructs."""

    @abstractmethod
    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of all losses.

        Args:
            batch: B transitions per seed.
            z: (R, B, z size) representation at s; it receives the gradient of the Q loss, and of no other.
            next_z: Representation at s', where it differs from z; it receives no gradient.
            policy_z: Representation that the policy's loss sees and sends its gradient to; z detached if not given.
        """

    def update(
        self,
        optimiser: torch.optim.Optimizer,
        batch: Batch,
        z: Tensor,
        next_z: Tensor | None = None,
        policy_z: Tensor | None = None,
        encoder_loss: Tensor | None = None,
    ) -> None:
        """One update: one gradient step on the loss, then the moving averages.

        Args:
            optimiser: Of the backbone, and of an encoder that is trained together with it.
            batch: B transitions per seed.
            z: Representation at s; this and the next two as for :meth:`loss`.
            next_z: Representation at s'.
            policy_z: Representation that the policy's loss sees.
            encoder_loss: (R,) what such an encoder adds to the loss; nothing if not given.
        """
        loss = self.loss(batch, z, next_z, policy_z)
        step(optimiser, loss if encoder_loss is None else loss + encoder_loss.sum())
        self.after_step()

    def after_step(self) -> None:
        """What follows each gradient step."""

    @abstractmethod
    def actor(self, index: int) -> Actor:
        """One seed's deterministic policy."""


class Backbone(Learner):
    """An offline-RL learner: twin critics and their targets; subclasses add the rest."""

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """The critics."""
        self.critics = make(observation_size + action_size, 1, copies=2)  # twin: leading axis 2R
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)

    @torch.no_grad()
    def after_step(self) -> None:
        """Polyak step of the target critics."""
        follow(self.target_critics, self.critics, self.config.target_rate)

    @staticmethod
    def q(critics: Callable[..., Tensor], observations: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """Both Q values, (2, R, B)."""
        inputs = torch.cat([observations, actions], dim=-1)
        values = critics(torch.cat([inputs, inputs]), torch.cat([z, z]))
        return values.reshape(2, *inputs.shape[:-1])
