"""Point-robot families (facts A.1): s' = s + a, no walls."""

from __future__ import annotations

import numpy as np

from omrl_bench.envs.families import Family
from omrl_bench.envs.law import Physics


class PointGoal:
    """Start at the origin; r = -||s' - g||; goals on the unit circle; never terminates."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def batched_physics(self, lanes: int, threads: int) -> Physics:
        """The law itself: arrays need neither threads nor a simulator."""
        return self

    def single_physics(self) -> Physics:
        """The law itself."""
        return self

    def advance(self, states: np.ndarray, actions: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """S' = s + a."""
        return states + actions

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """The origin."""
        return np.zeros(2)

    def observation(self, states: np.ndarray) -> np.ndarray:
        """The position."""
        return states.copy()

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Negative distance to the goal after the step."""
        distance: np.ndarray = np.sqrt(np.sum((next_states - descriptors) ** 2, axis=-1))
        return -distance

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Never."""
        return np.zeros(len(next_states), dtype=bool)
