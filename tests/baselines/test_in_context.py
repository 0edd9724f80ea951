"""AD, DPT and in-context reinforcement learning: windows, masks, losses and policies against slow evaluations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import omrl_bench.baselines.ad as ad_module
from omrl_bench.baselines.ad import AD
from omrl_bench.baselines.dpt import DPT, DPTExpert
from omrl_bench.baselines.in_context import Window, draw_history
from omrl_bench.baselines.in_context_rl import InContextIQL, InContextTD3BC, with_next
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.sequence import EpisodeSteps
from omrl_bench.baselines.td3bc import TD3BC
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.baselines.transformer import causal, normal
from omrl_bench.data.meta_dataset import MetaDataset

SEEDS = (0, 4)


@pytest.fixture
def data(family, ragged):
    return MetaDataset(family, ragged, frozenset({"expert_labels"}))


@pytest.fixture
def ready(make, data):
    """A method whose networks are built and data measured, and its batches."""

    def run(cls, **settings):
        method = make(cls, **settings)
        method.build(SEEDS, Scale.of(data, method.space))
        batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
        if hasattr(method, "prepare"):
            method.prepare(batches)
        return method, batches

    return run


def spy(monkeypatch, module, name):
    """Keep what a function of a module returns."""
    kept, real = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: kept.append(real(*args)) or kept[-1])
    return kept


@pytest.fixture
def history(ready):
    method, batches = ready(AD)
    tasks = batches.tasks(6)
    return draw_history(batches, method._where, tasks, method.config, 16), tasks, method.config


def test_a_window_is_episodes_of_a_task_in_learning_order(history, data):
    window, tasks, config = history
    assert window.rows.shape == (2, 6, config.episodes * config.steps)
    assert window.states.shape == (2, 6, config.states)
    number = np.searchsorted(data.episode_offsets, window.rows, side="right") - 1
    task = np.searchsorted(data.task_offsets, window.rows, side="right") - 1
    np.testing.assert_array_equal(task, np.broadcast_to(tasks[..., None], task.shape))
    behaviour = data.behaviours[number]
    assert (np.diff(behaviour, axis=2) >= 0).all()
    assert len(np.unique(behaviour)) == 10  # all of the learning
    place = window.place[..., : window.rows.shape[2]].reshape(2, 6, config.episodes, config.steps)
    assert (place == np.arange(config.episodes)[:, None]).all()
    for r in range(2):
        for c in range(6):
            for m in range(config.episodes):
                part = slice(m * config.steps, (m + 1) * config.steps)
                real = window.rows[r, c, part][window.valid[r, c, part]]
                assert (np.diff(real) > 0).all() and len(np.unique(number[r, c, part])) == 1
                length = np.diff(data.episode_offsets)[number[r, c, part][0]]
                assert len(real) == min(length, config.steps)


def test_a_state_sees_what_was_before_it_and_nothing_else(history, data):
    window, _, config = history
    shown = window.rows.shape[2]
    number, at = (
        np.searchsorted(data.episode_offsets, rows, side="right") - 1 for rows in (window.rows, window.states)
    )
    step = window.states - data.episode_offsets[at]
    np.testing.assert_array_equal(window.time[..., shown:], step)
    seen = 0
    for r in range(2):
        for c in range(6):
            for q in range(config.states):
                place = window.place[r, c, shown + q]
                own = number[r, c, place * config.steps]
                assert at[r, c, q] == own
                for i in np.flatnonzero(window.valid[r, c]):
                    earlier = window.place[r, c, i] < place
                    before = window.place[r, c, i] == place and window.rows[r, c, i] < window.states[r, c, q]
                    assert window.sees[r, c, q, i] == (earlier or before)
                    seen += window.sees[r, c, q, i]
    assert seen > 0


def test_the_next_state_sees_the_step_that_led_there(history):
    window, _, config = history
    both, shown, states = with_next(window), window.rows.shape[2], config.states
    first, second = np.split(both.sees, 2, axis=2)
    np.testing.assert_array_equal(first, window.sees)
    more = second & ~first
    assert not (first & ~second).any()
    for r, c, q, i in np.argwhere(more & window.valid[:, :, None]):
        assert window.rows[r, c, i] == window.states[r, c, q]
    led = (window.rows[:, :, None] == window.states[..., None]) & window.valid[:, :, None]
    assert second[led].sum() >= led.sum() - (window.place[..., None, :shown] != 0).sum()
    assert led.any() and (more & led).any()
    np.testing.assert_array_equal(both.time[..., shown + states :], window.time[..., shown:] + 1)


def one_by_one(method, batches, window, r, c, q):
    """H of one state, from the transitions that it sees and no other token, a row of its own network."""
    model, width = method.model, method.config.width
    shown = np.flatnonzero(window.sees[r, c, q] & window.valid[r, c])
    known = window.rows.shape[2]

    def tokens(layer, inputs, index):
        found = inputs @ layer.weight[r] + layer.bias[r, 0]
        if window.place is not None:
            place, time = window.place[r, c][index], window.time[r, c][index]
            found = found + model.place.weight[r][place] + model.time.weight[r][np.minimum(time, 59)]
        return found

    context = tokens(model.enter, batches.features[window.rows[r, c][shown]], shown)
    state = tokens(model.ask, batches.features[window.states[r, c, q], :2][None], [known + q])
    sequence = normal(torch.cat([context, state]))[None, None].expand(len(SEEDS), 1, -1, width)
    everything = torch.ones(len(SEEDS), 1, sequence.shape[2], dtype=torch.bool)
    return model.trunk(sequence, causal(everything))[r, 0, -1]


def squared(model, r, hidden, predicted, label):
    return (predicted - label) ** 2


def negative_log_likelihood(model, r, hidden, predicted, label):
    """Of a diagonal Gaussian, less its constant."""
    log_std = np.clip((hidden @ model.spread.weight[r] + model.spread.bias[r, 0]).detach().numpy(), -4, 0)
    return (predicted - label) ** 2 / (2 * np.exp(log_std) ** 2) + log_std


def check_cloning(method, batches, window, found, label, error=squared):
    """The loss is the mean of errors at every state, each computed alone."""
    for r in range(2):
        errors = []
        for c in range(window.states.shape[1]):
            for q in range(window.states.shape[2]):
                hidden = one_by_one(method, batches, window, r, c, q)
                predicted = torch.tanh(hidden @ method.model.head.weight[r] + method.model.head.bias[r, 0])
                right = label[window.states[r, c, q]]
                errors.append(error(method.model, r, hidden, predicted.detach().numpy(), right).mean())
        assert found[r].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_loss_of_ad_is_that_of_a_slow_evaluation(ready, data, monkeypatch):
    method, batches = ready(AD, states=3)
    windows = spy(monkeypatch, ad_module, "draw_history")
    found = method.loss(batches).detach()
    check_cloning(method, batches, windows[0], found, data.actions / 0.1, negative_log_likelihood)


@pytest.mark.parametrize("cls", [DPT, DPTExpert])
def test_loss_of_dpt_is_that_of_a_slow_evaluation(ready, data, family, cls, monkeypatch):
    method, batches = ready(cls, states=3, transitions=6)
    windows, real = [], method.draw
    monkeypatch.setattr(method, "draw", lambda *args: windows.append(real(*args)) or windows[-1])
    found = method.loss(batches).detach()
    (window,) = windows
    label = data.actions / 0.1
    if cls is DPTExpert:  # the scripted expert walks straight to the goal
        goals = family.tasks().descriptors[
            data.tasks[np.searchsorted(data.task_offsets, np.arange(len(label)), "right") - 1]
        ]
        label = np.clip(goals - data.observations, -0.1, 0.1) / 0.1
    check_cloning(method, batches, window, found, label)
    seen = window.sees.sum(axis=3)
    assert set(np.unique(seen)) == set(range(7))  # no transition up to all of them
    assert (np.diff(window.sees.astype(int), axis=3) <= 0).all()  # a number of the first ones
    task = [np.searchsorted(data.task_offsets, rows, side="right") - 1 for rows in (window.rows, window.states)]
    assert (task[0] == task[0][..., :1]).all() and (task[1] == task[0][..., :1]).all()


def test_dpt_learns_from_the_best_episodes(ready, data):
    method, _ = ready(DPT)
    returns = np.add.reduceat(data.rewards.astype(float), data.episode_offsets[:-1])
    for task, rows in enumerate(method._rows):
        own = np.arange(data.task_episodes[task], data.task_episodes[task + 1])
        best = own[returns[own].argmax()]
        np.testing.assert_array_equal(rows, np.arange(*data.episode_offsets[[best, best + 1]]))
    everything = np.concatenate(ready(DPTExpert)[0]._rows)
    np.testing.assert_array_equal(everything, np.arange(len(data.rewards)))


def test_ad_on_one_episode_is_behaviour_cloning(ready, data, monkeypatch):
    """Of a policy that remembers its episode: no other episode has any part in the loss."""
    method, batches = ready(AD, episodes=1, states=3)
    windows = spy(monkeypatch, ad_module, "draw_history")
    batches.rngs = seed_generators(SEEDS, "again")
    before = method.loss(batches).detach()
    (window,) = windows
    own = np.searchsorted(data.episode_offsets, window.states, side="right") - 1
    assert (np.searchsorted(data.episode_offsets, window.rows, side="right") - 1 == own[..., :1]).all()
    used = np.zeros(len(data.rewards), bool)
    used[window.rows] = used[window.states] = True
    batches.features[torch.as_tensor(~used)] += 5
    batches.rngs = seed_generators(SEEDS, "again")
    assert torch.equal(method.loss(batches).detach(), before)


def test_ad_that_shows_nothing_clones_the_state_alone(ready, data):
    """A window of which nothing is seen: h is that of the state's token, whatever the context."""
    method, batches = ready(AD, states=3)
    window = draw_history(batches, method._where, batches.tasks(4), method.config, 3)
    blind = window._replace(sees=np.zeros_like(window.sees))
    other = blind._replace(rows=np.roll(blind.rows, 1, axis=1))
    assert torch.equal(method.model.of(batches, blind), method.model.of(batches, other))
    assert not torch.allclose(method.model.of(batches, blind), method.model.of(batches, window))


