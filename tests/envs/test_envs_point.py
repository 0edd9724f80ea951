"""The point families against formulas written down a second time, and the check values of the literature's variants.

Optimal returns are bounds and controllers at once: ``best_distances`` is the least distance that any policy can have
at each step (where a robot can be after t steps is a square, which only depends on t), and a controller attains it.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family

STEP = 0.1


def circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def returns_of(family, descriptors, policy, episodes=1, starts=None):
    """Mean return of a policy(observations, descriptors, rng) on tasks that need be in no table, (tasks,)."""
    law, rng = family.make_law(), np.random.default_rng(0)
    lanes = np.repeat(np.asarray(descriptors, dtype=float), episodes, axis=0)
    physics = law.batched_physics(len(lanes))
    physics.assign(np.arange(len(lanes)), lanes)
    states = np.stack([law.initial_state(rng) for _ in lanes]) if starts is None else starts
    total = np.zeros(len(lanes))
    for _ in range(family.horizon):
        actions = np.clip(policy(law.observation(states), lanes, rng), -STEP, STEP)
        following = physics.advance(states, actions)
        total += law.reward(states, actions, following, lanes)
        states = following
    return total.reshape(-1, episodes).mean(axis=1)


def still(observations, descriptors, rng):
    return np.zeros((len(observations), 2))


def uniform(observations, descriptors, rng):
    return rng.uniform(-STEP, STEP, (len(observations), 2))


def to_goal(observations, goals, rng):
    return goals - observations


def against_wind(observations, winds, rng):
    return [1.0, 0.0] - observations - winds


def best_distances(start, goal, horizon, wind=(0.0, 0.0)):
    """Least possible distance to the goal after 1, ..., horizon steps."""
    return [
        math.hypot(
            *(
                g - min(max(g, s + t * (w - STEP)), s + t * (w + STEP))
                for s, g, w in zip(start, goal, wind, strict=True)
            )
        )
        for t in range(1, horizon + 1)
    ]


def legacy_uniform(low, high, *sizes, seed=1337):
    """Draws of the generator that the papers' code used."""
    generator = np.random.RandomState(seed)
    return [generator.uniform(low, high, size) for size in sizes]


# --- steps and rewards


def scalar_reward(name, before, after, flag, task):
    """Reward of a step from before to after (each (x, y)) as PEARL, FOCAL++ (section 4.1) and CCM have it."""
    if name == "point-sparse":
        distance = math.dist(after, task)
        return 1 - distance if distance <= 0.2 else 0.0
    if name.startswith("point-wind"):
        return -math.dist(after, (1, 0))
    if name == "point-hard":
        first, second = math.dist(after, (task[0] / 2, task[1] / 2)), math.dist(after, task)
        if flag:
            return 1 + (5 - second if second <= 0.3 else 0)
        return 1 - first if first <= 0.3 else 0.0
    return -math.dist(after, task)


POINTS = [
    *("point-goal", "point-goal-h10", "point-goal-h200", "point-square"),
    *("point-sparse", "point-wind", "point-wind-h25", "point-hard"),
]


