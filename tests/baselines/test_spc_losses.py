"""SPC: quantisation, the loss of the latent model by loops, and what the backbone sees."""

import math

import numpy as np
import pytest
import torch

from omrl_bench.baselines.dora import distortion
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.networks import take_seed
from omrl_bench.baselines.spc import LEVELS, SPC, SPCConfig, WorldModel
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, C, H, S, A, Z = 2, 3, 4, 2, 2, 3
F = 2 * S + A + 1
CONFIG = SPCConfig(latent=Z, width=8, dimensions=2, model_width=8, decay=0.9, code_temperature=0.2)


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture
def model():
    model = WorldModel(seed_generators(range(R), "test"), (S, A), F, CONFIG).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(random(*parameter.shape, seed=number))
    return model


def level_values(d):
    count = LEVELS[d % len(LEVELS)]
    return [2 * i / (count - 1) - 1 for i in range(count)]


def nearest(d, x):
    return int(np.argmin([abs(math.tanh(x) - value) for value in level_values(d)]))


def test_every_dimension_takes_the_nearest_of_its_levels(model):
    raw = random(R, 50, 4)
    found, codes = model.quantise(raw), model.codes(raw)
    for d in range(4):
        for b in range(50):
            index = nearest(d, raw[1, b, d].item())
            assert codes[1, b, d] == index
            assert found[1, b, d].item() == pytest.approx(level_values(d)[index])
    assert {len(codes[..., d].unique()) for d in range(4)} == set(LEVELS)


def test_the_gradient_of_quantisation_is_that_of_tanh(model):
    raw = random(R, 5, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(model.quantise(raw).sum(), raw)
    torch.testing.assert_close(gradient, 1 - torch.tanh(raw.detach()) ** 2)


def network(layers, r):
    linear = [layer for layer in layers if hasattr(layer, "weight")]

    def forward(*vectors):
        x = torch.cat(vectors)
        for layer in linear[:-1]:
            x = torch.relu(layer.weight[r].T @ x + layer.bias[r, 0])
        return linear[-1].weight[r].T @ x + linear[-1].bias[r, 0]

    return forward


def test_the_loss_of_the_world_model_is_the_literal_one(model):
    segments, z = random(R, C, H, F, seed=1), random(R, C, Z, seed=2)
    found = model.rollout_loss(segments, z, CONFIG)
    for r in range(R):
        enter, slow, delta, reward = (network(part, r) for part in (model.enter, model.slow, model.delta, model.reward))
        total = 0.0
        for c in range(C):
            raw = enter(segments[r, c, 0, :S])
            for k in range(H):
                _, action, seen, following = segments[r, c, k].split((S, A, 1, S))
                latent = torch.tensor([level_values(d)[nearest(d, x)] for d, x in enumerate(raw.tolist())])
                error = (reward(latent, action, z[r, c]) - seen).square().item()
                raw = raw + delta(latent, action, z[r, c])
                entropy = 0.0
                for d, (x, target) in enumerate(zip(raw.tolist(), slow(following).tolist(), strict=True)):
                    weights = [math.exp(-((math.tanh(x) - value) ** 2) / 0.2) for value in level_values(d)]
                    entropy -= math.log(weights[nearest(d, target)] / sum(weights))
                total += 0.9**k * (entropy + error) / (C * H)
        assert found[r].item() == pytest.approx(total)


def test_the_world_model_trains_z_and_not_its_targets(model):
    z = random(R, C, Z, seed=2).requires_grad_()
    model.rollout_loss(random(R, C, H, F, seed=1), z, CONFIG).sum().backward()
    assert z.grad.abs().max() > 0
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"enter", "delta", "reward"}


@pytest.fixture
def method(make, data_for):
    method = make(SPC)
    method.build((0, 1), Scale.of(data_for(SPC), method.space))
    return method


def test_loss_is_that_of_the_world_model_and_the_contrast(method, data_for, monkeypatch):
    batches = Batches(data_for(SPC), method.scale, method.space, seed_generators((0, 1), "data"))
    drawn, draw_z, worlds, loss_of = [], method.draw_z, [], method.encoder.rollout_loss
    monkeypatch.setattr(method, "draw_z", lambda *given: drawn.append((given[1], draw_z(*given))) or drawn[-1][1])
    monkeypatch.setattr(
        method.encoder, "rollout_loss", lambda *given: worlds.append((given[1], loss_of(*given))) or worlds[-1][1]
    )
    loss = method.representation_loss(batches)
    (_, keys), (tasks, z) = drawn
    ((told, world),) = worlds
    assert torch.equal(told[:, ::4], z) and torch.equal(told[:, 3::4], z)
    torch.testing.assert_close(loss, (world + distortion(z, keys.detach(), torch.as_tensor(tasks), 1.0)).sum())


def test_the_backbone_learns_and_acts_on_latent_states(method, fit, data_for, contexts, monkeypatch):
    seen, loss = [], IQL.loss
    monkeypatch.setattr(IQL, "loss", lambda self, batch, *rest: seen.append(batch) or loss(self, batch, *rest))
    trained = fit(SPC, (0, 1), updates=2, encoder_updates=3)
    size = trained.seen_size
    assert all(batch.observations.shape[-1] == batch.next_observations.shape[-1] == size for batch in seen)
    assert len(seen[0].observations[..., 0].unique()) <= LEVELS[0]
    observations, z = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 5, 5)
    world = take_seed(trained.encoder, 1)
    expected = trained.backbone.actor(1)(world.states(observations), take_seed(trained.standard, 1)(z))
    torch.testing.assert_close(trained.actor(1)(observations, z), expected)


def test_training_teaches_the_model_to_predict(make, data_for):
    method, data, losses = make(SPC), data_for(SPC), []
    method.build((0,), Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators((0,), "data"))
    held = batches.drawn_by(seed_generators((7,), "other"))
    labels = np.arange(30)[None]
    segments, contexts = held.segments(held.episodes(labels), 5, 5), held.contexts(held.episodes(labels), 32)

    def log(stage, step, total):
        with torch.no_grad():
            z = method.encoder(contexts)
            losses.append(
                [method.encoder.rollout_loss(segments, x, method.config).item() for x in (z, z.roll(9, dims=1))]
            )

    method.train_representation(batches, 250, log)
    own, others = np.array(losses)[-10:].mean(axis=0)
    assert own < np.array(losses)[:5, 0].mean() - 1
    assert own < others - 0.1  # it makes use of z
