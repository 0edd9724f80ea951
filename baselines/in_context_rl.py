"""In-context offline reinforcement learning (Tarasov et al., "Yes, Q-learning helps offline in-context RL", 2025).

AD's transformer over several episodes of a task in learning order; in the place of the cloning loss, values and a
policy on what it makes of a state in its context, h(s, c), trained by offline losses.

* ``ic-iql``: those of IQL, eq. 1 to 3 of :mod:`.iql`: V(s, h), Q(s, a, h), pi(s, h).
* ``ic-td3bc``: those of TD3+BC, :mod:`.td3bc`.

h takes the place of the representation z of the other rows: it gets the gradients of the Q loss and of the policy's. h'
of the next state sees the transition that led there, where the context shows it.

Deviations
* Target networks are of Q (and of the policy) only, and see the present transformer's h; the paper does not say.
* Values and policy are networks with two hidden layers on (s, h), the backbone's; the paper has heads on h.
* Q is learnt at the states that are drawn of a window, with the backbone's learning rate and batch of states.
* The suite's backbone does not matter: the method's name says it.
* Those of :mod:`.ad` and :mod:`.in_context`.

There is no public code that was found.

Privileges: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log, Setup, TaskSpace

from .backbone import Backbone
from .conditioned import META_BATCH, Conditioned
from .in_context import HistoryConfig, HistoryPolicy, InContext, InContextLearner, Window, draw_history
from .iql import IQL
from .networks import take_seed
from .sequence import EpisodeSteps
from .td3bc import TD3BC
from .training import Batch, Batches, Scale, adam, seed_generators

METHODS = {"ic-iql": "InContextIQL", "ic-td3bc": "InContextTD3BC"}


@dataclass(frozen=True)
class InContextRLConfig(HistoryConfig):
    """Hyper-parameters of the transformer; ours, as AD's."""

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {"width": 256, "layers": 3, "heads": 8, "steps": 200, "learning_rate": 3e-4},
    }


class InContextRL(InContextLearner, Conditioned):
    """A backbone on what a transformer makes of a state in its context.

    Attributes:
        learner: The backbone's class.
        learner_name: Its name.
        model: The transformer of all seeds.
    """

    Config = InContextRLConfig
    learner: ClassVar[type[Backbone]]
    learner_name: ClassVar[str]

    def __init__(self, space: TaskSpace, setup: Setup) -> None:
        super().__init__(space, replace(setup, backbone=self.learner_name))

    @property
    def z_size(self) -> int:
        """Width of h."""
        return int(self.config.width)

    def modules(self) -> dict[str, nn.Module]:
        """Backbone and transformer."""
        return super().modules() | {"model": self.model}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks of all seeds."""
        super().build(seeds, scale)
        self.model = InContext(seed_generators(seeds, "model"), self.space, self.config, self.config.episodes)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Transformer and backbone together."""
        where = EpisodeSteps(batches.data)
        rates = self.config.learning_rate, self.backbone_config.learning_rate
        optimiser = adam((self.model, rates[0]), (self.backbone, rates[1]))
        for update in range(updates):
            tasks = batches.tasks(META_BATCH)
            states = max(1, self.backbone_config.batch // tasks.shape[1])
            window = draw_history(batches, where, tasks, self.config, states)
            batch, z, next_z = self.hear(batches, window)
            self.backbone.update(optimiser, batch, z, next_z, policy_z=z)
            log("policy", update + 1, updates)

    def hear(self, batches: Batches, window: Window) -> tuple[Batch, Tensor, Tensor]:
        """Transitions from the states of a window, B = C Q per seed, h of their states and of their next states."""
        seeds, count, asked = window.states.shape
        batch = batches.transitions(window.states.reshape(seeds, -1))
        shape = seeds, count, asked, -1
        states = torch.cat([batch.observations.reshape(shape), batch.next_observations.reshape(shape)], dim=2)
        both = self.model.of(batches, with_next(window), states)
        z, next_z = (h.reshape(seeds, count * asked, -1) for h in torch.split(both, asked, dim=2))
        return batch, z, next_z.detach()

    def policy(self, seed: int) -> HistoryPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        return HistoryPolicy(take_seed(self.model, index), self.actor(index), self.config, self.scale)


class InContextIQL(InContextRL):
    """With IQL."""

    learner, learner_name = IQL, "iql"


class InContextTD3BC(InContextRL):
    """With TD3+BC."""

    learner, learner_name = TD3BC, "td3bc"


def with_next(window: Window) -> Window:
    """A window whose states are followed by the next ones, which see the transitions that led to them, too."""
    assert window.place is not None and window.time is not None
    shown = window.rows.shape[2]
    (of, place), (steps, time) = (np.split(each, [shown], axis=2) for each in (window.place, window.time))
    led = (of[:, :, None] == place[..., None]) & (steps[:, :, None] == time[..., None])
    return window._replace(
        states=np.concatenate([window.states, window.states], axis=2),
        sees=np.concatenate([window.sees, window.sees | led], axis=2),
        place=np.concatenate([of, place, place], axis=2),
        time=np.concatenate([steps, time, time + 1], axis=2),
    )
