"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

import rich.table
from rich.console import Console
from rich.text import Text

from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.boards import board_of
from omrl_bench.report.tables.captions import are_episodes, main_condition
from omrl_bench.report.tables.layout import ALMOST, layout_of
from omrl_bench.report.tables.wide import Table, robust_table, score_table, with_z_scores
from omrl_bench.stats.panels import panels


def print_scores(sets: Iterable[Results]) -> None:
    """Print the score table of each of some sets of records.

    Args:
        sets: From :func:`omrl_bench.report.reading.frames.collect`, with complete records.
    """
    for each in sets:
        board = board_of(panels(each.frame))
        layout = layout_of(each, board.summary, board.discrimination)
        scores = with_z_scores(score_table(each, board.summary, layout), board.summary)
        Console().print(terminal_table(scores))
        if are_episodes(layout.conditions):
            last = main_condition(layout.conditions)
            Console().print(terminal_table(robust_table(each, board.summary, layout, last)))


def terminal_table(table: Table) -> rich.table.Table:
    """Lay a table out for a narrow screen: a section per family, a row per method, a column per condition.

    Names are shown as they are: what looks like Rich's markup in them is not interpreted.
    """
    view = rich.table.Table(
        title=Text(table.title), caption=Text("\n".join(table.footnotes)), caption_justify="left", title_justify="left"
    )
    view.add_column("family")
    view.add_column("method", overflow="fold")
    for condition in table.layout.conditions:
        view.add_column(Text(condition), justify="right")
    for family in table.layout.families:
        for row, method in enumerate(table.layout.methods):
            cells = [Text(table.text(method, family, condition)) for condition in table.layout.conditions]
            first = (_family(table, family), "")[row > 0]
            view.add_row(Text(first), Text(table.layout.label(method)), *cells)
        view.add_section()
    return view


def _family(table: Table, family: str) -> str:
    """A family with the conditions under which it does not discriminate, on lines of their own."""
    conditions = table.layout.conditions
    weak = [condition for condition in conditions if table.layout.mark_of(family, condition)]
    if weak and len(weak) == len(conditions):
        return f"{family} {ALMOST}"
    return "\n".join([family, *(f"{ALMOST} {condition}" for condition in weak)])
