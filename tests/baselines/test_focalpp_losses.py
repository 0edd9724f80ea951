"""FOCAL++: the contrastive loss and both attentions against loops, the key encoder, what a block is made of."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from omrl_bench.baselines import focalpp
from omrl_bench.baselines.focalpp import (
    AttentiveEncoder,
    BatchWise,
    BatchWiseAttention,
    Contrastive,
    FeedForward,
    FocalPPConfig,
    Parallel,
    Residual,
    SequenceWise,
    SequenceWiseAttention,
    Series,
)
from omrl_bench.baselines.networks import SeedLayerNorm, take_seed
from omrl_bench.baselines.training import Batches, Scale, seed_generators

VARIANTS = (Contrastive, BatchWise, SequenceWise, Parallel, Series)
R, T, N, WIDTH, FEATURES = 3, 4, 5, 8, 7
SMALL = FocalPPConfig(latent=6, width=WIDTH, feed_forward=5, heads=2, reduction=4)


def rngs(seeds=(4, 0, 9)):
    return seed_generators(seeds, "test")


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def ragged_mask():
    valid = torch.ones(R, 2, N, dtype=torch.bool)
    valid[0, 0, 3:] = False
    valid[1, 1, 0] = False
    valid[2, 0, 1:] = False
    return valid


def built(make, data_for, cls, seeds=(0, 1), **settings):
    method, data = make(cls, **settings), data_for(cls)
    method.build(seeds, Scale.of(data, method.space))
    return method, Batches(data, method.scale, method.space, seed_generators(seeds, "data"))


def linear(layer, r, x):
    return (x @ layer.weight[r] + layer.bias[r, 0]).detach()


# the loss


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_contrastive_loss_is_equation_8_over_the_number_of_tasks(make, temperature):
    method = make(Contrastive, temperature=temperature)
    queries, keys = random(R, T, 6), random(R, T, 6, seed=1)
    expected = []
    for r in range(R):
        total = 0.0
        for i in range(T):
            products = [sum(float(a * b) for a, b in zip(queries[r, i], keys[r, j], strict=True)) for j in range(T)]
            scores = [math.exp(product / temperature) for product in products]
            total -= math.log(scores[i] / sum(scores))
        expected.append(total / T)
    torch.testing.assert_close(method.contrastive_loss(queries, keys), torch.tensor(expected, dtype=torch.float64))


def test_a_single_task_has_no_contrast(make):
    assert make(Contrastive).contrastive_loss(random(R, 1, 6), random(R, 1, 6, seed=1)).abs().max() == 0


def test_tasks_that_look_alike_lose_the_logarithm_of_their_number(make):
    keys = random(R, 1, 6).expand(R, T, 6)
    loss = make(Contrastive).contrastive_loss(random(R, T, 6, seed=1), keys)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(T)))


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(T)), seed=st.integers(0, 1000))
def test_order_of_the_tasks_does_not_matter(order, seed):
    method = object.__new__(Contrastive)
    method.config = FocalPPConfig()
    queries, keys = random(R, T, 6, seed=seed), random(R, T, 6, seed=seed + 1)
    loss = method.contrastive_loss(queries, keys)
    assert (loss >= 0).all()
    torch.testing.assert_close(method.contrastive_loss(queries[:, order], keys[:, order]), loss)


def test_loss_draws_a_query_and_a_key_context_of_the_same_tasks(make, data_for, monkeypatch):
    method, batches = built(make, data_for, Parallel)
    episodes, features, seen = [], [], {}

    def contexts(chosen, count):
        episodes.append(chosen)
        features.append(Batches.contexts(batches, chosen, count))
        return features[-1]

    def contrastive_loss(queries, keys):
        seen.update(queries=queries, keys=keys)
        return Contrastive.contrastive_loss(method, queries, keys)

    monkeypatch.setattr(batches, "contexts", contexts)
    monkeypatch.setattr(method, "contrastive_loss", contrastive_loss)
    with torch.no_grad():
        for parameter in method.key_encoder.parameters():
            parameter.mul_(0.9)
    loss = method.representation_loss(batches)
    task_of = np.repeat(np.arange(30), np.diff(batches.data.task_episodes))
    np.testing.assert_array_equal(task_of[episodes[0]], task_of[episodes[1]])
    assert [len(np.unique(row)) for row in task_of[episodes[0]]] == [16, 16]
    assert (episodes[0] != episodes[1]).mean() > 0.5
    assert features[0].shape == (2, 16, method.config.transitions, 7)
    torch.testing.assert_close(seen["queries"], method.encoder(features[0]))
    torch.testing.assert_close(seen["keys"], method.key_encoder(features[1]))
    torch.testing.assert_close(loss, method.contrastive_loss(seen["queries"], seen["keys"]).sum())


# the key encoder


@pytest.mark.parametrize("cls", VARIANTS)
def test_gradient_goes_through_the_queries_only(make, data_for, cls):
    method, batches = built(make, data_for, cls)
    method.representation_loss(batches).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in method.encoder.parameters())
    assert not any(parameter.requires_grad for parameter in method.key_encoder.parameters())
    assert all(parameter.grad is None for parameter in method.key_encoder.parameters())


def test_key_encoder_follows_as_equation_17_after_each_update(make, data_for):
    method, batches = built(make, data_for, Series, momentum=0.7)
    expected = [parameter.double() for parameter in method.key_encoder.parameters()]
    for key, query in zip(expected, method.encoder.parameters(), strict=True):
        assert torch.equal(key, query.detach().double())

    def log(stage, step, total):
        for number, query in enumerate(method.encoder.parameters()):
            expected[number] = 0.7 * expected[number] + 0.3 * query.detach().double()

    method.train_representation(batches, 4, log)
    for key, target, query in zip(method.key_encoder.parameters(), expected, method.encoder.parameters(), strict=True):
        torch.testing.assert_close(key.double(), target, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(key, query, atol=1e-5)


def test_without_momentum_the_update_is_hard_and_both_encoders_are_the_same(make, data_for):
    method, batches = built(make, data_for, Parallel, momentum=0.0)
    method.train_representation(batches, 3, lambda stage, step, total: None)
    for key, query in zip(method.key_encoder.parameters(), method.encoder.parameters(), strict=True):
        assert torch.equal(key, query)


def test_key_encoder_is_not_counted_and_the_policy_acts_on_queries(make, data_for):
    method, _ = built(make, data_for, Contrastive)
    assert set(method.modules()) == {"backbone", "encoder", "tried", "standard"}
    trained = sum(p.numel() for m in (method.encoder, method.backbone) for p in m.parameters() if p.requires_grad)
    assert method.parameter_count() == trained // 2


# attention


def test_batch_wise_attention_is_one_weight_per_transition():
    attention, x = BatchWiseAttention(rngs(), SMALL).double(), random(R, 2, N, WIDTH)
    assert attention.squeeze.weight.shape == (R, WIDTH, 2)  # narrower by `reduction`
    result = attention(x, None)
    for r in range(R):
        for c in range(2):
            for n in range(N):
                channels = torch.sigmoid(
                    linear(attention.excite, r, torch.tanh(linear(attention.squeeze, r, x[r, c, n])))
                )
                weight = sum(channels.tolist()) / WIDTH
                assert 0 < weight < 1
                torch.testing.assert_close(result[r, c, n], weight * x[r, c, n])


@pytest.mark.parametrize("cls", VARIANTS)
def test_attention_weights_are_the_mean_of_those_that_the_blocks_used(make, data_for, contexts, cls, monkeypatch):
    (context, _), (method, _) = contexts, built(make, data_for, cls)
    used, multiply = [], BatchWiseAttention.forward
    monkeypatch.setattr(
        BatchWiseAttention, "forward", lambda part, x, valid: used.append((part, x)) or multiply(part, x, valid)
    )
    with torch.no_grad():
        method.inference(1)(context)
    monkeypatch.undo()
    weights = method.attention_weights(1, context)
    if cls in (Contrastive, SequenceWise):
        assert weights is None
        return
    assert len(used) == method.config.blocks
    scaled = [(part(x, None) / x)[0].mean(dim=-1).detach() for part, x in used]
    np.testing.assert_allclose(weights, np.mean(scaled, axis=0), rtol=1e-4)
    assert weights.shape == context.valid.shape


@pytest.mark.parametrize("masked", [False, True])
def test_sequence_wise_attention_is_multi_head_softmax_over_the_context(masked):
    attention, x = SequenceWiseAttention(rngs(), SMALL).double(), random(R, 2, N, WIDTH)
    valid = ragged_mask() if masked else torch.ones(R, 2, N, dtype=torch.bool)
    result, head = attention(x, valid if masked else None), WIDTH // 2
    for r in range(R):
        for c in range(2):
            projected = linear(attention.enter, r, x[r, c])
            query, key, value = projected[:, :WIDTH], projected[:, WIDTH : 2 * WIDTH], projected[:, 2 * WIDTH :]
            members = [m for m in range(N) if valid[r, c, m]]
            for n in range(N):
                heads = []
                for h in (slice(0, head), slice(head, WIDTH)):
                    scores = [math.exp(float(query[n, h] @ key[m, h]) / math.sqrt(head)) for m in members]
                    heads.append(sum(s * value[m, h] for s, m in zip(scores, members, strict=True)) / sum(scores))
                torch.testing.assert_close(result[r, c, n], linear(attention.leave, r, torch.cat(heads)))


def test_a_sequence_of_length_1_is_a_linear_map_of_the_values():
    """The limit that eq. 6 always is in, by its reshape."""
    attention = SequenceWiseAttention(rngs(), SMALL).double()
    one, other = random(R, 2, 1, WIDTH), random(R, 2, 1, WIDTH, seed=1)
    zero = attention(torch.zeros(R, 2, 1, WIDTH).double(), None)
    mixed = attention(0.3 * one - 1.7 * other, None) - zero
    torch.testing.assert_close(mixed, 0.3 * (attention(one, None) - zero) - 1.7 * (attention(other, None) - zero))
    for r in range(R):
        value = linear(attention.enter, r, one[r])[..., 2 * WIDTH :]
        torch.testing.assert_close(attention(one, None)[r], linear(attention.leave, r, value))


def test_single_sequences_are_each_transition_by_itself():
    single = FocalPPConfig(width=WIDTH, heads=2, single_sequences=True)
    literal, whole = SequenceWiseAttention(rngs(), single).double(), SequenceWiseAttention(rngs(), SMALL).double()
    x = random(R, 2, N, WIDTH)
    apart = torch.cat([whole(x[:, :, n : n + 1], None) for n in range(N)], dim=2)
    torch.testing.assert_close(literal(x, ragged_mask()), apart)
    assert not torch.allclose(whole(x, None), apart)


def test_layer_norm_of_many_seeds_is_one_torch_layer_norm_per_seed():
    norm, x = SeedLayerNorm(rngs(), WIDTH).double(), 3 + 2 * random(R, 2, N, WIDTH)
    with torch.no_grad():
        norm.weight.copy_(random(R, 1, WIDTH, seed=1))
        norm.bias.copy_(random(R, 1, WIDTH, seed=2))
    for r in range(R):
        plain = nn.LayerNorm(WIDTH).double()
        plain.load_state_dict({"weight": norm.weight[r, 0], "bias": norm.bias[r, 0]})
        torch.testing.assert_close(norm(x)[r], plain(x[r]))


# blocks and encoders


def test_parallel_is_the_sum_of_both_branches():
    x, valid = random(R, 2, N, WIDTH), ragged_mask()
    part = Residual(rngs(), SMALL, Parallel.attention[0]).double()
    batch, sequence = part.parts
    assert (type(batch), type(sequence)) == (BatchWiseAttention, SequenceWiseAttention)
    normal = nn.functional.layer_norm(x, (WIDTH,))
    torch.testing.assert_close(part(x, valid), x + batch(normal, None) + sequence(normal, valid))


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Contrastive, [[FeedForward]]),
        (BatchWise, [[BatchWiseAttention], [FeedForward]]),
        (SequenceWise, [[SequenceWiseAttention], [FeedForward]]),
        (Parallel, [[BatchWiseAttention, SequenceWiseAttention], [FeedForward]]),
        (Series, [[SequenceWiseAttention], [BatchWiseAttention], [FeedForward]]),
    ],
)
def test_encoder_is_its_parts_one_after_the_other(cls, expected):
    """Series is sequence-wise, then batch-wise; every block ends with its feed-forward part."""
    encoder = AttentiveEncoder(rngs(), FEATURES, SMALL, cls.attention).double()
    context, valid = random(R, 2, N, FEATURES), ragged_mask()
    assert [[type(part) for part in residual.parts] for residual in encoder.residuals] == expected * SMALL.blocks
    for r in range(R):
        single = take_seed(encoder, r)
        x, mask = torch.tanh(linear(encoder.enter, r, context[r]))[None], valid[r : r + 1]
        for residual in single.residuals:
            normal = nn.functional.layer_norm(x, (WIDTH,))
            x = x + sum(part(normal, mask) for part in residual.parts)
        each = torch.tanh(linear(encoder.leave, r, x[0]))
        for c in range(2):
            rows = [each[c, n] for n in range(N) if valid[r, c, n]]
            torch.testing.assert_close(encoder(context, valid)[r, c], sum(rows) / len(rows))


@pytest.mark.parametrize("cls", VARIANTS)
def test_encoder_ignores_order_and_padding_and_other_contexts(cls):
    encoder = AttentiveEncoder(rngs(), FEATURES, SMALL, cls.attention).double()
    context, valid = random(R, 2, N, FEATURES), ragged_mask()
    z, order = encoder(context, valid), [3, 0, 4, 1, 2]
    torch.testing.assert_close(encoder(context[:, :, order], valid[:, :, order]), z)
    garbage = torch.where(valid[..., None], context, 100 * random(R, 2, N, FEATURES, seed=2))
    torch.testing.assert_close(encoder(garbage, valid), z)
    torch.testing.assert_close(z[:1, :1], take_seed(encoder, 0)(context[:1, :1, :3]))


@pytest.mark.parametrize("cls", VARIANTS)
def test_an_empty_context_has_the_prior_representation(cls):
    encoder = AttentiveEncoder(rngs(), FEATURES, SMALL, cls.attention).double()
    assert encoder(random(R, 2, N, FEATURES), torch.zeros(R, 2, N, dtype=torch.bool)).abs().max() == 0


def test_registered_names_are_the_papers_variants():
    names = [f"focalpp-{v}" for v in ("contrastive", "batch", "sequence", "parallel", "series")]
    assert list(focalpp.METHODS) == [*names, *(f"{name}-hard" for name in names)]
    assert [getattr(focalpp, focalpp.METHODS[name]) for name in names] == list(VARIANTS)


@pytest.mark.parametrize("cls", VARIANTS)
def test_a_hard_update_makes_the_key_encoder_the_encoder(cls, make, data_for):
    """Table 4: m = 0, and nothing else differs."""
    method, _ = built(make, data_for, getattr(focalpp, f"{cls.__name__}Hard"))
    soft = make(cls)
    assert asdict(method.config) == asdict(soft.config) | {"momentum": 0.0}
    assert method.attention == soft.attention
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(0.1)
    method.after_encoder_step()
    pairs = zip(method.encoder.parameters(), method.key_encoder.parameters(), strict=True)
    assert all(torch.equal(query, key) for query, key in pairs)


def test_preset_paper_is_table_7(make):
    config = make(Parallel, preset="paper", width=128).config
    assert (config.heads, config.reduction, config.blocks, config.feed_forward) == (8, 16, 3, 512)
    assert (config.temperature, config.momentum, config.latent) == (0.5, 0.9, 20)
    assert config.single_sequences
