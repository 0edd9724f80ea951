"""Probabilities of improvement against SciPy and rliable's definition; comparisons of two and of all methods."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from omrl_bench.stats.comparison import (
    COMPARISON_COLUMNS,
    MATRIX_COLUMNS,
    _wins,
    compare,
    family_improvement,
    improvement_matrix,
)
from omrl_bench.stats.contrasts import marginals, on_new_tasks, on_these_tasks
from omrl_bench.stats.estimated import Resamples
from omrl_bench.stats.estimators import iqm, mean
from omrl_bench.stats.panels import panels
from omrl_bench.stats.small_samples import parts_of
from omrl_bench.stats.verdicts import holm

scores = st.integers(1, 5).flatmap(lambda seeds: arrays(float, (seeds, 4), elements=st.integers(0, 6).map(float)))


def pair(rng, gap=20.0, seeds=5, tasks=12, families=("ant-dir", "point-goal")):
    """Scores of two methods that share the tasks' effects."""
    found = {}
    for family in families:
        effects = rng.normal(0, 15, (1, tasks))
        for method, level in (("focal", 50 + gap), ("pearl", 50)):
            for condition in ("high", "low"):
                found[family, condition, method] = level + effects + rng.normal(0, 4, (seeds, tasks))
    return found


def probability_of_improvement(first, second):
    """The estimate, without its resamples."""
    return _wins(first, second).mean()


def test_closed_forms():
    first = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    second = np.array([[2.0, 5.0], [0.0, 7.0]])
    # task 0: 1 > 0, 2 = 2, 2 > 0, 3 > 2, 3 > 0 of six pairs; task 1: three ties, three losses
    assert probability_of_improvement(first, second) == pytest.approx((4.5 / 6 + 1.5 / 6) / 2)
    assert probability_of_improvement(first, first) == 0.5
    assert probability_of_improvement(first + 10, second) == 1


def test_what_rliable_publishes_in_its_tests():
    """tests/rliable/metrics_test.py of google-research/rliable at f59f80b: P(X > Y) = 1/3; means and IQMs."""
    x = np.array([[1.0, 2], [2, 2], [1, 1], [2, 1]])
    y = np.array([[1.0, 1], [2, 2], [3, 3]])
    assert probability_of_improvement(x, y) == pytest.approx(1 / 3)
    for estimator in (mean, iqm):
        assert (estimator(x), estimator(y)) == (1.5, 2)


@settings(max_examples=30)
@given(scores, scores)
def test_is_the_mann_whitney_statistic_over_the_pairs_as_in_rliable(first, second):
    """rliable.metrics.probability_of_improvement: mannwhitneyu(x[:, task], y[:, task]) / (n m), mean over tasks."""
    size = len(first) * len(second)
    tasks = zip(first.T, second.T, strict=True)
    expected = np.mean([mannwhitneyu(x, y, method="asymptotic").statistic / size for x, y in tasks])
    assert probability_of_improvement(first, second) == pytest.approx(expected)
    assert probability_of_improvement(second, first) == pytest.approx(1 - expected)


@pytest.mark.parametrize("same_seeds", [True, False])
def test_improvement_agrees_with_all_resamples(frame, same_seeds):
    first, second = np.array([[1.0, 4.0], [3.0, 2.0]]), np.array([[2.0, 3.0], [1.0, 5.0]])
    both = {("ant-dir", "high", "a"): first, ("ant-dir", "high", "b"): second}
    of = {
        key.method: (key, group[0]) for key, group in panels(frame(both, {} if same_seeds else {"b": [7, 8]})).items()
    }
    key, panel = of["a"]
    found = family_improvement(key, panel, of["b"][1], Resamples(40_000))
    draws = list(itertools.product(range(2), repeat=2))
    exact = np.array(
        [
            probability_of_improvement(first[np.ix_(s, t)], second[np.ix_(z, t)])
            for s, z, t in itertools.product(draws, draws, draws)
            if not same_seeds or s == z
        ]
    )
    assert found.estimate == probability_of_improvement(first, second)
    assert set(np.round(found.samples, 9)) == set(np.round(exact, 9))
    assert found.samples.mean() == pytest.approx(exact.mean(), abs=0.01)
    assert found.samples.var() == pytest.approx(exact.var(), rel=0.03)


