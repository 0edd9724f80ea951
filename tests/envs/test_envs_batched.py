"""Many lanes at once give the numbers of the ordinary environment."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from omrl_bench.envs.batched import LANES_PER_THREAD, BatchedEnv
from omrl_bench.envs.families import FAMILIES
from omrl_bench.envs.single import register
from omrl_bench.errors import InputError

register()
every_family = pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES.values()])
LANES = 4
#: Two threads need eight lanes each; fewer lanes run in one.
MANY = 16


def test_many_lanes_are_enough_for_two_threads():
    assert MANY >= 2 * LANES_PER_THREAD > LANES


def some_tasks(family, count):
    """Tasks all over the table, neighbours far apart, with repetitions where there are few."""
    return np.resize(np.random.default_rng(3).permutation(len(family.tasks())), count)


def wild_actions(family, steps, lanes=LANES, seed=0):
    """A third of the components lies beyond the limits."""
    return family.action_limit * np.random.default_rng(seed).uniform(-1.5, 1.5, (steps, lanes, family.action_size))


def roll(env, actions):
    """Observations, rewards, terminated and truncated of a batch, each (steps, lanes, ...)."""
    return [np.stack(part) for part in zip(*(env.step(a) for a in actions), strict=True)]


@every_family
def test_batch_equals_single_environments_over_a_whole_episode(family):
    """Bit for bit, and through terminal states too: neither resets by itself."""
    tasks = np.linspace(0, len(family.tasks()) - 1, LANES).astype(int)
    seeds = np.array([0, 1, 2**31, 2**32 - 1])
    actions = wild_actions(family, family.horizon)
    assert (np.abs(actions) > family.action_limit).any()
    batch = BatchedEnv(family, LANES)
    first = batch.reset(tasks, seeds)
    observations, rewards, terminated, truncated = roll(batch, actions)
    assert observations.shape == (family.horizon, LANES, family.observation_size)
    for lane in range(LANES):
        env = gymnasium.make(family.env_id, task=int(tasks[lane]))
        np.testing.assert_array_equal(env.reset(seed=int(seeds[lane]))[0], first[lane])
        for step in range(family.horizon):
            observation, reward, ended, cut, _ = env.step(actions[step, lane])
            np.testing.assert_array_equal(observation, observations[step, lane])
            assert reward == rewards[step, lane]
            assert (ended, cut) == (terminated[step, lane], truncated[step, lane])
        assert cut


@every_family
def test_one_environment_that_changes_tasks_equals_lanes_of_these_tasks(family):
    tasks, actions = some_tasks(family, LANES), wild_actions(family, 15, seed=4)
    batch = BatchedEnv(family, LANES)
    first = batch.reset(tasks, np.arange(LANES))
    observations, rewards, _, _ = roll(batch, actions)
    env = gymnasium.make(family.env_id).unwrapped
    for lane, task in enumerate(tasks.tolist()):
        np.testing.assert_array_equal(env.reset(seed=lane, options={"task": task})[0], first[lane])
        for step in range(len(actions)):
            observation, reward, _, _, _ = env.step(actions[step, lane])
            np.testing.assert_array_equal(observation, observations[step, lane])
            assert reward == rewards[step, lane]


@every_family
def test_threads_do_not_matter(family):
    actions = wild_actions(family, 12, lanes=MANY)
    results = []
    for threads in (1, 2, 7):
        env = BatchedEnv(family, MANY, threads)
        env.reset(some_tasks(family, MANY), np.arange(MANY))
        before = roll(env, actions[:6])
        again = np.array([15, 2, 9])
        env.reset(some_tasks(family, 3), [5, 6, 7], again)
        results.append([*before, *roll(env, actions[6:])])
    for other in results[1:]:
        for expected, actual in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(expected, actual)


@every_family
def test_actions_beyond_the_limits_are_clipped_in_dynamics_and_reward(family):
    actions = 7 * wild_actions(family, 5)
    limit = family.action_limit
    results = []
    for taken in (actions, np.clip(actions, -limit, limit)):
        env = BatchedEnv(family, LANES)
        env.reset(np.arange(LANES), np.arange(LANES))
        results.append(roll(env, taken))
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_array_equal(expected, actual)


@every_family
def test_lanes_do_not_depend_on_their_neighbours(family):
    actions = wild_actions(family, 10)
    batch, alone = BatchedEnv(family, LANES), BatchedEnv(family, 1)
    first = batch.reset([3, 4, 5, 2], [10, 11, 12, 13])
    np.testing.assert_array_equal(alone.reset([5], [12])[0], first[2])
    together, single = roll(batch, actions), roll(alone, actions[:, 2:3])
    for many, one in zip(together, single, strict=True):
        np.testing.assert_array_equal(many[:, 2], one[:, 0])


@every_family
def test_reset_of_some_lanes_leaves_the_others_alone(family):
    before, after = wild_actions(family, 7, seed=1), wild_actions(family, family.horizon - 7, seed=2)
    tasks, seeds = np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7])
    env, undisturbed = BatchedEnv(family, LANES), BatchedEnv(family, LANES)
    for batch in (env, undisturbed):
        batch.reset(tasks, seeds)
        last = roll(batch, before)[0][-1]
    again, others, new_tasks, new_seeds = np.array([3, 1]), np.array([0, 2]), np.array([4, 5]), np.array([20, 21])
    shown = env.reset(new_tasks, new_seeds, again)
    fresh = BatchedEnv(family, 2)
    np.testing.assert_array_equal(shown[again], fresh.reset(new_tasks, new_seeds))
    np.testing.assert_array_equal(shown[others], last[others])

    mixed, kept, started = roll(env, after), roll(undisturbed, after), roll(fresh, after[:, again])
    for some, expected_others, expected_again in zip(mixed, kept, started, strict=True):
        np.testing.assert_array_equal(some[:, others], expected_others[:, others])
        np.testing.assert_array_equal(some[:, again], expected_again)
    assert mixed[3][-1].tolist() == [True, False, True, False]  # the lanes that were reset have 7 steps left


@every_family
def test_a_seed_gives_one_start_and_another_seed_another(family):
    env = BatchedEnv(family, 3)
    starts = env.reset([0, 0, 0], [1, 1, 2])
    np.testing.assert_array_equal(starts[0], starts[1])
    fixed = family.name.startswith("point") and family.name != "point-square"
    assert np.array_equal(starts[0], starts[2]) == fixed


@every_family
def test_returned_arrays_are_the_callers_own(family):
    actions = wild_actions(family, 3)
    results = []
    for spoil in (False, True):
        env = BatchedEnv(family, LANES)
        shown = env.reset(np.arange(LANES), np.arange(LANES))
        for taken in actions:
            if spoil:
                shown[:] = 1e6
            shown = env.step(taken)[0]
        results.append(shown)
    np.testing.assert_array_equal(*results)


def active_masks(rng, steps, lanes):
    """Which lanes step when: some, all and none, and fewer and fewer towards the end."""
    masks = rng.random((steps, lanes)) < np.linspace(1, 0.2, steps)[:, None]
    masks[1], masks[2] = True, False
    return masks


@every_family
@pytest.mark.parametrize("threads", [1, 3])
def test_active_lanes_step_as_if_alone_and_the_others_stay_as_they_are(family, threads):
    """Bit for bit what each lane gives that is stepped only when it is its turn."""
    steps, lanes = 10, 3 * LANES_PER_THREAD
    actions, tasks = wild_actions(family, steps, lanes), some_tasks(family, lanes)
    masks = active_masks(np.random.default_rng(2), steps, lanes)
    env, whole = BatchedEnv(family, lanes, threads), BatchedEnv(family, lanes)
    shown, start = env.reset(tasks, np.arange(lanes)), whole.reset(tasks, np.arange(lanes))
    np.testing.assert_array_equal(shown, start)
    actions[~masks] = np.nan  # nobody looks at it
    for taken, active in zip(actions, masks, strict=True):
        before = shown
        shown, rewards, _, _ = env.step(taken, active)
        np.testing.assert_array_equal(shown[~active], before[~active])
        assert (rewards[~active] == 0).all()
    for lane in range(lanes):  # the actions of its turns, one after the other
        turns = actions[masks[:, lane], lane]
        alone = BatchedEnv(family, 1)
        last = alone.reset(tasks[[lane]], [lane])
        for taken in turns:
            last = alone.step(taken[None])[0]
        np.testing.assert_array_equal(shown[lane], last[0])


@every_family
def test_rewards_and_ends_of_active_lanes_are_those_of_all_lanes(family):
    """Also for the time: a lane that has not moved has no step less left."""
    family = replace(family, horizon=30)
    actions, tasks = wild_actions(family, family.horizon, MANY), some_tasks(family, MANY)
    env, whole = BatchedEnv(family, MANY, 2), BatchedEnv(family, MANY)
    for each in (env, whole):
        each.reset(tasks, np.arange(MANY))
    active = np.ones(MANY, bool)
    rng = np.random.default_rng(0)
    for taken in actions:
        some, every = env.step(taken, active), whole.step(taken)
        for part, expected in zip(some, every, strict=True):
            np.testing.assert_array_equal(part[active], expected[active])
        active &= rng.random(MANY) > 2 / family.horizon
    late = BatchedEnv(family, 2)
    late.reset([0, 1], [0, 1])
    still = np.zeros((2, family.action_size))
    for step in range(family.horizon + 1):
        cut = late.step(still, np.array([True, step > 0]))[3]
        assert cut.tolist() == [step >= family.horizon - 1, step >= family.horizon]


def test_a_lane_that_is_not_active_may_have_no_action_but_an_active_one_must():
    env = BatchedEnv(FAMILIES["point-goal"], 3)
    env.reset([0, 1, 2], [0, 1, 2])
    actions = np.zeros((3, 2))
    actions[1:] = np.nan
    env.step(actions, np.array([True, False, False]))
    with pytest.raises(InputError, match="the action of lane 2 holds NaN"):
        env.step(actions, np.array([True, False, True]))
