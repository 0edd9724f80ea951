"""PEARL's product of Gaussians and KL against densities, and what trains the encoder."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.nn.functional import softplus

import omrl_bench.baselines.backbone as backbone_module
import omrl_bench.baselines.pearl as pearl_module
from omrl_bench.api import Budget
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.pearl import GaussianEncoder, Pearl, PearlConfig, kl_divergence
from omrl_bench.baselines.training import Scale, seed_generators

R, C, N, FEATURES, LATENT = 3, 2, 5, 7, 3


@pytest.fixture
def encoder():
    return GaussianEncoder(seed_generators((0, 1, 2), "test"), FEATURES, PearlConfig(width=8, latent=LATENT)).double()


@pytest.fixture
def context():
    return 3 * torch.from_numpy(np.random.default_rng(0).standard_normal((R, C, N, FEATURES)))


def initial_weights(make, data_for, seeds):
    """The state of a method as it is built, by name."""
    method = make(Pearl)
    method.build(seeds, Scale.of(data_for(Pearl), method.space))
    return {name: module.state_dict() for name, module in method.modules().items()}


def changed(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("masked", [False, True])
def test_posterior_is_the_closed_form_product(encoder, context, masked):
    valid = torch.ones(R, C, N, dtype=torch.bool)
    if masked:
        valid[0, 1, 2:] = False
        valid[2, 0, 0] = False
    mean, variance = encoder.posterior(context, valid if masked else None)
    assert torch.equal(encoder(context, valid if masked else None), mean)
    factors = encoder.factor(context).detach()
    for r in range(R):
        for c in range(C):
            for k in range(LATENT):
                precision, weighted = 0.0, 0.0
                for n in range(N):
                    if valid[r, c, n]:
                        factor = 1 / softplus(factors[r, c, n, LATENT + k]).item()
                        precision += factor
                        weighted += factor * factors[r, c, n, k].item()
                assert variance[r, c, k].item() == pytest.approx(1 / precision)
                assert mean[r, c, k].item() == pytest.approx(weighted / precision)


def test_posterior_is_the_normalised_product_of_densities(encoder, context):
    mean, variance = encoder.posterior(context)
    factors = encoder.factor(context).detach()
    grid = torch.linspace(-12, 12, 40001, dtype=torch.float64)
    for r in range(R):
        for k in range(LATENT):
            density = torch.ones_like(grid)
            for n in range(N):
                deviation = softplus(factors[r, 1, n, LATENT + k]).sqrt()
                density = density * Normal(factors[r, 1, n, k], deviation).log_prob(grid).exp()
            density = density / density.sum()
            expected = (grid * density).sum()
            torch.testing.assert_close(mean[r, 1, k], expected, rtol=1e-6, atol=1e-6)
            spread = ((grid - expected) ** 2 * density).sum()
            torch.testing.assert_close(variance[r, 1, k], spread, rtol=1e-6, atol=1e-9)


def test_more_transitions_make_the_posterior_narrower(encoder, context):
    variances = [encoder.posterior(context[:, :, :n])[1] for n in range(1, N + 1)]
    assert all((more < fewer).all() for fewer, more in pairwise(variances))


def test_a_vanishing_factor_variance_stays_finite(encoder, context):
    with torch.no_grad():
        encoder.factor[-1].bias[..., LATENT:] = -1e4
    mean, variance = encoder.posterior(context)
    assert mean.isfinite().all()
    torch.testing.assert_close(variance, torch.full_like(variance, encoder.MIN_VARIANCE / N))


def test_kl_divergence_is_that_of_torch():
    generator = np.random.default_rng(0)
    mean = torch.from_numpy(generator.standard_normal((R, C, LATENT)))
    variance = torch.from_numpy(generator.uniform(0.1, 3, (R, C, LATENT)))
    expected = torch.distributions.kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).sum(dim=-1)
    torch.testing.assert_close(kl_divergence(mean, variance), expected.mean(dim=1))
    assert kl_divergence(torch.zeros(R, C, LATENT), torch.ones(R, C, LATENT)).abs().max() == 0


def test_the_q_loss_trains_the_encoder(make, data_for, fit):
    before = initial_weights(make, data_for, (0, 1))
    method = fit(Pearl, seeds=(0, 1), updates=1, kl_weight=0.0)
    assert changed(before["encoder"], method.encoder) == set(before["encoder"])


def test_value_and_policy_losses_do_not_train_the_encoder(make, data_for, fit, monkeypatch):
    monkeypatch.setattr(IQL, "critic_loss", lambda self, batch, z, next_value: torch.zeros(2))
    before = initial_weights(make, data_for, (0, 1))
    method = fit(Pearl, seeds=(0, 1), updates=3, kl_weight=0.0)
    assert changed(before["encoder"], method.encoder) == set()
    assert {name.split(".")[0] for name in changed(before["backbone"], method.backbone)} == {
        "value",
        "policy",
        "log_std",
    }


def test_the_kl_trains_the_encoder_and_nothing_else(make, data_for, fit, monkeypatch):
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: 0 * z.sum())
    before = initial_weights(make, data_for, (0, 1))
    method = fit(Pearl, seeds=(0, 1), updates=1, kl_weight=0.1)
    assert changed(before["encoder"], method.encoder) == set(before["encoder"])
    assert changed(before["backbone"], method.backbone) == set()


def test_loss_is_the_backbones_plus_the_weighted_kl(fit, monkeypatch):
    losses = []
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: 0 * z.sum() + 7)
    monkeypatch.setattr(pearl_module, "kl_divergence", lambda mean, variance: mean.sum(dim=(1, 2)) * 0 + 5)
    monkeypatch.setattr(backbone_module, "step", lambda optimiser, loss: losses.append(loss.item()))
    fit(Pearl, seeds=(0, 1, 2), updates=2, kl_weight=0.1)
    assert losses == pytest.approx([7 + 0.1 * 3 * 5] * 2)


def test_z_is_one_sample_of_the_posterior_per_task(fit, monkeypatch):
    seen = []

    def posterior(self, context, valid=None):
        still = 0 * self.factor(context).sum()
        mean = torch.full((*context.shape[:2], 5), 5.0) + still
        return mean, torch.full_like(mean, 4.0)

    monkeypatch.setattr(GaussianEncoder, "posterior", posterior)
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: seen.append(z.detach()) or 0 * z.sum())
    fit(Pearl, seeds=(0, 1), updates=25)
    z = torch.stack(seen).reshape(25, 2, 16, 4, 5)  # batch 64 = 16 tasks x 4 transitions
    assert (z == z[:, :, :, :1]).all()
    samples = z[:, :, :, 0]
    assert len(samples.unique()) == samples.numel()
    for seed in range(2):
        assert samples[:, seed].mean().item() == pytest.approx(5, abs=5 * 2 / 2000**0.5)
        assert samples[:, seed].std().item() == pytest.approx(2, rel=0.1)


def test_z_comes_from_an_episode_of_the_tasks_that_the_transitions_are_of(fit, data_for, monkeypatch):
    data = data_for(Pearl)
    data.rewards = np.repeat(np.arange(30), np.diff(data.task_offsets)).astype(np.float32)  # the reward names the task
    data.context_rewards = data.rewards
    contexts, batches = [], []
    posterior = GaussianEncoder.posterior
    monkeypatch.setattr(
        GaussianEncoder, "posterior", lambda self, c, valid=None: contexts.append(c) or posterior(self, c, valid)
    )
    loss = IQL.loss
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: batches.append(batch) or loss(self, batch, z))
    method = fit(Pearl, seeds=(0, 1), updates=3, data=data)
    for context, batch in zip(contexts, batches, strict=True):
        told = context[..., 4] * method.scale.reward_std + method.scale.reward_mean  # (R, 16, n): s, a, then r
        tasks = told.round()[..., 0]
        torch.testing.assert_close(told, tasks[..., None].expand_as(told), rtol=0, atol=1e-3)
        expected = tasks.repeat_interleave(4, dim=1)
        torch.testing.assert_close(batch.rewards * method.scale.learning_reward_std, expected, rtol=0, atol=1e-3)


def test_policy_acts_on_the_posterior_mean(fit, contexts, act):
    method = fit(Pearl, seeds=(0, 1), updates=5)
    context, observations = contexts
    features = method.scale.features(context)[None].expand(2, -1, -1, -1)
    mean = method.encoder(features)[1]
    state = method.scale.observations(observations)
    expected = method.backbone.actor(1)(state[None], mean[None].detach())[0] * method.space.action_limit
    np.testing.assert_allclose(act(method, 1), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "settings"),
    [("quick", {}), ("standard", {}), ("paper", {}), ("quick", {"learning_rate": 0.2, "backbone_learning_rate": 0.03})],
)
def test_encoder_and_backbone_are_trained_with_the_learning_rates_on_record(
    make, data_for, monkeypatch, preset, settings
):
    optimisers = []
    monkeypatch.setattr(backbone_module, "step", lambda optimiser, loss: optimisers.append(optimiser))
    method = make(Pearl, preset=preset, **settings)
    method.fit(data_for(Pearl), Budget(1, 0), (0,), lambda stage, step, total: None)
    rates = {id(p): group["lr"] for group in optimisers[0].param_groups for p in group["params"]}
    configuration = method.configuration()
    assert {rates.pop(id(p)) for p in method.encoder.parameters()} == {configuration["learning_rate"]}
    trained = [p for p in method.backbone.parameters() if p.requires_grad]
    assert {rates.pop(id(p)) for p in trained} == {configuration["backbone"]["learning_rate"]}
    assert not rates