@pytest.mark.parametrize(("cls", "backbone"), [(InContextIQL, IQL), (InContextTD3BC, TD3BC)])
def test_in_context_rl_learns_from_h_of_each_state_and_its_next(ready, data, cls, backbone):
    method, batches = ready(cls)
    assert isinstance(method.backbone, backbone)
    window = draw_history(batches, EpisodeSteps(data), batches.tasks(3), method.config, 2)
    batch, z, next_z = method.hear(batches, window)
    rows = window.states.reshape(2, -1)
    assert torch.equal(batch.observations, batches.features[rows][..., :2])
    both = with_next(window)
    for r in range(2):
        for b in range(rows.shape[1]):
            c, q = divmod(b, 2)
            np.testing.assert_allclose(
                z[r, b].detach(), one_by_one(method, batches, window, r, c, q).detach(), atol=2e-5
            )
            # the next state in the place of the one that is asked for
            row = rows[r, b]
            follow = batches.features[row, 5:7]
            kept = batches.features[row, :2].clone()
            batches.features[row, :2] = follow
            if not (window.rows[r, c] == row).any():  # where it is not in the context as well
                expected = one_by_one(method, batches, both, r, c, 2 + q)
                np.testing.assert_allclose(next_z[r, b], expected.detach(), atol=2e-5)
            batches.features[row, :2] = kept
    assert z.requires_grad and not next_z.requires_grad


