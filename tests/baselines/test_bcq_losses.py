"""BCQ against loops over seeds and transitions, and contextual BCQ with one task."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from omrl_bench.baselines.bcq import BCQ, CLIP, BCQConfig
from omrl_bench.baselines.contextual_bcq import ContextualBCQ
from omrl_bench.baselines.networks import SeedLinear
from omrl_bench.baselines.training import Batch, adam, seed_generators

from .backbone_cases import A, B, R, S, Z, displaced, network, random

CONFIG = BCQConfig(width=8, discount=0.9, kl_weight=0.3, perturbation=0.2, pessimism=0.7, candidates=3, choices=5)
U = 2 * A


@pytest.fixture
def model():
    model = displaced(BCQ, CONFIG)
    with torch.no_grad():
        model.choices.clamp_(-CLIP, CLIP)  # as they are drawn
    return model


def draws(model):
    """The noise of the next loss, in the order of its use: (R, B * candidates, U), (R, B, U), (R, B, U)."""
    rngs = copy.deepcopy(model.rngs)
    return [
        torch.from_numpy(np.stack([rng.standard_normal((count, U), dtype=np.float32) for rng in rngs])).double()
        for count in (B * CONFIG.candidates, B, B)
    ]


def proposed(model, xi, r):
    """Functions of one seed: D(s, u, z) and the perturbed action."""
    decoder, move = network(model.proposer.decoder, r), network(xi, r)

    def decode(s, u, z):
        return torch.tanh(decoder(s, u, z))

    def act(s, u, z):
        a = decode(s, u.clamp(-CLIP, CLIP), z)
        return (a + CONFIG.perturbation * torch.tanh(move(s, a, z))).clamp(-1, 1)

    return decode, act


def literal(model, batch, z, policy_z):
    """The three losses of every seed: L_Q, L_VAE, L_xi, lists of R scalars."""
    for_targets, for_vae, for_move = draws(model)
    found = [[], [], []]
    for r in range(R):
        twins = [network(model.critics, r), network(model.critics, R + r)]
        slow = [network(model.target_critics, r), network(model.target_critics, R + r)]
        posterior = network(model.posterior, r)
        _, target_act = proposed(model, model.target_perturbation, r)
        decode, act = proposed(model, model.proposer.perturbation, r)
        sums = [0.0, 0.0, 0.0]
        for b in range(B):
            s, a, following = batch.observations[r, b], batch.actions[r, b], batch.next_observations[r, b]
            told = z[r, b].detach()
            values = []
            for i in range(CONFIG.candidates):
                action = target_act(following, for_targets[r, b * CONFIG.candidates + i], told)
                q = [critic(following, action, told).item() for critic in slow]
                values.append(0.7 * min(q) + 0.3 * max(q))
            y = batch.rewards[r, b] + 0.9 * (1 - batch.terminated[r, b]) * max(values)
            sums[0] = sums[0] + sum((critic(s, a, z[r, b])[0] - y) ** 2 for critic in twins) / B
            mean, log_std = posterior(s, a, policy_z[r, b]).split(U)
            log_std = log_std.clamp(-4, 15)
            made = decode(s, mean + log_std.exp() * for_vae[r, b], policy_z[r, b])
            divergence = torch.distributions.kl_divergence(
                torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0.0, 1.0)
            )
            sums[1] = sums[1] + ((made - a).square().mean() + 0.3 * divergence.mean()) / B
            sums[2] = sums[2] - twins[0](s, act(s, for_move[r, b], told), told)[0] / B
        for part, total in zip(found, sums, strict=True):
            part.append(total)
    return found


def test_the_loss_is_the_sum_of_the_three_equations(model, batch, z):
    policy_z = random(R, B, Z, seed=7)
    expected = literal(model, batch, z, policy_z)
    torch.testing.assert_close(model.loss(batch, z, policy_z=policy_z), sum(sum(part) for part in expected))


def test_gradients_go_where_the_file_says(model, batch, z):
    z.requires_grad_()
    policy_z = random(R, B, Z, seed=7).requires_grad_()
    of_critics, of_vae, of_move = literal(model, batch, z, policy_z)
    total = model.loss(batch, z, policy_z=policy_z)
    vae = [*model.posterior.parameters(), *model.proposer.decoder.parameters()]
    for loss, where in (
        (sum(of_critics), [z, *model.critics.parameters()]),
        (sum(of_vae), [policy_z, *vae]),
        (sum(of_move), list(model.proposer.perturbation.parameters())),
    ):
        expected = torch.autograd.grad(loss, where, retain_graph=True)
        actual = torch.autograd.grad(total, where, retain_graph=True)
        for one, other in zip(actual, expected, strict=True):
            assert one.abs().max() > 0
            torch.testing.assert_close(one, other)


def test_the_policy_takes_the_best_of_its_candidates(model):
    observations, z = random(1, 6, S, seed=1), random(1, 6, Z, seed=2)
    found, (_, act) = model.actor(1)(observations, z), proposed(model, model.proposer.perturbation, 1)
    critic = network(model.critics, 1)
    for lane in range(6):
        s, told = observations[0, lane], z[0, lane]
        actions = [act(s, u, told) for u in model.choices[1]]
        values = [critic(s, action, told).item() for action in actions]
        torch.testing.assert_close(found[0, lane], actions[int(np.argmax(values))])


def test_terminal_transitions_do_not_bootstrap(model, batch, z):
    ended = replace(batch, terminated=torch.ones(R, B))
    torch.testing.assert_close(model.target(ended, z), batch.rewards)


def test_both_targets_follow(model, batch, z):
    before = copy.deepcopy(model.target_perturbation)
    model.update(adam((model, 1e-2)), batch, z)
    pairs = zip(
        before.parameters(),
        model.proposer.perturbation.parameters(),
        model.target_perturbation.parameters(),
        strict=True,
    )
    for old, leader, new in pairs:
        torch.testing.assert_close(new, old + 0.005 * (leader - old))


def test_actions_stay_near_those_of_the_data():
    """Rewards ask for 1, the data hold -0.6 only: so does the policy, up to the perturbation."""
    model = BCQ(seed_generators((0,), "test"), 1, 1, 0, BCQConfig(width=16, batch=64, learning_rate=3e-3))
    optimiser, rng = adam((model, 3e-3)), np.random.default_rng(0)
    for _ in range(300):
        actions = torch.as_tensor(-0.6 + 0.05 * rng.standard_normal((1, 64, 1)), dtype=torch.float32)
        nothing = torch.zeros(1, 64, 1)
        batch = Batch(nothing, actions, actions[..., 0], nothing, torch.ones(1, 64))
        model.update(optimiser, batch, torch.zeros(1, 64, 0))
    action = model.actor(0)(torch.zeros(1, 1, 1), torch.zeros(1, 1, 0)).item()
    assert -0.6 < action < -0.3


def with_constant_z(model, z):
    """BCQ without z whose biases hold what a constant z (R, Z) brings."""
    plain = BCQ(seed_generators(range(R), "test"), S, A, 0, CONFIG).double()
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            value = theirs[name]
            if value.shape != parameter.shape:  # the first weight of a network: the last Z rows belong to z
                copies = len(value) // R
                bias = name.replace("weight", "bias")
                extra = z.repeat(copies, 1)[:, None] @ value[:, -Z:]
                dict(plain.named_parameters())[bias].copy_(theirs[bias] + extra)
                value = value[:, :-Z]
            elif (
                name.endswith("bias")
                and theirs[name.replace("bias", "weight")].shape
                != dict(plain.named_parameters())[name.replace("bias", "weight")].shape
            ):
                continue
            parameter.copy_(value)
    return plain


def test_with_one_task_contextual_bcq_is_bcq(batch):
    """One task, one z: the same losses as BCQ's without z, and the same actions."""
    assert ContextualBCQ.own_backbone is BCQ
    model, z = displaced(BCQ, CONFIG), random(R, Z, seed=3)
    plain = with_constant_z(model, z)
    plain.rngs = copy.deepcopy(model.rngs)
    each, nothing = z[:, None].expand(-1, B, -1), torch.zeros(R, B, 0, dtype=torch.float64)
    observations = random(1, 4, S, seed=5)
    for r in range(R):
        torch.testing.assert_close(
            model.actor(r)(observations, z[r].expand(1, 4, -1)), plain.actor(r)(observations, nothing[:1, :4])
        )
    torch.testing.assert_close(model.loss(batch, each, policy_z=each), plain.loss(batch, nothing))


def test_contextual_bcq_is_on_bcq_and_both_losses_train_its_encoder(fit, make):
    for backbone in ("iql", "sac"):
        trained = fit(ContextualBCQ, seeds=(0,), updates=2, backbone=backbone)
        assert isinstance(trained.backbone, BCQ)
    z = torch.zeros(1, 2, trained.z_size)
    assert trained.views(z) == (z, z)
    first = next(layer for layer in trained.encoder.modules() if isinstance(layer, SeedLinear))
    fresh = make(ContextualBCQ)
    fresh.build((0,), trained.scale)
    assert (first.weight != next(iter(fresh.encoder.parameters()))).any()
