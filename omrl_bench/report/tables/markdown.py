"""Pages of Markdown: a title, a table, notes. Every table and list of the report and the cards is written here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate


def escape(text: str) -> str:
    """Make text mean itself in Markdown, inside and outside of tables."""
    return re.sub(r"([\\`*_|<>\[\]&~$#])", r"\\\1", " ".join(text.split()))


def grid(headers: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """Lay a table out.

    Args:
        headers: Heads of the columns. Like all cells they are Markdown already, see :func:`escape`.
        rows: Cells, row by row.
        names: Columns at the left that are names, aligned to the left; the rest are numbers, aligned to the right.
    """
    alignment = ["left"] * names + ["right"] * (len(headers) - names)
    # tabulate must not take names or estimates for numbers: it would rewrite them
    return tabulate(list(rows), headers, tablefmt="github", disable_numparse=True, colalign=alignment)


def bullets(texts: Iterable[str]) -> list[str]:
    """A line of Markdown for each of some plain texts."""
    return [f"- {escape(text)}" for text in texts]


def page(title: str, body: str, notes: Iterable[str]) -> str:
    """Write a page of one table.

    Args:
        title: Plain text.
        body: The table, from :func:`grid`.
        notes: What a reader must know, plain text, a paragraph each.
    """
    return "\n".join([f"**{escape(title)}**", "", body, "", *bullets(notes), ""])
