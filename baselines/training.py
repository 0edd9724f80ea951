"""What the built-in methods share around their losses: normalised data, batches, gradient steps, saving."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from omrl_bench.api import TaskSpace, TrainingData, Transitions

from .networks import Rngs


def seed_generators(seeds: Sequence[int], purpose: str) -> Rngs:
    """One generator per seed and purpose, independent of the other seeds."""
    return [np.random.default_rng([seed, *purpose.encode()]) for seed in seeds]


@dataclass(frozen=True)
class Scale:
    """Affine scaling that all seeds share, from the statistics of the training data.

    Observations are standardised and actions divided by their limit. Rewards are standardised where a context
    shows them, and divided by their deviation where a backbone learns from them.
    """

    observation_mean: Tensor
    observation_std: Tensor
    reward_mean: float  # of the rewards that contexts show
    reward_std: float
    learning_reward_std: float  # of the rewards that the backbone learns from
    action_limit: float

    @classmethod
    def of(cls, data: TrainingData, space: TaskSpace) -> Scale:
        """Measure the training data."""
        return cls(
            observation_mean=torch.as_tensor(data.observations.mean(axis=0)),
            observation_std=torch.as_tensor(data.observations.std(axis=0) + 1e-3),
            reward_mean=float(data.context_rewards.mean()),
            reward_std=float(data.context_rewards.std()) + 1e-6,
            learning_reward_std=float(data.rewards.std()) + 1e-6,
            action_limit=space.action_limit,
        )

    def observations(self, observations: np.ndarray) -> Tensor:
        """Standardise observations (..., observation size)."""
        values = torch.as_tensor(np.asarray(observations, dtype=np.float32))
        return (values - self.observation_mean) / self.observation_std

    def features(self, transitions: Transitions | TrainingData) -> Tensor:
        """Context features (s, a, r, s') of transitions, (..., 2 observation size + action size + 1)."""
        rewards = getattr(transitions, "context_rewards", transitions.rewards)
        return torch.cat(
            [
                self.observations(transitions.observations),
                torch.as_tensor(transitions.actions) / self.action_limit,
                (torch.as_tensor(rewards)[..., None] - self.reward_mean) / self.reward_std,
                self.observations(transitions.next_observations),
            ],
            dim=-1,
        )

    def state(self) -> dict[str, Tensor]:
        """The scaling as tensors, for saving."""
        numbers = [self.reward_mean, self.reward_std, self.learning_reward_std, self.action_limit]
        rest = torch.tensor(numbers, dtype=torch.float64)
        return {"scale.mean": self.observation_mean, "scale.std": self.observation_std, "scale.rest": rest}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Scale:
        """Restore :meth:`state`."""
        mean, deviation = (torch.as_tensor(state[name]) for name in ("scale.mean", "scale.std"))  # to the device
        return cls(mean, deviation, *state["scale.rest"].tolist())


@dataclass(frozen=True)
class Batch:
    """Transitions to learn a policy from, normalised; B per seed.

    Attributes:
        observations: (R, B, observation size).
        actions: (R, B, action size), in [-1, 1].
        rewards: (R, B), divided by their standard deviation over the training data.
        next_observations: (R, B, observation size).
        terminated: (R, B), 0 or 1.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor


class Batches:
    """Draws what losses need from the training data, for all seeds at once.

    Args:
        data: The training data.
        scale: Its scaling.
        space: What the tasks share.
        rngs: One generator per seed.
    """

    def __init__(self, data: TrainingData, scale: Scale, space: TaskSpace, rngs: Rngs) -> None:
        self.data = data
        self.rngs = rngs
        self.features = scale.features(data)  # (N, F)
        rewards = torch.as_tensor(data.rewards)[:, None] / scale.learning_reward_std
        terminated = torch.as_tensor(data.terminated)[:, None].float()
        # one table, so that a batch is one gather
        self._table = torch.cat([self.features, rewards, terminated], dim=1)
        self._sizes = [space.observation_size, space.action_size, 1, space.observation_size, 1, 1]

    def tasks(self, count: int) -> np.ndarray:
        """A meta-batch of ``count`` different tasks (all of them if there are fewer): (R, count)."""
        return self.data.sample_tasks(self.rngs, min(count, len(self.data.tasks)))

    def rows(self, tasks: np.ndarray, count: int) -> np.ndarray:
        """``count`` rows of each task: (R, T) -> (R, T * count), task by task."""
        return self.data.sample_rows(self.rngs, tasks, count).reshape(len(tasks), -1)

    def episodes(self, tasks: np.ndarray) -> np.ndarray:
        """One episode of each task: (R, ...) -> the same shape."""
        return self.data.sample_episodes(self.rngs, tasks)

    def transitions(self, rows: np.ndarray) -> Batch:
        """Transitions to learn a policy from: rows (R, B) -> batch of B."""
        taken = self._gather(self._table, rows)
        observations, actions, _, following, rewards, terminated = torch.split(taken, self._sizes, dim=-1)
        return Batch(observations, actions, rewards[..., 0], following, terminated[..., 0])

    def at(self, rows: np.ndarray) -> Tensor:
        """Features of rows: (...) -> (..., F)."""
        return self._gather(self.features, rows)

    def contexts(self, episodes: np.ndarray, count: int) -> Tensor:
        """Features of ``count`` i.i.d. transitions of each episode: (R, ...) -> (R, ..., count, F)."""
        return self.at(self.data.sample_within(self.rngs, episodes, count))

    def segments(self, episodes: np.ndarray, length: int, kept: int) -> Tensor:
        """Features of ``kept`` evenly spaced steps of one segment of each episode: (R, ...) -> (R, ..., kept, F)."""
        rows = self.data.sample_within(self.rngs, episodes, length, consecutive=True)
        spaced = np.linspace(0, length - 1, min(kept, length)).round().astype(np.int64)
        return self.at(rows[..., spaced])

    def whole(self, episodes: np.ndarray, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Features of whole episodes, (...) -> (..., T, F), and which of them are no padding, (..., T) bool.

        Args:
            episodes: Which ones.
            length: T; that of the longest of them if not given.
        """
        rows, valid = self.whole_rows(episodes, length)
        return self.at(rows), valid

    def whole_rows(self, episodes: np.ndarray, length: int | None = None) -> tuple[np.ndarray, Tensor]:
        """The same as rows, (..., T); padding repeats an episode's last row."""
        starts, stops = self.data.episode_offsets[episodes, None], self.data.episode_offsets[episodes + 1, None]
        rows = starts + np.arange(int((stops - starts).max()) if length is None else length)
        return np.minimum(rows, stops - 1), torch.as_tensor(rows < stops)

    def every_episode(self, count: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """All episodes, ``count`` at once and padded to the longest of all: their numbers, and :meth:`whole`."""
        lengths = np.diff(self.data.episode_offsets)
        for first in range(0, len(lengths), count):
            episodes = np.arange(first, min(first + count, len(lengths)))
            yield episodes, *self.whole(episodes, int(lengths.max()))

    def drawn_by(self, rngs: Rngs) -> Batches:
        """The same data, drawn with other generators."""
        other = copy.copy(self)
        other.rngs = rngs
        return other

    @staticmethod
    def _gather(table: Tensor, rows: np.ndarray) -> Tensor:
        flat = torch.as_tensor(np.ascontiguousarray(rows).reshape(-1))
        return table.index_select(0, flat).reshape(*rows.shape, table.shape[1])


def split_features(features: Tensor, observation_size: int) -> tuple[Tensor, Tensor]:
    """Context features (s, a, r, s'), (..., F), as inputs (s, a) and labels (r, s' - s)."""
    sizes = [features.shape[-1] - 1 - observation_size, 1, observation_size]
    known, reward, following = torch.split(features, sizes, dim=-1)
    return known, torch.cat([reward, following - known[..., :observation_size]], dim=-1)


def join_features(known: Tensor, label: Tensor, observation_size: int) -> Tensor:
    """The inverse of :func:`split_features`."""
    following = known[..., :observation_size] + label[..., 1:]
    return torch.cat([known, label[..., :1], following], dim=-1)


def descriptor_scale(data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the training tasks' descriptors, (descriptor size,) each; 1 where they do not differ."""
    deviation = data.descriptors.std(axis=0)
    return data.descriptors.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def adam(*groups: tuple[nn.Module, float]) -> torch.optim.Adam:
    """Adam over some modules, each with its learning rate; it works elementwise, so the seeds stay independent."""
    return torch.optim.Adam(
        [
            {"params": [parameter for parameter in module.parameters() if parameter.requires_grad], "lr": learning_rate}
            for module, learning_rate in groups
        ],
        fused=True,
    )


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One gradient step on a loss that is summed over the seeds."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def save_tensors(folder: Path, seeds: Sequence[int], tensors: dict[str, Tensor]) -> None:
    """Write the tensors of all seeds."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "weights.safetensors")
    (folder / "seeds.json").write_text(json.dumps(list(seeds)), encoding="utf-8")


def load_tensors(folder: Path) -> tuple[list[int], dict[str, Tensor]]:
    """Read what :func:`save_tensors` wrote."""
    seeds: list[int] = json.loads((folder / "seeds.json").read_text(encoding="utf-8"))
    return seeds, load_file(folder / "weights.safetensors")
