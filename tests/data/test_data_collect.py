"""collect and roll_out: deterministic, laid out as documented, cut at the first terminal step."""

from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.data import build
from omrl_bench.data.behaviour import CheckpointActor, UniformActor, make_actor
from omrl_bench.data.build import EPISODES_PER_TASK, EVALUATION_EPISODES, collect, roll_out
from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.errors import InputError


def shortened(family):
    return replace(family, horizon=4 if family.assets else 12)


@pytest.fixture
def few(some_tasks, monkeypatch):
    """Make a family have a seventh of its tasks, with four episodes each at most: enough for two threads."""
    monkeypatch.setattr(build, "DRAWS", 4)  # episodes of each task that `cross` has, whatever is asked

    def make(family):
        ids = family.tasks().ids()
        some_tasks(family.tasks(), ids[::7] if len(ids) > 7 else ids)
        return shortened(family)

    return make


def test_the_same_bytes_every_time_and_with_any_threads(every, qualities_of, levels, few):
    family = few(every)
    for quality in qualities_of(every):
        runs = [collect(family, quality, threads, episodes=3, levels=levels) for threads in (1, 1, 2)]
        assert len({run.episodes.content_hash() for run in runs}) == 1
        assert {run.dropped for run in runs} == {0}


def test_qualities_are_different_and_share_no_seed(every, qualities_of, levels, few):
    family, qualities = few(every), qualities_of(every)
    data = [collect(family, quality, threads=1, episodes=2, levels=levels).episodes for quality in qualities]
    assert len({episodes.content_hash() for episodes in data}) == len(qualities)
    seeds = np.concatenate([episodes.seeds for episodes in data])
    assert len(np.unique(seeds)) == len(seeds)


def test_layout(point):
    episodes = collect(point, "mixed", threads=1, episodes=11).episodes
    tasks = len(point.tasks())
    count, rows = tasks * 11, tasks * 11 * point.horizon
    assert {name: (array.dtype.str, array.shape) for name, array in episodes.arrays().items()} == {
        "observations": ("<f4", (rows, 2)),
        "actions": ("<f4", (rows, 2)),
        "rewards": ("<f4", (rows,)),
        "next_observations": ("<f4", (rows, 2)),
        "terminated": ("|b1", (rows,)),
        "offsets": ("<i8", (count + 1,)),
        "tasks": ("<i8", (count,)),
        "behaviours": ("<i8", (count,)),
        "seeds": ("<i8", (count,)),
    }
    np.testing.assert_array_equal(episodes.tasks, np.repeat(np.arange(tasks), 11))
    np.testing.assert_array_equal(episodes.behaviours.reshape(tasks, 11), [[*range(10), 0]] * tasks)
    np.testing.assert_array_equal(episodes.offsets, np.arange(count + 1) * point.horizon)
    assert not episodes.terminated.any()


def test_behaviours_of_the_other_qualities(point):
    assert set(collect(point, "expert", threads=1, episodes=2).episodes.behaviours) == {9}
    assert set(collect(point, "random", threads=1, episodes=2).episodes.behaviours) == {-1}


def test_episodes_of_one_task_and_behaviour_differ(point):
    episodes = collect(point, "expert", threads=1, episodes=5).episodes
    assert len(np.unique(episodes.returns())) == len(episodes.tasks)


def test_canonical_size(canonical):
    assert (EPISODES_PER_TASK, EVALUATION_EPISODES) == (45, 20)
    sizes = {quality: len(episodes.tasks) for quality, episodes in canonical.items()}
    whole = 30 * 45 + 110 * 20
    assert sizes == dict.fromkeys(("mixed", "expert", "medium", "random"), whole) | {"cross": 110 * 20}


