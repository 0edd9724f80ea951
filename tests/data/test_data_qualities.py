"""The qualities medium (half-way between random and expert) and cross (an expert that is told another task)."""

from dataclasses import replace

import minari
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.api import BEHAVIOURS
from omrl_bench.data import build
from omrl_bench.data.behaviour import EXPERT, half_way, make_actor
from omrl_bench.data.build import Levels, _of_evaluation_tasks, _other_tasks, collect
from omrl_bench.data.contexts import DRAWS
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import write_dataset
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import FAMILIES, get_family

# --- half-way

STEPS = np.arange(10.0)


@pytest.mark.parametrize(
    ("means", "random", "lower", "share"),
    [
        (STEPS, 0.0, 4, 0.5),  # half-way is 4.5
        (STEPS, 1.0, 5, 0.0),  # 5 exactly
        (STEPS, -5.0, 2, 0.0),
        (STEPS**2, 0.0, 6, 4.5 / 13),  # 40.5 between 36 and 49
        (STEPS - 100, -200.0, 0, 0.0),  # -145.5 is below them all
        (np.array([0, 9, 9, 9, 9, 9, 9, 9, 9, 9.0]), 0.0, 0, 0.5),
        (np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 8.0]), 0.0, 8, 0.5),
        (np.array([0, 1, 7, 2, 3, 4, 5, 6, 8, 10.0]), 0.0, 6, 0.0),  # not monotone: the last one that is not above
        (np.array([0, 1, 7, 2, 3, 4, 4, 6, 8, 10.0]), 0.0, 6, 0.5),
    ],
)
def test_half_way_by_hand(means, random, lower, share):
    found = half_way(np.array(means), random)
    assert found == (lower, pytest.approx(share))
    assert isinstance(found[0], int)


returns_ = st.floats(-1e3, 1e3)


@given(st.lists(returns_, min_size=10, max_size=10, unique=True), returns_)
def test_half_way_is_always_a_mixture_of_neighbours(means, random):
    """Whatever was measured; the target lies between the two wherever a behaviour is below and the expert above it."""
    means = np.array(means)
    lower, share = half_way(means, random)
    assert 0 <= lower < EXPERT
    assert 0 <= share <= 1
    target = (random + means[EXPERT]) / 2
    if (means[:EXPERT] <= target).any() and means[EXPERT] >= target:
        assert means[lower] <= target <= means[lower + 1]
        mixture = means[lower] + share * (means[lower + 1] - means[lower])
        assert mixture == pytest.approx(target, rel=1e-6, abs=1e-6)


@given(returns_, st.lists(st.floats(0.01, 100), min_size=9, max_size=9), st.floats(0, 1))
def test_half_way_is_exact_for_rising_behaviours(first, rises, place):
    """Random may be as good as some behaviours."""
    means = first + np.concatenate([[0], np.cumsum(rises)])
    random = 2 * means[0] - means[EXPERT] + place * 2 * (means[EXPERT] - means[0])
    target = (random + means[EXPERT]) / 2
    lower, share = half_way(means, random)
    if means[0] <= target <= means[EXPERT]:
        assert (1 - share) * means[lower] + share * means[lower + 1] == pytest.approx(target, rel=1e-9, abs=1e-6)


# --- medium


def test_medium_is_half_way_on_point(point, canonical):
    train = point.tasks().ids("train")
    data = {quality: canonical[quality].of_tasks(train) for quality in ("random", "medium", "expert")}
    random, medium, expert = (episodes.returns() for episodes in data.values())
    target = (random.mean() + expert.mean()) / 2
    # both the levels (120 episodes of each behaviour) and the dataset are samples
    spread = [medium[data["medium"].behaviours == k].std() for k in (5, 6)]
    error = np.hypot(np.max(spread) / np.sqrt(120), medium.std() / np.sqrt(len(medium)))
    assert abs(medium.mean() - target) < 2 * error < 0.2 * (expert.mean() - random.mean())


