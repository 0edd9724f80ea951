"""BRAC against loops over seeds and transitions: its dual critic, its alpha, and where its gradients go."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from omrl_bench.baselines.brac import BRAC, BRACConfig
from omrl_bench.baselines.training import Batch, adam, seed_generators, step

from .backbone_cases import A, B, R, S, Z, displaced, network, random

CONFIG = BRACConfig(width=8, discount=0.9, temperature=0.3, target_rate=0.25, alpha=0.7, alpha_max=2.0, dual_rate=0.01)
SHAPES = [(S,), (A,), (), (S,), (Z,)]


@pytest.fixture
def make(monkeypatch):
    """A learner in double precision, far from its initial weights, with other hyper-parameters if wanted.

    Its dual critic and alpha take no steps unless the test is about them.
    """

    def construct(train_dual=False, **settings):
        model = displaced(BRAC, replace(CONFIG, **settings))
        if not train_dual:
            monkeypatch.setattr(model, "train_dual", lambda *given: None)
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
    """Critic and policy losses of every seed, by loops: two lists of R scalars."""
    rngs, critic_losses, policy_losses = copy.deepcopy(model.rngs), [], []
    for r, alpha in enumerate((0.7, 2.0, 0.0)):
        next_noise, noise = (rngs[r].standard_normal((B, A), dtype=np.float32) for _ in range(2))
        twins = [network(model.critics, r), network(model.critics, R + r)]
        target_twins = [network(model.target_critics, r), network(model.target_critics, R + r)]
        policy, c = network(model.policy, r), network(model.dual, r)
        critic_sum, policy_sum = 0.0, 0.0
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
            action, log_prob = draw(policy, noise[b], s, policy_z[r, b])
            first, second = (q(s, action, z[r, b].detach())[0] for q in twins)
            penalty = alpha * ratio(c, s, action, z[r, b].detach())[1]
            policy_sum = policy_sum + model.config.temperature * log_prob - torch.minimum(first, second) + penalty
        critic_losses.append(critic_sum / B)
        policy_losses.append(policy_sum / B)
    return critic_losses, policy_losses


@pytest.mark.parametrize("value_penalty", [False, True])
def test_losses_are_the_equations(make, batch, z, value_penalty):
    model, next_z, policy_z = make(value_penalty=value_penalty), random(R, B, Z, seed=6), random(R, B, Z, seed=7)
    critic_losses, policy_losses = literal(model, batch, z, next_z, policy_z)
    torch.testing.assert_close(model.loss(batch, z, next_z, policy_z), sum(critic_losses) + sum(policy_losses))


def test_gradients_are_those_of_the_literal_equations(make, batch, z):
    """Of L_Q for the critics and z, of L_pi for the policy and its z; none for the dual critic."""
    model = make(value_penalty=True)
    z.requires_grad_()
    policy_z = z.detach().clone().requires_grad_()
    critic_losses, policy_losses = literal(model, batch, z, z.detach(), policy_z)
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
    nothing = torch.autograd.grad(total, list(model.dual.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in nothing)


@pytest.mark.parametrize("gradient_of_action", [True, False])
def test_dual_loss_is_its_equation(make, batch, z, gradient_of_action):
    """The gradient's norm sample by sample from autograd, between the actions; or |c| at both."""
    model = make(gradient_of_action=gradient_of_action)
    with torch.no_grad():  # steep enough for the penalty
        model.dual.layers[-1].weight.mul_(3)
    actions, rngs, losses, active = random(R, B, A, seed=6).clamp(-1, 1), copy.deepcopy(model.rngs), [], 0
    divergences = []
    for r in range(R):
        c, divergence, penalty = network(model.dual, r), 0.0, 0.0
        shares = rngs[r].random((B, 1), dtype=np.float32)
        for b in range(B):
            s, a, task = batch.observations[r, b], batch.actions[r, b], z[r, b]
            divergence = divergence + ratio(c, s, actions[r, b], task)[1] - ratio(c, s, a, task)[0] + 1
            share = float(shares[b, 0])
            mixed = (share * a + (1 - share) * actions[r, b]).requires_grad_()
            sizes = [c(s, where, task)[0].abs() for where in (a, actions[r, b])]
            if gradient_of_action:
                sizes = [torch.autograd.grad(c(s, mixed, task)[0], mixed, create_graph=True)[0].norm()]
            active += sum(size.item() > 1 for size in sizes)
            penalty = penalty + sum(torch.relu(size - 1) ** 2 for size in sizes) / len(sizes)
        divergences.append(divergence / B)
        losses.append(CONFIG.gradient_weight * penalty / B - divergence / B)
    assert 0 < active < R * B * len(sizes)
    actual, divergence = model.dual_loss(batch, z, actions)
    torch.testing.assert_close(actual, torch.stack(losses))
    torch.testing.assert_close(divergence, torch.stack(divergences))
    weights = list(model.dual.parameters())
    theirs = torch.autograd.grad(sum(losses), weights, allow_unused=True)
    for one, other in zip(torch.autograd.grad(actual.sum(), weights), theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_dual_critic_finds_the_divergence_of_two_gaussians():
    """KL( N(0.5, 0.5^2) || N(0, 0.5^2) ) = 0.5, without the gradient penalty."""
    count = 1000
    model = BRAC(seed_generators((0,), "test"), 1, 1, 0, replace(CONFIG, width=16, gradient_weight=0.0))
    rng, nothing = np.random.default_rng(0), torch.zeros(1, count, 0)
    optimiser, found = adam((model.dual, 1e-2)), []
    for _ in range(300):
        data = torch.as_tensor(rng.normal(0.0, 0.5, (1, count, 1)).astype(np.float32))
        actions = torch.as_tensor(rng.normal(0.5, 0.5, (1, count, 1)).astype(np.float32))
        same = torch.zeros(1, count, 1)
        batch = Batch(same, data, same[..., 0], same, same[..., 0])
        loss, divergence = model.dual_loss(batch, nothing, actions)
        step(optimiser, loss.sum())
        found.append(divergence.item())
    assert np.mean(found[-50:]) == pytest.approx(0.5, abs=0.05)


def test_the_loss_trains_dual_critic_and_alpha_and_leaves_no_gradient(make, batch, z):
    model, z = make(train_dual=True), z.requires_grad_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.loss(batch, z)
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"dual", "alpha"}
    assert z.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_main_step_does_not_move_the_dual_critic(make, batch, z):
    model = make(train_dual=True)
    optimiser = adam((model, 1e-2))
    for _ in range(2):
        loss = model.loss(batch, z)
        before = [parameter.clone() for parameter in model.dual.parameters()]
        step(optimiser, loss)
        model.after_step()
        for parameter, old in zip(model.dual.parameters(), before, strict=True):
            assert parameter.grad is None
            assert torch.equal(parameter, old)


