"""The data card's numbers, and the leak check that tells data which gives the task away from data which does not."""

from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.cards.card import Local, is_scripted, make_card, weak_tasks
from omrl_bench.cards.leak import Leak, measure_leak
from omrl_bench.data.build import collect
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.errors import InputError


@pytest.fixture(scope="module")
def collected():
    """Small real datasets of point-goal, by quality."""
    family = get_family("point-goal")
    levels = read_manifest(family).levels()
    return {
        quality: collect(family, quality, threads=1, episodes=10, levels=levels).episodes
        for quality in ("mixed", "expert", "medium", "random", "cross")
    }


@pytest.fixture(scope="module")
def train():
    return get_family("point-goal").tasks().ids("train")


def with_column(episodes, column):
    """The same episodes with one more number in the state."""
    wider = np.concatenate([episodes.observations, np.asarray(column, np.float32)[:, None]], axis=1)
    return replace(episodes, observations=wider)


def artificial(tasks, length, rng):
    """Episodes of noise."""
    count = len(tasks) * length
    return Episodes(
        observations=rng.standard_normal((count, 3)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        rewards=np.zeros(count, np.float32),
        next_observations=np.zeros((count, 3), np.float32),
        terminated=np.zeros(count, bool),
        offsets=np.arange(0, count + 1, length),
        tasks=np.asarray(tasks),
        behaviours=np.zeros(len(tasks), np.int64),
        seeds=np.zeros(len(tasks), np.int64),
    )


def test_random_actions_do_not_give_the_task_away(collected, train):
    leak = measure_leak(collected["random"], train)
    assert leak.tasks == len(train) == 30 and leak.chance == pytest.approx(1 / 30)
    assert leak.interval()[0] <= leak.chance
    assert leak.transition_accuracy < 2.5 * leak.chance


def test_a_task_index_in_the_state_is_found(collected, train):
    episodes = collected["random"]
    leaking = with_column(episodes, np.repeat(episodes.tasks, np.diff(episodes.offsets)))
    leak = measure_leak(leaking, train)
    assert leak.episode_accuracy == 1 and leak.transition_accuracy > 0.99


def test_the_expert_shows_where_the_goal_is(collected, train):
    leak = measure_leak(collected["expert"], train)
    assert leak.episode_accuracy > 0.9
    assert leak.episode_accuracy > 3 * measure_leak(collected["mixed"], train).episode_accuracy


def test_what_only_names_the_episode_is_no_leak():
    """A split by transition would call this one perfect: every episode has a number of its own."""
    tasks = np.repeat(np.arange(5), 40)
    episodes = artificial(tasks, 20, np.random.default_rng(1))
    marked = with_column(episodes, np.repeat(np.random.default_rng(2).permutation(len(tasks)), 20))
    leak = measure_leak(marked, np.arange(5))
    assert leak.interval()[0] <= leak.chance == 0.2
    assert leak.transition_accuracy < 0.35


def test_the_leak_check_judges_a_fifth_of_every_task(collected, train):
    leak = measure_leak(collected["mixed"], train)
    assert leak.episodes == 30 * 2
    assert leak.transitions == 30 * 2 * 60
    assert leak == measure_leak(collected["mixed"], train)


def test_the_leak_check_of_episodes_of_different_lengths(make_ragged, cheetah):
    ids = cheetah.tasks().ids("train")
    leak = measure_leak(make_ragged(cheetah, episodes=(2, 4)), ids)  # the first observation is the task
    assert leak.transition_accuracy > 0.9 and leak.tasks == len(ids)


@pytest.mark.parametrize("tasks", [[0, 0, 0], [0, 0, 1]])
def test_too_little_data_for_a_leak_check(tasks):
    with pytest.raises(InputError, match="two tasks or more, with two episodes or more of each"):
        measure_leak(artificial(tasks, 3, np.random.default_rng(0)), np.arange(2))


def test_wilson_interval():
    low, high = Leak(0.5, 1000, 0.5, 100, 30).interval()
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert Leak(1.0, 1000, 1.0, 100, 30).interval()[1] == pytest.approx(1.0)


def test_weak_tasks_gain_less_than_half_of_the_median():
    random, expert = (-100.0, -120.0, -80.0, -100.0), (0.0, -10.0, -60.0, -49.0)  # gains 100, 90, 40, 51; median 70.5
    assert weak_tasks(random, expert) == ()
    random, expert = (-100.0,) * 5, (0.0, 0.0, -51.0, -49.0, -10.0)  # median 90
    assert weak_tasks(random, (*expert[:2], -56.0, -54.0, -10.0)) == ((2, pytest.approx(44 / 90)),)


@pytest.fixture(scope="module")
def card(collected):
    family = get_family("point-goal")
    datasets = {
        quality: Local(episodes, f"hash of {quality}", {f"{quality}.episode": "x"}, 3, 2**20, "equivalent")
        for quality, episodes in collected.items()
    }
    return make_card(family, read_manifest(family), datasets, learner=None)


def test_the_card_counts_what_is_there(card):
    assert card.splits == {"train": 30, "validation": 10, "test": 100, "extrapolation": 0}
    assert not card.train_is_test and card.weak == ()
    assert (round(card.random, 1), round(card.expert, 2)) == (-63.2, -3.84)
    assert [each.quality for each in card.datasets] == ["mixed", "expert", "medium", "random", "cross"]
    mixed, *_, cross = card.datasets
    assert (mixed.tasks, mixed.episodes, mixed.transitions, mixed.mean_length) == (140, 1400, 84_000, 60)
    assert (cross.tasks, cross.episodes) == (110, 2200)  # 20 draws of every task that is not for training
    assert (mixed.dropped, mixed.size, mixed.status, mixed.content) == (3, 2**20, "equivalent", "hash of mixed")
    assert set(card.leaks) == {"mixed", "expert"}


@pytest.mark.parametrize("quality", ["mixed", "cross"])
def test_return_quantiles(card, collected, quality):
    each = next(each for each in card.datasets if each.quality == quality)
    episodes = collected[quality]
    returns = [
        float(episodes.rewards[a:b].astype(float).sum())
        for a, b in zip(episodes.offsets[:-1], episodes.offsets[1:], strict=True)
    ]
    by_task = {}
    for task, value in zip(episodes.tasks.tolist(), returns, strict=True):
        by_task.setdefault(task, []).append(value)
    means = sorted(np.mean(values) for values in by_task.values())
    assert each.mean_return == pytest.approx(np.mean(returns))
    assert each.task_quantiles == pytest.approx(np.quantile(means, [0, 0.1, 0.5, 0.9, 1]))
    assert each.episode_quantiles == pytest.approx(np.quantile(returns, [0.1, 0.5, 0.9]))


def test_every_family_says_who_acted(card):
    for family in FAMILIES.values():
        learner = None if is_scripted(family) else "SAC"
        text = replace(card, family=family, learner=learner).made_by
        assert ("scripted" in text) == family.name.startswith("point-")
        assert ("SAC" in text and "results/behaviour/" in text) != family.name.startswith("point-")
    borrowed = replace(card, family=get_family("cheetah-vel-sparse"), learner="SAC").made_by
    assert "cheetah-vel: same robot" in borrowed and "results/behaviour/cheetah-vel.csv" in borrowed
