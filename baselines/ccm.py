"""CCM (Fu et al., AAAI 2021), its encoders: tasks contrasted, beside value recovery or dynamics prediction.

Of M tasks two contexts each, z_n of the query encoder, k_n of the key encoder, similarity f(z, k) = z' W k:

    L_contrastive = - E log( exp f(z_n, k_n) / sum_j exp f(z_n, k_j) )                                           (eq. 3)
    key parameters <- (1 - tau) key parameters + tau query parameters, after each step

    rv       the critics' loss trains the encoder (value recovery)
    ccm-rv   L_contrastive alone first, then the critics' loss + contrastive_weight L_contrastive
    dp       the encoder predicts (s' - s, r) from (s, a, z) and (s - s', r) from (s', a, z), then it is frozen
    ccm-dp   the same with contrastive_weight L_contrastive

Method `ccm-rv-explore` (ccm_explore.py) adds the exploration agent.

Deviations
* On logged data: the exploring and executing agents of the paper collect their own.
* The encoder is FOCAL's mean of transition embeddings. The paper's is PEARL's, a product of Gaussians with a KL term.
  With prediction there is no tanh (nor is there in the paper): most of what is predicted is the same in all tasks,
  and on cheetah-vel the tanh was saturated, z constant, before the predictors asked for the task.
* M is the meta-batch, 16 tasks, not all tasks. Query and key are two episodes of a task (the benchmark's unit), from
  which the loss draws i.i.d. transitions; the paper draws both from all transitions of the task.
* W starts as the identity. In the public code the gradient of L_contrastive is cleared before it is applied, so that it
  acts in pre-training only; here it acts throughout, as the paper says.
* Prediction: squared errors, averaged over components; predicted transitions are of another episode of the task than
  the context. The paper follows CaDM, whose predictions are Gaussian and of the steps next to the context, and adds the
  reward where dynamics are fixed; a method is not told where they are, so r is always predicted.
* DP is trained before the backbone, not beside it: no gradient of the policy reaches that encoder in the paper either.
* s' is always part of the context. Backbone: the suite's choice; the paper's is SAC.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 121 to 136 thousand parameters, 0.9 to 1.4 of
its training time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log

from .conditioned import META_BATCH
from .encoded import EncodedConfig
from .focal import MeanEncoder
from .joint import Joint
from .networks import Encoder, Rngs, TensorModule, follow, mlp
from .training import Batches, adam, step
from .two_stage import TwoStage

METHODS = {
    "rv": "ValueRecovery",
    "ccm-rv": "ContrastiveValueRecovery",
    "dp": "DynamicsPrediction",
    "ccm-dp": "ContrastiveDynamicsPrediction",
}


@dataclass(frozen=True)
class RVConfig(EncodedConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    latent: int = 7
    width: int = 128  # of the encoder's three hidden layers [400]
    transitions: int = 32  # per context in the losses [100 to 256, from many episodes]
    learning_rate: float = 1e-3  # of the encoder [3e-4]
    bounded: bool = True  # whether a tanh follows the embedding of a transition

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 400, "transitions": 100, "learning_rate": 3e-4},
    }


@dataclass(frozen=True)
class ContrastiveRVConfig(RVConfig):
    """Hyper-parameters of value recovery with contrast."""

    contrastive_weight: float = 10.0
    key_rate: float = 0.005  # tau of the key encoder


@dataclass(frozen=True)
class DPConfig(RVConfig):
    """Hyper-parameters of dynamics prediction."""

    head_width: int = 64  # of the two hidden layers of each predictor [300]
    predictions: int = 32  # transitions of each task that are predicted per update; ours

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 400, "transitions": 100, "learning_rate": 3e-4, "head_width": 300},
    }


@dataclass(frozen=True)
class ContrastiveDPConfig(DPConfig):
    """Hyper-parameters of dynamics prediction with contrast."""

    contrastive_weight: float = 10.0
    key_rate: float = 0.005  # tau of the key encoder


class Contrast(nn.Module):
    """Keys that slowly follow a query encoder, and the bilinear similarity W of queries and keys.

    Args:
        rngs: One generator per seed.
        query: What the query encoder makes of a transition.
        latent: Length of z.
        bound: What follows it.
    """

    def __init__(self, rngs: Rngs, query: TensorModule, latent: int, bound: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.bound = bound
        self.key = copy.deepcopy(query).requires_grad_(False)
        self.similarity = nn.Parameter(torch.eye(latent).repeat(len(rngs), 1, 1))

    def keys(self, context: Tensor) -> Tensor:
        """(R, C, n, features) -> (R, C, latent), without gradient."""
        return self.bound(self.key(context)).mean(dim=-2).detach()

    def similarities(self, z: Tensor, keys: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """F of every query with its own key (R, C), and the logarithm of the sum of exp f over all keys (R, C).

        z is (R, C, latent), keys (R, M, latent), own (C,) which key is a query's own.
        """
        scores = z @ self.similarity @ keys.transpose(1, 2)
        positive = scores.gather(2, own.expand(scores.shape[0], -1)[..., None])[..., 0]
        return positive, scores.logsumexp(dim=-1)

    def losses(self, z: Tensor, keys: Tensor, own: Tensor) -> Tensor:
        """Eq. 3 of every query, (R, C); arguments as of :meth:`similarities`."""
        positive, all_keys = self.similarities(z, keys, own)
        return all_keys - positive

    def loss(self, z: Tensor, keys: Tensor) -> Tensor:
        """Eq. 3, mean over tasks: z and keys (R, M, latent), in the same order -> (R,)."""
        return self.losses(z, keys, torch.arange(keys.shape[1])).mean(dim=-1)


class RVEncoder(MeanEncoder):
    """The mean encoder, bounded or not."""

    def __init__(self, rngs: Rngs, features: int, config: RVConfig) -> None:
        super().__init__(rngs, features, config.width, config.latent)
        self.bounded = config.bounded

    def embed(self, context: Tensor) -> Tensor:
        """Each transition's embedding: (R, C, n, features) -> (R, C, n, latent)."""
        return torch.tanh(self.transition(context)) if self.bounded else self.transition(context)


