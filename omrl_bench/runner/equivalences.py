"""Hashes that are declared equal: different code that computes the same numbers, and the evidence that it does.

Records are never written again, so that a record of code that was only tidied up carries a hash that no code has now.
``<results>/equivalences.toml`` declares such hashes equal; whatever compares records then takes them for one::

    [[equal]]
    field = "method"                # of Hashes: suite, family, dataset, contexts, method or tasks
    old = "0123456789abcdef"
    new = "fedcba9876543210"
    commit = "1234567"              # that changed the code
    why = "one update step in place of five copies"
    evidence = ["shift/standard/point-goal/mixed/focal/iql, seeds 0-1: the same bits"]

Being equal goes both ways and through chains. ``tools/declare_equal.py`` makes the evidence and writes the file.
Weights that are kept (:mod:`omrl_bench.runner.trained`) go by the hash alone: they are made again, not trusted.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from omrl_bench.errors import InputError
from omrl_bench.files import read_regular, write_atomically
from omrl_bench.frozen import Frozen
from omrl_bench.protocols.suite import parse_as, parse_toml
from omrl_bench.runner.records import Hashes, Record

FILE = "equivalences.toml"
MOST_BYTES = 2**24
HashName = Literal["suite", "family", "dataset", "contexts", "method", "tasks"]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
_Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Declaration(Frozen):
    """Two values of one hash that stand for the same numbers."""

    field: HashName
    old: _Hash
    new: _Hash
    commit: Annotated[str, Field(pattern="^[0-9a-f]{7,64}$")]  # that changed the code
    why: _Sentence  # it computes the same
    evidence: Annotated[tuple[_Sentence, ...], Field(min_length=1)]  # the cells that were run again, bit-identical

    @model_validator(mode="after")
    def _says_something(self) -> Declaration:
        if self.old == self.new:
            raise ValueError("old and new are the same hash")
        return self


class _File(Frozen):
    equal: tuple[Declaration, ...] = ()


@dataclass(frozen=True)
class Equivalences:
    """Declarations, and what follows from them."""

    declarations: tuple[Declaration, ...] = ()

    def representative(self, field: str, value: str) -> str:
        """The one value that stands for all that equal a hash; the hash itself, if nothing is declared of it."""
        return self._representatives.get((field, value), value)

    def same(self, field: str, first: str, second: str) -> bool:
        """Whether two values of a hash are equal, or declared so."""
        return self.representative(field, first) == self.representative(field, second)

    def of(self, hashes: Hashes) -> Hashes:
        """Hashes with a representative in the place of each: equal if, and only if, all are equal or declared so."""
        if not self.declarations:
            return hashes
        return Hashes(**{name: self.representative(name, value) for name, value in hashes.model_dump().items()})

    def applied(self, records: Iterable[Record]) -> list[Record]:
        """The records with :meth:`of` their hashes, to be compared with each other and not to be written."""
        if not self.declarations:
            return list(records)
        return [record.model_copy(update={"hashes": self.of(record.hashes)}) for record in records]

    def why(self, field: str, first: str, second: str) -> str:
        """Why two values are declared equal: the reasons on the shortest chain from one to the other.

        Raises:
            ValueError: if they are not declared equal.
        """
        neighbours: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for each in self.declarations:
            if each.field == field:
                neighbours[each.old].append((each.new, each.why))
                neighbours[each.new].append((each.old, each.why))
        waiting: deque[tuple[str, tuple[str, ...]]] = deque([(first, ())])
        reached = {first}
        while waiting:
            value, reasons = waiting.popleft()
            if value == second and reasons:
                return "; ".join(dict.fromkeys(reasons))
            for other, reason in neighbours[value]:
                if other not in reached:
                    reached.add(other)
                    waiting.append((other, (*reasons, reason)))
        raise ValueError(f"{field} hashes {first} and {second} are not declared equal")

    @cached_property
    def _representatives(self) -> dict[tuple[str, str], str]:
        groups: dict[tuple[str, str], set[str]] = {}
        for each in self.declarations:
            first, second = (groups.get((each.field, value), {value}) for value in (each.old, each.new))
            together = first | second
            groups |= {(each.field, value): together for value in together}
        return {key: min(group) for key, group in groups.items()}


def read_equivalences(*folders: Path) -> Equivalences:
    """Read what some results folders declare; a folder without the file declares nothing.

    Raises:
        InputError: if a file cannot be read or is not as it should be, with the first key that is wrong.
    """
    return Equivalences(tuple(each for folder in dict.fromkeys(folders) for each in _read(folder / FILE)))


def parse_equivalences(text: str, where: str) -> tuple[Declaration, ...]:
    """Parse the text of a file of declarations; ``where`` names it in errors.

    Raises:
        InputError: naming the file and the first key that is wrong.
    """
    return parse_as(_File, parse_toml(text, where), where).equal


def add_declarations(results: Path, declarations: Iterable[Declaration]) -> None:
    """Append declarations to a results folder's file, which stays as it is otherwise; all are written, or none.

    Raises:
        InputError: if the file is damaged, or cannot be written.
    """
    file = results / FILE
    read_equivalences(results)
    text = file.read_text(encoding="utf-8-sig") if file.exists() else ""
    blocks = [_block(each) for each in declarations]
    text = "\n".join([*([text.rstrip("\n") + "\n"] if text.strip() else []), *blocks])
    parse_equivalences(text, str(file))
    write_atomically(file, text.encode())


def _block(declaration: Declaration) -> str:
    """A declaration as TOML, whose strings are written like those of JSON."""
    lines = ["[[equal]]"]
    for name, value in declaration.model_dump().items():
        if isinstance(value, str):
            lines.append(f"{name} = {_quoted(value)}")
        else:
            lines += [f"{name} = [", *(f"    {_quoted(text)}," for text in value), "]"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(file: Path) -> tuple[Declaration, ...]:
    try:
        text = read_regular(file, MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    return _parse(text, str(file))


@lru_cache(maxsize=8)  # a report asks once for every set of records
def _parse(text: str, where: str) -> tuple[Declaration, ...]:
    return parse_equivalences(text, where)
