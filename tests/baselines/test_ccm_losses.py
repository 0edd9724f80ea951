"""CCM's contrast and predictions against loops, the keys that follow, and what trains the encoder."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget
from omrl_bench.baselines.ccm import (
    Contrast,
    ContrastiveDPConfig,
    ContrastiveDynamicsPrediction,
    ContrastiveValueRecovery,
    DPConfig,
    DynamicsPrediction,
    PredictiveEncoder,
    ValueRecovery,
)
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.networks import SeedLinear, mlp
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, M, N, L, FEATURES = 3, 4, 5, 3, 7
CONTRASTIVE = (ContrastiveValueRecovery, ContrastiveDynamicsPrediction)


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture
def contrast():
    """In double precision, with a W that is neither the identity nor symmetric."""
    rngs = seed_generators((0, 1, 2), "test")
    module = Contrast(rngs, mlp(rngs, FEATURES, 6, L), L, torch.tanh).double()
    with torch.no_grad():
        module.similarity.add_(random(R, L, L, seed=9))
    return module


@pytest.fixture
def built(make, data_for):
    """A method of two seeds as built, with its batches."""

    def run(cls, **settings):
        seeds, data, method = (0, 1), data_for(cls), make(cls, **settings)
        method.build(seeds, Scale.of(data, method.space))
        return method, Batches(data, method.scale, method.space, seed_generators(seeds, "data"))

    return run


def info_nce(query, keys, own, weight):
    """Eq. 3 of one query, by loops over components and keys."""
    size = len(query)
    scores = [sum(query[a] * weight[a][b] * k[b] for a in range(size) for b in range(size)) for k in keys]
    return -math.log(math.exp(scores[own]) / sum(math.exp(score) for score in scores))


def test_contrast_is_equation_3(contrast):
    z, keys, own = random(R, 6, L, seed=1), random(R, M, L, seed=2), torch.tensor([0, 3, 1, 1, 2, 0])
    losses = contrast.losses(z, keys, own)
    for r in range(R):
        weight = contrast.similarity[r].tolist()
        for c in range(6):
            expected = info_nce(z[r, c].tolist(), keys[r].tolist(), int(own[c]), weight)
            assert losses[r, c].item() == pytest.approx(expected)


def test_loss_pairs_every_query_with_the_key_of_its_place(contrast):
    z, keys = random(R, M, L, seed=1), random(R, M, L, seed=2)
    weights = contrast.similarity.tolist()
    expected = [
        sum(info_nce(z[r, c].tolist(), keys[r].tolist(), c, weights[r]) for c in range(M)) / M for r in range(R)
    ]
    torch.testing.assert_close(contrast.loss(z, keys), torch.tensor(expected).double())
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(contrast.loss(z[:, order], keys[:, order]), contrast.loss(z, keys))


def test_an_empty_belief_says_nothing(contrast):
    losses = contrast.losses(torch.zeros(R, 2, L).double(), random(R, M, L), torch.tensor([0, 2]))
    torch.testing.assert_close(losses, torch.full((R, 2), math.log(M)).double())


def test_similarity_starts_as_the_dot_product():
    rngs = seed_generators((0, 1), "test")
    contrast = Contrast(rngs, mlp(rngs, FEATURES, L), L, torch.tanh)
    z, keys = random(2, M, L).float(), random(2, M, L, seed=1).float()
    expected = torch.nn.functional.cross_entropy((z @ keys.mT).flatten(0, 1), torch.arange(M).repeat(2))
    torch.testing.assert_close(contrast.loss(z, keys).mean(), expected)


def test_gradients_of_the_contrast_reach_queries_and_similarity_but_not_keys(contrast):
    context = random(R, M, N, FEATURES).requires_grad_()
    z = random(R, M, L, seed=1).requires_grad_()
    keys = contrast.keys(context)
    assert not keys.requires_grad
    contrast.loss(z, keys).sum().backward()
    assert context.grad is None
    assert z.grad.abs().min() > 0
    assert contrast.similarity.grad.abs().min() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in contrast.key.parameters())


@pytest.mark.parametrize("cls", CONTRASTIVE)
def test_keys_start_as_the_queries(built, cls):
    method, batches = built(cls)
    context = batches.contexts(np.array([[0, 50], [7, 200]]), N)
    keys = method.encoder.contrast.keys(context)
    torch.testing.assert_close(keys, method.encoder(context))


@pytest.mark.parametrize("cls", CONTRASTIVE)
def test_keys_follow_by_a_moving_average_after_every_update(make, data_for, cls):
    """Of the pre-training, and of the policy's training where the encoder is trained there."""
    method, seen = make(cls, key_rate=0.3), []

    def log(stage, step, total):
        encoder = method.encoder
        pairs = zip(encoder.transition.parameters(), encoder.contrast.key.parameters(), strict=True)
        seen.append([(query.detach().clone(), key.clone()) for query, key in pairs])

    method.fit(data_for(cls), Budget(3, 3), (0, 1), log)
    updates = 6 if cls is ContrastiveValueRecovery else 3
    for before, after in pairwise(seen[:updates]):
        for (_, old), (query, key) in zip(before, after, strict=True):
            assert not torch.equal(query, key)
            torch.testing.assert_close(key, 0.7 * old + 0.3 * query)


