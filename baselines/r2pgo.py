"""R2PGO (Li, Lin, Chen & Liu, 2024): robust task representations and adaptive policy generation.

The VariBAD auto-encoder (eq. 2 and 3, see :mod:`.varibad`) with a contrastive term on its embeddings x,

    b_ij = exp( -alpha ||p_i - p_j||^2 )                                                                     (eq. 4)
    L_contra = -1/N_tasks sum_i log( exp(x_i . x_i+ / tau)
                                     / sum_{j != i} sum_{k <= N_ij} exp(x_i . x_ijk- / tau) )                (eq. 5)
    N_ij = b_ij N_total,   L = L_VAE + L_contra

p are the known attributes of the tasks: similar tasks give more negatives. The positive, x at another step of the same
episode, is not in the denominator. In actor and critics a hypernetwork makes the last layer from the belief,
x_3 = F_2(F_1(s)), a = F_{H(z)}(x_3) (section 4.2).

* ``r2pgo``; ``r2pgo-norctr`` without the contrastive term; ``r2pgo-noapg`` with plain networks on (s, z);
  ``r2pgo-blind`` with the distance of learned embeddings instead of attributes.

Deviations
* The paper reports no values of alpha, tau, N_total, latent size, widths, rates: all are ours.
* L_contra has a small weight: the paper adds it to errors that are summed over steps and predicted steps, which are
  averaged here (see :mod:`.varibad`).
* x is the posterior mean after at least one step, on the unit sphere: with the positive missing from the denominator,
  a product of free vectors has no lower bound.
* Attributes are standardised over the training tasks and ||.||^2 is divided by their number.
* N_ij is rounded up, and is 1 at least, so that the denominator is never empty. The negatives of a task are one draw
  of N_total steps, of which anchors take the first N_ij.
* A hypernetwork is one hidden layer; its output starts small, so that the layers it makes start as common ones do. The
  value network of the backbone has one too.
* The policy sees mean and log-variance of the belief; the paper says "embedding".
* Backbone: the suite's choice; the paper's is SAC without any regularisation towards the data.

Privileges: descriptors (the attributes), in training only; ``r2pgo-norctr`` and ``r2pgo-blind``: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 115 to 148 thousand parameters, 1.4 to 1.9 of
its training time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from omrl_bench.api import Requirements

from .backbone import Network
from .networks import ConditionedMLP, Rngs, TensorModule, mlp
from .training import Batches, descriptor_scale
from .varibad import VariBAD, VariBADConfig, draw_steps, take_steps

METHODS = {
    "r2pgo": "R2PGO",
    "r2pgo-norctr": "R2PGONoContrast",
    "r2pgo-noapg": "R2PGOPlain",
    "r2pgo-blind": "R2PGOBlind",
}


@dataclass(frozen=True)
class R2PGOConfig(VariBADConfig):
    """Hyper-parameters, all ours; those of the auto-encoder are BOReL's."""

    trajectories: int = 6  # more tasks to contrast
    alpha: float = 1.0  # how fast the number of negatives falls with the distance of tasks, eq. 4
    temperature: float = 0.5  # tau in eq. 5
    negatives: int = 16  # N_total
    contrast_weight: float = 0.001  # of L_contra [1, beside errors that are summed over steps]

    PRESETS: ClassVar[dict[str, dict[str, float]]] = {
        **VariBADConfig.PRESETS,
        "paper": VariBADConfig.PRESETS["paper"] | {"state_weight": 1.0},
    }


