"""FOCAL's metric loss against loops over pairs, and what it is fed with."""

import numpy as np
import pytest
import torch

from omrl_bench.baselines import focal as focal_module
from omrl_bench.baselines.focal import Focal, metric_loss
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, C, D = 3, 8, 5
BETA, EPSILON = 2.5, 0.3


@pytest.fixture
def focal(make):
    return make(Focal, beta=BETA, epsilon=EPSILON)


def embeddings(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (R, C, D)))


def literal(z, labels):
    """The loss over all pairs i < j of one seed."""
    attraction, repulsion = [], []
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            squared = sum((float(z[i, k]) - float(z[j, k])) ** 2 for k in range(z.shape[1]))
            if labels[i] == labels[j]:
                attraction.append(squared)
            else:
                repulsion.append(BETA / (squared + EPSILON))
    return sum(attraction) / max(len(attraction), 1) + sum(repulsion) / max(len(repulsion), 1)


@pytest.mark.parametrize("seed", range(4))
def test_metric_loss_is_that_of_loops_over_pairs(seed):
    z = embeddings(seed)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (R, C)))
    expected = [literal(z[r], labels[r].tolist()) for r in range(R)]
    torch.testing.assert_close(metric_loss(z, labels, BETA, EPSILON), torch.tensor(expected, dtype=torch.float64))


def test_defaults_are_the_papers(make):
    config = make(Focal).config
    assert (config.beta, config.epsilon, config.latent) == (1.0, 0.1, 20)


def test_a_single_task_repels_nothing():
    z = embeddings()
    squared = torch.stack([torch.pdist(z[r]).square().mean() for r in range(R)])
    torch.testing.assert_close(metric_loss(z, torch.zeros(R, C, dtype=torch.long), BETA, EPSILON), squared)


def test_identical_positives_attract_nothing_and_coinciding_tasks_repel_most():
    labels = torch.tensor([[0, 0, 1, 1]])
    z = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]]).double()
    assert metric_loss(z, labels, BETA, EPSILON).item() == pytest.approx(2.5 / (25 + 0.3))
    assert metric_loss(torch.zeros(1, 4, 2), labels, BETA, EPSILON).item() == pytest.approx(2.5 / 0.3)


def test_all_tasks_different_attract_nothing():
    z = embeddings()
    expected = torch.stack([(2.5 / (torch.pdist(z[r]).square() + 0.3)).mean() for r in range(R)])
    torch.testing.assert_close(metric_loss(z, torch.arange(C).expand(R, C), BETA, EPSILON), expected)


def test_order_of_the_contexts_does_not_matter():
    z, labels = embeddings(), torch.tensor([0, 0, 1, 2, 2, 2, 3, 1]).expand(R, C)
    order = torch.from_numpy(np.random.default_rng(0).permutation(C))
    loss = metric_loss(z, labels, BETA, EPSILON)
    torch.testing.assert_close(metric_loss(z[:, order], labels[:, order], BETA, EPSILON), loss)


def test_gradient_is_that_of_finite_differences_even_where_contexts_coincide():
    labels = torch.tensor([[0, 0, 1, 1]])
    z = embeddings()[:1, :4].clone()
    z[0, 1] = z[0, 0]
    assert torch.autograd.gradcheck(lambda x: metric_loss(x, labels, BETA, EPSILON), z.requires_grad_())


def test_loss_draws_two_contexts_of_their_own_task_for_every_task_of_a_meta_batch(focal, data_for, monkeypatch):
    seeds = (0, 1)
    data = data_for(Focal)
    focal.build(seeds, Scale.of(data, focal.space))
    batches = Batches(data, focal.scale, focal.space, seed_generators(seeds, "data"))
    seen = {}

    def contexts(episodes, count):
        seen.update(episodes=episodes, features=Batches.contexts(batches, episodes, count))
        return seen["features"]

    def seen_loss(z, labels, beta, epsilon):
        seen.update(z=z, labels=labels)
        return metric_loss(z, labels, beta, epsilon)

    monkeypatch.setattr(batches, "contexts", contexts)
    monkeypatch.setattr(focal_module, "metric_loss", seen_loss)
    loss = focal.representation_loss(batches)
    labels = seen["labels"].numpy()
    for row in labels:
        assert len(row) == 32
        assert np.unique(row, return_counts=True)[1].tolist() == [2] * 16
    task_of = np.repeat(np.arange(30), np.diff(data.task_episodes))
    np.testing.assert_array_equal(task_of[seen["episodes"]], labels)
    assert seen["features"].shape[2] == focal.config.transitions
    torch.testing.assert_close(seen["z"], focal.encoder(seen["features"]))
    torch.testing.assert_close(loss, metric_loss(seen["z"], seen["labels"], BETA, EPSILON).sum())


def test_encoder_is_the_mean_of_bounded_transition_embeddings(focal, data_for):
    data = data_for(Focal)
    focal.build((0, 1), Scale.of(data, focal.space))
    context = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 5, 7))).float()
    each = torch.tanh(focal.encoder.transition(context))
    torch.testing.assert_close(focal.encoder(context), sum(each[:, :, n] for n in range(5)) / 5)
    assert focal.encoder(1e6 * context).abs().max() <= 1
