"""A control without training: it takes the context's task for the training task that explains it best.

    e_k    = mean_n [ (r_n - r_k(s_n, a_n))^2 + mean ( (s'_n - s_n) - d_k(s_n, a_n) )^2 ],    k* = argmin_k e_k
    pi(s)  = mean action of the ``actions`` states nearest to s among the best episodes of task k*

r_k and d_k are the reward and the change of state of the logged transition of task k whose (s, a) is nearest; all
quantities in standard units of the training data. What a learned representation has to beat: it knows as many tasks as
there are in training and nothing between them.

* Before it has a context it takes a training task by chance, another one every few steps.
* Nothing depends on the seed but that chance; seeds of a table differ in their start states.
* A task's best episodes are the best tenth by return; of its transitions, evenly spaced ones are compared.

Privileges: none. NumPy only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from omrl_bench.api import Budget, Log, MetaPolicy, Setup, TaskSpace, TrainingData, Transitions

from .conditioned import resolve
from .controls import Untrained
from .policies import REDRAW

METHODS = {"nearest-task": "NearestTask"}

QUERIES = 2048  # transitions that are looked up at once


@dataclass(frozen=True)
class NearestTaskConfig:
    """What is compared; ours."""

    rows: int = 2000  # logged transitions of each task, at most
    steps: int = 64  # transitions of a context, at most
    best_share: float = 0.1  # of a task's episodes that are imitated
    actions: int = 5  # nearest states whose actions are averaged


class Bank(NamedTuple):
    """What is kept of T training tasks, in standard units where it is compared.

    Attributes:
        inputs: (T, K, observation size + action size), (s, a).
        labels: (T, K, 1 + observation size), (r, s' - s).
        states: (T, M, observation size) of the best episodes.
        actions: (T, M, action size), what was done there, in the environment's units.
        input_scale: (2, observation size + action size), mean and deviation.
        label_scale: (2, 1 + observation size).
    """

    inputs: np.ndarray
    labels: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    input_scale: np.ndarray
    label_scale: np.ndarray


class NearestTask(Untrained):
    """The nearest training task's best episodes."""

    Config = NearestTaskConfig

    def __init__(self, space: TaskSpace, setup: Setup) -> None:
        super().__init__(space, setup)
        self.config: NearestTaskConfig = resolve(self.Config, setup.preset, setup.settings)

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int], log: Log) -> None:
        """Keep what is compared and what is imitated."""
        self.seeds, self.bank = list(seeds), make_bank(data, self.config)

    def policy(self, seed: int) -> MetaPolicy:
        """The policy; the seed draws the task that it begins with."""
        if seed not in self.seeds:
            raise ValueError(f"seed {seed} is not among {self.seeds}")
        return NearestTaskPolicy(self.bank, self.config, seed)

    def save(self, folder: Path) -> None:
        """Write what is kept."""
        save_file(
            {name: np.ascontiguousarray(array) for name, array in self.bank._asdict().items()},
            folder / "bank.safetensors",
        )
        (folder / "seeds.json").write_text(json.dumps(self.seeds), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what was kept."""
        self.bank = Bank(**load_file(folder / "bank.safetensors"))
        self.seeds = json.loads((folder / "seeds.json").read_text(encoding="utf-8"))

    def configuration(self) -> Mapping[str, Any]:
        """What is compared."""
        return dataclasses.asdict(self.config)


class NearestTaskPolicy(MetaPolicy):
    """Acts as the best episodes of the nearest training task do."""

    _known: np.ndarray

    def __init__(self, bank: Bank, config: NearestTaskConfig, seed: int) -> None:
        self._bank, self._config, self._seed = bank, config, seed

    def reset(self, lanes: int) -> None:
        """Forget the context; the generator starts again."""
        self._rng, self._step = np.random.default_rng([self._seed, lanes]), 0
        self._known = np.zeros(lanes, bool)
        self._errors = np.zeros((lanes, len(self._bank.inputs)), np.float32)
        self._take(self._drawn())

    def condition(self, context: Transitions) -> None:
        """Find each lane's task; a lane whose context is empty keeps its own."""
        self._known = np.asarray(context.valid.any(axis=1))
        self._errors = task_errors(self._bank, context, self._config.steps)
        self._take(np.where(self._known, self._errors.argmin(axis=1), self._tasks))

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The mean action of the nearest states of the task's best episodes."""
        if self._step and self._step % REDRAW == 0 and not self._known.all():
            self._take(np.where(self._known, self._tasks, self._drawn()))
        self._step += 1
        size = observations.shape[1]
        scaled = (observations - self._bank.input_scale[0, :size]) / self._bank.input_scale[1, :size]
        distances = self._squares - 2 * np.einsum("lms,ls->lm", self._states, scaled)
        count = min(self._config.actions, distances.shape[1])
        nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
        chosen = np.take_along_axis(self._actions, nearest[..., None], axis=1)
        return chosen.mean(axis=1).astype(np.float32)

    def representation(self) -> np.ndarray:
        """The error of every training task, (lanes, T)."""
        return self._errors

    def _drawn(self) -> np.ndarray:
        return self._rng.integers(len(self._bank.inputs), size=len(self._known))

    def _take(self, tasks: np.ndarray) -> None:
        self._tasks = tasks
        self._states, self._actions = self._bank.states[tasks], self._bank.actions[tasks]
        self._squares = (self._states**2).sum(axis=2)


def make_bank(data: TrainingData, config: NearestTaskConfig) -> Bank:
    """Keep of every task some transitions, and the best episodes; of each as many as the task with the fewest has."""
    inputs = np.concatenate([data.observations, data.actions], axis=1)
    labels = np.concatenate([data.context_rewards[:, None], data.next_observations - data.observations], axis=1)
    scales = [np.stack([x.mean(axis=0), x.std(axis=0) + 1e-3]).astype(np.float32) for x in (inputs, labels)]
    count = min(config.rows, int(np.diff(data.task_offsets).min()))
    bounds = zip(data.task_offsets, data.task_offsets[1:], strict=False)
    rows = np.stack([np.linspace(start, stop - 1, count).astype(np.int64) for start, stop in bounds])
    best = [best_rows(data, task, config.best_share) for task in range(len(data.tasks))]
    fewest = min(map(len, best))
    imitated = np.stack([of_task[np.linspace(0, len(of_task) - 1, fewest).astype(np.int64)] for of_task in best])
    size = data.observations.shape[1]
    return Bank(
        inputs=(inputs[rows] - scales[0][0]) / scales[0][1],
        labels=(labels[rows] - scales[1][0]) / scales[1][1],
        states=(data.observations[imitated] - scales[0][0, :size]) / scales[0][1, :size],
        actions=data.actions[imitated],
        input_scale=scales[0],
        label_scale=scales[1],
    )


def best_rows(data: TrainingData, task: int, share: float) -> np.ndarray:
    """Rows of the episodes with the highest returns of a task, at least one episode."""
    episodes = np.arange(data.task_episodes[task], data.task_episodes[task + 1])
    starts, stops = data.episode_offsets[episodes], data.episode_offsets[episodes + 1]
    returns = np.array([data.rewards[start:stop].sum() for start, stop in zip(starts, stops, strict=True)])
    best = np.argsort(-returns, kind="stable")[: max(1, round(share * len(episodes)))]
    return np.concatenate([np.arange(starts[index], stops[index]) for index in np.sort(best)])


def task_errors(bank: Bank, context: Transitions, steps: int) -> np.ndarray:
    """Mean error of every task's nearest transitions, (lanes, T), over evenly spaced steps of each context."""
    inputs = np.concatenate([context.observations, context.actions], axis=2)
    changes = context.next_observations - context.observations
    labels = np.concatenate([context.rewards[..., None], changes], axis=2)
    inputs, labels = (
        (x - scale[0]) / scale[1] for x, scale in ((inputs, bank.input_scale), (labels, bank.label_scale))
    )
    errors = np.zeros((len(inputs), len(bank.inputs)), np.float32)
    chosen = [spaced(valid, steps) for valid in context.valid]
    lane = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
    row = np.concatenate(chosen) if chosen else lane
    for first in range(0, len(lane), QUERIES):
        part = slice(first, first + QUERIES)
        of_part = squared_errors(bank, inputs[lane[part], row[part]], labels[lane[part], row[part]])
        np.add.at(errors, lane[part], of_part)
    counts = np.array([len(rows) for rows in chosen])
    return errors / np.maximum(counts, 1)[:, None].astype(np.float32)


def spaced(valid: np.ndarray, steps: int) -> np.ndarray:
    """At most ``steps`` evenly spaced positions of a context that are valid (n,)."""
    rows = np.flatnonzero(valid)
    if len(rows) <= steps:
        return rows
    return rows[np.linspace(0, len(rows) - 1, steps).astype(np.int64)]


def squared_errors(bank: Bank, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Error of each task's nearest transition: (q, inputs), (q, labels) -> (q, T)."""
    errors = np.empty((len(inputs), len(bank.inputs)), np.float32)
    for task, (known, label) in enumerate(zip(bank.inputs, bank.labels, strict=True)):
        distances = (known**2).sum(axis=1) - 2 * (inputs @ known.T)
        difference = (labels - label[distances.argmin(axis=1)]) ** 2
        errors[:, task] = difference[:, 0] + difference[:, 1:].mean(axis=1)
    return errors
