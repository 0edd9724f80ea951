"""BRAC against loops over seeds and transitions: its dual critic, its alpha, and where its gradients go."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from omrl_bench.baselines.brac import BRAC, BRACConfig, divergence
from omrl_bench.baselines.training import Batch, adam, seed_generators, step

from .backbone_cases import A, B, R, S, Z, displaced, network, random

CONFIG = BRACConfig(width=8, discount=0.9, temperature=0.3, target_rate=0.25, alpha=0.7, alpha_max=2.0)
SHAPES = [(S,), (A,), (), (S,), (Z,)]


@pytest.fixture
def make():
    """A learner in double precision, far from its initial weights, with other hyper-parameters if wanted."""

    def construct(**settings):
        model = displaced(BRAC, replace(CONFIG, **settings))
        with torch.no_grad():
            model.alpha.copy_(torch.tensor([0.7, 5.0, -1.0]))  # inside its range, above it, below it
        return model

    return construct


def ratio(c, *vectors):
    """G = softplus(c) of one dual critic, and its logarithm with the public code's floor."""
    g = torch.log(1 + torch.exp(c(*vectors)[0]))
    return g, torch.log(g + 1e-8)


def draw(policy, noise, *vectors):
    """An action of one policy with given noise, and its log-density; the slope of tanh is 1 / cosh^2."""
    outputs = policy(*vectors)
    mean, deviation = outputs[:A], outputs[A:].clamp(-20, 2).exp()
    u = mean + deviation * torch.as_tensor(noise).double()
    return torch.tanh(u), (Normal(mean, deviation).log_prob(u) + 2 * torch.log(torch.cosh(u))).sum()


def literal(model, batch, z, next_z, policy_z):
    """Critic, policy and dual losses of every seed, by loops: three lists of R scalars; and D, R scalars."""
    rngs, critic_losses, policy_losses, dual_losses, divergences = copy.deepcopy(model.rngs), [], [], [], []
    for r, alpha in enumerate((0.7, 2.0, 0.0)):
        next_noise, noise = (rngs[r].standard_normal((B, A), dtype=np.float32) for _ in range(2))
        shares = rngs[r].random((B, 1), dtype=np.float32)
        twins = [network(model.critics, r), network(model.critics, R + r)]
        target_twins = [network(model.target_critics, r), network(model.target_critics, R + r)]
        policy, c = network(model.policy, r), network(model.dual, r)
        critic_sum, policy_sum, excess_sum, divergence_sum = 0.0, 0.0, 0.0, 0.0
        for b in range(B):
            s, a, following = batch.observations[r, b], batch.actions[r, b], batch.next_observations[r, b]
            action, log_prob = draw(policy, next_noise[b], following, next_z[r, b])
            bootstrap = min(q(following, action, next_z[r, b]).item() for q in target_twins)
            bootstrap -= model.config.temperature * log_prob.item()
            if model.config.value_penalty:
                bootstrap -= alpha * ratio(c, following, action, next_z[r, b])[1].item()
            y = batch.rewards[r, b] + model.config.discount * (1 - batch.terminated[r, b]) * bootstrap
            for q in twins:
                critic_sum = critic_sum + (q(s, a, z[r, b])[0] - y) ** 2
            task = z[r, b].detach()
            action, log_prob = draw(policy, noise[b], s, policy_z[r, b])
            first, second = (q(s, action, task)[0] for q in twins)
            penalty = alpha * ratio(c, s, action, task)[1]
            policy_sum = policy_sum + model.config.temperature * log_prob - torch.minimum(first, second) + penalty
            fixed = action.detach()
            divergence_sum = divergence_sum + ratio(c, s, fixed, task)[1] - ratio(c, s, a, task)[0] + 1
            sizes = [c(s, where, task)[0].abs() for where in (a, fixed)]
            if model.config.gradient_of_action:
                mixed = (float(shares[b, 0]) * a + (1 - float(shares[b, 0])) * fixed).requires_grad_()
                sizes = [torch.autograd.grad(c(s, mixed, task)[0], mixed, create_graph=True)[0].norm()]
            excess_sum = excess_sum + sum(torch.relu(size - 1) ** 2 for size in sizes) / len(sizes)
        critic_losses.append(critic_sum / B)
        policy_losses.append(policy_sum / B)
        dual_losses.append(model.config.gradient_weight * excess_sum / B - divergence_sum / B)
        divergences.append(divergence_sum.item() / B)
    return critic_losses, policy_losses, dual_losses, divergences


@pytest.mark.parametrize("value_penalty", [False, True])
def test_losses_are_the_equations(make, batch, z, value_penalty):
    model, next_z, policy_z = make(value_penalty=value_penalty), random(R, B, Z, seed=6), random(R, B, Z, seed=7)
    *losses, divergences = literal(model, batch, z, next_z, policy_z)
    torch.testing.assert_close(model.loss(batch, z, next_z, policy_z), sum(map(sum, losses)))
    torch.testing.assert_close(model.divergence, torch.tensor(divergences).double())