class ContrastiveEncoder(RVEncoder):
    """The mean encoder with its contrast."""

    def __init__(self, rngs: Rngs, features: int, config: ContrastiveRVConfig) -> None:
        super().__init__(rngs, features, config)
        self.contrast = Contrast(rngs, self.transition, config.latent, torch.tanh if config.bounded else nn.Identity())


class PredictiveEncoder(MeanEncoder):
    """The mean encoder, without its tanh, with predictors of dynamics and reward, forward and backward."""

    def __init__(self, rngs: Rngs, features: int, observation_size: int, config: DPConfig) -> None:
        super().__init__(rngs, features, config.width, config.latent)
        self.observation_size = observation_size
        inputs = features - observation_size - 1 + config.latent
        sizes = inputs, config.head_width, config.head_width, observation_size + 1
        self.forward_model = mlp(rngs, *sizes)
        self.backward_model = mlp(rngs, *sizes)

    def embed(self, context: Tensor) -> Tensor:
        """Each transition's embedding: (R, C, n, features) -> (R, C, n, latent)."""
        return self.transition(context)

    def prediction_loss(self, z: Tensor, transitions: Tensor) -> Tensor:
        """Forward and backward errors: z (R, T, latent), transitions (R, T, B, features) of the tasks -> (R,)."""
        size = self.observation_size
        states, following = transitions[..., :size], transitions[..., -size:]
        actions, rewards = transitions[..., size : -size - 1], transitions[..., -size - 1 : -size]
        told = z[:, :, None].expand(-1, -1, transitions.shape[2], -1)
        total = torch.zeros(())
        for model, start, end in (
            (self.forward_model, states, following),
            (self.backward_model, following, states),
        ):
            predicted = model(torch.cat([start, actions, told], dim=-1))
            total = total + (predicted - torch.cat([end - start, rewards], dim=-1)).square().mean(dim=(1, 2, 3))
        return total


