"""Both questions against SciPy, formulas written out, brute force and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from omrl_bench.stats.contrasts import (
    Contrast,
    Part,
    crossed,
    marginals,
    on_new_tasks,
    on_these_tasks,
    over_families,
    part_of,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(60, 9, (5, 7)) + RNG.normal(0, 6, (5, 1)), RNG.normal(50, 9, (4, 7))
numbers = st.floats(-200, 200).map(lambda value: round(value, 3))
matrices = st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(2, 6)).flatmap(
    lambda n: st.tuples(arrays(float, (n[0], n[2]), elements=numbers), arrays(float, (n[1], n[2]), elements=numbers))
)


def both(first, second):
    sides = marginals(first), marginals(second)
    return on_these_tasks(*sides), on_new_tasks(*sides)


def anova(x):
    """a, b and e of a matrix, by loops."""
    seeds, tasks = x.shape
    rows, columns = [np.mean(row) for row in x], [np.mean(column) for column in x.T]
    squares = sum(
        (x[s, t] - rows[s] - columns[t] + x.mean()) ** 2 for s, t in itertools.product(range(seeds), range(tasks))
    )
    mean_square = squares / ((seeds - 1) * (tasks - 1))
    return np.var(rows, ddof=1) / seeds, np.var(columns, ddof=1) / tasks, mean_square / (seeds * tasks)


def test_on_these_tasks_is_welchs_test_of_the_seeds_means():
    expected = stats.ttest_ind(FIRST.mean(axis=1), SECOND.mean(axis=1), equal_var=False)
    found = on_these_tasks(marginals(FIRST), marginals(SECOND))
    assert found.estimate == pytest.approx(FIRST.mean() - SECOND.mean())
    assert found.p_value() == pytest.approx(expected.pvalue)
    assert found.degrees == pytest.approx(expected.df)
    assert found.interval(0.9) == pytest.approx(tuple(expected.confidence_interval(0.9)))


def test_paired_seeds_are_one_sample_of_differences():
    first, second = FIRST[:4], SECOND
    expected = stats.ttest_rel(first.mean(axis=1), second.mean(axis=1))
    found = on_these_tasks(marginals(first - second))
    assert (found.p_value(), found.degrees) == (pytest.approx(expected.pvalue), 3)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_on_new_tasks_as_written_out():
    (a_first, _, e_first), (a_second, _, e_second) = anova(FIRST), anova(SECOND)
    by_task = FIRST.mean(axis=0) - SECOND.mean(axis=0)
    b = by_task.var(ddof=1) / 7
    variance = max(a_first + a_second + b - e_first - e_second, a_first + a_second, b)
    squares = a_first**2 / 4 + a_second**2 / 3 + b**2 / 6 + e_first**2 / 24 + e_second**2 / 18
    found = on_new_tasks(marginals(FIRST), marginals(SECOND))
    assert found.variance == pytest.approx(variance)
    assert found.degrees == pytest.approx(variance**2 / squares) and found.degrees > 3
    half = stats.t.ppf(0.975, variance**2 / squares) * np.sqrt(variance)
    assert found.interval() == pytest.approx((found.estimate - half, found.estimate + half))


def test_a_mean_on_new_tasks_as_written_out():
    a, b, e = anova(FIRST)
    found = on_new_tasks(marginals(FIRST))
    assert found.estimate == pytest.approx(FIRST.mean())
    assert found.variance == pytest.approx(max(a + b - e, a, b))
    assert found.degrees == pytest.approx(max(4, found.variance**2 / (a**2 / 4 + b**2 / 6 + e**2 / 24)))


@pytest.mark.parametrize(("seeds", "tasks", "expected"), [(5, 4, 6), (5, 1, 5), (1, 4, 4)])
def test_a_variance_is_never_below_that_of_seeds_or_tasks_alone(seeds, tasks, expected):
    found = crossed(0.0, [Part(seeds, 4)], [Part(tasks, 19)], [Part(3, 76)])
    assert found.variance == expected


def test_degrees_of_freedom_are_at_least_those_of_the_smallest_sample():
    """Residuals that happen to be far larger than both main effects would leave almost none."""
    found = crossed(0.0, [Part(0.1, 4)], [Part(0.2, 19)], [Part(100.0, 76)])
    assert (found.variance, found.degrees) == (0.2, 4)


def test_many_at_once_are_each_of_them():
    first, second = RNG.normal(size=(2, 3, 5, 8))
    together = both(first, second)
    for index in range(3):
        for all_of_them, alone in zip(together, both(first[index], second[index]), strict=True):
            for name in ("estimate", "variance", "degrees"):
                assert getattr(all_of_them, name)[index] == pytest.approx(getattr(alone, name))
            assert all_of_them.detectable()[index] == pytest.approx(alone.detectable())


def test_one_seed_has_no_variance_on_these_tasks_and_that_of_tasks_on_new_ones():
    these, new = both(FIRST[:1], SECOND)
    assert np.isnan(these.variance) and np.isnan(these.p_value()) and np.isnan(these.interval()).all()
    alone = on_new_tasks(marginals(FIRST[:1]))
    assert (alone.variance, alone.degrees) == (pytest.approx(FIRST[0].var(ddof=1) / 7), pytest.approx(6))
    assert new.variance > 0


def test_one_task_leaves_the_seeds():
    these, new = both(FIRST[:, :1], SECOND[:, :1])
    assert new.variance == these.variance == pytest.approx(FIRST[:, 0].var(ddof=1) / 5 + SECOND[:, 0].var(ddof=1) / 4)


def test_families_are_averaged_and_their_variances_add():
    parts = [both(FIRST, SECOND)[1], Contrast(3.0, 4.0, 5.0), Contrast(-1.0, 0.0, 0.0)]
    found = over_families(parts)
    assert found.estimate == pytest.approx((parts[0].estimate + 3 - 1) / 3)
    assert found.variance == pytest.approx((parts[0].variance + 4) / 9)
    squares = parts[0].variance ** 2 / parts[0].degrees + 16 / 5
    assert found.degrees == pytest.approx((parts[0].variance + 4) ** 2 / squares)
    alone = over_families(parts[:1])
    assert (alone.estimate, alone.variance, alone.degrees) == pytest.approx(tuple(vars(parts[0]).values()))


def test_equivalence_is_two_one_sided_tests():
    first, second = FIRST.mean(axis=1), SECOND.mean(axis=1)
    found = both(FIRST, SECOND)[0]
    for margin in (2.0, 10.0, 30.0):
        sides = [
            stats.ttest_ind(first - margin, second, equal_var=False, alternative="less").pvalue,
            stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater").pvalue,
        ]
        assert found.p_equivalent(margin) == pytest.approx(max(sides))
    above = stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue
    assert found.p_above() == pytest.approx(above)


@pytest.mark.parametrize("degrees", [2.0, 4.0, 8.3, 40.0])
def test_what_is_detectable_is_found_four_times_of_five(degrees):
    delta = Contrast(0.0, 9.0, degrees).detectable()
    draws = np.random.default_rng(1)
    estimates = delta + 3 * draws.normal(size=40_000)
    errors = 3 * np.sqrt(draws.chisquare(degrees, 40_000) / degrees)
    assert np.mean(Contrast(estimates, errors**2, degrees).p_value() < 0.05) == pytest.approx(0.8, abs=0.008)


def test_where_nothing_varies_a_difference_is_sure():
    same, other = np.full((3, 4), 50.0), np.full((3, 4), 52.0)
    for found in both(same, same):
        assert (found.p_value(), found.p_equivalent(5), found.interval(), found.detectable()) == (1, 0, (0, 0), 0)
    for found in both(other, same):
        assert (found.p_value(), found.p_equivalent(5), found.p_equivalent(1)) == (0, 0, 1)


@settings(max_examples=40, deadline=None)
@given(matrices, st.floats(-50, 50), st.randoms())
def test_laws_of_both_questions(pair, constant, random):
    """Swapping sides flips the sign; the order of tasks and seeds and a common constant change nothing."""
    first, second = pair
    tasks = random.sample(range(first.shape[1]), first.shape[1])
    seeds = random.sample(range(len(first)), len(first))
    swapped = both(second, first)
    changed = both(first[seeds][:, tasks] + constant, second[:, tasks] + constant)
    for found, back, other in zip(both(first, second), swapped, changed, strict=True):
        low, high = found.interval()
        assert back.estimate == -found.estimate
        assert back.interval() == pytest.approx((-high, -low), abs=1e-6)
        assert other.interval() == pytest.approx((low, high), abs=1e-6)
        for p in ("p_value", "detectable"):
            assert getattr(back, p)() == pytest.approx(getattr(found, p)(), abs=1e-6)
        # the interval leaves out zero where p is below the level
        p = found.p_value()
        if abs(p - 0.05) > 1e-6 and found.standard_error > 1e-6:
            assert (low > 0 or high < 0) == (p < 0.05)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("interaction", [1.0, 12.0])
def test_coverage_of_crossed_effects(seeds, interaction):
    """2,000 data sets: 95 % intervals hold the truth in 93 to 98 % of them, for each question's own truth."""
    rng = np.random.default_rng([seeds, int(interaction)])
    effects = [rng.normal(0, 4, (2000, seeds, 1)) + interaction * rng.normal(size=(2000, seeds, 20)) for _ in range(2)]
    tasks = [rng.normal(0, 8, (2000, 1, 20)) for _ in range(2)]
    these, new = both(*(runs + of_task for runs, of_task in zip(effects, tasks, strict=True)))
    for found, truth in ((these, (tasks[0] - tasks[1]).mean(axis=(1, 2))), (new, 0)):
        low, high = found.interval()
        assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.985
    assert np.mean(these.standard_error) < np.mean(new.standard_error)


def test_a_single_thing_adds_nothing():
    assert part_of(np.array([3.0])) == (0.0, 0)
    assert part_of(np.array([3.0, 5.0, 7.0])) == (pytest.approx(4 / 3), 2)
