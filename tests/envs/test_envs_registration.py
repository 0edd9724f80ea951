"""The ordinary Gymnasium environments: ids, contract, errors, and no touch of global random state."""

import random
import re
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import FAMILIES
from omrl_bench.envs.single import TaskEnv, register
from omrl_bench.errors import InputError

register()
every_family = pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES.values()])
#: Families with terminal states (PEARL's ant-dir and rand_param_envs, ICML 2019); all others run to their horizon.
ENDING = {"ant-dir", "ant-fwd-back", "ant-mass", "walker-params", "hopper-params"}
IDS = {
    "point-goal": ("omrl/PointGoal-v1", 60),
    "point-goal-h10": ("omrl/PointGoalH10-v1", 10),
    "point-goal-h200": ("omrl/PointGoalH200-v1", 200),
    "point-square": ("omrl/PointSquare-v1", 20),
    "point-sparse": ("omrl/PointSparse-v1", 20),
    "point-wind": ("omrl/PointWind-v1", 20),
    "point-wind-h25": ("omrl/PointWindH25-v1", 25),
    "point-hard": ("omrl/PointHard-v1", 32),
    "cheetah-vel": ("omrl/CheetahVel-v1", 200),
    "cheetah-vel-wide": ("omrl/CheetahVelWide-v1", 200),
    "cheetah-vel-sparse": ("omrl/CheetahVelSparse-v1", 64),
    "cheetah-dir": ("omrl/CheetahDir-v1", 200),
    "cheetah-mass": ("omrl/CheetahMass-v1", 200),
    "ant-dir": ("omrl/AntDir-v1", 200),
    "ant-dir-speed": ("omrl/AntDirSpeed-v1", 200),
    "ant-fwd-back": ("omrl/AntFwdBack-v1", 200),
    "ant-goal": ("omrl/AntGoal-v1", 200),
    "ant-mass": ("omrl/AntMass-v1", 200),
    "walker-params": ("omrl/WalkerParams-v1", 200),
    "walker-vel-sparse": ("omrl/WalkerVelSparse-v1", 64),
    "hopper-params": ("omrl/HopperParams-v1", 200),
}
SIZES = {
    "point": (2, 2, 0.1),
    "point-hard": (3, 2, 0.1),
    "cheetah": (17, 6, 1),
    "ant": (27, 8, 1),
    "ant-goal": (29, 8, 1),
    "walker": (17, 6, 1),
    "hopper": (11, 3, 1),
}