@pytest.mark.parametrize("cls", [InContextIQL, InContextTD3BC])
def test_the_losses_of_values_and_of_the_policy_train_the_transformer(ready, cls, monkeypatch):
    method, batches = ready(cls)
    seen = {}

    def update(optimiser, batch, z, next_z, policy_z):
        seen.update(z=z, policy_z=policy_z)
        loss = method.backbone.loss(batch, z, next_z, policy_z)
        loss.backward()

    monkeypatch.setattr(method.backbone, "update", update)
    method.train_policy(batches, 1, lambda *args: None)
    assert seen["z"] is seen["policy_z"]
    for parameter in method.model.parameters():
        assert (parameter.grad != 0).any()


@pytest.mark.parametrize("backbone", ["iql", "td3bc"])
def test_the_suites_backbone_does_not_matter(make, backbone):
    assert make(InContextTD3BC, backbone=backbone).configuration()["backbone"]["policy_period"] == 2


@pytest.fixture(scope="module")
def ad(fit):
    return fit(AD, SEEDS, episodes=3)


def log_of(episodes, lanes, first):
    """A logged episode in each lane, step by step."""
    rows = episodes.offsets[np.arange(first, first + lanes)][:, None] + np.arange(60)
    names = ("observations", "actions", "rewards", "next_observations", "terminated")
    return {name: getattr(episodes, name)[rows] for name in names} | {"valid": np.ones(rows.shape, bool)}


def play(policy, context, log):
    """Drive a policy with a logged episode: actions (steps, lanes, action size)."""
    actions = []
    for step in range(60):
        actions.append(policy.act(log["observations"][:, step]))
        policy.observe(replace(context, **{name: value[:, step : step + 1] for name, value in log.items()}))
    policy.end_episode()
    return np.stack(actions)


