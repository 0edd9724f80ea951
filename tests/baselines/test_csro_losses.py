"""CSRO: the bound against sums over pairs and against a known mutual information, what trains what, how it explores."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omrl_bench.baselines.csro as csro
from omrl_bench.api import Transitions
from omrl_bench.baselines.csro import CSRO, BehaviourEncoder, club_bound, log_likelihood, of_each_task
from omrl_bench.baselines.focal import Focal, metric_loss
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, T, N, D = 3, 2, 6, 4


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def tensors(seed=0):
    shape = R, T, N, D
    return random(*shape, seed=seed), random(*shape, seed=seed + 1), random(*shape, seed=seed + 2).exp()


def log_density(x, mean, variance):
    return sum(
        -0.5 * (float(a) - float(b)) ** 2 / float(v) - 0.5 * math.log(2 * math.pi * float(v))
        for a, b, v in zip(x, mean, variance, strict=True)
    )


def built(make, data_for, seeds=(0, 1), **settings):
    method, data = make(CSRO, **settings), data_for(CSRO)
    method.build(seeds, Scale.of(data, method.space))
    return method, Batches(data, method.scale, method.space, seed_generators(seeds, "data"))


def gradients(method, loss):
    """Largest gradient of the encoder's and of q's parameters."""
    method.encoder.zero_grad()
    loss.sum().backward()

    def size(module):
        return max(0.0 if p.grad is None else p.grad.abs().max().item() for p in module.parameters())

    return size(method.encoder.transition), size(method.encoder.q)


# the losses


def test_bound_is_matched_pairs_less_all_pairs_of_a_task():
    e, mean, variance = tensors()
    expected = []
    for r in range(R):
        of_tasks = []
        for one, m, v in zip(e[r], mean[r], variance[r], strict=True):
            matched = sum(log_density(one[i], m[i], v[i]) for i in range(N)) / N
            pairs = [log_density(one[j], m[i], v[i]) for i in range(N) for j in range(N)]
            of_tasks.append(matched - sum(pairs) / N**2)
        expected.append(sum(of_tasks) / T)
    torch.testing.assert_close(club_bound(e, mean, variance), torch.tensor(expected, dtype=torch.float64))


def test_likelihood_is_the_mean_log_density():
    e, mean, variance = tensors()
    constant = -0.5 * D * math.log(2 * math.pi)
    rows = [(r, t, i) for r in range(R) for t in range(T) for i in range(N)]
    densities = np.array([log_density(e[row], mean[row], variance[row]) for row in rows])
    expected = densities.reshape(R, -1).mean(axis=1) - constant
    torch.testing.assert_close(log_likelihood(e, mean, variance), torch.as_tensor(expected))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), order=st.permutations(range(N)))
def test_bound_does_not_depend_on_the_order_and_is_zero_where_q_does_not_look(seed, order):
    e, mean, variance = tensors(seed)
    bound = club_bound(e, mean, variance)
    torch.testing.assert_close(club_bound(e[:, :, order], mean[:, :, order], variance[:, :, order]), bound)
    blind = club_bound(e, mean[:, :, :1].expand_as(e), variance[:, :, :1].expand_as(e))
    torch.testing.assert_close(blind, torch.zeros_like(blind), atol=1e-9, rtol=0)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_bound_is_at_least_the_mutual_information_of_gaussians(correlation):
    """Information -log(1 - rho^2) / 2 per dimension; with q in closed form the bound is rho^2 / (1 - rho^2)."""
    count = 20000
    x, noise = random(1, 1, count, 2), random(1, 1, count, 2, seed=1)
    e, rest = correlation * x + math.sqrt(1 - correlation**2) * noise, 1 - correlation**2
    bound = club_bound(e, correlation * x, torch.full_like(e, rest)).item()
    information = 2 * -0.5 * math.log(rest)
    error = 0.05 * (1 + information)
    assert bound == pytest.approx(2 * correlation**2 / rest, abs=error)
    assert bound > information - error
    if correlation > 0:
        assert bound > information


def test_a_fitted_q_gives_the_bound_that_the_true_one_gives(make, data_for, monkeypatch):
    """Embeddings that are a known function of (s, a) plus noise, q fitted by its own loss."""
    method, _ = built(make, data_for, q_width=16, latent=1)

    def draw(seed, count):
        inputs = random(2, 1, count, 7, seed=seed).float()
        mean = 0.5 * torch.tanh(inputs[..., :1])
        return inputs, mean, mean + 0.2 * random(2, 1, count, 1, seed=seed + 1000).float()

    monkeypatch.setattr(BehaviourEncoder, "MIN_VARIANCE", 0.01)
    optimiser = torch.optim.Adam(method.encoder.q.parameters(), lr=5e-3)
    for update in range(300):
        inputs, _, e = draw(update, 256)
        optimiser.zero_grad()
        (-log_likelihood(e, *method.encoder.conditional(inputs)).sum()).backward()
        optimiser.step()
    inputs, mean, e = draw(5000, 4096)
    true = club_bound(e, mean, torch.full_like(e, 0.04))
    fitted = club_bound(e, *method.encoder.conditional(inputs)).detach()
    torch.testing.assert_close(fitted, true, rtol=0.2, atol=0.1)


def test_loss_is_metric_plus_weighted_bound_plus_fit(make, data_for, monkeypatch):
    method, batches = built(make, data_for, mi_weight=0.3)
    contexts, labels = method.draw_contexts(batches)
    monkeypatch.setattr(method, "draw_contexts", lambda batches: (contexts, labels))
    tasks, transitions = labels.shape[1] // 2, 2 * contexts.shape[2]
    assert torch.equal(labels[:, 0::2], labels[:, 1::2])
    of_tasks = contexts.reshape(2, tasks, transitions, -1)
    assert torch.equal(of_each_task(contexts), of_tasks)
    e = method.encoder.embed(of_tasks)
    mean, variance = method.encoder.conditional(of_tasks)
    metric = metric_loss(method.encoder(contexts), labels, beta=1.0, epsilon=0.1)
    expected = metric + 0.3 * club_bound(e, mean, variance) - log_likelihood(e, mean, variance)
    torch.testing.assert_close(method.representation_loss(batches), expected.sum())


def test_without_the_bound_the_encoder_is_focals(fit):
    """The same seed draws the same weights and data, and q's fit does not reach the encoder."""
    focal, csro = fit(Focal, updates=1), fit(CSRO, updates=1, mi_weight=0.0)
    for name, parameter in focal.encoder.named_parameters():
        torch.testing.assert_close(csro.encoder.get_parameter(name), parameter, rtol=1e-4, atol=1e-5)
    weighted = fit(CSRO, updates=1, mi_weight=5.0)
    assert not torch.allclose(weighted.encoder.transition[0].weight, focal.encoder.transition[0].weight, atol=1e-3)


