"""Ranks, performance profiles and worst tasks against closed forms, SciPy and all resamples."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata

from omrl_bench.stats.bootstrap import distribution, interval
from omrl_bench.stats.estimators import worst_mean
from omrl_bench.stats.ranks import (
    PROFILE_COLUMNS,
    RANK_COLUMNS,
    WORST_COLUMNS,
    _widened,
    performance_profiles,
    rank_intervals,
    worst_tasks,
)


def one(scores, condition="high", family="ant-dir"):
    return {(family, condition, method): matrix for method, matrix in scores.items()}


def normal(rng, level, seeds=5, tasks=10):
    return level + rng.normal(0, 4, (seeds, tasks))


def test_ranks_are_scipys_of_the_means(frame):
    rng = np.random.default_rng(0)
    scores = {f"m{index}": normal(rng, level) for index, level in enumerate(rng.normal(50, 5, 7))}
    table = rank_intervals(frame(one(scores)), resamples=500)
    assert tuple(table.columns) == RANK_COLUMNS
    expected = rankdata([-matrix.mean() for matrix in scores.values()], method="min")
    assert list(table["rank"]) == list(expected)
    assert ((table["rank_low"] <= table["rank"]) & (table["rank"] <= table["rank_high"])).all()
    assert table["rank_low"].min() == 1 and table["rank_high"].max() <= 7


def test_methods_far_apart_have_sure_ranks_and_twins_share_theirs(frame):
    rng = np.random.default_rng(1)
    scores = {"best": normal(rng, 90), "twin-a": normal(rng, 60), "worst": normal(rng, 10)}
    scores["twin-b"] = scores["twin-a"].copy()
    table = rank_intervals(frame(one(scores)), resamples=2000).set_index("method")
    for method, rank in {"best": 1, "twin-a": 2, "twin-b": 2, "worst": 4}.items():
        assert tuple(table.loc[method, ["rank", "rank_low", "rank_high"]]) == (rank, rank, rank)


def test_methods_that_differ_by_noise_have_wide_ranks(frame):
    rng = np.random.default_rng(2)
    scores = {f"m{index}": 50 + rng.normal(0, 5, (5, 1)) + rng.normal(0, 1, (5, 10)) for index in range(4)}
    shifted = {name: list(range(10 * number, 10 * number + 5)) for number, name in enumerate(scores)}
    table = rank_intervals(frame(one(scores), shifted), resamples=2000)
    assert (table["rank_high"] - table["rank_low"] >= 2).all()


def test_methods_of_a_resample_see_the_same_tasks_and_seeds(frame):
    """B is always one point worse, while seeds and tasks move both by much more."""
    rng = np.random.default_rng(3)
    base = rng.normal(50, 20, (5, 1)) + rng.normal(0, 20, (1, 10))
    table = rank_intervals(frame(one({"a": base, "b": base - 1})), resamples=500)
    assert table[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 1], [2, 2, 2]]
    other_seeds = rank_intervals(frame(one({"a": base, "b": base - 1}), {"b": range(10, 15)}), resamples=500)
    assert other_seeds["rank_high"].tolist() == [2, 2] and other_seeds["rank_low"].tolist() == [1, 1]


def test_rank_over_all_families_is_that_of_the_mean_over_families(frame):
    rng = np.random.default_rng(4)
    scores = one({"a": normal(rng, 90), "b": normal(rng, 50), "c": normal(rng, 10)})
    scores |= one({"a": normal(rng, 0), "b": normal(rng, 60)}, family="point-goal")
    table = rank_intervals(frame(scores), resamples=200)
    of_all = table.query("family == 'all'").set_index("method")
    assert of_all["rank"].to_dict() == {"a": 2, "b": 1}  # c lacks a family
    assert set(of_all["n_tasks"]) == {20}


def test_ranks_do_not_depend_on_the_order_of_rows_or_other_conditions(frame):
    rng = np.random.default_rng(5)
    data = frame(one({name: normal(rng, 50) for name in "abc"}) | one({"a": normal(rng, 1)}, condition="low"))
    table = rank_intervals(data, resamples=200)
    shuffled = rank_intervals(data.sample(frac=1, random_state=1), resamples=200)
    alone = rank_intervals(data.query("condition == 'high'"), resamples=200)
    assert table.equals(shuffled)
    assert table.query("condition == 'high'").reset_index(drop=True).equals(alone)


def test_rank_needs_the_same_tasks(frame):
    data = frame(one({"a": np.ones((2, 3)), "b": np.ones((2, 3))}))
    with pytest.raises(ValueError, match="ant-dir / high: the methods to rank do not have the same tasks"):
        rank_intervals(data.query("not (method == 'a' and task == 40)"))


def test_widened_counts_have_the_mean_and_the_wider_spread():
    counts = np.random.default_rng(0).multinomial(5, [0.2] * 5, size=1000).astype(float)
    wider = _widened(counts, 0.95)
    np.testing.assert_allclose(wider.sum(axis=1), 5)
    np.testing.assert_allclose((wider - 1).std(), np.sqrt(5 / 4) * 2.7764451 / 1.9599640 * (counts - 1).std())
    np.testing.assert_array_equal(_widened(np.ones((3, 1)), 0.95), 1)


def test_profile_is_the_share_above_the_threshold(frame):
    scores = np.array([[0.0, 20.0, 40.0], [10.0, 20.0, 90.0]])
    table = performance_profiles(frame(one({"a": scores})), [-1, 0, 20, 50, 100], resamples=300)
    assert tuple(table.columns) == PROFILE_COLUMNS
    assert table["threshold"].tolist() == [-1, 0, 20, 50, 100]
    np.testing.assert_allclose(table["fraction"], [1, 5 / 6, 2 / 6, 1 / 6, 0])
    inside = table[["fraction_low", "fraction", "fraction_high"]].to_numpy()
    assert (np.diff(inside, axis=1) >= 0).all()
    assert inside.min() >= 0 and inside.max() <= 1
    assert (table[["fraction_low", "fraction_high"]].iloc[0] == 1).all()


def test_profile_of_all_families_is_their_mean(frame):
    scores = one({"a": np.full((2, 2), 80.0)}) | one({"a": np.full((3, 5), 30.0)}, family="point-goal")
    table = performance_profiles(frame(scores), [50], resamples=50).set_index("family")
    assert table["fraction"].to_dict() == {"all": 0.5, "ant-dir": 1, "point-goal": 0}


def test_worst_tasks(frame):
    scores = np.array([[5.0, 80.0, 30.0, 60.0], [15.0, 90.0, 50.0, 0.0]])  # means 10, 85, 40, 30
    table = worst_tasks(frame(one({"a": scores})), k=2, resamples=500)
    assert tuple(table.columns) == WORST_COLUMNS
    row = table.iloc[0]
    assert row["worst"] == 20
    assert row["worst_tasks"] == "40, 43"
    assert row["worst_low"] <= 20 <= row["worst_high"]
    every = worst_tasks(frame(one({"a": scores})), k=9, resamples=50).iloc[0]
    assert (every["worst"], every["worst_tasks"]) == (scores.mean(), "40, 43, 42, 41")


def test_worst_tasks_are_chosen_anew_in_every_resample():
    scores = np.array([[0.0, 10.0], [30.0, 0.0]])
    draws = list(itertools.product(range(2), repeat=2))
    exact = [float(min(scores[np.ix_(s, t)].mean(axis=0))) for s in draws for t in draws]
    sampled = distribution([scores], seed=0, estimator=worst_mean(1), resamples=40_000)
    assert set(sampled) == set(exact)
    assert sampled.mean() == pytest.approx(np.mean(exact), abs=0.15)
    assert sampled.var() == pytest.approx(np.var(exact), rel=0.03)
    assert interval(sampled, 0.999) == (min(exact), max(exact))


def test_worst_tasks_of_all_families_name_them(frame):
    scores = one({"a": np.array([[1.0, 2.0, 0.0]])}) | one({"a": np.array([[9.0, 5.0, 7.0]])}, family="point-goal")
    table = worst_tasks(frame(scores), k=1, resamples=50).set_index("family")
    assert table.loc["all", "worst_tasks"] == "ant-dir: 42; point-goal: 41"
    assert table.loc["all", "worst"] == 2.5
    with pytest.raises(ValueError, match="k must be at least 1"):
        worst_tasks(frame(scores), k=0)