@pytest.mark.parametrize("name", POINTS)
def test_steps_rewards_and_observations_are_the_formulas(name):
    """Actions lead roughly to the goals, so that sparse rewards and the flag of point-hard are seen."""
    family, rng = get_family(name), np.random.default_rng(0)
    tasks = rng.integers(len(family.tasks()), size=40)
    env = BatchedEnv(family, 40)
    seen = env.reset(tasks, np.arange(40))
    if name != "point-square":
        np.testing.assert_array_equal(seen, 0)
    positions, flags, kinds = seen[:, :2].tolist(), [0.0] * 40, set()
    for step in range(family.horizon):
        wanted = family.tasks().descriptors[tasks] * 0.07 if not name.startswith("point-wind") else [0.07, 0]
        actions = wanted + rng.uniform(-0.12, 0.12, (40, 2))
        following, rewards, terminated, truncated = env.step(actions)
        assert not terminated.any()
        assert truncated.tolist() == [step == family.horizon - 1] * 40
        for lane, task in enumerate(tasks):
            parameters = family.tasks().descriptors[task].tolist()
            wind = parameters if name.startswith("point-wind") else (0.0, 0.0)
            after = [
                p + min(max(a, -0.1), 0.1) + w for p, a, w in zip(positions[lane], actions[lane], wind, strict=True)
            ]
            expected = scalar_reward(name, positions[lane], after, flags[lane], parameters)
            if name == "point-hard":
                kinds.add((flags[lane], expected > 1, expected > 0))
                if math.dist(after, [p / 2 for p in parameters]) <= 0.15:
                    flags[lane] = 1.0
                assert following[lane, 2] == flags[lane]
            kinds.add(expected == 0)
            assert following[lane, :2] == pytest.approx(after, rel=0, abs=1e-12)
            assert rewards[lane] == pytest.approx(expected, rel=0, abs=1e-12)
            positions[lane] = after
    if name == "point-sparse":
        assert kinds == {True, False}
    if name == "point-hard":  # nothing, near goal 1, and after it: far from goal 2 and near it
        assert {(0, False, False), (0, False, True), (1, False, True), (1, True, True)} <= kinds


def test_there_are_no_walls():
    family = get_family("point-goal")
    env = BatchedEnv(family, 1)
    env.reset([0], [0])
    for _ in range(family.horizon):
        observations, _, _, _ = env.step([[0.1, -0.1]])
    np.testing.assert_allclose(observations, [[6.0, -6.0]])


@pytest.mark.parametrize(("distance", "reward"), [(0.2, 0.8), (0.2001, 0.0), (0.0, 1.0), (0.3, 0.0)])
def test_sparse_reward_at_its_edge(distance, reward):
    law = get_family("point-sparse").make_law()
    rewards = law.reward(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[distance, 0.0]]), np.zeros((1, 2)))
    assert rewards[0] == pytest.approx(reward)


