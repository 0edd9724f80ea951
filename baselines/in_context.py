"""What AD, DPT and in-context IQL and TD3+BC share: a transformer that learns a task from transitions in its context.

    c_1 .. c_N   tokens of transitions (s, a, r, s') of the task; c_i sees those before it
    q            token of a state s to act in; it sees the transitions that precede it, and no other state
    h(s, c) = Transformer( c_1 .. c_N, q ) at q

A method says how context and states are drawn, and what is learnt from h. The context does not depend on the state, so
that keys and values of the transitions are kept while acting, and a step costs one token.

Deviations of all of them
* A transition is one token, and a state to act in another; the papers interleave s, a and r as three tokens (AD), or
  put the state in front of the context (DPT), which would have to be computed anew for every state.
* The context shows some steps of every episode, not all: drawn at random in training, evenly spaced while acting. So a
  context of several episodes is as long in every family; the papers show all, 800 steps or so (preset `paper`: all).
* Each context is used for several states at once.
* Those of :mod:`.transformer`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omrl_bench.api import Algorithm, MetaPolicy, TaskSpace, Transitions

from .networks import Rngs, SeedLinear, TensorModule, take_seed
from .sequence import EpisodeSteps, SequenceMethod, TransformerConfig, cut_episodes
from .training import Batches, Scale
from .transformer import Cache, SeedEmbedding, Transformer, causal, normal

#: Observations (1, lanes, observation size), h (1, lanes, width) -> actions (1, lanes, action size) in [-1, 1].
Decide = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class HistoryConfig(TransformerConfig):
    """Hyper-parameters of a context of several episodes."""

    episodes: int = 4  # of the context, with the present one
    steps: int = 8  # that are shown of each [all]


class Window(NamedTuple):
    """A context for each of C tasks, and states to act in.

    Attributes:
        rows: (R, C, N) of the context's transitions.
        valid: (R, C, N) bool.
        states: (R, C, Q) rows whose states are acted in.
        sees: (R, C, Q, N) bool, which transitions of the context a state sees.
        place: (R, C, N + Q) number of the episode of each in the window, transitions first; None where nothing has one.
        time: (R, C, N + Q) step in the episode; None as well.
    """

    rows: np.ndarray
    valid: np.ndarray
    states: np.ndarray
    sees: np.ndarray
    place: np.ndarray | None = None
    time: np.ndarray | None = None


class InContext(TensorModule):
    """The transformer with its embeddings.

    Args:
        rngs: One generator per seed.
        space: What the tasks share.
        config: Sizes.
        episodes: Of a window, if its transitions have an order; 0 if it is a set.
    """

    def __init__(self, rngs: Rngs, space: TaskSpace, config: TransformerConfig, episodes: int = 0) -> None:
        super().__init__()
        self.enter = SeedLinear(rngs, space.feature_size, config.width)
        self.ask = SeedLinear(rngs, space.observation_size, config.width)
        self.place = SeedEmbedding(rngs, episodes, config.width) if episodes else None
        self.time = SeedEmbedding(rngs, space.horizon, config.width) if episodes else None
        self.trunk = Transformer(rngs, config.width, config.layers, config.heads)
        self.horizon, self.width = space.horizon, config.width

    def forward(self, context: Tensor, valid: Tensor, states: Tensor, sees: Tensor, where: Tensor | None) -> Tensor:
        """H of states.

        Args:
            context: (R, C, N, features).
            valid: (R, C, N) bool.
            states: (R, C, Q, observation size).
            sees: (R, C, Q, N) bool.
            where: (R, C, N + Q), for ordered windows, see :meth:`mark`.

        Returns:
            (R, C, Q, width).
        """
        known, asked = context.shape[2], states.shape[2]
        tokens = torch.cat([self.enter(context), self.ask(states)], dim=2)
        if where is not None:
            tokens = tokens + where
        shape = context.shape[:2]
        mask = torch.cat(
            [
                torch.cat([causal(valid), torch.zeros(*shape, known, asked, dtype=torch.bool)], dim=3),
                torch.cat(
                    [sees & valid[:, :, None], torch.eye(asked, dtype=torch.bool).expand(*shape, asked, asked)], dim=3
                ),
            ],
            dim=2,
        )
        return self.trunk(normal(tokens), mask)[:, :, known:]

    def mark(self, place: Tensor, time: Tensor) -> Tensor:
        """What is added to a token for the number of its episode and its step in it: (R, ...) -> (R, ..., width)."""
        assert self.place is not None and self.time is not None
        return self.place(place) + self.time(time.clamp(max=self.horizon - 1))

    def of(self, batches: Batches, window: Window, states: Tensor | None = None) -> Tensor:
        """H of the states of a window, (R, C, Q, width), or of states (R, C, Q, observation size) in their place."""
        if states is None:
            states = batches.at(window.states)[..., : self.ask.weight.shape[1]]
        where = None
        if window.place is not None and window.time is not None:
            where = self.mark(torch.as_tensor(window.place), torch.as_tensor(window.time))
        valid, sees = torch.as_tensor(window.valid), torch.as_tensor(window.sees)
        return self(batches.at(window.rows), valid, states, sees, where)


class Cloner(InContext):
    """The transformer with a head for actions."""

    def __init__(self, rngs: Rngs, space: TaskSpace, config: TransformerConfig, episodes: int = 0) -> None:
        super().__init__(rngs, space, config, episodes)
        self.head = SeedLinear(rngs, config.width, space.action_size)

    def act(self, hidden: Tensor) -> Tensor:
        """Actions in [-1, 1] of h, (..., width) -> (..., action size)."""
        return torch.tanh(self.head(hidden))


class InContextLearner(Algorithm):
    """What a method offers whose policy is an :class:`InContextPolicy`."""

    seeds: list[int]

    @abstractmethod
    def policy(self, seed: int) -> InContextPolicy:
        """The current policy of a seed."""

    def given(self, seed: int, context: Transitions) -> InContextPolicy:
        """The current policy of a seed with a context."""
        policy = self.policy(seed)
        policy.reset(len(context.observations))
        policy.condition(context)
        return policy

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """H at the mean observation, given a context, of the seed at ``index``."""
        return lambda context: torch.as_tensor(self.given(self.seeds[index], context).representation())

    def attention_weights(self, seed: int, context: Transitions) -> np.ndarray:
        """Attention of the mean observation to a context's transitions, in the last layer, mean over heads."""
        return self.given(seed, context).attention(context)


