"""What a family must say about its MDPs, and how its states advance in time."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Physics(Protocol):
    """Advances the states of lanes, all or some of a fixed number, by one environment step."""

    def assign(self, lanes: np.ndarray, descriptors: np.ndarray) -> None:
        """Say which tasks lanes run from now on.

        Args:
            lanes: (k,) indices.
            descriptors: (k, descriptor size).
        """
        ...

    def advance(self, states: np.ndarray, actions: np.ndarray, lanes: np.ndarray | None = None) -> np.ndarray:
        """Return the next states, (k, state size).

        Args:
            states: (k, state size).
            actions: (k, action size), already within the action limits.
            lanes: (k,) indices of the lanes that advance; all of them if not given.
        """
        ...


class Law(Protocol):
    """A family's MDP in formulas, vectorised over a leading axis of lanes; it holds no episode state."""

    def batched_physics(self, lanes: int) -> Physics:
        """Physics for many lanes at once."""
        ...

    def single_physics(self) -> Physics:
        """Physics for one lane, as an ordinary environment steps it."""
        ...

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one initial state, (state size,)."""
        ...

    def observation(self, states: np.ndarray) -> np.ndarray:
        """Observations (lanes, observation size) of states (lanes, state size)."""
        ...

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Rewards (lanes,) of the transitions."""
        ...

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Whether each lane has reached a terminal state, bool (lanes,)."""
        ...