def test_transitions_are_connected_and_rewards_are_the_tasks(canonical, point):
    episodes = canonical["mixed"]
    inside = np.ones(len(episodes.rewards), bool)
    inside[episodes.offsets[1:] - 1] = False
    np.testing.assert_array_equal(episodes.next_observations[inside], episodes.observations[np.flatnonzero(inside) + 1])
    np.testing.assert_array_equal(episodes.observations[episodes.offsets[:-1]], 0)
    np.testing.assert_allclose(episodes.observations + episodes.actions, episodes.next_observations, atol=1e-6)
    goals = point.tasks().descriptors[np.repeat(episodes.tasks, np.diff(episodes.offsets))]
    np.testing.assert_allclose(episodes.rewards, -np.linalg.norm(episodes.next_observations - goals, axis=1), atol=1e-6)


def test_an_unknown_quality_is_an_input_error_with_the_nearest_name(point):
    with pytest.raises(InputError, match="unknown quality 'expret'; did you mean 'expert'"):
        collect(point, "expret", threads=1)


# --- episodes that terminate

HORIZON = 8
ENDS = [3, None, 1, HORIZON, 5]  # the step, from 1, at which a lane reaches a terminal state


class Ending:
    """A BatchedEnv whose lanes terminate at different steps; observation = (lane, steps so far)."""

    stays = True  # whether a lane says `terminated` at every later step too
    taken: list
    active: list

    def __init__(self, family, lanes, threads):
        self.lanes = lanes
        Ending.taken, Ending.active = [], []

    def observation(self):
        return np.stack([np.arange(self.lanes), np.full(self.lanes, self.step_count)], axis=1).astype(float)

    def reset(self, tasks, seeds):
        self.step_count = 0
        return self.observation()

    def step(self, actions, active):
        self.step_count += 1
        Ending.taken.append(np.array(actions))
        Ending.active.append(np.array(active))
        ends = np.array([end or 99 for end in ENDS])
        terminated = self.step_count >= ends if self.stays else self.step_count == ends
        rewards = 100.0 * np.arange(self.lanes) + self.step_count
        return self.observation(), rewards, terminated, np.full(self.lanes, self.step_count >= HORIZON)


@pytest.mark.parametrize("stays", [True, False])
def test_roll_out_keeps_rows_up_to_and_including_the_terminal_one(point, monkeypatch, stays):
    monkeypatch.setattr(build, "BatchedEnv", Ending)
    monkeypatch.setattr(Ending, "stays", stays)
    family, tasks = replace(point, horizon=HORIZON), np.array([0, 0, 4, 4, 59])
    behaviours, seeds = np.arange(5), np.arange(50, 55)
    rng = np.random.default_rng(0)
    collected = roll_out(family, UniformActor(family), tasks, behaviours, seeds, rng, threads=1)
    episodes = collected.episodes
    assert collected.dropped == 0

    lengths = [end or HORIZON for end in ENDS]
    np.testing.assert_array_equal(episodes.offsets, [0, *np.cumsum(lengths)])
    rows = [(lane, step) for lane, length in enumerate(lengths) for step in range(length)]
    np.testing.assert_array_equal(episodes.observations, rows)
    np.testing.assert_array_equal(episodes.next_observations, [(lane, step + 1) for lane, step in rows])
    np.testing.assert_array_equal(episodes.rewards, [100 * lane + step + 1 for lane, step in rows])
    np.testing.assert_array_equal(episodes.terminated, [step + 1 == ENDS[lane] for lane, step in rows])
    np.testing.assert_array_equal(episodes.actions, [Ending.taken[step][lane] for lane, step in rows])
    assert Ending.taken[0].dtype == np.float32  # what is applied is what is stored
    expected = [[step < length for length in lengths] for step in range(HORIZON)]
    np.testing.assert_array_equal(Ending.active, expected)  # what ended is simulated no further
    np.testing.assert_array_equal(episodes.returns(), [episodes.rewards[a:b].sum() for a, b in spans(episodes)])
    for name in ("tasks", "behaviours", "seeds"):
        np.testing.assert_array_equal(getattr(episodes, name), locals()[name])


