"""Ant families: dt = 0.05; contact forces are not observed, and the position in the plane only where goals lie there.

The robot and its resets are Gymnasium's ``Ant-v5``. The reward with costs: the public code of PEARL (Rakelly et al.,
"Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019); the speed alone: the
public code of CORRO (Yuan & Lu, "Robust Task Representations for Offline Meta-Reinforcement Learning via Contrastive
Learning", ICML 2022).
"""

from __future__ import annotations

import mujoco
import numpy as np

from omrl_bench.envs.mujoco_physics import Robot


class Ant(Robot):
    """The robot: qpos[2:] (13) and qvel (14) are observed; initial qpos + U(-0.1, 0.1), qvel + 0.1 N(0, 1)."""

    FRAME_SKIP = 5
    HIDDEN = 2
    POSITION_NOISE = 0.1
    VELOCITY_NOISE = 0.1
    CONTROL_COST = 0.5
    ALIVE = 1.0
    HEALTHY = (0.2, 1.0)

    def living(self, actions: np.ndarray) -> np.ndarray:
        """Reward of being alive minus the control cost: 1 - 0.5 a^2, (lanes,)."""
        reward: np.ndarray = self.ALIVE - self.CONTROL_COST * np.sum(actions**2, axis=-1)
        return reward

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """When the torso's height leaves [0.2, 1], or a number of the state is not finite."""
        low, high = self.HEALTHY
        height = next_states[:, self._qpos.start + 2]
        return ~((height >= low) & (height <= high) & np.isfinite(next_states).all(axis=1))


class AntDir(Ant):
    """r = (v_x, v_y) direction - 0.5 a^2 + 1, until unhealthy (PEARL's form, without the contact cost)."""

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Speed along the task's direction, plus the living reward."""
        return np.sum(self.velocity(states, next_states, 2) * descriptors, axis=1) + self.living(actions)


class AntDirSpeed(Ant):
    """r = (v_x, v_y) direction, and episodes never end (CORRO, HS-OMRL, UNICORN)."""

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Speed along the task's direction."""
        speed: np.ndarray = np.sum(self.velocity(states, next_states, 2) * descriptors, axis=1)
        return speed

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Never."""
        return np.zeros(len(next_states), dtype=bool)


class AntGoal(Ant):
    """r = -|x - g_x| - |y - g_y| - 0.1 a^2 after the step; never ends; all of qpos and qvel is observed (PEARL)."""

    HIDDEN = 0
    CONTROL_COST = 0.1

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Negative distance to the goal along both axes, minus the control cost."""
        away = np.abs(next_states[:, self._qpos.start : self._qpos.start + 2] - descriptors).sum(axis=1)
        reward: np.ndarray = -away - self.CONTROL_COST * np.sum(actions**2, axis=-1)
        return reward

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Never."""
        return np.zeros(len(next_states), dtype=bool)


class AntMass(Ant):
    """r = v_x - 0.5 a^2 + 1, until unhealthy; all masses and inertias times the task's scale."""

    def change(self, model: mujoco.MjModel, descriptor: np.ndarray) -> None:
        """Scale the masses."""
        self.scale_mass(model, descriptor[0])

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Forward speed, plus the living reward."""
        return self.velocity(states, next_states)[:, 0] + self.living(actions)
