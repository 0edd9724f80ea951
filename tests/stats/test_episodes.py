"""Areas under episodes, adaptation from the first, and generalisation gaps."""

import itertools

import numpy as np
import pytest

from omrl_bench.stats.episodes import ADAPTATION_COLUMNS, AREA_COLUMNS, adaptation_from_first, area_under_episodes
from omrl_bench.stats.estimated import Resamples
from omrl_bench.stats.generalisation import GAP_COLUMNS, _gap, generalisation_gap
from omrl_bench.stats.panels import Key, Panel
from omrl_bench.stats.summary import summarise

LEVELS = (10.0, 60.0, 80.0)


def curves(families=("ant-dir",), methods=("focal",), levels=LEVELS, seeds=4, tasks=6, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    found = {}
    for family, method in itertools.product(families, methods):
        effects = rng.normal(0, 20, (1, tasks)) + rng.normal(0, 5, (seeds, 1))
        for number, level in enumerate(levels, 1):
            found[family, f"episode-{number}", method] = level + effects + rng.normal(0, 1, (seeds, tasks))
    return found


def test_area_is_the_mean_over_episodes(frame):
    scores = curves()
    row = area_under_episodes(frame(scores), resamples=500).iloc[0]
    assert row["area"] == pytest.approx(np.mean(list(scores.values())))
    assert row["area_low"] < row["area"] < row["area_high"]
    assert (row["episodes"], row["n_seeds"], row["n_tasks"], row["n_draws"]) == (3, 4, 6, 1)


def test_area_of_a_flat_curve_is_the_summary_of_an_episode(frame):
    one = curves(levels=(50.0,))[("ant-dir", "episode-1", "focal")]
    flat = frame({("ant-dir", f"episode-{number}", "focal"): one for number in range(1, 12)})
    area = area_under_episodes(flat, resamples=300).iloc[0]
    summary = summarise(flat, resamples=300).iloc[0]
    for end in ("", "_low", "_high"):
        assert area[f"area{end}"] == pytest.approx(summary[f"score_mean{end}"])
    assert area["episodes"] == 11


def test_adaptation_is_paired(frame):
    table = adaptation_from_first(frame(curves(("ant-dir", "point-goal"))), resamples=500)
    assert tuple(table.columns) == ADAPTATION_COLUMNS
    assert list(table["family"]) == ["all", "ant-dir", "point-goal"]
    np.testing.assert_allclose(table["adaptation"], table["score_last"] - table["score_first"])
    # tasks differ by 20 points and seeds by 5; pairing takes that out
    assert (table["adaptation_high"] - table["adaptation_low"] < 5).all()
    assert ((table["adaptation_low"] < 70) & (table["adaptation_high"] > 70)).all()
    mean = table["adaptation"].iloc[1:].mean()
    assert table["adaptation"].iloc[0] == pytest.approx(mean)


def test_episodes_are_ordered_by_number_not_by_name(frame):
    levels = [float(number) for number in range(1, 13)]
    row = adaptation_from_first(frame(curves(levels=levels)), resamples=50).iloc[0]
    assert row["adaptation"] == pytest.approx(11, abs=1)


def test_other_conditions_do_not_count(frame):
    scores = curves()
    more = scores | {("ant-dir", name, "focal"): np.zeros((4, 6)) for name in ("high", "execute", "explore-1")}
    table = area_under_episodes(frame(more), resamples=50)
    assert tuple(table.columns) == AREA_COLUMNS
    assert table.equals(area_under_episodes(frame(scores), resamples=50))


def test_all_needs_every_family(frame):
    scores = curves(("ant-dir", "point-goal"), ("focal", "pearl"))
    lacking = {key: matrix for key, matrix in scores.items() if key[::2] != ("point-goal", "pearl")}
    table = area_under_episodes(frame(lacking), resamples=50)
    assert list(table.query("family == 'all'")["method"]) == ["focal"]
    assert len(table) == 4


def test_what_makes_no_curve_is_named(frame):
    scores = curves(methods=("focal", "pearl"))
    del scores["ant-dir", "episode-2", "pearl"]
    for function in (area_under_episodes, adaptation_from_first):
        with pytest.raises(ValueError, match="ant-dir / pearl: no results of episode 2"):
            function(frame(scores))
        with pytest.raises(ValueError, match="no results of episodes"):
            function(frame({("ant-dir", "high", "focal"): np.ones((2, 2))}))
    uneven = curves()
    uneven["ant-dir", "episode-2", "focal"] = np.ones((3, 6))
    with pytest.raises(ValueError, match="episodes differ in their seeds or tasks"):
        area_under_episodes(frame(uneven))
    with pytest.raises(ValueError, match="one episode is no curve"):
        adaptation_from_first(frame(curves(levels=(1.0,))))


def sides(frame, train, test, seeds=None):
    def key(matrix):
        return {("ant-dir", "high", "focal"): matrix}

    return frame(key(train), tasks=range(train.shape[1])), frame(key(test), seeds)


def test_gap(frame):
    rng = np.random.default_rng(0)
    runs = rng.normal(0, 15, (5, 1))
    train, test = 80 + runs + rng.normal(0, 3, (5, 30)), 60 + runs + rng.normal(0, 3, (5, 20))
    table = generalisation_gap(*sides(frame, train, test), resamples=1000)
    assert tuple(table.columns) == GAP_COLUMNS
    row = table.iloc[0]
    assert row["gap"] == pytest.approx(train.mean() - test.mean())
    # the same runs on both sides: what they differ in does not count
    assert row["gap_low"] < 20 < row["gap_high"] < row["gap_low"] + 6
    assert (row["n_seeds"], row["n_tasks"]) == (5, 20)
    unpaired = generalisation_gap(*sides(frame, train, test, {"focal": range(10, 15)}), resamples=1000).iloc[0]
    assert unpaired["gap_high"] - unpaired["gap_low"] > 15


@pytest.mark.parametrize("same_seeds", [True, False])
def test_gap_agrees_with_all_resamples(same_seeds):
    train, test = np.array([[0.0, 10.0], [4.0, 50.0]]), np.array([[1.0, 3.0], [7.0, 20.0]])
    key = Key("shift", "quick", "mixed", "iql", "ant-dir", "high", "focal")
    panels = (
        Panel("ant-dir", train, train, (0, 1), (0, 1), 1),
        Panel("ant-dir", test, test, (0, 1) if same_seeds else (7, 8), (40, 41), 1),
    )
    found = _gap(key, *panels, resamples=40_000)
    draws = list(itertools.product(range(2), repeat=2))
    exact = np.array(
        [
            train[np.ix_(s, t)].mean() - test[np.ix_(z, u)].mean()
            for s, z, t, u in itertools.product(draws, repeat=4)
            if not same_seeds or s == z
        ]
    )
    assert found.samples.mean() == pytest.approx(exact.mean(), abs=0.3)
    assert found.samples.var() == pytest.approx(exact.var(), rel=0.03)
    assert set(np.round(found.samples, 9)) <= set(np.round(exact, 9))
    assert len(found.parts) == (3 if same_seeds else 4)


def test_gap_needs_both_sides_and_different_tasks(frame):
    train, test = sides(frame, np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="focal / high: training and test share the tasks 40, 41"):
        generalisation_gap(test, test)
    with pytest.raises(ValueError, match="ant-dir / focal / high: no results on test tasks"):
        generalisation_gap(train, test.assign(condition="low"))
    more = test.assign(method="pearl")
    with pytest.raises(ValueError, match="ant-dir / pearl / high: no results on training tasks"):
        generalisation_gap(train, type(test)([*test.to_dict("records"), *more.to_dict("records")]))


def test_resamples_are_drawn_once(frame):
    shared = Resamples(10)
    key = Key("shift", "quick", "mixed", "iql", "ant-dir", "high", "focal")
    panel = Panel("ant-dir", np.ones((2, 3)), np.ones((2, 3)), (0, 1), (40, 41, 42), 1)
    for first, second in zip(
        shared.counts(key, panel), shared.counts(key._replace(condition="low"), panel), strict=True
    ):
        assert first is second
