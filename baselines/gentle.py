"""GENTLE (Zhou et al., AAAI 2024): a task auto-encoder, trained on contexts that models relabel with policy actions.

Eq. 4, for each task of a meta-batch, x = (s, a), y = (r, s'):

    J = E sum_k || y_k - q_psi(z, x_k) ||^2,   z = q_theta(x_1:n, y_1:n) = mean_k tanh(f(x_k, y_k))

Algorithms 1 and 2:

    train a model M_i of every task on that task's data
    for every epoch:
        D_aug_i = { (s, a, M_i(s, a)) },  a ~ pi(. | s, z_i),  states of D_i and of all other tasks, K1 : K2 = 1 : 3
        for every update:
            B_i from D_aug_i and D_i;  z_i = q_theta(B_i)
            step of theta and psi on J(B_i);  step of the backbone on (s, z_i), z_i detached

Ablations (section 5.4): ``gentle-contrastive`` replaces J by FOCAL's distance metric loss, ``gentle-norelabel`` takes
all contexts from the datasets, ``gentle-nopolicyrelabel`` keeps the datasets' actions and relabels the rest.

Deviations
* The actions of D_aug_i are those of z_i, the task whose model labels them (Algorithm 1); the public code conditions
  the policy on the z of the task that the state comes from. They are the policy's mean actions.
* z_i of Algorithm 1 is that of a context drawn as in Algorithm 2, from the buffer of the epoch before.
* J is a mean over k and tasks, and the error of s' one over its components, so that dynamics, which need not differ, do
  not drown the reward; the public code decodes s' only where dynamics vary. The decoder predicts s' - s; reward and s'
  are always part of context and label.
* A context of this benchmark is one episode, but B_i is a mixture. So the encoder sees a logged episode of the task in
  half of the cases; what it is to reconstruct is B_i all the same.
* z_i is that of before the step of theta, so that one pass serves both; in Algorithm 2 it is that of after it.
* Models: fewer and smaller networks, ReLU, a fixed number of updates, no weight decay; the public code stops on a
  held-out part and uses swish. A label is the mean of the task's members.
* ``gentle-contrastive`` draws two contexts of each task, so that positive pairs exist, and acts on the first one's z.
* Before it has a context the policy acts on representations of training contexts, another one every few steps; the
  public code on z = 0 (``gentle[prior=zero]``).
* Backbone: the suite's choice; the paper's is TD3+BC.

Models are a tool of training: they are neither saved nor counted as parameters.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 159 thousand parameters, 1.4 to 1.8 of its
training time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log

from .conditioned import draw_batch
from .dynamics_ensemble import DynamicsEnsemble
from .encoded import Encoded, EncodedConfig
from .focal import MeanEncoder, metric_loss
from .networks import Encoder, Rngs, mlp
from .training import Batches, Scale, adam, join_features, seed_generators, split_features

METHODS = {
    "gentle": "Gentle",
    "gentle-contrastive": "GentleContrastive",
    "gentle-norelabel": "GentleNoRelabel",
    "gentle-nopolicyrelabel": "GentleNoPolicyRelabel",
}


@dataclass(frozen=True)
class GentleConfig(EncodedConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    latent: int = 5  # [10 for hopper and walker]
    width: int = 128  # of the three hidden layers of encoder and decoder [256; 64 on the point]
    transitions: int = 32  # per context [256]
    relabelled_share: float = 0.95  # of a context's transitions that come from the relabelled buffer
    relabelled: int = 1024  # transitions per task in the relabelled buffer, K1 + K2 [2560]
    own_share: float = 0.25  # of the relabelled states that come from the task's own data, K1 / (K1 + K2)
    single_share: float = 0.5  # of the contexts that are of one logged episode [0]
    epoch: int = 400  # updates of the policy from one relabelling to the next
    learning_rate: float = 1e-3  # of encoder and decoder [3e-4]
    members: int = 3  # models of each task [7]
    model_width: int = 64  # of the two hidden layers of a model
    model_batch: int = 32  # transitions per update and model
    model_learning_rate: float = 1e-3
    beta: float = 1.0  # weight of the negative pairs, contrastive only
    epsilon: float = 0.1  # keeps the repulsion finite, contrastive only

    PRESETS: ClassVar = {
        "quick": {"width": 64, "members": 2, "model_width": 32},
        "paper": {
            "width": 256,
            "transitions": 256,
            "relabelled": 2560,
            "learning_rate": 3e-4,
            "members": 7,
            "model_width": 200,  # ours, as is model_batch: not given
            "model_batch": 256,
        },
    }


class Gentle(Encoded):
    """GENTLE."""

    Config = GentleConfig

    def make_encoder(self, rngs: Rngs, features: int) -> Encoder:
        """The auto-encoder's encoder, which is FOCAL's."""
        return MeanEncoder(rngs, features, self.config.width, self.config.latent)

    def modules(self) -> dict[str, nn.Module]:
        """Backbone, encoder and decoder."""
        return super().modules() | {"decoder": self.decoder}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and task auto-encoder."""
        super().build(seeds, scale)
        observation, width, latent = self.space.observation_size, self.config.width, self.config.latent
        decoder_sizes = (self.space.input_size + latent, width, width, width, 1 + observation)
        self.decoder = mlp(seed_generators(seeds, "decoder"), *decoder_sizes)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Train the models of the tasks; the representation itself is trained together with the policy."""
        config, space = self.config, self.space
        self.models = DynamicsEnsemble(
            seed_generators(self.seeds, "models"),
            len(batches.data.tasks),
            config.members,
            space.observation_size,
            space.action_size,
            config.model_width,
        )
        self.models.train_on(batches, updates, config.model_batch, config.model_learning_rate, log)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Algorithm 2."""
        rates = self.config.learning_rate, self.backbone_config.learning_rate
        optimiser = adam((self.encoder, rates[0]), (self.decoder, rates[0]), (self.backbone, rates[1]))
        buffer = None
        for update in range(updates):
            if update % self.config.epoch == 0:
                buffer = self.relabel(batches, buffer)
            tasks, batch = draw_batch(self, batches)
            loss, z = self.representation_loss(batches, buffer, tasks)
            self.tried.keep(z)
            z = z.detach().repeat_interleave(batch.rewards.shape[1] // tasks.shape[1], dim=1)
            self.backbone.update(optimiser, batch, z, encoder_loss=loss)
            log("policy", update + 1, updates)

    def representation_loss(self, batches: Batches, buffer: Tensor | None, tasks: np.ndarray) -> tuple[Tensor, Tensor]:
        """The encoder's loss, (R,), and z of a context of each task: tasks (R, T) -> (R, T, latent)."""
        contexts = self.draw_contexts(batches, buffer, tasks)
        z = self.encoder(self.shown(batches, contexts, tasks))
        return self.reconstruction_loss(contexts, z), z

    def shown(self, batches: Batches, contexts: Tensor, tasks: np.ndarray) -> Tensor:
        """What the encoder sees of (R, T, n, F): a share of the contexts gives way to single logged episodes."""
        single = round(self.config.single_share * tasks.shape[1])
        if not single:
            return contexts
        episodes = batches.contexts(batches.episodes(tasks[:, :single]), self.config.transitions)
        return torch.cat([episodes, contexts[:, single:]], dim=1)

    def reconstruction_loss(self, contexts: Tensor, z: Tensor) -> Tensor:
        """Eq. 4 / n, mean over tasks: contexts (R, T, n, F), z (R, T, latent) -> (R,)."""
        known, label = split_features(contexts, self.space.observation_size)
        each = z[:, :, None].expand(-1, -1, contexts.shape[2], -1)
        predicted = self.decoder(torch.cat([known, each], dim=-1))
        error = (label - predicted).square()
        return (error[..., 0] + error[..., 1:].mean(dim=-1)).mean(dim=(1, 2))

    def draw_contexts(self, batches: Batches, buffer: Tensor | None, tasks: np.ndarray) -> Tensor:
        """One context of each task, relabelled transitions and real ones: tasks (R, T) -> (R, T, n, F)."""
        relabelled = 0 if buffer is None else int(self.config.relabelled_share * self.config.transitions)
        rows = batches.rows(tasks, self.config.transitions - relabelled)
        real = batches.at(rows.reshape(*tasks.shape, -1))
        if buffer is None:
            return real
        size = buffer.shape[2]
        chosen = np.stack([rng.integers(size, size=(tasks.shape[1], relabelled)) for rng in batches.rngs])
        seeds = np.arange(len(tasks))[:, None]
        flat = (seeds * buffer.shape[1] + tasks)[..., None] * size + chosen
        taken = buffer.flatten(0, 2).index_select(0, torch.as_tensor(flat.reshape(-1)))
        return torch.cat([taken.reshape(*flat.shape, buffer.shape[3]), real], dim=2)

    @torch.no_grad()
    def relabel(self, batches: Batches, buffer: Tensor | None) -> Tensor | None:
        """Algorithm 1: D_aug of every training task, (R, tasks, K1 + K2, F); ``buffer`` is that of the epoch before."""
        known = batches.at(self.draw_states(batches))[..., : self.space.input_size]
        known = self.relabel_actions(batches, buffer, known)
        return join_features(known, self.models(known), self.space.observation_size)

    def draw_states(self, batches: Batches) -> np.ndarray:
        """Rows of the states of D_aug: K1 of each task's own, then K2 of all other tasks, (R, tasks, K1 + K2)."""
        data, (seeds, tasks, _) = batches.data, self.models.shape
        own = round(self.config.own_share * self.config.relabelled) if tasks > 1 else self.config.relabelled
        rows = data.sample_rows(batches.rngs, np.broadcast_to(np.arange(tasks), (seeds, tasks)), own)
        if tasks == 1:  # there are no others
            return rows
        start, stop = data.task_offsets[:-1, None], data.task_offsets[1:, None]
        shape = (tasks, self.config.relabelled - own)
        others = np.stack([rng.integers(0, data.task_offsets[-1] - (stop - start), shape) for rng in batches.rngs])
        return np.concatenate([rows, others + np.where(others >= start, stop - start, 0)], axis=2)

    def relabel_actions(self, batches: Batches, buffer: Tensor | None, known: Tensor) -> Tensor:
        """(s, a) with the policy's actions for the task that is being relabelled: (R, tasks, K, inputs) -> the same."""
        seeds, tasks, count, _ = known.shape
        every = np.broadcast_to(np.arange(tasks), (seeds, tasks))
        z = self.encoder(self.draw_contexts(batches, buffer, every)).repeat_interleave(count, dim=1)
        states = known[..., : self.space.observation_size]
        flat = states.flatten(1, 2)
        actions = [self.actor(r)(flat[r : r + 1], z[r : r + 1]) for r in range(seeds)]
        return torch.cat([states, torch.cat(actions).reshape(seeds, tasks, count, -1)], dim=-1)


class GentleContrastive(Gentle):
    """GENTLE with FOCAL's distance metric loss; the decoder stays as it was built."""

    def representation_loss(self, batches: Batches, buffer: Tensor | None, tasks: np.ndarray) -> tuple[Tensor, Tensor]:
        """FOCAL's loss on two contexts of each task, and z of the first of them."""
        labels = np.repeat(tasks, 2, axis=1)
        z = self.encoder(self.shown(batches, self.draw_contexts(batches, buffer, labels), labels))
        loss = metric_loss(z, torch.as_tensor(labels), self.config.beta, self.config.epsilon)
        return loss, z[:, ::2]


class GentleNoPolicyRelabel(Gentle):
    """GENTLE with the datasets' actions in the relabelled transitions."""

    def relabel_actions(self, batches: Batches, buffer: Tensor | None, known: Tensor) -> Tensor:
        """(s, a) as they are."""
        return known


class GentleNoRelabel(Gentle):
    """The task auto-encoder on the datasets' transitions alone: there are no models."""

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Nothing to train before the policy."""

    def relabel(self, batches: Batches, buffer: Tensor | None) -> Tensor | None:
        """No relabelled transitions."""
        return None
