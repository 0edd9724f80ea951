"""TD3+BC against loops over seeds and transitions, and where its gradients go."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from omrl_bench.baselines.td3bc import TD3BC, TD3BCConfig
from omrl_bench.baselines.training import Batch, adam, seed_generators

from .backbone_cases import A, B, R, S, Z, displaced, network, random

CONFIG = TD3BCConfig(width=8, discount=0.9, alpha=2.0, noise=0.6, noise_clip=0.5, target_rate=0.25)


@pytest.fixture
def model():
    """A learner in double precision whose targets are not the networks they follow."""
    return displaced(TD3BC, CONFIG)


def smoothing(model):
    """The noise that the next loss will draw, not clipped: (R, B, A)."""
    return [rng.standard_normal((B, A), dtype=np.float32) for rng in copy.deepcopy(model.rngs)]


def literal(model, batch, z, next_z=None, policy_z=None):
    """Critic and policy losses of every seed, by loops: two lists of R scalars; and how many noises were clipped."""
    noise, critic_losses, policy_losses, clipped = smoothing(model), [], [], 0
    next_z, policy_z = z if next_z is None else next_z, z.detach() if policy_z is None else policy_z
    for r in range(R):
        twins = [network(model.critics, r), network(model.critics, R + r)]
        target_twins = [network(model.target_critics, r), network(model.target_critics, R + r)]
        policy, target_policy = network(model.policy, r), network(model.target_policy, r)
        critic_sum, imitation, values = 0.0, 0.0, []
        for b in range(B):
            s, a, following = batch.observations[r, b], batch.actions[r, b], batch.next_observations[r, b]
            smoothed = []
            for i in range(A):
                e = CONFIG.noise * float(noise[r][b, i])
                clipped += abs(e) > CONFIG.noise_clip
                e = max(-CONFIG.noise_clip, min(CONFIG.noise_clip, e))
                smoothed.append(max(-1.0, min(1.0, torch.tanh(target_policy(following, next_z[r, b])[i]).item() + e)))
            bootstrap = min(q(following, torch.tensor(smoothed), next_z[r, b]).item() for q in target_twins)
            y = batch.rewards[r, b] + CONFIG.discount * (1 - batch.terminated[r, b]) * bootstrap
            for q in twins:
                critic_sum = critic_sum + (q(s, a, z[r, b])[0] - y) ** 2
            action = torch.tanh(policy(s, policy_z[r, b]))
            first, second = (q(s, action, z[r, b].detach())[0] for q in twins)
            values.append(torch.minimum(first, second))
            for i in range(A):
                imitation = imitation + (action[i] - a[i]) ** 2
        weight = CONFIG.alpha / (sum(abs(value.item()) for value in values) / B)
        critic_losses.append(critic_sum / B)
        policy_losses.append(imitation / (B * A) - weight * sum(values) / B)
    return critic_losses, policy_losses, clipped


def test_losses_are_the_equations(model, batch, z):
    critic_losses, policy_losses, clipped = literal(model, batch, z)
    assert 0 < clipped < R * B * A  # so both sides of the clip are compared
    torch.testing.assert_close(model.policy_loss(batch, z, z), torch.stack(policy_losses))
    torch.testing.assert_close(model.critic_loss(batch, z, model.target(batch, z)), torch.stack(critic_losses))


def test_target_and_policy_may_have_a_z_of_their_own(model, batch, z):
    next_z, policy_z = random(R, B, Z, seed=6), random(R, B, Z, seed=7)
    critic_losses, policy_losses, _ = literal(model, batch, z, next_z, policy_z)
    torch.testing.assert_close(model.loss(batch, z, next_z, policy_z), sum(critic_losses) + sum(policy_losses))


def test_gradients_are_those_of_the_literal_equations(model, batch, z):
    """Of L_Q for the critics and z, of L_pi for the policy and its z: nothing leaks between them."""
    z.requires_grad_()
    policy_z = z.detach().clone().requires_grad_()
    critic_losses, policy_losses, _ = literal(model, batch, z, policy_z=policy_z)
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
    model.policy_loss(batch, z.detach(), z.detach()).sum().backward()
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"policy"}
    assert z.grad is None


def test_policy_loss_does_not_depend_on_the_scale_of_the_values(model, batch, z):
    before = model.policy_loss(batch, z, z)
    with torch.no_grad():
        for parameter in list(model.critics.parameters())[-2:]:
            parameter.mul_(7)
    torch.testing.assert_close(model.policy_loss(batch, z, z), before)


def test_terminal_transitions_do_not_bootstrap(model, batch, z):
    ended = replace(batch, terminated=torch.ones(R, B))
    torch.testing.assert_close(model.target(ended, z), batch.rewards)


def test_policy_and_targets_move_in_every_second_update_only(model, batch, z):
    optimiser = adam((model, 1e-2))
    moved = []
    for _ in range(6):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.update(optimiser, batch, z)
        moved.append(
            {name.split(".")[0] for name, value in model.state_dict().items() if (value != before[name]).any()}
        )
    everything = {"critics", "policy", "target_critics", "target_policy"}
    assert moved == [everything, {"critics"}] * 3


def test_after_step_is_a_polyak_step_of_both_targets(model):
    pairs = [(model.target_critics, model.critics), (model.target_policy, model.policy)]
    old = [[parameter.clone() for parameter in target.parameters()] for target, _ in pairs]
    model.after_step()
    for before, (target, online) in zip(old, pairs, strict=True):
        for start, parameter, after in zip(before, online.parameters(), target.parameters(), strict=True):
            torch.testing.assert_close(after, 0.75 * start + 0.25 * parameter)
            assert not after.requires_grad


def test_targets_start_as_the_networks_they_follow():
    model = TD3BC(seed_generators((0, 1), "test"), S, A, Z, CONFIG)
    for online, target in ((model.critics, model.target_critics), (model.policy, model.target_policy)):
        for one, other in zip(online.parameters(), target.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one.data_ptr() != other.data_ptr()


def test_seeds_together_equal_each_alone():
    """Over several updates, noise included."""

    def train(seeds, rows):
        model = TD3BC(seed_generators(seeds, "test"), S, A, Z, CONFIG)
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


def test_actor_is_the_tanh_of_one_seeds_policy_as_it_was(model):
    observations, z = random(1, 5, S, seed=7), random(1, 5, Z, seed=8)
    actor = model.actor(2)
    expected = torch.stack([torch.tanh(network(model.policy, 2)(observations[0, i], z[0, i])) for i in range(5)])
    torch.testing.assert_close(actor(observations, z)[0], expected)
    with torch.no_grad():
        model.policy.layers[0].weight.add_(1)
    torch.testing.assert_close(actor(observations, z)[0], expected)
