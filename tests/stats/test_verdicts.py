"""Verdicts and their correction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.stats.contrasts import Contrast
from omrl_bench.stats.verdicts import holm, judge


def verdicts(*contrasts, tested=None, **options):
    found = [Contrast(estimate, error**2, 8.0) for estimate, error in contrasts]
    return [each.verdict for each in judge(found, tested or [True] * len(found), **options)]


def test_four_verdicts():
    assert verdicts((20, 3), (-20, 3), (1, 1), (6, 6)) == ["higher", "lower", "equivalent", "undecided"]


def test_a_difference_comes_before_equivalence():
    """3 points that are beyond doubt are a difference, though a small one."""
    assert verdicts((3, 0.1)) == ["higher"] and verdicts((-3, 0.1)) == ["lower"]


def test_without_a_margin_nothing_is_equivalent():
    assert verdicts((0, 0.1), margin=None) == ["undecided"]
    assert verdicts((0.0, 0.1), margin=0.05) == ["undecided"]


def test_what_is_judged_together_is_corrected_together():
    clear, none = (3, 1), (0, 30)  # p = 0.017, p = 1
    assert verdicts(clear) == ["higher"]
    assert verdicts(clear, none, none, none) == ["undecided"] * 4
    assert verdicts(clear, none, none, none, tested=[True, False, False, False])[0] == "higher"
    near = (1, 1.6)  # p of equivalence 0.018
    assert verdicts(near) == ["equivalent"]
    assert verdicts(near, none, none, none)[0] == "undecided"


def test_what_is_not_tested_has_an_interval_and_no_p_value():
    (found,) = judge([Contrast(20.0, 1.0, 8.0)], [False])
    assert found.low < 20 < found.high and found.detectable > 0 and found.verdict == "undecided"
    assert all(map(math.isnan, (found.p_value, found.p_holm, found.p_equivalent)))
    (found,) = judge([Contrast(20.0, math.nan, 0.0)], [True])  # a single seed
    assert found.verdict == "undecided" and math.isnan(found.p_value) and math.isnan(found.low)
    assert judge([], []) == []


def test_of_many_differences_that_are_none_few_are_ever_found():
    """The chance of any false difference among ten, and of any false equivalence among ten that differ by 5."""
    rng = np.random.default_rng(0)
    wrong = np.zeros(2)
    for _ in range(400):
        for index, (truth, verdict) in enumerate(((0.0, ("higher", "lower")), (5.0, ("equivalent",)))):
            errors = np.sqrt(rng.chisquare(8, 10) / 8)
            found = verdicts(*zip(truth + rng.normal(size=10), errors, strict=True))
            wrong[index] += bool(set(found) & set(verdict))
    assert (wrong / 400 < 0.08).all()


def test_holm_closed_form():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.6])), [1, 1])
    np.testing.assert_allclose(holm(np.array([0.04, np.nan, 0.01])), [0.04, np.nan, 0.02])
    assert holm(np.array([0.2])) == [0.2]
    assert holm(np.array([])).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_holm_laws(p_values, random):
    adjusted = holm(np.array(p_values))
    bonferroni = np.minimum(1, len(p_values) * np.array(p_values))
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= bonferroni + 1e-12).all()
    assert adjusted.min() == pytest.approx(bonferroni.min())
    order = list(range(len(p_values)))
    random.shuffle(order)
    np.testing.assert_allclose(holm(np.array(p_values)[order]), adjusted[order])