def test_parts_of_an_improvement_over_a_constant_are_those_of_a_mean(frame):
    """Against a constant, the improvement is the mean of an indicator."""
    rng = np.random.default_rng(1)
    first = rng.normal(size=(5, 8))
    both = {("ant-dir", "high", "a"): first, ("ant-dir", "high", "b"): np.zeros((5, 8))}
    of = {key.method: (key, group[0]) for key, group in panels(frame(both, {"b": range(10, 15)})).items()}
    found = family_improvement(*of["a"], of["b"][1], Resamples(10))
    seeds, of_constant, tasks = found.parts
    assert [seeds, tasks] == [pytest.approx(part) for part in parts_of([(first > 0).astype(float)])]
    assert of_constant.variance == 0


def test_compare_two_methods(frame):
    table = compare(frame(pair(np.random.default_rng(0))), "focal", "pearl", resamples=1000)
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert [tuple(row) for row in table[["family", "condition"]].to_numpy()] == [
        (family, condition) for family in ("all", "ant-dir", "point-goal") for condition in ("high", "low")
    ]
    np.testing.assert_allclose(table["difference"], table["score_first"] - table["score_second"])
    for question in ("these", "new"):
        assert set(table[f"{question}_verdict"]) == {"better"}
        assert (table[f"{question}_low"] < 20).all() and (table[f"{question}_high"] > 20).all()
        np.testing.assert_allclose(table[f"{question}_p_holm"], holm(table[f"{question}_p_value"].to_numpy()))
    assert (table["improvement"] > 0.9).all()
    assert (table["improvement_low"] <= table["improvement"]).all()
    assert (table["improvement_high"] <= 1).all()
    assert set(table["n_seeds"]) == {5} and set(table.query("family == 'all'")["n_tasks"]) == {24}


def test_comparison_turned_round(frame):
    data = frame(pair(np.random.default_rng(1)))
    there, back = (compare(data, *names, resamples=1000) for names in (("focal", "pearl"), ("pearl", "focal")))
    np.testing.assert_allclose(back["difference"], -there["difference"])
    np.testing.assert_allclose(back["improvement"], 1 - there["improvement"])
    np.testing.assert_allclose(back["improvement_low"], 1 - there["improvement_high"], atol=1e-9)
    for question in ("these", "new"):
        assert set(back[f"{question}_verdict"]) == {"worse"}
        np.testing.assert_allclose(back[f"{question}_low"], -there[f"{question}_high"])
        np.testing.assert_allclose(back[f"{question}_p_value"], there[f"{question}_p_value"])


def test_a_verdict_needs_a_difference(frame):
    clear, none = (pair(np.random.default_rng(2), gap=gap) for gap in (20, 6))
    noisy = {key: none[key] + np.random.default_rng(3).normal(0, 12, (5, 1)) for key in sorted(none)}
    data = frame({key: (clear if key[1] == "high" else noisy)[key] for key in clear})
    table = compare(data, "focal", "pearl", resamples=200)
    assert list(table["these_verdict"]) == list(table["new_verdict"]) == ["better", "undecided"] * 3


def test_equal_methods_are_equivalent(frame):
    same = {key: np.tile([[50.0, 60.0, 70.0]], (4, 1)) for key in pair(np.random.default_rng(0))}
    table = compare(frame(same), "focal", "pearl", resamples=200)
    assert set(table["these_verdict"]) == set(table["new_verdict"]) == {"equivalent"}
    assert set(table["new_p_value"]) == {1.0}
    assert (table[["improvement", "improvement_low", "improvement_high"]] == 0.5).all(axis=None)


def test_three_seeds_that_agree_decide_less_than_twenty(frame):
    """A difference of 1.5 standard errors of a seed: t with 2 degrees of freedom against almost z."""
    rng = np.random.default_rng(5)
    for seeds, verdict in ((3, "undecided"), (20, "better")):
        effect = 6 + np.tile([-4.0, 0.0, 4.0, 0.0], 5)[:seeds, None]
        both = {("ant-dir", "high", "a"): effect + rng.normal(0, 0.1, (seeds, 9)), ("ant-dir", "high", "b"): 0 * effect}
        both["ant-dir", "high", "b"] = np.zeros((seeds, 9))
        table = compare(frame(both), "a", "b", resamples=200)
        assert list(table["these_verdict"]) == list(table["new_verdict"]) == [verdict]


