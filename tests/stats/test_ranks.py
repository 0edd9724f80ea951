"""Ranks and performance profiles against closed forms, SciPy and all resamples."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import rankdata

from omrl_bench.stats.contrasts import marginals, on_new_tasks
from omrl_bench.stats.pairing import pairing
from omrl_bench.stats.panels import panels
from omrl_bench.stats.ranks import (
    PROFILE_COLUMNS,
    RANK_COLUMNS,
    performance_profiles,
    rank_intervals,
)


def one(scores, condition="high", family="ant-dir"):
    return {(family, condition, method): matrix for method, matrix in scores.items()}


def normal(rng, level, seeds=5, tasks=10):
    return level + rng.normal(0, 4, (seeds, tasks))


def test_ranks_are_scipys_of_the_means(frame):
    rng = np.random.default_rng(0)
    scores = {f"m{index}": normal(rng, level) for index, level in enumerate(rng.normal(50, 5, 7))}
    table = rank_intervals(frame(one(scores)))
    assert tuple(table.columns) == RANK_COLUMNS
    expected = rankdata([-matrix.mean() for matrix in scores.values()], method="min")
    assert list(table["rank"]) == list(expected)


@pytest.mark.parametrize("shared", [0.0, 30.0])  # noise of the seeds that all methods share, so that they are paired
def test_intervals_and_the_best_are_those_of_all_pairwise_tests(frame, shared):
    rng = np.random.default_rng(1)
    noise = rng.normal(0, shared, (5, 1))
    methods = {f"m{index}": level + noise + normal(rng, 0) for index, level in enumerate(rng.normal(50, 4, 9))}
    methods["n"] = normal(rng, 50, seeds=3)  # other seeds: never paired
    table = rank_intervals(frame(one(methods))).set_index("method")
    assert bool(pairing(panels(frame(one(methods))))) == bool(shared)
    for name, scores in methods.items():
        p_below, p_above = [], []
        for other_name, other in methods.items():
            if name == other_name:
                continue
            paired = shared and "n" not in (name, other_name)
            sides = (marginals(scores - other),) if paired else (marginals(scores), marginals(other))
            found = on_new_tasks(*sides)
            t = float(found.estimate / found.standard_error)
            p_above.append(stats.t.sf(t, found.degrees))
            p_below.append(stats.t.cdf(t, found.degrees))
        row = table.loc[name]
        assert row["rank_low"] == min(1 + sum(p < 0.05 for p in p_below), row["rank"])
        assert row["rank_high"] == max(10 - sum(p < 0.05 for p in p_above), row["rank"])
        assert row["could_be_best"] == (min(p_below) >= 0.05 / 9)
    assert 1 <= table["could_be_best"].sum() < 10


def test_methods_far_apart_have_sure_ranks_and_twins_share_theirs(frame):
    rng = np.random.default_rng(1)
    scores = {"best": normal(rng, 90), "twin-a": normal(rng, 60), "worst": normal(rng, 10)}
    scores["twin-b"] = scores["twin-a"].copy()
    table = rank_intervals(frame(one(scores))).set_index("method")
    for method, ends in {"best": (1, 1, 1), "twin-a": (2, 2, 3), "twin-b": (2, 2, 3), "worst": (4, 4, 4)}.items():
        assert tuple(table.loc[method, ["rank", "rank_low", "rank_high"]]) == ends
    assert table["could_be_best"].to_dict() == {"best": True, "twin-a": False, "twin-b": False, "worst": False}


def test_methods_that_differ_by_noise_have_wide_ranks_and_all_could_be_best(frame):
    rng = np.random.default_rng(2)
    scores = {f"m{index}": 50 + rng.normal(0, 5, (5, 1)) + rng.normal(0, 1, (5, 10)) for index in range(4)}
    table = rank_intervals(frame(one(scores)))
    assert (table["rank_high"] - table["rank_low"] >= 2).all()
    assert table["could_be_best"].all()


@pytest.mark.parametrize("size", [{"seeds": 1}, {"tasks": 1}])
def test_one_seed_or_task_tells_nothing_apart(frame, size):
    rng = np.random.default_rng(3)
    table = rank_intervals(frame(one({"a": normal(rng, 90, **size), "b": normal(rng, 10, **size)})))
    assert table[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 2], [2, 1, 2]]
    assert table["could_be_best"].all()
    alone = rank_intervals(frame(one({"a": normal(rng, 90, **size)})))
    assert alone.loc[0, ["rank_low", "rank_high", "could_be_best"]].tolist() == [1, 1, True]


def test_marginal_ranks_and_the_set_of_the_best_hold_the_truth(frame):
    """Eight methods, 1 point apart, whose means have a standard error of 2: what is asked for is 95 %."""
    rng = np.random.default_rng(4)
    levels = np.arange(8.0)
    held, best = [], []
    for _ in range(60):
        tasks = rng.normal(0, 5, (1, 10))
        scores = {
            f"m{index}": level + tasks + rng.normal(0, 4, (5, 1)) + rng.normal(0, 4, (5, 10))
            for index, level in enumerate(levels)
        }
        table = rank_intervals(frame(one(scores)))
        truth = 8 - levels
        held.append(((table["rank_low"] <= truth) & (truth <= table["rank_high"])).mean())
        best.append(table["could_be_best"].iloc[-1])
    assert 0.94 <= np.mean(held) <= 0.995
    assert np.mean(best) >= 0.95


def test_rank_over_all_families_is_that_of_the_mean_over_families(frame):
    rng = np.random.default_rng(4)
    scores = one({"a": normal(rng, 90), "b": normal(rng, 50), "c": normal(rng, 10)})
    scores |= one({"a": normal(rng, 0), "b": normal(rng, 60)}, family="point-goal")
    table = rank_intervals(frame(scores))
    of_all = table.query("family == 'all'").set_index("method")
    assert of_all["rank"].to_dict() == {"a": 2, "b": 1}  # c lacks a family
    assert set(of_all["n_tasks"]) == {20}


def test_ranks_do_not_depend_on_the_order_of_rows_or_other_conditions(frame):
    rng = np.random.default_rng(5)
    data = frame(one({name: normal(rng, 50) for name in "abc"}) | one({"a": normal(rng, 1)}, condition="low"))
    table = rank_intervals(data)
    shuffled = rank_intervals(data.sample(frac=1, random_state=1))
    alone = rank_intervals(data.query("condition == 'high'"))
    assert table.equals(shuffled)
    assert table.query("condition == 'high'").reset_index(drop=True).equals(alone)


def test_rank_needs_the_same_tasks(frame):
    data = frame(one({"a": np.ones((2, 3)), "b": np.ones((2, 3))}))
    with pytest.raises(ValueError, match="ant-dir / high: the methods to rank do not have the same tasks"):
        rank_intervals(data.query("not (method == 'a' and task == 40)"))


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
