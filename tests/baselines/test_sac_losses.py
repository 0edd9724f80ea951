"""SAC against loops over seeds and transitions, and where its gradients go."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from omrl_bench.baselines.sac import SAC, SACConfig
from omrl_bench.baselines.training import Batch, adam, seed_generators

from .backbone_cases import A, B, R, S, Z, displaced, network, random

CONFIG = SACConfig(width=8, discount=0.9, temperature=0.3, target_rate=0.25)


@pytest.fixture
def model():
    """A learner in double precision whose target critics are not the critics."""
    return displaced(SAC, CONFIG)


def draw(policy, noise, *vectors):
    """An action of one policy with given noise, and its log-density; the slope of tanh is 1 / cosh^2."""
    outputs = policy(*vectors)
    mean, deviation = outputs[:A], outputs[A:].clamp(-20, 2).exp()
    u = mean + deviation * torch.as_tensor(noise).double()
    return torch.tanh(u), (Normal(mean, deviation).log_prob(u) + 2 * torch.log(torch.cosh(u))).sum()


def literal(model, batch, z, next_z=None, policy_z=None):
    """Critic and policy losses of every seed, by loops: two lists of R scalars."""
    rngs, critic_losses, policy_losses = copy.deepcopy(model.rngs), [], []
    next_z, policy_z = z if next_z is None else next_z, z.detach() if policy_z is None else policy_z
    for r in range(R):
        next_noise, noise = (rngs[r].standard_normal((B, A), dtype=np.float32) for _ in range(2))
        twins = [network(model.critics, r), network(model.critics, R + r)]
        target_twins = [network(model.target_critics, r), network(model.target_critics, R + r)]
        policy = network(model.policy, r)
        critic_sum, policy_sum = 0.0, 0.0
        for b in range(B):
            s, a, following = batch.observations[r, b], batch.actions[r, b], batch.next_observations[r, b]
            action, log_prob = draw(policy, next_noise[b], following, next_z[r, b])
            bootstrap = min(q(following, action, next_z[r, b]).item() for q in target_twins)
            bootstrap -= CONFIG.temperature * log_prob.item()
            y = batch.rewards[r, b] + CONFIG.discount * (1 - batch.terminated[r, b]) * bootstrap
            for q in twins:
                critic_sum = critic_sum + (q(s, a, z[r, b])[0] - y) ** 2
            action, log_prob = draw(policy, noise[b], s, policy_z[r, b])
            first, second = (q(s, action, z[r, b].detach())[0] for q in twins)
            policy_sum = policy_sum + CONFIG.temperature * log_prob - torch.minimum(first, second)
        critic_losses.append(critic_sum / B)
        policy_losses.append(policy_sum / B)
    return critic_losses, policy_losses


def test_losses_are_the_equations(model, batch, z):
    critic_losses, policy_losses = literal(model, batch, z)
    torch.testing.assert_close(model.critic_loss(batch, z, model.target(batch, z)), torch.stack(critic_losses))
    torch.testing.assert_close(
        model.policy_loss(batch, z, *model.sample(batch.observations, z)), torch.stack(policy_losses)
    )


def test_target_and_policy_may_have_a_z_of_their_own(model, batch, z):
    next_z, policy_z = random(R, B, Z, seed=6), random(R, B, Z, seed=7)
    critic_losses, policy_losses = literal(model, batch, z, next_z, policy_z)
    torch.testing.assert_close(model.loss(batch, z, next_z, policy_z), sum(critic_losses) + sum(policy_losses))


def test_gradients_are_those_of_the_literal_equations(model, batch, z):
    """Of L_Q for the critics and z, of L_pi for the policy and its z: nothing leaks between them."""
    z.requires_grad_()
    policy_z = z.detach().clone().requires_grad_()
    critic_losses, policy_losses = literal(model, batch, z, policy_z=policy_z)
    total = model.loss(batch, z, policy_z=policy_z)
    for name, loss, where in (
        ("critics", sum(critic_losses), list(model.critics.parameters())),
        ("z", sum(critic_losses), [z]),
        ("policy", sum(policy_losses), list(model.policy.parameters())),
        ("policy z", sum(policy_losses), [policy_z]),
    ):
        expected = torch.autograd.grad(loss, where, retain_graph=True)
        actual = torch.autograd.grad(total, where, retain_graph=True)
        for one, other in zip(actual, expected, strict=True):
            assert one.abs().max() > 0, name
            torch.testing.assert_close(one, other)


def test_each_loss_trains_its_own_networks(model, batch, z):
    z.requires_grad_()
    model.critic_loss(batch, z, model.target(batch, z)).sum().backward()
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"critics"}
    assert z.grad is not None
    z.grad = None
    model.zero_grad()
    model.policy_loss(batch, z.detach(), *model.sample(batch.observations, z.detach())).sum().backward()
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"policy"}
    assert z.grad is None


def test_terminal_transitions_do_not_bootstrap(model, batch, z):
    ended = replace(batch, terminated=torch.ones(R, B))
    torch.testing.assert_close(model.target(ended, z), batch.rewards)


def test_log_density_is_finite_where_tanh_saturates(model, batch, z):
    with torch.no_grad():
        model.policy.layers[-1].bias[..., :A] += 60
        actions, log_prob = model.float().sample(batch.observations.float(), z.float())
    assert (actions == 1).all()
    assert torch.isfinite(log_prob).all()


def test_after_step_is_a_polyak_step(model):
    old = [parameter.clone() for parameter in model.target_critics.parameters()]
    model.after_step()
    for before, critic, after in zip(old, model.critics.parameters(), model.target_critics.parameters(), strict=True):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * critic)
        assert not after.requires_grad


def test_seeds_together_equal_each_alone():
    """Over several updates, noise included."""

    def train(seeds, rows):
        model = SAC(seed_generators(seeds, "test"), S, A, Z, CONFIG)
        optimiser = adam((model, 1e-2))
        for update in range(5):
            parts = [random(R, B, *shape, seed=10 * update + i)[rows].float() for i, shape in enumerate(SHAPES)]
            model.update(optimiser, Batch(*parts[:4], torch.zeros(len(rows), B)), parts[4])
        return model.actor

    together = train((0, 1, 2), [0, 1, 2])
    observations, z = random(1, 5, S, seed=7).float(), random(1, 5, Z, seed=8).float()
    for r in range(R):
        torch.testing.assert_close(together(r)(observations, z), train((r,), [r])(0)(observations, z))
    assert not torch.allclose(together(0)(observations, z), together(1)(observations, z), atol=1e-3)


SHAPES = [(S,), (A,), (), (S,), (Z,)]


def test_actor_is_the_tanh_of_one_seeds_mean_as_it_was(model):
    observations, z = random(1, 5, S, seed=7), random(1, 5, Z, seed=8)
    actor = model.actor(2)
    expected = torch.stack([torch.tanh(network(model.policy, 2)(observations[0, i], z[0, i])[:A]) for i in range(5)])
    torch.testing.assert_close(actor(observations, z)[0], expected)
    with torch.no_grad():
        model.policy.layers[0].weight.add_(1)
    torch.testing.assert_close(actor(observations, z)[0], expected)
