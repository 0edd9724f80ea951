"""Our results at the places where a paper's numbers have a counterpart."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from omrl_bench.report.papers.mapping import Target
from omrl_bench.report.reading.results import Reading, Results
from omrl_bench.stats.contrasts import marginals, on_new_tasks
from omrl_bench.stats.pairing import are_paired, pairing
from omrl_bench.stats.panels import Key, Panel, panels


@dataclass(frozen=True)
class Sample:
    """Our results at one place.

    Attributes:
        key: What they are results of.
        panel: (seeds, tasks); a measure of the representation, which is one number per seed, is (seeds, 1).
        is_measure: Whether it is such a measure.
        estimate: The mean.
        low: Lower end of its interval, the same as in the score table.
        high: Upper end of its interval.
        paired: Whether seeds of different methods are paired there; see :mod:`omrl_bench.stats.pairing`.
    """

    key: Key
    panel: Panel
    is_measure: bool
    estimate: float
    low: float
    high: float
    paired: bool = False


def samples(
    readings: Mapping[tuple[str, str], Reading], targets: Iterable[Target], preset: str
) -> tuple[dict[Target, Sample], list[str]]:
    """Find our results at some places.

    Args:
        readings: What was read, by suite and preset.
        targets: The places.
        preset: The one that notes need not name.

    Returns:
        The samples of the places that have complete records, and notes on those that lack some.
    """
    wanted: dict[tuple[str, str], list[Target]] = defaultdict(list)
    for target in targets:
        wanted[target.suite, target.preset].append(target)
    found: dict[Target, Sample] = {}
    notes: list[str] = []
    for (suite, of), places in wanted.items():
        reading = readings[suite, of]
        where = suite if of == preset else f"{suite}, preset {of}"
        pairs = {(place.family, place.method) for place in places}
        notes += [f"{where}: {note}" for note in reading.notes if not note.reason or note[1:3] in pairs]
        for each in reading.sets:
            of_set = [place for place in places if (place.dataset, place.backbone) == (each.dataset, each.backbone)]
            found |= _scores(each, [place for place in of_set if not place.measure])
            found |= _measures(each, [place for place in of_set if place.measure])
    return found, notes


def _scores(results: Results, places: list[Target]) -> dict[Target, Sample]:
    """Scores of a set, at the places where there are any."""
    keys = {place: Key(*place[:-1]) for place in places}
    frame = results.frame
    for column in ("family", "condition"):
        frame = frame[frame[column].isin({getattr(key, column) for key in keys.values()})]
    groups = panels(frame) if len(frame) else {}
    paired = pairing(groups)  # of all methods there, which say more about shared noise than the paper's
    return {
        place: _sample(key, panel, False, are_paired(paired, key, panel, panel))
        for place, key in keys.items()
        if key in groups
        for panel in groups[key]
    }


def _measures(results: Results, places: list[Target]) -> dict[Target, Sample]:
    """Measures of the representation, which records hold beside their cubes: one number per seed."""
    found = {}
    for place in places:
        of_place = [r for r in results.records if (r.cell.family, r.cell.method) == (place.family, place.method)]
        values = {r.cell.seed: r.representation.get(place.condition, {}).get(place.measure) for r in of_place}
        known = {seed: value for seed, value in sorted(values.items()) if value is not None and math.isfinite(value)}
        if known:
            matrix = np.array(list(known.values()), dtype=float)[:, None]
            key = Key(*place[:-1])._replace(condition=f"{place.condition}/{place.measure}")
            panel = Panel(place.family, matrix, np.full_like(matrix, np.nan), tuple(known), (place.measure,), 0)
            found[place] = _sample(key, panel, True, False)
    return found


def _sample(key: Key, panel: Panel, is_measure: bool, paired: bool) -> Sample:
    mean = on_new_tasks(marginals(panel.scores))
    low, high = mean.interval()
    return Sample(key, panel, is_measure, float(mean.estimate), float(low), float(high), paired)
