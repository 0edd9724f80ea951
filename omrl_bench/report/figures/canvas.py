"""What all figures of the report share: settings, panels laid out in inches, legends, notes, and how they are saved."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
DARK, GREY, LIGHT, BAND = "#333333", "#666666", "#dddddd", "#f2f2f2"
WIDTHS = (3.5, 5.2, 7.2)  # of figures with one, two and more panels in a row; inches, like all lengths here
VIEW = (-50.0, 150.0)  # scores that a figure shows at most: one failure must not squash the rest
EDGE = 0.1  # where legends and notes begin
RIGHT = 0.14  # room right of the panels
TITLE = 0.33  # height of a panel's title
LETTER = 0.06  # width of a letter of a method's name
LINE = 0.12  # height of a line of a note or legend
_AIR = 0.1  # below what is written at the panels' axes
_SMALL_LETTER = 0.041
_LONGEST = 24  # letters of a name in a legend
#: Settings of every picture of the package.
BASE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same on every machine
    "font.size": 7,
    "axes.linewidth": 0.6,
    "text.parse_math": False,  # a method's name is not mathematics
}
_STYLE: dict[Any, Any] = BASE | {
    "axes.edgecolor": DARK,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.major.size": 2.5,
    "lines.markersize": 3.4,
    "pdf.fonttype": 42,  # publishers refuse type 3
    "svg.hashsalt": "omrl-bench",
    "savefig.dpi": 200,
}
_METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
_SMALL = {"fontsize": 5.8, "color": GREY, "va": "bottom"}


@contextmanager
def settings(style: dict[Any, Any]) -> Iterator[None]:
    """Draw with these settings of Matplotlib, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style)
        yield


def render(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """Draw a figure and save it in all formats.

    Args:
        draw: Makes the figure; called with the report's settings.

    Returns:
        The files' contents by format (:data:`FORMATS`): the same bytes for the same figure.
    """
    files = {}
    with settings(_STYLE):
        figure = draw()
        for name in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, metadata=_METADATA[name])
            files[name] = buffer.getvalue()
    return files


@dataclass(frozen=True)
class Sheet:
    """A figure and its panels, row by row.

    Attributes:
        figure: The figure, with its legend and note.
        panels: The panels, empty.
        columns: Panels in a row.
    """

    figure: Figure
    panels: Sequence[Axes]
    columns: int

    def first_in_row(self, index: int) -> bool:
        """Whether a panel is the leftmost one of its row."""
        return index % self.columns == 0

    def last_in_column(self, index: int) -> bool:
        """Whether there is no panel below a panel."""
        return index + self.columns >= len(self.panels)


def sheet(
    count: int,
    *,
    width: float | None = None,
    height: float | None = None,
    per_row: int | None = None,
    left: float,
    gap: float,
    below: float,
    between: float | None = None,
    legend: Sequence[Artist] = (),
    word: str = "",
    note: Sequence[str] = (),
) -> Sheet:
    """Lay panels out by hand: every length is in inches, so that panels look the same in every figure.

    Args:
        count: Number of panels.
        width: Of a panel; left out, the panels share the width of a figure with so many in a row (:data:`WIDTHS`).
        height: Of a panel; left out, it is as high as wide.
        per_row: Panels in a row at most; left out, as many as fit a page. Rows are made equally long.
        left: Room left of the panels.
        gap: Room between two panels of a row.
        below: Room below the last row, for what is written at its axes.
        between: The same below every other row; as below the last one if left out.
        legend: Handles with labels, explained above the panels.
        word: What the handles are; set before them.
        note: Sentences set below everything, in as many lines as they need; empty ones are left out.
    """
    if per_row is None:
        per_row = max(1, int((WIDTHS[-1] - left + gap) / ((width or 0.0) + gap)))
    columns = math.ceil(count / math.ceil(count / per_row))
    rows = math.ceil(count / columns)
    if width is None:
        width = (WIDTHS[min(columns, len(WIDTHS)) - 1] - left - RIGHT - (columns - 1) * gap) / columns
    height = width if height is None else height
    of_figure = left + columns * width + (columns - 1) * gap + RIGHT
    entries = _legend_columns(legend, word, of_figure)
    lines = _lines(of_figure, note)
    top = TITLE + 0.05
    if legend:
        top = top + 0.14 * math.ceil(len(legend) / entries) + (0.16 if word else 0.04)
    row_gap = (below if between is None else between) + TITLE + _AIR
    bottom = below + _AIR + LINE * len(lines)
    figure_height = top + rows * height + (rows - 1) * row_gap + bottom
    figure = Figure(figsize=(of_figure, figure_height))
    panels = []
    for index in range(count):
        row, column = divmod(index, columns)
        x = left + column * (width + gap)
        y = figure_height - top - height - row * (height + row_gap)
        panels.append(figure.add_axes((x / of_figure, y / figure_height, width / of_figure, height / figure_height)))
    if legend:
        _draw_legend(figure, legend, word, entries)
    if lines:
        figure.text(EDGE / of_figure, 0.09 / figure_height, "\n".join(lines), _SMALL, linespacing=1.4)
    return Sheet(figure, panels, columns)


def title(axes: Axes, name: str, detail: str) -> None:
    """Name a panel above it, with a detail in small; a long name is set smaller, lest it runs into the next one."""
    width, height = _inches(axes)
    style = {"fontsize": min(8.0, 100 * width / max(len(name), 1)), "fontweight": "bold", "va": "bottom"}
    axes.text(0, 1 + 0.17 / height, name, style, transform=axes.transAxes)
    axes.text(0, 1 + 0.05 / height, detail, _SMALL, transform=axes.transAxes)


def short(name: str) -> str:
    """A name cut to what fits a legend."""
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def names_width(names: Sequence[str], most: float = 2.0) -> float:
    """Room for the longest of some names, but never so much that none is left for the panels."""
    return min(most, 0.2 + LETTER * max(map(len, names)))


def _legend_columns(handles: Sequence[Artist], word: str, width: float) -> int:
    """Columns of a legend: all handles in one row if there is a word before them, else as many as fit."""
    if word or not handles:
        return len(handles)
    entry = 0.48 + 0.055 * max(len(str(handle.get_label())) for handle in handles)
    return min(len(handles), max(1, int((width - EDGE) / entry)))


def _draw_legend(figure: Figure, handles: Sequence[Artist], word: str, columns: int) -> None:
    """Put a legend above the panels."""
    width, height = figure.get_size_inches()
    if word:
        figure.text(EDGE / width, 1 - 0.17 / height, word, va="center", fontsize=7)
    left = EDGE + (0.78 if word else -0.04)
    rows = math.ceil(len(handles) / columns)
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(left / width, 1 - (0.175 + (rows - 1) * LINE / 2) / height),
        ncols=columns,
        frameon=False,
        fontsize=7,
        handlelength=1.6 if word else 2.6,
        columnspacing=1.0,
        labelspacing=0.25,
        borderpad=0,
    )


def _lines(width: float, sentences: Sequence[str]) -> list[str]:
    """Break sentences into lines that fit a figure so wide."""
    letters = max(20, int((width - 2 * EDGE) / _SMALL_LETTER))
    return [line for sentence in sentences if sentence for line in textwrap.wrap(sentence, letters)]


def _inches(axes: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    box = axes.get_position()
    return float(box.width * width), float(box.height * height)
