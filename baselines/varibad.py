"""VariBAD (Zintgraf et al., ICLR 2020) on logged data: what BOReL and R2PGO share.

A recurrent encoder keeps a belief q(m | tau_:t) = N(mean, variance) about the task m; the policy is conditioned on the
belief b = (mean, log-variance), which changes with every step. A trajectory is two episodes of one task on end (the
Bayes-adaptive horizon H+), so that a belief lives on into the next episode.

    L_VAE = - sum_t ELBO_t                                                                        (R2PGO, eq. 2)
    ELBO_t = E_{m ~ q(m | tau_:t)} [ log p(tau_:H+ | m) ] - kl_weight KL( q(m | tau_:t) || q(m | tau_:t-1) )   (eq. 3)

Then the backbone learns on (s, b): the beliefs before and after every training transition are computed once.

Deviations that both methods share
* log p is minus a squared error: of the reward given (m, s, a, s'), and of s' - s given (m, s, a). A method is not told
  whether dynamics or rewards vary, so both are decoded. Errors are averaged over steps and components, not summed, so
  that one kl_weight serves all horizons; the sums over t and over predicted steps are estimated from random draws.
  The divergence is exact. The first posterior is compared with N(0, I).
* One half of the trajectories of an update have t in the first episode, the other half in the second; those take the
  state that the first episode leaves without its gradient. Predicted steps are always of both episodes.
* The backbone sees beliefs in standard units: a log-variance is far from 0, at -6 or so, and hardly differs.
* Every transition is kept with two beliefs: as in a first episode, which starts from the prior, and as in a second
  one, after another episode of its task. The backbone draws from both equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log, Transitions

from .conditioned import draw_rows
from .networks import Encoder, Rngs, SeedLayerNorm, SeedLinear, TensorModule, standard_normal, take_seed
from .policies import Actor, LatentPolicy
from .recurrence import SeedGRU
from .training import Batches, Scale, adam, seed_generators
from .two_stage import TwoStage

EPISODES_AT_ONCE = 32  # when beliefs of all training transitions are computed
STATE, ACTION, REWARD = 32, 16, 16  # lengths of the encoder's embeddings


@dataclass(frozen=True)
class VariBADConfig:
    """Hyper-parameters; BOReL's public code in brackets where another value is used."""

    latent: int = 5  # length of m; the policy sees twice that
    width: int = 64  # of the recurrent state [128]
    decoder_width: int = 32  # of the two hidden layers of every decoder
    trajectories: int = 4  # per update and seed, each of another task [32, 8 of each]
    beliefs: int = 8  # steps t of a trajectory whose ELBO_t is estimated [all]
    predictions: int = 16  # steps that each of them predicts [all]
    kl_weight: float = 0.05
    state_weight: float = 1.0  # of the error of s' [0: no state decoder]
    learning_rate: float = 3e-3  # of encoder and decoders [3e-4]
    layer_norm: bool = False  # before the ReLU of the encoder

    PRESETS: ClassVar[dict[str, dict[str, float]]] = {
        "quick": {"trajectories": 12},  # fewer updates, so more of each
        "paper": {
            "width": 128,
            "trajectories": 32,
            "beliefs": 50,  # ours: BOReL takes all
            "predictions": 50,  # ours: BOReL takes all
            "state_weight": 0.0,
            "learning_rate": 3e-4,
        },
    }


class BeliefEncoder(Encoder):
    """Gated recurrent unit over embeddings of (s', a, r); a linear head gives the belief of every step."""

    def __init__(self, rngs: Rngs, observation_size: int, action_size: int, config: VariBADConfig) -> None:
        super().__init__()
        self.sizes = [observation_size, action_size, 1, observation_size]
        self.width = config.width
        self.action = SeedLinear(rngs, action_size, ACTION)
        self.reward = SeedLinear(rngs, 1, REWARD)
        self.state = SeedLinear(rngs, observation_size, STATE)
        self.norm = SeedLayerNorm(rngs, ACTION + REWARD + STATE) if config.layer_norm else nn.Identity()
        self.recurrent = SeedGRU(rngs, ACTION + REWARD + STATE, config.width)
        self.head = SeedLinear(rngs, config.width, 2 * config.latent)

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """Belief after the whole context: (R, C, n, features) -> (R, C, 2 latent)."""
        return self.belief(self.states(context, valid)[:, :, -1])

    def beliefs(self, trajectories: Tensor, valid: Tensor | None = None, start: Tensor | None = None) -> Tensor:
        """Belief before the first and after every step: (R, C, T, features) -> (R, C, T + 1, 2 latent)."""
        return self.belief(self.states(trajectories, valid, start))

    def states(self, trajectories: Tensor, valid: Tensor | None = None, start: Tensor | None = None) -> Tensor:
        """Recurrent state before the first and after every step: (R, C, T, features) -> (R, C, T + 1, width)."""
        _, action, reward, following = torch.split(trajectories, self.sizes, dim=-1)
        parts = [self.action(action), self.reward(reward), self.state(following)]
        return self.recurrent(self.norm(torch.cat(parts, dim=-1)).relu(), valid, start)

    def belief(self, states: Tensor) -> Tensor:
        """Mean and log-variance: (R, ..., width) -> (R, ..., 2 latent)."""
        return self.head(states)


