"""SPC (Nakhaei et al., ICML 2026): a latent world model that is told z, and IQL on the latent states.

z = mean_n tanh(f(c_n)),  e_t = quantise(enc(s_t)),  both trained by, over ``horizon`` steps k of a logged segment:

    e^_0 = e_t,   e^_k+1 = quantise( raw_k + delta(e^_k, a_t+k, z) ),   r^_k = reward(e^_k, a_t+k, z)
    L_world    = mean over k of rho^k [ sum_d CE( code_d of EMA-enc(s_t+k+1), logits_d of e^_k+1 ) + (r^_k - r_t+k)^2 ]
    L_contrast = - log [ exp(-||z_i - k_i||^2 / radius) / sum_j exp(-||z_i - k_j||^2 / radius) ]
    L          = L_world + L_contrast

quantise is finite scalar quantisation: dimension d goes through tanh to one of some values in [-1, 1], by rounding
whose gradient is passed straight through. k_j is a moving average of the z of training task j, as in `dora`.

Then the backbone learns on (e, z), both frozen; the policy acts on (e(s), z).

Deviations
* The logits of a code are minus the squared distances of the value before rounding to the levels, over a temperature;
  the public code has a layer of logits of its own. Both are cross entropies to the target's codes.
* Latent states have ``dimensions`` groups of the levels 5 and 3; an error of the reward is squared, not a class.
* World model and z are trained first and then frozen; the public code trains them beside the policy, which sees them
  without gradient there too.
* z is that of a context of the same task, drawn from one episode; the backbone sees z in standard units, as in all rows
  with two stages.
* Rates of the keys and of the target encoder are faster and the radius smaller than the public 0.005 and 100: there are
  fewer updates.
* Backbone: the suite's choice; the paper's is IQL.

Privileges: none.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .conditioned import META_BATCH
from .dora import distortion, moved
from .encoded import EncodedConfig
from .focal import MeanEncoder
from .networks import Rngs, follow, mlp, take_seed
from .policies import Actor
from .training import Batch, Batches, Scale
from .two_stage import TwoStage

METHODS = {"spc": "SPC"}

LEVELS = (5, 3)  # values that the dimensions of a latent state take, by turns


@dataclass(frozen=True)
class SPCConfig(EncodedConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    latent: int = 5  # length of z
    width: int = 128  # of the three hidden layers of z's encoder [two of 256]
    transitions: int = 32  # of a context in the loss [64]
    dimensions: int = 16  # pairs of dimensions of a latent state, with 5 and with 3 levels; ours
    model_width: int = 64  # of the one hidden layer of enc, and of the two of delta and reward [512]
    horizon: int = 5  # steps that are predicted
    decay: float = 0.99  # rho
    segments: int = 4  # of each task, per update [64]
    code_temperature: float = 0.1  # of the logits of a code; ours
    radius: float = 1.0  # [100]
    key_rate: float = 0.02  # of the tasks' means [0.005]
    target_rate: float = 0.02  # of EMA-enc [0.005]
    learning_rate: float = 1e-3  # [1e-4]

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {
            "width": 256,
            "transitions": 64,
            "model_width": 512,
            "segments": 64,
            "radius": 100.0,
            "key_rate": 0.005,
            "target_rate": 0.005,
            "learning_rate": 1e-4,
        },
    }


class WorldModel(MeanEncoder):
    """z's encoder, and the latent model of states that is told z.

    Args:
        rngs: One generator per seed.
        sizes: Lengths of an observation and of an action.
        features: Length of a transition.
        config: Hyper-parameters.
    """

    levels: Tensor

    def __init__(self, rngs: Rngs, sizes: tuple[int, int], features: int, config: SPCConfig) -> None:
        super().__init__(rngs, features, config.width, config.latent)
        observation_size, action_size = sizes
        self.sizes = [observation_size, action_size, 1, observation_size]
        size, width = config.dimensions * len(LEVELS), config.model_width
        self.enter = mlp(rngs, observation_size, width, size)
        self.slow = copy.deepcopy(self.enter).requires_grad_(False)
        told = size + action_size + config.latent
        self.delta = mlp(rngs, told, width, width, size)
        self.reward = mlp(rngs, told, width, width, 1)
        self.register_buffer("levels", torch.tensor(LEVELS).repeat(config.dimensions), persistent=False)

    def states(self, observations: Tensor) -> Tensor:
        """Latent states, quantised: (R, ..., observation size) -> (R, ..., latent state size)."""
        return self.quantise(self.enter(observations))

    def quantise(self, raw: Tensor) -> Tensor:
        """The nearest of each dimension's levels; the gradient is that of tanh."""
        bounded, half = torch.tanh(raw), (self.levels - 1) / 2
        return bounded + ((bounded * half).round() / half - bounded).detach()

    def codes(self, raw: Tensor) -> Tensor:
        """Numbers of the levels that raw values are quantised to, from 0."""
        half = (self.levels - 1) / 2
        return ((torch.tanh(raw) * half).round() + half).long()

    def code_loss(self, raw: Tensor, codes: Tensor, temperature: float) -> Tensor:
        """Cross entropy of codes, summed over the dimensions: (..., size) each -> (...)."""
        number = torch.arange(max(LEVELS))
        values = 2 * number / (self.levels[:, None] - 1) - 1
        logits = -((torch.tanh(raw)[..., None] - values) ** 2) / temperature
        logits = logits.masked_fill(number >= self.levels[:, None], -torch.inf)
        return -logits.log_softmax(dim=-1).gather(-1, codes[..., None])[..., 0].sum(dim=-1)

    def rollout_loss(self, segments: Tensor, z: Tensor, config: SPCConfig) -> Tensor:
        """L_world: segments (R, C, horizon, features), z (R, C, latent) -> (R,)."""
        states, actions, rewards, following = torch.split(segments, self.sizes, dim=-1)
        with torch.no_grad():
            targets = self.codes(self.slow(following))
        raw, total = self.enter(states[:, :, 0]), torch.zeros(())
        for k in range(segments.shape[2]):
            told = torch.cat([self.quantise(raw), actions[:, :, k], z], dim=-1)
            error = (self.reward(told) - rewards[:, :, k])[..., 0].square()
            raw = raw + self.delta(told)
            each = self.code_loss(raw, targets[:, :, k], config.code_temperature) + error
            total = total + config.decay**k * each.mean(dim=1)
        return total / segments.shape[2]


