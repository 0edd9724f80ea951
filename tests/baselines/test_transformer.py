"""The transformer trunk: its equations, who sees whom, and a cache that changes nothing."""

import numpy as np
import pytest
import torch

from omrl_bench.baselines.networks import take_seed
from omrl_bench.baselines.training import seed_generators
from omrl_bench.baselines.transformer import Cache, SeedEmbedding, Transformer, causal, normal

SEEDS, LANES, LENGTH, WIDTH, HEADS = (3, 8), 4, 7, 16, 2


@pytest.fixture
def trunk():
    return Transformer(seed_generators(SEEDS, "trunk"), WIDTH, 2, HEADS)


@pytest.fixture
def tokens():
    return torch.from_numpy(
        np.random.default_rng(0).standard_normal((len(SEEDS), LANES, LENGTH, WIDTH), dtype=np.float32)
    )


@pytest.fixture
def valid():
    """Every token, but for some of two lanes; none of lane 3 but the last."""
    mask = np.ones((LANES, LENGTH), bool)
    mask[1, 2:4] = mask[2, 0] = mask[3, :-1] = False
    return mask


def everyone(valid):
    return torch.from_numpy(valid).expand(len(SEEDS), -1, -1)


def slowly(trunk, tokens, valid):
    """The file's equations, token by token, head by head, in double precision."""
    out = np.zeros(tokens.shape)
    for r in range(tokens.shape[0]):
        for lane in range(tokens.shape[1]):
            x = tokens[r, lane].double().numpy()
            for block in trunk.blocks:
                w_in, b_in, w_out, b_out = (
                    p[r].detach().double().numpy()
                    for p in (block.enter.weight, block.enter.bias, block.leave.weight, block.leave.bias)
                )
                inner = unit(x) @ w_in + b_in
                size = WIDTH // (2 * HEADS)
                attended = np.zeros((len(x), HEADS * size))
                for head in range(HEADS):
                    q, k, v = (inner[:, part * HEADS * size + head * size :][:, :size] for part in range(3))
                    for i in range(len(x)):
                        seen = [j for j in range(i + 1) if valid[lane, j] or j == i]
                        scores = np.exp([q[i] @ k[j] / np.sqrt(size) for j in seen])
                        attended[i, head * size :][:size] = (scores / scores.sum()) @ v[seen]
                hidden = np.maximum(inner[:, 3 * HEADS * size :], 0)
                x = x + np.concatenate([attended, hidden], axis=1) @ w_out + b_out
            out[r, lane] = unit(x)
    return out


def unit(x):
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def test_it_is_what_its_equations_say(trunk, tokens, valid):
    found = trunk(tokens, causal(everyone(valid)))
    np.testing.assert_allclose(found.detach().numpy(), slowly(trunk, tokens, valid), atol=2e-5)


def test_no_token_sees_its_future(trunk, tokens):
    sees = causal(torch.ones(len(SEEDS), LANES, LENGTH, dtype=torch.bool))
    before = trunk(tokens, sees)
    for changed in range(LENGTH):
        other = tokens.clone()
        other[:, :, changed, ::2] += 3  # a shift of the whole token would be normalised away
        difference = (trunk(other, sees) - before).abs().amax(dim=(0, 1, 3))
        assert (difference[:changed] == 0).all()
        assert (difference[changed:] > 1e-4).all()


def test_no_token_that_is_not_valid_is_seen(trunk, tokens, valid):
    sees = causal(everyone(valid))
    other = torch.where(everyone(valid)[..., None], tokens, torch.full((), 7.0))
    difference = (trunk(other, sees) - trunk(tokens, sees)).abs().amax(dim=(0, 3)).detach().numpy()
    assert (difference[valid] < 1e-6).all()
    assert (difference[~valid] > 1e-4).all()  # itself it does see


def test_mask_says_who_sees_whom():
    found = causal(torch.tensor([True, False, True, True]))
    assert found.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]


