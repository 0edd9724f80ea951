"""ER-TRL: entropy and GAN losses against the literal equations, and what trains what."""

import copy
import math

import numpy as np
import pytest
import torch

from omrl_bench.baselines.er_trl import ERTRL, BehaviourGAN, ERTRLConfig, gaussian_entropy
from omrl_bench.baselines.focal import metric_loss
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, T, N = 2, 3, 6


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def network(layers, r):
    """One network of a stack, as a function of vectors."""
    linear = [layer for layer in layers if hasattr(layer, "weight")]

    def forward(x):
        for layer in linear[:-1]:
            x = torch.relu(layer.weight[r].T @ x + layer.bias[r, 0])
        return linear[-1].weight[r].T @ x + linear[-1].bias[r, 0]

    return forward


@pytest.fixture
def gan():
    config = ERTRLConfig(latent=2, noise=4, generator_width=8, discriminator_width=8)
    return BehaviourGAN(seed_generators(range(R), "test"), 3, 2, config).double()


def test_entropy_is_that_of_a_gaussian_with_the_covariance_of_each_task():
    actions = random(R, T, N, 2)
    found = gaussian_entropy(actions)
    for r in range(R):
        for task in range(T):
            covariance = np.cov(actions[r, task].numpy().T, bias=True) + 1e-5 * np.eye(2)
            expected = 0.5 * math.log(np.linalg.det(2 * math.pi * math.e * covariance))
            assert found[r, task].item() == pytest.approx(expected)


def test_losses_of_the_gan_are_the_literal_ones(gan):
    known, actions = random(R, T, N, 5), random(R, T, N, 2, seed=1).clamp(-1, 1)
    noise = [rng.standard_normal((T, N, 4), dtype=np.float32) for rng in copy.deepcopy(gan.rngs)]
    of_discriminator, of_generator = gan.losses(known, actions)
    for r in range(R):
        generate, judge = network(gan.generator, r), network(gan.discriminator, r)
        first, second = 0.0, 0.0
        for task in range(T):
            for n in range(N):
                generated = torch.tanh(
                    generate(torch.cat([torch.from_numpy(noise[r][task, n]).double(), known[r, task, n]]))
                )
                real, fake = (
                    1 / (1 + math.exp(-judge(torch.cat([known[r, task, n], a])).item()))
                    for a in (actions[r, task, n], generated)
                )
                first -= (math.log(real) + math.log(1 - fake)) / (T * N)
                second -= math.log(fake) / (T * N)
        assert of_discriminator[r].item() == pytest.approx(first)
        assert of_generator[r].item() == pytest.approx(second)


def test_each_loss_of_the_gan_trains_its_own_network(gan):
    known, actions = random(R, T, N, 5), random(R, T, N, 2, seed=1)
    for index, name in enumerate(("discriminator", "generator")):
        gan.zero_grad()
        gan.losses(known, actions)[index].sum().backward()
        reached = {key.split(".")[0] for key, parameter in gan.named_parameters() if parameter.grad is not None}
        assert reached == {name}


@pytest.fixture
def method(make, data_for):
    method = make(ERTRL, entropy_weight=0.7, latent=3)
    method.build((0, 1), Scale.of(data_for(ERTRL), method.space))
    return method


@pytest.fixture
def batches(method, data_for):
    return Batches(data_for(ERTRL), method.scale, method.space, seed_generators((0, 1), "data"))


def with_gan(method, steps):
    """As training has it, with ``steps`` steps of the GAN per update."""
    object.__setattr__(method.config, "gan_steps", steps)
    space = method.space
    method.gan = BehaviourGAN(seed_generators((0, 1), "gan"), space.observation_size, space.action_size, method.config)
    method.gan_optimiser = torch.optim.Adam(method.gan.parameters(), lr=1e-2)


def test_loss_is_the_metric_less_the_weighted_entropy(method, batches, monkeypatch):
    with_gan(method, 0)
    contexts, labels = method.draw_contexts(batches)
    monkeypatch.setattr(method, "draw_contexts", lambda batches: (contexts, labels))
    z = method.encoder(contexts)
    known, actions = method.told(contexts, z)
    assert torch.equal(known[1, 2, 40, :2], contexts[1, 5, 8, :2])  # transition 8 of the second context of task 2
    assert torch.equal(known[1, 2, 40, 2:], z[1, 5])
    assert torch.equal(actions[1, 2, 40], contexts[1, 5, 8, 2:4])
    entropy = gaussian_entropy(copy.deepcopy(method.gan)(known)).mean(dim=1)
    expected = metric_loss(z, labels, 1.0, 0.1) - 0.7 * entropy
    torch.testing.assert_close(method.representation_loss(batches), expected.sum())


def test_the_encoders_loss_leaves_the_gan_alone_and_the_gans_steps_the_encoder(method, batches):
    with_gan(method, 2)
    before = copy.deepcopy(method.encoder.state_dict()), copy.deepcopy(method.gan.state_dict())
    loss = method.representation_loss(batches)
    assert all(torch.equal(value, before[0][name]) for name, value in method.encoder.state_dict().items())
    assert all((value != before[1][name]).any() for name, value in method.gan.state_dict().items())
    method.gan.zero_grad()
    loss.backward()
    assert all(parameter.grad is None for parameter in method.gan.parameters())
    assert all(parameter.grad.abs().max() > 0 for parameter in method.encoder.parameters())


def test_the_entropy_falls_where_z_gives_the_behaviour_away():
    """Behaviours whose actions lie apart: a z that says which it is leaves little spread."""
    rng = np.random.default_rng(0)
    apart = torch.from_numpy(rng.standard_normal((1, 2, 500, 2)) * 0.1 + np.array([[[[-0.8]], [[0.8]]]]))
    mixed = apart.transpose(1, 2).reshape(1, 2, 500, 2)
    assert gaussian_entropy(mixed).mean() > gaussian_entropy(apart).mean() + 1


def test_the_gan_comes_to_make_the_behaviours_actions():
    config = ERTRLConfig(latent=1, noise=4, generator_width=32, discriminator_width=32)
    gan = BehaviourGAN(seed_generators((0,), "test"), 1, 1, config)
    optimiser = torch.optim.Adam(gan.parameters(), lr=2e-3, betas=(0.5, 0.9))
    rng = np.random.default_rng(0)
    for _ in range(800):
        z = torch.as_tensor(rng.integers(2, size=(1, 2, 64, 1)), dtype=torch.float32)
        known = torch.cat([torch.zeros_like(z), z], dim=-1)
        actions = 0.5 * (2 * z - 1) + 0.1 * torch.as_tensor(rng.standard_normal(z.shape), dtype=torch.float32)
        optimiser.zero_grad()
        torch.stack(gan.losses(known, actions)).sum().backward()
        optimiser.step()
    with torch.no_grad():
        means = [gan(torch.tensor([0.0, z]).expand(1, 1, 400, 2)).mean().item() for z in (0.0, 1.0)]
    assert means == pytest.approx([-0.5, 0.5], abs=0.2)
