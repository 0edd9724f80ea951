"""What a paper shows as curves only, from our records: learning curves of the same methods in the nearest suite."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.figures.lines import learning_figure
from omrl_bench.report.papers.mapping import Paper, PaperFigure, figure_families
from omrl_bench.report.reading.results import Reading
from omrl_bench.report.tables.layout import Layout


@dataclass(frozen=True)
class Curves:
    """Learning curves, with columns :data:`omrl_bench.report.reading.results.CURVE_COLUMNS`, and their order."""

    frame: pd.DataFrame
    layout: Layout


def find_curves(paper: Paper, readings: Mapping[tuple[str, str], Reading], preset: str) -> dict[str, Curves]:
    """Our curves for the figures of a paper, by the figure's label; those without any are left out.

    A figure with presets of its own compares them: it is no learning curve.

    Args:
        paper: The paper.
        readings: What was read, by suite and preset.
        preset: Preset of our suites.
    """
    drawn = (figure for figure in paper.figures if figure.suite and not figure.presets)
    found = ((figure.label, _curves(figure, readings[figure.suite, preset], preset)) for figure in drawn)
    return {label: curves for label, curves in found if curves}


def draw_curves(paper: Paper, curves: Mapping[str, Curves]) -> dict[str, bytes]:
    """Draw each figure in all formats: the files' contents by name."""
    return {
        f"{picture_name(paper, label)}.{ending}": content
        for label, each in curves.items()
        for ending, content in learning_figure(each.frame, each.layout).items()
    }


def picture_name(paper: Paper, label: str) -> str:
    """``ccm-figure-3``, without the ending."""
    return f"{paper.name}-{re.sub(r'[^a-z0-9]+', '-', label.lower())}"


def _curves(figure: PaperFigure, reading: Reading, preset: str) -> Curves | None:
    suite = load_suite(figure.suite)
    for each in reading.sets:
        if (each.dataset, each.backbone) == (suite.datasets[0], suite.backbones[0]):
            frame = each.curves[each.curves["method"].isin(figure.methods)]
            families, methods = set(frame["family"]), set(frame["method"])
            layout = Layout(
                families=tuple(family for family in figure_families(figure, preset) if family in families),
                conditions=(figure.condition,),
                methods=tuple(method for method in figure.methods if method in methods),
                marked=frozenset(each.privileges),
            )
            return Curves(frame, layout) if layout.families else None
    return None