@pytest.mark.parametrize("parts", [[7], [1] * 7, [2, 3, 1, 1]])
def test_with_a_cache_it_is_the_same(trunk, tokens, valid, parts):
    """Whatever the tokens come in."""
    expected = trunk(tokens, causal(everyone(valid)))
    for index in range(len(SEEDS)):
        single = take_seed(trunk, index)
        cache, found, first = Cache(single, LANES, LENGTH), [], 0
        for count in parts:
            stop = first + count
            given = tokens[index : index + 1, :, first:stop]
            found.append(single.extend(given, valid[:, first:stop], cache, count))
            first = stop
        assert cache.length == LENGTH
        np.testing.assert_allclose(torch.cat(found, dim=2)[0], expected[index].detach(), atol=1e-5)


def test_tokens_that_are_not_kept_leave_no_trace(trunk, tokens, valid):
    single = take_seed(trunk, 0)

    def last(asked):
        cache = Cache(single, LANES, LENGTH + 1)
        single.extend(tokens[:1, :, :4], valid[:, :4], cache, 4)
        for _ in range(asked):
            single.extend(torch.randn(1, LANES, 2, WIDTH, generator=generator), np.ones((LANES, 2), bool), cache, 0)
        return single.extend(tokens[:1, :, 4:], valid[:, 4:], cache, 3)

    generator = torch.Generator().manual_seed(0)
    np.testing.assert_allclose(last(0), last(3), atol=1e-6)


def test_a_truncated_cache_is_that_of_the_first_tokens(trunk, tokens, valid):
    single, caches = take_seed(trunk, 1), []
    for seen in (3, 6):
        cache = Cache(single, LANES, LENGTH)
        single.extend(tokens[1:, :, :seen], valid[:, :seen], cache, seen)
        cache.truncate(3)
        caches.append(single.extend(tokens[1:, :, 6:], valid[:, 6:], cache, 1))
    np.testing.assert_array_equal(*caches)


def test_weights_of_the_last_token_are_a_distribution_over_what_it_sees(trunk, tokens, valid):
    single, cache = take_seed(trunk, 0), None
    cache = Cache(single, LANES, LENGTH)
    single.extend(tokens[:1], valid, cache, LENGTH)
    weights = cache.weights[:, :, -1].numpy()
    assert weights.shape == (LANES, HEADS, LENGTH)
    np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-5)
    assert (weights[~np.broadcast_to(valid[:, None], weights.shape)] == 0).all()


def test_seeds_are_apart(trunk, tokens):
    """A seed's numbers, and gradients, do not depend on the others."""
    sees = causal(torch.ones(len(SEEDS), LANES, LENGTH, dtype=torch.bool))
    alone = Transformer(seed_generators(SEEDS[1:], "trunk"), WIDTH, 2, HEADS)
    together = trunk(tokens, sees)
    np.testing.assert_allclose(together[1:].detach(), alone(tokens[1:], sees[1:]).detach(), atol=1e-6)
    together[0].square().sum().backward()
    for parameter in trunk.parameters():
        assert (parameter.grad[1] == 0).all() and (parameter.grad[0] != 0).any()


def test_embeddings_are_rows_of_each_seeds_table():
    table = SeedEmbedding(seed_generators(SEEDS, "table"), 5, 3)
    index = torch.tensor([[[0, 4]], [[2, 2]]])
    found = table(index)
    for r in range(2):
        assert torch.equal(found[r, 0], table.weight[r][index[r, 0]])
    found.sum().backward()
    assert table.weight.grad[1, 2].tolist() == [2, 2, 2] and table.weight.grad[1].sum() == 6


def test_heads_divide_half_the_width():
    with pytest.raises(ValueError, match="3 heads do not divide half a width of 16"):
        Transformer(seed_generators(SEEDS, "trunk"), 16, 1, 3)


def test_normal_is_mean_0_and_deviation_1():
    x = 4 + 3 * torch.arange(12.0).reshape(2, 6)
    np.testing.assert_allclose(normal(x), unit(x.double().numpy()), atol=1e-5)