def test_tasks_that_differ_are_decided_where_new_ones_are_not(frame):
    """A wins by 60 on one of eight tasks, without any noise of seeds."""
    base = np.random.default_rng(6).normal(50, 0.5, (2, 5, 8))
    scores = {("ant-dir", "high", "a"): base[0] + 60 * (np.arange(8) == 0), ("ant-dir", "high", "b"): base[1]}
    (row,) = compare(frame(scores), "a", "b", resamples=200).to_dict("records")
    assert (row["these_verdict"], row["new_verdict"]) == ("better", "undecided")
    assert row["new_detectable"] > 10 * row["these_detectable"]


def test_seeds_are_paired_where_all_methods_share_their_noise(frame):
    """Noise of the seeds that eight methods share drops out; six of them decide that, and are not compared."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 20, (5, 1))
    scores = {("ant-dir", "high", f"m{n}"): 50 + noise + rng.normal(0, 3, (5, 6)) for n in range(8)}
    data = frame(scores)
    (row,) = compare(data, "m0", "m1", resamples=200).to_dict("records")
    (alone,) = compare(data[data["method"].isin(["m0", "m1"])], "m0", "m1", resamples=200).to_dict("records")
    first, second = (scores["ant-dir", "high", name] for name in ("m0", "m1"))
    paired, unpaired = (marginals(first - second),), (marginals(first), marginals(second))
    for found, sides in ((row, paired), (alone, unpaired)):
        for name, question in (("these", on_these_tasks), ("new", on_new_tasks)):
            assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx(question(*sides).interval())
    assert row["these_high"] - row["these_low"] < 0.3 * (alone["these_high"] - alone["these_low"])


def test_a_missing_family_leaves_no_mean_over_all(frame):
    data = pair(np.random.default_rng(0))
    del data["ant-dir", "low", "pearl"]
    table = compare(frame(data), "focal", "pearl", resamples=100)
    assert list(zip(table["family"], table["condition"], strict=True)) == [
        ("all", "high"),
        ("ant-dir", "high"),
        ("point-goal", "high"),
        ("point-goal", "low"),
    ]


def test_what_cannot_be_compared(frame):
    data = frame(pair(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="the method 'corro' has no results"):
        compare(data, "focal", "corro")
    with pytest.raises(ValueError, match="cannot be compared with itself"):
        compare(data, "focal", "focal")
    with pytest.raises(ValueError, match="no family and condition in common"):
        compare(data.query("(method == 'focal') == (condition == 'high')"), "focal", "pearl")
    with pytest.raises(ValueError, match="focal / high: difference from pearl: the tasks are not the same"):
        compare(data.query("not (method == 'focal' and task == 40)"), "focal", "pearl")


def test_matrix_has_every_ordered_pair(frame):
    rng = np.random.default_rng(3)
    data = pair(rng)
    data |= {(f, q, "corro"): rng.normal(60, 10, (3, 12)) for f, q, _ in data if f == "ant-dir"}
    table = improvement_matrix(frame(data, {"corro": [7, 8, 9]}), resamples=500)
    assert tuple(table.columns) == MATRIX_COLUMNS
    assert len(table) == 2 * (3 * 2) + 2 * 2 + 2 * 2  # ant-dir, point-goal, all
    names = ["family", "condition", "first", "second"]
    values = table.set_index(names)
    for (family, condition, first, second), row in values.iterrows():
        reverse = values.loc[family, condition, second, first]
        assert row["improvement"] == pytest.approx(1 - reverse["improvement"])
        assert row["improvement_low"] == pytest.approx(1 - reverse["improvement_high"])
        assert 0 <= row["improvement_low"] <= row["improvement"] <= row["improvement_high"] <= 1
        if family != "all":
            expected = probability_of_improvement(data[family, condition, first], data[family, condition, second])
            assert row["improvement"] == pytest.approx(expected)
    of = values["improvement"]
    families = [of.loc[family, "low", "focal", "pearl"] for family in ("ant-dir", "point-goal")]
    assert of.loc["all", "low", "focal", "pearl"] == pytest.approx(np.mean(families))


def test_matrix_agrees_with_compare(frame):
    data = frame(pair(np.random.default_rng(4), gap=3.0))
    ours = compare(data, "focal", "pearl", resamples=2000)
    matrix = improvement_matrix(data, resamples=2000).query("first == 'focal'").reset_index(drop=True)
    for name in ("improvement", "improvement_low", "improvement_high"):
        np.testing.assert_allclose(ours[name], matrix[name])


def test_matrix_needs_the_same_tasks(frame):
    data = frame(pair(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="improvement over pearl: the tasks are not the same"):
        improvement_matrix(data.query("not (method == 'focal' and task == 40)"))
