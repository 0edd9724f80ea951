"""MBML, multi-task batch RL with metric learning (Li et al., NeurIPS 2020): a BCQ of every task, distilled into one.

Of each training task i: a BCQ (Q_i, decoder D_i, perturbation xi_i), and an ensemble of models of reward and next
state. Transitions of task j whose (s, a) the ensemble of i is sure of can be relabelled as of task i:

    c_{j->i} = { (s, a, M_i(s, a)) : (s, a) of task j, deviation of M_i's members at (s, a) < delta }
    c_i      = transitions of task i, and c_{j->i}

Then one policy for all of them, Q_D, D and xi on (s, z), z ~ q(z | c_i) a product of Gaussians:

    L_triplet = mean_{i, j} max( KL( q(c_{j->i}) || q(c_i) ) - KL( q(c_{j->i}) || q(c_j) ) + margin, 0 )
    L_encoder = E ( Q_D(s, a, z) - Q_i(s, a) )^2 + kl_weight KL( q(z | c_i) || N(0, I) ) + L_triplet
    L_D, L_xi = E ( D(s, u, z) - D_i(s, u) )^2,  E ( xi(s, a, z) - xi_i(s, a) )^2,    z detached

The policy is BCQ's, with Q_D, D and xi. In the triplet only what is relabelled tells c_{j->i} from c_j: states and
actions are the same, so that the encoder must look at rewards and next states.

Deviations
* In an update every task i has one other task j; the public code takes all pairs, and lets those of which nothing can
  be relabelled add the margin to the mean. Here they are left out.
* The sets that the triplet compares hold as many transitions each: those at the places of the relabelled ones.
* delta is in units of the training data's deviations, and reward and next state must both be sure; the public code has
  raw units, by family, and the next state where dynamics vary.
* The two first stages are trained side by side, an update of each; all networks are smaller, the ensembles too.
* Q_i is the first of the twins.
* A context is one episode when it acts; it acts on z = 0, the prior's mean, before it has one, and on the posterior's
  mean after that; the public code draws z.
* s' is always part of the context.

BCQs and ensembles are tools of training: they are neither saved nor counted. It has its own policy, whichever backbone
the suite chooses. Privileges: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log

from .backbone import Learner, MakeNetwork
from .bcq import BCQ, CLIP, BCQConfig, Proposer, chooser
from .dynamics_ensemble import DynamicsEnsemble
from .encoded import Encoded, EncodedConfig, PriorName
from .networks import Rngs, standard_normal, take_seed
from .pearl import GaussianEncoder, PearlConfig, kl_divergence, product
from .policies import Actor
from .training import Batch, Batches, adam, join_features, seed_generators, step

METHODS = {"mbml": "MBML"}

#: Teachers' Q, decoded actions and moves at transitions (R, tasks * k, ...) and u, task by task.
Teach = Callable[[Batch, Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class MBMLConfig(EncodedConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    prior: PriorName = "zero"  # the mean of N(0, I)
    latent: int = 20
    width: int = 128  # of the encoder's three hidden layers [200]
    transitions: int = 32  # of each task, and relabelled ones, in a context [64]
    learning_rate: float = 1e-3  # of the encoder [3e-4]
    kl_weight: float = 0.1
    margin: float = 2.0
    delta: float = 0.1  # largest deviation of an ensemble that is sure [.1, .05 on cheetah-vel, in raw units]
    teacher_width: int = 64  # of the networks of each task's BCQ [400, 300; 750]
    teacher_batch: int = 32  # transitions per update and BCQ [100]
    teacher_learning_rate: float = 1e-3  # [3e-4]
    members: int = 3  # of each task's ensemble [20; 6 for walker]
    model_width: int = 64  # of their two hidden layers [one of 128; 256]
    model_batch: int = 32  # [128]
    model_learning_rate: float = 1e-3  # [3e-4]

    PRESETS: ClassVar = {
        "quick": {"width": 64, "teacher_width": 32, "members": 2, "model_width": 32},
        "paper": {
            "width": 200,
            "transitions": 64,
            "learning_rate": 3e-4,
            "teacher_width": 400,
            "teacher_batch": 100,
            "teacher_learning_rate": 3e-4,
            "members": 20,
            "model_width": 128,
            "model_batch": 128,
            "model_learning_rate": 3e-4,
        },
    }


@dataclass(frozen=True)
class DistilledConfig:
    """Hyper-parameters of the policy; the public code's in brackets where another value is used."""

    width: int = 128  # of the two hidden layers of every network [seven to nine of 1024]
    batch: int = 480  # transitions per update and seed, of all tasks [128 of each]
    learning_rate: float = 1e-3  # [3e-4]
    perturbation: float = 0.05  # phi, of actions in [-1, 1]
    choices: int = 10  # actions that the policy chooses from
    layer_norm: bool = False  # before every ReLU

    PRESETS: ClassVar = {"quick": {"width": 64}, "paper": {"width": 1024, "batch": 3840, "learning_rate": 3e-4}}


