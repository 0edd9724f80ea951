"""Estimators against closed forms and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean

from omrl_bench.stats.estimators import iqm, mean

matrices = arrays(
    float,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-1e3, 1e3),
)
ESTIMATORS = (mean, iqm)


def test_closed_forms():
    scores = np.array([[0.0, 40.0], [20.0, 240.0]])
    assert mean(scores) == 75
    assert iqm(scores) == 30  # of 0, 20, 40, 240 the middle half is 20, 40


def test_iqm_drops_outliers_the_mean_follows():
    scores = np.full((5, 8), 50.0)
    scores[0, 0] = 1e6
    assert iqm(scores) == 50
    assert mean(scores) > 1000


@given(matrices)
def test_iqm_is_scipys_trimmed_mean_of_all_runs(scores):
    assert iqm(scores) == pytest.approx(trim_mean(scores, 0.25, axis=None), abs=1e-9)


@given(matrices, st.floats(-100, 100))
def test_shift_equivariance_and_bounds(scores, shift):
    for estimator in ESTIMATORS:
        assert estimator(scores + shift) == pytest.approx(estimator(scores) + shift, abs=1e-9)
        assert scores.min() - 1e-9 <= estimator(scores) <= scores.max() + 1e-9


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (4, 6)])
def test_leading_axes_are_a_loop(estimator, shape):
    batch = np.random.default_rng(0).normal(50, 40, (3, 2, *shape))
    looped = [[float(estimator(batch[i, j])) for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(estimator(batch), looped, rtol=1e-12)