@pytest.fixture
def predictive():
    encoder = PredictiveEncoder(seed_generators((0, 1, 2), "test"), FEATURES, 2, DPConfig(latent=L, width=8)).double()
    assert encoder.prediction_loss(random(R, M, L), random(R, M, N, FEATURES)).shape == (R,)
    return encoder


def test_an_embedding_that_is_to_predict_has_no_bounds(predictive):
    """A tanh there was saturated before the task mattered, and `dp` no better than `task-blind` on cheetah-vel."""
    context = 100 * random(R, M, N, FEATURES)
    for seed in range(R):
        transition = network(predictive.transition, seed)
        for task in range(M):
            expected = np.mean([transition(row) for row in context[seed, task]], axis=0)
            np.testing.assert_allclose(predictive(context)[seed, task].detach(), expected)
    assert predictive(context).abs().max() > 1


def network(module, seed):
    """One seed's network as a function of a vector."""
    layers = [layer for layer in module if isinstance(layer, SeedLinear)]

    def forward(x):
        for number, layer in enumerate(layers):
            x = layer.weight[seed].T @ x + layer.bias[seed, 0]
            x = x.clamp(min=0) if number < len(layers) - 1 else x
        return x.tolist()

    return forward


def test_prediction_loss_is_the_mean_squared_error_forward_and_backward(predictive):
    z, transitions = random(R, M, L, seed=1), random(R, M, N, FEATURES, seed=2)
    loss = predictive.prediction_loss(z, transitions)
    for r in range(R):
        forward, backward = network(predictive.forward_model, r), network(predictive.backward_model, r)
        errors = []
        for c in range(M):
            for n in range(N):
                s, a, reward, following = transitions[r, c, n].split([2, 2, 1, 2])
                target = [*(following - s).tolist(), reward.item()]
                guess = forward(torch.cat([s, a, z[r, c]]))
                errors += [(x - y) ** 2 for x, y in zip(guess, target, strict=True)]
                target = [*(s - following).tolist(), reward.item()]
                guess = backward(torch.cat([following, a, z[r, c]]))
                errors += [(x - y) ** 2 for x, y in zip(guess, target, strict=True)]
        assert loss[r].item() == pytest.approx(2 * sum(errors) / len(errors))


def test_prediction_trains_the_embedding_and_both_models(predictive):
    z = random(R, M, L).requires_grad_()
    predictive.prediction_loss(z, random(R, M, N, FEATURES, seed=2)).sum().backward()
    assert z.grad.abs().min() > 0
    for model in (predictive.forward_model, predictive.backward_model):
        assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("cls", [DynamicsPrediction, ContrastiveDynamicsPrediction])
def test_predicted_transitions_and_contexts_are_of_the_same_tasks(built, cls, monkeypatch):
    """Rewards that name the task, as contexts show them."""
    method, batches = built(cls)
    names = np.repeat(np.arange(30), np.diff(batches.data.task_offsets)).astype(np.float32)
    batches.features[:, 4] = torch.as_tensor(names)
    contexts, told = [], []
    draw = Batches.contexts
    monkeypatch.setattr(Batches, "contexts", lambda self, e, n: contexts.append(draw(self, e, n)) or contexts[-1])
    predict = PredictiveEncoder.prediction_loss
    monkeypatch.setattr(
        PredictiveEncoder, "prediction_loss", lambda self, z, rows: told.append(rows) or predict(self, z, rows)
    )
    method.representation_loss(batches)
    assert len(contexts) == (2 if cls is ContrastiveDynamicsPrediction else 1)
    tasks = contexts[0][..., 0, 4]
    assert told[0].shape == (2, 16, 32, FEATURES)
    for drawn in (*contexts, *told):
        assert torch.equal(drawn[..., 4], tasks[..., None].expand_as(drawn[..., 4]))
    if len(contexts) == 2:  # independent draws
        assert not torch.equal(contexts[0], contexts[1])


def test_loss_with_contrast_is_the_weighted_sum(built, monkeypatch):
    method, batches = built(ContrastiveDynamicsPrediction, contrastive_weight=10.0)
    monkeypatch.setattr(PredictiveEncoder, "prediction_loss", lambda self, z, rows: torch.full((2,), 3.0))
    monkeypatch.setattr(Contrast, "loss", lambda self, z, keys: torch.full((2,), 5.0))
    assert method.representation_loss(batches).item() == 2 * (3 + 10 * 5)
    method, batches = built(ContrastiveValueRecovery, contrastive_weight=10.0)
    assert method.sample(torch.zeros(2, 8, N, FEATURES))[1].tolist() == [50, 50]