def test_policy_is_penalised_by_the_trained_dual_critic_at_the_same_actions(make, batch, z):
    """The loss with steps is that without them, from the dual critic and the alpha after them."""
    model, untrained = make(train_dual=True), make()
    rngs, seen, train = copy.deepcopy(model.rngs), [], model.train_dual
    model.train_dual = lambda batch, z, actions: seen.append(actions) or train(batch, z, actions)
    loss = model.loss(batch, z)
    untrained.load_state_dict(model.state_dict())
    torch.testing.assert_close(untrained.loss(batch, z), loss)
    model.rngs = rngs
    model.sample(batch.next_observations, z)
    assert torch.equal(seen[0], model.sample(batch.observations, z)[0])
    assert not seen[0].requires_grad


def test_dual_steps_divide_the_batch(make, batch, z, monkeypatch):
    model, seen = make(train_dual=True), []
    loss = BRAC.dual_loss
    monkeypatch.setattr(
        BRAC, "dual_loss", lambda self, part, *rest: seen.append((part, *rest)) or loss(self, part, *rest)
    )
    actions = random(R, B, A, seed=6)
    model.train_dual(batch, z, actions)
    assert len(seen) == 3
    for first, (part, its_z, its_actions) in enumerate(seen):
        assert torch.equal(part.actions, batch.actions[:, first::3])
        assert torch.equal(part.rewards, batch.rewards[:, first::3])
        assert torch.equal(its_z, z[:, first::3])
        assert torch.equal(its_actions, actions[:, first::3])


def test_alpha_follows_the_divergence_seed_by_seed(make, batch, z):
    actions = random(R, B, A, seed=6).clamp(-1, 1)
    model = make(train_dual=True, target_divergence=0.4, alpha_rate=0.5, dual_rate=0.0)
    with torch.no_grad():  # g the same everywhere: D = log g - g + 1, at most 0
        model.dual.layers[-1].weight.zero_()
        model.dual.layers[-1].bias.fill_(math.log(math.e - 1))  # g = 1, D = 0
    before = model.alpha.clone()
    model.train_dual(batch, z, actions)
    torch.testing.assert_close(model.alpha - before, torch.full((R,), -0.2).double(), atol=1e-6, rtol=0)
    model = make(train_dual=True, target_divergence=0.4, alpha_rate=0.5, dual_rate=0.0)
    before, divergence = model.alpha.clone(), model.dual_loss(batch, z, actions)[1]
    assert not torch.allclose(divergence[0], divergence[1])
    model.train_dual(batch, z, actions)  # of three thirds
    torch.testing.assert_close(model.alpha - before, 0.5 * (divergence - 0.4))


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
    model = make(train_dual=True)
    model.update(adam((model, 1e-2)), batch, z)
    restored = BRAC(seed_generators((5, 6, 7), "test"), S, A, Z, CONFIG).double()
    restored.load_state_dict(model.state_dict())
    assert torch.equal(restored.alpha, model.alpha)
    observations, task = random(1, 5, S, seed=7), random(1, 5, Z, seed=8)
    for index in range(R):
        assert torch.equal(restored.actor(index)(observations, task), model.actor(index)(observations, task))
