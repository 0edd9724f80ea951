"""IQL against loops over seeds and transitions, and where its gradients go."""

import math

import pytest
import torch

from omrl_bench.baselines.iql import IQL, IQLConfig
from omrl_bench.baselines.training import seed_generators

from .backbone_cases import A, B, R, S, Z, displaced, network, random

CONFIG = IQLConfig(width=8, expectile=0.7, temperature=3.0, max_weight=4.0, discount=0.9, target_rate=0.25)


@pytest.fixture
def iql():
    """A learner in double precision whose target critics are not the critics."""
    return displaced(IQL, CONFIG)


def literal(iql, batch, z, next_z=None, policy_z=None):
    """Value, critic and policy losses of every seed, by loops: three lists of R scalars; and how many were clipped."""
    next_z = z if next_z is None else next_z
    policy_z = z.detach() if policy_z is None else policy_z
    value_losses, critic_losses, policy_losses, clipped = [], [], [], 0
    for r in range(R):
        value_sum, critic_sum, policy_sum = 0.0, 0.0, 0.0
        value = network(iql.value, r)
        twins = [network(iql.critics, r), network(iql.critics, R + r)]
        target_twins = [network(iql.target_critics, r), network(iql.target_critics, R + r)]
        policy = network(iql.policy, r)
        for b in range(B):
            s, a, following = batch.observations[r, b], batch.actions[r, b], batch.next_observations[r, b]
            q_target = min(twin(torch.cat([s, a, z[r, b]])).item() for twin in target_twins)
            v = value(torch.cat([s, z[r, b].detach()]))[0]
            x = q_target - v
            value_sum = value_sum + abs(CONFIG.expectile - (1.0 if x < 0 else 0.0)) * x**2
            bootstrap = value(torch.cat([following, next_z[r, b]]))[0].item()
            y = batch.rewards[r, b] + CONFIG.discount * (1 - batch.terminated[r, b]) * bootstrap
            for twin in twins:
                critic_sum = critic_sum + (y - twin(torch.cat([s, a, z[r, b]]))[0]) ** 2
            weight = math.exp(CONFIG.temperature * (q_target - v.item()))
            clipped += weight > CONFIG.max_weight
            mean = torch.tanh(policy(torch.cat([s, policy_z[r, b]])))
            density = torch.distributions.Normal(mean, iql.log_std[r, 0].exp())
            policy_sum = policy_sum - min(weight, CONFIG.max_weight) * density.log_prob(a).sum()
        value_losses.append(value_sum / B)
        critic_losses.append(critic_sum / B)
        policy_losses.append(policy_sum / B)
    return value_losses, critic_losses, policy_losses, clipped


def parts(iql, batch, z):
    """The three losses as the learner composes them."""
    fixed = z.detach()
    q_target = iql.q(iql.target_critics, batch.observations, batch.actions, fixed).amin(dim=0).detach()
    value = iql.value(batch.observations, fixed)[..., 0]
    return (
        iql.value_loss(q_target, value),
        iql.critic_loss(batch, z, iql.value(batch.next_observations, fixed)[..., 0].detach()),
        iql.policy_loss(batch, fixed, q_target - value.detach()),
    )


def test_losses_are_equations_1_to_3(iql, batch, z):
    value_losses, critic_losses, policy_losses, clipped = literal(iql, batch, z)
    assert 0 < clipped < R * B  # so both sides of the clip are compared
    value_loss, critic_loss, policy_loss = parts(iql, batch, z)
    torch.testing.assert_close(value_loss, torch.stack(value_losses))
    torch.testing.assert_close(critic_loss, torch.stack(critic_losses))
    torch.testing.assert_close(policy_loss, torch.stack(policy_losses))


def test_total_is_the_sum_over_seeds_of_the_three_losses(iql, batch, z):
    value_losses, critic_losses, policy_losses, _ = literal(iql, batch, z)
    torch.testing.assert_close(iql.loss(batch, z), sum(value_losses) + sum(critic_losses) + sum(policy_losses))


def test_value_loss_weighs_both_sides_by_the_expectile(iql):
    difference = torch.tensor([[2.0, -3.0, 0.0]]).double()
    loss = iql.value_loss(difference + 1, torch.ones(1, 3).double())
    assert loss.item() == pytest.approx((0.7 * 4 + 0.3 * 9) / 3)


def test_terminal_transitions_do_not_bootstrap(iql, batch, z):
    next_value = random(R, B, seed=6)
    changed = next_value + batch.terminated * 1000
    torch.testing.assert_close(iql.critic_loss(batch, z, next_value), iql.critic_loss(batch, z, changed))
    changed = next_value + (1 - batch.terminated)
    assert not torch.allclose(iql.critic_loss(batch, z, next_value), iql.critic_loss(batch, z, changed))


