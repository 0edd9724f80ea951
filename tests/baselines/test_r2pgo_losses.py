"""R2PGO: equations 4 and 5 against loops, the hypernetwork, privileges and ablations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from omrl_bench.baselines.networks import ConditionedMLP, take_seed
from omrl_bench.baselines.r2pgo import R2PGO, HyperMLP, R2PGOBlind, R2PGONoContrast, R2PGOPlain
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.sampling import PrivilegeError

SEEDS = (3, 5)


def random(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture(scope="module")
def method(make):
    return make(R2PGO, alpha=0.7, temperature=0.3, negatives=6)


@pytest.fixture
def build(make, data_for):
    def run(cls):
        data = data_for(cls)
        built = make(cls, trajectories=5)
        built.build(SEEDS, Scale.of(data, built.space))
        return built, Batches(data, built.scale, built.space, seed_generators(SEEDS, "data"))

    return run


# --- eq. 4 and 5


def literal_loss(x, counts, temperature):
    losses = []
    for seed in range(len(x)):
        total = 0.0
        for i in range(x.shape[1]):
            numerator = math.exp(float(x[seed, i, 0] @ x[seed, i, 1]) / temperature)
            denominator = 0.0
            for j in range(x.shape[1]):
                if j != i:
                    for k in range(int(counts[seed, i, j])):
                        denominator += math.exp(float(x[seed, i, 0] @ x[seed, j, 2 + k]) / temperature)
            total -= math.log(numerator / denominator)
        losses.append(total / x.shape[1])
    return torch.tensor(losses, dtype=torch.float64)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), tasks=st.integers(2, 5))
def test_contrastive_loss_is_the_literal_one(method, seed, tasks):
    x = normalize(random(2, tasks, 2 + 6, 3, seed=seed), dim=-1)
    counts = method.negative_counts(random(2, tasks, 2, seed=seed + 1))
    torch.testing.assert_close(method.contrastive_loss(x, counts), literal_loss(x, counts, 0.3))


def test_negative_counts_are_the_gaussian_kernel_of_the_attributes(method):
    p = random(2, 5, 3)
    counts = method.negative_counts(p)
    for seed in range(2):
        for i in range(5):
            for j in range(5):
                squared = sum((p[seed, i, k] - p[seed, j, k]).item() ** 2 for k in range(3)) / 3
                expected = max(1, math.ceil(6 * math.exp(-0.7 * squared))) if i != j else 0
                assert counts[seed, i, j] == expected
    assert torch.equal(counts, counts.transpose(1, 2))


def test_similar_tasks_give_more_negatives(method):
    counts = method.negative_counts(torch.tensor([[[0.0], [0.0], [0.5], [1.0], [3.0]]]))[0]
    # b = 1 for the same attribute; far away: never none at all; none of the task itself
    assert counts[0].tolist() == [0, 6, math.ceil(6 * math.exp(-0.7 / 4)), math.ceil(6 * math.exp(-0.7)), 1]


def test_close_positives_and_far_negatives_are_better(method):
    counts = method.negative_counts(random(1, 2, 2))
    x = torch.zeros(1, 2, 8, 2, dtype=torch.float64)
    x[:, 0, :, 0], x[:, 1, :, 1] = 1, 1
    apart = method.contrastive_loss(x, counts)
    x[:, 1] = x[:, 0]
    assert apart < method.contrastive_loss(x, counts)


def test_regulariser_takes_embeddings_of_the_tasks_after_a_step_and_sends_a_gradient(build):
    built, batches = build(R2PGO)
    tasks = batches.tasks(5)
    lengths = np.array([[3, 4, 5, 2, 6]] * 2)
    beliefs = random(2, 5, 7, 10).float().requires_grad_()
    loss = built.regulariser(batches, tasks, beliefs, lengths)
    (gradient,) = torch.autograd.grad(loss.sum(), beliefs)
    assert not gradient[:, :, 0].any()  # the prior is no embedding of a task
    assert not gradient[..., 5:].any()  # nor is the variance
    assert not gradient[0, 3, 3:].any()  # after the end
    assert gradient[..., 1:, :5].any()


# --- attributes


def test_attributes_are_the_standardised_descriptors(build, family):
    built, batches = build(R2PGO)
    p = built.attributes(batches, np.tile(np.arange(30), (2, 1)), None)
    torch.testing.assert_close(p.mean(1), torch.zeros(2, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(p.std(1, correction=0), torch.ones(2, 2))
    goals = family.tasks().descriptors[:30]
    assert np.corrcoef(p[1, :, 0], goals[:, 0])[0, 1] == pytest.approx(1)


def test_privileges(make, family, episodes):
    assert R2PGO.requires.privileges == R2PGOPlain.requires.privileges == {"descriptors"}
    assert R2PGOBlind.requires.privileges == R2PGONoContrast.requires.privileges == frozenset()
    data = MetaDataset(family, episodes)
    built = make(R2PGO)
    built.build(SEEDS, Scale.of(data, built.space))
    batches = Batches(data, built.scale, built.space, seed_generators(SEEDS, "data"))
    with pytest.raises(PrivilegeError, match="descriptors"):
        built.representation_loss(batches)


def test_the_blind_variant_compares_what_it_has_learned(build):
    built, batches = build(R2PGOBlind)
    beliefs = random(2, 5, 7, 10).requires_grad_()
    p = built.attributes(batches, None, beliefs)
    assert not p.requires_grad
    mean = beliefs[:, :, -1, :5].detach().numpy()
    expected = (mean - mean.mean(1, keepdims=True)) / (mean.std(1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(p, expected)
    assert built.representation_loss(batches).isfinite()


def test_ablations(build):
    built, batches = build(R2PGONoContrast)
    assert not built.regulariser(batches, batches.tasks(5), None, None).any()
    assert isinstance(built.backbone.policy, HyperMLP)
    plain, _ = build(R2PGOPlain)
    assert isinstance(plain.backbone.policy, ConditionedMLP)
    assert isinstance(plain.backbone.critics, ConditionedMLP)


# --- the hypernetwork


def test_output_is_that_of_a_plain_network_with_the_generated_last_layer():
    network = HyperMLP(seed_generators((0, 1), "test"), 4, 3, (8, 8), 2).double()
    x, z = random(2, 5, 4), random(2, 5, 3, seed=1)
    found = network(x, z)
    made = network.hyper(z)
    first, second = network.shared[0], network.shared[2]
    for seed in range(2):
        for b in range(5):
            hidden = (x[seed, b] @ first.weight[seed] + first.bias[seed, 0]).relu()
            hidden = (hidden @ second.weight[seed] + second.bias[seed, 0]).relu()
            layer = torch.nn.Linear(8, 2).double()
            with torch.no_grad():
                layer.weight.copy_(made[seed, b].reshape(9, 2)[:8].T)
                layer.bias.copy_(made[seed, b].reshape(9, 2)[8])
            torch.testing.assert_close(found[seed, b], layer(hidden))


def test_z_makes_the_last_layer_and_nothing_else():
    network = HyperMLP(seed_generators((0,), "test"), 4, 3, (8, 8), 2)
    x, z = random(1, 5, 4).float(), random(1, 5, 3, seed=1).float()
    assert (network(x, z) != network(x, 2 * z)).all()
    assert [layer.weight.shape[1] for layer in network.shared if hasattr(layer, "weight")] == [4, 8]
    network(x, z).sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_outputs_start_as_small_as_those_of_a_plain_network():
    rngs, sizes = seed_generators(range(5), "test"), (17, 10, (128, 128), 6)
    x, z = random(5, 64, 17).float(), random(5, 64, 10, seed=1).float()
    hyper = HyperMLP(rngs, *sizes)(x, z).std()
    assert 0.3 < hyper / ConditionedMLP(rngs, *sizes)(x, z).std() < 3


def test_one_seed_alone_is_the_same_network():
    network = HyperMLP(seed_generators((0, 1), "test"), 4, 3, (8, 8), 2)
    x, z = random(2, 5, 4).float(), random(2, 5, 3, seed=1).float()
    torch.testing.assert_close(take_seed(network, 1)(x[1:], z[1:])[0], network(x, z)[1])