def test_medium_mixes_the_two_neighbours_in_every_task(point, canonical):
    levels = read_manifest(point).levels()
    lower, share = half_way(np.array(levels.behaviours), levels.random)
    medium, better = canonical["medium"], round(45 * share)
    assert set(medium.behaviours) == {lower, lower + 1}
    counts = medium.select(np.flatnonzero(medium.behaviours == lower + 1)).counts(len(point.tasks()))
    np.testing.assert_array_equal(counts[point.tasks().ids("train")], better)
    np.testing.assert_array_equal(counts[point.tasks().ids("validation", "test")], round(better / 45 * 20))


@given(st.integers(1, 60), st.integers(1, 30), st.floats(0, 1))
def test_an_evaluation_task_has_both_behaviours_of_medium_in_their_share(episodes, most, share):
    behaviours = 3 + (np.arange(episodes) < round(share * episodes))
    kept = _of_evaluation_tasks("medium", behaviours, most)
    assert kept.sum() == min(most, episodes)
    assert not np.diff(np.flatnonzero(kept)).max(initial=1) > 1  # in a row
    shares = (behaviours == 4).mean(), (behaviours[kept] == 4).mean()
    assert abs(shares[0] - shares[1]) <= 0.5 / kept.sum() + 1e-9
    first = _of_evaluation_tasks("mixed", behaviours, most)
    assert np.flatnonzero(first).tolist() == list(range(min(most, episodes)))


def test_medium_follows_the_levels(point):
    def behaviours(levels):
        return collect(point, "medium", 1, episodes=4, levels=levels).episodes.behaviours[:4].tolist()

    assert behaviours(Levels(0.0, tuple(STEPS))) == [5, 5, 4, 4]
    assert behaviours(Levels(-4.0, tuple(STEPS))) == [3, 3, 2, 2]
    assert behaviours(Levels(1.5, tuple(STEPS))) == [6, 5, 5, 5]
    with pytest.raises(AssertionError, match="relative to the other qualities"):
        collect(point, "medium", 1, episodes=1)


# --- cross


@pytest.mark.parametrize("name", FAMILIES)
def test_other_tasks_are_training_tasks_with_another_descriptor(name):
    family = get_family(name)
    table = family.tasks()
    tasks = np.repeat(table.ids("validation", "test", "extrapolation"), DRAWS)
    told = _other_tasks(family, tasks, np.random.default_rng(0))
    assert np.isin(told, table.ids("train")).all()
    assert (table.descriptors[told] != table.descriptors[tasks]).any(axis=1).all()
    different = len(np.unique(table.descriptors[table.ids("train")], axis=0))
    expected = 1 if different == 2 else 7  # of two, only the other; else, any
    assert min(len(set(row)) for row in told.reshape(-1, DRAWS).tolist()) >= expected


def test_in_cheetah_dir_the_other_task_is_the_other_direction():
    family = get_family("cheetah-dir")
    tasks = np.repeat(family.tasks().ids("validation", "test"), DRAWS)
    told = _other_tasks(family, tasks, np.random.default_rng(0))
    directions = family.tasks().descriptors[:, 0]
    np.testing.assert_array_equal(directions[told], -directions[tasks])
    assert set(directions[told]) == {-1, 1}


def test_other_tasks_are_equally_likely(point):
    told = _other_tasks(point, np.full(6000, 45), np.random.default_rng(0))
    counts = np.bincount(told, minlength=len(point.tasks()))
    assert counts[:30].min() > 140  # 200 each
    assert counts[30:].sum() == 0


def test_cross_has_twenty_episodes_of_each_task_that_is_not_for_training(point, canonical):
    cross = canonical["cross"]
    np.testing.assert_array_equal(cross.tasks, np.repeat(point.tasks().ids("validation", "test"), DRAWS))
    assert set(cross.behaviours) == {EXPERT}
    assert cross.told.dtype == np.int64
    assert cross.told.max() < 30
    assert collect(point, "cross", 1, episodes=3).episodes.content_hash() == cross.content_hash()  # whatever is asked
    assert all(canonical[quality].told is None for quality in canonical if quality != "cross")


