"""Errors that are meant for people: what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(Exception):
    """The user's input is wrong; the command line prints the message and exits with code 2."""


def no_results_folder(path: Path, option: str = "--results") -> InputError:
    """Return the error for a path, given by an option, that is no folder of records."""
    return InputError(f"{path} is not a folder of results; {option} names one")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that does not exist, with the nearest names that do.

    Args:
        kind: What the name should have been, e.g. ``"suite"``.
        name: What was given.
        known: All the names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return InputError(f"unknown {kind} {name!r}; {hint}")


class RecordError(InputError):
    """A file of a results folder cannot be used.

    Attributes:
        path: The file.
        reason: What is wrong with it, in one line that goes on after the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        reason = "".join(character for character in reason if character.isprintable())
        super().__init__(f"{path} {reason}")
        self.path, self.reason = path, reason
