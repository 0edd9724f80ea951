"""CORRO (Yuan & Lu, ICML 2022): contrastive transition embeddings whose negatives share the anchor's state and action.

For an anchor x = (s, a, r, s') with embedding e on the unit sphere, e+ that of another transition of the task, and e_k
those of K negatives (s, a, r_k, s_k') at the anchor's state and action:

    L = -log [ exp(e . e+ / T) / ( exp(e . e+ / T) + sum_k exp(e . e_k / T) ) ]                          (InfoNCE)

(r_k, s_k') come from one of two generators:

* ``corro-cvae``: a conditional VAE of all training tasks together, decoded from the prior. It minimises
  E || y - f(s, a, u) ||^2 + kl_weight KL( q(u | s, a, y) || N(0, I) ),  y = (r, s' - s),  u ~ q.
* ``corro-noise``: reward randomisation, r_k = r + N(0, noise^2) and s_k' = s', in units of the deviation of the rewards
  that contexts show.

The transition encoder is then frozen. z = sum_n w_n e_n over a context, in standard units, with w = softmax of a linear
score of e_n; the score is trained by the critics' loss.

Deviations
* The CVAE is trained in its share of the representation's updates, on the training tasks only; the public scripts
  feed it the data of the test tasks too. It predicts s' - s.
* z is standardised by the mean and deviation of unweighted contexts of the training tasks: means of unit vectors lie
  close to each other, and without this the backbone takes far longer to tell them apart.
* noise is in units of the rewards' deviation, and larger than in the public code, whose units are those of raw rewards.
* A context is one episode, as in the paper, from which training draws i.i.d. transitions; the paper takes all of it.
* Backbone: the suite's choice; the paper's is SAC with nothing against leaving the data.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 96 to 103 thousand parameters, 0.9 of its
training time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from omrl_bench.api import Log

from .conditioned import META_BATCH
from .encoded import EncodedConfig
from .joint import Joint
from .networks import Encoder, Rngs, SeedLinear, mlp, standard_normal
from .training import Batches, Scale, adam, join_features, seed_generators, split_features, step

METHODS = {"corro-cvae": "CorroCVAE", "corro-noise": "CorroNoise"}

STANDARD_CONTEXTS = 16  # of each training task, that z is standardised by


@dataclass(frozen=True)
class CorroConfig(EncodedConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    latent: int = 20  # length of an embedding [5; 40 for hopper, 32 for walker]
    width: int = 64  # of the transition encoder's two hidden layers [128 for hopper and walker]
    transitions: int = 32  # per context while the score is trained [an episode]
    anchors: int = 64  # per update and seed, all tasks of a meta-batch equally often
    negatives: int = 16  # per anchor
    temperature: float = 0.1
    learning_rate: float = 1e-3  # of encoder, score and generator [3e-4]
    noise: float = 4.0  # of reward randomisation, in deviations of the rewards [0.5 of raw rewards]
    generator_share: float = 0.2  # of the representation's updates, for the CVAE [100 epochs]
    generator_width: int = 64  # of the hidden layer of the CVAE's encoder and decoder [128 in larger environments]
    generator_latent: int = 5  # length of u [64 for ant, hopper and walker]
    generator_batch: int = 128  # transitions per update and seed
    kl_weight: float = 0.2

    PRESETS: ClassVar = {"paper": {"latent": 5, "transitions": 200, "learning_rate": 3e-4, "noise": 0.5}}


class ScoredEncoder(Encoder):
    """A transition encoder, and the weighted sum of its embeddings."""

    def __init__(self, rngs: Rngs, features: int, config: CorroConfig) -> None:
        super().__init__()
        self.transition = mlp(rngs, features, config.width, config.width, config.latent)
        self.score = SeedLinear(rngs, config.latent, 1)
        self.score.bias.requires_grad_(False)  # a softmax does not see it
        # of z before it is standardised; parameters, though nobody trains them, so that each seed takes its own
        self.centre = nn.Parameter(torch.zeros(len(rngs), 1, config.latent), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(len(rngs), 1, config.latent), requires_grad=False)

    def embed(self, transitions: Tensor) -> Tensor:
        """(R, ..., features) -> (R, ..., latent), on the unit sphere."""
        return normalize(self.transition(transitions), dim=-1)

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """Z of contexts, (R, C, n, features) -> (R, C, latent); its gradient reaches the score only."""
        with torch.no_grad():
            embedded = self.embed(context)
        scores = self.score(embedded)
        embedded = embedded - self.centre[:, None]
        if valid is not None:  # finite, so that an empty context is a mean over nothing and not NaN
            scores = scores.masked_fill(~valid[..., None], torch.finfo(scores.dtype).min)
            embedded = embedded * valid[..., None]
        return (scores.softmax(dim=-2) * embedded).sum(dim=-2) / self.spread

    @torch.no_grad()
    def standardise(self, context: Tensor) -> None:
        """Measure the unweighted means of contexts (R, C, n, features): from now on z has mean 0, deviation 1 there."""
        means = self.embed(context).mean(dim=-2)
        self.centre.copy_(means.mean(dim=1, keepdim=True))
        self.spread.copy_(means.std(dim=1, keepdim=True) + 1e-3)


class Corro(Joint):
    """CORRO; subclasses generate the negatives."""

    Config = CorroConfig
    encoder: ScoredEncoder

    def make_encoder(self, rngs: Rngs, features: int) -> ScoredEncoder:
        """Transition encoder and score."""
        return ScoredEncoder(rngs, features, self.config)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """The generator of negatives, then the transition encoder."""
        first = self.train_generator(batches, updates, log)
        optimiser = adam((self.encoder.transition, self.config.learning_rate))
        for update in range(first, updates):
            anchors, positives = self.draw_pairs(batches)
            step(optimiser, self.contrastive_loss(anchors, positives, self.negatives(anchors)).sum())
            log("representation", update + 1, updates)
        every = np.tile(np.arange(len(batches.data.tasks)), (len(self.seeds), STANDARD_CONTEXTS))
        episodes = batches.episodes(every)
        self.encoder.standardise(batches.contexts(episodes, self.config.transitions))

    def train_generator(self, batches: Batches, updates: int, log: Log) -> int:
        """Train what makes the negatives; return how many of the representation's updates it took."""
        return 0

    def draw_pairs(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """Anchors and as many transitions of the anchors' tasks, (R, B, F) each."""
        tasks = batches.tasks(META_BATCH)
        each = self.config.anchors // tasks.shape[1]
        taken = batches.at(batches.rows(tasks, 2 * each))
        return taken[:, 0::2], taken[:, 1::2]

    @abstractmethod
    def negatives(self, anchors: Tensor) -> Tensor:
        """Transitions at the anchors' states and actions: (R, B, F) -> (R, B, K, F)."""

    def contrastive_loss(self, anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """InfoNCE, mean over anchors: (R, B, F), (R, B, F), (R, B, K, F) -> (R,)."""
        others = torch.cat([positives[:, :, None], negatives], dim=2)  # the positive first
        every = self.encoder.embed(torch.cat([anchors[:, :, None], others], dim=2))
        logits = (every[:, :, :1] * every[:, :, 1:]).sum(dim=-1) / self.config.temperature
        return (logits.logsumexp(dim=-1) - logits[..., 0]).mean(dim=-1)


class CorroNoise(Corro):
    """CORRO with reward randomisation."""

    def negatives(self, anchors: Tensor) -> Tensor:
        """The anchors with noise on their rewards."""
        copies = anchors[:, :, None].repeat(1, 1, self.config.negatives, 1)
        noise = standard_normal(self.noise, *copies.shape[1:3])
        copies[..., self.space.input_size] += self.config.noise * noise  # the reward follows (s, a)
        return copies


class TransitionCVAE(nn.Module):
    """A conditional VAE of labels y = (r, s' - s) given (s, a)."""

    def __init__(self, rngs: Rngs, inputs: int, labels: int, config: CorroConfig) -> None:
        super().__init__()
        self.latent = config.generator_latent
        self.posterior = mlp(rngs, inputs + labels, config.generator_width, 2 * self.latent)
        self.decoder = mlp(rngs, inputs + self.latent, config.generator_width, labels)

    def decode(self, known: Tensor, u: Tensor) -> Tensor:
        """(R, ..., inputs), (R, ..., latent) -> (R, ..., labels)."""
        return self.decoder(torch.cat([known, u], dim=-1))

    def loss(self, known: Tensor, label: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """Negative ELBO, mean over transitions: (R, B, ...) -> (R,); noise (R, B, latent) is standard normal."""
        mean, log_variance = self.posterior(torch.cat([known, label], dim=-1)).chunk(2, dim=-1)
        u = mean + (0.5 * log_variance).exp() * noise
        error = (label - self.decode(known, u)).square().sum(dim=-1)
        kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=-1)
        return (error + kl_weight * kl).mean(dim=-1)


class CorroCVAE(Corro):
    """CORRO with negatives from the prior of a CVAE."""

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the CVAE as well."""
        super().build(seeds, scale)
        sizes = self.space.input_size, 1 + self.space.observation_size
        self.generator = TransitionCVAE(seed_generators(seeds, "generator"), *sizes, self.config)

    def modules(self) -> dict[str, nn.Module]:
        """Backbone, encoder and CVAE."""
        return super().modules() | {"generator": self.generator}

    def train_generator(self, batches: Batches, updates: int, log: Log) -> int:
        """Train the CVAE on transitions of all training tasks."""
        own = round(self.config.generator_share * updates)
        optimiser = adam((self.generator, self.config.learning_rate))
        for update in range(own):
            step(optimiser, self.generator_loss(batches).sum())
            log("representation", update + 1, updates)
        return own

    def generator_loss(self, batches: Batches) -> Tensor:
        """The CVAE's loss on transitions of a meta-batch, (R,)."""
        tasks = batches.tasks(META_BATCH)
        rows = batches.rows(tasks, self.config.generator_batch // tasks.shape[1])
        known, label = split_features(batches.at(rows), self.space.observation_size)
        noise = standard_normal(self.noise, known.shape[1], self.config.generator_latent)
        return self.generator.loss(known, label, noise, self.config.kl_weight)

    @torch.no_grad()
    def negatives(self, anchors: Tensor) -> Tensor:
        """Decoded from the prior, at the anchors' states and actions."""
        known = anchors[:, :, None, : self.space.input_size].expand(-1, -1, self.config.negatives, -1)
        u = standard_normal(self.noise, *known.shape[1:3], self.config.generator_latent)
        return join_features(known, self.generator.decode(known, u), self.space.observation_size)
