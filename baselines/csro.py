"""CSRO (Gao et al., NeurIPS 2023): FOCAL's encoder, made to forget the behaviour policy; contexts not of the prior.

    L_encoder = L_metric + mi_weight L_CLUB
    L_CLUB = mean_i log q(e_i | s_i, a_i) - mean_ij log q(e_j | s_i, a_i)      (CLUB, upper bound on I(z; (s, a)))
    L_q = - mean_i log q(e_i | s_i, a_i)                                       (fits q, trains nothing else)

over the transitions i, j of a task, mean over the tasks of a meta-batch; e_i is the embedding of one transition, q a
diagonal Gaussian. The bound holds where q is the true conditional; its value is in nats.

At test time (the paper's non-prior context collection) the policy explores with uniform actions for the first half of
an episode's horizon, and after that with the representation of all that it has collected.

Deviations
* The bound is that of the paper, a sum over the dimensions of z; the public code takes the mean over them, twice it,
  and weights it with 10 to 50 beside a metric loss weighted 10. With its latent size 20 that is 0.1 to 0.5 here.
* q's outputs: mean with tanh, as embeddings have, and variance softplus, not below 0.3. In the public code the
  variance goes through tanh as well, which keeps it between 0.31 and 1.31. Where it may fall to 0.01 the
  bound grows without end, and embeddings saturate (docs/decisions.md).
* Pairs stay within a task, as in the public code; the paper does not say.
* q and the encoder step together, from one batch, with the same learning rate; Adam works elementwise, so this is q's
  own optimiser.
* The encoder is trained first and then frozen; metric loss, contexts and embeddings are those of `focal`.
* While it explores the policy brings its representation up to date at each step, the paper's after each episode. The
  first half is counted from the reset, as in the public code, not in every episode anew.
* Backbone: the suite's choice; the paper's is BRAC.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 137 thousand parameters, 1.2 of its training
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from omrl_bench.api import MetaPolicy, Transitions

from .focal import Focal, FocalConfig, MeanEncoder, metric_loss
from .networks import Rngs, masked_mean, mlp, take_seed
from .policies import Actor, MeanPolicy, Prior
from .training import Batches, Scale

METHODS = {"csro": "CSRO"}


@dataclass(frozen=True)
class CSROConfig(FocalConfig):
    """Hyper-parameters beside FOCAL's; the public code's in brackets where another value is used."""

    mi_weight: float = 0.1  # of the bound [.1 for cheetah-vel, .25 for point, .5 for ant-goal]
    q_width: int = 64  # of q's two hidden layers [three of 200]

    PRESETS: ClassVar = {
        "quick": {"width": 64},
        "paper": {"width": 200, "transitions": 100, "learning_rate": 3e-4, "q_width": 200},
    }


class BehaviourEncoder(MeanEncoder):
    """FOCAL's encoder, and q(e | s, a), which only the loss uses."""

    MIN_VARIANCE = 0.3

    def __init__(self, rngs: Rngs, features: int, inputs: int, config: CSROConfig) -> None:
        super().__init__(rngs, features, config.width, config.latent)
        self.inputs = inputs
        self.q = mlp(rngs, inputs, config.q_width, config.q_width, 2 * config.latent)

    def conditional(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q given the (s, a) of transitions, (R, ..., latent) each."""
        mean, raw = self.q(context[..., : self.inputs]).chunk(2, dim=-1)
        return torch.tanh(mean), softplus(raw) + self.MIN_VARIANCE


class CSRO(Focal):
    """CSRO."""

    Config = CSROConfig
    encoder: BehaviourEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> BehaviourEncoder:
        """FOCAL's encoder with q beside it."""
        return BehaviourEncoder(rngs, features, self.space.input_size, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """Metric loss, bound and fit of q of a meta-batch."""
        config = self.config
        contexts, labels = self.draw_contexts(batches)
        embedded = self.encoder.embed(contexts)
        metric = metric_loss(masked_mean(embedded, None), labels, config.beta, config.epsilon)
        e, *q = (of_each_task(x) for x in (embedded, *self.encoder.conditional(contexts)))
        bound = club_bound(e, *(x.detach() for x in q))
        return (metric + config.mi_weight * bound - log_likelihood(e.detach(), *q)).sum()

    def policy(self, seed: int) -> MetaPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        encoder = take_seed(self.encoder, index)
        random_actions = self.space.horizon // 2, self.space.action_size
        return CollectingPolicy(self.actor(index), encoder, self.prior(index), self.scale, random_actions, seed)


def of_each_task(x: Tensor) -> Tensor:
    """Transitions task by task: (R, C, n, size), two contexts of each task side by side -> (R, T, 2 n, size)."""
    return x.reshape(len(x), x.shape[1] // 2, 2 * x.shape[2], x.shape[3])


def log_likelihood(e: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Mean over transitions of log q(e_i | s_i, a_i) without its constant: (R, T, N, latent) each -> (R,)."""
    return -0.5 * ((e - mean) ** 2 / variance + variance.log()).sum(dim=-1).mean(dim=(1, 2))


def club_bound(e: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """CLUB: log q of matched pairs less that of all pairs of a task, mean over both: (R, T, N, latent) each -> (R,).

    The mean over j of (e_j - mean_i)^2 is (mean of e - mean_i)^2 + variance of e, so that no pair is written out; the
    logarithms of the variances cancel.
    """
    centre = e.mean(dim=2, keepdim=True)
    all_pairs = (centre - mean) ** 2 + ((e - centre) ** 2).mean(dim=2, keepdim=True)
    matched = (e - mean) ** 2
    return 0.5 * ((all_pairs - matched) / variance).sum(dim=-1).mean(dim=(1, 2))


class CollectingPolicy(MeanPolicy):
    """Explores at random, then by what it has seen; without ``explore`` it acts on the given context.

    Args:
        actor: The seed's actor.
        encoder: The seed's encoder.
        prior: Before it has seen anything.
        scale: The scaling of the training data.
        random_actions: How many random actions each lane starts with when it explores, and their length.
        seed: Seed of the random actions.
    """

    def __init__(
        self, actor: Actor, encoder: MeanEncoder, prior: Prior, scale: Scale, random_actions: tuple[int, int], seed: int
    ) -> None:
        super().__init__(actor, encoder.embed, prior, scale)
        self._random_actions, self._seed = random_actions, seed

    def reset(self, lanes: int) -> None:
        """Forget what was collected; the generator of random actions starts again."""
        super().reset(lanes)
        limit = self._scale.action_limit
        uniform = np.random.default_rng(self._seed).uniform(-limit, limit, (lanes, *self._random_actions))
        self._random = uniform.astype(np.float32)
        self._explored, self._exploring = 0, False

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """Random actions in the first exploring steps; else the actor's mean action."""
        self._exploring = explore
        if not explore:
            return super().act(observations)
        self._explored += 1
        if self._explored <= self._random.shape[1]:
            return self._random[:, self._explored - 1].copy()
        return super().act(observations)

    def observe(self, transitions: Transitions) -> None:
        """Add what an exploring step has shown."""
        if self._exploring:
            self.take(transitions)
            self.update()