class Distilled(Learner):
    """Q_D, D and xi of R seeds on (s, z), which imitate those of every task.

    Attributes:
        teach: Set by whoever trains it.
    """

    Config = DistilledConfig
    teach: Teach

    def build(self, observation_size: int, action_size: int, make: MakeNetwork) -> None:
        """The networks, and the u of the policy."""
        self.critic = make(observation_size + action_size, 1)
        self.proposer = Proposer(observation_size, action_size, make, self.config.perturbation)
        drawn = standard_normal(self.rngs, self.config.choices, self.proposer.latent).clamp(-CLIP, CLIP)
        self.choices = nn.Parameter(drawn, requires_grad=False)

    def loss(self, batch: Batch, z: Tensor, next_z: Tensor | None = None, policy_z: Tensor | None = None) -> Tensor:
        """Sum over seeds of the three errors; z gets the gradient of Q_D's."""
        told = z.detach() if policy_z is None else policy_z
        s, a = batch.observations, batch.actions
        u = standard_normal(self.rngs, s.shape[1], self.proposer.latent).to(s.dtype).clamp(-CLIP, CLIP)
        q, made, moves = self.teach(batch, u)
        of_q = (self.critic(torch.cat([s, a], dim=-1), z)[..., 0] - q).square().mean(dim=1)
        of_decoder = (self.proposer.decode(s, u, told) - made).square().mean(dim=(1, 2))
        of_moves = (self.proposer.move(s, made, told) - moves).square().mean(dim=(1, 2))
        return (of_q + of_decoder + of_moves).sum()

    def actor(self, index: int) -> Actor:
        """One seed's choice."""
        critic, proposer = take_seed(self.critic, index), take_seed(self.proposer, index)
        return chooser(critic, proposer, self.choices[index].clone())


