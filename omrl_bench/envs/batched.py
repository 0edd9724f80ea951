"""Many lanes of one family, stepped together."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread

import numpy as np

from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError

#: Waking a thread takes about as long as it takes to step this many lanes of a small robot.
LANES_PER_THREAD = 8

Call = tuple[Callable[..., np.ndarray], tuple[np.ndarray, ...]]


class BatchedEnv:
    """Lanes of one family: each has its own task and seed, all step together.

    It gives the same numbers as ``gymnasium.make(family.env_id, task=...)`` reset with the lane's seed.
    There is no automatic reset: the caller resets the lanes it wants to.

    Args:
        family: The family.
        lanes: Number of lanes.
        threads: Most simulator threads to use.
    """

    def __init__(self, family: Family, lanes: int, threads: int = 1) -> None:
        self.family = family
        self.lanes = lanes
        self._table = family.tasks()
        self._law = family.make_law()
        count = max(1, min(threads, lanes // LANES_PER_THREAD)) if family.assets else 1
        self._physics = [self._law.batched_physics(lanes) for _ in range(count)]  # one for each thread
        self._threads = [_Thread() for _ in range(count - 1)]
        self._states = np.zeros((lanes, self._law.initial_state(np.random.default_rng(0)).size))
        self._descriptors = np.zeros((lanes, len(family.descriptor)))
        self._elapsed = np.zeros(lanes, dtype=np.int64)

    def reset(
        self, tasks: Sequence[int] | np.ndarray, seeds: Sequence[int] | np.ndarray, lanes: np.ndarray | None = None
    ) -> np.ndarray:
        """Start new episodes and return the observations of all lanes, (lanes, observation size).

        Args:
            tasks: Task id of each lane to reset.
            seeds: Environment seed of each lane to reset.
            lanes: Indices of the lanes to reset; all of them if not given.

        Raises:
            InputError: if a task id does not exist, or there is not one task and one seed for each lane.
        """
        where = np.arange(self.lanes) if lanes is None else lanes
        if not len(tasks) == len(seeds) == len(where):
            raise InputError(f"{len(where)} lanes are reset with {len(tasks)} tasks and {len(seeds)} seeds")
        return self.reset_to(self._table.descriptors[self._table.check(tasks)], seeds, where)

    def reset_to(self, descriptors: np.ndarray, seeds: Sequence[int] | np.ndarray, where: np.ndarray) -> np.ndarray:
        """Start new episodes in tasks that need not be of the table; otherwise as :meth:`reset`.

        Args:
            descriptors: True parameters of each lane's task, (lanes to reset, descriptor size).
            seeds: Environment seed of each lane to reset.
            where: Indices of the lanes to reset.
        """
        self._descriptors[where] = descriptors
        self._states[where] = [self._law.initial_state(np.random.default_rng(int(seed))) for seed in seeds]
        self._elapsed[where] = 0
        for physics in self._physics:
            physics.assign(where, self._descriptors[where])
        return self._law.observation(self._states)

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Step the lanes.

        Args:
            actions: (lanes, action size); clipped to the family's limits.
            active: (lanes,) bool, which lanes step; all of them if not given. The others are not simulated: they stay
                as they are, and earn 0.

        Returns:
            Observations (lanes, observation size), rewards (lanes,), terminated (lanes,), truncated (lanes,).

        Raises:
            InputError: if the actions have another shape, or an active lane's hold NaN.
        """
        limit = self.family.action_limit
        actions = np.clip(np.asarray(actions, dtype=np.float64), -limit, limit)
        if actions.shape != (self.lanes, self.family.action_size):
            raise InputError(
                f"actions have shape {actions.shape}; expected (lanes, action size) = "
                f"{(self.lanes, self.family.action_size)}"
            )
        where = slice(None) if active is None else np.flatnonzero(active)
        lanes, states, actions = np.arange(self.lanes)[where], self._states[where], actions[where]
        if np.isnan(actions).any():  # MuJoCo would take them for zeros
            raise InputError(f"the action of lane {int(lanes[np.isnan(actions).any(axis=1).argmax()])} holds NaN")
        following = self._advance(states, actions, lanes) if len(lanes) else states
        earned = rewards = self._law.reward(states, actions, following, self._descriptors[where])
        if active is not None:
            rewards = np.zeros(self.lanes)
            rewards[where] = earned
        self._states = self._states.copy()
        self._states[where] = following
        self._elapsed[where] += 1
        truncated = self._elapsed >= self.family.horizon
        return self._law.observation(self._states), rewards, self._law.terminated(self._states), truncated

    def _advance(self, states: np.ndarray, actions: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Next states; the calling thread does its part, because waking another one for it would take longer."""
        count = max(1, min(len(self._physics), len(lanes) // LANES_PER_THREAD))
        if count == 1:
            return self._physics[0].advance(states, actions, lanes)
        mine, *others = zip(*(np.array_split(each, count) for each in (states, actions, lanes)), strict=True)
        busy = self._threads[: len(others)]
        for thread, physics, theirs in zip(busy, self._physics[1:], others, strict=False):
            thread.start(physics.advance, *theirs)
        first = self._physics[0].advance(*mine)
        return np.concatenate([first, *(thread.result() for thread in busy)])


class _Thread:
    """A thread that waits for one call at a time; it is handed over faster than to an executor of the library."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._outcomes: SimpleQueue[np.ndarray | BaseException] = SimpleQueue()
        Thread(target=_serve, args=(self._calls, self._outcomes), daemon=True).start()
        weakref.finalize(self, self._calls.put, None)

    def start(self, function: Callable[..., np.ndarray], *arguments: np.ndarray) -> None:
        """Begin a call."""
        self._calls.put((function, arguments))

    def result(self) -> np.ndarray:
        """Wait for the call and return what it returned, or raise what it raised."""
        outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def _serve(calls: SimpleQueue[Call | None], outcomes: SimpleQueue[np.ndarray | BaseException]) -> None:
    while call := calls.get():
        function, arguments = call
        try:
            outcomes.put(function(*arguments))
        except BaseException as error:  # raised again where the result is asked for
            outcomes.put(error)
