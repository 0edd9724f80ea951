"""CCM (Fu et al., AAAI 2021) with its exploration agent: a second policy that looks for what tells the tasks apart.

With z_i the embedding of the first i transitions of an episode in task n, k_j the key of task j and f of eq. 3:

    L_i = - log( exp f(z_i, k_n) / sum_j exp f(z_i, k_j) )                                                       (eq. 8)
    r_exploring = r + alpha (L_i-1 - L_i)                                                                  (eq. 12, 13)

Of the difference, f(z_i, k_n) - f(z_i-1, k_n) is what the similarity to the own task gains; the rest, which the paper
calls a regularisation term (eq. 14), is what that to all tasks gains. `ccm-rv-explore-noreg` leaves it out (figure 5):
L_i = - f(z_i, k_n).

`ccm-rv-explore` is `ccm-rv`, whose policy executes, and beside it a second backbone on (s, z_i), which is trained on
these rewards and acts where the protocol asks for exploration. z_0 = 0, so L_0 = log(number of tasks), and the
intrinsic rewards of an episode add up to alpha (L_0 - L_T).

Deviations, beyond those of ccm.py
* On logged data: the exploring agent collects nothing. Logged episodes are relabelled with the rewards and the beliefs
  that their own partial trajectories would have given, once, before the policy's training.
* Partial trajectories are embedded by the encoder as pre-training leaves it, when it has learnt by contrast alone: the
  exploring agent keeps a copy. In the paper both agents share the encoder, which goes on changing.
* L_i-1 has the own key in the sum, as in the public code; eq. 10, derived as an upper bound, leaves it out. Without
  that the sum above would not telescope.
* k_j is the key encoder's embedding of all logged transitions of task j; j runs over all training tasks.
* The execution agent is not trained on what the exploring one collects, since that collects nothing.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 202 thousand parameters, 2.1 of its training
time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import Log, MetaPolicy, Transitions

from .ccm import ContrastiveEncoder, ContrastiveRVConfig, ContrastiveValueRecovery
from .conditioned import draw_rows
from .networks import take_seed
from .policies import MeanPolicy, Prior
from .training import Batches, Scale, adam, seed_generators

METHODS = {"ccm-rv-explore": "ContrastiveExploration", "ccm-rv-explore-noreg": "UnregularisedExploration"}

EPISODES_AT_ONCE = 64  # relabelled at once


@dataclass(frozen=True)
class ExplorationConfig(ContrastiveRVConfig):
    """Hyper-parameters of CCM+RV and of its exploration agent."""

    alpha: float = 1.0  # weight of the intrinsic reward, for rewards of unit deviation


class ContrastiveExploration(ContrastiveValueRecovery):
    """CCM+RV with the exploration agent.

    Attributes:
        explorer: The second backbone.
        guide: The encoder as pre-training leaves it.
    """

    Config = ExplorationConfig

    def modules(self) -> dict[str, nn.Module]:
        """Both backbones, both encoders."""
        return super().modules() | {"explorer": self.explorer, "guide": self.guide}

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the exploration agent as well."""
        super().build(seeds, scale)
        self.explorer = self.make_backbone("explorer")
        self.explorer_rngs = seed_generators(seeds, "explorer data")
        self.guide: ContrastiveEncoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def train_representation(self, batches: Batches, updates: int, log: Log) -> None:
        """Pre-train the encoder, keep a copy."""
        super().train_representation(batches, updates, log)
        self.guide.load_state_dict(self.encoder.state_dict())

    def train_policy(self, batches: Batches, updates: int, log: Log) -> None:
        """Encoder and execution agent together, the exploration agent beside them."""
        self.beliefs, self.gains = self.relabel(batches)
        self.optimiser = adam((self.explorer, self.backbone_config.learning_rate))
        super().train_policy(batches, updates, log)
        del self.beliefs, self.gains, self.optimiser

    def after_update(self, batches: Batches) -> None:
        """An update of the exploration agent, on transitions of a meta-batch of its own."""
        super().after_update(batches)
        _, rows = draw_rows(self, batches.drawn_by(self.explorer_rngs))
        before, after, gains = self.partial(batches, rows)
        batch = batches.transitions(rows)
        batch = replace(batch, rewards=batch.rewards + self.config.alpha * gains)
        self.explorer.update(self.optimiser, batch, before, next_z=after)

    def partial(self, batches: Batches, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """The belief before rows (R, B) and after them, (R, B, latent), and what they gained, (R, B)."""
        seed, index = torch.arange(len(rows))[:, None], torch.as_tensor(rows)
        first = torch.as_tensor(np.isin(rows, batches.data.episode_offsets))
        before = self.beliefs[seed, index - 1].masked_fill(first[..., None], 0.0)
        return before, self.beliefs[seed, index], self.gains[seed, index]

    @torch.no_grad()
    def relabel(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """The belief after every training transition, (R, N, latent), and its gain L_i-1 - L_i, (R, N)."""
        keys = self.task_keys(batches)
        tasks = np.repeat(np.arange(keys.shape[1]), np.diff(batches.data.task_episodes))
        beliefs, gains = [], []
        for episodes, features, valid in batches.every_episode(EPISODES_AT_ONCE):
            embedded = self.guide.embed(features.expand(len(self.seeds), *features.shape))
            count = valid.shape[1]
            z = embedded.cumsum(dim=2) / torch.arange(1, count + 1)[:, None]
            own = torch.as_tensor(np.repeat(tasks[episodes], count))
            losses = self.losses(z.flatten(1, 2), keys, own).reshape(z.shape[:-1])
            empty = self.losses(torch.zeros_like(z[:, :1, 0]), keys, own[:1])[..., None].expand_as(
                losses[..., :1]
            )  # L_0
            beliefs.append(z[:, valid])
            gains.append(torch.cat([empty, losses], dim=-1).diff(dim=-1).neg()[:, valid])
        return torch.cat(beliefs, dim=1), torch.cat(gains, dim=1)

    def losses(self, z: Tensor, keys: Tensor, own: Tensor) -> Tensor:
        """Eq. 8 of beliefs: z (R, C, latent), keys (R, T, latent), own (C,) which key is a belief's own -> (R, C)."""
        return self.guide.contrast.losses(z, keys, own)

    def task_keys(self, batches: Batches) -> Tensor:
        """The key of every training task, of all its transitions, (R, T, latent)."""
        bounds = batches.data.task_offsets
        contexts = (batches.features[start:stop] for start, stop in pairwise(bounds))
        keys = [self.guide.contrast.keys(context.expand(len(self.seeds), 1, -1, -1)) for context in contexts]
        return torch.cat(keys, dim=1)

    def policy(self, seed: int) -> MetaPolicy:
        """Both agents of a seed."""
        index = self.seeds.index(seed)
        nothing = Prior.zero(self.z_size)  # z_0, which the exploring agent has learnt from
        agents = (
            (self.actor(index), self.encoder, self.prior(index)),
            (self.explorer.actor(index), self.guide, nothing),
        )
        executing, exploring = (
            MeanPolicy(actor, take_seed(encoder, index).embed, prior, self.scale) for actor, encoder, prior in agents
        )
        return ExploringPolicy(executing, exploring)


class UnregularisedExploration(ContrastiveExploration):
    """The exploration agent without the regularisation term of its reward."""

    def losses(self, z: Tensor, keys: Tensor, own: Tensor) -> Tensor:
        """The first term of eq. 14 only: - f(z_i, k_n)."""
        return -self.guide.contrast.similarities(z, keys, own)[0]


class ExploringPolicy(MetaPolicy):
    """Two agents: the exploring one takes in every step at once, the executing one when the episode has ended."""

    def __init__(self, executing: MeanPolicy, exploring: MeanPolicy) -> None:
        self._executing, self._exploring = executing, exploring

    def reset(self, lanes: int) -> None:
        """Forget everything."""
        self._executing.reset(lanes)
        self._exploring.reset(lanes)

    def condition(self, context: Transitions) -> None:
        """Take the given context of each lane."""
        self._executing.condition(context)
        self._exploring.condition(context)

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The action of the agent whose turn it is."""
        return (self._exploring if explore else self._executing).act(observations)

    def observe(self, transitions: Transitions) -> None:
        """Take what just happened."""
        self._executing.take(transitions)
        self._exploring.take(transitions)
        self._exploring.update()

    def representation(self) -> np.ndarray:
        """What the executing agent acts on."""
        return self._executing.representation()

    def end_episode(self) -> None:
        """The executing agent takes in what was observed."""
        self._executing.update()