def test_cross_is_the_expert_walking_to_the_goal_it_was_told(point, canonical):
    cross = canonical["cross"]
    last = cross.next_observations[cross.offsets[1:] - 1]
    goals = point.tasks().descriptors
    assert np.linalg.norm(last - goals[cross.told], axis=1).max() < 0.1
    first = cross.offsets[:-1]  # and is paid for the true one
    np.testing.assert_allclose(
        cross.rewards[first], -np.linalg.norm(cross.next_observations[first] - goals[cross.tasks], axis=1), atol=1e-6
    )


def test_cross_is_worse_than_the_expert_on_point(point, canonical):
    cross, expert = canonical["cross"], canonical["expert"]
    others = point.tasks().ids("validation", "test")
    wrong = [cross.returns()[cross.tasks == task].mean() for task in others]
    right = [expert.returns()[expert.tasks == task].mean() for task in others]
    assert (np.array(wrong) < np.array(right) - 20).all()


def test_cross_is_worse_than_the_expert_on_cheetah(cheetah):
    """A few lanes of the rollout that collect would do, for 60 steps."""
    family, tasks = replace(cheetah, horizon=60), cheetah.tasks().ids("test")[::3]
    nine, seeds = np.full(len(tasks), EXPERT), np.arange(len(tasks))
    told = _other_tasks(family, tasks, np.random.default_rng(1))
    returns = [
        build.roll_out(
            family, make_actor(family), tasks, nine, seeds, np.random.default_rng(0), 1, told=t
        ).episodes.returns()
        for t in (None, told)
    ]
    assert returns[1].mean() < returns[0].mean() - 20


def test_the_actor_sees_what_it_is_told_and_the_environment_the_truth(point, monkeypatch):
    shown, reset = [], []

    class Spy:
        def reset(self, behaviours, rng):
            pass

        def act(self, observations, descriptors, rng, deterministic=False):
            shown.append(descriptors)
            return np.zeros((len(observations), 2))

    class Env(BatchedEnv):
        def reset(self, tasks, seeds, lanes=None):
            reset.append(tasks)
            return super().reset(tasks, seeds, lanes)

    monkeypatch.setattr(build, "BatchedEnv", Env)
    tasks, told, rng = np.array([30, 31]), np.array([4, 2]), np.random.default_rng(0)
    family = replace(point, horizon=2)
    episodes = build.roll_out(family, Spy(), tasks, np.full(2, 9), tasks, rng, 1, told=told).episodes
    assert [d.tolist() for d in shown] == [point.tasks().descriptors[told].tolist()] * 2
    assert reset[0].tolist() == [30, 31]
    assert (episodes.tasks.tolist(), episodes.told.tolist()) == ([30, 31], [4, 2])


def test_what_was_told_is_in_minaris_metadata(point, canonical, root):
    others = point.tasks().ids("validation", "test")
    kept = np.arange(len(others)) * DRAWS
    chosen = canonical["cross"].select(kept)
    write_dataset(point, "cross", chosen, (0.0, 1.0))
    metadata = minari.load_dataset("omrl/point-goal/cross-v1").storage.get_episode_metadata(range(len(others)))
    pairs = [(int(about["task_id"]), int(about["told_task_id"])) for about in metadata]
    assert pairs == list(zip(others.tolist(), canonical["cross"].told[kept].tolist(), strict=True))


def test_behaviours_of_mixed_take_turns(point):
    episodes = collect(point, "mixed", 1, episodes=BEHAVIOURS).episodes
    np.testing.assert_array_equal(episodes.behaviours.reshape(-1, 10), [range(10)] * len(point.tasks()))
