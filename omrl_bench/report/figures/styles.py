"""The colour, marker and line of every method: the same in every figure, whichever other methods are in it.

Built-in methods come in groups of related methods (:mod:`omrl_bench.report.reading.groups`). A group has a hue and a
marker; within it, lightness and line tell the members apart, so that marker and line alone, in black and white, are
different for any two of them. Methods without a representation objective of their own are black and grey. The hues of
the larger groups are those of Okabe and Ito; the others are from Tol's schemes.

Any other name gets a style computed from its letters: always the same one, but two such names may look alike.

A line figure with more than ten lines cannot be read. :func:`shown` says which methods it has.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.colors import to_hex, to_rgb

from omrl_bench.report.reading.groups import BACKBONE_LOSS, BOUNDS, CONTROL, GROUPS

LineStyle = str | tuple[float, tuple[float, ...]]

MOST_LINES = 10
# Solid, dashed, dotted, dash-dotted, dash-dot-dotted, long dashes.
_LINES: tuple[LineStyle, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (4, 1.2, 1, 1.2)),
    (0, (4, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
)
_SHADES = (0.0, -0.35, 0.45, -0.6, 0.23, 0.68)  # towards black (negative) or white


_PLAIN = (CONTROL, BACKBONE_LOSS)  # groups without a representation objective of their own
#: Colours of their members, the best control first.
_GREYS = ("#000000", "#666666", "#8c8c8c", "#b0b0b0", "#404040")
#: Of the other groups in their order: colour of the first member (the others are shades of it) and marker of all.
_LOOKS = (
    *(("#0072B2", "o"), ("#2E8B7A", "<"), ("#3B93C8", ">"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "v")),
    *(("#E69F00", "D"), ("#5B3FA8", "P"), ("#882255", "X"), ("#8B8B2B", "p"), ("#AA4499", "d"), ("#44AA99", "8")),
    ("#117733", "H"),
)
_PLAIN_MARKER = "*"
_OTHER_MARKERS = ("h",)

#: Colours of context qualities and episodes by their place in a table, by Okabe and Ito; their lightness differs from
#: neighbour to neighbour, and each has a marker of its own.
CONDITIONS = (
    *(("#0072B2", "o"), ("#E69F00", "s"), ("#000000", "D")),
    *(("#CC79A7", "^"), ("#009E73", "v"), ("#56B4E9", "P")),
)


class Style(NamedTuple):
    """How a method is drawn."""

    color: str
    marker: str
    line: LineStyle

    def artist(self) -> dict[str, Any]:
        """The same as arguments of Matplotlib's lines."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.line,
            "linewidth": 1.1,
            "markersize": 5.0 if self.marker == _PLAIN_MARKER else 3.6,
            "markeredgewidth": 0,
        }


def method_style(name: str) -> Style:
    """The style of a method."""
    return _STYLES.get(name) or _hashed(name)


def condition_style(index: int) -> tuple[str, str]:
    """Colour and marker of the context quality or episode at this place."""
    return CONDITIONS[index % len(CONDITIONS)]


def shown(methods: Sequence[str], most: int = MOST_LINES) -> tuple[str, ...]:
    """The methods that a figure has room for: all, if there are not too many.

    Else ``oracle`` and ``task-blind``, methods that are not built in, and of each group with a hue the first member
    that has results; of these the first so many.

    Args:
        methods: Methods that have results.
        most: How many there may be.

    Returns:
        Some of them, in the same order.
    """
    if len(methods) <= most:
        return tuple(methods)
    bounds = [name for name in BOUNDS if name in methods]
    others = [name for name in methods if name not in _STYLES]
    present = [
        [name for name in members if name in methods] for group, members in GROUPS.items() if group not in _PLAIN
    ]
    chosen = {*[*bounds, *others, *(names[0] for names in present if names)][:most]}
    return tuple(name for name in methods if name in chosen)


def shown_note(methods: Sequence[str], most: int = MOST_LINES) -> str:
    """Say what :func:`shown` leaves out; empty if nothing."""
    left_out = len(methods) - len(shown(methods, most))
    if not left_out:
        return ""
    return f"Drawn: {', '.join(BOUNDS)} and one of each group of related methods; {left_out} others are not."


def _hashed(name: str) -> Style:
    number = zlib.crc32(name.encode())
    hue, number = number % 360, number // 360
    marker, number = _OTHER_MARKERS[number % len(_OTHER_MARKERS)], number // len(_OTHER_MARKERS)
    color = to_hex(colorsys.hls_to_rgb(hue / 360, 0.3 + 0.05 * (number % 5), 0.6))
    return Style(color, marker, _LINES[number // 5 % len(_LINES)])


def _shade(color: str, amount: float) -> str:
    """Mix a colour with white (positive amount) or black."""
    target = 1.0 if amount > 0 else 0.0
    red, green, blue = (value + (target - value) * abs(amount) for value in to_rgb(color))
    return to_hex((red, green, blue))


def _styles(groups: Mapping[str, Sequence[str]]) -> dict[str, Style]:
    """The style of every member of a group; ValueError if there are more groups or members than looks."""
    styles = {}
    hued = [members for group, members in groups.items() if group not in _PLAIN]
    for members, (color, marker) in zip(hued, _LOOKS, strict=True):
        size = len(members)
        for name, shade, line in zip(members, _SHADES[:size], _LINES[:size], strict=True):
            styles[name] = Style(_shade(color, shade), marker, line)
    plain = (*reversed(groups[CONTROL]), *groups[BACKBONE_LOSS])
    for name, color, line in zip(plain, _GREYS, _LINES[: len(plain)], strict=True):
        styles[name] = Style(color, _PLAIN_MARKER, line)
    return styles


_STYLES = _styles(GROUPS)
