"""Half-cheetah families (facts A.4): dt = 0.05, 200 steps, never terminates."""

from __future__ import annotations

import mujoco
import numpy as np

from omrl_bench.envs.families import Family
from omrl_bench.envs.law import Physics
from omrl_bench.envs.mujoco_physics import STATE, RolloutPhysics, StepPhysics, load_model

FRAME_SKIP = 5
RESET_NOISE = 0.1
CONTROL_COST = 0.05
TOTAL_MASS = 14.0


class CheetahVel:
    """r = -|v - v*| - 0.05 a^2 with v = (x' - x) / dt; the observation leaves out the position x."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.model = load_model(family.assets[0])
        mujoco.mj_setTotalmass(self.model, TOTAL_MASS)
        mujoco.mj_setConst(self.model, mujoco.MjData(self.model))
        self.dt = self.model.opt.timestep * FRAME_SKIP
        data = mujoco.MjData(self.model)
        self._rest = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, data, self._rest, STATE)
        # state = (time, qpos, qvel)
        self._qpos = slice(1, 1 + self.model.nq)
        self._qvel = slice(1 + self.model.nq, 1 + self.model.nq + self.model.nv)

    def batched_physics(self, lanes: int, threads: int) -> Physics:
        """``mujoco.rollout`` over all lanes, one shared model."""
        return RolloutPhysics(self.model, FRAME_SKIP, lanes, threads)

    def single_physics(self) -> Physics:
        """``mj_step``."""
        return StepPhysics(self.model, FRAME_SKIP)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Rest pose, qpos + U(-0.1, 0.1), qvel + 0.1 N(0, 1)."""
        state = self._rest.copy()
        state[self._qpos] += rng.uniform(-RESET_NOISE, RESET_NOISE, self.model.nq)
        state[self._qvel] += RESET_NOISE * rng.standard_normal(self.model.nv)
        return state

    def observation(self, states: np.ndarray) -> np.ndarray:
        """Qpos without the root's x (8 numbers), then qvel (9 numbers)."""
        return states[:, self._qpos.start + 1 : self._qvel.stop].copy()

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Negative distance to the task's velocity, minus the control cost."""
        velocity = (next_states[:, self._qpos.start] - states[:, self._qpos.start]) / self.dt
        reward: np.ndarray = -np.abs(velocity - descriptors[:, 0]) - CONTROL_COST * np.sum(actions**2, axis=-1)
        return reward

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Never."""
        return np.zeros(len(next_states), dtype=bool)
