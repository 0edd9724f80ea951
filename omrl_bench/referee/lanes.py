"""An order of the lanes that the referee draws: where a lane stands says nothing of its task."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import fields
from itertools import count
from typing import Any

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.referee import returned

#: family, seed, number of the policy in an evaluation, lanes -> (lanes,) the lane that stands at each place.
Order = Callable[[str, int, int, int], np.ndarray]


def drawn(family: str, seed: int, number: int, lanes: int) -> np.ndarray:
    """An order of its own for each policy that is evaluated: the same for every method, whenever it runs."""
    return np.random.default_rng([zlib.crc32(family.encode()), seed, number, lanes]).permutation(lanes)


def as_they_are(family: str, seed: int, number: int, lanes: int) -> np.ndarray:
    """Task by task."""
    return np.arange(lanes)


def reordered(policy: Callable[[], MetaPolicy], order: Order, family: str, seed: int) -> Callable[[], MetaPolicy]:
    """Make policies that are shown the lanes in orders of their own, and answer as if they were not."""
    numbers = count()

    def make() -> MetaPolicy:
        number = next(numbers)
        return Reordered(policy(), lambda lanes: order(family, seed, number, lanes))

    return make


class Reordered(MetaPolicy):
    """Hands every call on, with the lanes in another order.

    Args:
        policy: The policy.
        order: lanes -> (lanes,) the lane that stands at each place; asked at each reset.
    """

    def __init__(self, policy: MetaPolicy, order: Callable[[int], np.ndarray]) -> None:
        self._policy, self._draw = policy, order

    def __getattr__(self, name: str) -> Any:  # hooks of protocols that somebody brings
        return getattr(self._policy, name)

    def reset(self, lanes: int) -> None:
        """Draw the order."""
        self._order = self._draw(lanes)
        self._place = np.argsort(self._order)
        self._policy.reset(lanes)

    def condition(self, context: Transitions) -> None:
        """In the order."""
        self._policy.condition(taken(context, self._order))

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """Out of the order again; of what is not one row for each lane, the simulation says what is wrong."""
        shown = observations[self._order]
        actions = self._policy.act(shown, explore=True) if explore else self._policy.act(shown)
        if isinstance(actions, np.ndarray) and actions.shape[:1] == self._place.shape:
            return actions[self._place]
        return actions

    def observe(self, transitions: Transitions) -> None:
        """In the order."""
        self._policy.observe(taken(transitions, self._order))

    def representation(self) -> np.ndarray | None:
        """Checked, and out of the order again."""
        value, words = returned.array_or_words(self._policy.representation())
        method = getattr(self._policy, "method", type(self._policy).__name__)
        found = returned.representation(value, words, method, len(self._order))
        return None if found is None else found[self._place]

    def end_episode(self) -> None:
        """The same for all."""
        self._policy.end_episode()


def taken(transitions: Transitions, lanes: np.ndarray) -> Transitions:
    """Some lanes of transitions, in an order."""
    values: dict[str, Any] = {field.name: getattr(transitions, field.name) for field in fields(transitions)}
    some: dict[str, Any] = {name: None if value is None else value[lanes] for name, value in values.items()}
    return Transitions(**some)
