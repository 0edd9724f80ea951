"""Networks of R seeds at once against plain PyTorch, one seed at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from omrl_bench.baselines.focal import MeanEncoder
from omrl_bench.baselines.hs_omrl import AttentionEncoder, HSConfig
from omrl_bench.baselines.iql import IQL, IQLConfig
from omrl_bench.baselines.networks import NARROW, SeedLinear, SelfAttention, masked_mean, mlp, take_seed
from omrl_bench.baselines.pearl import GaussianEncoder, PearlConfig
from omrl_bench.baselines.training import seed_generators

FEATURES = 7
SEEDS = (4, 0, 9)


def rngs(seeds=SEEDS):
    return seed_generators(seeds, "test")


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def focal_encoder(generators):
    return MeanEncoder(generators, FEATURES, 8, 6)


def attention_encoder(generators):
    return AttentionEncoder(generators, FEATURES, HSConfig(width=8, transition=5, latent=6, projection=4))


def gaussian_encoder(generators):
    return GaussianEncoder(generators, FEATURES, PearlConfig(width=8, latent=6))


ENCODERS = (focal_encoder, attention_encoder, gaussian_encoder)


def encode(encoder, context, valid=None):
    """One tensor per encoder; the Gaussian one's mean and variance side by side."""
    if isinstance(encoder, GaussianEncoder):
        return torch.cat(encoder.posterior(context, valid), dim=-1)
    return encoder(context, valid)


@pytest.mark.parametrize("outputs", [1, 6, NARROW, NARROW + 1])
@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 2, 5, 4)])
def test_seed_linear_is_one_torch_linear_per_seed(shape, outputs):
    layer = SeedLinear(rngs(), 4, outputs).double()
    x = random(*shape)
    y = layer(x)
    assert y.shape == (*shape[:-1], outputs)
    for r in range(3):
        plain = nn.Linear(4, outputs).double()
        plain.load_state_dict({"weight": layer.weight[r].T, "bias": layer.bias[r, 0]})
        torch.testing.assert_close(y[r], plain(x[r]))


@pytest.mark.parametrize("outputs", [1, 2, NARROW, NARROW + 1])
@pytest.mark.parametrize("frozen", ["nothing", "weights", "inputs"])
def test_derivatives_of_narrow_and_of_wide_layers(outputs, frozen):
    """First and second ones, against finite differences."""
    layer, x = SeedLinear(rngs(), 3, outputs).double(), random(3, 4, 3).requires_grad_(frozen != "inputs")
    layer.requires_grad_(frozen != "weights")
    given = (layer.bias, x, layer.weight)
    assert torch.autograd.gradcheck(layer.product, given)
    assert torch.autograd.gradgradcheck(layer.product, given)


@pytest.mark.parametrize("shape", [(3, 10, 4), (3, 2, 5, 4), (3, 1, 4)])
def test_mlp_is_relu_between_linear_layers(shape):
    network = mlp(rngs(), 4, NARROW + 1, NARROW, 1, 2).double()
    x = random(*shape).requires_grad_()
    y, before = network(x), x.detach().clone()
    assert y.shape == (*shape[:-1], 2)
    layers = [module for module in network if isinstance(module, SeedLinear)]
    for r in range(3):
        hidden = x[r]
        for number, layer in enumerate(layers):
            hidden = hidden @ layer.weight[r] + layer.bias[r]
            if number < len(layers) - 1:
                hidden = hidden.clamp(min=0)
        torch.testing.assert_close(y[r], hidden)
        over = [x, *network.parameters()]
        torch.testing.assert_close(
            torch.autograd.grad(y[r].square().sum(), over, retain_graph=True),
            torch.autograd.grad(hidden.square().sum(), over),
        )
    assert (y < 0).any()  # the output is linear
    assert torch.equal(x, before)


def test_initial_weights_fill_the_range_of_torch_linear():
    layer = SeedLinear(rngs((0,)), 100, 400)
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max() <= 0.1
        assert parameter.max() > 0.095
        assert parameter.min() < -0.095
        assert parameter.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    "build",
    [
        lambda generators: IQL(generators, 3, 2, 4, IQLConfig(width=8)),
        focal_encoder,
        attention_encoder,
        gaussian_encoder,
    ],
    ids=["iql", "focal", "attention", "gaussian"],
)
def test_initial_weights_of_a_seed_do_not_depend_on_the_other_seeds(build):
    together = build(rngs())
    alone = [build(rngs((seed,))) for seed in SEEDS]
    for name, parameter in together.state_dict().items():
        copies = len(parameter) // len(SEEDS)  # 2 for the twin critics
        for r, single in enumerate(alone):
            assert torch.equal(parameter[r :: len(SEEDS)], single.state_dict()[name]), (name, r)
        if "log_std" not in name:
            assert len(torch.unique(parameter.detach().flatten(1), dim=0)) == copies * len(SEEDS), f"{name} repeats"


