"""Areas under episodes, and generalisation gaps."""

import itertools

import numpy as np
import pytest

from omrl_bench.stats.episodes import AREA_COLUMNS, area_under_episodes
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
    row = area_under_episodes(frame(scores)).iloc[0]
    assert row["area"] == pytest.approx(np.mean(list(scores.values())))
    assert row["area_low"] < row["area"] < row["area_high"]
    assert (row["episodes"], row["n_seeds"], row["n_tasks"], row["n_draws"]) == (3, 4, 6, 1)


def test_area_of_a_flat_curve_is_the_summary_of_an_episode(frame):
    one = curves(levels=(50.0,))[("ant-dir", "episode-1", "focal")]
    flat = frame({("ant-dir", f"episode-{number}", "focal"): one for number in range(1, 12)})
    area = area_under_episodes(flat).iloc[0]
    summary = summarise(flat, resamples=300).iloc[0]
    for end in ("", "_low", "_high"):
        assert area[f"area{end}"] == pytest.approx(summary[f"score_mean{end}"])
    assert area["episodes"] == 11


def test_other_conditions_do_not_count(frame):
    scores = curves()
    more = scores | {("ant-dir", name, "focal"): np.zeros((4, 6)) for name in ("high", "execute", "explore-1")}
    table = area_under_episodes(frame(more))
    assert tuple(table.columns) == AREA_COLUMNS
    assert table.equals(area_under_episodes(frame(scores)))


def test_all_needs_every_family(frame):
    scores = curves(("ant-dir", "point-goal"), ("focal", "pearl"))
    lacking = {key: matrix for key, matrix in scores.items() if key[::2] != ("point-goal", "pearl")}
    table = area_under_episodes(frame(lacking))
    assert list(table.query("family == 'all'")["method"]) == ["focal"]
    assert len(table) == 4


def test_what_makes_no_curve_is_named(frame):
    scores = curves(methods=("focal", "pearl"))
    del scores["ant-dir", "episode-2", "pearl"]
    with pytest.raises(ValueError, match="ant-dir / pearl: no results of episode 2"):
        area_under_episodes(frame(scores))
    with pytest.raises(ValueError, match="no results of episodes"):
        area_under_episodes(frame({("ant-dir", "high", "focal"): np.ones((2, 2))}))
    uneven = curves()
    uneven["ant-dir", "episode-2", "focal"] = np.ones((3, 6))
    with pytest.raises(ValueError, match="episodes differ in their seeds or tasks"):
        area_under_episodes(frame(uneven))


def sides(frame, train, test, seeds=None):
    def key(matrix):
        return {("ant-dir", "high", "focal"): matrix}

    return frame(key(train), tasks=range(train.shape[1])), frame(key(test), seeds)


def test_gap(frame):
    rng = np.random.default_rng(0)
    runs = rng.normal(0, 15, (5, 1))
    train, test = 80 + runs + rng.normal(0, 3, (5, 30)), 60 + runs + rng.normal(0, 3, (5, 20))
    table = generalisation_gap(*sides(frame, train, test))
    assert tuple(table.columns) == GAP_COLUMNS
    row = table.iloc[0]
    assert row["gap"] == pytest.approx(train.mean() - test.mean())
    # the same runs on both sides: what they differ in does not count
    assert row["gap_low"] < 20 < row["gap_high"] < row["gap_low"] + 6
    assert (row["n_seeds"], row["n_tasks"]) == (5, 20)
    unpaired = generalisation_gap(*sides(frame, train, test, {"focal": range(10, 15)})).iloc[0]
    assert unpaired["gap_high"] - unpaired["gap_low"] > 15


@pytest.mark.parametrize("same_seeds", [True, False])
def test_gap_as_written_out(same_seeds):
    """Tasks are never the same, seeds may be: a of the runs' differences, b and e of each side."""
    rng = np.random.default_rng(1)
    train, test = rng.normal(80, 5, (5, 6)) + rng.normal(0, 9, (5, 1)), rng.normal(60, 5, (5, 4))
    key = Key("shift", "quick", "mixed", "iql", "ant-dir", "high", "focal")
    panels = (
        Panel("ant-dir", train, train, tuple(range(5)), tuple(range(6)), 1),
        Panel("ant-dir", test, test, tuple(range(5) if same_seeds else range(7, 12)), (40, 41, 42, 43), 1),
    )
    found = _gap(key, *panels)
    by_seed = [side.mean(axis=1) for side in (train, test)]
    a = [by_seed[0] - by_seed[1]] if same_seeds else by_seed
    parts = [(values.var(ddof=1) / 5, 4) for values in a]
    b = [(side.mean(axis=0).var(ddof=1) / side.shape[1], side.shape[1] - 1) for side in (train, test)]
    e = []
    for side in (train, test):
        rest = side - side.mean(axis=1, keepdims=True) - side.mean(axis=0, keepdims=True) + side.mean()
        degrees = 4 * (side.shape[1] - 1)
        e.append(((rest**2).sum() / degrees / side.size, degrees))
    total_a, total_b, total_e = (sum(variance for variance, _ in part) for part in (parts, b, e))
    variance = max(total_a + total_b - total_e, total_a, total_b)
    assert found.estimate == pytest.approx(train.mean() - test.mean())
    assert found.variance == pytest.approx(variance)
    degrees = variance**2 / sum(value**2 / of for value, of in (*parts, *b, *e))
    assert found.degrees == pytest.approx(max(degrees, 3))


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
