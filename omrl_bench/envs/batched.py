"""Many lanes of one family, stepped together."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
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
        bounds = [lanes * part // count for part in range(count + 1)]
        self._parts = [
            (slice(start, stop), self._law.batched_physics(stop - start)) for start, stop in pairwise(bounds)
        ]
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
        for part, physics in self._parts:
            here = where[(where >= part.start) & (where < part.stop)]
            physics.assign(here - part.start, self._descriptors[here])
        return self._law.observation(self._states)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Step all lanes.

        Args:
            actions: (lanes, action size); clipped to the family's limits.

        Returns:
            Observations (lanes, observation size), rewards (lanes,), terminated (lanes,), truncated (lanes,).

        Raises:
            InputError: if the actions have another shape, or hold NaN.
        """
        limit = self.family.action_limit
        actions = np.clip(np.asarray(actions, dtype=np.float64), -limit, limit)
        if actions.shape != (self.lanes, self.family.action_size):
            raise InputError(
                f"actions have shape {actions.shape}; expected (lanes, action size) = "
                f"{(self.lanes, self.family.action_size)}"
            )
        if np.isnan(actions).any():  # MuJoCo would take them for zeros
            raise InputError(f"the action of lane {int(np.isnan(actions).any(axis=1).argmax())} holds NaN")
        following = self._advance(actions)
        rewards = self._law.reward(self._states, actions, following, self._descriptors)
        self._states = following
        self._elapsed += 1
        truncated = self._elapsed >= self.family.horizon
        return self._law.observation(following), rewards, self._law.terminated(following), truncated

    def _advance(self, actions: np.ndarray) -> np.ndarray:
        """Next states; the calling thread does its part, because waking another one for it would take longer."""
        (first, physics), *others = self._parts
        for thread, (part, theirs) in zip(self._threads, others, strict=True):
            thread.start(theirs.advance, self._states[part], actions[part])
        mine = physics.advance(self._states[first], actions[first])
        return np.concatenate([mine, *(thread.result() for thread in self._threads)]) if others else mine


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
