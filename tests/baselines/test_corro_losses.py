"""CORRO's InfoNCE, its generators of negatives and its weighted sum against loops; what trains what."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from omrl_bench.baselines.corro import CorroConfig, CorroCVAE, CorroNoise, ScoredEncoder, TransitionCVAE
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.training import Batches, Scale, seed_generators

SEEDS = (0, 1)
R, B, K, F = 2, 3, 4, 7
BOTH = (CorroCVAE, CorroNoise)


@pytest.fixture
def built(make, data_for):
    def construct(cls, **settings):
        data, method = data_for(cls), make(cls, **settings)
        method.build(SEEDS, Scale.of(data, method.space))
        return method, Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))

    return construct


@pytest.fixture
def cvae():
    config = CorroConfig(generator_width=8, generator_latent=3)
    return TransitionCVAE(seed_generators(SEEDS, "test"), 4, 3, config).double()


def noise(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def stages(monkeypatch, cls):
    """The encoder as built, and as it enters the policy's stage."""
    seen = []
    original = cls.train_representation

    def watched(self, batches, updates, log):
        seen.append(state(self.encoder))
        original(self, batches, updates, log)
        seen.append(state(self.encoder))

    monkeypatch.setattr(cls, "train_representation", watched)
    return seen


def test_contrastive_loss_is_infonce(built):
    method, _ = built(CorroNoise, temperature=0.3)
    method.encoder.double()
    anchors, positives, negatives = noise(R, B, F), noise(R, B, F, seed=1), noise(R, B, K, F, seed=2)
    losses = method.contrastive_loss(anchors, positives, negatives)

    def embed(r, x):
        raw = method.encoder.transition(x.expand(R, 1, -1))[r, 0].tolist()
        length = math.sqrt(sum(v * v for v in raw))
        return [v / length for v in raw]

    def score(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / 0.3)

    for r in range(R):
        total = 0.0
        for b in range(B):
            anchor = embed(r, anchors[r, b])
            positive = score(anchor, embed(r, positives[r, b]))
            others = sum(score(anchor, embed(r, negatives[r, b, k])) for k in range(K))
            total -= math.log(positive / (positive + others))
        assert losses[r].item() == pytest.approx(total / B)


def test_negatives_that_are_the_positive_leave_chance(built):
    method, _ = built(CorroNoise)
    anchors, positives = noise(R, B, F).float(), noise(R, B, F, seed=1).float()
    loss = method.contrastive_loss(anchors, positives, positives[:, :, None].expand(-1, -1, K, -1))
    torch.testing.assert_close(loss, torch.full((R,), math.log(K + 1)))


def test_embeddings_are_of_unit_length(built):
    method, _ = built(CorroNoise)
    length = method.encoder.embed(noise(R, B, K, F).float()).norm(dim=-1)
    torch.testing.assert_close(length, torch.ones(R, B, K))


@pytest.mark.parametrize("cls", BOTH)
def test_a_pair_is_of_one_task_and_all_tasks_of_a_meta_batch_give_equally_many(built, cls):
    method, batches = built(cls)
    rows = len(batches.features)
    batches.features = torch.arange(rows, dtype=torch.float32)[:, None].expand(-1, F)
    pairs = torch.stack(method.draw_pairs(batches))[..., 0].numpy()
    assert pairs.shape == (2, R, 64)
    tasks = np.searchsorted(batches.data.task_offsets, pairs, side="right") - 1
    np.testing.assert_array_equal(tasks[0], tasks[1])
    assert (pairs[0] != pairs[1]).mean() > 0.95
    for r in range(R):
        assert np.unique(tasks[0, r], return_counts=True)[1].tolist() == [4] * 16


@pytest.mark.parametrize("cls", BOTH)
def test_negatives_share_the_anchors_state_and_action_and_differ_otherwise(built, cls):
    method, batches = built(cls)
    anchors, _ = method.draw_pairs(batches)
    negatives = method.negatives(anchors)
    assert negatives.shape == (R, 64, 16, F)
    assert not negatives.requires_grad
    assert torch.equal(negatives[..., :4], anchors[:, :, None, :4].expand(-1, -1, 16, -1))
    rewards = negatives[..., 4]
    assert (rewards != anchors[:, :, None, 4]).all()
    assert len(rewards.unique()) > 0.99 * rewards.numel()


def test_noise_is_on_the_standardised_reward_alone(built):
    method, batches = built(CorroNoise, noise=0.5)
    anchors, _ = method.draw_pairs(batches)
    before = anchors.clone()
    difference = torch.cat([method.negatives(anchors) - anchors[:, :, None] for _ in range(20)], dim=2)
    assert torch.equal(anchors, before)
    assert difference[..., [0, 1, 2, 3, 5, 6]].abs().max() == 0
    assert difference[..., 4].mean().item() == pytest.approx(0, abs=0.01)
    assert difference[..., 4].std().item() == pytest.approx(0.5, rel=0.02)


