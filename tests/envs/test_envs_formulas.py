"""Reward, observation and end of the MuJoCo families against plain floats.

The formulas are those of the papers that the modules of the laws cite. The second writing uses nothing of ours but the
task tables: Gymnasium's model files, MuJoCo's own data by joint name, one simulation at a time, and a model per task
that is changed by name. (The point families: test_envs_point.py.)
"""

from functools import cache
from pathlib import Path

import gymnasium.envs.mujoco
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omrl_bench.envs.families import FAMILIES, get_family

ROBOTS = [family.name for family in FAMILIES.values() if not family.name.startswith("point")]
every_robot = pytest.mark.parametrize("name", ROBOTS)

#: Length of an environment step.
DT = {"cheetah": 0.05, "ant": 0.05, "walker": 0.016, "hopper": 0.016, "walker-vel-sparse": 0.008}


def robot(name):
    return name.split("-")[0]


def dt(name):
    return DT.get(name, DT[robot(name)])


# --- the formulas


def scalar_reward(name, task, velocity, action, where):
    """Reward from the task's numbers, the root's mean velocity (x, y), the action, and where the root is after it."""
    squares = sum(a * a for a in action)
    if name in ("cheetah-vel", "cheetah-vel-wide"):
        return -abs(velocity[0] - task[0]) - 0.05 * squares
    if name in ("cheetah-vel-sparse", "walker-vel-sparse"):
        distance = abs(velocity[0] - task[0])
        return (2 - distance if distance <= 0.5 else 0) - 0.05 * squares
    if name == "cheetah-dir":
        return task[0] * velocity[0] - 0.05 * squares
    if name == "cheetah-mass":
        return velocity[0] - 0.1 * squares
    if name in ("ant-dir", "ant-fwd-back"):
        return velocity[0] * task[0] + velocity[1] * task[1] - 0.5 * squares + 1
    if name == "ant-goal":
        return -abs(where[0] - task[0]) - abs(where[1] - task[1]) - 0.1 * squares
    if name == "ant-dir-speed":
        return velocity[0] * task[0] + velocity[1] * task[1]
    if name == "ant-mass":
        return velocity[0] - 0.5 * squares + 1
    assert name in ("walker-params", "hopper-params")
    return velocity[0] + 1 - 0.001 * squares


def scalar_ended(name, height, angle, others):
    """Whether a state is terminal; others: every number of (qpos, qvel) from the angle on."""
    if name in ("ant-dir", "ant-fwd-back", "ant-mass"):
        return not 0.2 <= height <= 1.0
    if name == "walker-params":
        return not 0.8 < height < 2.0 or abs(angle) >= 1
    if name == "hopper-params":
        return height <= 0.7 or abs(angle) >= 0.2 or any(abs(number) >= 100 for number in others)
    return False


# --- MuJoCo's data, by name


def task_model(name, task):
    """Gymnasium's model, changed by the names in the table's columns."""
    family = get_family(name)
    file = Path(gymnasium.envs.mujoco.__file__).parent / "assets" / family.assets[0]
    model = mujoco.MjModel.from_xml_string(file.read_text().replace(' settotalmass="14"', ""))
    total = float(model.body_mass.sum())
    if robot(name) == "cheetah":
        mujoco.mj_setTotalmass(model, 14 * (task[0] if name == "cheetah-mass" else 1))
    if name == "ant-mass":
        mujoco.mj_setTotalmass(model, total * task[0])
    if name.endswith("params"):
        model.opt.timestep = 0.004
        for column, log in zip(family.descriptor, task, strict=True):
            field, part = column.split("_", 1)
            if field == "mass":
                model.body(part).mass *= np.exp(log)
            elif field == "inertia":
                part, axis = part.rsplit("_", 1)
                model.body(part).inertia["xyz".index(axis)] *= np.exp(log)
            elif field == "damping":
                model.joint(part if part.startswith("root") else f"{part}_joint").damping *= np.exp(log)
            else:
                part, kind = part.rsplit("_", 1)
                geom = model.geom(part if part == "floor" else f"{part}_geom")
                geom.friction[("slide", "spin", "roll").index(kind)] *= np.exp(log)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def names(model):
    return [model.joint(i).name for i in range(model.njnt)]


def place(name, data):
    """X, y, height and angle of the root."""
    if robot(name) == "ant":
        return *map(float, data.joint("root").qpos[:3]), 0.0
    x, z, angle = (float(data.joint(joint).qpos[0]) for joint in ("rootx", "rootz", "rooty"))
    return x, 0.0, z, angle


def scalar_observation(name, model, data):
    """Positions, but for where the robot is unless goals lie there, then velocities, of one joint after the other."""
    joints = names(model)
    positions = [number for joint in joints for number in data.joint(joint).qpos.tolist()]
    velocities = [number for joint in joints for number in data.joint(joint).qvel.tolist()]
    if robot(name) in ("walker", "hopper"):
        velocities = [min(max(number, -10.0), 10.0) for number in velocities]
    hidden = 0 if name == "ant-goal" else 2 if robot(name) == "ant" else 1
    return positions[hidden:] + velocities


def others(model, data):
    """Everything but the first two positions."""
    return data.qpos.tolist()[2:] + data.qvel.tolist()


def pack(model, data):
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    return state


