"""Prompt-DT (Xu et al., ICML 2022): a return-conditioned causal transformer with a piece of the task's data in front.

    token of step t      x_t  = normal( W [R_t, s_t, a_{t-1}] + e(t) ),   R_t = r_t + r_{t+1} + ...      (section 4)
    prompt               x*_k = W* [R*_k, s*_k, a*_k] + e*(k),   the last K* steps of an episode of the task
    a^_t = tanh( W_a h_t ),   h = Transformer( x*_1 .. x*_K*, x_{t-K+1} .. x_t )
    L    = mean_t | a^_t - a_t |^2                                                                        (algorithm 1)

At test time R starts at a target return and is reduced by every reward that is seen.

* ``prompt-dt``: prompts are pieces of any episode of the task; the target return is a rule on the training tasks: the
  mean over tasks of the return of the task's best episode.
* ``prompt-dt-expert``: as published, as far as the data allow: training prompts are pieces of the best tenth of a
  task's episodes (the paper: of an expert's), and the target return is the published one of the family, in the
  families that have one (``PUBLISHED``), else the rule's. At test time both see the context that the suite gives.

A prompt is taken from the context's last episode with the highest return; without a context there is none, and what
is left is a decision transformer.

Deviations
* One token per step, of (R_t, s_t, a_{t-1}), where the paper has three, R_t, s_t and a_t: they hold the same when a_t
  is predicted, and a step costs a third. A step of the prompt is one token, too.
* A tenth of the training windows have no prompt, so that acting without one (the first episode of `zero-shot`) has
  been trained; in the paper no window has none.
* The normalisation of states is that of the training tasks; the public code takes the test tasks in. Returns-to-go are
  in standard units of the training data; the paper divides by a constant of each family (500 to 1000).
* Returns are sums of the rewards that contexts show.
* The window while acting has at most K steps; when it is full it starts again with the last quarter of them, so that
  keys and values can be kept. The paper moves it by one step each time. Training has windows of every length up to K.
* Each update draws the meta-batch of the suite, 16 tasks; the public code takes all tasks.
* Those of :mod:`.sequence` and :mod:`.transformer` (no dropout; the paper's is 0.1).

Not compared with numbers of the public code, whose tokens differ; losses and masks are tested against slow evaluations.

Privileges: ``prompt-dt``: none. ``prompt-dt-expert``: target_return.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from omrl_bench.api import MetaPolicy, Requirements, Transitions

from .conditioned import META_BATCH
from .networks import Rngs, SeedLinear, take_seed
from .sequence import EpisodeSteps, SequenceConfig, SequenceMethod, best_episodes, cut_episodes, returns_to_go
from .training import Batches, Scale
from .transformer import Cache, SeedEmbedding, Transformer, causal, normal

METHODS = {"prompt-dt": "PromptDT", "prompt-dt-expert": "PromptDTExpert"}

#: Target returns of the public code, of the families that it shares with this benchmark.
PUBLISHED: Mapping[str, float] = {"cheetah-vel": 0.0, "cheetah-dir": 1500.0, "ant-dir": 500.0}


@dataclass(frozen=True)
class PromptDTConfig(SequenceConfig):
    """Hyper-parameters; the public code's in brackets where another value is used."""

    window: int = 20  # K
    prompt: int = 5  # K*
    windows: int = 2  # of each task in an update [16]
    without_prompt: float = 0.1  # share of windows [0]
    clip: float = 0.25

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {"width": 128, "layers": 3, "windows": 16, "learning_rate": 1e-4},
    }