class ContrastivePredictiveEncoder(PredictiveEncoder):
    """The predictive encoder with its contrast."""

    def __init__(self, rngs: Rngs, features: int, observation_size: int, config: ContrastiveDPConfig) -> None:
        super().__init__(rngs, features, observation_size, config)
        self.contrast = Contrast(rngs, self.transition, config.latent, nn.Identity())


class ValueRecovery(Joint):
    """RV: the encoder is trained by the critics' loss."""

    Config = RVConfig

    def make_encoder(self, rngs: Rngs, features: int) -> Encoder:
        """The mean encoder."""
        return RVEncoder(rngs, features, self.config)


class ContrastiveValueRecovery(ValueRecovery):
    """CCM+RV."""

    Config = ContrastiveRVConfig
    encoder: ContrastiveEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> ContrastiveEncoder:
        """The mean encoder with its contrast."""
        return ContrastiveEncoder(rngs, features, self.config)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Pre-train the encoder by contrast alone."""
        optimiser = adam((self.encoder, self.config.learning_rate))
        for update in range(updates):
            queries, keys = self.draw_contexts(batches, batches.tasks(META_BATCH)).chunk(2, dim=1)
            contrast = self.encoder.contrast
            step(optimiser, contrast.loss(self.encoder(queries), contrast.keys(keys)).sum())
            self.update_keys()
            log("representation", update + 1, updates)

    def draw_contexts(self, batches: Batches, tasks: np.ndarray) -> Tensor:
        """Queries of all tasks, then keys of all tasks."""
        return super().draw_contexts(batches, np.tile(tasks, 2))

    def sample(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of the queries, and the weighted contrast with the keys."""
        queries, keys = context.chunk(2, dim=1)
        z, contrast = self.encoder(queries), self.encoder.contrast
        return z, self.config.contrastive_weight * contrast.loss(z, contrast.keys(keys))

    def after_update(self, batches: Batches) -> None:
        """The key encoder follows."""
        self.update_keys()

    def update_keys(self) -> None:
        """The key encoder follows the query encoder."""
        follow(self.encoder.contrast.key, self.encoder.transition, self.config.key_rate)


class DynamicsPrediction(TwoStage):
    """DP: the encoder is trained by prediction."""

    Config = DPConfig
    encoder: PredictiveEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> PredictiveEncoder:
        """The predictive encoder."""
        return PredictiveEncoder(rngs, features, self.space.observation_size, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """Predict transitions of a meta-batch, each task's from one of its contexts."""
        tasks = batches.tasks(META_BATCH)
        z = self.encoder(batches.contexts(batches.episodes(tasks), self.config.transitions))
        return self.loss(batches, tasks, z).sum()

    def loss(self, batches: Batches, tasks: np.ndarray, z: Tensor) -> Tensor:
        """Forward and backward error, given the tasks' embeddings, (R,)."""
        rows = batches.rows(tasks, self.config.predictions).reshape(*tasks.shape, -1)
        return self.encoder.prediction_loss(z, batches.at(rows))


class ContrastiveDynamicsPrediction(DynamicsPrediction):
    """CCM+DP."""

    Config = ContrastiveDPConfig
    encoder: ContrastivePredictiveEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> ContrastivePredictiveEncoder:
        """The predictive encoder with its contrast."""
        return ContrastivePredictiveEncoder(rngs, features, self.space.observation_size, self.config)

    def loss(self, batches: Batches, tasks: np.ndarray, z: Tensor) -> Tensor:
        """Prediction, and the weighted contrast with keys of other episodes of the tasks, (R,)."""
        contrast, episodes = self.encoder.contrast, batches.episodes(tasks)
        keys = contrast.keys(batches.contexts(episodes, self.config.transitions))
        return super().loss(batches, tasks, z) + self.config.contrastive_weight * contrast.loss(z, keys)

    def after_encoder_step(self) -> None:
        """The key encoder follows the query encoder."""
        follow(self.encoder.contrast.key, self.encoder.transition, self.config.key_rate)