def test_queries_and_keys_are_two_draws_of_the_same_tasks(built):
    method, batches = built(ContrastiveValueRecovery)
    names = np.repeat(np.arange(30), np.diff(batches.data.task_offsets)).astype(np.float32)
    batches.features[:, 4] = torch.as_tensor(names)
    tasks = batches.tasks(16)
    context = method.draw_contexts(batches, tasks)
    assert context.shape == (2, 32, 32, FEATURES)
    np.testing.assert_array_equal(context[..., 4], np.tile(tasks, 2)[..., None].repeat(32, axis=2))
    queries, keys = context.chunk(2, dim=1)
    assert not torch.equal(queries, keys)
    z, penalty = method.sample(context)
    torch.testing.assert_close(z, method.encoder(queries))
    contrast = method.encoder.contrast
    torch.testing.assert_close(penalty, 10 * contrast.loss(z, contrast.keys(keys)))


def changed(method, fresh):
    pairs = zip(method.encoder.named_parameters(), fresh.encoder.parameters(), strict=True)
    return {name.split(".")[0] for (name, one), other in pairs if not torch.equal(one, other)}


@pytest.mark.parametrize(
    ("cls", "critics", "expected"),
    [
        (ValueRecovery, True, {"transition"}),
        (ValueRecovery, False, set()),
        (ContrastiveValueRecovery, True, {"transition", "contrast"}),
        (ContrastiveValueRecovery, False, {"transition", "contrast"}),
    ],
)
def test_what_trains_the_encoder_beside_the_policy(fit, built, monkeypatch, cls, critics, expected):
    """The critics' loss and the contrast: value and policy losses do not."""
    fresh, _ = built(cls)
    if not critics:
        monkeypatch.setattr(IQL, "critic_loss", lambda self, batch, z, next_value: torch.zeros(2))
    method = fit(cls, seeds=(0, 1), updates=3, encoder_updates=0)
    assert changed(method, fresh) == expected


def test_critics_reach_the_contrasted_encoder(built):
    """With the contrast's weight 0, what is left is the critics' gradient."""
    method, batches = built(ContrastiveValueRecovery, contrastive_weight=0.0)
    z, penalty = method.sample(method.draw_contexts(batches, batches.tasks(16)))
    batch = batches.transitions(batches.rows(batches.tasks(16), 1))
    critics_z, policy_z = method.views(z)
    loss = method.backbone.loss(batch, critics_z, policy_z=policy_z) + penalty.sum()
    gradients = torch.autograd.grad(loss, list(method.encoder.transition.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_pre_training_is_by_contrast_alone_and_value_recovery_has_none(fit, built):
    for cls, expected in ((ContrastiveValueRecovery, {"transition", "contrast"}), (ValueRecovery, set())):
        fresh, _ = built(cls)
        method = fit(cls, seeds=(0, 1), updates=0, encoder_updates=3)
        assert changed(method, fresh) == expected
        weights = zip(method.backbone.parameters(), fresh.backbone.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in weights)


@pytest.mark.parametrize("cls", [DynamicsPrediction, ContrastiveDynamicsPrediction])
def test_predicting_encoders_are_frozen_under_the_backbone(fit, built, cls):
    fresh, _ = built(cls)
    assert changed(fit(cls, seeds=(0, 1), updates=3, encoder_updates=0), fresh) == set()
    trained = changed(fit(cls, seeds=(0, 1), updates=0, encoder_updates=3), fresh)
    assert trained == {"transition", "forward_model", "backward_model"} | (
        {"contrast"} if cls in CONTRASTIVE else set()
    )


def test_defaults_are_the_papers():
    config = ContrastiveDPConfig()
    assert (config.latent, config.contrastive_weight, config.key_rate) == (7, 10.0, 0.005)


def test_pre_training_tells_tasks_apart(fit, data_for):
    """The contrast of fresh draws falls below log M, where it starts."""
    losses = []
    for updates in (0, 150):
        method = fit(ContrastiveValueRecovery, seeds=(0,), updates=0, encoder_updates=updates, key_rate=0.05)
        data, contrast = data_for(ContrastiveValueRecovery), method.encoder.contrast
        batches = Batches(data, method.scale, method.space, seed_generators((9,), "data"))
        with torch.no_grad():
            draws = [batches.contexts(data.sample_episodes(batches.rngs, np.arange(30)[None]), 32) for _ in range(20)]
            pairs = zip(draws[::2], draws[1::2], strict=True)
            losses.append(np.mean([contrast.loss(method.encoder(q), contrast.keys(k)).item() for q, k in pairs]))
    assert losses[0] == pytest.approx(math.log(30), abs=0.05)
    assert losses[1] < losses[0] - 0.15
