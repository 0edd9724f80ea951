"""Collapsed seeds, discrimination and z-scores, on boards whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from omrl_bench.stats.collapse import COLLAPSE_COLUMNS, DEVIATIONS, FEWEST_SEEDS, POINTS, collapsed_seeds
from omrl_bench.stats.discrimination import DISCRIMINATION_COLUMNS, RELIABLE, discrimination
from omrl_bench.stats.standardised import with_z_scores
from omrl_bench.stats.summary import summarise

CONTROLS = ("random", "oracle")


def board(levels, seeds=5, tasks=10, seed_noise=2.0, interaction=0.0, noise=0.0, rng_seed=0):
    """Scores (seeds, tasks) of each method: level, effects of seeds, tasks, methods on tasks, and noise."""
    rng = np.random.default_rng(rng_seed)
    task = rng.normal(0, 15, tasks)
    return {
        method: level
        + rng.normal(0, seed_noise, (seeds, 1))
        + task
        + rng.normal(0, interaction, tasks)
        + rng.normal(0, noise, (seeds, tasks))
        for method, level in levels.items()
    }


def placed(scores, family="ant-dir", condition="high"):
    return {(family, condition, method): matrix for method, matrix in scores.items()}


def level_methods(number, spread=0.0):
    return {f"m{index:02}": 50 + spread * index for index in range(number)}


# ---- collapsed seeds


def test_a_collapsed_seed_is_named_with_its_score_and_the_median(frame):
    scores = board(level_methods(6))
    scores["m03"][2] -= 40
    (row,) = collapsed_seeds(frame(placed(scores), seeds={"m03": [10, 11, 12, 13, 14]})).to_dict("records")
    assert (row["family"], row["condition"], row["method"], row["seed"]) == ("ant-dir", "high", "m03", 12)
    assert row["score"] == pytest.approx(scores["m03"][2].mean())
    assert row["median"] == pytest.approx(np.median(scores["m03"].mean(axis=1)))
    assert collapsed_seeds(frame(placed(board(level_methods(6))))).empty


def seeds_of(*scores):
    return np.repeat(np.array(scores, dtype=float)[:, None], 4, axis=1)


def test_what_is_too_small_to_matter_is_no_collapse(frame):
    calm = {"calm": seeds_of(50.1, 50, 49.9, 50, 50)}
    for fall, named in ((POINTS - 0.1, False), (POINTS + 0.1, True)):
        scores = calm | {"m": seeds_of(50.1, 50 - fall, 49.9, 50, 50)}
        assert bool(len(collapsed_seeds(frame(placed(scores))))) is named


def test_where_all_seeds_differ_much_one_that_differs_is_no_collapse(frame):
    fallen = {"m": seeds_of(60, 61, 59, 60, 40)}
    calm, wild = ({f"{kind}{i}": seeds_of(50 - d, 50 + d, 50, 50 - 2 * d, 50 + 2 * d) for i in range(4)}
                  for kind, d in (("calm", 1), ("wild", 6)))  # fmt: skip
    assert list(collapsed_seeds(frame(placed(fallen | calm)))["method"]) == ["m"]
    assert collapsed_seeds(frame(placed(fallen | wild))).empty
    unstable = {"m": seeds_of(70, 61, 52, 60, 40)}  # itself, among calm ones
    assert collapsed_seeds(frame(placed(unstable | calm))).empty
    # controls that do not train must not make the rest look wild, nor calm
    still = {"random": seeds_of(0, 0, 0, 0, 0), "oracle": seeds_of(90, 90, 90, 90, 90)}
    wild = {"wild": wild["wild0"]}
    assert collapsed_seeds(frame(placed(wild | fallen | still)), CONTROLS).empty


def test_too_few_seeds_name_none(frame):
    scores = board(level_methods(4), seeds=FEWEST_SEEDS - 1)
    scores["m00"][0] -= 90
    found = collapsed_seeds(frame(placed(scores)))
    assert found.empty and tuple(found.columns) == COLLAPSE_COLUMNS


def test_few_normal_seeds_are_named_and_most_deep_falls_are_found(frame):
    false, found = 0, 0
    for rng_seed in range(20):
        scores = board(level_methods(10), seed_noise=3, rng_seed=rng_seed)
        scores["m00"][1] -= 40
        rows = collapsed_seeds(frame(placed(scores)))
        found += ((rows["method"] == "m00") & (rows["seed"] == 1)).any()
        false += len(rows) - ((rows["method"] == "m00") & (rows["seed"] == 1)).sum()
    assert found >= 19 and false <= 2, (found, false, DEVIATIONS)


# ---- discrimination


def row_of(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


def test_reliability_follows_from_deviations_and_errors(frame):
    scores = board(level_methods(8, spread=3), tasks=12, interaction=4, noise=3)
    row = row_of(discrimination(frame(placed(scores))))
    best = sorted(scores.values(), key=np.mean)[-6:]  # of eight, 75 %
    means = np.array([matrix.mean() for matrix in best])
    error = np.mean([np.var(matrix.mean(axis=1), ddof=1) / 5 for matrix in best])
    between = means.var(ddof=1) - error
    assert row["error"] == pytest.approx(np.sqrt(error))
    assert row["between"] == pytest.approx(np.sqrt(between))
    assert row["reliability"] == pytest.approx(between / (between + error))
    assert (row["methods"], row["n_seeds"], row["n_tasks"], row["n_draws"]) == (8, 5, 12, 1)
    assert np.isnan(row["at_oracle"]) and row["discriminates"] is True
    assert row["error_new"] > row["error"] and row["reliability_new"] < row["reliability"]


@pytest.mark.parametrize(("spread", "verdict"), [(0, False), (4, True)])
def test_a_board_of_equal_methods_does_not_discriminate(frame, spread, verdict):
    found = [
        row_of(discrimination(frame(placed(board(level_methods(12, spread), rng_seed=seed))))) for seed in range(8)
    ]
    assert {row["discriminates"] for row in found} == {verdict}
    agreement = np.mean([row["rank_agreement"] for row in found])
    assert agreement > 0.9 if verdict else abs(agreement) < 0.15
    assert all((row["reliability"] >= RELIABLE) is verdict for row in found)


def test_errors_on_new_tasks_are_those_of_simulated_tasks(frame):
    """Means of many boards, whose methods are equal, scatter by as much as is said of each."""
    found, scatter = [], []
    for seed in range(150):
        scores = board(level_methods(4), seed_noise=2, interaction=6, noise=3, rng_seed=seed)
        found.append(row_of(discrimination(frame(placed(scores))))["error_new"] ** 2)
        scatter.append(np.var([matrix.mean() for matrix in scores.values()], ddof=1))
    truth = 2**2 / 5 + 6**2 / 10 + 3**2 / 50
    assert np.mean(scatter) == pytest.approx(truth, rel=0.2)
    assert np.mean(found) == pytest.approx(truth, rel=0.2)


def test_controls_are_no_methods_and_ties_with_the_oracle_are_those_of_welch(frame):
    scores = board(level_methods(6, spread=2) | {"oracle": 61, "random": 0}, seed_noise=3)
    row = row_of(discrimination(frame(placed(scores)), CONTROLS, "oracle"))
    tied = 0
    for method, matrix in scores.items():
        if method not in CONTROLS:
            test = ttest_ind(matrix.mean(axis=1), scores["oracle"].mean(axis=1), equal_var=False)
            tied += test.pvalue >= 0.05 or test.statistic > 0
    assert row["at_oracle"] == tied and 0 < tied < 6
    assert row["methods"] == 6
    without = {method: matrix for method, matrix in scores.items() if method != "random"}
    again = row_of(discrimination(frame(placed(without)), CONTROLS, "oracle"))
    assert again["reliability"] == row["reliability"] and again["rank_agreement"] == row["rank_agreement"]


def test_few_methods_or_single_seeds_say_nothing(frame):
    three = row_of(discrimination(frame(placed(board(level_methods(3, 10))))))
    assert three["methods"] == 3 and three["discriminates"] is None and np.isnan(three["reliability"])
    alone = discrimination(frame(placed(board(level_methods(6, 10), seeds=1))))
    assert alone.empty and tuple(alone.columns) == DISCRIMINATION_COLUMNS


def test_the_mean_over_families_is_a_board_too(frame):
    first, second = (board(level_methods(6, 3), rng_seed=seed) for seed in (1, 2))
    table = discrimination(frame(placed(first) | placed(second, family="point-goal")))
    assert set(table["family"]) == {"ant-dir", "point-goal", "all"}
    all_row = row_of(table, family="all")
    best = sorted(first, key=lambda method: first[method].mean() + second[method].mean())[-5:]
    parts = [np.mean([scores[m].mean(axis=1).var(ddof=1) / 5 for m in best]) for scores in (first, second)]
    assert all_row["error"] == pytest.approx(np.sqrt(sum(parts)) / 2)


def test_methods_with_other_tasks_are_refused(frame):
    scores = board(level_methods(4))
    scores["m00"] = scores["m00"][:, :5]
    with pytest.raises(ValueError, match="do not have the same tasks"):
        discrimination(frame(placed(scores)))


# ---- z-scores


def test_z_scores_are_standardised_over_methods_that_are_no_controls(frame):
    scores = board(level_methods(5, 4) | {"oracle": 95, "random": 0})
    table = with_z_scores(summarise(frame(placed(scores)), 200), CONTROLS).set_index("method")
    methods = table[~table.index.isin(CONTROLS)]
    assert methods["z"].mean() == pytest.approx(0, abs=1e-9) and methods["z"].std() == pytest.approx(1)
    width = table["score_mean_high"] - table["score_mean_low"]
    assert np.allclose(table["z_high"] - table["z_low"], width / methods["score_mean"].std())
    assert table.loc["oracle", "z"] > methods["z"].max() and table.loc["random", "z"] < methods["z"].min()


def test_all_is_the_mean_of_z_so_that_no_family_outweighs_another(frame):
    wide = {f"m{i}": np.full((5, 4), 50 + 10.0 * i) for i in range(4)}
    narrow = {f"m{i}": np.full((5, 4), 50 - 0.1 * i) for i in range(4)}
    noise = np.random.default_rng(0).normal(0, 0.01, (5, 4))
    noisy = {method: matrix + noise for method, matrix in narrow.items()}
    table = with_z_scores(summarise(frame(placed(wide) | placed(noisy, "point-goal")), 200))
    over = table.query("family == 'all'").set_index("method")
    assert over["score_mean"].is_monotonic_increasing
    assert np.allclose(over["z"], 0)  # the orders are opposite
    # the only variation is that of the second family
    second = table.query("family == 'point-goal'").set_index("method")
    assert np.allclose(over["z_high"] - over["z"], (second["z_high"] - second["z"]) / 2)
    pd.testing.assert_frame_equal(table.iloc[:, :-3], summarise(frame(placed(wide) | placed(noisy, "point-goal")), 200))


def test_two_methods_or_equal_ones_have_no_z(frame):
    for scores in (board(level_methods(2, 5)), {f"m{i}": np.full((3, 4), 50.0) for i in range(5)}):
        assert with_z_scores(summarise(frame(placed(scores)), 50))["z"].isna().all()
    assert with_z_scores(summarise(frame(placed(board(level_methods(3)))).iloc[:0], 50)).empty
