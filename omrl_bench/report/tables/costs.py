"""What each method scores and what it costs: a row per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.markdown import escape, grid, page
from omrl_bench.report.tables.text import method_label
from omrl_bench.report.tables.wide import score_table, where

_STAGES: Mapping[str, str] = {"representation": "encoder update [ms]", "policy": "policy update [ms]"}
COSTS: Mapping[str, str] = {"parameters": "parameters", **_STAGES, "memory": "memory [MiB]"}


def method_table(results: Results, summary: pd.DataFrame, layout: Layout, conditions: Sequence[str]) -> str:
    """Write scores under one or two conditions beside the costs of training, as Markdown.

    Args:
        results: The records; costs are medians over them.
        summary: Scores, see :func:`omrl_bench.stats.summary.summarise`.
        layout: Order of everything; means over the families are left out, as costs of families have none.
        conditions: The conditions to show.
    """
    layout = layout.without_means()
    scores = score_table(results, summary, layout)
    columns = [(family, condition) for family in layout.families for condition in conditions]
    rows = [
        [
            method_label(scores, method),
            *(scores.text(method, *column) for column in columns),
            *_costs(results.costs, method, layout.families),
        ]
        for method in layout.methods
    ]
    headers = ["method", *(escape(layout.heading(*column)) for column in columns), *COSTS.values()]
    notes = (*scores.footnotes, _cost_note(results, layout.families))
    return page(f"Scores and costs by method ({where(results)})", grid(headers, rows), notes)


def _costs(costs: pd.DataFrame, method: str, families: Sequence[str]) -> list[str]:
    """One text per cost, the families' numbers one after the other."""
    of_method = costs[costs["method"] == method].groupby("family")[list(COSTS)].median()
    texts = []
    for name in COSTS:
        values = [of_method[name].get(family, float("nan")) for family in families]
        shown = [MISSING if not value > 0 else f"{value:,.{0 if value >= 100 else 1}f}" for value in values]
        texts.append(MISSING if set(shown) == {MISSING} else " / ".join(shown))
    return texts


def _cost_note(results: Results, families: Sequence[str]) -> str:
    together = sorted(set(results.costs["seeds_together"]))
    order = f", of {' / '.join(families)}" if len(families) > 1 else ""
    return (
        f"Costs are medians{order}: trained parameters per seed; processor time of one update of all "
        f"{' or '.join(map(str, together))} seeds, which train together; peak memory of their process, data included."
    )
