"""Summaries of tidy frames, drops and gains."""

import itertools

import numpy as np
import pandas as pd
import pytest

from omrl_bench.stats.bootstrap import holm
from omrl_bench.stats.comparison import COMPARISON_COLUMNS, compare
from omrl_bench.stats.differences import DROP_COLUMNS, drop_under_shift
from omrl_bench.stats.estimators import iqm
from omrl_bench.stats.panels import panels
from omrl_bench.stats.summary import SUMMARY_COLUMNS, summarise

METHODS = {"task-blind": 40.0, "focal": 70.0, "corro": 41.0}
SHIFT = {"high": 0.0, "low": -20.0}


def tidy(families=("ant-dir", "point-goal"), methods=METHODS, seeds=4, tasks=6, draws=3, rng_seed=0, suite="shift"):
    """A frame in which a method's scores share the tasks' effects; the return is the score minus 200."""
    rng = np.random.default_rng(rng_seed)
    task_effect = rng.normal(0, 15, (len(families), tasks))
    rows = []
    for (f, family), (method, level), condition in itertools.product(enumerate(families), methods.items(), SHIFT):
        drop = SHIFT[condition] * (method != "task-blind")
        for seed, task, draw in itertools.product(range(seeds), range(tasks), range(draws)):
            score = level + drop + task_effect[f, task] + rng.normal(0, 2)
            rows.append(
                (suite, "quick", family, "mixed", method, "iql", seed, condition, task, draw, score - 200, score)
            )
    names = "suite preset family dataset method backbone seed condition task draw return score"
    return pd.DataFrame(rows, columns=names.split())


def cell(table, **where):
    rows = table
    for name, value in where.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_summary_has_a_row_per_cell_and_per_method_over_all_families():
    frame = tidy()
    table = summarise(frame, resamples=300)
    assert tuple(table.columns) == SUMMARY_COLUMNS
    assert len(table) == 3 * 3 * 2  # (two families + all) x methods x conditions
    row = cell(table, family="ant-dir", method="focal", condition="low")
    scores = frame.query("family == 'ant-dir' and method == 'focal' and condition == 'low'")
    matrix = scores.groupby(["seed", "task"])["score"].mean().unstack().to_numpy()
    assert row["score_mean"] == pytest.approx(scores["score"].mean())
    assert row["score_iqm"] == pytest.approx(float(iqm(matrix)))
    assert row["return_mean"] == pytest.approx(row["score_mean"] - 200)
    assert row["return_mean_low"] < row["return_mean"] < row["return_mean_high"]
    assert row["score_mean_low"] < row["score_mean"] < row["score_mean_high"]
    assert row["score_iqm_low"] < row["score_iqm"] < row["score_iqm_high"]
    assert (row["n_seeds"], row["n_tasks"], row["n_draws"]) == (4, 6, 3)


def test_all_is_the_mean_of_the_families():
    table = summarise(tidy(), resamples=300)
    of = {f: cell(table, family=f, method="focal", condition="high") for f in ("ant-dir", "point-goal", "all")}
    for name in ("score_mean", "score_iqm"):
        assert of["all"][name] == pytest.approx((of["ant-dir"][name] + of["point-goal"][name]) / 2)
    assert np.isnan(of["all"]["return_mean"])
    assert (of["all"]["n_seeds"], of["all"]["n_tasks"], of["all"]["n_draws"]) == (4, 12, 3)


def test_a_method_that_lacks_a_family_has_no_all_row():
    frame = tidy().query("not (method == 'corro' and family == 'ant-dir')")
    table = summarise(frame, resamples=50)
    assert set(table.query("family == 'all'")["method"]) == {"focal", "task-blind"}
    assert set(table.query("method == 'corro'")["family"]) == {"point-goal"}
    one_quality = tidy().query("not (method == 'corro' and family == 'ant-dir' and condition == 'low')")
    rows = summarise(one_quality, resamples=50).query("family == 'all' and method == 'corro'")
    assert list(rows["condition"]) == ["high"]


def test_one_family_has_no_all_row():
    assert set(summarise(tidy(families=("ant-dir",)), resamples=50)["family"]) == {"ant-dir"}


def test_suites_are_kept_apart():
    both = pd.concat([tidy(), tidy(families=("cheetah-vel",), suite="other")])
    table = summarise(both, resamples=50)
    assert set(table.query("suite == 'other'")["family"]) == {"cheetah-vel"}
    assert len(table.query("suite == 'shift' and family == 'all'")) == 6


def test_order_of_rows_and_further_columns_do_not_matter():
    frame = tidy()
    shuffled = frame.sample(frac=1, random_state=3).assign(note="x")
    shuffled = shuffled[shuffled.columns[::-1]]
    for function in (summarise, drop_under_shift, gain):
        pd.testing.assert_frame_equal(function(frame, resamples=100), function(shuffled, resamples=100), rtol=0, atol=0)


