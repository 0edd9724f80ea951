"""VariBAD: the recurrent encoder, running beliefs, the ELBO against a literal one, beliefs of every transition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from omrl_bench.api import Budget, Transitions
from omrl_bench.baselines.borel import Borel
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.recurrence import SeedGRU
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.baselines.varibad import BeliefMemory, draw_steps, kl_to_previous, take_steps
from omrl_bench.data.meta_dataset import MetaDataset

SEEDS = (3, 5)


def random(*shape, seed=0, dtype=np.float64):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


@pytest.fixture(scope="module")
def gru():
    return SeedGRU(seed_generators((0, 1), "test"), 3, 4).double()


@pytest.fixture(scope="module", params=["whole", "ragged"])
def built(request, make, family):
    """An untrained method and its batches."""
    data = MetaDataset(family, request.getfixturevalue("episodes" if request.param == "whole" else "ragged"))
    method = make(Borel, trajectories=4, beliefs=3, predictions=4)
    method.build(SEEDS, Scale.of(data, method.space))
    return method, Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))


# --- the recurrent unit


def test_it_is_pytorchs_gated_recurrent_unit(gru):
    x, start = random(2, 3, 6, 3), random(2, 3, 4, seed=1)
    states = gru(x, start=start)
    torch.testing.assert_close(states[:, :, 0], start)
    for seed in range(2):
        theirs = torch.nn.GRU(3, 4, batch_first=True).double()
        with torch.no_grad():
            theirs.weight_ih_l0.copy_(gru.enter.weight[seed].T)
            theirs.weight_hh_l0.copy_(gru.again.weight[seed].T)
            theirs.bias_ih_l0.copy_(gru.enter.bias[seed, 0])
            theirs.bias_hh_l0.copy_(gru.again.bias[seed, 0])
        torch.testing.assert_close(states[seed, :, 1:], theirs(x[seed], start[seed][None])[0])


@pytest.mark.parametrize("padded", [False, True])
def test_gradient_by_hand_is_the_numerical_one(gru, padded):
    x, start = random(2, 2, 4, 3).requires_grad_(), random(2, 2, 4, seed=1).requires_grad_()
    valid = torch.as_tensor(np.random.default_rng(2).random((2, 2, 4)) < 0.6) if padded else None
    weights = [gru.again.weight, gru.again.bias]
    assert torch.autograd.gradcheck(lambda x, start, *_: gru(x, valid, start), (x, start, *weights))


def test_steps_that_are_not_valid_leave_the_state_as_it_is(gru):
    x = random(2, 3, 7, 3)
    valid = torch.as_tensor(np.random.default_rng(0).random((2, 3, 7)) < 0.5)
    states = gru(x, valid)
    for seed in range(2):
        for lane in range(3):
            kept = valid[seed, lane]
            alone = gru(x[:, lane : lane + 1, kept])[seed, 0]
            torch.testing.assert_close(states[seed, lane, -1], alone[-1])
            assert torch.equal(states[seed, lane, 1:][~kept], states[seed, lane, :-1][~kept])


# --- divergence and reconstruction


def test_divergences_are_those_of_torch_from_one_posterior_to_the_next():
    beliefs, opening = random(2, 3, 5, 6), random(2, 3, 1, 6, seed=1)
    found = kl_to_previous(beliefs, opening)
    posterior = [Normal(b[..., :3], (0.5 * b[..., 3:]).exp()) for b in (opening[:, :, 0], *beliefs.unbind(2))]
    for t in range(5):
        expected = torch.distributions.kl_divergence(posterior[t + 1], posterior[t]).sum(-1)
        torch.testing.assert_close(found[:, :, t], expected)


def test_equal_posteriors_have_no_divergence_and_the_prior_is_standard_normal():
    same = random(1, 1, 1, 6, dtype=np.float32).expand(1, 1, 4, 6)
    assert torch.equal(kl_to_previous(same, same[:, :, :1]), torch.zeros(1, 1, 4))
    beliefs = torch.cat([torch.zeros(1, 1, 1, 6), same], dim=2)
    assert kl_to_previous(beliefs, torch.zeros(1, 1, 1, 6))[0, 0, 0] == 0


def literal_elbo(method, beliefs, lengths, predicted, rngs):
    """Loops over seeds, trajectories, t and predicted steps, in floats."""
    encoder, config = method.encoder, method.config
    steps = draw_steps(rngs, lengths + 1, config.beliefs)
    noise = np.stack([r.standard_normal((*lengths.shape[1:], config.beliefs, config.latent), np.float32) for r in rngs])
    losses, latent = [], config.latent
    for seed in range(len(lengths)):
        total = 0.0
        for c in range(lengths.shape[1]):
            b = beliefs[seed, c].double()
            error = 0.0
            for draw, t in enumerate(steps[seed, c]):
                m = b[t, :latent] + (0.5 * b[t, latent:]).exp() * torch.as_tensor(noise[seed, c, draw]).double()
                for row in predicted[seed, c]:
                    pick = slice(seed, seed + 1)
                    one = torch.zeros(len(lengths), 1, 1, latent)
                    one[pick] = m.float()
                    row_of = torch.zeros(len(lengths), 1, 1, len(row))
                    row_of[pick] = row
                    s, a, r, s2 = row_of.split([2, 2, 1, 2], dim=-1)
                    reward = encoder.reward_decoder(one, torch.cat([s, a, s2], -1))[seed].item()
                    move = encoder.state_decoder(one, torch.cat([s, a], -1))[seed, 0, 0, 0]
                    error += (reward - r[seed].item()) ** 2
                    squares = [(move[k] - (s2 - s)[seed, 0, 0, k]).item() ** 2 for k in range(2)]
                    error += config.state_weight * sum(squares) / 2
            error /= config.beliefs * predicted.shape[2]
            divergence = 0.0
            for t in range(lengths[seed, c] + 1):
                second = c >= lengths.shape[1] // 2
                before = b[t - 1] if t else b[0] if second else torch.zeros(2 * latent)
                for k in range(latent):
                    v, v0 = math.exp(b[t, latent + k]), math.exp(before[latent + k])
                    divergence += 0.5 * (v / v0 + (b[t, k] - before[k]).item() ** 2 / v0 - 1 + math.log(v0 / v))
            total += error + config.kl_weight * divergence / (lengths[seed, c] + 1)
        losses.append(total / lengths.shape[1])
    return torch.tensor(losses)


def test_loss_is_the_literal_one(built):
    method, batches = built
    tasks = batches.tasks(4)
    first, second = (batches.data.sample_episodes(batches.rngs, tasks) for _ in range(2))
    beliefs, lengths = method.beliefs(batches, tasks, first, second)
    rows = batches.data.sample_within(batches.rngs, second, 5)
    predicted = method.features(batches, rows, tasks)
    method.noise = seed_generators(SEEDS, "again")
    with torch.no_grad():
        found = method.negative_elbo(beliefs, lengths, predicted)
    expected = literal_elbo(method, beliefs.detach(), lengths, predicted, seed_generators(SEEDS, "again"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, check_dtype=False)


def test_second_episodes_start_where_first_ones_end_and_send_them_no_gradient(built):
    method, batches = built
    tasks = batches.tasks(4)
    first, second = (batches.data.sample_episodes(batches.rngs, tasks) for _ in range(2))
    beliefs, lengths = method.beliefs(batches, tasks, first, second)
    encoder, offsets = method.encoder, batches.data.episode_offsets
    for c, episode in enumerate(first[0]):
        rows = torch.arange(offsets[episode], offsets[episode + 1])
        alone = encoder.beliefs(batches.features[rows].expand(2, 1, -1, -1))[0, 0]
        if c < 2:
            torch.testing.assert_close(beliefs[0, c, : len(alone)], alone)
            assert lengths[0, c] == len(rows)
        else:
            torch.testing.assert_close(beliefs[0, c, 0], alone[-1])
    gradients = torch.autograd.grad(beliefs[:, 2:, 0].sum(), list(encoder.recurrent.parameters()), retain_graph=True)
    assert not any(gradient.any() for gradient in gradients)
    gradients = torch.autograd.grad(beliefs[:, :, -1].sum(), list(encoder.recurrent.parameters()))
    assert all(gradient.any() for gradient in gradients)


def test_drawn_steps_are_within_the_trajectory():
    counts = np.array([[2, 9], [4, 1]])
    steps = draw_steps(seed_generators(SEEDS, "x"), counts + 1, 500, first=1)
    assert (steps.min(-1) == 1).all()
    np.testing.assert_array_equal(steps.max(-1), counts)
    values = torch.arange(40.0).reshape(2, 2, 10, 1)
    np.testing.assert_array_equal(take_steps(values, steps)[1, 0, :, 0], 20 + steps[1, 0])


# --- beliefs of the training transitions


def test_every_transition_has_its_beliefs_before_and_after_as_in_first_and_second_episodes(built):
    method, batches = built
    with torch.no_grad():
        memory = BeliefMemory(method, batches)
        encoder, offsets, half = method.encoder, batches.data.episode_offsets, memory._half
        prior = encoder.belief(torch.zeros(2, 1, encoder.width))[:, 0]
        for episode in (0, 41, len(offsets) - 2):
            rows = np.arange(offsets[episode], offsets[episode + 1])
            expected = encoder.beliefs(batches.features[torch.as_tensor(rows)].expand(2, 1, -1, -1))[:, 0]
            before = rows + memory._episode_of[rows]
            torch.testing.assert_close(memory.beliefs[:, before], expected[:, :-1])
            torch.testing.assert_close(memory.beliefs[:, before + 1], expected[:, 1:])
            torch.testing.assert_close(memory.beliefs[:, before[0]], prior)
            assert (memory.beliefs[:, half + before[0]] - prior).abs().max() > 1e-3
    assert memory.beliefs.isfinite().all()
    rows = np.tile(np.arange(offsets[41], offsets[42]), (2, 40))
    z, next_z = memory.draw(rows)
    position = rows + memory._episode_of[rows]
    for seed in range(2):
        choices = memory.beliefs[seed, position[seed]], memory.beliefs[seed, position[seed] + half]
        as_first, as_second = ((z[seed] == choice).all(-1) for choice in choices)
        assert (as_first | as_second).all()
        assert 0.3 < as_second.float().mean() < 0.7
        after = torch.as_tensor(position[seed]) + 1 + half * as_second
        torch.testing.assert_close(next_z[seed], memory.beliefs[seed, after])


def test_backbone_sees_the_beliefs_without_their_gradient(fit, monkeypatch):
    seen = []
    loss = IQL.loss
    monkeypatch.setattr(
        IQL, "loss", lambda self, batch, z, next_z, *others: seen.append((z, next_z)) or loss(self, batch, z, next_z)
    )
    method = fit(Borel, seeds=(0,), updates=2, encoder_updates=1)
    assert all(not z.requires_grad and not after.requires_grad for z, after in seen)
    assert seen[0][0].shape == (1, 64, 2 * method.config.latent)
    assert (seen[0][0] != seen[0][1]).any()


def test_only_the_auto_encoder_is_trained_first(make, data_for):
    method = make(Borel)
    method.fit(data_for(Borel), Budget(0, 0), (0,), lambda *a: None)
    before = {k: v.clone() for k, v in method.encoder.state_dict().items()}
    policy = {k: v.clone() for k, v in method.backbone.state_dict().items()}
    method.fit(data_for(Borel), Budget(0, 1), (0,), lambda *a: None)
    assert all(not torch.equal(v, before[k]) for k, v in method.encoder.state_dict().items())
    assert all(torch.equal(v, policy[k]) for k, v in method.backbone.state_dict().items())


# --- acting


def slice_of(context, lanes, steps):
    names = ("observations", "actions", "rewards", "next_observations", "terminated", "valid")
    return Transitions(**{name: getattr(context, name)[lanes][:, steps] for name in names})


@pytest.fixture(scope="module")
def policy(fit):
    return fit(Borel, seeds=(0, 1), updates=20, encoder_updates=20).policy(1)


def test_context_at_once_and_step_by_step_give_the_same_belief(policy, contexts):
    context, observations = contexts
    policy.reset(8)
    policy.condition(context)
    conditioned = policy.act(observations)
    policy.reset(8)
    for t in range(context.rewards.shape[1]):
        policy.observe(slice_of(context, slice(None), slice(t, t + 1)))
    np.testing.assert_allclose(policy.act(observations), conditioned, atol=1e-5)
    features = policy._scale.features(context)[None]
    torch.testing.assert_close(policy._z, policy._encoder(features)[0], atol=1e-5, rtol=1e-5)


def test_reset_is_the_prior_and_the_end_of_an_episode_keeps_the_belief(policy, contexts):
    context, _ = contexts
    policy.reset(8)
    prior = policy._encoder.belief(torch.zeros(1, 1, policy._encoder.width))[0]
    torch.testing.assert_close(policy._z, prior.expand(8, -1))
    policy.condition(context)
    belief = policy._z
    assert (belief - prior).abs().max() > 1e-2
    policy.end_episode()
    assert torch.equal(policy._z, belief)
    policy.condition(context)  # replaces what was believed
    torch.testing.assert_close(policy._z, belief)


def test_lanes_that_are_not_valid_keep_their_belief(policy, contexts):
    context, _ = contexts
    policy.reset(8)
    policy.condition(context)
    belief = policy._z
    ended = slice_of(context, slice(None), slice(0, 1))
    ended = replace(ended, valid=(np.arange(8) % 2 == 1)[:, None])
    policy.observe(ended)
    assert torch.equal(policy._z[::2], belief[::2])
    assert (policy._z[1::2] != belief[1::2]).any(-1).all()
