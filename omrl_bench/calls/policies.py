"""Any object that acts, as the protocols take it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.errors import InputError
from omrl_bench.protocols import protocol as protocols
from omrl_bench.runner.plan import Selection


class Policy(Protocol):
    """One trained seed; :class:`omrl_bench.api.MetaPolicy` without the duty to inherit from it.

    ``observe(transitions)``, ``end_episode()`` and ``representation()`` of that class are called where they are there.
    Where a protocol explores, ``act`` is called with ``explore=True``, else without it.
    """

    def reset(self, lanes: int, /) -> object:
        """Forget everything, random generators too: ``lanes`` parallel episodes begin."""

    def condition(self, context: Transitions, /) -> object:
        """Take the context of each lane."""

    def act(self, observations: np.ndarray, /) -> np.ndarray:
        """Return actions (lanes, action size) for observations (lanes, observation size)."""


#: A policy, or what makes one: a class or function without arguments.
PolicyOrFactory = Policy | Callable[[], Policy]


def as_factory(policy: PolicyOrFactory, selection: Selection) -> Callable[[], MetaPolicy]:
    """Return what makes a policy as protocols take it, after checking that it has what the suite's protocol needs.

    Args:
        policy: A policy, which is reset for each use of it, or a factory of such.
        selection: The suite and preset that it is to be evaluated by.

    Raises:
        InputError: if the policy lacks a hook, or cannot explore where the protocol asks it to.
    """
    make, protocol = _factory(policy), selection.protocol
    _check(make(), protocol)
    return lambda: _Delegate(make())


def _factory(policy: Any) -> Callable[[], Any]:
    if not isinstance(policy, type) and (hasattr(policy, "act") or not callable(policy)):
        return lambda: policy
    try:
        with suppress(ValueError):  # one of C's does not say what it takes
            inspect.signature(policy).bind()
    except TypeError as error:
        name = getattr(policy, "__name__", type(policy).__name__)
        raise InputError(
            f"{name} takes arguments ({error}); pass the policy itself, or a factory without arguments"
        ) from error
    return cast("Callable[[], Any]", policy)


def _check(policy: Any, protocol: protocols.Protocol) -> None:
    """Raise InputError for what would go wrong in the middle of an evaluation."""
    lacking = [hook for hook in protocols.NEEDED if not callable(getattr(policy, hook, None))]
    if lacking:
        others = [hook for hook in protocol.asks if hook not in protocols.NEEDED]
        optional = f" and calls {', '.join(others)} where they are there" if others else ""
        raise InputError(
            f"the policy, a {type(policy).__name__}, has no {', no '.join(lacking)}; protocol {protocol.kind} needs "
            f"{', '.join(protocols.NEEDED)}{optional} (omrl_bench.api.MetaPolicy says what they do)"
        )
    if protocol.explores and not _takes_explore(policy.act):
        raise InputError(
            f"protocol {protocol.kind} asks a policy to explore, and act of this {type(policy).__name__} takes no "
            "argument `explore`; write act(observations, explore=False)"
        )


def _takes_explore(act: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(act).parameters
    except ValueError:  # one of C's, which does not say
        return True
    named = "explore" in parameters and parameters["explore"].kind is not inspect.Parameter.POSITIONAL_ONLY
    return named or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())


class _Delegate(MetaPolicy):
    """Hands every call on; what the policy does not have is what :class:`omrl_bench.api.MetaPolicy` does."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:  # hooks of protocols that somebody brings
        return getattr(self._policy, name)

    def reset(self, lanes: int) -> None:
        self._policy.reset(lanes)

    def condition(self, context: Transitions) -> None:
        self._policy.condition(context)

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        actions: np.ndarray = (
            self._policy.act(observations, explore=True) if explore else self._policy.act(observations)
        )
        return actions

    def observe(self, transitions: Transitions) -> None:
        if hasattr(self._policy, "observe"):
            self._policy.observe(transitions)

    def representation(self) -> np.ndarray | None:
        z: np.ndarray | None = self._policy.representation() if hasattr(self._policy, "representation") else None
        return z

    def end_episode(self) -> None:
        if hasattr(self._policy, "end_episode"):
            self._policy.end_episode()
