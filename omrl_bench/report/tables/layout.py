"""The order of everything in a table or figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from omrl_bench.report.reading.frames import Results, ordered
from omrl_bench.stats.panels import ALL

DAGGER, DOUBLE_DAGGER = "\N{DAGGER}", "\N{DOUBLE DAGGER}"


@dataclass(frozen=True)
class Layout:
    """Order of everything in a table or figure.

    Attributes:
        families: Families, and :data:`ALL` at the end if there are rows for it.
        qualities: Context qualities.
        methods: Methods.
        marked: Methods that use privileges.
        references: Methods that were run elsewhere.
    """

    families: tuple[str, ...]
    qualities: tuple[str, ...]
    methods: tuple[str, ...]
    marked: frozenset[str]
    references: frozenset[str] = frozenset()

    def label(self, method: str) -> str:
        """A method's name with its marks."""
        marks = DAGGER * (method in self.marked) + DOUBLE_DAGGER * (method in self.references)
        return f"{method} {marks}" if marks else method


def layout_of(
    results: Results, summary: pd.DataFrame, families: Sequence[str] = (), methods: Sequence[str] = ()
) -> Layout:
    """Order the families and methods of a summary; qualities come in the order of the records.

    Args:
        results: What the summary was made from.
        summary: See :func:`omrl_bench.stats.summary.summarise`.
        families: Order of families; the rest follows alphabetically.
        methods: Order of methods; the rest follows, controls first, then alphabetically.
    """
    present = set(summary["family"])
    return Layout(
        families=(*ordered(present - {ALL}, families, first=()), *({ALL} & present)),
        qualities=tuple(dict.fromkeys(results.frame["quality"])),
        methods=tuple(ordered(set(summary["method"]), methods)),
        marked=frozenset(results.privileges),
        references=results.references,
    )
