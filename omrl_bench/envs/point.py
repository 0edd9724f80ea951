"""Point-robot families: s' = s + a, no walls, never terminate.

Where the formulas are from:

* the step, dense rewards and a start in the square: the public code of PEARL (Rakelly et al., "Efficient Off-Policy
  Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019), which FOCAL and GENTLE keep;
* goals on a circle: HS-OMRL (Zhao et al., "On Context Distribution Shift in Task Representation Learning for Offline
  Meta RL", 2023, section 5.1);
* sparse rewards within 0.2, and the wind: FOCAL++ (Li et al., "Improved Context-Based Offline Meta-RL with Attention
  and Contrastive Learning", 2021, section 4.1), the sparse rule itself from PEARL's code;
* two goals in sequence: the public code of CCM (Fu et al., "Towards Effective Context for Meta-Reinforcement Learning:
  an Approach based on Contrastive Learning", AAAI 2021), its hard-point-robot.
"""

from __future__ import annotations

import numpy as np

from omrl_bench.envs.families import Family
from omrl_bench.envs.law import Physics


class PointRobot:
    """What the point families share: start at the origin, the position is state and observation."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def batched_physics(self, lanes: int) -> Physics:
        """Arrays need no simulator."""
        return PointPhysics(self, lanes)

    def single_physics(self) -> Physics:
        """The same, for one lane."""
        return PointPhysics(self, 1)

    def move(self, states: np.ndarray, actions: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """S' = s + a."""
        return states + actions

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """The origin."""
        return np.zeros(2)

    def observation(self, states: np.ndarray) -> np.ndarray:
        """The state."""
        return states.copy()

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Never."""
        return np.zeros(len(next_states), dtype=bool)


class PointPhysics:
    """Moves lanes by a law's formula."""

    def __init__(self, law: PointRobot, lanes: int) -> None:
        self._law = law
        self._descriptors = np.zeros((lanes, len(law.family.descriptor)))

    def assign(self, lanes: np.ndarray, descriptors: np.ndarray) -> None:
        """Keep the lanes' descriptors."""
        self._descriptors[lanes] = descriptors

    def advance(self, states: np.ndarray, actions: np.ndarray, lanes: np.ndarray | None = None) -> np.ndarray:
        """Next states, (lanes, state size)."""
        return self._law.move(states, actions, self._descriptors if lanes is None else self._descriptors[lanes])


class PointGoal(PointRobot):
    """r = -||s' - g||."""

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Negative distance to the goal after the step."""
        return -_distance(next_states, descriptors)


class PointSquare(PointGoal):
    """r = -||s' - g||; start uniform in [-1, 1]^2 (PEARL, FOCAL, GENTLE)."""

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Uniform in the square."""
        return rng.uniform(-1, 1, 2)


class PointSparse(PointRobot):
    """r = 1 - d if d <= 0.2 else 0, with d = ||s' - g|| (PEARL's sparse rule)."""

    REACH = 0.2

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Closeness to the goal, near the goal only."""
        distance = _distance(next_states, descriptors)
        return np.where(distance <= self.REACH, 1 - distance, 0.0)


class PointWind(PointRobot):
    """s' = s + a + w, w the task's wind; r = -||s' - (1, 0)||."""

    GOAL = np.array([1.0, 0.0])

    def move(self, states: np.ndarray, actions: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """S' = s + a + w."""
        return states + actions + descriptors

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Negative distance to (1, 0) after the step."""
        return -_distance(next_states, self.GOAL)


class PointHard(PointRobot):
    """Two goals in sequence, in the task's direction u (CCM): g_1 = u / 2, then g_2 = u.

    The state is (x, y, whether g_1 was reached before this step), all of it observed. With d_i = ||s' - g_i||:
    before, r = 1 - d_1 if d_1 <= 0.3 else 0, and g_1 counts as reached at d_1 <= 0.15; after,
    r = 1 + (5 - d_2 if d_2 <= 0.3 else 0).
    """

    REACH = 0.3
    BONUS = 5.0

    def move(self, states: np.ndarray, actions: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """S' = s + a; remembers that g_1 was reached."""
        following = states.copy()
        following[:, :2] += actions
        near = _distance(following[:, :2], descriptors / 2) <= self.REACH / 2
        following[:, 2] = np.maximum(states[:, 2], near)
        return following

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """The origin, g_1 not reached."""
        return np.zeros(3)

    def reward(
        self, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray, descriptors: np.ndarray
    ) -> np.ndarray:
        """Closeness to g_1 until it is reached, then 1 and closeness to g_2."""
        first = _distance(next_states[:, :2], descriptors / 2)
        second = _distance(next_states[:, :2], descriptors)
        before = np.where(first <= self.REACH, 1 - first, 0.0)
        after = 1 + np.where(second <= self.REACH, self.BONUS - second, 0.0)
        return np.where(states[:, 2] > 0, after, before)


def _distance(positions: np.ndarray, goals: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.sqrt(np.sum((positions - goals) ** 2, axis=-1))
    return distance