class Cloning(InContextLearner, SequenceMethod):
    """A transformer that predicts the actions that a method says are right."""

    model: Cloner

    def make_model(self, rngs: Rngs) -> Cloner:
        """Over transitions without order; methods with an order say so."""
        return Cloner(rngs, self.space, self.config)

    def error(self, batches: Batches, window: Window, actions: Tensor) -> Tensor:
        """Mean squared error of the actions predicted for the states of a window, (R, C, Q, action size) -> (R,)."""
        predicted = self.model.act(self.model.of(batches, window))
        return (predicted - actions).square().mean(dim=(1, 2, 3))

    def actor(self, index: int) -> tuple[Cloner, Decide]:
        """One seed's network, and what is done given h."""
        model = take_seed(self.model, index)
        return model, lambda observations, hidden: model.act(hidden)


def draw_history(
    batches: Batches, where: EpisodeSteps, tasks: np.ndarray, config: HistoryConfig, states: int
) -> Window:
    """Draw a window of several episodes of each task (R, C), in the order in which they were learnt, and some states.

    Of each episode some steps are shown, drawn without order and put into it. States are of any of its steps, of any of
    the episodes; a state sees what comes before it.
    """
    m, k, rngs = config.episodes, config.steps, batches.rngs
    episodes = batches.episodes(np.repeat(tasks[..., None], m, axis=2))
    order = np.argsort(batches.data.behaviours[episodes], axis=2, kind="stable")
    episodes = np.take_along_axis(episodes, order, axis=2)  # (R, C, M)
    lengths = where.lengths[episodes]
    keys = np.stack([rng.random((*tasks.shape[1:], m, int(lengths.max()))) for rng in rngs])
    keys[np.arange(keys.shape[3]) >= lengths[..., None]] = 2  # behind those that there are
    drawn = np.argsort(keys, axis=3)[..., : min(k, keys.shape[3])]
    steps = np.sort(np.where(np.arange(drawn.shape[3]) < lengths[..., None], drawn, where.lengths.max()), axis=3)
    valid = steps < lengths[..., None]
    rows = where.first[episodes][..., None] + np.minimum(steps, lengths[..., None] - 1)
    unit = np.stack([rng.random((2, *tasks.shape[1:], states)) for rng in rngs])
    place = (unit[:, 0] * m).astype(np.int64)
    own = np.take_along_axis(lengths, place, axis=2)
    time = (unit[:, 1] * own).astype(np.int64)
    asked = where.first[np.take_along_axis(episodes, place, axis=2)] + time
    flat = (*tasks.shape, -1)
    of = np.broadcast_to(np.arange(m)[:, None], steps.shape).reshape(flat)
    steps, valid = steps.reshape(flat), valid.reshape(flat)
    before = (of[:, :, None] == place[..., None]) & (steps[:, :, None] < time[..., None])
    return Window(
        rows=rows.reshape(flat),
        valid=valid,
        states=asked,
        sees=(of[:, :, None] < place[..., None]) | before,
        place=np.concatenate([of, place], axis=2),
        time=np.concatenate([steps, time], axis=2),
    )


class Shown(NamedTuple):
    """Transitions that are shown, of each lane.

    Attributes:
        features: (lanes, n, features).
        valid: (lanes, n) bool.
        time: (n,) step of each in its episode.
        columns: (lanes, n) where they are in the context that they were taken from; -1 for what was observed.
    """

    features: Tensor
    valid: np.ndarray
    time: np.ndarray
    columns: np.ndarray


