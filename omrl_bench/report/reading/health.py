"""Warnings of representations that cannot tell tasks apart well: collapsed to few dimensions, or saturated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from omrl_bench.report.reading.results import Note
from omrl_bench.runner.records import Record

#: Share of its dimensions below which an encoder is warned of; share of saturated entries above which it is.
FEW_IN_USE = 0.25
MANY_SATURATED = 0.8


def health_notes(records: Iterable[Record]) -> list[Note]:
    """A note on each family and method with seeds whose representation is not healthy.

    Judged by the measures under the first condition, see :func:`omrl_bench.stats.representation.measures`. Records
    without these measures say nothing.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        values = next(iter(record.representation.values()), {})
        in_use, saturated = values.get("dimensions", 1.0), values.get("saturated", 0.0)
        faults = []
        if in_use < FEW_IN_USE:
            faults.append(f"{in_use:.0%} of the dimensions in use")
        if saturated > MANY_SATURATED:
            faults.append(f"{saturated:.0%} of the entries saturated")
        if faults:
            found[record.cell.family, record.cell.method].append(f"seed {record.cell.seed} ({', '.join(faults)})")
    return [
        Note(f"{family} / {method}: representation not healthy: {', '.join(seeds)}", family, method)
        for (family, method), seeds in sorted(found.items())
    ]