@pytest.mark.parametrize("gradient_of_action", [True, False])
def test_gradients_are_those_of_the_literal_equations(make, batch, z, gradient_of_action):
    """Of L_Q for the critics and z, of L_pi for the policy and its z, of L_c for the dual critic."""
    model = make(value_penalty=True, gradient_of_action=gradient_of_action)
    with torch.no_grad():  # steep enough for the penalty
        model.dual.layers[-1].weight.mul_(3)
    z.requires_grad_()
    policy_z = z.detach().clone().requires_grad_()
    critic_losses, policy_losses, dual_losses, _ = literal(model, batch, z, z.detach(), policy_z)
    total = model.loss(batch, z, policy_z=policy_z)
    torch.testing.assert_close(total, sum(critic_losses) + sum(policy_losses) + sum(dual_losses))
    for name, loss, where in (
        ("critics", sum(critic_losses), list(model.critics.parameters())),
        ("z", sum(critic_losses), [z]),
        ("policy", sum(policy_losses), list(model.policy.parameters())),
        ("policy z", sum(policy_losses), [policy_z]),
        ("dual critic", sum(dual_losses), list(model.dual.parameters())),
    ):
        expected = torch.autograd.grad(loss, where, retain_graph=True, materialize_grads=True)
        actual = torch.autograd.grad(total, where, retain_graph=True)
        for one, other in zip(actual, expected, strict=True):
            assert one.abs().max() > 0, name
            torch.testing.assert_close(one, other)


def test_penalty_of_c_itself_counts_both_actions(batch, z):
    """A mean over (2, 3) values, within and beyond [-1, 1]."""
    model = BRAC(
        seed_generators((0, 1), "test"), S, A, Z, replace(CONFIG, gradient_weight=4.0, gradient_of_action=False)
    )
    of_data, of_policy = torch.tensor([[0.5, 1.5, -2.0], [0.0] * 3]), torch.tensor([[3.0, -1.0, 0.0], [-1.5] * 3])
    expected = 4.0 * torch.tensor([(0.25 + 1.0 + 4.0) / 6, 0.25 / 2]) - divergence(of_data, of_policy)
    torch.testing.assert_close(model.dual_loss(batch, z, batch.actions, of_data, of_policy), expected)


def test_dual_critic_finds_the_divergence_of_two_gaussians():
    """KL( N(0.5, 0.5^2) || N(0, 0.5^2) ) = 0.5, without the gradient penalty."""
    count = 1000
    model = BRAC(seed_generators((0,), "test"), 1, 1, 0, replace(CONFIG, width=16, gradient_weight=0.0))
    rng, nothing = np.random.default_rng(0), torch.zeros(1, count, 0)
    same = torch.zeros(1, count, 1)
    optimiser, found = adam((model.dual, 1e-2)), []
    for _ in range(300):
        data, actions = (torch.as_tensor(rng.normal(mean, 0.5, (1, count, 1)).astype(np.float32)) for mean in (0, 0.5))
        of_data, of_policy = (model.dual_value(same, a, nothing) for a in (data, actions))
        batch = Batch(same, data, same[..., 0], same, same[..., 0])
        step(optimiser, model.dual_loss(batch, nothing, actions, of_data, of_policy).sum())
        found.append(divergence(of_data, of_policy).item())
    assert np.mean(found[-50:]) == pytest.approx(0.5, abs=0.05)


def test_alpha_follows_the_divergence_seed_by_seed(make, batch, z):
    model = make(target_divergence=0.4, alpha_rate=0.5)
    with torch.no_grad():  # g the same everywhere: D = log g - g + 1, at most 0
        model.dual.layers[-1].weight.zero_()
        model.dual.layers[-1].bias.fill_(math.log(math.e - 1))  # g = 1, D = 0
    before = model.alpha.clone()
    model.update(adam((model, 0.0)), batch, z)
    torch.testing.assert_close(model.alpha - before, torch.full((R,), -0.2).double(), atol=1e-6, rtol=0)
    model = make(target_divergence=0.4, alpha_rate=0.5)
    divergences = torch.tensor(literal(model, batch, z, z, z)[-1]).double()
    assert not torch.allclose(divergences[0], divergences[1])
    before = model.alpha.clone()
    model.update(adam((model, 0.0)), batch, z)
    torch.testing.assert_close(model.alpha - before, 0.5 * (divergences - 0.4))


def test_seeds_together_equal_each_alone():
    """Over several updates, noise included: actions and alpha."""

    def train(seeds, rows):
        model = BRAC(seed_generators(seeds, "test"), S, A, Z, CONFIG)
        optimiser = adam((model, 1e-2))
        for update in range(5):
            parts = [random(R, B, *shape, seed=10 * update + i)[rows].float() for i, shape in enumerate(SHAPES)]
            batch, z = Batch(*parts[:4], torch.zeros(len(rows), B)), parts[4]
            model.update(optimiser, batch, z)
        return model

    together = train((0, 1, 2), [0, 1, 2])
    observations, z = random(1, 5, S, seed=7).float(), random(1, 5, Z, seed=8).float()
    for r in range(R):
        alone = train((r,), [r])
        torch.testing.assert_close(together.actor(r)(observations, z), alone.actor(0)(observations, z))
        torch.testing.assert_close(together.alpha[r], alone.alpha[0])
    assert not torch.allclose(together.alpha[0], together.alpha[1])


def test_state_holds_alpha_and_gives_the_same_actions(make, batch, z):
    model = make()
    model.update(adam((model, 1e-2)), batch, z)
    restored = BRAC(seed_generators((5, 6, 7), "test"), S, A, Z, CONFIG).double()
    restored.load_state_dict(model.state_dict())
    assert torch.equal(restored.alpha, model.alpha)
    observations, task = random(1, 5, S, seed=7), random(1, 5, Z, seed=8)
    for index in range(R):
        assert torch.equal(restored.actor(index)(observations, task), model.actor(index)(observations, task))
