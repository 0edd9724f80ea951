"""Half-cheetah families: dt = 0.05, never terminate, x is not observed.

The robot and its resets are Gymnasium's ``HalfCheetah-v5``. Rewards of velocity and direction: the public
code of PEARL (Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables",
ICML 2019), as in Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017. Sparse
velocity and the mass scale: the public code of CCM (Fu et al., "Towards Effective Context for Meta-Reinforcement
Learning: an Approach based on Contrastive Learning", AAAI 2021).
"""

from __future__ import annotations

import mujoco
import numpy as np

from omrl_bench.envs.mujoco_physics import Robot, load_model

TOTAL_MASS = 14.0


class Cheetah(Robot):
    """The robot: qpos[1:] (8) and qvel (9) are observed; initial qpos + U(-0.1, 0.1), qvel + 0.1 N(0, 1)."""

    FRAME_SKIP = 5
    HIDDEN = 1
    POSITION_NOISE = 0.1
    VELOCITY_NOISE = 0.1
    CONTROL_COST = 0.05

    def compile(self) -> mujoco.MjModel:
        """The model file, scaled to a total mass of 14."""
        model = load_model(self.family.assets[0])
        mujoco.mj_setTotalmass(model, TOTAL_MASS)
        mujoco.mj_setConst(model, mujoco.MjData(model))
        return model

    def cost(self, actions: np.ndarray) -> np.ndarray:
        """Control cost, (lanes,)."""
        cost: np.ndarray = self.CONTROL_COST * np.sum(actions**2, axis=-1)
        return cost


class CheetahVel(Cheetah):
    """r = -|v - v*| - 0.05 a^2."""

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Negative distance to the task's velocity, minus the control cost."""
        velocity = self.velocity(states, next_states)[:, 0]
        return -np.abs(velocity - descriptors[:, 0]) - self.cost(actions)


class CheetahVelSparse(Cheetah):
    """r = 2 - |v - v*| within 0.5 of v*, else 0; minus 0.05 a^2 (CCM)."""

    REACH = 0.5

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Sparse closeness to the task's velocity, minus the control cost."""
        distance = np.abs(self.velocity(states, next_states)[:, 0] - descriptors[:, 0])
        return np.where(distance > self.REACH, 0.0, 2 - distance) - self.cost(actions)


class CheetahDir(Cheetah):
    """r = direction v - 0.05 a^2."""

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Speed in the task's direction, minus the control cost."""
        return descriptors[:, 0] * self.velocity(states, next_states)[:, 0] - self.cost(actions)


class CheetahMass(Cheetah):
    """r = v - 0.1 a^2; all masses and inertias times the task's scale."""

    CONTROL_COST = 0.1

    def change(self, model: mujoco.MjModel, descriptor: np.ndarray) -> None:
        """Scale the masses."""
        self.scale_mass(model, descriptor[0])

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Forward speed, minus the control cost."""
        return self.velocity(states, next_states)[:, 0] - self.cost(actions)
