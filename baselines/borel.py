"""BOReL (Dorfman, Shenfeld and Tamar, NeurIPS 2021): VariBAD trained on logged episodes, a policy on its beliefs.

Equations: see :mod:`.varibad`.

* ``borel``: without reward relabelling, the variant that GENTLE and R2PGO compare with.
* ``borel-oracle``: with it. Behaviour tells the tasks of logged data apart, which does not help where somebody else
  acts. So the first episode of a trajectory is taken from another task in 63 of 100 cases, and its rewards are replaced
  by those of the true reward function of the trajectory's own task.

Deviations
* Those of :mod:`.varibad`. The public code has no state decoder by default (preset `paper`); then nothing tells tasks
  apart that differ in dynamics only.
* The reward decoder sees (m, s, a, s').
* Relabelled episodes train the auto-encoder and precede the episodes that the policy learns from; the policy itself
  learns from transitions of the task's own episodes.
* Backbone: the suite's choice; the paper's is SAC. The meta-batch is the suite's 16 tasks.

Privileges: ``borel``: none. ``borel-oracle``: reward_function.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 115 thousand parameters, 1.2 to 1.3 of its
training time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import Log, Requirements

from .training import Batches
from .varibad import VariBAD

METHODS = {"borel": "Borel", "borel-oracle": "BorelOracle"}

OWN = 0.37  # of the first episodes stay those of the task: (1 - 1/n)^n, what drawing with replacement leaves


class Borel(VariBAD):
    """BOReL without reward relabelling."""


class BorelOracle(VariBAD):
    """BOReL with relabelling by the true reward function."""

    requires = Requirements(privileges=frozenset({"reward_function"}))

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Label every transition with its reward in every task, then train."""
        self._rewards = (label(batches) - self.scale.reward_mean) / self.scale.reward_std
        super().train_representation(batches, updates, log)

    def draw_first(self, batches: Batches, tasks: np.ndarray) -> np.ndarray:
        """An episode of another task, or of the same."""
        count = len(batches.data.tasks)
        further = np.stack([rng.random(row.shape) for rng, row in zip(batches.rngs, tasks, strict=True)])
        others = (tasks + 1 + (further * (count - 1)).astype(np.int64)) % count
        own = np.stack([rng.random(row.shape) for rng, row in zip(batches.rngs, tasks, strict=True)]) < OWN
        return batches.episodes(np.where(own, tasks, others))

    def features(self, batches: Batches, rows: np.ndarray, tasks: np.ndarray) -> Tensor:
        """Features with the rewards of the given tasks; on a task's own rows they are those that were logged."""
        features = super().features(batches, rows, tasks)
        features[..., self.space.input_size] = self._rewards[torch.as_tensor(tasks)[..., None], torch.as_tensor(rows)]
        return features


def label(batches: Batches) -> Tensor:
    """Reward of every training transition in every training task, (T, N)."""
    data = batches.data
    lengths = np.diff(data.episode_offsets)
    tasks = np.repeat(np.arange(len(data.tasks)), len(lengths))
    rewards = data.relabelled_rewards(np.tile(np.arange(len(lengths)), len(data.tasks)), tasks)
    kept = np.arange(rewards.shape[1]) < np.tile(lengths, len(data.tasks))[:, None]
    return torch.as_tensor(rewards[kept].reshape(len(data.tasks), -1))
