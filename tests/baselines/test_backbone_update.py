"""The update that all backbones and methods share, and the moving averages in it."""

import copy

import pytest
import torch
from torch import nn

from omrl_bench.baselines.networks import follow, mlp
from omrl_bench.baselines.training import adam, seed_generators, step
from omrl_bench.registry import backbones, load_backbone

from .backbone_cases import B, R, Z, displaced, random

NAMES = sorted(backbones())


@pytest.fixture(params=NAMES)
def model(request):
    """A learner with 8 hidden units, in double precision."""
    cls = load_backbone(request.param)
    return displaced(cls, cls.Config(width=8))


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_update_is_a_step_on_the_loss_and_the_part_after(model, batch, z):
    """Three updates, with a representation of its own at s'."""
    by_hand, next_z = copy.deepcopy(model), random(R, B, Z, seed=6)
    optimisers = adam((model, 1e-2)), adam((by_hand, 1e-2))
    for _ in range(3):
        model.update(optimisers[0], batch, z, next_z)
        step(optimisers[1], by_hand.loss(batch, z, next_z))
        by_hand.after_step()
    assert equal(weights(model), weights(by_hand))


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_an_update_come_in_order(name, batch, z, monkeypatch):
    cls = load_backbone(name)
    model, order = displaced(cls, cls.Config(width=8)), []
    for part in ("loss", "after_step"):
        real = getattr(cls, part)
        monkeypatch.setattr(
            cls, part, lambda self, *given, real=real, part=part: order.append(part) or real(self, *given)
        )
    model.update(adam((model, 1e-2)), batch, z)
    assert order == ["loss", "after_step"]


def test_the_encoders_loss_is_added_summed_over_the_seeds(model, batch, z):
    """It trains what only it sees, and leaves the backbone's own update as it is."""
    alone, encoder = copy.deepcopy(model), mlp(seed_generators(range(R), "encoder"), Z, 1).double()
    expected = torch.autograd.grad(encoder(z).square().mean(dim=(1, 2)).sum(), list(encoder.parameters()))
    model.update(adam((model, 1e-2), (encoder, 1e-2)), batch, z, encoder_loss=encoder(z).square().mean(dim=(1, 2)))
    alone.update(adam((alone, 1e-2)), batch, z)
    assert equal(weights(model), weights(alone))
    for parameter, gradient in zip(encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_critics_train_z_and_the_policy_trains_its_own(model, batch):
    z, policy_z = random(R, B, Z, seed=7).requires_grad_(), random(R, B, Z, seed=8).requires_grad_()
    model.update(adam((model, 1e-2)), batch, z, policy_z=policy_z)
    assert z.grad.abs().max() > 0
    assert policy_z.grad.abs().max() > 0


def test_follow_moves_every_parameter_by_the_rate_and_keeps_the_leader():
    leader, follower = (mlp(seed_generators(seeds, "test"), 3, 4, 2) for seeds in ((0, 1), (2, 3)))
    before = weights(follower), weights(leader)
    follow(follower, leader, 0.25)
    for name, value in follower.state_dict().items():
        torch.testing.assert_close(value, 0.75 * before[0][name] + 0.25 * before[1][name])
    assert equal(weights(leader), before[1])
    assert all(parameter.grad_fn is None for parameter in follower.parameters())
    follow(follower, leader, 1.0)
    assert equal(weights(follower), before[1])


def test_only_the_type_of_a_typed_module_differs():
    layers = mlp(seed_generators((0,), "test"), 3, 4, 2)
    assert isinstance(layers, nn.Sequential)
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert type(layers).__call__ is nn.Module.__call__