def test_gradients_are_those_of_the_literal_equations(iql, batch):
    """Of eq. 1 for V, of eq. 2 for Q and z, of eq. 3 for the policy and policy_z: nothing leaks, next_z gets none."""
    z, next_z, policy_z = (random(R, B, Z, seed=seed).requires_grad_() for seed in (5, 6, 7))
    total = iql.loss(batch, z, next_z, policy_z)
    value_losses, critic_losses, policy_losses, _ = literal(iql, batch, z, next_z, policy_z)
    torch.testing.assert_close(total, sum(value_losses) + sum(critic_losses) + sum(policy_losses))
    assert torch.autograd.grad(total, next_z, retain_graph=True, allow_unused=True)[0] is None
    for name, loss, where in (
        ("value", sum(value_losses), list(iql.value.parameters())),
        ("critics", sum(critic_losses), list(iql.critics.parameters())),
        ("z", sum(critic_losses), [z]),
        ("policy", sum(policy_losses), [*iql.policy.parameters(), iql.log_std]),
        ("policy_z", sum(policy_losses), [policy_z]),
    ):
        expected = torch.autograd.grad(loss, where, retain_graph=True)
        actual = torch.autograd.grad(total, where, retain_graph=True)
        for one, other in zip(actual, expected, strict=True):
            assert one.abs().max() > 0, name
            torch.testing.assert_close(one, other)


def test_z_gets_the_gradient_of_the_critic_loss_only(iql, batch, z):
    z.requires_grad_()
    value_loss, critic_loss, policy_loss = parts(iql, batch, z)
    total = torch.autograd.grad(iql.loss(batch, z), z)[0]
    torch.testing.assert_close(total, torch.autograd.grad(critic_loss.sum(), z)[0])
    for loss in (value_loss, policy_loss):
        assert torch.autograd.grad(loss.sum(), z, allow_unused=True)[0] is None


def test_next_z_and_policy_z_are_z_unless_given(iql, batch, z):
    z.requires_grad_()
    plain, told = iql.loss(batch, z), iql.loss(batch, z, next_z=z, policy_z=z.detach())
    torch.testing.assert_close(plain, told)
    torch.testing.assert_close(torch.autograd.grad(plain, z)[0], torch.autograd.grad(told, z)[0])
    assert not torch.allclose(iql.loss(batch, z, next_z=z + 1), plain)
    assert not torch.allclose(iql.loss(batch, z, policy_z=z + 1), plain)


def test_target_critics_get_no_gradient(iql, batch, z):
    iql.loss(batch, z.requires_grad_()).backward()
    assert all(parameter.grad is None for parameter in iql.target_critics.parameters())
    assert all(parameter.grad is not None for parameter in iql.critics.parameters())


def test_gradients_of_a_seed_do_not_depend_on_the_others(iql, batch, z):
    iql.loss(batch, z).backward()
    before = {name: parameter.grad.clone() for name, parameter in iql.named_parameters() if parameter.grad is not None}
    iql.zero_grad()
    batch.rewards[1] += 1
    iql.loss(batch, z).backward()
    changed = set()
    for name, gradient in before.items():
        after = dict(iql.named_parameters())[name].grad
        changed |= {i % R for i in range(len(gradient)) if not torch.equal(gradient[i], after[i])}
    assert changed == {1}


def test_log_prob_is_a_diagonal_gaussian_with_a_bounded_deviation(iql, batch, z):
    with torch.no_grad():
        iql.log_std.copy_(torch.tensor([-20.0, 20.0]).expand(R, 1, A))
        mean = torch.tanh(iql.policy(batch.observations, z))
    bounded = torch.tensor([-5.0, 2.0]).double().exp()
    expected = torch.distributions.Normal(mean, bounded).log_prob(batch.actions).sum(dim=-1)
    torch.testing.assert_close(iql.log_prob(batch.observations, z, batch.actions), expected)


def test_after_step_is_a_polyak_step(iql):
    old = [parameter.clone() for parameter in iql.target_critics.parameters()]
    critics = [parameter.clone() for parameter in iql.critics.parameters()]
    iql.after_step()
    for before, critic, after in zip(old, critics, iql.target_critics.parameters(), strict=True):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * critic)
        assert not after.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(critics, iql.critics.parameters(), strict=True))


def test_target_critics_start_as_the_critics_and_the_twins_differ():
    model = IQL(seed_generators((0, 1), "test"), S, A, Z, CONFIG)
    for critic, target in zip(model.critics.parameters(), model.target_critics.parameters(), strict=True):
        assert torch.equal(critic, target)
        assert critic.data_ptr() != target.data_ptr()
    weight = model.critics.layers[0].weight
    assert not torch.equal(weight[0], weight[2])  # seed 0's twins


def test_actor_is_the_tanh_of_one_seeds_mean_as_it_was(iql):
    observations, z = random(1, 5, S, seed=7), random(1, 5, Z, seed=8)
    actor = iql.actor(2)
    expected = [torch.tanh(network(iql.policy, 2)(torch.cat([observations[0, i], z[0, i]]))) for i in range(5)]
    torch.testing.assert_close(actor(observations, z)[0], torch.stack(expected))
    before = actor(observations, z)
    with torch.no_grad():
        iql.policy.layers[0].weight.add_(1)
    assert torch.equal(actor(observations, z), before)
    assert not torch.equal(iql.actor(2)(observations, z), before)
