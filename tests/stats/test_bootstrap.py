"""The bootstrap against exhaustive enumeration, and its qualitative laws."""

import itertools

import numpy as np
import pytest

from omrl_bench.stats import estimators
from omrl_bench.stats.bootstrap import (
    distribution,
    estimate_of_counts,
    interval,
    seed_from,
    shared_counts,
)
from omrl_bench.stats.estimators import iqm, mean
from omrl_bench.stats.small_samples import correction_of, parts_of

TINY = np.array([[0.0, 10.0], [3.0, 50.0]])
OTHER = np.array([[1.0, 4.0], [9.0, 20.0]])
PAIRS = list(itertools.product(range(2), repeat=2))  # all resamples of two things


def enumerated(matrix, estimator=mean):
    return np.array([float(estimator(matrix[np.ix_(s, t)])) for s in PAIRS for t in PAIRS])


def width(samples):
    low, high = interval(samples)
    return high - low


def crossed(rng, seeds=8, tasks=20, seed_sd=5.0, task_sd=20.0, noise_sd=3.0):
    """Scores with a seed effect, a task effect and noise."""
    effects = rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, task_sd, (1, tasks))
    return 50 + effects + rng.normal(0, noise_sd, (seeds, tasks))


@pytest.mark.parametrize("estimator", [mean, iqm])
def test_agrees_with_all_resamples_of_two_seeds_and_two_tasks(estimator):
    exact = enumerated(TINY, estimator)
    sampled = distribution([TINY], seed=0, estimator=estimator, resamples=40_000)
    values, frequency = np.unique(exact, return_counts=True)
    found, sampled_frequency = np.unique(sampled, return_counts=True)
    np.testing.assert_allclose(found, values)
    np.testing.assert_allclose(sampled_frequency / 40_000, frequency / 16, atol=0.01)
    assert sampled.var() == pytest.approx(exact.var(), rel=0.03)
    assert interval(sampled) == (exact.min(), exact.max())
    # 20 % and 80 % lie inside a step of the sixteenths
    assert interval(sampled, 0.6) == tuple(np.percentile(exact, [20, 80], method="inverted_cdf"))


def test_families_are_resampled_on_their_own_and_averaged():
    exact = np.array([(a + b) / 2 for a in enumerated(TINY) for b in enumerated(OTHER)])
    sampled = distribution([TINY, OTHER], seed=2, resamples=40_000)
    assert sampled.mean() == pytest.approx(exact.mean(), abs=0.2)
    assert sampled.var() == pytest.approx(exact.var(), rel=0.03)
    assert set(np.round(sampled, 9)) <= set(np.round(exact, 9))


def test_families_weigh_the_same_whatever_their_number_of_tasks():
    small, large = np.full((2, 2), 10.0), np.full((5, 50), 90.0)
    np.testing.assert_allclose(distribution([small, large], seed=0, resamples=20), 50)


def test_two_way_is_wider_than_seeds_only_when_tasks_vary():
    scores = crossed(np.random.default_rng(3))
    seeds_only = distribution([scores.mean(axis=1, keepdims=True)], seed=0)
    tasks_only = distribution([scores.mean(axis=0, keepdims=True)], seed=0)
    both = distribution([scores], seed=0)
    assert width(both) > 2 * width(seeds_only)
    assert width(both) > width(tasks_only)


def test_two_way_equals_seeds_only_when_tasks_do_not_vary():
    seeds = np.random.default_rng(0).normal(50, 10, (6, 1))
    both = distribution([np.repeat(seeds, 7, axis=1)], seed=0)
    assert width(both) == pytest.approx(width(distribution([seeds], seed=0)), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_degenerate_shapes(shape):
    scores = np.arange(np.prod(shape), dtype=float).reshape(shape)
    low, high = interval(distribution([scores], seed=0, estimator=iqm, resamples=500))
    assert low <= mean(scores) <= high
    assert (low == high) == (scores.size == 1)


def test_chunks_do_not_change_the_result(monkeypatch):
    scores = crossed(np.random.default_rng(5))
    whole = distribution([scores], seed=7, estimator=iqm, resamples=1000)
    monkeypatch.setattr(estimators, "_CHUNK_ELEMENTS", 1000)
    parts = distribution([scores], seed=7, estimator=iqm, resamples=1000)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (3, 7), (10, 20)])
@pytest.mark.parametrize("estimator", [mean, iqm])
def test_estimates_of_counts_are_those_of_the_resampled_scores(estimator, shape):
    rng = np.random.default_rng(9)
    scores = rng.integers(8, size=shape).astype(float)  # with ties
    seeds, tasks = (rng.integers(size, size=(200, size)) for size in shape)
    expected = estimator(scores[seeds[:, :, None], tasks[:, None, :]])
    drawn = zip((seeds, tasks), shape, strict=True)
    counts = [(rows[:, :, None] == np.arange(size)).sum(axis=1).astype(float) for rows, size in drawn]
    np.testing.assert_allclose(estimate_of_counts(scores, *counts, estimator), expected, atol=1e-12)


def test_shared_counts_depend_on_label_and_names_alone():
    counts = shared_counts("a/seeds", (3, 5, 7), 500)
    assert counts.shape == (500, 3)
    assert (counts.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(counts, shared_counts("a/seeds", (3, 5, 7), 500))
    assert (counts != shared_counts("a/tasks", (3, 5, 7), 500)).any()
    assert (counts != shared_counts("a/seeds", (3, 5, 8), 500)).any()


def test_result_depends_on_the_seed_alone():
    scores = crossed(np.random.default_rng(6))
    np.random.seed(0)  # noqa: NPY002  (the global generator must not matter)
    first = distribution([scores], seed=1, resamples=50)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(first, distribution([scores], seed=1, resamples=50))
    assert not np.array_equal(first, distribution([scores], seed=2, resamples=50))


def test_seed_of_a_label_is_frozen():
    assert seed_from("123456789") == 0xCBF43926  # the check value of CRC-32
    assert seed_from("a/b") != seed_from("a/c")


@pytest.mark.parametrize(("seeds", "seed_sd"), [(10, 5.0), (5, 12.0), (3, 40.0)])
def test_coverage_for_crossed_effects(seeds, seed_sd):
    """The expanded interval holds the truth as often as it says; the plain one of three seeds does in 3 of 4 cases."""
    rng = np.random.default_rng(8)
    covered = np.zeros(2)
    for repeat in range(200):
        scores = crossed(rng, seeds=seeds, seed_sd=seed_sd)
        samples = distribution([scores], seed=repeat, resamples=500)
        for number, correction in enumerate((None, correction_of(parts_of([scores])))):
            low, high = interval(samples, correction=correction)
            covered[number] += low <= 50 <= high
    plain, expanded = covered / 200
    assert 0.91 <= expanded <= 0.99
    assert plain < expanded
    assert plain < 0.82 or seeds > 3


@pytest.mark.parametrize("matrices", [[], [np.zeros((0, 3))], [np.zeros(3)]])
def test_nothing_to_resample(matrices):
    with pytest.raises(ValueError, match=r"nothing|at least one"):
        distribution(matrices, seed=0)
