"""The MDPs against formulas and loops written down a second time (facts A.1, A.4)."""

import math

import gymnasium
import mujoco
import numpy as np
import pytest

from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family
from omrl_bench.envs.single import register

register()


@pytest.fixture(scope="module")
def point():
    return get_family("point-goal")


@pytest.fixture(scope="module")
def cheetah():
    return get_family("cheetah-vel")


@pytest.fixture(scope="module")
def cheetah_model(cheetah):
    return cheetah.make_law().model


# --- point-goal


def point_returns(point, policy, episodes=1):
    """Mean return of each task, by ``policy(observations, goals, rng)``."""
    tasks = np.repeat(point.tasks().ids(), episodes)
    goals = point.tasks().descriptors[tasks]
    env = BatchedEnv(point, len(tasks))
    observations, returns = env.reset(tasks, np.arange(len(tasks))), 0
    rng = np.random.default_rng(0)
    for _ in range(point.horizon):
        observations, rewards, _, _ = env.step(policy(observations, goals, rng))
        returns = returns + rewards
    return returns.reshape(-1, episodes).mean(axis=1)


def test_point_rewards_and_steps_are_the_formula(point):
    rng = np.random.default_rng(0)
    env = BatchedEnv(point, 20)
    tasks = rng.integers(60, size=20)
    positions = env.reset(tasks, np.arange(20))
    np.testing.assert_array_equal(positions, 0)
    for _ in range(30):
        actions = rng.uniform(-0.15, 0.15, (20, 2))
        following, rewards, _, _ = env.step(actions)
        for lane, task in enumerate(tasks):
            x, y = (p + min(max(a, -0.1), 0.1) for p, a in zip(positions[lane], actions[lane], strict=True))
            assert following[lane] == pytest.approx([x, y], rel=0, abs=1e-12)
            goal = point.tasks().descriptors[task]
            assert rewards[lane] == pytest.approx(-math.dist((x, y), goal), rel=0, abs=1e-12)
        positions = following


def test_point_has_no_walls(point):
    env = BatchedEnv(point, 1)
    env.reset([0], [0])
    for _ in range(point.horizon):
        observations, _, _, _ = env.step([[0.1, -0.1]])
    np.testing.assert_allclose(observations, [[6.0, -6.0]])


def test_point_optimum(point):
    returns = point_returns(point, lambda s, goals, rng: np.clip(goals - s, -0.1, 0.1))
    assert returns.mean() == pytest.approx(-3.84, rel=0.01)


def test_point_standing_still(point):
    np.testing.assert_allclose(point_returns(point, lambda s, goals, rng: np.zeros_like(s)), -60, atol=1e-3)


def test_point_uniform_random(point):
    returns = point_returns(point, lambda s, goals, rng: rng.uniform(-0.1, 0.1, s.shape), episodes=50)
    assert returns.mean() == pytest.approx(-63.2, rel=0.01)


# --- cheetah-vel


def plain_loop(model, seed, actions, target):
    """One episode by a loop over mj_step: observations and rewards."""
    rng = np.random.default_rng(seed)
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0 + rng.uniform(-0.1, 0.1, 9)
    data.qvel[:] = 0.1 * rng.standard_normal(9)
    observations, rewards = [[*data.qpos[1:], *data.qvel]], []
    for action in actions:
        clipped = [min(max(float(a), -1.0), 1.0) for a in action]
        data.ctrl[:] = clipped
        data.qacc_warmstart[:] = 0  # an environment step starts cold: the warm start is no part of the state
        before = float(data.qpos[0])
        for _ in range(5):
            mujoco.mj_step(model, data)
        velocity = (float(data.qpos[0]) - before) / 0.05
        rewards.append(-abs(velocity - target) - 0.05 * sum(a * a for a in clipped))
        observations.append([*data.qpos[1:], *data.qvel])
    return np.array(observations), np.array(rewards)


