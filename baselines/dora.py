"""DORA (Zhang et al., ICML 2024): a recurrent encoder of the last steps, contrasted with the mean of each task.

    z ~ q(z | tau_t-7:t) = N(mean, variance) of a GRU's last state
    L_distortion = - log [ exp(-||z_i - k_i||^2 / radius) / sum_j exp(-||z_i - k_j||^2 / radius) ]
    L_debias     = KL( q(z | tau) || N(0, I) )
    L            = L_distortion + debias_weight L_debias

k_j is a moving average of z over all that has been drawn of training task j; j runs over all training tasks. The first
term keeps what tells the tasks apart; the second bounds from above what z knows of the steps, the behaviour's part of
them included, by the distance from a prior that knows of no behaviour.

Which variant: the paper derives the second term as a bound for the information that z has about the behaviour policy;
its code was not found. This is the divergence from N(0, I); a public re-implementation (in SPC's repository) has
.01 ||z||^2 there.

A context is cut into windows of eight steps, and z is the mean of the windows' means. While it acts, the policy goes on
with the steps that it takes: a window that has begun counts as one.

Deviations
* The policy sees the mean over the windows so far; the paper's the last eight steps only, as its dynamics change within
  an episode. Tasks do not change within one here.
* Rewards are a part of every step, as in all methods here; the paper's tasks differ in dynamics alone.
* The policy is trained on z of whole episodes. The encoder is trained first and then frozen.
* Keys start at the first z that is drawn of each task, and follow faster than the public 0.005 an update would let them
  in so few updates; the radius is smaller than the public 100, which belongs to those.
* Backbone: the suite's choice; the paper's is CQL.

Privileges: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from omrl_bench.api import MetaPolicy, Transitions

from .conditioned import META_BATCH
from .encoded import EncodedConfig
from .networks import Encoder, Rngs, SeedLayerNorm, SeedLinear, masked_mean, standard_normal, take_seed
from .pearl import kl_divergence
from .policies import Actor, Prior, PriorPolicy
from .recurrence import SeedGRU
from .training import Batches, Scale, seed_generators
from .two_stage import TwoStage

METHODS = {"dora": "Dora"}

WINDOW = 8  # steps that one representation is made of


@dataclass(frozen=True)
class DoraConfig(EncodedConfig):
    """Hyper-parameters; the public re-implementation's in brackets where another value is used."""

    latent: int = 5
    width: int = 64  # of the recurrent state [128]
    windows: int = 4  # of each task of the meta-batch, per update; ours
    radius: float = 1.0  # [100]
    key_rate: float = 0.02  # of the tasks' means [0.005]
    debias_weight: float = 0.01
    learning_rate: float = 1e-3  # of the encoder [1e-4]

    PRESETS: ClassVar = {
        "paper": {"width": 128, "radius": 100.0, "key_rate": 0.005, "learning_rate": 1e-4},
    }


