"""CQL's new term against loops, and what it does to values off the data."""

import copy
import math

import numpy as np
import pytest
import torch

from omrl_bench.baselines.cql import CQL, CQLConfig
from omrl_bench.baselines.sac import SAC
from omrl_bench.baselines.training import Batch, adam, seed_generators

from .backbone_cases import A, B, R, Z, displaced, network, random

CONFIG = CQLConfig(width=8, drawn=3, conservatism=0.7)


@pytest.fixture
def model():
    return displaced(CQL, CONFIG)


def test_the_term_is_a_soft_maximum_less_the_value_of_the_data(model, batch, z):
    """By loops, with the actions that it draws."""
    actions, log_density = copy.deepcopy(model).draw(batch, z, z)
    found = model.conservative_loss(batch, z)
    for r in range(R):
        total = 0.0
        for critic in (network(model.critics, r), network(model.critics, R + r)):
            for b in range(B):
                s = batch.observations[r, b]
                ratios = [
                    math.exp(critic(s, actions[r, b, i], z[r, b]).item() - log_density[r, b, i].item())
                    for i in range(9)
                ]
                total += (math.log(sum(ratios) / 9) - critic(s, batch.actions[r, b], z[r, b]).item()) / B
        assert found[r].item() == pytest.approx(total)


def test_actions_are_uniform_and_of_the_policy_at_both_states(model, batch, z):
    actions, log_density = model.draw(batch, z, random(R, B, Z, seed=8))
    assert actions.shape == (R, B, 9, A)
    assert (log_density[..., :3] == -A * math.log(2)).all()
    assert actions.abs().max() <= 1
    rngs = seed_generators((0, 1, 2), "twice")
    one, other = (copy.deepcopy(model) for _ in range(2))
    one.rngs, other.rngs = rngs, copy.deepcopy(rngs)
    drawn, density = one.draw(batch, z, z)
    for rng in other.rngs:
        rng.uniform(-1, 1, (B, 3, A))
    expected, log_prob = other.sample(batch.observations.repeat_interleave(3, dim=1), z.repeat_interleave(3, dim=1))
    torch.testing.assert_close(drawn[:, :, 3:6], expected.unflatten(1, (B, 3)))
    torch.testing.assert_close(density[:, :, 3:6], log_prob.unflatten(1, (B, 3)))


def test_the_loss_is_sacs_and_the_weighted_term(model, batch, z):
    plain, terms = copy.deepcopy(model), copy.deepcopy(model)
    ordinary = SAC.loss(plain, batch, z)
    terms.rngs = plain.rngs  # the term draws after SAC's losses
    expected = ordinary + 0.7 * terms.conservative_loss(batch, z).sum()
    torch.testing.assert_close(model.loss(batch, z), expected)


def test_without_conservatism_it_is_sac(batch, z):
    model = displaced(CQL, CQLConfig(width=8, conservatism=0.0))
    torch.testing.assert_close(model.loss(batch, z), SAC.loss(displaced(CQL, CQLConfig(width=8)), batch, z))


def test_the_term_trains_critics_and_z_only(model, batch, z):
    z.requires_grad_()
    model.conservative_loss(batch, z).sum().backward()
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"critics"}
    assert z.grad.abs().max() > 0


@pytest.mark.parametrize("conservatism", [0.0, 2.0])
def test_values_off_the_data_are_lower(conservatism):
    """All data at a = -0.5 with reward 0: elsewhere Q is not known, and kept low."""
    config = CQLConfig(width=16, conservatism=conservatism)
    model = CQL(seed_generators((0,), "test"), 1, 1, 0, config)
    optimiser, rng = adam((model, 3e-3)), np.random.default_rng(0)
    nothing = torch.zeros(1, 64, 1)
    for _ in range(200):
        actions = torch.as_tensor(-0.5 + 0.05 * rng.standard_normal((1, 64, 1)), dtype=torch.float32)
        model.update(
            optimiser, Batch(nothing, actions, torch.zeros(1, 64), nothing, torch.ones(1, 64)), nothing[..., :0]
        )
    at = torch.tensor([-0.5, 0.9])[None, :, None]
    with torch.no_grad():
        logged, other = model.q(model.critics, torch.zeros(1, 2, 1), at, torch.zeros(1, 2, 0)).mean(dim=0)[0].tolist()
    assert (other < logged - 0.5) == (conservatism > 0)
