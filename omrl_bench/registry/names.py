"""What a method may be called: a name that is read as what it is, and as nothing else."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from omrl_bench.errors import InputError

_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "_": "", "-": "", ".": "", " ": ""})


def check_method_name(name: str, built_in: Iterable[str]) -> None:
    """Make sure that the name of a method, without settings, can stand in a table.

    Args:
        name: The name.
        built_in: Names of the benchmark's own methods, which no other may be taken for; it may be one of them.

    Raises:
        InputError: if it is empty or has spaces at an end, letters that look like others, or looks like one of
            ``built_in``.
    """
    if not name or name != name.strip() or not name.isprintable():
        raise InputError(f"method {name!r}: a name has no spaces at its ends and no control characters; rename it")
    for character in name:
        if not character.isascii() and not _is_accented(character):
            called = unicodedata.name(character, f"U+{ord(character):04X}")
            raise InputError(
                f"method {name!r} has the character {character!r} ({called}), which may be taken for another; use "
                "letters a to z, with accents if you like"
            )
    if unicodedata.normalize("NFKC", name) != name:
        raise InputError(f"method {name!r} is written with separate accents; write each letter as one (NFC)")
    if name.startswith("@"):
        raise InputError(f"method {name!r}: names that begin with @ are sets of methods; rename it")
    for other in built_in:
        if name != other and _skeleton(name) == _skeleton(other):
            raise InputError(f"method {name!r} looks like the benchmark's own {other!r}; rename it")


def _is_accented(character: str) -> bool:
    """Whether it is a letter a to z with accents."""
    parts = unicodedata.normalize("NFKD", character)
    base, marks = parts[0], parts[1:]
    return base.isascii() and base.isalpha() and bool(marks) and all(map(unicodedata.combining, marks))


def _skeleton(name: str) -> str:
    """What is left of a name if one looks at it in passing."""
    plain = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return "".join(plain).casefold().translate(_ALIKE)
