"""DORA: contrast and moving keys by loops, windows, and the running belief beside the encoder."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from omrl_bench.baselines.dora import WINDOW, Dora, DoraConfig, WindowEncoder, distortion, moved
from omrl_bench.baselines.networks import take_seed
from omrl_bench.baselines.pearl import kl_divergence
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, T, C, Z, F = 2, 5, 6, 3, 7


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def test_distortion_is_a_softmax_over_distances_to_all_keys():
    z, keys, own = random(R, C, Z), random(R, T, Z, seed=1), torch.tensor([[0, 0, 4, 4, 2, 1], [3, 3, 1, 1, 0, 4]])
    found = distortion(z, keys, own, radius=2.0)
    for r in range(R):
        total = 0.0
        for c in range(C):
            weights = [math.exp(-float((z[r, c] - k).square().sum()) / 2.0) for k in keys[r]]
            total -= math.log(weights[own[r, c]] / sum(weights)) / C
        assert found[r].item() == pytest.approx(total)


def test_keys_of_the_drawn_tasks_move_and_the_others_rest():
    keys, z, tasks = random(R, T, Z), random(R, C, Z, seed=1), torch.tensor([[4, 0, 2], [1, 3, 0]])
    after = moved(keys, z, tasks, 0.1)
    for r in range(R):
        for task in range(T):
            expected = keys[r, task]
            if task in tasks[r]:
                place = tasks[r].tolist().index(task)
                expected = 0.9 * expected + 0.1 * z[r, 2 * place : 2 * place + 2].mean(dim=0)
            torch.testing.assert_close(after[r, task], expected)


@pytest.fixture
def encoder():
    return WindowEncoder(seed_generators(range(R), "test"), F, DoraConfig(width=8, latent=Z)).double()


def test_z_is_the_mean_over_windows_and_padding_does_not_count(encoder):
    lengths, n = [[20, 8], [3, 17]], 20
    context, valid = random(R, 2, n, F), torch.zeros(R, 2, n, dtype=torch.bool)
    for r in range(R):
        for c in range(2):
            valid[r, c, : lengths[r][c]] = True
    found = encoder(torch.where(valid[..., None], context, 50.0), valid)
    for r in range(R):
        single = take_seed(encoder, r)
        for c in range(2):
            steps = context[r : r + 1, c : c + 1, : lengths[r][c]]
            means = [single.posterior(part)[0][0, 0] for part in torch.split(steps, WINDOW, dim=2)]
            torch.testing.assert_close(found[r, c], torch.stack(means).mean(dim=0))


def test_loss_is_distortion_and_weighted_divergence(make, data_for, monkeypatch):
    method = make(Dora, radius=2.0, debias_weight=0.3)
    method.build((0, 1), Scale.of(data_for(Dora), method.space))
    batches = Batches(data_for(Dora), method.scale, method.space, seed_generators((0, 1), "data"))
    drawn, draw = [], method.draw
    monkeypatch.setattr(method, "draw", lambda *given: drawn.append((given[1], draw(*given))) or drawn[-1][1])
    loss = method.representation_loss(batches)
    (_, (first, _, _)), (labels, (z, mean, variance)) = drawn  # the keys that it starts with, then its own windows
    assert first.shape[1] == 30 and labels.shape == (2, 16 * method.config.windows)
    expected = distortion(z, first.detach(), torch.as_tensor(labels), 2.0) + 0.3 * kl_divergence(mean, variance)
    torch.testing.assert_close(loss, expected.sum())
    assert not method.keys.requires_grad
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in method.encoder.parameters())


def test_the_running_belief_is_that_of_the_encoder_on_all_steps_so_far(fit, contexts):
    """From the prior, and lane 2 ends early."""
    context, _ = contexts
    method = fit(Dora, (3,), 2, 20)
    policy = method.policy(3)
    policy.reset(8)
    length, ended = 21, 10
    valid = np.ones((8, length), bool)
    valid[2, ended:] = False
    seen = replace(context, **{k: v[:, :length] for k, v in vars(context).items() if k != "descriptors"})
    seen = replace(seen, valid=valid)
    for step in range(length):
        cut = {k: v[:, step : step + 1] for k, v in vars(seen).items() if k != "descriptors"}
        policy.observe(replace(seen, **cut))
        so_far = {k: v[:, : step + 1] for k, v in vars(seen).items() if k != "descriptors"}
        expected = method.inference(0)(replace(seen, **so_far))
        np.testing.assert_allclose(policy.representation(), expected.detach().numpy(), atol=1e-5)
    policy.condition(seen)
    np.testing.assert_allclose(policy.representation(), expected.detach().numpy(), atol=1e-5)


def test_training_brings_windows_nearer_to_their_tasks_key(make, data_for):
    method, data = make(Dora), data_for(Dora)
    method.build((0,), Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators((0,), "data"))
    losses = []

    def log(stage, step, total):
        with torch.no_grad():
            labels = np.repeat(np.arange(30), 4)[None]
            z = method.draw(batches.drawn_by(seed_generators((7,), "other")), labels)[1]
            losses.append(distortion(z, method.keys, torch.as_tensor(labels), method.config.radius).item())

    method.train_representation(batches, 250, log)
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) - 0.5
