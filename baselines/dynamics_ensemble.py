"""Models of the training tasks: for every task an ensemble that predicts reward and next state.

One network per seed, task and member, all of them one batched product: the leading axis is R * tasks * members, a
seed's networks next to each other. Everything is in the units of the context features: states and rewards
standardised, actions in [-1, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import Log

from .networks import Rngs, TensorModule, mlp
from .training import Batches, adam, split_features, step

CHUNK = 256  # inputs per network at once, where there are many


class DynamicsEnsemble(TensorModule):
    """Of each task, ``members`` networks (s, a) -> (r, s' - s), trained on that task's transitions only.

    Labels are (r, s' - s), 1 + observation size of them.

    Args:
        rngs: One generator per seed.
        tasks: Number of training tasks.
        members: Networks of each task.
        observation_size: Length of s.
        action_size: Length of a.
        width: Of the two hidden layers.
    """

    def __init__(
        self, rngs: Rngs, tasks: int, members: int, observation_size: int, action_size: int, width: int
    ) -> None:
        super().__init__()
        self.shape = (len(rngs), tasks, members)
        self.observation_size = observation_size
        networks = [rng for rng in rngs for _ in range(tasks * members)]
        self.networks = mlp(networks, observation_size + action_size, width, width, 1 + observation_size)

    def members(self, inputs: Tensor) -> Tensor:
        """Every member's (r, s' - s): (R, tasks, members, B, inputs) -> (R, tasks, members, B, labels)."""
        return self.networks(inputs.flatten(0, 2)).reshape(*inputs.shape[:-1], -1)

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of each task's members: (R, tasks, B, inputs) -> (R, tasks, B, labels)."""
        each = inputs[:, :, None].expand(-1, -1, self.shape[2], -1, -1)
        parts = [self.members(part).mean(dim=2) for part in torch.split(each, CHUNK, dim=3)]
        return torch.cat(parts, dim=2)

    def loss(self, transitions: Tensor) -> Tensor:
        """Mean squared error of every member, summed over tasks and members: (R, tasks, members, B, F) -> (R,)."""
        inputs, targets = split_features(transitions, self.observation_size)
        squared = (self.members(inputs) - targets).square().sum(dim=-1)
        return squared.mean(dim=-1).sum(dim=(1, 2))

    def draw(self, batches: Batches, count: int) -> Tensor:
        """``count`` transitions for every member, of its own task: (R, tasks, members, count, F)."""
        seeds, tasks, members = self.shape
        every = np.broadcast_to(np.arange(tasks), (seeds, tasks))
        rows = batches.data.sample_rows(batches.rngs, every, members * count)
        return batches.at(rows.reshape(*self.shape, count))

    def train_on(self, batches: Batches, updates: int, count: int, learning_rate: float, log: Log) -> None:
        """Supervised training of all networks at once, ``count`` transitions each per update."""
        optimiser = adam((self, learning_rate))
        for update in range(updates):
            step(optimiser, self.loss(self.draw(batches, count)).sum())
            log("representation", update + 1, updates)
