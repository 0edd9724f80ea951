"""Measures of a representation against loops over pairs, closed forms and limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from omrl_bench.stats.disentanglement import NAMES
from omrl_bench.stats.representation import (
    alignment,
    attention_by_reward,
    dimensions_in_use,
    effective_separation_rate,
    linear_probe,
    measures,
    root_mean_square,
    saturated_share,
    silhouette,
    uniformity,
)

TASKS = np.repeat(np.arange(4), 3)


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=(12, 5))


def pairs(embeddings, tasks, same):
    """Squared distances of all ordered pairs of contexts of the same task, of different tasks, or (None) of all."""
    return [
        float(((a - b) ** 2).sum())
        for i, (a, task) in enumerate(zip(embeddings, tasks, strict=True))
        for j, (b, other) in enumerate(zip(embeddings, tasks, strict=True))
        if i != j and (same is None or (task == other) == same)
    ]


def sphere(embeddings):
    return np.stack([row / math.sqrt(sum(row**2)) for row in embeddings])


def test_distances_equal_loops_over_pairs(embeddings):
    bounded = embeddings / np.abs(embeddings).max()
    apart = pairs(bounded, TASKS, same=False)
    assert root_mean_square(embeddings, TASKS) == pytest.approx(math.sqrt(sum(apart) / len(apart)))
    threshold = 2 * 5 / 3
    far = [squared > threshold for squared in apart]
    assert effective_separation_rate(embeddings, TASKS) == pytest.approx(sum(far) / len(far))
    assert 0 < sum(far) < len(far)  # else the rate would show nothing
    every = [math.exp(-2 * squared) for squared in pairs(sphere(embeddings), TASKS, None)]
    assert uniformity(embeddings) == pytest.approx(math.log(sum(every) / len(every)))
    close = pairs(sphere(embeddings), TASKS, same=True)
    assert alignment(embeddings, TASKS) == pytest.approx(sum(close) / len(close))


def test_uniform_points_are_as_far_apart_as_the_threshold_says():
    points = np.random.default_rng(1).uniform(-1, 1, (1500, 8))
    assert root_mean_square(points, np.arange(1500)) == pytest.approx(math.sqrt(2 * 8 / 3), rel=0.01)


def test_perfect_clusters():
    centers = np.random.default_rng(2).normal(size=(4, 3))
    perfect = centers[TASKS]
    assert alignment(perfect, TASKS) == pytest.approx(0, abs=1e-12)
    assert silhouette(perfect, TASKS) == pytest.approx(1)
    assert silhouette(perfect, np.roll(TASKS, 1)) < 1


def test_a_collapsed_encoder_looks_like_one():
    collapsed = 5 + 1e-6 * np.random.default_rng(3).normal(size=(12, 4))
    assert root_mean_square(collapsed, TASKS) < 1e-4
    assert effective_separation_rate(collapsed, TASKS) == 0
    assert uniformity(collapsed) == pytest.approx(0, abs=1e-6)


def test_dimensions_in_use_are_those_that_vary():
    rng = np.random.default_rng(3)
    embeddings = rng.normal(size=(200, 8)) * np.array([1, 1, 0.5, 0.2, 0.05, 0.01, 0, 0]) + 3
    assert dimensions_in_use(embeddings) == 4 / 8
    assert dimensions_in_use(np.ones((10, 3))) == 0


@given(st.integers(0, 50))
def test_the_saturated_share_counts_entries_near_the_ends(count):
    values = np.linspace(-0.9, 0.9, 50)
    values[:count] = np.where(np.arange(count) % 2, 0.96, -1.0)
    assert saturated_share(values.reshape(10, 5)) == count / 50
    assert math.isnan(saturated_share(1.5 * values.reshape(10, 5))) == bool(np.abs(1.5 * values).max() > 1)


def test_the_probe_finds_a_linear_map_and_nothing_in_noise():
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(6, 2))
    train, test = rng.normal(size=(200, 6)), rng.normal(size=(80, 6))
    tasks, noise = np.repeat(np.arange(20), 10), rng.normal(size=(200, 6))
    assert linear_probe(train, train @ weights + 1, tasks, test, test @ weights + 1) == pytest.approx(1, abs=1e-6)
    assert linear_probe(noise, train @ weights, tasks, rng.normal(size=(80, 6)), test @ weights) < 0.1


def test_the_probe_does_not_learn_few_tasks_by_heart():
    """Ten contexts of each task say the same: a penalty that is chosen over contexts would be none."""
    rng = np.random.default_rng(5)
    tasks = np.repeat(np.arange(8), 10)
    centers, targets = rng.normal(size=(8, 20)), rng.normal(size=(8, 1))
    train = centers[tasks] + 1e-3 * rng.normal(size=(80, 20))
    assert linear_probe(train, targets[tasks], tasks, rng.normal(size=(60, 20)), rng.normal(size=(60, 1))) > -3


@given(arrays(float, (12, 3), elements=st.floats(-5, 5).map(lambda x: round(x, 3))), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_no_measure_depends_on_the_encoders_scale(embeddings, factor):
    descriptors = np.arange(8.0).reshape(4, 2)
    one, other = (measures(e, TASKS, None, descriptors) for e in (embeddings, embeddings * factor))
    assert math.isnan(other.pop("saturated")) == bool(np.abs(embeddings * factor).max() > 1)
    for name in set(other) - {"separation", "dimensions"}:  # a pair, a deviation may lie exactly at its threshold
        value = one[name]
        assert other[name] == pytest.approx(value, abs=1e-6, nan_ok=True)


def test_attention_by_reward_is_spearmans_correlation_within_each_context():
    rng = np.random.default_rng(3)
    weights, rewards = rng.normal(size=(4, 9)), rng.integers(0, 3, size=(4, 9)).astype(float)
    valid = np.ones((4, 9), dtype=bool)
    valid[1, 6:] = False
    rewards[1, 6:] = 1000.0  # padding tells nothing
    rewards[3] = 0.0  # neither does a context of one reward
    expected = [spearmanr(w[v], r[v]).statistic for w, r, v in zip(weights[:3], rewards[:3], valid[:3], strict=True)]
    assert attention_by_reward(weights, rewards, valid) == pytest.approx(np.mean(expected))
    assert attention_by_reward(rewards, rewards, valid) == pytest.approx(1)
    assert math.isnan(attention_by_reward(weights[3:], rewards[3:], valid[3:]))


def test_what_is_not_defined_is_nan():
    one_task = measures(np.random.default_rng(0).normal(size=(5, 3)), np.zeros(5, int), None, np.ones((1, 1)))
    undefined = {name for name, value in one_task.items() if math.isnan(value)}
    assert undefined - {"saturated"} == {"rms", "separation", "silhouette", *NAMES}
    one_context_each = measures(np.random.default_rng(0).normal(size=(4, 3)), np.arange(4), None, np.ones((4, 1)))
    undefined = {name for name, value in one_context_each.items() if math.isnan(value)}
    assert undefined - {"saturated"} == {"alignment", "silhouette", *NAMES}
