"""What all figures of the report share: settings, panels laid out in inches, legends, notes, and how they are saved."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
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
_SMALL_LETTER = 0.041
_LONGEST = 24  # letters of a name in a legend
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same on every machine
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": DARK,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.major.size": 2.5,
    "lines.markersize": 3.4,
    "text.parse_math": False,  # a method's name is not mathematics
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


def render(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """Draw a figure and save it in all formats.

    Args:
        draw: Makes the figure; called with the report's settings, whatever the user's matplotlibrc says.

    Returns:
        The files' contents by format (:data:`FORMATS`): the same bytes for the same figure.
    """
    files = {}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = draw()
        for name in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, metadata=_METADATA[name])
            files[name] = buffer.getvalue()
    return files


def columns_of(count: int, per_row: int) -> int:
    """Panels in a row, so that the rows are equally long."""
    return math.ceil(count / math.ceil(count / per_row))


def panel_width(columns: int, left: float, gap: float) -> float:
    """Width of the panels of a figure as wide as :data:`WIDTHS` says."""
    return (WIDTHS[min(columns, len(WIDTHS)) - 1] - left - RIGHT - (columns - 1) * gap) / columns


def sheet(
    count: int,
    columns: int,
    size: tuple[float, float],
    *,
    left: float,
    top: float,
    bottom: float,
    gap: float,
    row_gap: float,
) -> tuple[Figure, list[Axes]]:
    """Lay panels out by hand: every length is in inches, so that panels look the same in every figure.

    Args:
        count: Number of panels.
        columns: Panels in a row.
        size: Width and height of a panel.
        left: Room left of the panels.
        top: Room above them, titles included.
        bottom: Room below them, labels of the axis included.
        gap: Room between two panels of a row.
        row_gap: Room between two rows, labels and titles included.

    Returns:
        The figure, and its panels row by row.
    """
    rows = math.ceil(count / columns)
    width = left + columns * size[0] + (columns - 1) * gap + RIGHT
    height = top + rows * size[1] + (rows - 1) * row_gap + bottom
    figure = Figure(figsize=(width, height))
    panels = []
    for index in range(count):
        row, column = divmod(index, columns)
        x = left + column * (size[0] + gap)
        y = height - top - size[1] - row * (size[1] + row_gap)
        panels.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    return figure, panels


def title(axes: Axes, name: str, detail: str) -> None:
    """Name a panel above it, with a detail in small; a long name is set smaller, lest it runs into the next one."""
    width, height = _inches(axes)
    style = {"fontsize": min(8.0, 100 * width / max(len(name), 1)), "fontweight": "bold", "va": "bottom"}
    axes.text(0, 1 + 0.17 / height, name, style, transform=axes.transAxes)
    axes.text(0, 1 + 0.05 / height, detail, _SMALL, transform=axes.transAxes)


def legend(figure: Figure, handles: Sequence[Artist], word: str = "", columns: int | None = None) -> None:
    """Put a legend above the panels.

    Args:
        figure: The figure.
        handles: What to explain, with labels.
        word: What the handles are, set before them.
        columns: Number of columns; all handles in one row if left out.
    """
    width, height = figure.get_size_inches()
    if word:
        figure.text(EDGE / width, 1 - 0.17 / height, word, va="center", fontsize=7)
    left = EDGE + (0.78 if word else -0.04)
    rows = math.ceil(len(handles) / (columns or len(handles)))
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(left / width, 1 - (0.175 + (rows - 1) * LINE / 2) / height),
        ncols=columns or len(handles),
        frameon=False,
        fontsize=7,
        handlelength=1.6 if word else 2.6,
        columnspacing=1.0,
        labelspacing=0.25,
        borderpad=0,
    )


def note_lines(width: float, *sentences: str) -> list[str]:
    """Break sentences into lines that fit a figure so wide."""
    letters = max(20, int((width - 2 * EDGE) / _SMALL_LETTER))
    return [line for sentence in sentences if sentence for line in textwrap.wrap(sentence, letters)]


def note(figure: Figure, lines: Sequence[str]) -> None:
    """Put lines of text at the bottom of a figure."""
    width, height = figure.get_size_inches()
    figure.text(EDGE / width, 0.09 / height, "\n".join(lines), _SMALL, linespacing=1.4)


def short(name: str) -> str:
    """A name cut to what fits a legend."""
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def names_width(names: Sequence[str], most: float = 2.0) -> float:
    """Room for the longest of some names, but never so much that none is left for the panels."""
    return min(most, 0.2 + LETTER * max(map(len, names)))


def _inches(axes: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    box = axes.get_position()
    return float(box.width * width), float(box.height * height)