class PromptedTransformer(nn.Module):
    """Embeddings of steps and prompts, the transformer, and the head; what scales returns is kept beside it.

    Args:
        rngs: One generator per seed.
        observation_size: Length of s.
        action_size: Length of a.
        horizon: Steps of an episode.
        config: Sizes.
        belief: Length of what a method adds to every step.
    """

    def __init__(
        self, rngs: Rngs, observation_size: int, action_size: int, horizon: int, config: PromptDTConfig, belief: int = 0
    ) -> None:
        super().__init__()
        inputs, width = 1 + observation_size + action_size + belief, config.width
        self.horizon = horizon
        self.enter, self.time = SeedLinear(rngs, inputs, width), SeedEmbedding(rngs, horizon, width)
        self.enter_prompt, self.prompt_time = SeedLinear(rngs, inputs, width), SeedEmbedding(rngs, horizon, width)
        self.trunk = Transformer(rngs, width, config.layers, config.heads)
        self.head = SeedLinear(rngs, width, action_size)
        # mean and deviation of returns-to-go, target return; parameters, so that each seed takes its own
        self.returns = nn.Parameter(torch.tensor([0.0, 1.0, 0.0]).repeat(len(rngs), 1), requires_grad=False)

    def steps(self, inputs: Tensor, time: Tensor) -> Tensor:
        """Tokens of steps: [R, s, a before] (R, C, n, inputs), time (R, C, n) -> (R, C, n, width)."""
        return normal(self.enter(inputs) + self.time(time.clamp(max=self.horizon - 1)))

    def prompts(self, inputs: Tensor, time: Tensor) -> Tensor:
        """Tokens of a prompt: [R*, s*, a*] (R, C, n, inputs), time (R, C, n) -> (R, C, n, width)."""
        return self.enter_prompt(inputs) + self.prompt_time(time.clamp(max=self.horizon - 1))

    def forward(self, prompt: Tensor, steps: Tensor, valid: Tensor) -> Tensor:
        """Actions in [-1, 1] at every step.

        Args:
            prompt: (R, C, K*, width) tokens.
            steps: (R, C, K, width) tokens.
            valid: (R, C, K* + K) bool.

        Returns:
            (R, C, K, action size).
        """
        hidden = self.trunk(torch.cat([prompt, steps], dim=2), causal(valid))
        return self.act(hidden[:, :, prompt.shape[2] :])

    def act(self, hidden: Tensor) -> Tensor:
        """Actions in [-1, 1] of what the transformer makes of steps."""
        return torch.tanh(self.head(hidden))