class MBML(Encoded):
    """MBML."""

    Config = MBMLConfig
    own_backbone: ClassVar = Distilled
    encoder: GaussianEncoder
    backbone: Distilled

    def make_encoder(self, rngs: Rngs, features: int) -> GaussianEncoder:
        """PEARL's encoder."""
        return GaussianEncoder(rngs, features, PearlConfig(latent=self.config.latent, width=self.config.width))

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """A BCQ and an ensemble of every task."""
        config, space, tasks = self.config, self.space, len(batches.data.tasks)
        sizes = space.observation_size, space.action_size
        models = seed_generators(self.seeds, "models")
        self.models = DynamicsEnsemble(models, tasks, config.members, *sizes, config.model_width)
        # seed by seed, in it task by task
        rngs = [seed_generators([seed], f"teacher {task}")[0] for seed in self.seeds for task in range(tasks)]
        self.teachers = BCQ(rngs, *sizes, 0, BCQConfig(config.teacher_width, config.teacher_batch))
        optimiser = adam((self.models, config.model_learning_rate))
        of_teachers = adam((self.teachers, config.teacher_learning_rate))
        every = np.broadcast_to(np.arange(tasks), (len(self.seeds), tasks))
        for update in range(updates):
            step(optimiser, self.models.loss(self.models.draw(batches, config.model_batch)).sum())
            batch = by_task(batches.transitions(batches.rows(every, config.teacher_batch)), tasks)
            self.teachers.update(of_teachers, batch, torch.zeros(*batch.rewards.shape, 0))
            log("representation", update + 1, updates)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Distil the BCQs."""
        tasks = len(batches.data.tasks)
        each = max(1, self.backbone_config.batch // tasks)
        every = np.broadcast_to(np.arange(tasks), (len(self.seeds), tasks))
        noise = seed_generators(self.seeds, "noise")
        self.backbone.teach = self.teach
        rates = self.config.learning_rate, self.backbone_config.learning_rate
        optimiser = adam((self.encoder, rates[0]), (self.backbone, rates[1]))
        for update in range(updates):
            own = batches.at(batches.rows(every, self.config.transitions).reshape(*every.shape, -1))
            shifts = [int(rng.integers(1, tasks)) if tasks > 1 else 0 for rng in noise]
            mean, variance, loss = self.posteriors(own, shifts)
            z = mean + variance.sqrt() * standard_normal(noise, *mean.shape[1:])
            self.tried.keep(mean)
            batch = batches.transitions(batches.rows(every, each))
            loss = loss + self.config.kl_weight * kl_divergence(mean, variance)
            self.backbone.update(optimiser, batch, z.repeat_interleave(each, dim=1), encoder_loss=loss)
            log("policy", update + 1, updates)
        del self.models, self.teachers, self.backbone.teach

    def posteriors(self, own: Tensor, shifts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Of every task the posterior of c_i, mean and variance (R, T, latent), and L_triplet, (R,).

        Args:
            own: (R, T, n, F), transitions of each task.
            shifts: Of each seed: task i has i + shift as its other one.
        """
        others = torch.stack([of_seed.roll(-shift, dims=0) for of_seed, shift in zip(own, shifts, strict=True)])
        relabelled, sure = relabel(self.models, others, self.space.input_size, self.config.delta)
        factors, of_others = self.encoder.factors(own), self.encoder.factors(others)
        of_relabelled = self.encoder.factors(relabelled)
        means, precisions = (torch.cat(pair, dim=2) for pair in zip(factors, of_relabelled, strict=True))
        mean, variance = product(means, precisions, torch.cat([torch.ones_like(sure), sure], dim=2))
        some = sure.any(dim=2)
        places = sure | ~some[..., None]  # where nothing is sure the triplet does not count, and must not divide by 0
        moved, of_own, of_other = (product(*each, places) for each in (of_relabelled, factors, of_others))
        return mean, variance, triplet_loss(moved, of_own, of_other, some, self.config.margin)

    @torch.no_grad()
    def teach(self, batch: Batch, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q_i, D_i and xi_i of each transition's task: (R, T k), (R, T k, action size) twice."""
        tasks, seeds = self.models.shape[1], len(batch.rewards)
        of_task, u = by_task(batch, tasks), u.reshape(seeds * tasks, -1, u.shape[-1])
        s, nothing, proposer = of_task.observations, torch.zeros(*of_task.rewards.shape, 0), self.teachers.proposer
        q = self.teachers.q(self.teachers.critics, s, of_task.actions, nothing)[0]
        made = proposer.decode(s, u, nothing)
        moves = proposer.move(s, made, nothing)
        return q.reshape(seeds, -1), made.reshape(seeds, -1, made.shape[-1]), moves.reshape(seeds, -1, made.shape[-1])


def by_task(batch: Batch, tasks: int) -> Batch:
    """A batch of the transitions of each task, (R, T k, ...), with the tasks in its leading axis, (R T, k, ...)."""
    return Batch(**{name: x.unflatten(1, (tasks, -1)).flatten(0, 1) for name, x in vars(batch).items()})


@torch.no_grad()
def relabel(models: DynamicsEnsemble, transitions: Tensor, inputs: int, delta: float) -> tuple[Tensor, Tensor]:
    """Transitions with the rewards and next states of task i, and of which of them its ensemble is sure.

    Args:
        models: The ensembles of all tasks.
        transitions: (R, T, n, F), those that are relabelled as of each task.
        inputs: Length of (s, a).
        delta: Largest deviation between members, of the reward and of the mean component of the next state.

    Returns:
        (R, T, n, F), and (R, T, n) bool.
    """
    known = transitions[..., :inputs]
    each = models.members(known[:, :, None].expand(-1, -1, models.shape[2], -1, -1))
    deviation = each.std(dim=2, correction=0)
    sure = (deviation[..., 0] < delta) & (deviation[..., 1:].mean(dim=-1) < delta)
    return join_features(known, each.mean(dim=2), models.observation_size), sure


Gaussians = tuple[Tensor, Tensor]  # means and variances, (R, T, latent) each


def triplet_loss(moved: Gaussians, own: Gaussians, other: Gaussians, some: Tensor, margin: float) -> Tensor:
    """L_triplet, mean over the tasks of which something was relabelled: ``some`` (R, T) -> (R,)."""
    excess = (divergence(moved, own) - divergence(moved, other) + margin).clamp(min=0)
    return (excess * some).sum(dim=1) / some.sum(dim=1).clamp(min=1)


def divergence(one: Gaussians, other: Gaussians) -> Tensor:
    """KL(one || other), summed over dimensions: (R, T, latent) -> (R, T)."""
    ratio = one[1] / other[1]
    return 0.5 * (ratio + (one[0] - other[0]) ** 2 / other[1] - 1 - ratio.log()).sum(dim=-1)