def test_metric_and_bound_train_the_encoder_and_only_the_fit_trains_q(make, data_for, monkeypatch):
    method, batches = built(make, data_for)
    monkeypatch.setattr(csro, "metric_loss", lambda z, labels, beta, epsilon: 0 * z.sum(dim=(1, 2)))
    fit_only, bound_only = log_likelihood, club_bound
    monkeypatch.setattr(csro, "club_bound", lambda e, mean, variance: 0 * bound_only(e, mean, variance))
    encoder, q = gradients(method, method.representation_loss(batches))
    assert encoder == 0
    assert q > 0
    monkeypatch.setattr(csro, "club_bound", bound_only)
    monkeypatch.setattr(csro, "log_likelihood", lambda e, mean, variance: 0 * fit_only(e, mean, variance))
    encoder, q = gradients(method, method.representation_loss(batches))
    assert encoder > 0
    assert q == 0


def test_q_sees_state_and_action_only(make, data_for):
    method, _ = built(make, data_for)
    context = random(2, 5, 7).float()  # 2 + 2 + 1 + 2 features
    changed = context.clone()
    changed[..., 4:] += 1
    for one, other in zip(method.encoder.conditional(context), method.encoder.conditional(changed), strict=True):
        assert torch.equal(one, other)
    mean, variance = method.encoder.conditional(1e6 * context)
    assert mean.abs().max() <= 1
    assert variance.min() >= method.encoder.MIN_VARIANCE * (1 - 1e-6)