class Decoder(TensorModule):
    """Predicts something of every given step from every given m; two hidden layers."""

    def __init__(self, rngs: Rngs, latent: int, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.from_task = SeedLinear(rngs, latent, width)
        self.from_step = SeedLinear(rngs, inputs, width)
        self.hidden = SeedLinear(rngs, width, width)
        self.leave = SeedLinear(rngs, width, outputs)

    def forward(self, m: Tensor, steps: Tensor) -> Tensor:
        """(R, C, t, latent), (R, C, k, inputs) -> (R, C, t, k, outputs)."""
        # the first layer on (m, step), without computing it for every pair
        first = (self.from_task(m)[:, :, :, None] + self.from_step(steps)[:, :, None]).relu()
        return self.leave(self.hidden(first).relu())


class TaskAutoEncoder(BeliefEncoder):
    """The encoder with the decoders that train it."""

    def __init__(self, rngs: Rngs, observation_size: int, action_size: int, config: VariBADConfig) -> None:
        super().__init__(rngs, observation_size, action_size, config)
        known = observation_size + action_size
        width = config.decoder_width
        self.reward_decoder = Decoder(rngs, config.latent, known + observation_size, width, 1)
        self.state_decoder = (
            Decoder(rngs, config.latent, known, width, observation_size) if config.state_weight else None
        )

    def reward_error(self, m: Tensor, steps: Tensor) -> Tensor:
        """Squared errors of the predicted rewards: (R, C, t, latent), (R, C, k, features) -> (R, C, t, k)."""
        state, action, reward, following = torch.split(steps, self.sizes, dim=-1)
        predicted = self.reward_decoder(m, torch.cat([state, action, following], dim=-1))
        return (predicted - reward[:, :, None]).square()[..., 0]

    def state_error(self, m: Tensor, steps: Tensor) -> Tensor:
        """The same of s' - s, mean over its components; 0 without a state decoder."""
        if self.state_decoder is None:
            return torch.zeros(())
        state, action, _, following = torch.split(steps, self.sizes, dim=-1)
        predicted = self.state_decoder(m, torch.cat([state, action], dim=-1))
        return (predicted - (following - state)[:, :, None]).square().mean(dim=-1)


class VariBAD(TwoStage):
    """A task auto-encoder, and a backbone on (s, belief)."""

    Config = VariBADConfig
    encoder: TaskAutoEncoder

    @property
    def z_size(self) -> int:
        """Mean and log-variance."""
        return 2 * super().z_size

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks, and the generators of the auto-encoder's loss."""
        super().build(seeds, scale)
        self.noise = seed_generators(seeds, "noise")

    def make_encoder(self, rngs: Rngs, features: int) -> TaskAutoEncoder:
        """The task auto-encoder."""
        return TaskAutoEncoder(rngs, self.space.observation_size, self.space.action_size, self.config)

    def representation_loss(self, batches: Batches) -> Tensor:
        """One trajectory of each task of a meta-batch."""
        tasks = batches.tasks(self.config.trajectories)
        episodes = self.draw_first(batches, tasks), batches.episodes(tasks)
        beliefs, lengths = self.beliefs(batches, tasks, *episodes)
        predicted = [
            self.features(batches, batches.data.sample_within(self.noise, one, self.config.predictions // 2), tasks)
            for one in episodes
        ]
        loss = self.negative_elbo(beliefs, lengths, torch.cat(predicted, dim=2))
        return (loss + self.regulariser(batches, tasks, beliefs, lengths)).sum()

    def draw_first(self, batches: Batches, tasks: np.ndarray) -> np.ndarray:
        """Draw the first episode of a trajectory of each task: (R, C) -> (R, C)."""
        return batches.episodes(tasks)

    def features(self, batches: Batches, rows: np.ndarray, tasks: np.ndarray) -> Tensor:
        """Context features of rows (R, C, n), as they look in tasks (R, C): (R, C, n, features)."""
        return batches.at(rows)

    def regulariser(self, batches: Batches, tasks: np.ndarray, beliefs: Tensor, lengths: np.ndarray) -> Tensor:
        """What a method adds to the loss, (R,); nothing by default."""
        return torch.zeros(())

    def whole(self, batches: Batches, episodes: np.ndarray, tasks: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features of whole episodes (R, C), as they look in tasks (R, C): (R, C, T, features), valid (R, C, T)."""
        rows, valid = batches.whole_rows(episodes)
        return self.features(batches, rows, tasks), valid

    def beliefs(
        self, batches: Batches, tasks: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> tuple[Tensor, np.ndarray]:
        """Beliefs along the first episode of the first half of the trajectories, the second episode of the others.

        Args:
            batches: The training data.
            tasks: (R, C).
            first: (R, C) first episodes.
            second: (R, C) second episodes.

        Returns:
            Beliefs (R, C, T + 1, z size), and the number of steps (R, C).
        """
        half = tasks.shape[1] // 2
        with torch.no_grad():
            left = self.encoder.states(*self.whole(batches, first[:, half:], tasks[:, half:]))[:, :, -1]
        start = torch.cat([left.new_zeros(len(left), half, left.shape[2]), left], dim=1)
        along = np.concatenate([first[:, :half], second[:, half:]], axis=1)
        beliefs = self.encoder.beliefs(*self.whole(batches, along, tasks), start)
        return beliefs, np.diff(batches.data.episode_offsets)[along]

    def negative_elbo(self, beliefs: Tensor, lengths: np.ndarray, predicted: Tensor) -> Tensor:
        """Eq. 2 and 3, mean over t and trajectories.

        Args:
            beliefs: (R, C, T + 1, z size), the second half of them from where a first episode ended.
            lengths: (R, C) number of steps; the beliefs after that do not count.
            predicted: (R, C, k, features) steps to predict.

        Returns:
            (R,).
        """
        config = self.config
        mean, log_variance = take_steps(beliefs, draw_steps(self.noise, lengths + 1, config.beliefs)).chunk(2, dim=-1)
        m = mean + (0.5 * log_variance).exp() * standard_normal(self.noise, *mean.shape[1:])
        error = self.encoder.reward_error(m, predicted)
        error = error + config.state_weight * self.encoder.state_error(m, predicted)
        prior, half = torch.zeros_like(beliefs[:, :, :1]), lengths.shape[1] // 2
        opening = torch.cat([prior[:, :half], beliefs[:, half:, :1]], dim=1)
        # padding repeats a belief and adds nothing
        divergence = kl_to_previous(beliefs, opening).sum(dim=-1) / torch.as_tensor(lengths + 1)
        return (error.mean(dim=(2, 3)) + config.kl_weight * divergence).mean(dim=-1)

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Compute the beliefs of all training transitions once, train the backbone on (s, belief)."""
        memory = BeliefMemory(self, batches)
        self.standard.fit(memory.beliefs)
        memory.beliefs = self.standard(memory.beliefs)
        optimiser = adam((self.backbone, self.backbone_config.learning_rate))
        for update in range(updates):
            _, rows = draw_rows(self, batches)
            z, next_z = memory.draw(rows)
            self.backbone.update(optimiser, batches.transitions(rows), z, next_z)
            log("policy", update + 1, updates)

    def policy(self, seed: int) -> BeliefPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        return BeliefPolicy(self.actor(index), take_seed(self.encoder, index), self.scale)


class BeliefMemory:
    """Beliefs before and after every training transition, as in a first and as in a second episode.

    An episode of n steps has n + 1 beliefs, so the belief before row i of episode e is number i + e, and the one after
    it the next.

    Args:
        method: The trained encoder and what its trajectories are made of.
        batches: The training data.
    """

    @torch.no_grad()
    def __init__(self, method: VariBAD, batches: Batches) -> None:
        data, self._rngs = batches.data, batches.rngs
        count = len(data.episode_offsets) - 1
        self._episode_of = np.repeat(np.arange(count), np.diff(data.episode_offsets))
        tasks = np.repeat(np.arange(len(data.tasks)), np.diff(data.task_episodes))
        self._half = len(self._episode_of) + count
        self.beliefs = torch.empty(len(batches.rngs), 2 * self._half, method.z_size)
        for first in range(0, count, EPISODES_AT_ONCE):
            episodes = np.arange(count)[None, first : first + EPISODES_AT_ONCE].repeat(len(batches.rngs), axis=0)
            self._fill(method, batches, episodes, tasks[episodes])

    def _fill(self, method: VariBAD, batches: Batches, episodes: np.ndarray, tasks: np.ndarray) -> None:
        """Episodes (R, C), the same for every seed, of tasks (R, C)."""
        encoder = method.encoder
        features, valid = method.whole(batches, episodes, tasks)
        start = encoder.states(*method.whole(batches, method.draw_first(batches, tasks), tasks))[:, :, -1]
        offset = batches.data.episode_offsets[episodes[0, 0]] + episodes[0, 0]
        real = torch.cat([torch.ones_like(valid[0, :, :1]), valid[0]], dim=1)
        for half, begin in enumerate((None, start)):
            beliefs = encoder.beliefs(features, valid, begin)[:, real]
            where = half * self._half + offset
            self.beliefs[:, where : where + beliefs.shape[1]] = beliefs

    def draw(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Beliefs before and after transitions, each in a first or a second episode: rows (R, B) -> (R, B, z size)."""
        second = np.stack([rng.random(rows.shape[1]) < 0.5 for rng in self._rngs])
        before = torch.as_tensor(rows + self._episode_of[rows] + self._half * second)
        seed = torch.arange(len(rows))[:, None]
        return self.beliefs[seed, before], self.beliefs[seed, before + 1]


class BeliefPolicy(LatentPolicy):
    """One seed's actor on its running belief.

    Args:
        actor: The seed's actor.
        encoder: The seed's encoder.
        scale: The scaling of the training data.
    """

    def __init__(self, actor: Actor, encoder: BeliefEncoder, scale: Scale) -> None:
        super().__init__(actor, scale)
        self._encoder = encoder

    @torch.no_grad()
    def reset(self, lanes: int) -> None:
        """Return to the belief of no experience."""
        self._state = torch.zeros(1, lanes, self._encoder.width)
        self._z = self._encoder.belief(self._state)[0]

    def condition(self, context: Transitions) -> None:
        """Start from no experience, take the whole context."""
        self.reset(len(context.observations))
        self.observe(context)

    @torch.no_grad()
    def observe(self, transitions: Transitions) -> None:
        """Update the belief, which also lives on from one episode to the next."""
        valid = torch.as_tensor(transitions.valid)[None]
        features = self._scale.features(transitions)[None]
        self._state = self._encoder.states(features, valid, self._state)[:, :, -1]
        self._z = self._encoder.belief(self._state)[0]


def kl_to_previous(beliefs: Tensor, opening: Tensor) -> Tensor:
    """KL( q_t || q_{t-1} ) of every t: (..., T + 1, 2 latent), q_{-1} (..., 1, 2 latent) -> (..., T + 1)."""
    previous = torch.cat([opening, beliefs[..., :-1, :]], dim=-2)
    (mean, log_variance), (mean_before, log_before) = beliefs.chunk(2, dim=-1), previous.chunk(2, dim=-1)
    shift = (mean - mean_before).square() * (-log_before).exp()
    change = log_variance - log_before
    return 0.5 * (shift + change.exp() - 1 - change).sum(dim=-1)


def draw_steps(rngs: Rngs, counts: np.ndarray, drawn: int, first: int = 0) -> np.ndarray:
    """Draw steps from ``first`` to below given counts: (R, C) -> (R, C, drawn)."""
    unit = np.stack([rng.random((counts.shape[1], drawn)) for rng in rngs])
    return first + (unit * (counts - first)[..., None]).astype(np.int64)


def take_steps(values: Tensor, steps: np.ndarray) -> Tensor:
    """Values (R, C, T, size) at steps (R, C, k): (R, C, k, size)."""
    index = torch.as_tensor(steps)[..., None].expand(*steps.shape, values.shape[-1])
    return values.gather(2, index)
