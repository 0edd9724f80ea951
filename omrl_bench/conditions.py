"""Conditions: what a return belongs to, a context quality or an episode that a method collects itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

CONTEXT, EPISODE, EXPLORE, EXECUTE = "context", "episode", "explore", "execute"
_NUMBERED = re.compile(r"([a-z][a-z-]*)-([1-9]\d*)")


@dataclass(frozen=True)
class Condition:
    """What a return belongs to.

    Attributes:
        kind: ``context`` where a method is given one; else what it does in the episode: ``episode`` (act with what it
            has seen so far), ``explore``, ``execute``, or a word of a protocol that somebody brings.
        number: Of the episode among those of its kind, from 1; 0 where there is but one.
        quality: Of the given context; empty elsewhere.
    """

    kind: str
    number: int = 0
    quality: str = ""

    @classmethod
    def context(cls, quality: str) -> Condition:
        """The condition of being given a context of this quality."""
        return cls(CONTEXT, quality=quality)

    @classmethod
    def parse(cls, name: str) -> Condition:
        """The condition that has this name in records and tables; every other name is that of a context quality."""
        if name == EXECUTE:
            return cls(EXECUTE)
        numbered = _NUMBERED.fullmatch(name)
        return cls(numbered[1], int(numbered[2])) if numbered else cls.context(name)

    @property
    def name(self) -> str:
        """What it is called in records, tables and files: ``high``, ``episode-2``, ``execute``."""
        if self.kind == CONTEXT:
            return self.quality
        return f"{self.kind}-{self.number}" if self.number else self.kind

    @property
    def given(self) -> bool:
        """Whether the method is given its context, rather than collecting it itself."""
        return self.kind == CONTEXT


def names(conditions: Sequence[Condition]) -> tuple[str, ...]:
    """The names of some conditions."""
    return tuple(condition.name for condition in conditions)