def test_cheetah_equals_a_plain_loop_over_mj_step(cheetah, cheetah_model):
    tasks, seeds = [0, 35, 69], [3, 1, 4]
    actions = np.random.default_rng(5).uniform(-1.3, 1.3, (60, 3, 6))
    env = BatchedEnv(cheetah, 3)
    observations, rewards = [env.reset(tasks, seeds)], []
    for taken in actions:
        shown, reward, _, _ = env.step(taken)
        observations.append(shown)
        rewards.append(reward)
    for lane in range(3):
        target = float(cheetah.tasks().descriptors[tasks[lane], 0])
        expected, expected_rewards = plain_loop(cheetah_model, seeds[lane], actions[:, lane], target)
        np.testing.assert_allclose(np.stack(observations)[:, lane], expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(np.stack(rewards)[:, lane], expected_rewards, rtol=0, atol=1e-9)
        assert np.ptp(expected_rewards) > 0.5  # it moves


def test_cheetah_single_environment_equals_a_plain_loop_over_mj_step(cheetah, cheetah_model):
    actions = np.random.default_rng(6).uniform(-1.3, 1.3, (30, 6))
    env = gymnasium.make(cheetah.env_id, task=12)
    observations, rewards = [env.reset(seed=8)[0]], []
    for taken in actions:
        shown, reward, _, _, _ = env.step(taken)
        observations.append(shown)
        rewards.append(reward)
    expected, expected_rewards = plain_loop(cheetah_model, 8, actions, env.unwrapped.descriptor[0])
    np.testing.assert_allclose(observations, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(rewards, expected_rewards, rtol=0, atol=1e-9)


def test_cheetah_rewards_are_the_formula_on_random_states(cheetah):
    rng = np.random.default_rng(0)
    law = cheetah.make_law()
    states, following = rng.normal(size=(2, 50, 19))  # time, 9 qpos, 9 qvel
    actions, targets = rng.uniform(-1, 1, (50, 6)), rng.uniform(0, 3, (50, 1))
    rewards = law.reward(states, actions, following, targets)
    for i in range(50):
        velocity = (following[i, 1] - states[i, 1]) / 0.05
        expected = -abs(velocity - targets[i, 0]) - 0.05 * sum(a**2 for a in actions[i])
        assert rewards[i] == pytest.approx(expected, rel=1e-12)


def test_cheetah_time_step(cheetah, cheetah_model):
    assert cheetah_model.opt.timestep == pytest.approx(0.01)
    assert cheetah.make_law().dt == pytest.approx(0.05)
    assert cheetah.horizon == 200


def test_cheetah_reset_noise(cheetah):
    env = BatchedEnv(cheetah, 2000)
    starts = env.reset(np.zeros(2000, int), np.arange(2000))
    positions, velocities = starts[:, :8], starts[:, 8:]
    assert np.abs(positions).max() == pytest.approx(0.1, rel=0.01)
    assert np.abs(positions).max() <= 0.1
    np.testing.assert_allclose(positions.std(axis=0), 0.1 / math.sqrt(3), rtol=0.06)
    np.testing.assert_allclose(velocities.std(axis=0), 0.1, rtol=0.06)
    np.testing.assert_allclose(starts.mean(axis=0), 0, atol=0.01)


def test_cheetah_observation_does_not_show_the_position(cheetah):
    law = cheetah.make_law()
    states = np.random.default_rng(0).normal(size=(2, 19))
    states[1, 2:] = states[0, 2:]
    shown = law.observation(states)
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], states[0, 2:])


def test_cheetah_weighs_14(cheetah_model):
    assert cheetah_model.body_mass.sum() == pytest.approx(14, rel=1e-12)


@pytest.fixture(scope="module")
def half_cheetah(tmp_path_factory):
    """Gymnasium's own environment; MuJoCo logs a warning about its model in the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("log"))
        return gymnasium.make("HalfCheetah-v5").unwrapped


@pytest.mark.parametrize(
    "array",
    [
        "body_mass",
        "body_subtreemass",
        "body_inertia",
        "body_invweight0",
        "body_ipos",
        "body_pos",
        "dof_invweight0",
        "dof_M0",
        "dof_damping",
        "dof_armature",
        "jnt_stiffness",
        "jnt_range",
        "geom_size",
        "geom_friction",
        "geom_solref",
        "geom_solimp",
        "actuator_gear",
        "actuator_ctrlrange",
        "qpos0",
    ],
)
def test_cheetah_is_gymnasiums_model(cheetah_model, half_cheetah, array):
    expected = getattr(half_cheetah.model, array)
    assert expected.size
    np.testing.assert_allclose(getattr(cheetah_model, array), expected, rtol=1e-10, atol=1e-14)


def test_cheetah_moves_as_gymnasiums_does(cheetah, half_cheetah):
    """One environment step from the same state; Gymnasium's own class differs in the solver's warm start only."""
    half_cheetah.reset(seed=0)
    law = cheetah.make_law()
    physics = law.single_physics()
    rng = np.random.default_rng(1)
    for seed in range(5):
        state = law.initial_state(np.random.default_rng(seed))
        mujoco.mj_resetData(half_cheetah.model, half_cheetah.data)
        half_cheetah.set_state(state[1:10], state[10:])
        half_cheetah.data.qacc_warmstart[:] = 0
        action = rng.uniform(-1, 1, 6)
        observation = half_cheetah.step(action)[0]
        following = physics.advance(state[None], action[None], np.zeros((1, 1)))
        np.testing.assert_allclose(law.observation(following)[0], observation, rtol=0, atol=1e-6)