def fresh_interpreter(code, folder):
    """Run code in a new process, away from the checkout; return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


MAKE_ALL = "; ".join(
    f"env = gymnasium.make({{prefix!r}} + {f.env_id!r}, task=5); print(env.unwrapped.task, env.spec.max_episode_steps)"
    for f in FAMILIES.values()
)
MADE_ALL = "".join(f"5 {f.horizon}\n" for f in FAMILIES.values())


def test_register_makes_the_ids_known_in_a_fresh_interpreter(tmp_path):
    code = "import gymnasium; from omrl_bench.envs.single import register; register(); register(); "
    assert fresh_interpreter(code + MAKE_ALL.format(prefix=""), tmp_path) == MADE_ALL


@pytest.mark.parametrize(
    ("imports", "prefix"),
    [("import gymnasium", "omrl_bench.envs:"), ("import gymnasium, omrl_bench.envs", "")],
    ids=["module:id", "imported"],
)
def test_gymnasium_finds_the_ids_without_calling_register(tmp_path, imports, prefix):
    assert fresh_interpreter(f"{imports}; " + MAKE_ALL.format(prefix=prefix), tmp_path) == MADE_ALL


@every_family
def test_spec_agrees_with_the_family(family):
    spec = gymnasium.spec(family.env_id)
    assert spec.entry_point == "omrl_bench.envs.single:TaskEnv"  # a string: Minari stores it as JSON
    assert (spec.id, spec.max_episode_steps) == IDS[family.name]
    assert family.horizon == spec.max_episode_steps
    assert re.fullmatch(r"omrl/\w+-v\d+", family.env_id)
    spec.to_json()


@every_family
def test_check_env_passes(family):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(gymnasium.make(family.env_id, task=3).unwrapped, skip_render_check=True)
    unexpected = [str(w.message) for w in caught if "infinity" not in str(w.message)]
    assert unexpected == []


@every_family
def test_spaces_agree_with_the_family(family):
    env = gymnasium.make(family.env_id)
    sizes = SIZES.get(family.name, SIZES[family.name.split("-")[0]])
    assert (family.observation_size, family.action_size, family.action_limit) == sizes
    assert env.observation_space.shape == (family.observation_size,)
    assert env.action_space.shape == (family.action_size,)
    np.testing.assert_array_equal(env.action_space.high, np.float32(family.action_limit))
    np.testing.assert_array_equal(env.action_space.low, -np.float32(family.action_limit))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


@every_family
def test_an_episode_is_truncated_at_the_horizon_and_terminated_only_where_states_are_terminal(family):
    env = gymnasium.make(family.env_id)
    env.reset(seed=0)
    ends = [env.step(np.zeros(family.action_size, np.float32))[2:4] for _ in range(family.horizon)]
    assert [cut for _, cut in ends] == [False] * (family.horizon - 1) + [True]
    if family.name not in ENDING:
        assert not any(ended for ended, _ in ends)
    elif "params" in family.name:  # it falls over
        assert any(ended for ended, _ in ends)


def other_task(family):
    """A task other than 0, and different from it."""
    return len(family.tasks()) - 1


def test_an_option_of_reset_with_a_typo_is_refused():
    env = gymnasium.make("omrl/PointGoal-v1")
    with pytest.raises(InputError, match="unknown option of reset 'tsak'; did you mean 'task'"):
        env.reset(options={"tsak": 3})
    assert env.reset(options={})[1] == env.reset(options=None)[1] == {"task": 0}


@every_family
def test_task_is_chosen_at_construction_and_by_reset(family):
    table, last = family.tasks(), other_task(family)
    env = gymnasium.make(family.env_id, task=4)
    assert env.reset(seed=1)[1] == {"task": 4}
    np.testing.assert_array_equal(env.unwrapped.descriptor, table.descriptors[4])
    assert env.reset(seed=1, options={"task": last})[1] == {"task": last}
    np.testing.assert_array_equal(env.unwrapped.descriptor, table.descriptors[last])
    assert env.reset(seed=1)[1] == {"task": last}
    assert env.step(env.action_space.sample())[4] == {"task": last}
    env.unwrapped.descriptor[:] = 100  # a copy: the table stays as it is
    np.testing.assert_array_equal(env.unwrapped.descriptor, table.descriptors[last])
    assert np.abs(table.descriptors).max() < 100


def rewards_and_observations(env, actions):
    """What the environment answers, up to a terminal state."""
    for action in actions:
        observation, reward, ended, _, _ = env.step(action)
        yield [*observation, reward]
        if ended:
            return


@every_family
def test_the_task_makes_a_difference_and_reset_switches_it_completely(family):
    """The last task after the first one gives what a new environment of the last task gives."""
    if family.action_size == 2:  # towards task 0 of the semicircles: sparse rewards are felt near a goal only
        actions = np.tile(np.float32([0.1, 0.0137]), (12, 1))
    else:
        rng = np.random.default_rng(0)
        actions = family.action_limit * rng.uniform(-1, 1, (40, family.action_size)).astype(np.float32)
    last, seen = other_task(family), []
    env, new = gymnasium.make(family.env_id), gymnasium.make(family.env_id, task=last)
    for changing, task in ((env, 0), (env, last), (new, last), (env, 0)):
        changing.reset(seed=1, options={"task": task})
        seen.append(np.array(list(rewards_and_observations(changing, actions))))
    np.testing.assert_array_equal(seen[1], seen[2])
    np.testing.assert_array_equal(seen[0], seen[3])
    steps = min(len(seen[0]), len(seen[1]))
    differences = np.abs(seen[0][:steps] - seen[1][:steps]).max(axis=0)
    assert differences[-1] > 1e-3
    # what differs between tasks is the reward only, or the dynamics and with them what is observed
    observed = differences[:2] if family.name == "point-hard" else differences[:-1]  # its third number tells of goal 1
    assert (observed > 1e-6).any() == (family.varies == "dynamics")


@every_family
def test_a_task_that_does_not_exist_is_an_input_error(family):
    count = len(family.tasks())
    for task in (count, -1):
        with pytest.raises(InputError, match=rf"task {task} does not exist.* 0 to {count - 1}"):
            gymnasium.make(family.env_id, task=task)
        with pytest.raises(InputError, match="does not exist"):
            gymnasium.make(family.env_id).reset(options={"task": task})
        with pytest.raises(InputError, match="does not exist"):
            BatchedEnv(family, 2).reset([0, task], [0, 0])


@every_family
def test_an_action_of_the_wrong_shape_is_an_input_error(family):
    size = family.action_size
    env = gymnasium.make(family.env_id, disable_env_checker=True).unwrapped
    batch = BatchedEnv(family, 3)
    env.reset(seed=0)
    batch.reset([0, 1, 2], [0, 1, 2])
    for shape in ((), (1,), (size + 1,), (1, size)):
        with pytest.raises(InputError, match=re.escape(f"the action has shape {shape}; expected ({size},)")):
            env.step(np.zeros(shape))
    for shape in ((), (3,), (size,), (1, size), (2, size), (4, size), (3, 1), (3, size + 1), (3, size, 1)):
        with pytest.raises(InputError, match=re.escape(f"shape {shape}; expected (lanes, action size) = (3, {size})")):
            batch.step(np.zeros(shape))


def test_a_task_that_is_not_an_integer_is_an_input_error():
    with pytest.raises(InputError):
        gymnasium.make("omrl/PointGoal-v1", task=2.9)


def test_an_unknown_family_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown family 'cheeta-vel'; did you mean 'cheetah-vel'"):
        TaskEnv("cheeta-vel")


def _global_states():
    legacy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  (the check that nobody uses it)
    return random.getstate(), legacy["key"].tobytes(), legacy["pos"], torch.get_rng_state().numpy().tobytes()


@every_family
def test_global_random_state_is_left_alone(family):
    before = _global_states()
    env = gymnasium.make(family.env_id, task=1)
    for seed in (None, 0):
        env.reset(seed=seed)
        env.step(np.zeros(family.action_size, np.float32))
    batch = BatchedEnv(family, 3, threads=2)
    batch.reset([0, 1, 2], [5, 6, 7])
    batch.step(np.zeros((3, family.action_size)))
    batch.reset([4], [8], np.array([1]))
    assert _global_states() == before


def test_global_state_check_notices_a_draw():
    before = _global_states()
    torch.rand(1)
    assert _global_states() != before