def test_cvae_negatives_are_decoded_from_the_prior(built, monkeypatch):
    method, batches = built(CorroCVAE)
    anchors, _ = method.draw_pairs(batches)
    drawn = []
    decode = TransitionCVAE.decode
    monkeypatch.setattr(TransitionCVAE, "decode", lambda self, known, u: drawn.append(u) or decode(self, known, u))
    negatives = method.negatives(anchors)
    assert drawn[0].shape == (R, 64, 16, 5)
    assert drawn[0].mean().item() == pytest.approx(0, abs=0.05)
    assert drawn[0].std().item() == pytest.approx(1, abs=0.05)
    label = decode(method.generator, negatives[..., :4], drawn[0])
    torch.testing.assert_close(negatives[..., 4], label[..., 0])
    torch.testing.assert_close(negatives[..., 5:] - negatives[..., :2], label[..., 1:])


def test_cvae_loss_is_the_negative_elbo(cvae):
    known, label, epsilon = noise(R, B, 4), noise(R, B, 3, seed=1), noise(R, B, 3, seed=2)
    losses = cvae.loss(known, label, epsilon, 0.2)
    for r in range(R):
        total = 0.0
        for b in range(B):
            x = torch.cat([known[r, b], label[r, b]]).expand(R, 1, -1)
            out = cvae.posterior(x)[r, 0].tolist()
            mean, deviation = out[:3], [math.exp(0.5 * v) for v in out[3:]]
            u = [m + d * e for m, d, e in zip(mean, deviation, epsilon[r, b].tolist(), strict=True)]
            decoded = cvae.decoder(torch.tensor([*known[r, b].tolist(), *u]).double().expand(R, 1, -1))[r, 0].tolist()
            total += sum((p - y) ** 2 for p, y in zip(decoded, label[r, b].tolist(), strict=True))
            posterior = Normal(torch.tensor(mean).double(), torch.tensor(deviation).double())
            total += 0.2 * kl_divergence(posterior, Normal(0.0, 1.0)).sum().item()
        assert losses[r].item() == pytest.approx(total / B, rel=1e-6)


def test_cvae_kl_vanishes_at_the_prior(cvae):
    with torch.no_grad():
        for parameter in cvae.posterior[-1].parameters():
            parameter.zero_()
    known, label, epsilon = noise(R, B, 4), noise(R, B, 3, seed=1), noise(R, B, 3, seed=2)
    torch.testing.assert_close(cvae.loss(known, label, epsilon, 0.0), cvae.loss(known, label, epsilon, 5.0))


def test_cvae_trains_both_of_its_networks(cvae):
    cvae.loss(noise(R, B, 4), noise(R, B, 3, seed=1), noise(R, B, 3, seed=2), 0.2).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in cvae.parameters())


def test_cvae_sees_all_training_tasks_rewards_at_a_state(fit, monkeypatch):
    """After a little training the prior's labels spread about as the tasks' do, around their mean."""
    method = fit(CorroCVAE, SEEDS, updates=1, encoder_updates=400, generator_share=1.0, learning_rate=3e-3)
    known = torch.zeros(2, 1, 4)
    anchors = torch.cat([known, torch.zeros(2, 1, 3)], dim=-1).expand(-1, 200, -1)
    rewards = method.negatives(anchors)[..., 4]
    assert rewards.std(dim=(1, 2)).min() > 0.1
    assert rewards.abs().max() < 5


@pytest.fixture
def scored():
    config = CorroConfig(width=8, latent=3)
    return ScoredEncoder(seed_generators(SEEDS, "test"), F, config).double()


@pytest.mark.parametrize("masked", [False, True])
def test_z_is_the_softmax_weighted_sum_in_standard_units(scored, masked):
    with torch.no_grad():
        scored.centre.copy_(noise(R, 1, 3, seed=3))
        scored.spread.copy_(noise(R, 1, 3, seed=4).abs() + 0.1)
    centre, spread = scored.centre.tolist(), scored.spread.tolist()
    context = noise(R, B, 5, F)
    valid = torch.ones(R, B, 5, dtype=torch.bool)
    if masked:
        valid[0, 1, 2:] = False
        valid[1, 0, 0] = False
    z = scored(context, valid if masked else None)
    embedded = scored.embed(context).detach()
    weight, bias = scored.score.weight, scored.score.bias
    for r in range(R):
        for c in range(B):
            terms = []
            for n in range(5):
                if valid[r, c, n]:
                    e = embedded[r, c, n].tolist()
                    terms.append((math.exp(sum(e[i] * weight[r, i, 0].item() for i in range(3)) + bias[r].item()), e))
            total = sum(w for w, _ in terms)
            summed = [sum(w * e[i] for w, e in terms) / total for i in range(3)]
            expected = [(summed[i] - centre[r][0][i]) / spread[r][0][i] for i in range(3)]
            np.testing.assert_allclose(z[r, c].detach(), expected)


