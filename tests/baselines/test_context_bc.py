"""Behaviour cloning with a context: the likelihood by loops, what it trains, and that rewards are not learnt from."""

import math

import numpy as np
import pytest
import torch

from omrl_bench.baselines.context_bc import Cloning, CloningConfig, ContextBC
from omrl_bench.baselines.training import adam

from .backbone_cases import A, B, R, Z, displaced, network, random


@pytest.fixture
def model():
    return displaced(Cloning, CloningConfig(width=8))


def test_loss_is_the_negative_log_likelihood(model, batch, z):
    total = 0.0
    for r in range(R):
        policy, deviations = network(model.policy, r), model.log_std[r, 0].exp().tolist()
        for b in range(B):
            mean = torch.tanh(policy(batch.observations[r, b], z[r, b])).tolist()
            for i in range(A):
                error = (float(batch.actions[r, b, i]) - mean[i]) / deviations[i]
                total += (0.5 * error**2 + math.log(deviations[i] * math.sqrt(2 * math.pi))) / B
    assert model.loss(batch, z).item() == pytest.approx(total)


def test_the_likelihood_trains_the_policys_z_and_no_other(model, batch):
    z, policy_z = random(R, B, Z, seed=7).requires_grad_(), random(R, B, Z, seed=8).requires_grad_()
    model.update(adam((model, 1e-2)), batch, z, policy_z=policy_z)
    assert z.grad is None
    assert policy_z.grad.abs().max() > 0


def test_it_learns_nothing_from_rewards(fit, make, data_for, act):
    """Other rewards to learn from, the same in contexts: the same policy."""
    actions = []
    for factor in (1.0, -3.0):
        data = data_for(ContextBC)
        data.context_rewards, data.rewards = data.rewards.copy(), factor * data.rewards
        actions.append(act(fit(ContextBC, data=data, updates=5), 3))
    np.testing.assert_array_equal(*actions)


def test_encoder_and_policy_are_trained_whatever_the_suites_backbone(fit, make):
    for backbone in ("iql", "sac"):
        trained = fit(ContextBC, seeds=(0,), updates=2, backbone=backbone)
        assert isinstance(trained.backbone, Cloning)
        fresh = make(ContextBC, backbone=backbone)
        fresh.build((0,), trained.scale)
        for name in ("backbone", "encoder"):
            pairs = zip(trained.modules()[name].parameters(), fresh.modules()[name].parameters(), strict=True)
            assert all((one != other).any() for one, other in pairs)
