"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

import rich.table
from rich.console import Console
from rich.text import Text

from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.layout import layout_of
from omrl_bench.report.tables.wide import Table, score_table
from omrl_bench.stats.summary import summarise


def print_scores(sets: Iterable[Results]) -> None:
    """Print the score table of each of some sets of records.

    Args:
        sets: From :func:`omrl_bench.report.reading.frames.collect`, with complete records.
    """
    for each in sets:
        summary = summarise(each.frame)
        Console().print(terminal_table(score_table(each, summary, layout_of(each, summary))))


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
            view.add_row(Text(family if row == 0 else ""), Text(table.layout.label(method)), *cells)
        view.add_section()
    return view