def random_data(model, rng, speed):
    """A robot thrown about: any pose near rest, so that some states are terminal and some velocities beyond 10."""
    data = mujoco.MjData(model)
    data.qpos[:] += rng.uniform(-0.25, 0.25, model.nq)
    data.qvel[:] = speed * rng.standard_normal(model.nv)
    data.joint(names(model)[0]).qpos[0] += rng.uniform(-5, 5)  # x is far away, and matters nowhere
    return data


@every_robot
def test_a_step_is_mujocos_and_what_follows_is_the_formulas(name):
    family = get_family(name)
    law, table, rng = family.make_law(), family.tasks(), np.random.default_rng(7)
    for task in (0, len(table) // 2, len(table) - 1):
        numbers = table.descriptors[task]
        model = task_model(name, numbers.tolist())
        data = [random_data(model, rng, speed) for speed in (0.1, 1.0, 1.0, 4.0, 4.0)]
        actions = rng.uniform(-1, 1, (len(data), family.action_size))
        descriptors = np.repeat(numbers[None], len(data), axis=0)
        states = np.stack([pack(model, d) for d in data])
        physics = law.batched_physics(len(data))
        physics.assign(np.arange(len(data)), descriptors)
        following = physics.advance(states, actions)
        rewards, ended = law.reward(states, actions, following, descriptors), law.terminated(following)
        observations = law.observation(following)
        for lane, each in enumerate(data):
            x, y, _, _ = place(name, each)
            each.ctrl[:] = actions[lane]
            for _ in range(4 if robot(name) in ("walker", "hopper") else 5):
                mujoco.mj_step(model, each)
            assert each.time == pytest.approx(dt(name))
            new_x, new_y, height, angle = place(name, each)
            assert observations[lane] == pytest.approx(scalar_observation(name, model, each), rel=1e-6, abs=1e-6)
            velocity = (new_x - x) / dt(name), (new_y - y) / dt(name)
            expected = scalar_reward(name, numbers.tolist(), velocity, actions[lane].tolist(), (new_x, new_y))
            assert rewards[lane] == pytest.approx(expected, rel=1e-6, abs=1e-5)
            assert ended[lane] == scalar_ended(name, height, angle, others(model, each))


@cache
def the_law(name):
    law = get_family(name).make_law()
    return law, mujoco.MjData(law.model)


def near(*edges):
    """Numbers around some edges, and exactly on them."""
    around = [edge + shift for edge in edges for shift in (0, -1e-9, 1e-9, -0.05, 0.05)]
    return st.sampled_from(around) | st.floats(-3, 3)


@every_robot
@settings(max_examples=80, deadline=None, derandomize=True)
@given(drawn=st.data())
def test_formulas_at_any_state(name, drawn):
    """Rewards, ends and observations of transitions that no simulator would make."""
    law, data = the_law(name)
    family, model = get_family(name), law.model
    task = drawn.draw(st.integers(0, len(family.tasks()) - 1))
    numbers = family.tasks().descriptors[task]
    action = drawn.draw(st.lists(st.floats(-1, 1), min_size=family.action_size, max_size=family.action_size))
    x, y = drawn.draw(st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
    target = float(numbers[0])
    sparse = [target + shift for shift in (-0.5001, -0.4999, 0.0, 0.4999, 0.5001)]
    velocity = drawn.draw(st.tuples(st.sampled_from(sparse) | st.floats(-12, 12), st.floats(-12, 12)))
    height = drawn.draw(near(0.2, 1.0) if robot(name) == "ant" else near(0.7, 0.8, 2.0))
    angle = drawn.draw(near(0.2, -0.2, 1.0, -1.0))
    spread = st.floats(-99, 99) | st.sampled_from([100.0, -100.0, 99.99, -99.99, 10.0, -10.0, 11.0])
    late = drawn.draw(st.lists(spread, min_size=3, max_size=3))

    def put(first, second):
        root = data.joint(names(model)[0])
        if robot(name) == "ant":
            root.qpos[:3] = first, second, height
        else:
            root.qpos[0] = first
            data.joint("rootz").qpos[0], data.joint("rooty").qpos[0] = height, angle
        data.joint(names(model)[-1]).qpos[0] = late[0]
        data.joint(names(model)[0]).qvel[0] = late[1]
        data.joint(names(model)[-1]).qvel[0] = late[2]
        return pack(model, data)[None]

    before, after = put(x, y), put(x + velocity[0] * dt(name), y + velocity[1] * dt(name))
    new_x, new_y, height, angle = place(name, data)
    reward = law.reward(before, np.array([action]), after, numbers[None])
    expected = scalar_reward(name, numbers.tolist(), velocity, action, (new_x, new_y))
    assert reward.shape == (1,)
    assert reward[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert law.terminated(after).tolist() == [scalar_ended(name, height, angle, others(model, data))]
    assert law.observation(after)[0].tolist() == scalar_observation(name, model, data)


@pytest.mark.parametrize("name", ["ant-dir", "ant-fwd-back", "ant-mass", "walker-params", "hopper-params"])
def test_a_state_without_numbers_is_terminal(name):
    law, data = the_law(name)
    state = np.full((1, len(pack(law.model, data))), np.nan)
    assert law.terminated(state).tolist() == [True]
