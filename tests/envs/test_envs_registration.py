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


def fresh_interpreter(code, folder):
    """Run code in a new process, away from the checkout; return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


MAKE_ALL = "; ".join(
    f"env = gymnasium.make({{prefix!r}} + {f.env_id!r}, task=7); print(env.unwrapped.task, env.spec.max_episode_steps)"
    for f in FAMILIES.values()
)
MADE_ALL = "".join(f"7 {f.horizon}\n" for f in FAMILIES.values())


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
    assert spec.max_episode_steps == family.horizon
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
    assert env.observation_space.shape == (family.observation_size,)
    assert env.action_space.shape == (family.action_size,)
    np.testing.assert_array_equal(env.action_space.high, np.float32(family.action_limit))
    np.testing.assert_array_equal(env.action_space.low, -np.float32(family.action_limit))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


@every_family
def test_an_episode_is_truncated_at_the_horizon_and_never_terminated(family):
    env = gymnasium.make(family.env_id)
    env.reset(seed=0)
    ends = [env.step(np.zeros(family.action_size, np.float32))[2:4] for _ in range(family.horizon)]
    assert ends == [(False, False)] * (family.horizon - 1) + [(False, True)]


@every_family
def test_task_is_chosen_at_construction_and_by_reset(family):
    table = family.tasks()
    env = gymnasium.make(family.env_id, task=5)
    assert env.reset(seed=1)[1] == {"task": 5}
    np.testing.assert_array_equal(env.unwrapped.descriptor, table.descriptors[5])
    assert env.reset(seed=1, options={"task": 9})[1] == {"task": 9}
    np.testing.assert_array_equal(env.unwrapped.descriptor, table.descriptors[9])
    assert env.reset(seed=1)[1] == {"task": 9}
    assert env.step(env.action_space.sample())[4] == {"task": 9}
    env.unwrapped.descriptor[:] = 100  # a copy: the table stays as it is
    np.testing.assert_array_equal(env.unwrapped.descriptor, table.descriptors[9])
    assert np.abs(table.descriptors).max() < 100


@every_family
def test_the_task_makes_a_difference(family):
    env = gymnasium.make(family.env_id)
    rewards = []
    for task in (0, 20):
        env.reset(seed=1, options={"task": task})
        rewards.append(env.step(np.full(family.action_size, family.action_limit, np.float32))[1])
    assert abs(rewards[0] - rewards[1]) > 1e-3


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


def test_a_task_that_is_not_an_integer_is_an_input_error():
    with pytest.raises(InputError):
        gymnasium.make("omrl/PointGoal-v0", task=2.9)


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
