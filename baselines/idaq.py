"""IDAQ (Wang et al., ICML 2023): a context of one's own episodes, of those that look like the training data.

Trained as its encoder's row is, `focal`, `csro` or `unicorn`: nothing is trained here, and where that row has been
trained, its weights are taken. What differs is how a context is collected, episode by episode:

    1. reference   act on z of a training context; of CANDIDATES drawn ones take that which is farthest from those
                   already acted on:  argmax_z min_j || z - z_j ||
    2. threshold   delta = the QUANTILE of Q(tau) over the reference episodes,     Q_RE(tau) = - return(tau)
    3. iteration   z = encoder of all episodes with Q(tau) <= delta; act on it, add the episode, and again

Every policy has had good and bad z to act on; an episode of high return was made by one that fits the task, as the
contexts of training were, and so belongs to their distribution. Episodes of low return do not, and are left out.

Deviations
* Q is the negative return only, which the paper finds best or near it; those by prediction error and by disagreement
  need ensembles.
* REFERENCE = 3 episodes [5]: the suites have five and eight episodes in all. Where the protocol asks for an execution
  after two, it is given what they have shown, by the same rule.
* delta is a quantile, as in the paper; the public code takes episodes only while they are better than the best so far.
* The encoders are deterministic, so z is not drawn from a posterior; candidates are representations of training
  contexts, 64 of which are saved with the weights.
* A return is the sum of what a context shows: in sparse suites, of sparse rewards.
* A context that was given, not collected, is encoded whole, as in the encoder's row: there the rows are the same.
* Backbone: the suite's choice; the paper's is BRAC.

Privileges: none.

Cost: none beside that of the encoder's row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import MetaPolicy, Transitions

from .csro import CSRO
from .encoded import Encoded
from .focal import Focal
from .policies import Actor, LatentPolicy
from .training import Scale
from .unicorn import Unicorn

METHODS = {"idaq-focal": "IDAQFocal", "idaq-csro": "IDAQCSRO", "idaq-unicorn": "IDAQUnicorn"}

REFERENCE = 3  # episodes of the first phase [5]
CANDIDATES = 5  # drawn for each of them
QUANTILE = 0.5  # of the reference episodes' Q that is still accepted; ours


class InDistribution(Encoded):
    """Collects by IDAQ; to be put before the class that trains."""

    def policy(self, seed: int) -> MetaPolicy:
        """The current policy of a seed."""
        index = self.seeds.index(seed)
        return IDAQPolicy(
            self.actor(index), self.inference(index), self.tried.z[index], self.scale, self.space.horizon, seed
        )


class IDAQFocal(InDistribution, Focal):
    """FOCAL that collects by IDAQ."""

    trained_as: ClassVar = "focal"


class IDAQCSRO(InDistribution, CSRO):
    """CSRO that collects by IDAQ, in the place of its own random actions."""

    trained_as: ClassVar = "csro"


class IDAQUnicorn(InDistribution, Unicorn):
    """UNICORN that collects by IDAQ."""

    trained_as: ClassVar = "unicorn"


class IDAQPolicy(LatentPolicy):
    """Acts on reference representations for some episodes, then on its accepted ones, or on a given context.

    Args:
        actor: The seed's actor.
        infer: Context -> z (lanes, z size).
        candidates: (P, z size), what reference episodes act on.
        scale: The scaling of the training data.
        horizon: Length of an episode: a context of several has them one after the other, each padded to that.
        seed: Of the draws.
    """

    def __init__(
        self,
        actor: Actor,
        infer: Callable[[Transitions], Tensor],
        candidates: Tensor,
        scale: Scale,
        horizon: int,
        seed: int,
    ) -> None:
        super().__init__(actor, scale)
        self._infer, self._candidates, self._horizon, self._seed = infer, candidates, horizon, seed

    def reset(self, lanes: int) -> None:
        """Forget every episode; the generator starts again."""
        self._rng, self._played = np.random.default_rng([self._seed, lanes]), 0
        self._used = torch.empty(lanes, 0, self._candidates.shape[1])
        self._z = self._next_reference(lanes)

    @torch.no_grad()
    def condition(self, context: Transitions) -> None:
        """The next reference representation, as long as this policy is collecting them; else that of the context."""
        if 0 < self._played < REFERENCE:
            self._z = self._next_reference(len(context.valid))
            return
        accepted = accepted_transitions(context, self._horizon)
        known = torch.as_tensor(accepted.valid.any(axis=1, keepdims=True))
        self._z = torch.where(known, self._infer(accepted), self._z)

    def end_episode(self) -> None:
        """One more has been played."""
        self._played += 1

    def _next_reference(self, lanes: int) -> Tensor:
        """Of some candidates, in each lane that which is farthest from those already used."""
        drawn = self._candidates[torch.as_tensor(self._rng.integers(len(self._candidates), size=(lanes, CANDIDATES)))]
        chosen = farthest(drawn, self._used)
        self._used = torch.cat([self._used, chosen[:, None]], dim=1)
        return chosen


def farthest(drawn: Tensor, used: Tensor) -> Tensor:
    """The drawn z (lanes, C, z size) whose smallest distance to the used ones (lanes, U, z size) is largest.

    The first one where none has been used: -> (lanes, z size).
    """
    if not used.shape[1]:
        return drawn[:, 0]
    squared = (drawn[:, :, None] - used[:, None]).square().sum(dim=-1)
    best = squared.amin(dim=2).argmax(dim=1)
    return drawn.gather(1, best[:, None, None].expand(-1, 1, drawn.shape[2]))[:, 0]


def accepted_transitions(context: Transitions, horizon: int) -> Transitions:
    """The context without the episodes whose Q is above the threshold, which are no longer valid."""
    episodes = episode_numbers(context.valid.shape[1], horizon)
    count = int(episodes[-1]) + 1
    if count == 1:
        return context
    rewards = np.where(context.valid, context.rewards, 0.0)
    of_each = [episodes == number for number in range(count)]
    q = -np.stack([rewards[:, steps].sum(axis=1) for steps in of_each], axis=1)
    q[~np.stack([context.valid[:, steps].any(axis=1) for steps in of_each], axis=1)] = np.inf  # nothing but padding
    kept = accepted(q, REFERENCE, QUANTILE)
    fields = {name: value for name, value in vars(context).items() if name != "valid"}
    return Transitions(**fields, valid=context.valid & kept[:, episodes])


def episode_numbers(steps: int, horizon: int) -> np.ndarray:
    """Which episode each step of a context is of, (steps,)."""
    return np.arange(steps) // horizon


def accepted(q: np.ndarray, reference: int, quantile: float) -> np.ndarray:
    """Which episodes are in distribution: q (lanes, episodes) -> bool; the first ones set the threshold.

    The threshold is the Q of one of them, so that at least one is accepted.
    """
    threshold = np.quantile(q[:, :reference], quantile, axis=1, keepdims=True, method="lower")
    return q <= threshold