class WindowEncoder(Encoder):
    """GRU over windows of :data:`WINDOW` steps, a Gaussian of each, the mean of their means."""

    MIN_VARIANCE = 1e-4

    def __init__(self, rngs: Rngs, features: int, config: DoraConfig) -> None:
        super().__init__()
        self.enter = SeedLinear(rngs, features, config.width)
        self.norm = SeedLayerNorm(rngs, config.width) if config.layer_norm else nn.Identity()
        self.recurrent = SeedGRU(rngs, config.width, config.width)
        self.head = SeedLinear(rngs, config.width, 2 * config.latent)

    def posterior(self, windows: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance of each window: (R, C, steps, features) -> (R, C, latent) each."""
        return self.gaussian(self.states(windows, valid))

    def states(self, steps: Tensor, valid: Tensor | None = None, start: Tensor | None = None) -> Tensor:
        """Recurrent state after the last step: (R, C, steps, features) -> (R, C, width)."""
        return self.recurrent(self.norm(self.enter(steps)).relu(), valid, start)[:, :, -1]

    def gaussian(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance that belong to recurrent states (R, C, width)."""
        mean, raw = self.head(states).chunk(2, dim=-1)
        return mean, nn.functional.softplus(raw) + self.MIN_VARIANCE

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """(R, C, n, features), in the order of the steps -> (R, C, latent)."""
        shape = context.shape[:3]
        valid = torch.ones(shape, dtype=torch.bool) if valid is None else valid
        missing = -shape[2] % WINDOW
        windows = pad(context, (0, 0, 0, missing)).reshape(*shape[:1], -1, WINDOW, context.shape[3])
        steps = pad(valid, (0, missing)).reshape(shape[0], -1, WINDOW)
        z = self.posterior(windows, steps)[0].reshape(*shape[:2], -1, self.head.weight.shape[-1] // 2)
        return masked_mean(z, steps.any(dim=-1).reshape(z.shape[:-1]))


class Dora(TwoStage):
    """DORA.

    Attributes:
        keys: The mean of each training task, (R, tasks, latent); a tool of training, not saved.
    """

    Config = DoraConfig
    encoder: WindowEncoder

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks, and the generators of the loss."""
        super().build(seeds, scale)
        self.noise = seed_generators(seeds, "noise")
        self.keys: Tensor | None = None

    def make_encoder(self, rngs: Rngs, features: int) -> WindowEncoder:
        """The recurrent encoder."""
        return WindowEncoder(rngs, features, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """Distortion and debias of some windows of a meta-batch; the keys move."""
        if self.keys is None:
            every = np.broadcast_to(np.arange(len(batches.data.tasks)), (len(self.seeds), len(batches.data.tasks)))
            self.keys = self.draw(batches, every)[0].detach()
        tasks = batches.tasks(META_BATCH)
        labels = np.repeat(tasks, self.config.windows, axis=1)
        z, mean, variance = self.draw(batches, labels)
        own = torch.as_tensor(labels)
        loss = distortion(z, self.keys, own, self.config.radius)
        self.keys = moved(self.keys, z.detach(), torch.as_tensor(tasks), self.config.key_rate)
        return (loss + self.config.debias_weight * kl_divergence(mean, variance)).sum()

    def draw(self, batches: Batches, labels: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Z of one window of each task, its mean and its variance: labels (R, C) -> (R, C, latent) each."""
        mean, variance = self.encoder.posterior(batches.segments(batches.episodes(labels), WINDOW, WINDOW))
        return mean + variance.sqrt() * standard_normal(self.noise, *mean.shape[1:]), mean, variance

    def policy(self, seed: int) -> MetaPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        return WindowPolicy(self.actor(index), take_seed(self.encoder, index), self.prior(index), self.scale)


def distortion(z: Tensor, keys: Tensor, own: Tensor, radius: float) -> Tensor:
    """L_distortion, mean over z (R, C, latent): keys (R, T, latent), own (R, C) which key is a z's own -> (R,)."""
    scores = -(z[:, :, None] - keys[:, None]).square().sum(dim=-1) / radius
    return -scores.log_softmax(dim=-1).gather(2, own[..., None])[..., 0].mean(dim=1)


def moved(keys: Tensor, z: Tensor, tasks: Tensor, rate: float) -> Tensor:
    """The keys (R, T, latent), those of drawn tasks (R, B) a step nearer to the mean of their z, (R, B k, latent)."""
    of_task = z.reshape(*tasks.shape, -1, z.shape[-1]).mean(dim=2)
    index = tasks[..., None].expand_as(of_task)
    return keys.scatter(1, index, torch.lerp(keys.gather(1, index), of_task, rate))


class WindowPolicy(PriorPolicy):
    """Acts on the mean over the windows of the context and of what it has observed since.

    Args:
        actor: The seed's actor.
        encoder: The seed's encoder.
        prior: Before it has seen anything.
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, encoder: WindowEncoder, prior: Prior, scale: Scale) -> None:
        super().__init__(actor, prior, scale)
        self._encoder = encoder

    def reset(self, lanes: int) -> None:
        """Forget everything."""
        super().reset(lanes)
        self._begin(torch.zeros_like(self._z), torch.zeros(lanes, 1))

    def _begin(self, total: Tensor, count: Tensor) -> None:
        """Start with the sum over some windows and their number; the next window is empty."""
        self._total, self._count = total, count
        self._steps_in_window = torch.zeros(len(total), 1, dtype=torch.long)
        self._state = torch.zeros(1, len(total), self._encoder.recurrent.width)

    @torch.no_grad()
    def condition(self, context: Transitions) -> None:
        """The context takes the place of all that was seen."""
        valid = torch.as_tensor(context.valid)
        z = self._encoder(self._scale.features(context)[None], valid[None])[0]
        windows = pad(valid, (0, -valid.shape[1] % WINDOW)).reshape(len(valid), -1, WINDOW).any(dim=-1)
        count = windows.sum(dim=1, keepdim=True).float()
        self._begin(z * count, count)
        self.know(z, count > 0)

    @torch.no_grad()
    def observe(self, transitions: Transitions) -> None:
        """Take one step into the window that has begun; it is closed when it is full."""
        valid = torch.as_tensor(transitions.valid)
        features = self._scale.features(transitions)[None]
        self._state = self._encoder.states(features, valid[None], self._state)
        self._steps_in_window = self._steps_in_window + valid
        z, begun = self._encoder.gaussian(self._state)[0][0], self._steps_in_window > 0
        count = self._count + begun
        self.know(torch.where(count > 0, (self._total + z * begun) / count.clamp(min=1), self._z), count > 0)
        full = self._steps_in_window == WINDOW
        self._total, self._count = self._total + z * full, self._count + full
        self._steps_in_window = self._steps_in_window.masked_fill(full, 0)
        self._state = self._state.masked_fill(full[None], 0.0)
