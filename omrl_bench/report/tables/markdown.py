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


def bullets(texts: Iterable[str]) -> str:
    """A list of some plain texts."""
    return "\n".join(f"- {escape(text)}" for text in texts)


def section(title: str, *blocks: str, level: int = 0) -> str:
    """Write a heading and what stands below it.

    Args:
        title: Plain text.
        blocks: Paragraphs, tables, lists and sections, Markdown already; empty ones are left out.
        level: Of the heading, from 1; 0 for bold print.
    """
    heading = f"{'#' * level} {escape(title)}" if level else f"**{escape(title)}**"
    return "\n\n".join([heading, *filter(None, blocks)])


def page(title: str, body: str, notes: Iterable[str]) -> str:
    """Write a page of one table.

    Args:
        title: Plain text.
        body: The table, from :func:`grid`.
        notes: What a reader must know, plain text, a paragraph each.
    """
    return section(title, body, bullets(notes)) + "\n"