# exploration


@pytest.fixture
def policy(fit):
    return fit(CSRO, updates=2, encoder_updates=2, seeds=(3, 5)).policy(5)


def step(context, number, valid=None):
    """One step of each lane of a context."""
    rows = {name: value[:, number : number + 1] for name, value in vars(context).items() if name != "descriptors"}
    return Transitions(**(rows if valid is None else {**rows, "valid": valid[:, None]}))


def explore(policy, context, observations, steps):
    taken = []
    for number in range(steps):
        taken.append(policy.act(observations, explore=True))
        policy.observe(step(context, number))
    return np.stack(taken)


def test_first_half_of_the_horizon_is_random_then_the_policy_acts_on_what_it_saw(policy, contexts, space):
    context, observations = contexts
    half = space.horizon // 2
    policy.reset(8)
    taken = explore(policy, context, observations, half + 1)
    assert len(np.unique(taken[:half], axis=0)) == half
    assert taken.dtype == np.float32
    assert np.abs(taken).max() <= space.action_limit
    assert np.abs(taken[:half].mean()) < 0.1 * space.action_limit
    assert taken[:half].std() == pytest.approx(space.action_limit / math.sqrt(3), rel=0.1)
    policy.reset(8)
    policy.condition(replace(context, **{k: v[:, :half] for k, v in vars(context).items() if k != "descriptors"}))
    np.testing.assert_allclose(taken[half], policy.act(observations), atol=1e-6)


def test_exploration_starts_again_on_reset_and_not_with_an_episode(policy, contexts, space):
    context, observations = contexts
    policy.reset(8)
    first = explore(policy, context, observations, space.horizon)
    policy.end_episode()
    later = policy.act(observations, explore=True)
    policy.reset(8)
    np.testing.assert_array_equal(explore(policy, context, observations, space.horizon), first)
    np.testing.assert_array_equal(policy.act(observations, explore=True), later)
    np.testing.assert_array_equal(policy.act(observations), later)


def test_what_is_seen_without_exploring_changes_nothing(policy, contexts):
    context, observations = contexts
    policy.reset(8)
    unseen = [policy.act(observations) for _ in range(9)]
    policy.reset(8)
    for number in range(9):
        np.testing.assert_array_equal(policy.act(observations), unseen[number])
        policy.observe(step(context, number))


def test_collected_transitions_are_a_context_and_ended_lanes_add_nothing(policy, contexts):
    context, observations = contexts
    lengths = np.array([9, 3, 9, 1, 9, 9, 5, 0])
    policy.reset(8)
    for number in range(9):
        policy.act(observations, explore=True)
        policy.observe(step(context, number, number < lengths))
    collected = policy.act(observations)
    valid = np.arange(context.valid.shape[1]) < lengths[:, None]
    policy.reset(8)
    prior = policy.act(observations)
    policy.condition(replace(context, valid=valid))
    np.testing.assert_allclose(policy.act(observations), collected, atol=1e-6)
    np.testing.assert_array_equal(collected[7], prior[7])
    assert not np.allclose(collected[:7], prior[:7], atol=1e-4)


def test_given_context_replaces_what_was_collected_and_more_is_added_to_it(policy, contexts):
    context, observations = contexts
    policy.reset(8)
    policy.condition(context)
    given = policy.act(observations)
    policy.reset(8)
    explore(policy, context, observations, 4)
    policy.condition(context)
    np.testing.assert_array_equal(policy.act(observations), given)


def test_random_actions_of_a_lane_do_not_depend_on_the_number_of_lanes_and_differ_by_seed(fit, contexts):
    method, (_, observations) = fit(CSRO, updates=1, encoder_updates=1, seeds=(3, 5)), contexts
    taken = []
    for seed, lanes in ((3, 8), (3, 2), (5, 8)):
        policy = method.policy(seed)
        policy.reset(lanes)
        taken.append(np.stack([policy.act(observations[:lanes], explore=True) for _ in range(4)]))
    np.testing.assert_array_equal(taken[0][:, :2], taken[1])
    assert np.abs(taken[0] - taken[2]).mean() > 0.01
