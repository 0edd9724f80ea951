"""Tables as Markdown and LaTeX. Names come from records, so they are escaped."""

from __future__ import annotations

import re

from tabulate import tabulate

from omrl_bench.report.tables.captions import MISSING, TIMES
from omrl_bench.report.tables.layout import DAGGER, DOUBLE_DAGGER
from omrl_bench.report.tables.wide import Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    TIMES: r"$\times$",
    DAGGER: r"$^\dagger$",
    DOUBLE_DAGGER: r"$^\ddagger$",
    MISSING: "--",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


def escape_markdown(text: str) -> str:
    """Make text mean itself in Markdown, inside and outside of tables."""
    return re.sub(r"([\\`*_|<>\[\]&~$#])", r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    """Make text mean itself in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def method_label(table: Table, method: str) -> str:
    """A method's name in Markdown, with its marks."""
    return escape_markdown(table.layout.label(method))


def markdown(table: Table) -> str:
    """Write a table as Markdown: title, table, footnotes."""
    columns = _columns(table)
    rows = []
    for method in table.layout.methods:
        row = [method_label(table, method)]
        for family, quality in columns:
            entry = table.entries.get((method, family, quality))
            row.append(MISSING if entry is None else " ".join(entry.texts()))
        rows.append(row)
    headers = ["method", *(escape_markdown(f"{family} {quality}") for family, quality in columns)]
    # tabulate must not take names or estimates for numbers: it would rewrite them
    body = tabulate(
        rows, headers, tablefmt="github", disable_numparse=True, colalign=["left"] + ["right"] * len(columns)
    )
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.footnotes)
    return f"**{escape_markdown(table.title)}**\n\n{body}\n\n{notes}\n"


def latex(table: Table, label: str) -> str:
    r"""Write a table as a LaTeX float for booktabs, with grouped columns and intervals in small.

    Args:
        table: The table.
        label: What ``\ref`` calls it, without the prefix ``tab:``.
    """
    columns = _columns(table)
    lines = [
        "% needs \\usepackage{booktabs,adjustbox}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}. {' '.join(map(_sentence, table.footnotes))}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9.:-]+', '-', label)}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        *_latex_head(table),
        r"\midrule",
        *(_latex_row(table, method, columns) for method in table.layout.methods),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_head(table: Table) -> list[str]:
    families, qualities = table.layout.families, table.layout.qualities
    width = len(qualities)
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(family)}}}" for family in families]
    lines = [" & ".join(["" if any(qualities) else "method", *groups]) + r" \\"]
    if any(qualities):
        starts = range(2, 2 + width * len(families), width)
        lines.append(" ".join(rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts))
        lines.append(" & ".join(["method", *map(escape_latex, qualities * len(families))]) + r" \\")
    return lines


def _latex_row(table: Table, method: str, columns: list[tuple[str, str]]) -> str:
    marks = table.layout.label(method).removeprefix(method).strip()
    cells = [escape_latex(method) + escape_latex(marks)]
    for family, quality in columns:
        entry = table.entries.get((method, family, quality))
        if entry is None:
            cells.append(escape_latex(MISSING))
        else:
            estimate, interval = (text.replace("-", "$-$") for text in entry.texts())
            cells.append(rf"{estimate} {{\scriptsize {interval}}}")
    return " & ".join(cells) + r" \\"


def _sentence(note: str) -> str:
    return escape_latex(note if note.endswith(".") else note + ".")


def _columns(table: Table) -> list[tuple[str, str]]:
    return [(family, quality) for family in table.layout.families for quality in table.layout.qualities]
