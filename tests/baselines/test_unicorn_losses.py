"""UNICORN: the reconstruction against densities, and what trains what."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from omrl_bench.baselines.focal import metric_loss
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.baselines.unicorn import Unicorn, UnicornSup, classification_loss, gaussian_nll

C, N = 4, 5
FEATURES = 7  # of point-goal: s 2, a 2, r 1, s' 2


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture
def method(make, data_for):
    method = make(Unicorn, metric_weight=0.4, latent=3)
    method.build((0, 1), Scale.of(data_for(Unicorn), method.space))
    return method


@pytest.fixture
def batches(method, data_for):
    return Batches(data_for(Unicorn), method.scale, method.space, seed_generators((0, 1), "data"))


def literal(decoder, r, context, z):
    """Mean negative log-density of the transitions of one seed."""
    total = 0.0
    for c in range(C):
        for n in range(N):
            s, a, reward, following = context[c, n].split((2, 2, 1, 2))
            hidden = torch.cat([s, a, z[c]])
            layers = [layer for layer in decoder if hasattr(layer, "weight")]
            for layer in layers[:-1]:
                hidden = (hidden @ layer.weight[r] + layer.bias[r, 0]).clamp(min=0)
            outputs = (hidden @ layers[-1].weight[r] + layers[-1].bias[r, 0]).tolist()
            targets = [float(reward), float(following[0] - s[0]), float(following[1] - s[1])]
            for mean, log_variance, target in zip(outputs[:3], outputs[3:], targets, strict=True):
                total += 0.5 * ((target - mean) ** 2 / math.exp(log_variance) + log_variance)
    return total / (C * N)


def test_reconstruction_is_the_mean_negative_log_density_of_the_contexts_transitions(method):
    method.encoder.double()
    contexts, z = random(2, C, N, FEATURES), random(2, C, 3, seed=1)
    expected = [literal(method.encoder.decoder, r, contexts[r], z[r]) for r in range(2)]
    torch.testing.assert_close(method.reconstruction_loss(contexts, z), torch.tensor(expected, dtype=torch.float64))


def test_density_is_that_of_a_normal():
    x, mean, log_variance = random(6, 3), random(6, 3, seed=1), random(6, 3, seed=2)
    expected = -Normal(mean, (0.5 * log_variance).exp()).log_prob(x).sum(dim=-1) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance), expected)


def test_variance_is_bounded(method):
    for sign, bound in ((-1, -5.0), (1, 2.0)):
        with torch.no_grad():
            method.encoder.decoder[-1].bias[..., 3:] = sign * 1e4
        log_variance = method.encoder.predict(torch.zeros(2, C, N, 4), torch.zeros(2, C, 3))[1]
        assert (log_variance == bound).all()


def test_loss_is_reconstruction_plus_weighted_metric(method, batches, monkeypatch):
    contexts, labels = method.draw_contexts(batches)
    monkeypatch.setattr(method, "draw_contexts", lambda batches: (contexts, labels))
    z = method.encoder(contexts)
    expected = method.reconstruction_loss(contexts, z) + 0.4 * metric_loss(z, labels, beta=1.0, epsilon=0.1)
    torch.testing.assert_close(method.representation_loss(batches), expected.sum())


def test_both_losses_train_the_encoder_and_the_decoder_only_learns_to_reconstruct(method, batches):
    contexts, labels = method.draw_contexts(batches)

    def gradients(loss):
        method.encoder.zero_grad()
        loss.sum().backward()
        modules = method.encoder.transition, method.encoder.decoder
        return [max(0.0 if p.grad is None else p.grad.abs().max() for p in m.parameters()) for m in modules]

    encoder, decoder = gradients(metric_loss(method.encoder(contexts), labels, beta=1.0, epsilon=0.1))
    assert encoder > 0
    assert decoder == 0
    encoder, decoder = gradients(method.reconstruction_loss(contexts, method.encoder(contexts)))
    assert encoder > 0
    assert decoder > 0


def test_order_of_the_transitions_does_not_matter(method):
    method.encoder.double()
    contexts, order = random(2, C, N, FEATURES), [3, 0, 4, 1, 2]
    z = method.encoder(contexts)
    torch.testing.assert_close(method.encoder(contexts[:, :, order]), z)
    torch.testing.assert_close(
        method.reconstruction_loss(contexts[:, :, order], z), method.reconstruction_loss(contexts, z)
    )


def test_decoder_is_told_the_context_that_the_transition_is_of(method):
    """The reconstruction of a context does not change with the z of another one."""
    contexts, z = random(2, C, N, FEATURES).float(), random(2, C, 3, seed=1).float()
    other = z.clone()
    other[0, 2] += 1
    inputs = contexts[..., :4]
    changed = (method.encoder.predict(inputs, z)[0] != method.encoder.predict(inputs, other)[0]).any(dim=-1)
    assert changed[0, 2].all()
    assert changed.sum() == N


def test_training_makes_the_reconstruction_use_z(make, data_for):
    """Rewards tell the tasks apart: with its own z a context is reconstructed better than with others'."""
    method, data = make(Unicorn, metric_weight=0.0), data_for(Unicorn)
    method.build((0,), Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators((0,), "data"))
    method.train_representation(batches, 250, lambda stage, step, total: None)
    contexts, _ = method.draw_contexts(batches)
    with torch.no_grad():
        z = method.encoder(contexts)
        own, others = (method.reconstruction_loss(contexts, x).item() for x in (z, z.roll(2, dims=1)))
    assert own < others - 0.3


def test_the_supervised_loss_is_the_cross_entropy_of_the_task():
    logits, labels = random(2, C, 6), torch.tensor([[0, 0, 5, 5], [3, 3, 1, 1]])
    found = classification_loss(logits, labels)
    for r in range(2):
        total = 0.0
        for c in range(C):
            weights = [math.exp(value) for value in logits[r, c].tolist()]
            total -= math.log(weights[labels[r, c]] / sum(weights))
        assert found[r].item() == pytest.approx(total / C)


def test_the_classifier_learns_the_training_tasks(make, data_for):
    method, data = make(UnicornSup), data_for(UnicornSup)
    method.build((0,), Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators((0,), "data"))
    first, kept = [], []

    def log(stage, step, total):
        with torch.no_grad():
            kept.append(method.representation_loss(batches.drawn_by(seed_generators((7,), "other"))).item())
        first.append(method.classifier)

    method.train_representation(batches, 150, log)
    assert all(classifier is first[0] for classifier in first)
    assert first[0].weight.shape == (1, method.z_size, 30)
    assert kept[0] > math.log(30) - 0.3
    assert np.mean(kept[-10:]) < kept[0] - 0.4
    assert not hasattr(method, "classifier")