class InContextPolicy(MetaPolicy):
    """One seed's transformer on a context in each lane; subclasses say what the context is.

    Args:
        model: The seed's network.
        decide: What is done, given h.
        capacity: Most transitions of a context.
        scale: The scaling of the training data.
    """

    def __init__(self, model: InContext, decide: Decide, capacity: int, scale: Scale) -> None:
        self._model, self._decide, self._capacity, self._scale = model, decide, capacity, scale

    def reset(self, lanes: int) -> None:
        """An empty context."""
        self._lanes = lanes
        self._start([])

    def representation(self) -> np.ndarray:
        """H at the mean observation, (lanes, width): what the context makes of the same state in every lane."""
        observation = self._scale.observation_mean.cpu().numpy()
        return self._hear(np.repeat(observation[None], self._lanes, axis=0))[0].cpu().numpy()

    @torch.no_grad()
    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """What is decided, given h."""
        hidden = self._hear(observations)
        actions = self._decide(self._scale.observations(observations)[None], hidden)[0]
        return (actions * self._scale.action_limit).cpu().numpy()

    def attention(self, context: Transitions) -> np.ndarray:
        """Attention of the mean observation to the context's transitions, in the last layer, mean over heads."""
        self.representation()
        found = np.zeros(context.valid.shape, np.float32)
        columns = np.concatenate([part.columns for part in self._context], axis=1)
        weights = self._cache.weights[:, :, -1, : columns.shape[1]].mean(dim=1).cpu().numpy()
        np.add.at(found, (np.arange(self._lanes)[:, None], columns), weights)
        return found

    def _start(self, context: list[Shown]) -> None:
        """Begin with a context, an episode of which is each of the parts."""
        self._context, self._waiting, self._time = context, list(enumerate(context)), 0
        self._cache = Cache(self._model.trunk, self._lanes, self._capacity + 1)

    @torch.no_grad()
    def _hear(self, observations: np.ndarray) -> Tensor:
        """H of states, (1, lanes, width); transitions that are new come first, in the same pass."""
        model = self._model
        tokens = [model.enter(shown.features[None]) + self._mark(place, shown.time) for place, shown in self._waiting]
        valid = [shown.valid for _, shown in self._waiting]
        state = model.ask(self._scale.observations(observations)[None, :, None])
        tokens.append(state + self._mark(self._place(), np.array([self._time])))
        new = sum(part.shape[1] for part in valid)
        seen = np.concatenate([*valid, np.ones((self._lanes, 1), bool)], axis=1)
        hidden = model.trunk.extend(normal(torch.cat(tokens, dim=2)), seen, self._cache, new)
        self._waiting = []
        return hidden[:, :, -1]

    def _place(self) -> int:
        """Number of the present episode in the window."""
        return 0

    def _mark(self, place: int, time: np.ndarray) -> Tensor:
        if self._model.place is None:
            return torch.zeros(())
        steps = torch.as_tensor(time)[None, None]
        return self._model.mark(torch.full_like(steps, place), steps)


class HistoryPolicy(InContextPolicy):
    """The context is what a lane has seen: the last episodes and the present one, of each every few steps.

    Args:
        model: The seed's network.
        decide: What is done, given h.
        config: Of the context.
        scale: The scaling of the training data.
    """

    def __init__(self, model: InContext, decide: Decide, config: HistoryConfig, scale: Scale) -> None:
        self._episodes, self._every = config.episodes, -(-model.horizon // config.steps)
        shown = len(range(0, model.horizon, self._every))
        super().__init__(model, decide, config.episodes * shown, scale)

    def condition(self, context: Transitions) -> None:
        """The context takes the place of all that was seen."""
        parts = [part[:: self._every] for part in cut_episodes(context, self._model.horizon)]
        features = self._scale.features(context)
        self._start(
            [
                Shown(
                    features[:, torch.as_tensor(part)],
                    context.valid[:, part],
                    np.arange(len(part)) * self._every,
                    np.broadcast_to(part, (self._lanes, len(part))),
                )
                for part in parts
            ]
        )

    def observe(self, transitions: Transitions) -> None:
        """Show every few steps."""
        if self._time % self._every == 0 and self._time < self._model.horizon:
            features = self._scale.features(transitions)
            columns = np.full((self._lanes, 1), -1)
            shown = Shown(features, transitions.valid.copy(), np.array([self._time]), columns)
            self._present.append(shown)
            self._waiting.append((self._place(), shown))
        self._time += 1

    def end_episode(self) -> None:
        """The episode becomes one of the last."""
        if self._present:
            features, valid, time, columns = (
                torch.cat([part.features for part in self._present], dim=1),
                np.concatenate([part.valid for part in self._present], axis=1),
                np.concatenate([part.time for part in self._present]),
                np.concatenate([part.columns for part in self._present], axis=1),
            )
            self._start([*self._context, Shown(features, valid, time, columns)])

    def _start(self, context: list[Shown]) -> None:
        """Begin an episode behind the last ones."""
        super()._start(context[len(context) - self._episodes + 1 :] if len(context) >= self._episodes else context)
        self._present: list[Shown] = []

    def _place(self) -> int:
        return len(self._context)
