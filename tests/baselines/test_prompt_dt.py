"""Prompt-DT: windows, prompts and returns; its loss and its policy against slow evaluations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from omrl_bench.baselines.prompt_dt import (
    PUBLISHED,
    PromptDT,
    PromptDTExpert,
    find_prompt,
)
from omrl_bench.baselines.sequence import EpisodeSteps, best_episodes, clip_gradients, cut_episodes, returns_to_go
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.baselines.transformer import causal
from omrl_bench.data.meta_dataset import MetaDataset

SEEDS = (0, 4)
CLASSES = (PromptDT, PromptDTExpert)


@pytest.fixture
def data(family, ragged):
    return MetaDataset(family, ragged, frozenset({"target_return"}))


@pytest.fixture
def ready(make, data):
    """A method whose networks are built and data measured, and its batches."""

    def run(cls, **settings):
        method = make(cls, **settings)
        method.build(SEEDS, Scale.of(data, method.space))
        batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
        method.prepare(batches)
        return method, batches

    return run


def slow_returns_to_go(data):
    return np.array(
        [
            data.rewards[row : data.episode_offsets[e + 1]].astype(float).sum()
            for e in range(len(data.episode_offsets) - 1)
            for row in range(data.episode_offsets[e], data.episode_offsets[e + 1])
        ]
    )


def test_returns_to_go_are_sums_to_the_end_of_the_episode(data):
    np.testing.assert_allclose(returns_to_go(data.rewards, EpisodeSteps(data)), slow_returns_to_go(data), atol=1e-6)


def test_target_return_is_the_rules_or_the_published_one(ready, data, space):
    starts = data.episode_offsets[:-1]
    returns = slow_returns_to_go(data)[starts]
    best = np.mean([returns[a:b].max() for a, b in zip(data.task_episodes, data.task_episodes[1:], strict=False)])
    for cls in CLASSES:  # point-goal has no published one
        assert ready(cls)[0].model.returns[:, 2].tolist() == pytest.approx([best, best])
    method = ready(PromptDTExpert)[0]
    method.space = replace(space, family="cheetah-dir")
    assert method.target(3.0) == PUBLISHED["cheetah-dir"] == 1500.0
    assert PromptDT.requires.privileges == frozenset()
    assert PromptDTExpert.requires.privileges == {"target_return"}


def test_prompts_of_the_expert_variant_are_of_the_best_episodes(data):
    returns = slow_returns_to_go(data)[data.episode_offsets[:-1]]
    for task, found in enumerate(best_episodes(returns, data.task_episodes)):
        own = np.arange(data.task_episodes[task], data.task_episodes[task + 1])
        assert list(found) == [own[returns[own].argmax()]]  # a tenth of ten
    assert [len(each) for each in best_episodes(np.arange(43.0), np.array([0, 40, 43]))] == [4, 1]


@pytest.mark.parametrize("cls", CLASSES)
def test_loss_is_that_of_a_slow_evaluation(ready, data, cls, monkeypatch):
    """Every window written out: its tokens from the logged rows, alone through the network, errors of real steps."""
    method, batches = ready(cls, without_prompt=0.3)
    drawn = {}
    for name in ("_windows", "_draw_prompts"):
        real = getattr(method, name)

        def spy(batches, tasks, real=real, name=name):
            drawn[name] = real(batches, tasks)
            drawn["tasks"] = tasks
            return drawn[name]

        monkeypatch.setattr(method, name, spy)
    found = method.loss(batches).detach()
    (rows, steps, valid), (prompt_rows, prompt_valid), tasks = (
        *(drawn[name] for name in ("_windows", "_draw_prompts")),
        drawn["tasks"],
    )
    assert rows.shape == (2, 32, 20) and prompt_rows.shape == (2, 32, 5)
    assert 0 < (~prompt_valid.any(axis=2)).mean() < 0.6
    to_go = slow_returns_to_go(data)
    standard = (to_go - to_go.mean()) / (to_go.std() + 1e-6)
    s = ((data.observations - data.observations.mean(axis=0)) / (data.observations.std(axis=0) + 1e-3)).astype(float)
    a = data.actions / 0.1
    ends = np.searchsorted(data.episode_offsets, np.arange(len(s)), side="right")
    at = np.arange(len(s)) - data.episode_offsets[ends - 1]
    model = method.model
    for r in range(2):
        errors = []
        for c in range(32):
            real = rows[r, c][valid[r, c]]
            own = rows[r, c][0]
            assert data.task_offsets[tasks[r, c]] <= own < data.task_offsets[tasks[r, c] + 1]
            assert (np.diff(real) == 1).all() and len(np.unique(ends[real])) == 1  # one stretch of one episode
            assert len(real) == 20 or real[-1] + 1 == data.episode_offsets[ends[real[0]]]
            np.testing.assert_array_equal(steps[r, c][valid[r, c]], at[real])
            before = np.array([a[i - 1] if at[i] else np.zeros(2) for i in real])
            inputs = np.concatenate([standard[real, None], s[real], before], axis=1)
            shown = prompt_rows[r, c][prompt_valid[r, c]]
            if len(shown):
                assert len(np.unique(ends[shown])) == 1
                assert data.task_offsets[tasks[r, c]] <= shown[0] and shown[-1] < data.task_offsets[tasks[r, c] + 1]
                assert shown[-1] + 1 == data.episode_offsets[ends[shown[-1]]]  # the end of an episode
            prompt = np.concatenate([standard[shown, None], s[shown], a[shown]], axis=1)

            def tensor(values):
                both = np.stack([values] * 2)[:, None]
                return torch.as_tensor(both, dtype=torch.long if values.dtype == np.int64 else torch.float32)

            tokens = model.steps(tensor(inputs), tensor(at[real]))
            if len(shown):
                tokens = torch.cat([model.prompts(tensor(prompt), tensor(at[shown])), tokens], dim=2)
            everything = torch.ones(2, 1, tokens.shape[2], dtype=torch.bool)
            hidden = model.trunk(tokens, causal(everything))[r, 0, len(shown) :]
            weight, bias = model.head.weight[r], model.head.bias[r]
            predicted = torch.tanh(hidden @ weight + bias).detach().numpy()
            errors += list(((predicted - a[real]) ** 2).mean(axis=1))
        assert found[r].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_without_prompts_it_is_a_decision_transformer(ready):
    """No gradient reaches what only prompts use, and nothing of a prompt reaches the loss."""
    method, batches = ready(PromptDT, without_prompt=1.0)
    method.loss(batches).sum().backward()
    for name in ("enter_prompt", "prompt_time"):
        for parameter in getattr(method.model, name).parameters():
            assert parameter.grad is None or (parameter.grad == 0).all()
    assert (method.model.enter.weight.grad != 0).any()
    losses = []
    for _ in range(2):
        batches.rngs = seed_generators(SEEDS, "again")
        losses.append(method.loss(batches).detach())
        with torch.no_grad():
            method.model.enter_prompt.weight += 1
    assert torch.equal(*losses)


@pytest.fixture(scope="module")
def trained(fit):
    return fit(PromptDT, SEEDS, window=8)


def played(policy, context, episodes, horizon, episodes_of=1):
    """Drive a policy with logged steps: what it did, (steps, lanes, action size), and the steps."""
    policy.reset(len(context.valid))
    policy.condition(context)
    actions = []
    for step in range(horizon):
        rows = episodes.offsets[: len(context.valid)] + step
        happened = {
            name: getattr(episodes, name)[rows][:, None]
            for name in ("observations", "actions", "rewards", "next_observations", "terminated")
        }
        actions.append(policy.act(happened["observations"][:, 0]))
        policy.observe(replace(context, **happened, valid=np.ones((len(rows), 1), bool)))
    return np.stack(actions)


def test_acting_with_a_cache_is_acting_without_one(trained, contexts, episodes):
    """All that a lane has seen in its window, anew at every step; windows go on with their last quarter when full."""
    context, _ = contexts
    actions = played(trained.policy(4), context, episodes, 30)
    mean, deviation, target = trained.model.returns[1].tolist()
    scale, model, lanes = trained.scale, trained.model, len(context.valid)
    columns, to_go, at, valid = find_prompt(context, 60, 5)
    rows = episodes.offsets[:lanes, None] + np.arange(30)
    s = scale.observations(episodes.observations[rows])
    a = torch.as_tensor(episodes.actions[rows]) / 0.1
    gained = np.concatenate([np.zeros((lanes, 1)), np.cumsum(episodes.rewards[rows].astype(float), axis=1)], axis=1)
    left = torch.as_tensor((target - gained[:, :30] - mean) / deviation, dtype=torch.float32)[..., None]
    before = torch.cat([torch.zeros(lanes, 1, 2), a[:, :-1]], dim=1)
    lane = np.arange(lanes)[:, None]
    prompt = torch.cat(
        [
            torch.as_tensor((to_go - mean) / deviation, dtype=torch.float32)[..., None],
            scale.observations(context.observations[lane, columns]),
            torch.as_tensor(context.actions[lane, columns]) / 0.1,
        ],
        dim=-1,
    )
    start = 0
    for step in range(30):
        if step - start == 8:
            start = step - 2
        window = slice(start, step + 1)
        inputs = torch.cat([left, s, before], dim=-1)[:, window]
        time = torch.arange(start, step + 1).expand(2, lanes, -1)
        both = [x.expand(2, *x.shape) for x in (prompt, torch.as_tensor(at), inputs)]
        mask = torch.as_tensor(np.concatenate([valid, np.ones((lanes, step + 1 - start), bool)], axis=1))
        expected = model(model.prompts(*both[:2]), model.steps(both[2], time), mask.expand(2, *mask.shape))
        np.testing.assert_allclose(actions[step], expected[1, :, -1].detach() * 0.1, atol=1e-5)


def test_an_ended_episode_begins_again_behind_the_same_prompt(trained, contexts, episodes):
    context, _ = contexts
    policy = trained.policy(0)
    first = played(policy, context, episodes, 11)
    policy.end_episode()
    observations = episodes.observations[episodes.offsets[: len(context.valid)]]
    np.testing.assert_allclose(policy.act(observations), first[0], atol=1e-6)


def test_prompt_is_the_end_of_the_best_episode(contexts):
    context, _ = contexts
    rng = np.random.default_rng(0)
    n = 3 * 60
    rewards = rng.standard_normal((4, n)).astype(np.float32)
    valid = np.ones((4, n), bool)
    valid[0, 60 + 9 : 120] = False  # a short episode
    valid[1, 123:] = False  # shorter than a prompt
    valid[2, 60:] = False  # only one
    valid[3] = False  # nothing
    rewards[0, 60], rewards[1, 120], rewards[2, 130] = 500, 500, 500
    nothing = np.zeros((4, n, 2), np.float32)
    given = replace(
        context,
        observations=nothing,
        actions=nothing,
        rewards=rewards,
        next_observations=nothing,
        terminated=valid,
        valid=valid,
    )
    columns, to_go, steps, real = find_prompt(given, 60, 5)
    assert columns[0].tolist() == [64, 65, 66, 67, 68] and steps[0].tolist() == [4, 5, 6, 7, 8]
    np.testing.assert_allclose(to_go[0], rewards[0, 64:69][::-1].cumsum()[::-1], rtol=1e-5)
    assert real[1].tolist() == [False, False, True, True, True] and columns[1, 2:].tolist() == [120, 121, 122]
    assert columns[2].tolist() == [55, 56, 57, 58, 59]
    assert not real[3].any()
    assert [part.tolist() for part in cut_episodes(given, 100)] == [list(range(100)), list(range(100, 180))]


def test_attention_to_the_prompt_lies_on_its_transitions(trained, contexts):
    context, _ = contexts
    weights = trained.attention_weights(0, context)
    assert weights.shape == context.valid.shape
    assert (weights[:, :-5] == 0).all() and (weights[:, -5:] > 0).all()
    assert (weights.sum(axis=1) < 1).all()  # some is left for the step itself


def test_gradients_are_clipped_for_each_seed_by_itself():
    module = torch.nn.ParameterList([torch.zeros(2, 3, 4), torch.zeros(2, 5)])
    for number, parameter in enumerate(module):
        parameter.grad = torch.stack([torch.full(parameter.shape[1:], 0.01), torch.full(parameter.shape[1:], 2.0)])
        assert number < 2
    clip_gradients(module, 1.0)
    lengths = torch.stack([p.grad.flatten(1).square().sum(dim=1) for p in module]).sum(dim=0).sqrt()
    assert lengths.tolist() == pytest.approx([0.01 * 17**0.5, 1.0], rel=1e-4)
