"""Layer normalisation as an option: off it is not there; on it stands before every ReLU and draws no weight anew."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from omrl_bench.baselines.brac import BRACConfig
from omrl_bench.baselines.networks import SeedLayerNorm, SeedLinear, mlp, with_layer_norm
from omrl_bench.baselines.training import Scale, seed_generators
from omrl_bench.registry import backbones, load_backbone

from .backbone_cases import A, R, S, Z, displaced, random
from .conftest import BUILT_IN, TRAINED

ENCODERS = [name for name in TRAINED if any(field.name == "latent" for field in fields(BUILT_IN[name].Config))]
ENCODERS.remove("meta-dt")  # its transformer has it already
NORMALISED_ALREADY = "focalpp"  # its blocks have it


def linears(module):
    return [part for part in module.modules() if isinstance(part, SeedLinear)]


def norms(module):
    return [part for part in module.modules() if isinstance(part, SeedLayerNorm)]


def test_a_network_with_it_is_linear_normalised_relu_by_turns():
    network, plain = (mlp(seed_generators(range(R), "test"), 3, 5, 4, 2).double() for _ in range(2))
    with_layer_norm(network, range(R)).double()
    with torch.no_grad():
        for number, norm in enumerate(norms(network)):
            norm.weight.add_(random(*norm.weight.shape, seed=number))
            norm.bias.add_(random(*norm.bias.shape, seed=10 + number))
    x = random(R, 7, 3, seed=3)
    for r in range(R):
        hidden = x[r]
        for layer, norm in zip(linears(plain), [*norms(network), None], strict=True):
            hidden = hidden @ layer.weight[r] + layer.bias[r]
            if norm is not None:
                hidden = nn.functional.layer_norm(hidden, hidden.shape[-1:]) * norm.weight[r] + norm.bias[r]
                hidden = hidden.clamp(min=0)
        torch.testing.assert_close(network(x)[r], hidden)


@pytest.mark.parametrize("name", sorted(backbones()))
def test_of_a_backbone(name):
    cls = load_backbone(name)
    plain, off, on = (
        cls(seed_generators(range(R), "test"), S, A, Z, cls.Config(width=8, **given))
        for given in ({}, {"layer_norm": False}, {"layer_norm": True})
    )
    for one, other in zip(plain.state_dict().items(), off.state_dict().items(), strict=True):
        assert one[0] == other[0] and torch.equal(one[1], other[1])
    assert not norms(off)
    assert len(norms(on)) > 0
    for one, other in zip(linears(off), linears(on), strict=True):
        assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)
    assert all(
        len(norm.weight) == len(linear.weight)
        for norm, linear in zip(norms(on.critics), linears(on.critics), strict=False)
    )


@pytest.mark.parametrize("name", ENCODERS)
def test_of_an_encoder(name, make, data_for):
    cls = BUILT_IN[name]
    methods = [make(cls, layer_norm=given) for given in (False, True)]
    for method in methods:
        method.build((0, 1), Scale.of(data_for(cls), method.space))
    off, on = (method.encoder for method in methods)
    for one, other in zip(linears(off), linears(on), strict=True):
        assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)
    if name.startswith(NORMALISED_ALREADY):
        assert len(norms(off)) == len(norms(on)) > 0
    else:
        assert not norms(off) and norms(on)


def test_seeds_stay_apart_and_everything_is_trained(fit, act):
    """BRAC's dual critic has an optimiser of its own."""
    cls = BUILT_IN["focal"]
    settings = {"backbone": "brac", "layer_norm": True, "backbone_layer_norm": True, "updates": 3, "encoder_updates": 3}
    together, alone = fit(cls, (3, 5), **settings), fit(cls, (5,), **settings)
    torch.testing.assert_close(torch.as_tensor(act(together, 5)), torch.as_tensor(act(alone, 5)), atol=1e-5, rtol=0)
    for norm in norms(alone.encoder) + norms(alone.backbone.dual) + norms(alone.backbone.policy):
        assert (norm.weight != 1).any() and (norm.bias != 0).any()


def test_displaced_learners_have_it_too():
    assert norms(displaced(load_backbone("brac"), BRACConfig(width=8, layer_norm=True)).dual)