def test_other_methods_do_not_change_a_row():
    rows = [summarise(frame, resamples=100) for frame in (tidy(), tidy().query("method == 'focal'"))]
    rows = [table.query("method == 'focal'").reset_index(drop=True) for table in rows]
    pd.testing.assert_frame_equal(*rows, rtol=0, atol=0)


def test_one_seed_one_task_one_draw():
    row = cell(summarise(tidy(("ant-dir",), {"focal": 70.0}, 1, 1, 1), resamples=50), condition="high")
    assert row["score_mean"] == row["score_mean_low"] == row["score_mean_high"] == row["score_iqm"]


def test_empty_frame():
    empty = tidy().iloc[:0]
    assert tuple(summarise(empty).columns) == SUMMARY_COLUMNS
    assert summarise(empty).empty


def test_a_seed_without_a_task_is_named():
    frame = tidy().query("not (family == 'ant-dir' and method == 'focal' and seed == 2 and task in [1, 4])")
    with pytest.raises(ValueError, match="ant-dir / focal / high: seed 2 lacks tasks 1, 4"):
        summarise(frame)


def test_uneven_doubled_and_unfinished_draws_are_named():
    frame = tidy(families=("ant-dir",))
    with pytest.raises(ValueError, match=r"corro / high: .* number of draws \(2 to 3\)"):
        panels(frame.query("not (method == 'corro' and seed == 0 and task == 0 and draw == 0)"))
    with pytest.raises(ValueError, match="twice"):
        panels(pd.concat([frame, frame.iloc[:1]]))
    broken = frame.copy()
    broken.loc[0, "score"] = np.nan
    with pytest.raises(ValueError, match="task-blind / high: seed 0 has a score or return that is not finite"):
        panels(broken)
    with pytest.raises(ValueError, match="lacks the columns draw"):
        panels(frame.drop(columns="draw"))
    with pytest.raises(ValueError, match="must not be called 'all'"):
        panels(frame.assign(family="all"))
    nameless = frame.copy()
    nameless.loc[0, "backbone"] = None
    with pytest.raises(ValueError, match="lacks its backbone"):
        panels(nameless)
    unknown = frame.copy()
    unknown["seed"] = unknown["seed"].astype(float).where(unknown.index > 0)
    with pytest.raises(ValueError, match="lacks its seed"):
        panels(unknown)


def test_panels_may_be_cut_once_for_all_statistics():
    frame = tidy()
    groups = panels(frame)
    pd.testing.assert_frame_equal(summarise(groups, resamples=50), summarise(frame, resamples=50), rtol=0, atol=0)
    assert panels(groups) == groups


def test_drop_is_paired():
    table = drop_under_shift(tidy(), resamples=500)
    assert tuple(table.columns) == DROP_COLUMNS
    assert len(table) == 9
    row = cell(table, family="ant-dir", method="focal")
    assert row["drop"] == pytest.approx(row["score_from"] - row["score_to"])
    assert row["drop_low"] < 20 < row["drop_high"]
    # tasks differ by 15 points; pairing takes that out
    assert row["drop_high"] - row["drop_low"] < 4
    blind = cell(table, family="all", method="task-blind")
    assert blind["drop_low"] < 0 < blind["drop_high"]


def test_drop_of_missing_qualities():
    frame = tidy(families=("ant-dir",)).query("not (method == 'focal' and condition == 'low')")
    assert set(drop_under_shift(frame, resamples=50)["method"]) == {"corro", "task-blind"}
    with pytest.raises(ValueError, match="'medium'; there are high, low"):
        drop_under_shift(frame, to_condition="medium")


def test_drop_needs_the_same_tasks():
    frame = tidy(families=("ant-dir",)).query("not (condition == 'low' and task == 5)")
    with pytest.raises(ValueError, match="the tasks are not the same"):
        drop_under_shift(frame)


def gain(frame, method="focal", resamples=500):
    """What adaptation gains: a method compared with the one that cannot adapt."""
    return compare(frame, method, "task-blind", resamples=resamples)


def test_gain_over_the_task_blind_control():
    table = gain(tidy(), resamples=1000)
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert cell(table, family="all", condition="high")["verdict"] == "better"
    assert cell(gain(tidy(), "corro", resamples=1000), family="all", condition="low")["verdict"] == "worse"
    row = cell(table, family="ant-dir", condition="high")
    assert row["difference"] == pytest.approx(row["score_first"] - row["score_second"])
    assert row["difference_low"] < 30 < row["difference_high"]
    np.testing.assert_allclose(table["p_holm"], holm(table["p_value"].to_numpy()))
    assert (table["p_holm"] >= table["p_value"]).all()


def test_a_method_as_good_as_the_control_is_undecided():
    table = gain(tidy(methods={"task-blind": 40.0, "twin": 40.0}), "twin")
    assert set(table.query("condition == 'high'")["verdict"]) == {"undecided"}


