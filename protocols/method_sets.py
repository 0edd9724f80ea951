"""Named sets of methods, ``@papers`` and others: what a suite's file or a command writes instead of a long list.

``method_sets.toml`` has them. A set may hold others; wherever methods are named, :func:`expanded` says which they are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

from omrl_bench.errors import InputError, unknown_name

FILE = "method_sets.toml"  # no suite, see omrl_bench.protocols.suite.suite_names
MARK = "@"  # what the name of a set begins with where methods are named


@cache
def method_sets() -> dict[str, tuple[str, ...]]:
    """Every set as the file writes it, by name without the mark."""
    text = resources.files("omrl_bench.protocols").joinpath(FILE).read_text(encoding="utf-8")
    return {name: tuple(members) for name, members in tomllib.loads(text).items()}


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Methods with the members in the place of each set; what several sets hold comes once.

    A method that is written twice by itself is kept twice, so that whoever forbids that can say so.

    Raises:
        InputError: if there is no such set, with the nearest names.
    """
    written = tuple(names)
    found: list[str] = []
    for name in written:
        if not name.startswith(MARK):
            found.append(name)
            continue
        found += [member for member in _members(name) if member not in found and member not in written]
    return tuple(found)


def _members(name: str, within: tuple[str, ...] = ()) -> Iterator[str]:
    """The methods of a set, those of the sets in it among them."""
    sets = {f"{MARK}{known}": members for known, members in method_sets().items()}
    if name not in sets:
        raise unknown_name("method set", name, sets)
    if name in within:
        raise InputError(f"{FILE}: {' holds '.join((*within, name))}")
    for member in sets[name]:
        if member.startswith(MARK):
            yield from _members(member, (*within, name))
        else:
            yield member