def test_square_starts_are_uniform():
    family = get_family("point-square")
    starts = BatchedEnv(family, 4000).reset(np.zeros(4000, int), np.arange(4000))
    assert np.abs(starts).max() <= 1
    quantiles = np.quantile(starts, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
    np.testing.assert_allclose(quantiles.T, [[-0.98, -0.5, 0, 0.5, 0.98]] * 2, atol=0.05)
    assert abs(np.corrcoef(starts.T)[0, 1]) < 0.05


# --- check values, computed without this package: (family, horizon, tasks, optimum, standing still, uniform actions)

SEMICIRCLE = circle(np.linspace(0, np.pi, 40))
CIRCLE = circle(np.linspace(0, 2 * np.pi, 60, endpoint=False))
CHECKS = {
    "semicircle, 20 steps": ("point-goal", 20, SEMICIRCLE, -3.86, -20.0, -20.3),
    "semicircle, 10 steps": ("point-goal-h10", 10, SEMICIRCLE, -3.84, -10.0, -10.1),
    "semicircle, 60 steps": ("point-goal", 60, SEMICIRCLE, -3.84, -60.0, -63.2),
    "circle, 200 steps": ("point-goal-h200", 200, CIRCLE, -3.84, -200.0, -237.0),
    "our 60 steps": ("point-goal", 60, None, -3.84, -60.0, -63.2),
    "our 10 steps": ("point-goal-h10", 10, None, -3.84, -10.0, -10.1),
    "our 200 steps": ("point-goal-h200", 200, None, -3.84, -200.0, -237.0),
}


@pytest.mark.parametrize("check", CHECKS)
def test_dense_returns(check):
    name, horizon, goals, optimum, zero, random = CHECKS[check]
    family = replace(get_family(name), horizon=horizon)
    assert get_family(name).horizon == horizon or name == "point-goal"
    goals = get_family(name).tasks().descriptors if goals is None else goals
    bound = [-sum(best_distances((0, 0), goal, horizon)) for goal in goals]
    np.testing.assert_allclose(returns_of(family, goals, to_goal), bound, atol=1e-9)
    assert np.mean(bound) == pytest.approx(optimum, rel=0.01)
    np.testing.assert_allclose(returns_of(family, goals, still), zero, rtol=1e-5)
    assert returns_of(family, goals, uniform, episodes=40).mean() == pytest.approx(random, rel=0.01)


def test_gentle_square_returns():
    """Ten training and ten test goals of U(-1, 1)^2, numpy seed 1337; the start is random too.

    Returns of single starts spread by 4 to 10, so the published means are estimates, within 4.5 %.
    """
    (draws,) = legacy_uniform(-1, 1, 40)
    goals = draws.reshape(20, 2)
    np.testing.assert_allclose(goals[:3], [[-0.476, -0.6826], [-0.4437, -0.0814], [-0.358, 0.0368]], atol=1e-4)
    family, count = get_family("point-square"), 1500
    starts = np.random.default_rng(1).uniform(-1, 1, (10 * count, 2))
    lanes = np.repeat(goals, count, axis=0).reshape(2, -1, 2)
    for split, *published in ((0, -4.63, -19.87, -20.1), (1, -5.09, -20.19, -21.3)):
        optimum = returns_of(family, lanes[split], to_goal, starts=starts)
        for lane in range(0, len(starts), 100):
            bound = -sum(best_distances(starts[lane], lanes[split, lane], family.horizon))
            assert optimum[lane] == pytest.approx(bound, rel=1e-9)
        zero = returns_of(family, lanes[split], still, starts=starts)
        np.testing.assert_allclose(zero, -20 * np.hypot(*(starts - lanes[split]).T), rtol=1e-9)
        random = returns_of(family, lanes[split], uniform, starts=starts)
        assert [optimum.mean(), zero.mean(), random.mean()] == pytest.approx(published, rel=0.045)


def test_our_square_returns():
    """The law draws the start: the same mean as over starts drawn here."""
    family = get_family("point-square")
    goals = family.tasks().descriptors[::5]
    starts = np.random.default_rng(2).uniform(-1, 1, (300, 2))
    bounds = [-sum(best_distances(start, goal, 20)) for goal in goals for start in starts]
    assert returns_of(family, goals, to_goal, episodes=2000).mean() == pytest.approx(np.mean(bounds), rel=0.02)


def test_sparse_returns():
    family = get_family("point-sparse")
    for goals in (circle(np.linspace(0, np.pi, 100))[1:-1], family.tasks().descriptors[:60]):
        bound = [sum(1 - d for d in best_distances((0, 0), goal, 20) if d <= 0.2) for goal in goals]
        np.testing.assert_allclose(returns_of(family, goals, to_goal), bound, atol=1e-9)
        assert np.mean(bound) == pytest.approx(13.36, rel=0.01)
        np.testing.assert_array_equal(returns_of(family, goals, still), 0)
        assert returns_of(family, goals, uniform, episodes=20).mean() < 0.01


@pytest.mark.parametrize(("name", "zero", "random"), [("point-wind", -21.8, -22.2), ("point-wind-h25", -28.2, None)])
def test_wind_returns(name, zero, random):
    """FOCAL's 50 winds: numpy seed 1337, all x, then all y."""
    winds = np.stack(legacy_uniform(-0.05, 0.05, 50, 50), axis=1)
    np.testing.assert_allclose(winds[:3], [[-0.0238, 0.0336], [-0.0341, 0.011], [-0.0222, 0.0065]], atol=5.1e-5)
    family = get_family(name)
    bound = [-sum(best_distances((0, 0), (1, 0), family.horizon, wind)) for wind in winds]
    np.testing.assert_allclose(returns_of(family, winds, against_wind), bound, atol=1e-9)
    assert np.mean(bound) == pytest.approx(-5.11, rel=0.01)
    assert returns_of(family, winds, still).mean() == pytest.approx(zero, rel=0.01)
    if random:
        assert returns_of(family, winds, uniform, episodes=200).mean() == pytest.approx(random, rel=0.01)


def test_the_wind_of_every_task_can_be_overcome():
    family = get_family("point-wind")
    winds = family.tasks().descriptors
    bound = [-sum(best_distances((0, 0), (1, 0), 20, wind)) for wind in winds]
    np.testing.assert_allclose(returns_of(family, winds, against_wind), bound, atol=1e-9)


# --- point-hard: dynamic programming on a grid of positions

CELL = 0.02


def hard_plan(goal, horizon=32, half=55):
    """The best return and its actions among all that move by multiples of CELL, by backward induction.

    Its positions are possible ones, so the return is attained; best_hard_return is above it.
    """
    axis = CELL * np.arange(-half, half + 1)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    first, second = np.hypot(x - goal[0] / 2, y - goal[1] / 2), np.hypot(x - goal[0], y - goal[1])
    before, after = np.where(first <= 0.3, 1 - first, 0), 1 + np.where(second <= 0.3, 5 - second, 0)
    reach = round(STEP / CELL)
    windows = np.lib.stride_tricks.sliding_window_view
    values, choices = [np.zeros_like(x), np.zeros_like(x)], []
    for _ in range(horizon):
        reached = np.where(first <= 0.15, values[1], values[0])
        worth = [before + reached, after + values[1]]
        padded = [np.pad(w, reach, constant_values=-np.inf) for w in worth]
        views = [windows(p, (2 * reach + 1,) * 2).reshape(*x.shape, -1) for p in padded]
        choices.append([view.argmax(axis=-1) for view in views])
        values = [view.max(axis=-1) for view in views]
    place, flag, actions = [half, half], 0, []
    for choice in reversed(choices):
        move = np.array(divmod(int(choice[flag][tuple(place)]), 2 * reach + 1)) - reach
        place = [int(p + m) for p, m in zip(place, move, strict=True)]
        flag = int(flag or first[tuple(place)] <= 0.15)
        actions.append(move * CELL)
    return values[0][half, half], np.array(actions)


def best_hard_return(goal, horizon=32):
    """A bound: goal 1 reached as soon as possible, and at every step the least possible distance that counts."""
    first, second = (best_distances((0, 0), np.array(goal) * s, horizon) for s in (0.5, 1.0))
    total, reached = 0.0, False
    for d1, d2 in zip(first, second, strict=True):
        total += 1 + (5 - d2 if d2 <= 0.3 else 0) if reached else (1 - d1 if d1 <= 0.3 else 0)
        reached = reached or d1 <= 0.15
    return total


def test_hard_optimum():
    """The optimum lies between a plan that was searched for and a bound; the environment pays what the search says."""
    family = get_family("point-hard")
    tasks = family.tasks().ids()[::14]
    goals = family.tasks().descriptors[tasks]
    plans = [hard_plan(goal) for goal in goals]
    env = BatchedEnv(family, len(tasks))
    env.reset(tasks, tasks)
    total = sum(env.step(np.stack([actions[t] for _, actions in plans]))[1] for t in range(family.horizon))
    np.testing.assert_allclose(total, [value for value, _ in plans], atol=1e-6)  # the rewards are the search's
    bounds = np.array([best_hard_return(goal) for goal in goals])
    assert (total <= bounds).all()
    np.testing.assert_allclose(total, bounds, rtol=0.01)


def test_hard_controller_attains_the_bound():
    """So the optimum is known: 162.3 on average, from 159.8 (along an axis) to 170.2 (along a diagonal)."""
    family = get_family("point-hard")
    goals = family.tasks().descriptors

    def one_then_two(observations, directions, rng):
        return np.where(observations[:, 2:] > 0, directions, directions / 2) - observations[:, :2]

    bounds = [best_hard_return(goal) for goal in goals]
    np.testing.assert_allclose(returns_of(family, goals, one_then_two), bounds, rtol=1e-9)
    assert np.mean(bounds) == pytest.approx(162.28, abs=0.01)
    assert (min(bounds), max(bounds)) == pytest.approx((159.80, 170.25), abs=0.01)
    np.testing.assert_array_equal(returns_of(family, goals, still), 0)
