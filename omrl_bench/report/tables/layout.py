"""The order of everything in a table or figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from omrl_bench.report.reading.groups import ordered
from omrl_bench.report.reading.results import REFERENCE, SELF_REPORTED, VERIFIED, Results
from omrl_bench.stats.panels import ALL

DAGGER = "\N{DAGGER}"
COLLAPSED = "\N{SECTION SIGN}"  # marks an estimate with a collapsed seed
ALMOST = "\N{ALMOST EQUAL TO}"  # marks what does not discriminate


@dataclass(frozen=True)
class Layout:
    """Order of everything in a table or figure.

    Attributes:
        families: Families, and :data:`ALL` at the end if there are rows for it.
        conditions: Context qualities, or episodes.
        methods: Methods.
        marked: Methods that use privileges.
        reference: Methods that were run elsewhere, see :func:`omrl_bench.report.reading.frames.read`.
        badges: Marks of submitted methods.
        unreliable: Reliability of each (family, condition) that does not discriminate, see
            :mod:`omrl_bench.stats.discrimination`.
    """

    families: tuple[str, ...]
    conditions: tuple[str, ...]
    methods: tuple[str, ...]
    marked: frozenset[str]
    reference: frozenset[str] = frozenset()
    badges: Mapping[str, str] = field(default_factory=dict)
    unreliable: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def without_means(self) -> Layout:
        """The same without :data:`ALL`."""
        return replace(self, families=tuple(family for family in self.families if family != ALL))

    def marks(self, method: str) -> str:
        """The marks of a method; empty for none."""
        return DAGGER * (method in self.marked) + REFERENCE * (method in self.reference) + self.badges.get(method, "")

    def mark_of(self, family: str, condition: str) -> str:
        """What marks a column that does not discriminate; empty for others."""
        return ALMOST if (family, condition) in self.unreliable else ""

    def heading(self, family: str, condition: str) -> str:
        """Head of a column, with its mark."""
        return " ".join(filter(None, (family, condition, self.mark_of(family, condition))))

    def label(self, method: str) -> str:
        """A method's name with its marks."""
        return f"{method} {self.marks(method)}" if self.marks(method) else method


def layout_of(results: Results, summary: pd.DataFrame, boards: pd.DataFrame | None = None) -> Layout:
    """Order the families and methods of a summary, controls first; conditions come in the order of the records.

    Args:
        results: What the summary was made from.
        summary: See :func:`omrl_bench.stats.summary.summarise`.
        boards: See :func:`omrl_bench.stats.discrimination.discrimination`; without them, nothing is marked as not
            discriminating.
    """
    columns = ["family", "condition", "discriminates", "reliability"]
    rows = [] if boards is None else boards[columns].itertuples(index=False, name=None)
    present = set(summary["family"])
    return Layout(
        families=(*sorted(present - {ALL}), *({ALL} & present)),
        conditions=tuple(dict.fromkeys(results.frame["condition"])),
        methods=tuple(ordered(summary["method"])),
        marked=frozenset(results.privileges),
        reference=results.reference,
        badges={name: VERIFIED if each.row.verified else SELF_REPORTED for name, each in results.submitted.items()},
        unreliable={(family, condition): value for family, condition, verdict, value in rows if verdict is False},
    )
