"""The robots against Gymnasium's own (HalfCheetah-v5, Ant-v5, ...) and against loops over MuJoCo's step."""

import copy
import math
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family
from omrl_bench.envs.mujoco_physics import STATE, RolloutPhysics
from omrl_bench.envs.single import register

register()


@pytest.fixture(scope="module")
def cheetah():
    return get_family("cheetah-vel")


@pytest.fixture(scope="module")
def cheetah_model(cheetah):
    return cheetah.make_law().model


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


ARRAYS = [
    *("body_mass", "body_subtreemass", "body_inertia", "body_invweight0", "body_ipos", "body_iquat", "body_pos"),
    *("dof_invweight0", "dof_M0", "dof_damping", "dof_armature", "jnt_stiffness", "jnt_range", "jnt_pos", "jnt_axis"),
    *("geom_size", "geom_pos", "geom_friction", "geom_solref", "geom_solimp", "geom_condim", "geom_contype"),
    *("geom_conaffinity", "geom_margin", "actuator_gear", "actuator_ctrlrange", "actuator_trnid", "qpos0"),
]


#: Replaced by a list of contact pairs.
MASKS = ["geom_contype", "geom_conaffinity"]


def differing(model, expected):
    """Names of the arrays that differ."""
    return [
        name
        for name in ARRAYS
        if not np.allclose(getattr(model, name), getattr(expected, name), rtol=1e-10, atol=1e-14)
    ]


def test_cheetah_is_gymnasiums_model(cheetah_model, half_cheetah):
    assert differing(cheetah_model, half_cheetah.model) == MASKS


#: Gymnasium's file, timestep, frame skip, integrator (only PEARL's rand_param_envs step by .004).
ROBOTS = {
    "ant-dir": ("ant.xml", 0.01, 5, "RK4"),
    "walker-vel-sparse": ("walker2d.xml", 0.002, 4, "RK4"),
    "walker-params": ("walker2d.xml", 0.004, 4, "RK4"),
    "hopper-params": ("hopper.xml", 0.004, 4, "RK4"),
    "cheetah-dir": (None, 0.01, 5, "EULER"),
}


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_are_gymnasiums_models(name):
    file, timestep, skip, integrator = ROBOTS[name]
    law = get_family(name).make_law()
    assert law.model.opt.timestep == timestep
    assert skip == law.FRAME_SKIP
    assert law.dt == pytest.approx(timestep * skip, rel=1e-12)
    assert law.model.opt.integrator == getattr(mujoco.mjtIntegrator, f"mjINT_{integrator}")
    if file:
        path = Path(gymnasium.envs.mujoco.__file__).parent / "assets" / file
        assert differing(law.model, mujoco.MjModel.from_xml_path(str(path))) == MASKS


LISTED = {
    "ant-mass": "ant.xml",
    "cheetah-mass": "half_cheetah.xml",
    "hopper-params": "hopper.xml",
    "walker-params": "walker2d.xml",
}


@pytest.mark.parametrize("name", LISTED)
def test_listed_contacts_are_those_of_the_masks(name):
    """Bit for bit the trajectories of Gymnasium's file, with the tasks' dynamics written in, through many contacts."""
    family = get_family(name)
    law = family.make_law()
    text = (Path(gymnasium.envs.mujoco.__file__).parent / "assets" / LISTED[name]).read_text()
    masks = mujoco.MjModel.from_xml_string(text.replace(' settotalmass="14"', ""))
    masks.opt.timestep = law.model.opt.timestep

    def with_masks(descriptor):
        model, ours = copy.copy(masks), law.task_model(descriptor)
        for field in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
            getattr(model, field)[:] = getattr(ours, field)
        mujoco.mj_setConst(model, mujoco.MjData(model))
        return model

    lanes, steps = 8, 60
    descriptors = family.tasks().descriptors[:lanes]
    states = expected = np.stack([law.initial_state(np.random.default_rng(lane)) for lane in range(lanes)])
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, lanes, family.action_size))
    ours, theirs = (RolloutPhysics(models, masks, law.FRAME_SKIP, lanes) for models in (law.task_model, with_masks))
    for physics in (ours, theirs):
        physics.assign(np.arange(lanes), descriptors)
    data, touching = mujoco.MjData(masks), set()
    for action in actions:
        states, expected = ours.advance(states, action), theirs.advance(expected, action)
        np.testing.assert_array_equal(states, expected)
        for state in expected:
            mujoco.mj_setState(masks, data, state, STATE)
            mujoco.mj_forward(masks, data)
            touching |= {tuple(contact.geom) for contact in data.contact}
    assert len(touching) > 3
    if name == "hopper-params":  # it can touch itself
        assert any(law.model.geom("floor").id not in pair for pair in touching)


def test_the_comparison_of_models_notices_a_difference(cheetah_model):
    other = copy.copy(cheetah_model)
    other.geom_friction[3, 0] *= 1.001
    assert differing(other, cheetah_model) == ["geom_friction"]


def starts(name, count=1500):
    """Many first observations: positions at rest subtracted, then velocities."""
    family = get_family(name)
    seen = BatchedEnv(family, count).reset(np.zeros(count, int), np.arange(count))
    law = family.make_law()
    positions = law.model.nq - law.HIDDEN
    return seen[:, :positions] - law.model.qpos0[law.HIDDEN :], seen[:, positions:]


@pytest.mark.parametrize("name", ["ant-dir", "walker-params", "hopper-params", "walker-vel-sparse"])
def test_reset_noise(name):
    """Ant: positions U(-.1, .1), velocities .1 N(0, 1); walkers: both U(-.005, .005)."""
    positions, velocities = starts(name)
    width = 0.1 if name.startswith("ant") else 0.005
    assert 0.99 * width < np.abs(positions).max() <= width
    np.testing.assert_allclose(positions.std(axis=0), width / math.sqrt(3), rtol=0.06)
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=0.1 * width)
    if name.startswith("ant"):
        np.testing.assert_allclose(velocities.std(axis=0), 0.1, rtol=0.08)
        assert np.abs(velocities).max() > 0.3  # a normal distribution's tail
    else:
        assert 0.99 * width < np.abs(velocities).max() <= width
        np.testing.assert_allclose(velocities.std(axis=0), width / math.sqrt(3), rtol=0.06)
    both = np.corrcoef(np.concatenate([positions, velocities], axis=1).T)
    assert np.abs(both - np.eye(len(both))).max() < 0.15


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
        following = physics.advance(state[None], action[None])
        np.testing.assert_allclose(law.observation(following)[0], observation, rtol=0, atol=1e-6)
