"""MBML: relabelling, triplet and distillation against loops, and that only confident pairs count."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from omrl_bench.baselines.dynamics_ensemble import DynamicsEnsemble
from omrl_bench.baselines.mbml import MBML, by_task, divergence, relabel, triplet_loss
from omrl_bench.baselines.pearl import product
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, T, N, Z, S, A = 2, 3, 6, 4, 2, 2
F = 2 * S + A + 1


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture
def models():
    return DynamicsEnsemble(seed_generators(range(R), "test"), T, 3, S, A, 8).double()


def test_relabelling_keeps_only_what_the_ensemble_is_sure_of(models):
    """Every member by itself; a delta between the deviations, so that both answers occur."""
    transitions = random(R, T, N, F)
    inputs = transitions[..., : S + A]
    each = models.members(inputs[:, :, None].expand(-1, -1, 3, -1, -1)).detach()
    spread = each.numpy().std(axis=2)
    delta = float(np.median(np.maximum(spread[..., 0], spread[..., 1:].mean(axis=-1))))
    relabelled, sure = relabel(models, transitions, S + A, delta)
    assert 0 < sure.sum() < sure.numel()
    for r in range(R):
        for i in range(T):
            for n in range(N):
                expected = spread[r, i, n, 0] < delta and spread[r, i, n, 1:].mean() < delta
                assert bool(sure[r, i, n]) == expected
                label = each[r, i, :, n].mean(dim=0)
                found = relabelled[r, i, n]
                assert torch.equal(found[: S + A], transitions[r, i, n, : S + A])
                torch.testing.assert_close(found[S + A], label[0])
                torch.testing.assert_close(found[S + A + 1 :], transitions[r, i, n, :S] + label[1:])
    nothing = relabel(models, transitions, S + A, 0.0)[1]
    assert not nothing.any()


def gaussians(seed):
    return random(R, T, Z, seed=seed), random(R, T, Z, seed=seed + 1).exp()


def test_triplet_is_the_mean_over_the_pairs_of_which_something_was_relabelled():
    moved, own, other = gaussians(1), gaussians(3), gaussians(5)
    some = torch.tensor([[True, False, True], [False, False, False]])
    found = triplet_loss(moved, own, other, some, 2.0)
    terms = []
    for i in (0, 2):
        p, q, rival = (Normal(mean[0, i], variance[0, i].sqrt()) for mean, variance in (moved, own, other))
        terms.append(max(float((kl_divergence(p, q) - kl_divergence(p, rival)).sum()) + 2.0, 0.0))
    assert found[0].item() == pytest.approx(np.mean(terms))
    assert found[1] == 0
    torch.testing.assert_close(divergence(own, own), torch.zeros(R, T, dtype=torch.float64))


@pytest.fixture
def method(make, data_for):
    """After a moment of the first stages."""
    method = make(MBML, latent=Z, transitions=N, delta=0.3)
    method.build((0, 1), Scale.of(data_for(MBML), method.space))
    method.train_representation(batches_of(method, data_for), 20, lambda stage, step, total: None)
    return method


def batches_of(method, data_for):
    return Batches(data_for(MBML), method.scale, method.space, seed_generators((0, 1), "data"))


def test_contexts_hold_own_transitions_and_those_of_another_task_that_are_sure(method, data_for):
    batches = batches_of(method, data_for)
    own = batches.at(batches.rows(np.tile(np.arange(30), (2, 1)), N).reshape(2, 30, N))
    shifts = [4, 29]
    with torch.no_grad():
        mean, variance, loss = method.posteriors(own, shifts)
    total, count = [0.0, 0.0], [0, 0]
    for r in range(2):
        others = own[r].roll(-shifts[r], dims=0)
        assert torch.equal(others[0], own[r, shifts[r]])
        both = torch.stack([others, others])
        relabelled, sure = (x[r] for x in relabel(method.models, both, 4, 0.3))
        for i in range(30):

            def q(*parts, r=r):
                context = torch.cat(parts)[None, None].expand(2, -1, -1, -1)
                with torch.no_grad():
                    return [x[r, 0] for x in method.encoder.posterior(context)]

            kept = sure[i]
            expected = q(own[r, i], relabelled[i][kept])
            torch.testing.assert_close(mean[r, i], expected[0], rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(variance[r, i], expected[1], rtol=1e-3, atol=1e-5)
            if kept.any():
                p, first, second = (
                    Normal(m, v.sqrt()) for m, v in (q(relabelled[i][kept]), q(own[r, i][kept]), q(others[i][kept]))
                )
                total[r] += max(float((kl_divergence(p, first) - kl_divergence(p, second)).sum()) + 2.0, 0.0)
                count[r] += 1
    assert all(each > 0 for each in count)
    expected = [value / each for value, each in zip(total, count, strict=True)]
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-3)


def test_teachers_teach_their_own_task(method, data_for):
    batches = batches_of(method, data_for)
    batch = batches.transitions(batches.rows(np.tile(np.arange(30), (2, 1)), 3))
    u = random(2, 90, 4).float()
    q, made, moves = method.teach(batch, u)
    for r, task, k in ((0, 0, 0), (1, 7, 2), (1, 29, 1)):
        b, seed = 3 * task + k, 30 * r + task
        s, a = batch.observations[r, b], batch.actions[r, b]

        def network(module, x, seed=seed):
            layers = [layer for layer in module.layers if hasattr(layer, "weight")]
            for layer in layers[:-1]:
                x = torch.relu(layer.weight[seed].T @ x + layer.bias[seed, 0])
            return layers[-1].weight[seed].T @ x + layers[-1].bias[seed, 0]

        proposer = method.teachers.proposer
        torch.testing.assert_close(q[r, b], network(method.teachers.critics, torch.cat([s, a]))[0])
        decoded = torch.tanh(network(proposer.decoder, torch.cat([s, u[r, b]])))
        torch.testing.assert_close(made[r, b], decoded)
        torch.testing.assert_close(moves[r, b], torch.tanh(network(proposer.perturbation, torch.cat([s, decoded]))))


def test_by_task_puts_the_tasks_into_the_leading_axis(method, data_for):
    batches = batches_of(method, data_for)
    batch = batches.transitions(batches.rows(np.tile(np.arange(30), (2, 1)), 3))
    found = by_task(batch, 30)
    assert found.rewards.shape == (60, 3)
    assert torch.equal(found.observations[30 + 4, 1], batch.observations[1, 13])


def test_distillation_brings_the_student_to_its_teachers(method, data_for):
    batches, errors = batches_of(method, data_for), []
    batch = batches.transitions(batches.rows(np.tile(np.arange(30), (2, 1)), 16))
    method.backbone.teach = method.teach

    def log(stage, step, total):
        method.backbone.rngs = seed_generators((0, 1), "the same")
        with torch.no_grad():
            z = method.tried.z[:, :: 64 // 30][:, :30].repeat_interleave(16, dim=1)
            if step < total:
                errors.append(method.backbone.loss(batch, z).item())

    method.train_policy(batches, 100, log)
    assert errors[-1] < 0.5 * errors[0]
    assert not hasattr(method, "teachers") and not hasattr(method.backbone, "teach")


def test_the_product_of_gaussians():
    mean, precision = random(1, 1, 5, Z), random(1, 1, 5, Z, seed=1).exp()
    valid = torch.tensor([[[True, False, True, True, False]]])
    found = product(mean, precision, valid)
    kept = [0, 2, 3]
    variance = 1 / precision[0, 0, kept].sum(dim=0)
    torch.testing.assert_close(found[1][0, 0], variance)
    torch.testing.assert_close(found[0][0, 0], variance * (precision[0, 0, kept] * mean[0, 0, kept]).sum(dim=0))