def spans(episodes: Episodes):
    return zip(episodes.offsets[:-1], episodes.offsets[1:], strict=True)


# --- roll_out with real environments


def test_roll_out_equals_an_explicit_loop(cheetah):
    family = replace(cheetah, horizon=15)
    tasks, behaviours, seeds = np.array([0, 7, 69]), np.array([9, 4, 0]), np.array([1, 2, 3])
    actor = make_actor(family)
    assert isinstance(actor, CheckpointActor)
    episodes = roll_out(family, actor, tasks, behaviours, seeds, np.random.default_rng(4), threads=1).episodes
    env, rng = BatchedEnv(family, 3), np.random.default_rng(4)
    shown = env.reset(tasks, seeds)
    actor.reset(behaviours, rng)
    for step in range(15):
        actions = actor.act(shown, family.tasks().descriptors[tasks], rng).astype(np.float32)
        following, rewards, _, _ = env.step(actions)
        here = episodes.offsets[:-1] + step
        np.testing.assert_array_equal(episodes.observations[here], shown.astype(np.float32))
        np.testing.assert_array_equal(episodes.actions[here], actions)
        np.testing.assert_array_equal(episodes.rewards[here], rewards.astype(np.float32))
        np.testing.assert_array_equal(episodes.next_observations[here], following.astype(np.float32))
        shown = following


def test_returns_are_sums_in_double_precision(make_ragged, point):
    episodes = make_ragged(point)
    expected = [sum(float(r) for r in episodes.rewards[a:b]) for a, b in spans(episodes)]
    assert episodes.returns().dtype == np.float64
    np.testing.assert_array_equal(episodes.returns(), expected)


@pytest.mark.parametrize("name", list(Episodes.__dataclass_fields__))
def test_content_hash_sees_every_array(make_ragged, point, name):
    episodes = make_ragged(point)
    assert replace(episodes, told=episodes.tasks).content_hash() != episodes.content_hash()
    episodes = replace(episodes, told=episodes.tasks)
    array = getattr(episodes, name).copy()
    array.flat[-1] = not array.flat[-1] if array.dtype == bool else array.flat[-1] + 1
    assert replace(episodes, **{name: array}).content_hash() != episodes.content_hash()
    assert replace(episodes, **{name: array[:-1]}).content_hash() != episodes.content_hash()
    same = np.asfortranarray(getattr(episodes, name))
    assert replace(episodes, **{name: same}).content_hash() == episodes.content_hash()


def test_content_hash_sees_types(make_ragged, point):
    episodes = make_ragged(point)
    assert replace(episodes, seeds=episodes.seeds.view(np.uint64)).content_hash() != episodes.content_hash()


def test_select_equals_slow_slicing(make_ragged, point):
    episodes = make_ragged(point)
    episodes = replace(episodes, told=(episodes.tasks + 1) % len(point.tasks()))
    kept = np.array([5, 0, 5, len(episodes.tasks) - 1])
    chosen = episodes.select(kept)
    rows = [row for e in kept for row in range(episodes.offsets[e], episodes.offsets[e + 1])]
    for name in ("observations", "actions", "rewards", "next_observations", "terminated"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(episodes, name)[rows])
    for name in ("tasks", "behaviours", "seeds", "told"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(episodes, name)[kept])
    np.testing.assert_array_equal(chosen.offsets, [0, *np.cumsum(np.diff(episodes.offsets)[kept])])
    everything = episodes.select(np.arange(len(episodes.tasks)))
    assert everything.content_hash() == episodes.content_hash()
    assert replace(episodes, told=None).select(kept).told is None


def test_counts_are_per_task_with_zeros(make_ragged, point):
    episodes = make_ragged(point)
    missing = episodes.select(np.flatnonzero(episodes.tasks != 7))
    tasks = len(point.tasks())
    expected = [int((missing.tasks == task).sum()) for task in range(tasks)]
    assert missing.counts(tasks).tolist() == expected
    assert expected[7] == 0