class HyperMLP(TensorModule):
    """ReLU network on x whose last layer is made from z: (R, ..., inputs), (R, ..., z size) -> (R, ..., outputs)."""

    WIDTH = 32  # of the hypernetwork

    def __init__(self, rngs: Rngs, inputs: int, z_size: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.shared = mlp(rngs, inputs, *hidden)
        self.hyper = mlp(rngs, z_size, self.WIDTH, (hidden[-1] + 1) * outputs)
        with torch.no_grad():
            for parameter in self.hyper[-1].parameters():
                parameter.mul_((self.WIDTH / hidden[-1]) ** 0.5)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Apply each sample's own last layer."""
        common = self.shared(x).relu()
        weight, bias = self.last_layer(z)
        return (common[..., None, :] @ weight)[..., 0, :] + bias

    def last_layer(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (R, ..., hidden, outputs) and bias (R, ..., outputs) of the last layer."""
        made = self.hyper(z).reshape(*z.shape[:-1], -1, self.outputs)
        return made[..., :-1, :], made[..., -1, :]


class R2PGO(VariBAD):
    """R2PGO."""

    Config = R2PGOConfig
    network: ClassVar[Network] = HyperMLP
    requires = Requirements(privileges=frozenset({"descriptors"}))

    def regulariser(self, batches: Batches, tasks: np.ndarray, beliefs: Tensor, lengths: np.ndarray) -> Tensor:
        """The contrastive term, on random steps of every trajectory."""
        config = self.config
        steps = draw_steps(self.noise, lengths + 1, 2 + config.negatives, first=1)
        drawn = take_steps(beliefs, steps)[..., : config.latent]
        counts = self.negative_counts(self.attributes(batches, tasks, beliefs))
        return config.contrast_weight * self.contrastive_loss(normalize(drawn, dim=-1), counts)

    def attributes(self, batches: Batches, tasks: np.ndarray, beliefs: Tensor) -> Tensor:
        """Attributes p of tasks (R, C), standardised over all training tasks: (R, C, size)."""
        mean, deviation = descriptor_scale(batches.data)
        scaled = (batches.data.descriptors - mean) / deviation
        return torch.as_tensor(scaled[tasks]).float()

    def negative_counts(self, attributes: Tensor) -> Tensor:
        """N_ij, eq. 4: attributes (R, C, size) -> (R, C, C); none of the task itself."""
        distance = (attributes[:, :, None] - attributes[:, None]).square().mean(dim=-1)
        counts = (self.config.negatives * (-self.config.alpha * distance).exp()).ceil().clamp(min=1)
        return counts * ~torch.eye(attributes.shape[1], dtype=torch.bool)

    def contrastive_loss(self, x: Tensor, counts: Tensor) -> Tensor:
        """Eq. 5.

        Args:
            x: (R, C, 2 + N_total, latent) unit vectors of every task: anchor, positive, negatives for the others.
            counts: (R, C, C) number of negatives that anchor i has of task j.

        Returns:
            (R,).
        """
        anchor, positive, negative = x[:, :, 0], x[:, :, 1], x[:, :, 2:]
        attraction = (anchor * positive).sum(dim=-1) / self.config.temperature
        logits = torch.einsum("ril,rjkl->rijk", anchor, negative) / self.config.temperature
        used = torch.arange(negative.shape[2]) < counts[..., None]
        repulsion = logits.masked_fill(~used, torch.finfo(logits.dtype).min / 2).flatten(2).logsumexp(dim=-1)
        return (repulsion - attraction).mean(dim=-1)


class R2PGONoContrast(R2PGO):
    """R2PGO without the contrastive term (the paper's ablation of RCTR)."""

    requires = Requirements()

    def regulariser(self, batches: Batches, tasks: np.ndarray, beliefs: Tensor, lengths: np.ndarray) -> Tensor:
        """Nothing."""
        return torch.zeros(())


class R2PGOPlain(R2PGO):
    """R2PGO with plain networks on (s, z) (the paper's ablation of APG)."""

    network: ClassVar[Network] = ConditionedMLP


class R2PGOBlind(R2PGO):
    """R2PGO that is not told the attributes."""

    requires = Requirements()

    def attributes(self, batches: Batches, tasks: np.ndarray, beliefs: Tensor) -> Tensor:
        """Posterior means at the end of each trajectory, standardised over the meta-batch, without a gradient."""
        mean = beliefs[:, :, -1, : self.config.latent].detach()
        return (mean - mean.mean(dim=1, keepdim=True)) / (mean.std(dim=1, keepdim=True, correction=0) + 1e-3)