def test_take_seed_is_the_slice_and_a_copy():
    encoder = attention_encoder(rngs())
    context = random(3, 2, 5, FEATURES).float()
    single = take_seed(encoder, 1)
    torch.testing.assert_close(single(context[1:2]), encoder(context)[1:2])
    assert not any(parameter.requires_grad for parameter in single.parameters())
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    before = single(context[1:2])
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1)
    assert torch.equal(single(context[1:2]), before)


def test_masked_mean_is_the_mean_of_the_valid_elements():
    x = random(2, 3, 5, 4)
    valid = torch.from_numpy(np.random.default_rng(1).random((2, 3, 5)) < 0.5)
    valid[..., 0] = True
    valid[1, 2] = False
    result = masked_mean(x, valid)
    for r in range(2):
        for c in range(3):
            rows = [x[r, c, n] for n in range(5) if valid[r, c, n]]
            expected = sum(rows) / len(rows) if rows else torch.zeros(4, dtype=x.dtype)
            torch.testing.assert_close(result[r, c], expected)
    torch.testing.assert_close(masked_mean(x, None), x.mean(dim=2))


@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_softmax_of_scaled_products(masked):
    width = 4
    attention = SelfAttention(rngs(), width).double()
    x = random(3, 2, 5, width)
    valid = torch.ones(3, 2, 5, dtype=torch.bool)
    if masked:
        valid[0, 0, 3:] = False
        valid[1, 1, 0] = False
        valid[2, 0, 1:] = False
    result = attention(x, valid if masked else None)
    for r in range(3):
        for c in range(2):
            rows = x[r, c]
            query, key, value = (
                rows @ layer.weight[r] + layer.bias[r] for layer in (attention.query, attention.key, attention.value)
            )
            members = [n for n in range(5) if valid[r, c, n]]
            for n in range(5):
                scores = [math.exp((query[n] @ key[m]).item() / math.sqrt(width)) for m in members]
                attended = sum(s * value[m] for s, m in zip(scores, members, strict=True)) / sum(scores)
                torch.testing.assert_close(result[r, c, n], rows[n] + attended)


@pytest.mark.parametrize("make_encoder", ENCODERS)
def test_encoders_ignore_the_order_of_transitions(make_encoder):
    encoder = make_encoder(rngs()).double()
    context = random(3, 2, 6, FEATURES)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(encode(encoder, context[:, :, order]), encode(encoder, context))


@pytest.mark.parametrize("make_encoder", ENCODERS)
def test_encoders_ignore_padded_rows_whatever_is_in_them(make_encoder):
    encoder = make_encoder(rngs()).double()
    lengths = [[6, 1], [3, 4], [2, 6]]
    context, valid = random(3, 2, 6, FEATURES), torch.zeros(3, 2, 6, dtype=torch.bool)
    for r in range(3):
        for c in range(2):
            valid[r, c, : lengths[r][c]] = True
    garbage = torch.where(valid[..., None], context, 100 * random(3, 2, 6, FEATURES, seed=2))
    result = encode(encoder, garbage, valid)
    for r in range(3):
        single = take_seed(encoder, r)
        for c in range(2):
            short = context[r : r + 1, c : c + 1, : lengths[r][c]]
            torch.testing.assert_close(result[r, c], encode(single, short)[0, 0])
    assert not torch.allclose(encode(encoder, garbage), result)


@pytest.mark.parametrize("make_encoder", ENCODERS)
def test_a_context_is_encoded_alone(make_encoder):
    encoder = make_encoder(rngs()).double()
    context = random(3, 4, 6, FEATURES)
    result = encode(encoder, context)
    changed = context.clone()
    changed[1, 2] += 1
    difference = (encode(encoder, changed) - result).abs().amax(dim=-1) > 1e-9
    assert difference.nonzero().tolist() == [[1, 2]]
