"""Hyper-parameters that a run changes: ``focal[beta=2.0]`` is FOCAL with another beta, and a row of its own.

The settings are part of the method's name, and so of its folder: records with other settings never mix, and a table
can hold both. Wherever a method is named, in a suite, on the command line or in a record, the same text says it.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from omrl_bench.api import Setup
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.referee.method import declared_by
from omrl_bench.referee.process import MethodError
from omrl_bench.runner.records import LONGEST_NAME

Setting = bool | int | float | str

_REFERENCE = re.compile(r"(?P<method>.+?)\[(?P<settings>[^\[\]]*)\]", re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")  # what a folder can be called, without quotation marks


def split_reference(reference: str) -> tuple[str, dict[str, Setting]]:
    """Return the method of a reference like ``focal[beta=2.0,backbone.width=64]``, and its settings, {} for none.

    Raises:
        InputError: if there is something else than ``key=value`` between the brackets.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return reference, {}
    return found["method"], parse_settings(found["settings"].split(","))


def parse_settings(texts: Iterable[str]) -> dict[str, Setting]:
    """Parse texts ``key=value``; a value is a number, ``true`` or ``false`` as in TOML, and else a word.

    Raises:
        InputError: if a text is something else, or a key is given twice.
    """
    settings: dict[str, Setting] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _WORD.fullmatch(key):
            raise InputError(f"setting {text!r}: write it as key=value, e.g. beta=2.0 or backbone.width=64")
        if key in settings:
            raise InputError(f"setting {key!r} is given twice")
        settings[key] = _parse_value(key, value)
    return settings


def method_name(name: str, settings: Mapping[str, Setting]) -> str:
    """The name of a method with settings, which :func:`split_reference` takes apart again.

    Raises:
        InputError: if it is too long for a folder.
    """
    pairs = (f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items())
    text = f"{name}[{','.join(sorted(pairs))}]" if settings else name
    if len(text.encode()) > LONGEST_NAME:
        advice = "set less at a time" if settings else "rename it"
        raise InputError(f"method {text}: the name is longer than {LONGEST_NAME} bytes; {advice}")
    return text


def fit_settings(name: str, settings: Mapping[str, Setting], defaults: Mapping[str, Any]) -> dict[str, Setting]:
    """Return settings in the types of the hyper-parameters that they replace: 2 for a beta of 1.0 is 2.0.

    Args:
        name: The method, for errors.
        settings: What is to be changed.
        defaults: The method's configuration without them, see :meth:`omrl_bench.api.Algorithm.configuration`.

    Raises:
        InputError: for a key that the method does not have, with the nearest that it has, or a value of another type.
    """
    known, fitting = flatten(defaults), {}
    for key, value in settings.items():
        if not known:
            raise InputError(f"method {name!r} has no hyper-parameter {key!r}: its configuration() names none at all")
        if key not in known:
            raise unknown_name(f"hyper-parameter of method {name!r}", key, known)
        own = known[key]
        if isinstance(own, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if own is not None and type(own) is not type(value):
            raise InputError(
                f"setting {key}={value} of method {name!r}: its own is {own!r}, "
                f"of type {type(own).__name__}, not {type(value).__name__}"
            )
        fitting[key] = value
    return fitting


def configuration_of(target: str, family: Family, setup: Setup) -> dict[str, Any]:
    """Return the resolved hyper-parameters of a method, as JSON holds them.

    Raises:
        InputError: if the method cannot be loaded in time, or cannot say them, or what it declares is wrong.
    """
    name = target.rpartition(":")[2]
    try:
        return declared_by(target, family.space(), setup).configuration
    except InputError:
        raise
    except MethodError as error:
        raise InputError(f"{name} cannot say its configuration(): {error}") from error
    except Exception as error:  # it is somebody's code
        raise InputError(f"{name} cannot say its configuration(): {type(error).__name__}: {error}") from error


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Hyper-parameters by their dotted name, e.g. ``backbone.width``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _parse_value(key: str, text: str) -> Setting:
    try:
        value = tomllib.loads(f"value = {text}")["value"] if text.isprintable() else text
    except tomllib.TOMLDecodeError:
        value = text
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, str) and _WORD.fullmatch(value) and (value == text or _parse_value(key, value) == value):
        return value
    raise InputError(f"setting {key}={text}: a value is a number, true, false or a word, because the row's name has it")
