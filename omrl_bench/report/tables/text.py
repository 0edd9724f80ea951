"""Tables as Markdown, LaTeX and CSV. Names come from records, so they are escaped."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from omrl_bench.report.reading.results import REFERENCE, SELF_REPORTED, VERIFIED
from omrl_bench.report.tables.captions import MISSING, TIMES
from omrl_bench.report.tables.layout import ALMOST, COLLAPSED, DAGGER
from omrl_bench.report.tables.markdown import escape, grid, page
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
    REFERENCE: r"$^\ddagger$",
    VERIFIED: r"$^\mathrm{v}$",
    SELF_REPORTED: r"$^\circ$",
    MISSING: "--",
    ALMOST: r"$\approx$",
    COLLAPSED: r"\S{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


_LATIN = "\N{LATIN SMALL LETTER LONG S}"  # the last letter that every LaTeX knows
#: What makes a cell a formula in some spreadsheet, if it comes first.
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")


def escape_latex(text: str) -> str:
    """Make text mean itself in LaTeX; letters that not every LaTeX has become their numbers."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(
        _LATEX.get(character, character if character <= _LATIN else f"U+{ord(character):04X}") for character in text
    )


def method_label(table: Table, method: str) -> str:
    """A method's name in Markdown, with its marks."""
    return escape(table.layout.label(method))


def markdown(table: Table) -> str:
    """Write a table as Markdown: title, table, footnotes."""
    headers = ["method", *(escape(table.layout.heading(*column)) for column in table.columns)]
    rows = [
        [method_label(table, method), *(table.text(method, *column) for column in table.columns)]
        for method in table.layout.methods
    ]
    return page(table.title, grid(headers, rows), table.footnotes)


def csv(rows: pd.DataFrame) -> bytes:
    """A frame as a CSV file, the same bytes on every machine; no cell is a formula to a spreadsheet."""
    texts = {name: rows[name] for name in rows if not pd.api.types.is_numeric_dtype(rows[name])}
    rows = rows.assign(**{name: [_inert(value) for value in values] for name, values in texts.items()})
    return rows.rename(columns=_inert).to_csv(index=False, lineterminator="\n", float_format="%.10g").encode()


def _inert(value: object) -> object:
    """The value, behind an apostrophe if a spreadsheet would run it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def latex(table: Table, label: str) -> str:
    r"""Write a table as a LaTeX float for booktabs, with grouped columns and intervals in small.

    Args:
        table: The table.
        label: What ``\ref`` calls it, without the prefix ``tab:``.
    """
    lines = [
        "% needs \\usepackage{booktabs,adjustbox}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}. {' '.join(map(_sentence, table.footnotes))}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9.:-]+', '-', label)}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *_latex_head(table),
        r"\midrule",
        *(_latex_row(table, method) for method in table.layout.methods),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_head(table: Table) -> list[str]:
    families, conditions = table.layout.families, table.layout.conditions
    width = len(conditions)
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(family)}}}" for family in families]
    starts = range(2, 2 + width * len(families), width)
    heads = [f"{condition} {table.layout.mark_of(family, condition)}" for family, condition in table.columns]
    return [
        " & ".join(["", *groups]) + r" \\",
        " ".join(rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts),
        " & ".join(["method", *map(escape_latex, heads)]) + r" \\",
    ]


def _latex_row(table: Table, method: str) -> str:
    name = escape_latex(method)
    # behind the end of a row, LaTeX takes these for a part of the command that ends it
    cells = [("{}" if name.startswith(("[", "*")) else "") + name + escape_latex(table.layout.marks(method))]
    for family, condition in table.columns:
        entry = table.entries.get((method, family, condition))
        if entry is None:
            cells.append(escape_latex(MISSING))
        else:
            estimate, interval = (escape_latex(text).replace("-", "$-$") for text in entry.texts())
            cells.append(rf"{estimate} {{\scriptsize {interval}}}")
    return " & ".join(cells) + r" \\"


def _sentence(note: str) -> str:
    return escape_latex(note if note.endswith(".") else note + ".")