def test_equal_scores_give_the_mean(scored):
    with torch.no_grad():
        scored.score.weight.zero_()
    context = noise(R, B, 5, F)
    torch.testing.assert_close(scored(context), scored.embed(context).mean(dim=-2))


def test_standardised_means_of_contexts_have_mean_0_and_deviation_1(scored):
    with torch.no_grad():
        scored.score.weight.zero_()
    context = noise(R, 50, 5, F) + noise(R, 50, 1, F, seed=1)
    scored.standardise(context)
    z = scored(context)
    torch.testing.assert_close(z.mean(dim=1), torch.zeros(R, 3).double())
    torch.testing.assert_close(z.std(dim=1), torch.ones(R, 3).double(), rtol=0.05, atol=0)


@pytest.mark.parametrize("cls", BOTH)
def test_z_is_standardised_on_training_contexts_after_stage_one(fit, data_for, cls):
    method = fit(cls, SEEDS, updates=0, encoder_updates=10)
    data = data_for(cls)
    batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "fresh"))
    episodes = data.sample_episodes(batches.rngs, np.tile(np.arange(30), (2, 20)))
    with torch.no_grad():
        method.encoder.score.weight.zero_()
        z = method.encoder(batches.contexts(episodes, method.config.transitions))
    assert z.mean(dim=1).abs().max() < 0.3
    assert z.std(dim=1).min() > 0.7
    assert z.std(dim=1).max() < 1.3


def test_z_does_not_depend_on_the_order_and_an_empty_context_gives_zero(scored):
    context = noise(R, B, 5, F)
    order = torch.as_tensor(np.random.default_rng(1).permutation(5))
    torch.testing.assert_close(scored(context[:, :, order]), scored(context))
    assert scored(context, torch.zeros(R, B, 5, dtype=torch.bool)).abs().max() == 0


@pytest.mark.parametrize("cls", BOTH)
def test_stage_one_trains_the_transition_encoder_and_stage_two_the_score(fit, monkeypatch, cls):
    seen = stages(monkeypatch, cls)
    method = fit(cls, SEEDS, updates=2, encoder_updates=5)
    names = set(seen[0])
    score = {"score.weight", "score.bias"}
    before, after = seen
    assert {n for n in names if not torch.equal(before[n], after[n])} == names - score
    assert changed(after, method.encoder) == {"score.weight"}


@pytest.mark.parametrize("cls", BOTH)
def test_only_the_critics_loss_trains_the_score(fit, monkeypatch, cls):
    monkeypatch.setattr(IQL, "critic_loss", lambda self, batch, z, next_value: torch.zeros(2))
    seen = stages(monkeypatch, cls)
    method = fit(cls, SEEDS, updates=3, encoder_updates=2)
    assert changed(seen[1], method.encoder) == set()


def test_cvae_is_trained_in_its_share_and_then_left_alone(fit, monkeypatch):
    calls, seen = [], []
    original = CorroCVAE.contrastive_loss

    def contrastive_loss(self, anchors, positives, negatives):
        seen.append(state(self.generator))
        return original(self, anchors, positives, negatives)

    monkeypatch.setattr(CorroCVAE, "contrastive_loss", contrastive_loss)
    method = fit(CorroCVAE, SEEDS, updates=3, encoder_updates=10, log=lambda *call: calls.append(call))
    assert len(seen) == 8  # 10 less a share of 0.2
    assert changed(seen[0], method.generator) == set()
    stage_one = [("representation", k + 1, 10) for k in range(10)]
    assert calls == stage_one + [("policy", k + 1, 3) for k in range(3)]


def test_noise_takes_no_share(fit, monkeypatch):
    calls, seen = [], []
    original = CorroNoise.contrastive_loss
    monkeypatch.setattr(CorroNoise, "contrastive_loss", lambda *args: seen.append(1) or original(*args))
    fit(CorroNoise, SEEDS, updates=1, encoder_updates=10, log=lambda *call: calls.append(call))
    assert len(seen) == 10
    assert calls == [("representation", k + 1, 10) for k in range(10)] + [("policy", 1, 1)]


@pytest.mark.parametrize("cls", BOTH)
def test_one_task_trains_to_finite_weights(fit, data_for, cls):
    data = data_for(cls)
    data.tasks, data.task_offsets = data.tasks[4:5], data.task_offsets[[0, -1]]
    data.task_episodes = data.task_episodes[[0, -1]]
    method = fit(cls, SEEDS, updates=2, encoder_updates=5, data=data)
    assert all(p.isfinite().all() for module in method.modules().values() for p in module.parameters())


def test_the_papers_values():
    config = CorroConfig()
    assert (config.temperature, config.anchors, config.negatives) == (0.1, 64, 16)
    assert (config.noise, CorroConfig.PRESETS["paper"]["noise"]) == (4.0, 0.5)
    assert (config.kl_weight, config.generator_latent, config.generator_batch) == (0.2, 5, 128)