class SPC(TwoStage):
    """SPC.

    Attributes:
        keys: The mean of each training task, (R, tasks, latent); a tool of training, not saved.
    """

    Config = SPCConfig
    encoder: WorldModel

    @property
    def seen_size(self) -> int:
        """Length of a latent state."""
        return int(self.config.dimensions) * len(LEVELS)

    @torch.no_grad()
    def seen(self, batch: Batch) -> Batch:
        """Latent states in the place of observations."""
        observations, following = (self.encoder.states(x) for x in (batch.observations, batch.next_observations))
        return replace(batch, observations=observations, next_observations=following)

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks; there are no keys yet."""
        super().build(seeds, scale)
        self.keys: Tensor | None = None

    def make_encoder(self, rngs: Rngs, features: int) -> WorldModel:
        """The world model."""
        return WorldModel(rngs, (self.space.observation_size, self.space.action_size), features, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """World model and contrast of a meta-batch; the keys move."""
        config = self.config
        if self.keys is None:
            every = np.broadcast_to(np.arange(len(batches.data.tasks)), (len(self.seeds), len(batches.data.tasks)))
            self.keys = self.draw_z(batches, every).detach()
        tasks = batches.tasks(META_BATCH)
        z = self.draw_z(batches, tasks)
        labels = np.repeat(tasks, config.segments, axis=1)
        segments = batches.segments(batches.episodes(labels), config.horizon, config.horizon)
        world = self.encoder.rollout_loss(segments, z.repeat_interleave(config.segments, dim=1), config)
        own = torch.as_tensor(tasks)
        contrast = distortion(z, self.keys, own, config.radius)
        self.keys = moved(self.keys, z.detach(), own, config.key_rate)
        return (world + contrast).sum()

    def draw_z(self, batches: Batches, tasks: np.ndarray) -> Tensor:
        """Z of a context of each task: (R, T) -> (R, T, latent)."""
        return self.encoder(batches.contexts(batches.episodes(tasks), self.config.transitions))

    def after_encoder_step(self) -> None:
        """EMA-enc follows."""
        follow(self.encoder.slow, self.encoder.enter, self.config.target_rate)

    def actor(self, index: int) -> Actor:
        """One seed's actor on observations, which it sees as latent states."""
        actor, world = super().actor(index), take_seed(self.encoder, index)
        return lambda observations, z: actor(world.states(observations), z)
