"""The correction for few seeds and tasks against closed forms."""

import numpy as np
import pytest
from scipy import stats

from omrl_bench.stats.bootstrap import distribution, interval
from omrl_bench.stats.estimators import iqm
from omrl_bench.stats.small_samples import Correction, Part, correction_of, parts_of


def test_one_sample_is_hesterbergs_expansion():
    """One axis of n: sqrt(n / (n - 1)) t / z, whatever the variance."""
    correction = correction_of([Part(7.0, 5)])
    assert correction.widening == pytest.approx(np.sqrt(5 / 4))
    assert correction.degrees == pytest.approx(4)
    for level in (0.025, 0.005, 0.3, 0.9):
        expected = np.sqrt(5 / 4) * stats.t.ppf(level, 4) / stats.norm.ppf(level)
        assert correction.stretch(np.array(level)) == pytest.approx(expected)
    assert correction.stretch(np.array(0.5)) == pytest.approx(correction.stretch(np.array(0.499)), rel=1e-3)


def test_two_samples_are_satterthwaites_degrees():
    correction = correction_of([Part(4.0, 5), Part(1.0, 20)])
    assert correction.degrees == pytest.approx((4 + 1) ** 2 / (4**2 / 4 + 1**2 / 19))
    assert correction.widening == pytest.approx(np.sqrt(5 / (4 * 4 / 5 + 1 * 19 / 20)))


def test_what_does_not_vary_has_no_part_in_it():
    assert correction_of([]) is None
    assert correction_of([Part(0.0, 5), Part(0.0, 1)]) is None
    assert correction_of([Part(3.0, 5), Part(0.0, 20), Part(0.0, 1)]) == correction_of([Part(3.0, 5)])
    assert [part.variance for part in parts_of([np.ones((1, 1))])] == [0, 0]


def test_several_estimates_at_once_have_the_corrections_of_each_alone():
    """Also where one of them does not vary, though its resamples may."""
    scores = np.random.default_rng(1).normal(50, 20, (3, 4, 7))
    scores[1] = np.where(np.indices((4, 7)).sum(axis=0) % 2, 10, 60)[:, :1].repeat(7, axis=1).mean()
    together = correction_of(parts_of([scores]))
    tail = np.array(0.025)
    alone = [correction_of(parts_of([each])) for each in scores]
    assert alone[1] is None
    expected = [each.stretch(tail) if each else 1.0 for each in alone]
    np.testing.assert_allclose(together.stretch(tail), expected, rtol=1e-12)
    samples = np.random.default_rng(2).normal(size=(3, 500))
    ends = [interval(each, correction=correction) for each, correction in zip(samples, alone, strict=True)]
    np.testing.assert_allclose(np.transpose(interval(samples, correction=together)), ends, rtol=1e-9)


def test_parts_of_a_mean_are_variances_of_marginal_means():
    scores = np.random.default_rng(0).normal(50, 20, (4, 7))
    seeds, tasks = parts_of([scores])
    assert seeds == pytest.approx((scores.mean(axis=1).var(ddof=1) / 4, 4))
    assert tasks == pytest.approx((scores.mean(axis=0).var(ddof=1) / 7, 7))
    halves = parts_of([scores, scores])
    assert halves == [pytest.approx((part.variance / 4, part.size)) for part in (seeds, tasks, seeds, tasks)]


def test_parts_of_another_estimator_are_its_jackknife():
    scores = np.random.default_rng(1).normal(50, 20, (5, 6))
    without = [float(iqm(np.delete(scores, index, 0))) for index in range(5)]
    expected = 4 / 5 * sum((value - np.mean(without)) ** 2 for value in without)
    assert parts_of([scores], iqm)[0].variance == pytest.approx(expected)


def test_interval_of_the_mean_of_a_normal_sample_is_close_to_students():
    """Seeds only, where the right answer is known; the percentile interval is a third too short."""
    seeds = stats.norm.ppf((np.arange(5) + 0.5) / 5)[:, None]
    samples = distribution([seeds], seed=0, resamples=40_000)
    half = stats.t.ppf(0.975, 4) * seeds.std(ddof=1) / np.sqrt(5)
    low, high = interval(samples, correction=correction_of(parts_of([seeds])))
    assert (low, high) == pytest.approx((-half, half), rel=0.06)
    plain_low, plain_high = interval(samples)
    assert plain_high - plain_low < 0.7 * (high - low)


def test_no_widening_for_many():
    assert Correction(1.0, 1e9).stretch(np.array([0.025])) == pytest.approx(1, abs=1e-6)
