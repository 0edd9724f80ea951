import copy
import os

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from mujoco import rollout

from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.cheetah import Cheetah
from omrl_bench.envs.families import get_family
from omrl_bench.envs.mujoco_physics import STATE, RolloutPhysics

LANES = 256
STEPS = 50
THREADS = os.cpu_count()


@pytest.fixture
def batched():
    family = get_family("cheetah-vel")
    env = BatchedEnv(family, LANES, THREADS)
    env.reset(np.zeros(LANES, dtype=int), np.arange(LANES))
    return env


def test_batched_simulation_against_raw_rollout(compare, batched):
    """Steps per second, observations, rewards and clipping included, against the physics alone."""
    model = get_family("cheetah-vel").make_law().model
    data = [mujoco.MjData(model) for _ in range(THREADS)]
    state = np.zeros((LANES, mujoco.mj_stateSize(model, STATE)))
    for lane in range(LANES):
        mujoco.mj_getState(model, data[0], state[lane], STATE)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (STEPS, LANES, 6))
    controls = np.repeat(actions[:, :, None], Cheetah.FRAME_SKIP, axis=2)
    models = [model] * LANES

    with rollout.Rollout(nthread=THREADS) as pool:

        def raw():
            current = state
            for step in range(STEPS):
                states, _ = pool.rollout(models, data, current, controls[step])
                current = np.ascontiguousarray(states[:, -1])

        def ours():
            batched.reset(np.zeros(LANES, dtype=int), np.arange(LANES))
            for step in range(STEPS):
                batched.step(actions[step])

        compare(ours, raw, at_least=0.7)


def test_batched_simulation_against_sync_vector_env(compare, batched):
    """The same 64 environments and linear policy, batched and in Gymnasium's vector environment."""
    lanes = 64
    family = get_family("cheetah-vel")
    ours_env = BatchedEnv(family, lanes, THREADS)
    vector = SyncVectorEnv([lambda: gymnasium.make(family.env_id) for _ in range(lanes)])
    weights = np.random.default_rng(0).standard_normal((17, 6))

    def ours():
        observations = ours_env.reset(np.zeros(lanes, dtype=int), np.arange(lanes))
        for _ in range(STEPS):
            observations = ours_env.step(np.tanh(observations @ weights))[0]

    def reference():
        observations, _ = vector.reset(seed=list(range(lanes)))
        for _ in range(STEPS):
            observations = vector.step(np.tanh(observations @ weights).astype(np.float32))[0]

    compare(ours, reference, at_least=2.0)


ANT = pytest.mark.xfail(
    reason="measured 2.2 to 2.4: two cores can only halve the physics, which is four fifths of the reference's step"
)


@pytest.mark.parametrize("vector_env", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("name", ["cheetah-vel", pytest.param("ant-dir", marks=ANT), "hopper-params"])
def test_sixteen_environments_against_gymnasium(compare, name, vector_env):
    """The same 16 environments and actions, batched and in Gymnasium's vector environments."""
    lanes = 16
    family = get_family(name)
    tasks = np.arange(lanes)
    batched = BatchedEnv(family, lanes, THREADS)
    makers = [lambda task=task: gymnasium.make(family.env_id, task=task) for task in tasks.tolist()]
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, lanes, family.action_size)).astype(np.float32)

    def ours():
        batched.reset(tasks, tasks)
        for action in actions:
            ended = np.logical_or(*batched.step(action)[2:])
            if ended.any():
                batched.reset(tasks[ended], tasks[ended], np.flatnonzero(ended))

    def reference():
        vector.reset(seed=tasks.tolist())
        for action in actions:
            vector.step(action)

    vector = vector_env(makers, autoreset_mode=AutoresetMode.SAME_STEP)  # as ours: no step without physics
    try:
        compare(ours, reference, at_least=2.5)
    finally:
        vector.close()


def test_a_model_per_lane_against_one_model(compare):
    """The same simulation, with copies of one model and with the model itself."""
    law = get_family("hopper-params").make_law()
    start = np.stack([law.initial_state(np.random.default_rng(lane)) for lane in range(LANES)])
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, LANES, 3))
    copies = iter([copy.copy(law.model) for _ in range(LANES)])
    shared = RolloutPhysics(lambda descriptor: law.model, law.model, law.FRAME_SKIP, LANES)
    own = RolloutPhysics(lambda descriptor: next(copies), law.model, law.FRAME_SKIP, LANES)
    own.assign(np.arange(LANES), np.zeros((LANES, 1)))

    def simulate(physics):
        states = start
        for action in actions:
            states = physics.advance(states, action)
        return states

    np.testing.assert_array_equal(simulate(own), simulate(shared))
    compare(lambda: simulate(own), lambda: simulate(shared), at_least=1 / 1.15)
