"""Multi-task behaviour cloning with a context, a control: what learning from rewards adds to it.

    L = - E log pi(a | s, z),   z = mean_n tanh(f(c_n)),   pi = N(tanh(mu(s, z)), sigma^2)

over the logged transitions of a task and a context of the same task; policy and encoder are trained together, end to
end, by this loss alone. Rewards are seen by the encoder, as a part of the context, and by nothing else. So it imitates
the mixture of policies that made a task's data, the bad ones too.

* The encoder is FOCAL's, a context one logged episode of the task, as in ``supervised``, which has the losses of the
  suite's backbone in the place of this one.
* It has a learner of its own, of the width of the backbones, whichever the suite chooses.

Privileges: none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .backbone import Learner, MakeNetwork
from .controls import Supervised
from .networks import take_seed
from .policies import Actor
from .training import Batch

METHODS = {"context-bc": "ContextBC"}


@dataclass(frozen=True)
class CloningConfig:
    """Hyper-parameters of the policy; ours."""

    width: int = 128  # of the two hidden layers
    batch: int = 256  # transitions per update and seed
    learning_rate: float = 1e-3
    layer_norm: bool = False  # before every ReLU

    PRESETS: ClassVar = {"quick": {"width": 64}}


class Cloning(Learner):
    """A Gaussian policy of R seeds on (s, z), trained by its likelihood."""

    Config = CloningConfig

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """The policy and its deviation, which does not depend on the state."""
        self.policy = make(observation_size, action_size)
        self.log_std = nn.Parameter(torch.full((len(self.rngs), 1, action_size), -1.0))

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of L; ``policy_z`` gets its gradient."""
        mean = torch.tanh(self.policy(batch.observations, z.detach() if policy_z is None else policy_z))
        log_std = self.log_std.clamp(-5.0, 2.0)
        error = (batch.actions - mean) / log_std.exp()
        log_prob = (-0.5 * error**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        return -log_prob.mean(dim=-1).sum()

    def actor(self, index: int) -> Actor:
        """One seed's mean action."""
        policy = take_seed(self.policy, index)
        return lambda observations, z: torch.tanh(policy(observations, z))


class ContextBC(Supervised):
    """Behaviour cloning on (s, z)."""

    own_backbone: ClassVar = Cloning