class PromptDT(SequenceMethod):
    """Prompt-DT with prompts of any episode."""

    Config = PromptDTConfig
    model: PromptedTransformer

    @property
    def belief_size(self) -> int:
        """Length of what the method adds to every step; nothing here."""
        return 0

    def beliefs(self, rows: np.ndarray) -> Tensor:
        """What the method adds to steps, rows (R, ...) -> (R, ..., belief size)."""
        return torch.zeros(*rows.shape, 0)

    def make_model(self, rngs: Rngs) -> PromptedTransformer:
        """The prompted transformer."""
        sizes = self.space.observation_size, self.space.action_size, self.space.horizon
        return PromptedTransformer(rngs, *sizes, self.config, self.belief_size)

    def prepare(self, batches: Batches) -> None:
        """Returns-to-go of all rows, their scale, the target return, and which episodes prompts are taken from."""
        data = batches.data
        self._where = EpisodeSteps(data)
        to_go = returns_to_go(data.context_rewards, self._where)
        returns = to_go[self._where.first]
        self._prompted = self.prompt_episodes(returns, data.task_episodes)
        best = np.maximum.reduceat(returns, data.task_episodes[:-1]).mean()
        self.model.returns.copy_(torch.tensor([to_go.mean(), to_go.std() + 1e-6, self.target(float(best))]))
        observations, actions = self._split(batches.features)
        before = actions.roll(1, dims=0).clone()
        before[torch.as_tensor(self._where.first)] = 0
        standard = torch.as_tensor((to_go - to_go.mean()) / (to_go.std() + 1e-6), dtype=torch.float32)[:, None]
        self._table = torch.cat([standard, observations, before, actions], dim=1)

    def prompt_episodes(self, returns: np.ndarray, task_episodes: np.ndarray) -> list[np.ndarray]:
        """Episodes of each task that training prompts are taken from: all of them."""
        return [np.arange(*pair) for pair in pairwise(task_episodes)]

    def target(self, rule: float) -> float:
        """The target return, given that of the rule."""
        return rule

    def loss(self, batches: Batches) -> Tensor:
        """Algorithm 1: mean squared error of the actions in windows of a meta-batch, (R,)."""
        tasks = np.repeat(batches.tasks(META_BATCH), self.config.windows, axis=1)
        rows, steps, valid = self._windows(batches, tasks)
        prompt_rows, prompt_valid = self._draw_prompts(batches, tasks)
        before, _, actions = self._gather(rows)
        _, done, _ = self._gather(prompt_rows)
        model, where = self.model, self._where
        predicted = model(
            model.prompts(done, torch.as_tensor(where.step[prompt_rows])),
            model.steps(before, torch.as_tensor(steps)),
            torch.as_tensor(np.concatenate([prompt_valid, valid], axis=2)),
        )
        weight = torch.as_tensor(valid, dtype=torch.float32)
        squared = (predicted - actions).square().mean(dim=-1)
        return (squared * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))

    def _windows(self, batches: Batches, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, steps and validity, (R, C, K) each, of a window in an episode of each task, from some step on."""
        episodes = batches.episodes(tasks)
        lengths = self._where.lengths[episodes]
        start = (np.stack([rng.random(tasks.shape[1]) for rng in batches.rngs]) * lengths).astype(np.int64)
        steps = start[..., None] + np.arange(self.config.window)
        valid = steps < lengths[..., None]
        steps = np.minimum(steps, lengths[..., None] - 1)
        return self._where.first[episodes][..., None] + steps, steps, valid

    def _draw_prompts(self, batches: Batches, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and validity, (R, C, K*) each, of a prompt from an episode of each task; of some there is none."""
        unit = np.stack([rng.random((2, tasks.shape[1])) for rng in batches.rngs])
        counts = np.array([len(each) for each in self._prompted])
        table = np.stack([np.resize(each, counts.max()) for each in self._prompted])
        episodes = table[tasks, (unit[:, 0] * counts[tasks]).astype(np.int64)]
        rows, valid = self.prompt_rows(episodes)
        return rows, valid & (unit[:, 1, :, None] >= self.config.without_prompt)

    def prompt_rows(self, episodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and validity of the prompt that an episode gives, (R, C) -> (R, C, K*) each: its last steps."""
        steps = self._where.lengths[episodes][..., None] - np.arange(self.config.prompt, 0, -1)
        return self._where.first[episodes][..., None] + np.maximum(steps, 0), steps >= 0

    def _gather(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """[R, s, a before], [R, s, a], both with beliefs, and a of rows."""
        size = self.space.action_size
        state, before, actions = torch.split(
            self._table[torch.as_tensor(rows)], [1 + self.space.observation_size, size, size], dim=-1
        )
        beliefs = self.beliefs(rows)
        return torch.cat([state, before, beliefs], dim=-1), torch.cat([state, actions, beliefs], dim=-1), actions

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        size = self.space.observation_size
        return features[..., :size], features[..., size : self.space.input_size]

    def inference(self, index: int) -> Callable[[Transitions], Tensor]:
        """What the transformer makes of the last step of the prompt of one seed."""
        policy = self.policy(self.seeds[index])

        def infer(context: Transitions) -> Tensor:
            policy.reset(len(context.observations))
            policy.condition(context)
            return torch.as_tensor(policy.representation())

        return infer

    def policy(self, seed: int) -> PromptPolicy:
        """The current policy of a seed."""
        model = take_seed(self.model, self.seeds.index(seed))
        return PromptPolicy(model, self.config, self.scale)

    def attention_weights(self, seed: int, context: Transitions) -> np.ndarray:
        """Attention that the first step pays to the transitions of the prompt, in the last layer, mean over heads."""
        policy = self.policy(seed)
        policy.reset(len(context.observations))
        policy.condition(context)
        return policy.attention(context)


class PromptDTExpert(PromptDT):
    """Prompt-DT with prompts of the best episodes and the published target returns."""

    requires = Requirements(privileges=frozenset({"target_return"}))

    def prompt_episodes(self, returns: np.ndarray, task_episodes: np.ndarray) -> list[np.ndarray]:
        """The best tenth of each task's."""
        return best_episodes(returns, task_episodes)

    def target(self, rule: float) -> float:
        """The published one, if there is one."""
        return PUBLISHED.get(self.space.family, rule)


class PromptPolicy(MetaPolicy):
    """One seed's transformer behind the prompt of each lane's context, on a window of what the lane has seen.

    Args:
        model: The seed's network.
        config: Lengths of window and prompt.
        scale: The scaling of the training data.
    """

    _pending: bool  # whether the present step is in the cache, but not kept
    _token: Tensor
    _before: Tensor  # the last actions, (lanes, action size)
    _to_go: Tensor  # (lanes, 1)
    _time: int

    def __init__(self, model: PromptedTransformer, config: PromptDTConfig, scale: Scale) -> None:
        self._model, self._config, self._scale = model, config, scale
        self._mean, self._deviation, self._target = model.returns[0].unbind()

    def reset(self, lanes: int) -> None:
        """No prompt, nothing seen."""
        self._prompt(np.zeros((lanes, 1), bool), torch.zeros(1, lanes, 1, self._config.width))

    @torch.no_grad()
    def condition(self, context: Transitions) -> None:
        """Take the prompt from the context."""
        columns, to_go, steps, valid = self.choose(context)
        lane = np.arange(len(columns))[:, None]
        standard = (torch.as_tensor(to_go) - self._mean) / self._deviation
        inputs = torch.cat(
            [
                standard[..., None],
                self._scale.observations(context.observations[lane, columns]),
                torch.as_tensor(context.actions[lane, columns]) / self._scale.action_limit,
                *self.beliefs_of(columns),
            ],
            dim=-1,
        )
        self._columns = columns
        self._prompt(valid, self._model.prompts(inputs[None], torch.as_tensor(steps)[None]))

    def choose(self, context: Transitions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The prompt: columns, returns-to-go, steps and validity, (lanes, K*) each."""
        return find_prompt(context, self._model.horizon, self._config.prompt)

    def beliefs_of(self, columns: np.ndarray) -> list[Tensor]:
        """What the method adds to the prompt's steps, (lanes, K*, size) each."""
        return []

    def beliefs(self) -> list[Tensor]:
        """What the method adds to the present step, (lanes, size) each."""
        return []

    def representation(self) -> np.ndarray:
        """What the transformer makes of the prompt's last step, (lanes, width); 0 without one."""
        return self._believed.cpu().numpy()

    @torch.no_grad()
    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The predicted action."""
        actions = self._model.act(self._see(observations))[0, :, 0]
        return (actions * self._scale.action_limit).cpu().numpy()

    @torch.no_grad()
    def observe(self, transitions: Transitions) -> None:
        """Keep the step that was acted on, what was done, and what is still to be gained."""
        if not self._pending:
            self._see(transitions.observations[:, 0])
        valid = transitions.valid[:, :1]
        self._cache.keep(valid)
        self._seen.append((self._token, valid))
        self._pending = False
        taken = torch.as_tensor(transitions.actions[:, 0]) / self._scale.action_limit
        known = torch.as_tensor(valid)
        self._before = torch.where(known, taken, self._before)
        self._to_go = self._to_go - torch.where(known, torch.as_tensor(transitions.rewards[:, :1]), torch.zeros(()))
        self._time += 1

    def end_episode(self) -> None:
        """Begin the next one, behind the same prompt."""
        self._begin()

    def attention(self, context: Transitions) -> np.ndarray:
        """Attention of a first step at the mean observation to the context's transitions, (lanes, n)."""
        lanes, n = context.valid.shape
        self.act(np.repeat(self._scale.observation_mean.cpu().numpy()[None], lanes, axis=0))
        weights = self._cache.weights[:, :, -1, : self._columns.shape[1]].mean(dim=1).cpu().numpy()
        found = np.zeros((lanes, n), np.float32)
        np.add.at(found, (np.arange(lanes)[:, None], self._columns), weights)
        return found

    def _prompt(self, valid: np.ndarray, tokens: Tensor) -> None:
        """Start behind prompts, (1, lanes, K*, width)."""
        capacity = tokens.shape[2] + self._config.window
        self._cache, self._prompted = Cache(self._model.trunk, len(valid), capacity), tokens.shape[2]
        last = self._model.trunk.extend(tokens, valid, self._cache, self._prompted)[0, :, -1]
        self._believed = last * torch.as_tensor(valid[:, -1:])
        self._begin()

    def _begin(self) -> None:
        lanes = len(self._believed)
        self._cache.truncate(self._prompted)
        self._seen: list[tuple[Tensor, np.ndarray]] = []  # tokens of the window, and the lanes that were still acting
        self._before = torch.zeros(lanes, self._model.head.weight.shape[-1])
        self._to_go = self._target.expand(lanes, 1).clone()
        self._time, self._pending = 0, False

    def _see(self, observations: np.ndarray) -> Tensor:
        """What the transformer makes of the present step; its key and value lie behind those that are kept."""
        to_go = (self._to_go - self._mean) / self._deviation
        known = [to_go, self._scale.observations(observations), self._before, *self.beliefs()]
        inputs = torch.cat(known, dim=-1)[None, :, None]
        self._token, self._pending = self._model.steps(inputs, torch.full((1, 1, 1), self._time)), True
        if len(self._seen) == self._config.window:
            self._start_again()
        return self._model.trunk.extend(self._token, np.ones((len(observations), 1), bool), self._cache, 0)

    def _start_again(self) -> None:
        """A full window goes on with its last quarter."""
        self._seen = self._seen[-(self._config.window // 4) :]
        self._cache.truncate(self._prompted)
        tokens, valid = zip(*self._seen, strict=True)
        self._model.trunk.extend(torch.cat(tokens, dim=2), np.concatenate(valid, axis=1), self._cache, len(tokens))


def find_prompt(
    context: Transitions, horizon: int, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The last steps of the best of a context's episodes, the later of two as good ones.

    Args:
        context: (lanes, n).
        horizon: Steps of an episode.
        length: K*.

    Returns:
        Columns, returns-to-go (float32), steps and validity, (lanes, K*) each.
    """
    lanes = len(context.valid)
    found: Sequence[np.ndarray] = [np.zeros((lanes, length), d) for d in (np.int64, np.float32, np.int64, bool)]
    best = np.full(lanes, -np.inf)
    for part in cut_episodes(context, horizon):
        valid = context.valid[:, part]
        rewards = np.where(valid, context.rewards[:, part], 0).astype(np.float64)
        to_go = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
        steps = valid.sum(axis=1, keepdims=True) - 1 - np.arange(length)[::-1]
        inside = steps >= 0
        steps = np.maximum(steps, 0)
        # valid steps come first in an episode
        values = part[0] + steps, np.take_along_axis(to_go, steps, axis=1), steps, inside
        better = valid.any(axis=1) & (to_go[:, 0] >= best)
        best = np.where(better, to_go[:, 0], best)
        found = [np.where(better[:, None], new, old).astype(old.dtype) for new, old in zip(values, found, strict=True)]
    columns, returns, at, valid = found
    return columns, returns, at, valid
