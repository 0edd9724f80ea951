"""Meta-DT (Wang et al., NeurIPS 2024): a decision transformer that is told what a world model makes of the last steps.

    z_t = W GRU( e(s, a, r) of steps t - h .. t - 1 ),   e = [ReLU(W_s s), ReLU(W_a a), ReLU(W_r r)]
    L_1 = | r^ - r |^2 + | s^' - s' |^2,   r^, s^' - s = MLP(s_t, a_t, z_t)           (world model, trained first)
    L_2 = mean_t | a^_t - a_t |^2,   the transformer of :mod:`.prompt_dt` with z_t beside every s_t

The prompt is the piece of an episode of the task that the world model predicts worst: arg max over its pieces of K*
steps of the sum of their errors.

z needs no context: without one (the first episode of `zero-shot`) the transformer has z and no prompt.

Deviations
* The world model predicts rewards and next states; the public code one of them, by the kind of family.
* A training prompt is of any episode of the task, and of a given context all episodes count; in the paper they are of
  the best of the policy's own. The piece is the paper's arg max; the public code draws one in proportion to its error.
* The target return is that of `prompt-dt`; in the public code it is the best return in the *test* task's data.
* A tenth of the training windows have no prompt; in the public code all of the first updates.
* Narrower networks (values in brackets), and those of :mod:`.prompt_dt`.

Not compared with numbers of the public code; losses are tested against slow evaluations.

Privileges: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log, Transitions

from .conditioned import META_BATCH
from .networks import Rngs, SeedLinear, TensorModule, mlp, take_seed
from .prompt_dt import PromptDT, PromptDTConfig, PromptedTransformer, PromptPolicy
from .recurrence import SeedGRU
from .sequence import EpisodeSteps, cut_episodes
from .training import Batches, Scale, adam, seed_generators, split_features, step

METHODS = {"meta-dt": "MetaDT"}

ROWS_OF_A_TASK = 16  # in an update of the world model
ROWS_AT_ONCE = 4096  # when z of all training rows is computed
EMBEDDED = 16  # length of each of the embeddings of s, a and r


@dataclass(frozen=True)
class MetaDTConfig(PromptDTConfig):
    """Hyper-parameters beside Prompt-DT's; the public code's in brackets where another value is used."""

    latent: int = 16  # length of z
    history: int = 4  # h
    model_width: int = 32  # of the recurrent state [128]
    decoder_width: int = 64  # of the two hidden layers [128]
    model_learning_rate: float = 1e-3

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {
            "width": 128,
            "layers": 3,
            "windows": 8,
            "learning_rate": 5e-5,
            "model_width": 128,
            "decoder_width": 128,
        },
    }


class WorldModel(TensorModule):
    """Z of the last steps, and what it predicts.

    Args:
        rngs: One generator per seed.
        observation_size: Length of s.
        action_size: Length of a.
        config: Sizes.
    """

    def __init__(self, rngs: Rngs, observation_size: int, action_size: int, config: MetaDTConfig) -> None:
        super().__init__()
        self.sizes = [observation_size, action_size, 1]
        self.embed = nn.ModuleList([SeedLinear(rngs, size, EMBEDDED) for size in self.sizes])
        self.recurrent = SeedGRU(rngs, 3 * EMBEDDED, config.model_width)
        self.leave = SeedLinear(rngs, config.model_width, config.latent)
        width = config.decoder_width
        known = observation_size + action_size
        self.decoder = mlp(rngs, known + config.latent, width, width, 1 + observation_size)

    def forward(self, history: Tensor) -> Tensor:
        """Z: (R, C, h, s a r) -> (R, C, latent); steps that there were not are zeros, and first."""
        parts = [layer(x) for layer, x in zip(self.embed, torch.split(history, self.sizes, dim=-1), strict=True)]
        return self.leave(self.recurrent(torch.cat(parts, dim=-1).relu())[:, :, -1])

    def error(self, z: Tensor, features: Tensor) -> Tensor:
        """Squared error of the reward and mean one of the next state: (R, C, latent), (R, C, features) -> (R, C)."""
        known, label = split_features(features, self.sizes[0])
        squared = (self.decoder(torch.cat([known, z], dim=-1)) - label).square()
        return squared[..., 0] + squared[..., 1:].mean(dim=-1)


class MetaDT(PromptDT):
    """Meta-DT.

    Attributes:
        world: The world model of all seeds.
    """

    Config = MetaDTConfig
    world: WorldModel

    @property
    def belief_size(self) -> int:
        """Length of z."""
        return int(self.config.latent)

    def beliefs(self, rows: np.ndarray) -> Tensor:
        """Z of rows."""
        seed = torch.arange(len(rows)).reshape(-1, *[1] * (rows.ndim - 1))
        return self._z[seed, torch.as_tensor(rows)]

    def modules(self) -> dict[str, nn.Module]:
        """The transformer and the world model."""
        return super().modules() | {"world": self.world}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks of all seeds."""
        super().build(seeds, scale)
        sizes = self.space.observation_size, self.space.action_size
        self.world = WorldModel(seed_generators(seeds, "world"), *sizes, self.config)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """The world model; then z of all rows, and the piece of each episode that it predicts worst."""
        optimiser = adam((self.world, self.config.model_learning_rate))
        for update in range(updates):
            rows = batches.rows(batches.tasks(META_BATCH), ROWS_OF_A_TASK)
            step(optimiser, self.world_loss(batches, rows).sum())
            log("representation", update + 1, updates)
        self._z, errors = self.evaluate(batches)
        self._worst = np.stack([worst_pieces(each, self._where, self.config.prompt) for each in errors])

    def world_loss(self, batches: Batches, rows: np.ndarray) -> Tensor:
        """L_1 of rows (R, B), (R,)."""
        z = self.world(history(batches.features, self._where, rows, self.config.history, self.space.input_size + 1))
        return self.world.error(z, batches.at(rows)).mean(dim=1)

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> tuple[Tensor, np.ndarray]:
        """Z (R, N, latent) and errors (R, N) of all rows."""
        found = []
        for first in range(0, len(batches.features), ROWS_AT_ONCE):
            rows = np.arange(first, min(first + ROWS_AT_ONCE, len(batches.features)))
            rows = np.repeat(rows[None], len(self.seeds), axis=0)
            z = self.world(history(batches.features, self._where, rows, self.config.history, self.space.input_size + 1))
            found.append((z, self.world.error(z, batches.at(rows))))
        z, errors = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        return z, errors.cpu().numpy()

    def prompt_rows(self, episodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The piece that the world model predicts worst."""
        seed = np.arange(len(episodes))[:, None]
        steps = self._worst[seed, episodes][..., None] + np.arange(self.config.prompt)
        lengths = self._where.lengths[episodes][..., None]
        return self._where.first[episodes][..., None] + np.minimum(steps, lengths - 1), steps < lengths

    def policy(self, seed: int) -> MetaDTPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        return MetaDTPolicy(take_seed(self.model, index), take_seed(self.world, index), self.config, self.scale)


class MetaDTPolicy(PromptPolicy):
    """Prompt-DT's policy with z of the lane's last steps.

    Args:
        model: The seed's transformer.
        world: The seed's world model.
        config: Lengths.
        scale: The scaling of the training data.
    """

    _last: Tensor  # the last steps, (lanes, steps, s a r)

    def __init__(self, model: PromptedTransformer, world: WorldModel, config: MetaDTConfig, scale: Scale) -> None:
        super().__init__(model, config, scale)
        self._world, self._history = world, config.history

    def choose(self, context: Transitions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The piece of any of the context's episodes that the world model predicts worst."""
        lanes, n = context.valid.shape
        features = self._scale.features(context) * torch.as_tensor(context.valid)[..., None]
        size = sum(self._world.sizes)
        self._context_z = torch.zeros(lanes, n, self._model.enter.weight.shape[1])[..., : self._latent]
        best, length = np.full(lanes, -np.inf), self._config.prompt
        found = [np.zeros((lanes, length), kind) for kind in (np.int64, np.float32, np.int64, bool)]
        for part in cut_episodes(context, self._model.horizon):
            own = features[:, torch.as_tensor(part)]
            before = torch.cat([own.new_zeros(lanes, self._history, size), own[..., :size]], dim=1)
            windows = torch.stack([before[:, i : i + len(part)] for i in range(self._history)], dim=2)
            z = self._world(windows.reshape(1, -1, self._history, size))
            errors = self._world.error(z, own.reshape(1, -1, own.shape[-1])).reshape(lanes, -1)
            self._context_z[:, torch.as_tensor(part)] = z.reshape(lanes, len(part), -1)
            valid = context.valid[:, part]
            steps, worst = worst_of_each(errors.cpu().numpy(), valid, length)
            rewards = np.where(valid, context.rewards[:, part], 0).astype(np.float64)
            to_go = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
            inside = steps < valid.sum(axis=1, keepdims=True)
            steps = np.minimum(steps, len(part) - 1)
            values = part[0] + steps, np.take_along_axis(to_go, steps, axis=1), steps, inside
            better = valid.any(axis=1) & (worst > best)
            best = np.where(better, worst, best)
            found = [
                np.where(better[:, None], new, old).astype(old.dtype) for new, old in zip(values, found, strict=True)
            ]
        columns, returns, at, real = found
        return columns, returns, at, real

    def beliefs_of(self, columns: np.ndarray) -> list[Tensor]:
        """Z of the prompt's steps."""
        return [self._context_z[torch.arange(len(columns))[:, None], torch.as_tensor(columns)]]

    def beliefs(self) -> list[Tensor]:
        """Z of the last steps."""
        return [self._world(self._last[None])[0]]

    @torch.no_grad()
    def observe(self, transitions: Transitions) -> None:
        """Keep the step among the last."""
        super().observe(transitions)
        new = self._scale.features(transitions)[..., : self._last.shape[2]]
        moved = torch.cat([self._last[:, 1:], new], dim=1)
        self._last = torch.where(torch.as_tensor(transitions.valid)[..., None], moved, self._last)

    def _begin(self) -> None:
        super()._begin()
        self._last = torch.zeros(len(self._believed), self._history, sum(self._world.sizes))

    @property
    def _latent(self) -> int:
        return int(self._world.leave.weight.shape[-1])


def history(features: Tensor, where: EpisodeSteps, rows: np.ndarray, length: int, size: int) -> Tensor:
    """(s, a, r) of the steps before each row, rows (R, B) -> (R, B, length, size), the last one last; else zeros."""
    back = np.arange(length, 0, -1)
    real = where.step[rows][..., None] >= back
    earlier = np.maximum(rows[..., None] - back, 0)
    return features[torch.as_tensor(earlier)][..., :size] * torch.as_tensor(real)[..., None]


def worst_of_each(errors: np.ndarray, valid: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (lanes, length) and summed error (lanes,) of the worst piece: errors and valid (lanes, n), valid first."""
    counts = valid.sum(axis=1)
    total = np.cumsum(np.where(valid, errors, 0), axis=1, dtype=np.float64)
    total = np.concatenate([np.zeros((len(total), 1)), total], axis=1)
    starts = np.arange(valid.shape[1])
    stops = np.minimum(starts + length, counts[:, None])
    sums = np.take_along_axis(total, np.maximum(stops, starts), axis=1) - total[:, :-1]
    sums[starts > np.maximum(counts - length, 0)[:, None]] = -np.inf
    first = sums.argmax(axis=1)
    return first[:, None] + np.arange(length), sums[np.arange(len(sums)), first]


def worst_pieces(errors: np.ndarray, where: EpisodeSteps, length: int) -> np.ndarray:
    """First step of the piece of each episode whose errors (N,) sum up to the most, (E,)."""
    columns = np.arange(where.lengths.max())
    valid = columns < where.lengths[:, None]
    rows = where.first[:, None] + np.minimum(columns, where.lengths[:, None] - 1)
    steps, _ = worst_of_each(errors[rows], valid, length)
    first: np.ndarray = steps[:, 0]
    return first
