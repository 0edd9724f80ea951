"""Algorithm distillation, AD (Laskin et al., ICLR 2023): a transformer that has read how tasks are learnt learns one.

    L = - log P( a_t | episodes of the task that were logged earlier in its learning, the present one up to s_t )

for continuous actions a squared error. Behaviours 0 to 9 of the data are the order of learning. A window is some
episodes of a task in that order; as the policy acts, its own last episodes are the window, and nothing else is updated.

Deviations
* The episodes of a window are drawn from the whole of the learning and put in order (the paper's subsampling of the
  history), so that a window spans it. Data of one behaviour have no order.
* A token also says which episode of the window it is of; public code has its step in the episode only.
* A given context is the window's earlier episodes.
* Those of :mod:`.in_context` and :mod:`.sequence`. Values in brackets are of the continuous version of T2MIR's public
  code, whose episodes are put in the order of their returns.

Not compared with numbers of public code, whose tokens differ; the loss is tested against a slow evaluation.

Privileges: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .conditioned import META_BATCH
from .in_context import Cloner, Cloning, HistoryConfig, HistoryPolicy, draw_history
from .networks import Rngs
from .sequence import EpisodeSteps
from .training import Batches

METHODS = {"ad": "AD"}


@dataclass(frozen=True)
class ADConfig(HistoryConfig):
    """Hyper-parameters; T2MIR's in brackets where another value is used."""

    heads: int = 1  # [8]

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {"width": 256, "layers": 3, "heads": 8, "steps": 200, "states": 200, "learning_rate": 3e-4},
    }


class AD(Cloning):
    """Algorithm distillation."""

    Config = ADConfig

    def make_model(self, rngs: Rngs) -> Cloner:
        """Over the episodes of a window."""
        return Cloner(rngs, self.space, self.config, self.config.episodes)

    def prepare(self, batches: Batches) -> None:
        """Where each row is in its episode."""
        self._where = EpisodeSteps(batches.data)

    def loss(self, batches: Batches) -> Tensor:
        """The file's loss on windows of a meta-batch, (R,)."""
        window = draw_history(batches, self._where, batches.tasks(META_BATCH), self.config)
        actions = batches.at(window.states)[..., self.space.observation_size : self.space.input_size]
        return self.error(batches, window, actions)

    def policy(self, seed: int) -> HistoryPolicy:
        """The current policy of a seed."""
        return HistoryPolicy(*self.actor(self.seeds.index(seed)), self.config, self.scale)
