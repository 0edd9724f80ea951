"""What a method declares, and the one check of it: for `smoke`, for a plan and for a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from omrl_bench.api import PRIVILEGES, Algorithm, Requirements
from omrl_bench.configuration import as_json
from omrl_bench.errors import InputError, unknown_name

MOST_CONFIGURATION = 16_384  # bytes as JSON: a record is read whenever a table is made
MOST_LEVELS = 20  # of a configuration


class Declared(NamedTuple):
    """What a method declares.

    Attributes:
        privileges: Names in :data:`omrl_bench.api.PRIVILEGES`.
        context: Whether it makes use of a given context.
        configuration: Its resolved hyper-parameters.
    """

    privileges: frozenset[str]
    context: bool
    configuration: dict[str, Any]


def described(cls: type[Algorithm], algorithm: Algorithm) -> dict[str, Any]:
    """Say on the method's side what it declares, right or wrong, in what JSON can hold; :func:`checked` reads it.

    Raises:
        Exception: whatever the method raises.
    """
    requires: Any = cls.requires
    if not isinstance(requires, Requirements):
        return {"requires": f"a {type(requires).__name__}", "configuration": {}}
    privileges: Any = requires.privileges
    if isinstance(privileges, frozenset | set | tuple | list):
        given: Any = sorted(map(_name_or_type, privileges))
    else:
        given = f"a {type(privileges).__name__}"
    context: Any = requires.context
    configuration = as_json(algorithm.configuration())
    check_size(configuration, type(algorithm).__name__)
    return {
        "requires": {"privileges": given, "context": context if isinstance(context, bool) else None},
        "configuration": configuration,
    }


def checked(name: str, fields: Mapping[str, Any]) -> Declared:
    """Return what a method declares.

    Args:
        name: The method.
        fields: What :func:`described` said; it may be anything, as the method's process sent it.

    Raises:
        InputError: what is wrong with it: method, what it declares, and what is expected.
    """
    requires, configuration = fields.get("requires"), fields.get("configuration")
    if not isinstance(requires, Mapping):
        raise InputError(f"{name}.requires is {requires}; expected an omrl_bench.api.Requirements")
    privileges, context = requires.get("privileges"), requires.get("context")
    if not isinstance(privileges, list) or not all(isinstance(each, str) for each in privileges):
        raise InputError(
            f"{name}.requires.privileges is {privileges}; expected a set of names, e.g. frozenset({{'descriptors'}})"
        )
    for privilege in privileges:
        if privilege not in PRIVILEGES:
            raise InputError(f"{name}.requires: {unknown_name('privilege', privilege, PRIVILEGES)}")
    if not isinstance(context, bool):
        raise InputError(f"{name}.requires.context is neither True nor False")
    if not isinstance(configuration, dict):
        raise InputError(f"{name}.configuration() is no mapping")
    check_size(configuration, name)
    return Declared(frozenset(privileges), context, configuration)


def check_size(configuration: dict[str, Any], name: str) -> None:
    """Raise InputError if a configuration is more than a record should hold."""
    size = len(json.dumps(configuration))
    if size > MOST_CONFIGURATION:
        raise InputError(
            f"{name}.configuration() takes {size} bytes as JSON; at most {MOST_CONFIGURATION}: it is for "
            "hyper-parameters, weights belong into save()"
        )
    if _levels(configuration) > MOST_LEVELS:
        raise InputError(f"{name}.configuration() is nested more than {MOST_LEVELS} times")


def _levels(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(_levels, inner), default=0)
    return 0


def _name_or_type(value: Any) -> str:
    return value[:100] if isinstance(value, str) else f"<a {type(value).__name__}>"
