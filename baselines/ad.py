"""Algorithm distillation, AD (Laskin et al., ICLR 2023): a transformer that has read how tasks are learnt learns one.

    L = - log P( a_t | episodes of the task that were logged earlier in its learning, the present one up to s_t )

where P is a Gaussian with a tanh mean; both mean and deviation are heads of the transformer. Behaviours 0 to 9 of the
data are the order of learning. A window is some episodes of a task in that order; as the policy acts, its own last
episodes are the window, and nothing else is updated.

While there is no earlier episode, or it is asked to explore, the policy draws its actions from P; the mean of all ways
that a task can be begun leads nowhere and shows nothing. After that it takes the mean.

Deviations
* The episodes of a window are drawn from the whole of the learning and put in order (the paper's subsampling of the
  history), so that a window spans it. Data of one behaviour have no order.
* A token also says which episode of the window it is of; public code has its step in the episode only.
* A given context is the window's earlier episodes.
* Public code for continuous actions has a squared error and no draws.
* Those of :mod:`.in_context` and :mod:`.sequence`. Values in brackets are of the continuous version of T2MIR's public
  code, whose episodes are put in the order of their returns.

Not compared with numbers of public code, whose tokens differ; the loss is tested against a slow evaluation.

Privileges: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import TaskSpace

from .conditioned import META_BATCH
from .in_context import Cloner, Cloning, HistoryConfig, HistoryPolicy, Window, draw_history
from .networks import Rngs, SeedLinear, take_seed
from .sequence import EpisodeSteps, SequenceConfig
from .training import Batches, Scale

METHODS = {"ad": "AD"}


@dataclass(frozen=True)
class ADConfig(HistoryConfig, SequenceConfig):
    """Hyper-parameters; T2MIR's in brackets where another value is used."""

    heads: int = 1  # [8]
    states: int = 16  # of each window that are learnt from [all]

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {"width": 256, "layers": 3, "heads": 8, "steps": 200, "states": 200, "learning_rate": 3e-4},
    }


class GaussianCloner(Cloner):
    """The transformer with heads for the mean and the deviation of actions."""

    LOG_STD = (-4.0, 0.0)  # of actions in [-1, 1]

    def __init__(self, rngs: Rngs, space: TaskSpace, config: ADConfig) -> None:
        super().__init__(rngs, space, config, config.episodes)
        self.spread = SeedLinear(rngs, config.width, space.action_size)

    def log_std(self, hidden: Tensor) -> Tensor:
        """Logarithm of the deviation of actions, (..., width) -> (..., action size)."""
        return self.spread(hidden).clamp(*self.LOG_STD)


class AD(Cloning):
    """Algorithm distillation."""

    Config = ADConfig
    model: GaussianCloner

    def make_model(self, rngs: Rngs) -> GaussianCloner:
        """Over the episodes of a window."""
        return GaussianCloner(rngs, self.space, self.config)

    def prepare(self, batches: Batches) -> None:
        """Where each row is in its episode."""
        self._where = EpisodeSteps(batches.data)

    def loss(self, batches: Batches) -> Tensor:
        """The file's loss on windows of a meta-batch, mean over components, without its constant, (R,)."""
        window = draw_history(batches, self._where, batches.tasks(META_BATCH), self.config, self.config.states)
        actions = batches.at(window.states)[..., self.space.observation_size : self.space.input_size]
        return self.error(batches, window, actions)

    def error(self, batches: Batches, window: Window, actions: Tensor) -> Tensor:
        """- log P of actions (R, C, Q, action size) in the states of a window, (R,)."""
        hidden = self.model.of(batches, window)
        log_std = self.model.log_std(hidden)
        error = (actions - self.model.act(hidden)) / log_std.exp()
        return (0.5 * error.square() + log_std).mean(dim=(1, 2, 3))

    def policy(self, seed: int) -> ADPolicy:
        """The current policy of a seed."""
        return ADPolicy(take_seed(self.model, self.seeds.index(seed)), self.config, self.scale, seed)


class ADPolicy(HistoryPolicy):
    """The mean action given the last episodes; drawn actions while there are none, or to explore.

    Args:
        model: The seed's network.
        config: Of the context.
        scale: The scaling of the training data.
        seed: Seed of the draws.
    """

    def __init__(self, model: GaussianCloner, config: ADConfig, scale: Scale, seed: int) -> None:
        super().__init__(model, self._drawn, config, scale)
        self._heads, self._seed, self._exploring = model, seed, False

    def reset(self, lanes: int) -> None:
        """An empty context; the generator starts again."""
        self._rng = np.random.default_rng([self._seed, lanes])
        super().reset(lanes)

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The mean action, or a draw."""
        self._exploring = explore
        return super().act(observations)

    def _drawn(self, observations: Tensor, hidden: Tensor) -> Tensor:
        mean = self._heads.act(hidden)
        if self._context and not self._exploring:
            return mean
        noise = torch.as_tensor(self._rng.standard_normal(mean.shape, dtype=np.float32))
        return (mean + self._heads.log_std(hidden).exp() * noise).clamp(-1, 1)
