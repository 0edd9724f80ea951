"""DPT, the decision-pretrained transformer (Lee et al., NeurIPS 2023): from transitions and a state, the best action.

    L = E sum_j | f(s, D_{1..j}) - a*(s) |^2,   j = 0 .. |D|

D is a set of transitions of the task, in no order, s another state, a* the best action there.

* ``dpt``: s and a* are states and actions of the best tenth of the task's logged episodes.
* ``dpt-expert``: s is any logged state of the task, and a* what the expert does there, without noise, as published.

Deviations
* The state comes behind the transitions, and every state of a window sees a number j of them that is drawn; the paper
  has one state, in front, and all j.
* D is of one logged episode in training. Acting, it is drawn evenly from the whole context; as in the paper it does not
  grow within an episode.
* Those of :mod:`.in_context` and :mod:`.sequence`. The paper's own loss is of discrete actions; values in brackets are
  of the continuous version in T2MIR's public code.

Not compared with numbers of public code, whose tokens differ; the loss is tested against a slow evaluation.

Privileges: ``dpt``: none. ``dpt-expert``: expert_labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import Requirements, Transitions

from .conditioned import META_BATCH
from .in_context import Cloner, Cloning, Decide, InContextPolicy, Shown, Window
from .sequence import EpisodeSteps, SequenceConfig, best_episodes, returns_to_go
from .training import Batches, Scale

METHODS = {"dpt": "DPT", "dpt-expert": "DPTExpert"}


@dataclass(frozen=True)
class DPTConfig(SequenceConfig):
    """Hyper-parameters; T2MIR's in brackets where another value is used."""

    heads: int = 1  # [4]
    transitions: int = 32  # of a context [200: an episode]
    states: int = 16  # of each context that are learnt from [1]

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {"width": 128, "layers": 4, "heads": 4, "transitions": 200, "learning_rate": 3e-4},
    }


class DPT(Cloning):
    """DPT with the actions of the best logged episodes."""

    Config = DPTConfig

    def prepare(self, batches: Batches) -> None:
        """The rows of each task that may be asked for, and the action that is right in each."""
        self._rows, labels = self.labels(batches)
        self._labels = torch.as_tensor(labels / self.space.action_limit)

    def labels(self, batches: Batches) -> tuple[list[np.ndarray], np.ndarray]:
        """Rows of each task, and an action (N, action size) of every training row, in the environment's units."""
        data = batches.data
        where = EpisodeSteps(data)
        returns = returns_to_go(data.rewards, where)[where.first]
        best = best_episodes(returns, data.task_episodes)
        rows = [np.concatenate([np.arange(*data.episode_offsets[[e, e + 1]]) for e in each]) for each in best]
        return rows, data.actions

    def loss(self, batches: Batches) -> Tensor:
        """The file's loss on a meta-batch, (R,)."""
        window = self.draw(batches, batches.tasks(META_BATCH))
        return self.error(batches, window, self._labels[torch.as_tensor(window.states)])

    def draw(self, batches: Batches, tasks: np.ndarray) -> Window:
        """Draw a context for each task (R, C), and states that see some of it."""
        config, data = self.config, batches.data
        rows = data.sample_within(batches.rngs, batches.episodes(tasks), config.transitions)
        unit = np.stack([rng.random((2, tasks.shape[1], config.states)) for rng in batches.rngs])
        counts = np.array([len(each) for each in self._rows])
        table = np.stack([np.resize(each, counts.max()) for each in self._rows])
        states = table[tasks[..., None], (unit[:, 0] * counts[tasks][..., None]).astype(np.int64)]
        seen = (unit[:, 1] * (config.transitions + 1)).astype(np.int64)
        sees = np.arange(config.transitions) < seen[..., None]
        return Window(rows, np.ones(rows.shape, bool), states, sees)

    def policy(self, seed: int) -> SetPolicy:
        """The current policy of a seed."""
        return SetPolicy(*self.actor(self.seeds.index(seed)), self.config.transitions, self.scale)


class DPTExpert(DPT):
    """DPT with the actions of the expert."""

    requires = Requirements(privileges=frozenset({"expert_labels"}))

    def labels(self, batches: Batches) -> tuple[list[np.ndarray], np.ndarray]:
        """All rows, and what the expert does in them."""
        offsets = batches.data.task_offsets
        rows = [np.arange(first, stop) for first, stop in pairwise(offsets)]
        return rows, batches.data.expert_actions(np.arange(offsets[-1]))


class SetPolicy(InContextPolicy):
    """The context is some of the transitions given, evenly spaced, until others are given.

    Args:
        model: The seed's network.
        decide: What is done, given h.
        capacity: How many of them.
        scale: The scaling of the training data.
    """

    def __init__(self, model: Cloner, decide: Decide, capacity: int, scale: Scale) -> None:
        super().__init__(model, decide, capacity, scale)

    def condition(self, context: Transitions) -> None:
        """Take some of a context's transitions."""
        counts = context.valid.sum(axis=1, keepdims=True)
        kept = np.minimum(counts, self._capacity)
        number = np.arange(self._capacity)
        valid = number < kept
        # of the valid ones, the first to the last, evenly spaced
        ranks = np.where(valid, number * (counts - 1) // np.maximum(kept - 1, 1), 0)
        columns = np.take_along_axis(np.argsort(~context.valid, axis=1, kind="stable"), ranks, axis=1)
        lane = np.arange(len(columns))[:, None]
        features = self._scale.features(context)[torch.as_tensor(lane), torch.as_tensor(columns)]
        self._start([Shown(features, valid, np.zeros(self._capacity, np.int64), columns)])
