"""Hopper and walker families: x is not observed, velocities are observed clipped to [-10, 10].

The robots are Gymnasium's ``Walker2d-v5`` and ``Hopper-v5``. Random parameters, rewards and ends: ``rand_param_envs``
of PEARL's public code (Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables", ICML 2019). Sparse velocity: walker-sparse of CCM's public code (Fu et al., "Towards Effective Context for
Meta-Reinforcement Learning: an Approach based on Contrastive Learning", AAAI 2021).
"""

from __future__ import annotations

import mujoco
import numpy as np

from omrl_bench.envs.mujoco_physics import Robot, load_model

MAX_VELOCITY = 10.0


class PlanarWalker(Robot):
    """The robots: qpos[1:] and clipped qvel are observed; initial qpos and qvel + U(-0.005, 0.005)."""

    FRAME_SKIP = 4
    HIDDEN = 1
    POSITION_NOISE = 0.005
    VELOCITY_NOISE = 0.005
    TIMESTEP: float

    def compile(self) -> mujoco.MjModel:
        """The model file, with the family's timestep."""
        model = load_model(self.family.assets[0])
        model.opt.timestep = self.TIMESTEP
        self.combine_friction(model)
        return model

    @staticmethod
    def combine_friction(model: mujoco.MjModel) -> None:
        """Give each listed contact the larger friction of its two geoms, as the simulator does for those it finds."""
        larger = np.maximum(model.geom_friction[model.pair_geom1], model.geom_friction[model.pair_geom2])
        model.pair_friction[:] = larger[:, [0, 0, 1, 2, 2]]  # two sliding, torsional, two rolling

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Standing, with uniform noise."""
        state = self._rest.copy()
        state[self._qpos] += rng.uniform(-self.POSITION_NOISE, self.POSITION_NOISE, self.model.nq)
        state[self._qvel] += rng.uniform(-self.VELOCITY_NOISE, self.VELOCITY_NOISE, self.model.nv)
        return state

    def observation(self, states: np.ndarray) -> np.ndarray:
        """Qpos without x, then clipped qvel."""
        positions = states[:, self._qpos.start + self.HIDDEN : self._qpos.stop]
        velocities = np.clip(states[:, self._qvel], -MAX_VELOCITY, MAX_VELOCITY)
        return np.concatenate([positions, velocities], axis=1)


class RandomParams(PlanarWalker):
    """r = v + 1 - 0.001 a^2, until it falls; tasks multiply masses, inertias, damping and friction (rlkit's form).

    The descriptor holds the logarithms of the multipliers: of ``body_mass`` (all bodies), ``body_inertia``
    (x, y, z of each body), ``dof_damping``, and ``geom_friction`` (sliding, torsional, rolling of each geom), one after
    the other.
    """

    TIMESTEP = 0.004
    ALIVE = 1.0
    CONTROL_COST = 1e-3

    def change(self, model: mujoco.MjModel, descriptor: np.ndarray) -> None:
        """Multiply the four fields."""
        first = 0
        for field in (model.body_mass, model.body_inertia, model.dof_damping, model.geom_friction):
            field[:] *= np.exp(descriptor[first : first + field.size]).reshape(field.shape)
            first += field.size
        self.combine_friction(model)

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Forward speed, plus being alive, minus the control cost."""
        cost = self.CONTROL_COST * np.sum(actions**2, axis=-1)
        return self.velocity(states, next_states)[:, 0] + self.ALIVE - cost


class WalkerParams(RandomParams):
    """The walker: ends when its height leaves (0.8, 2) or it tilts by 1 rad."""

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Height outside (0.8, 2), or an angle of 1 or more."""
        height, angle = next_states[:, self._qpos.start + 1], next_states[:, self._qpos.start + 2]
        return ~((height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0))


class HopperParams(RandomParams):
    """The hopper: ends at height 0.7, at a tilt of 0.2 rad, or when a number of the state reaches 100."""

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Height of 0.7 or less, an angle of 0.2 or more, or any later number of (qpos, qvel) of 100 or more."""
        height, angle = next_states[:, self._qpos.start + 1], next_states[:, self._qpos.start + 2]
        others = next_states[:, self._qpos.start + 2 : self._qvel.stop]
        return ~((height > 0.7) & (np.abs(angle) < 0.2) & (np.abs(others) < 100.0).all(axis=1))


class WalkerVelSparse(PlanarWalker):
    """r = 2 - |v - v*| within 0.5 of v*, else 0; minus 0.05 a^2; never ends (CCM)."""

    TIMESTEP = 0.002
    REACH = 0.5
    CONTROL_COST = 0.05

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Sparse closeness to the task's velocity, minus the control cost."""
        distance = np.abs(self.velocity(states, next_states)[:, 0] - descriptors[:, 0])
        cost = self.CONTROL_COST * np.sum(actions**2, axis=-1)
        return np.where(distance > self.REACH, 0.0, 2 - distance) - cost