def test_correction_is_per_table():
    one = gain(tidy())
    two = gain(pd.concat([tidy(), tidy(suite="other")]))
    same = two.query("suite == 'shift'").reset_index(drop=True)
    pd.testing.assert_frame_equal(one, same)


def test_resamples_suffice_for_the_correction():
    """Of 31 families with two conditions each the smallest p value is multiplied by 64."""
    families = [f"family-{number:02}" for number in range(31)]
    table = gain(tidy(families, {"task-blind": 40.0, "focal": 90.0}, tasks=3, draws=1), resamples=100)
    assert (table["p_holm"] < 0.05).all()


def test_single_seed_is_never_decided():
    assert set(gain(tidy(seeds=1), resamples=200)["verdict"]) == {"undecided"}


def test_other_seeds_are_not_paired():
    frame = tidy(families=("ant-dir",))
    renumbered = frame.copy()
    renumbered.loc[frame["method"] == "focal", "seed"] += 10
    jointly, independently = (cell(gain(each), condition="high") for each in (frame, renumbered))
    assert independently["difference"] == jointly["difference"]
    assert independently["difference_low"] != jointly["difference_low"]


def test_comparison_needs_the_same_tasks():
    frame = tidy(families=("ant-dir",)).query("not (method == 'focal' and task == 5)")
    with pytest.raises(ValueError, match="difference from task-blind: the tasks are not the same"):
        gain(frame)


def with_ranges(frame, ranges):
    """The frame with the range of each task, and returns that fit: score = 100 (return + 200) / range."""
    frame = frame.assign(range=[ranges[task] for task in frame["task"]])
    return frame.assign(**{"return": frame["score"] * frame["range"] / 100 - 200})


def test_ratio_of_sums_is_that_of_the_returns():
    ranges = [10.0, 20.0, 50.0, 80.0, 100.0, 300.0]
    frame = with_ranges(tidy(), ranges)
    table = summarise(frame, resamples=200)
    row = cell(table, family="ant-dir", method="focal", condition="low")
    of_row = frame.query("family == 'ant-dir' and method == 'focal' and condition == 'low'")
    returns = of_row.groupby("task")["return"].mean()
    assert row["score_ratio"] == pytest.approx(100 * (returns + 200).sum() / sum(ranges))
    assert abs(row["score_ratio"] - row["score_mean"]) > 1
    over = cell(table, family="all", method="focal", condition="low")
    other = cell(table, family="point-goal", method="focal", condition="low")
    assert over["score_ratio"] == pytest.approx((row["score_ratio"] + other["score_ratio"]) / 2)


def test_ratio_of_equal_ranges_is_the_mean_and_unknown_without_ranges():
    table = summarise(with_ranges(tidy(), [70.0] * 6), resamples=200)
    for end in ("", "_low", "_high"):
        np.testing.assert_allclose(table[f"score_ratio{end}"], table[f"score_mean{end}"])
    assert summarise(tidy(), resamples=50)["score_ratio"].isna().all()


def test_interval_of_the_ratio_is_nearly_that_of_resampled_ratios():
    rng = np.random.default_rng(0)
    frame = tidy(families=("ant-dir",), methods={"focal": 60.0}, seeds=8, tasks=40)
    ranges = rng.uniform(20, 90, 40)
    row = cell(summarise(with_ranges(frame, ranges), resamples=4000), condition="high")
    matrix = frame.query("condition == 'high'").groupby(["seed", "task"])["score"].mean().unstack().to_numpy()
    samples = []
    for _ in range(4000):
        seeds, tasks = rng.integers(8, size=8), rng.integers(40, size=40)
        weights = ranges[tasks]
        samples.append((matrix[np.ix_(seeds, tasks)].mean(axis=0) * weights).sum() / weights.sum())
    low, high = np.quantile(samples, (0.025, 0.975))
    width = row["score_ratio_high"] - row["score_ratio_low"]
    assert width == pytest.approx(high - low, rel=0.1)  # wider by what few seeds and tasks need
    assert width > high - low
    assert (row["score_ratio_low"] + row["score_ratio_high"]) / 2 == pytest.approx((low + high) / 2, abs=width / 10)


def test_tasks_with_little_to_gain_weigh_little_in_the_ratio():
    frame = tidy(families=("ant-dir",), methods={"focal": 60.0})
    frame.loc[frame["task"] == 0, "score"] = -500.0  # returns that are a little too low, of a task with a small range
    row = cell(summarise(with_ranges(frame, [1.0, *[100.0] * 5]), resamples=200), condition="high")
    others = frame.query("task > 0 and condition == 'high'")["score"].mean()
    assert row["score_mean"] < others - 60
    assert abs(row["score_ratio"] - others) < 2