def test_acting_with_a_cache_is_acting_without_one(ad, contexts, episodes):
    """The transitions that are shown, anew for every state."""
    context, _ = contexts
    lanes, every = 8, -(-60 // ad.config.steps)
    log = log_of(episodes, lanes, 40)
    policy = ad.policy(4)
    policy.reset(lanes)
    policy.condition(context)
    actions = play(policy, context, log)
    scale, model = ad.scale, ad.model
    given = scale.features(context)[:, ::every]
    own = scale.features(replace(context, **log))
    for step in range(60):
        shown = torch.cat([given, own[:, : step or 0][:, ::every]], dim=1)
        count = shown.shape[1] - given.shape[1]
        place = np.concatenate([np.zeros(given.shape[1], int), np.ones(count + 1, int)])
        time = np.concatenate([np.arange(given.shape[1]) * every, np.arange(count) * every, [step]])
        window = Window(
            rows=np.zeros((2, lanes, shown.shape[1]), int),
            valid=np.ones((2, lanes, shown.shape[1]), bool),
            states=np.zeros((2, lanes, 1), int),
            sees=np.ones((2, lanes, 1, shown.shape[1]), bool),
        )
        where = model.mark(*(torch.as_tensor(x).expand(2, lanes, -1) for x in (place, time)))
        states = scale.observations(log["observations"][:, step])[None, :, None].expand(2, -1, -1, -1)
        tensors = (torch.as_tensor(x) for x in (window.valid, window.sees))
        valid, sees = tensors
        hidden = model(shown.expand(2, *shown.shape), valid, states, sees, where)
        np.testing.assert_allclose(actions[step], model.act(hidden)[1, :, 0].detach() * 0.1, atol=1e-5)


def test_a_rolling_context_is_that_of_the_last_episodes_given(ad, contexts, episodes):
    """What a policy has seen by itself, and what it is told that it has seen; the oldest episode is gone."""
    context, observations = contexts
    logs = [log_of(episodes, 8, first) for first in (40, 60, 80)]
    rolling, told = ad.policy(0), ad.policy(0)
    for policy in (rolling, told):
        policy.reset(8)
    for log in logs:
        play(rolling, context, log)
    joined = {name: np.concatenate([log[name] for log in logs], axis=1) for name in logs[0]}
    told.condition(replace(context, **joined))
    expected = told.act(observations)
    np.testing.assert_allclose(rolling.act(observations), expected, atol=1e-6)
    told.condition(replace(context, **{name: value[:, 60:] for name, value in joined.items()}))
    np.testing.assert_allclose(told.act(observations), expected, atol=1e-6)
    told.condition(replace(context, **{name: value[:, 120:] for name, value in joined.items()}))
    assert np.abs(told.act(observations) - expected).max() > 1e-6


def test_ad_draws_its_actions_until_it_has_an_episode_behind_it(ad, contexts, episodes):
    context, observations = contexts
    policy = ad.policy(0)
    policy.reset(8)
    first, second = policy.act(observations), policy.act(observations)
    assert np.abs(first - second).max() > 1e-3
    policy.reset(8)
    np.testing.assert_array_equal(policy.act(observations), first)
    play(policy, context, log_of(episodes, 8, 40))
    mean = policy.act(observations)
    np.testing.assert_allclose(policy.act(observations), mean, atol=1e-6)
    policy._heads.spread.weight.zero_()
    policy._heads.spread.bias.fill_(-3)  # a deviation that leaves the limits alone
    drawn = np.stack([policy.act(observations, explore=True) for _ in range(300)])
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.002)
    np.testing.assert_allclose(drawn.std(axis=0), 0.1 * np.exp(-3), rtol=0.2)


def test_dpt_takes_transitions_evenly_from_what_there_is(fit, contexts):
    context, observations = contexts
    method = fit(DPT, SEEDS, transitions=5)
    valid = context.valid.copy()
    valid[0, 3:] = False  # fewer than it takes
    valid[1, ::2] = False
    valid[2] = False
    policy = method.policy(0)
    policy.reset(8)
    policy.condition(replace(context, valid=valid))
    (shown,) = policy._context
    assert shown.columns[0][shown.valid[0]].tolist() == [0, 1, 2]
    assert shown.columns[1].tolist() == [1, 15, 29, 43, 59]
    assert not shown.valid[2].any()
    assert shown.columns[3].tolist() == [0, 14, 29, 44, 59]
    nothing = method.policy(0)
    nothing.reset(8)
    np.testing.assert_allclose(policy.act(observations)[2], nothing.act(observations)[2], atol=1e-6)


@pytest.mark.parametrize("cls", [AD, DPT, InContextIQL])
def test_attention_lies_on_the_transitions_that_are_shown(fit, contexts, cls):
    context, _ = contexts
    method = fit(cls, SEEDS, 3)
    weights = method.attention_weights(0, context)
    assert weights.shape == context.valid.shape
    assert ((weights > 0).sum(axis=1) == (weights > 0).sum(axis=1)[0]).all() and (weights >= 0).all()
    assert 4 < (weights[0] > 0).sum() <= 32
    assert ((weights.sum(axis=1) > 0) & (weights.sum(axis=1) < 1)).all()
