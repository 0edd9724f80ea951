"""Meta-DT: the world model, the worst pieces of episodes, and a policy with z of the last steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from omrl_bench.baselines.meta_dt import MetaDT, history, worst_of_each, worst_pieces
from omrl_bench.baselines.sequence import EpisodeSteps
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.baselines.transformer import causal
from omrl_bench.data.meta_dataset import MetaDataset

SEEDS = (0, 4)


@pytest.fixture
def data(family, ragged):
    return MetaDataset(family, ragged)


@pytest.fixture
def ready(make, data):
    """A method whose networks are built and data measured, and its batches."""
    method = make(MetaDT)
    method.build(SEEDS, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
    method.prepare(batches)
    return method, batches


def test_history_is_the_steps_before_in_the_same_episode(data, ready):
    _, batches = ready
    rows = np.array([[0, 2, 4, 9], [int(data.episode_offsets[3]) + 1, 1, int(data.episode_offsets[1]), 3]])
    found = history(batches.features, EpisodeSteps(data), rows, 4, 5)
    for where, row in np.ndenumerate(rows):
        first = data.episode_offsets[np.searchsorted(data.episode_offsets, row, side="right") - 1]
        for back in range(1, 5):
            expected = batches.features[row - back, :5] if row - back >= first else torch.zeros(5)
            assert torch.equal(found[where][4 - back], expected)


def test_loss_of_the_world_model_is_that_of_a_slow_evaluation(ready):
    """Recurrence and layers by hand, for each row alone."""
    method, batches = ready
    rows = batches.rows(batches.tasks(3), 2)
    found = method.world_loss(batches, rows).detach().numpy()
    world = method.world

    def layer(linear, r, x):
        return x @ linear.weight[r] + linear.bias[r, 0]

    for r in range(2):
        errors = []
        for row in rows[r]:
            state = torch.zeros(method.config.model_width)
            for step in history(batches.features, method._where, np.array([[row]]), 4, 5)[0, 0]:
                e = torch.cat([layer(m, r, x) for m, x in zip(world.embed, step.split([2, 2, 1]), strict=True)]).relu()
                (xr, xu, xn), (hr, hu, hn) = (
                    layer(m, r, v).chunk(3) for m, v in ((world.recurrent.enter, e), (world.recurrent.again, state))
                )
                reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xu + hu)
                state = (1 - update) * torch.tanh(xn + reset * hn) + update * state
            z, features = layer(world.leave, r, state), batches.features[row]
            x = torch.cat([features[:4], z])
            linears = [m for m in world.decoder if hasattr(m, "weight")]
            for number, linear in enumerate(linears):
                x = layer(linear, r, x)
                x = x.relu() if number + 1 < len(linears) else x
            reward, moved = (x[0] - features[4]) ** 2, (x[1:] - (features[5:] - features[:2])) ** 2
            errors.append((reward + moved.mean()).item())
        assert found[r] == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_worst_piece_is_the_arg_max_of_summed_errors(data):
    rng = np.random.default_rng(0)
    where, errors = EpisodeSteps(data), rng.random(len(data.rewards))
    found = worst_pieces(errors, where, 5)
    for episode, (first, length) in enumerate(zip(where.first, where.lengths, strict=True)):
        own = errors[first : first + length]
        sums = [own[start : start + 5].sum() for start in range(max(1, length - 4))]
        assert found[episode] == np.argmax(sums)
    steps, worst = worst_of_each(errors[None, :9], np.ones((1, 9), bool), 5)
    assert worst[0] == pytest.approx(max(errors[i : i + 5].sum() for i in range(5)))
    assert (np.diff(steps[0]) == 1).all()


def test_training_prompts_are_the_worst_pieces(ready):
    method, batches = ready
    method.train_representation(batches, 2, lambda *args: None)
    episodes = batches.episodes(batches.tasks(8))
    rows, valid = method.prompt_rows(episodes)
    _, errors = method.evaluate(batches)
    for r in range(2):
        for c, episode in enumerate(episodes[r]):
            first, length = method._where.first[episode], method._where.lengths[episode]
            start = worst_pieces(errors[r], method._where, 5)[episode]
            assert rows[r, c, 0] == first + start
            assert valid[r, c].sum() == min(5, length)
    z = method.beliefs(rows)
    again = method.world(history(batches.features, method._where, rows.reshape(2, -1), 4, 5)).reshape(z.shape)
    np.testing.assert_allclose(z, again.detach(), atol=1e-5)


@pytest.fixture(scope="module")
def trained(fit):
    return fit(MetaDT, SEEDS)


def test_acting_is_what_the_transformer_says_with_z_of_the_last_steps(trained, contexts, episodes):
    """Anew at every step: z from the steps before, prompt from the context's errors, everything through the network."""
    context, _ = contexts
    lanes, steps, scale, model, world = 8, 7, trained.scale, trained.model, trained.world
    policy = trained.policy(4)
    policy.reset(lanes)
    policy.condition(context)
    rows = episodes.offsets[40 : 40 + lanes, None] + np.arange(steps)
    names = ("observations", "actions", "rewards", "next_observations", "terminated")
    log = replace(context, **{n: getattr(episodes, n)[rows] for n in names}, valid=np.ones(rows.shape, bool))
    actions = []
    for t in range(steps):
        actions.append(policy.act(log.observations[:, t]))
        policy.observe(replace(log, **{n: getattr(log, n)[:, t : t + 1] for n in (*names, "valid")}))

    def z_of(features, t):
        before = torch.cat([torch.zeros(lanes, 4, 5), features[:, :t, :5]], dim=1)[:, -4:]
        return world(before.expand(2, -1, -1, -1))

    given, own = scale.features(context), scale.features(log)
    z_given = torch.stack([z_of(given, t)[1] for t in range(60)], dim=1)
    errors = world.error(z_given[None].reshape(1, -1, 16).expand(2, -1, -1), given.reshape(1, -1, 7).expand(2, -1, -1))
    at, _ = worst_of_each(errors[1].reshape(lanes, 60).detach().numpy(), context.valid, 5)
    lane = np.arange(lanes)[:, None]
    mean, deviation, target = model.returns[1].tolist()
    to_go = np.cumsum(context.rewards[:, ::-1].astype(float), axis=1)[:, ::-1][lane, at]
    prompt = torch.cat(
        [
            torch.as_tensor((to_go - mean) / deviation).float()[..., None],
            given[lane, at][..., :4],
            z_given[lane, at],
        ],
        dim=-1,
    )
    gained = np.concatenate([np.zeros((lanes, 1)), np.cumsum(log.rewards.astype(float), axis=1)], axis=1)[:, :steps]
    left = torch.as_tensor((target - gained - mean) / deviation).float()[..., None]
    before = torch.cat([torch.zeros(lanes, 1, 2), own[:, :-1, 2:4]], dim=1)
    z_own = torch.stack([z_of(own, t)[1] for t in range(steps)], dim=1)
    inputs = torch.cat([left, own[..., :2], before, z_own], dim=-1)
    tokens = torch.cat(
        [
            model.prompts(prompt.expand(2, *prompt.shape), torch.as_tensor(at).expand(2, -1, -1)),
            model.steps(inputs.expand(2, *inputs.shape), torch.arange(steps).expand(2, lanes, -1)),
        ],
        dim=2,
    )
    hidden = model.trunk(tokens, causal(torch.ones(2, lanes, 5 + steps, dtype=torch.bool)))
    expected = model.act(hidden)[1, :, 5:].detach().numpy() * 0.1
    np.testing.assert_allclose(np.stack(actions, axis=1), expected, atol=1e-5)


def test_without_a_context_there_is_z_and_no_prompt(trained, contexts, episodes):
    context, observations = contexts
    policy = trained.policy(0)
    policy.reset(8)
    first = policy.act(observations)
    rows = episodes.offsets[40:48, None]
    names = ("observations", "actions", "rewards", "next_observations", "terminated")
    happened = {n: getattr(episodes, n)[rows] for n in names} | {"valid": np.ones((8, 1), bool)}
    policy.observe(replace(context, **happened))
    assert policy._last[:, :3].abs().sum() == 0 and policy._last[:, 3].abs().sum() > 0
    policy.end_episode()
    assert policy._last.abs().sum() == 0
    np.testing.assert_array_equal(policy.act(observations), first)
