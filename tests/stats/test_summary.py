"""Summaries of tidy frames, drops and gains."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from omrl_bench.stats.comparison import COMPARISON_COLUMNS, compare
from omrl_bench.stats.contrasts import marginals, on_new_tasks
from omrl_bench.stats.differences import DROP_COLUMNS, drop_under_shift
from omrl_bench.stats.estimators import iqm
from omrl_bench.stats.panels import panels
from omrl_bench.stats.summary import SUMMARY_COLUMNS, summarise
from omrl_bench.stats.verdicts import holm

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
    for function in (partial(summarise, resamples=100), drop_under_shift, partial(gain, resamples=100)):
        pd.testing.assert_frame_equal(function(frame), function(shuffled), rtol=0, atol=0)


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
    table = drop_under_shift(tidy())
    assert tuple(table.columns) == DROP_COLUMNS
    assert len(table) == 9
    row = cell(table, family="ant-dir", method="focal")
    assert row["drop"] == pytest.approx(row["score_from"] - row["score_to"])
    difference = of_cell("focal", "high") - of_cell("focal", "low")
    paired = ttest_1samp(difference.mean(axis=1), 0).confidence_interval()
    assert (row["these_low"], row["these_high"]) == pytest.approx(tuple(paired))
    assert row["new_low"] < 20 < row["new_high"]
    # tasks differ by 15 points; pairing takes that out
    assert row["new_high"] - row["new_low"] < 4
    blind = cell(table, family="all", method="task-blind")
    assert blind["new_low"] < 0 < blind["new_high"]


def of_cell(method, condition, family="ant-dir"):
    """(seeds, tasks) of :func:`tidy`."""
    rows = tidy().query(f"family == '{family}' and method == '{method}' and condition == '{condition}'")
    return rows.groupby(["seed", "task"])["score"].mean().unstack().to_numpy()


def test_drop_of_missing_qualities():
    frame = tidy(families=("ant-dir",)).query("not (method == 'focal' and condition == 'low')")
    assert set(drop_under_shift(frame)["method"]) == {"corro", "task-blind"}
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
    worse = cell(gain(tidy(), "corro", resamples=1000), family="all", condition="low")
    for question in ("these", "new"):
        assert cell(table, family="all", condition="high")[f"{question}_verdict"] == "better"
        assert worse[f"{question}_verdict"] == "worse"
        row = cell(table, family="ant-dir", condition="high")
        assert row["difference"] == pytest.approx(row["score_first"] - row["score_second"])
        assert row[f"{question}_low"] < 30 < row[f"{question}_high"]
        p_values, p_holm = table[f"{question}_p_value"], table[f"{question}_p_holm"]
        np.testing.assert_allclose(p_holm, holm(p_values.to_numpy()))
        assert (p_holm >= p_values).all()


def test_a_method_as_good_as_the_control_is_equivalent():
    rows = gain(tidy(methods={"task-blind": 40.0, "twin": 40.0}), "twin").query("condition == 'high'")
    assert set(rows["these_verdict"]) == set(rows["new_verdict"]) == {"equivalent"}


def test_correction_is_per_table():
    one = gain(tidy())
    two = gain(pd.concat([tidy(), tidy(suite="other")]))
    same = two.query("suite == 'shift'").reset_index(drop=True)
    pd.testing.assert_frame_equal(one, same)


def test_small_p_values_survive_the_correction_of_a_large_table():
    """Of 31 families with two conditions each the smallest p value is multiplied by 64."""
    families = [f"family-{number:02}" for number in range(31)]
    table = gain(tidy(families, {"task-blind": 40.0, "focal": 90.0}, tasks=3, draws=1), resamples=100)
    assert (table[["these_p_holm", "new_p_holm"]] < 0.05).all(axis=None)


def test_single_seed_is_never_decided():
    table = gain(tidy(seeds=1), resamples=200)
    assert set(table["these_verdict"]) == set(table["new_verdict"]) == {"undecided"}
    assert table[["these_low", "new_p_value"]].isna().all(axis=None)
    single_task = gain(tidy(tasks=1), resamples=200)
    assert "undecided" not in set(single_task.query("condition == 'high'")["these_verdict"])
    assert set(single_task.query("family != 'all'")["new_verdict"]) == {"undecided"}


def test_a_mean_has_students_interval_for_new_seeds_and_tasks():
    row = cell(summarise(tidy(), resamples=50), family="ant-dir", method="focal", condition="high")
    found = on_new_tasks(marginals(of_cell("focal", "high")))
    half = student.ppf(0.975, found.degrees) * found.variance**0.5
    assert (row["score_mean_low"], row["score_mean_high"]) == pytest.approx(
        (found.estimate - half, found.estimate + half)
    )


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
