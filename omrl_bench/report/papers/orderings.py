"""Do published orderings of algorithms survive in our records? Differences, intervals, verdicts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from omrl_bench.errors import InputError
from omrl_bench.report.papers.mapping import Published, Target
from omrl_bench.report.reading.results import Reading, Results
from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES, holm
from omrl_bench.stats.differences import enough_resamples, paired_difference
from omrl_bench.stats.estimated import Resamples
from omrl_bench.stats.panels import Key, Panel, panels

Claim = Literal["claimed", "within noise", "no spread"]
Verdict = Literal["survives", "reversed", "undecided", "no records"]


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
    """

    key: Key
    panel: Panel
    is_measure: bool
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Ordering:
    """Two algorithms of one table, the one with the higher published mean first, and what our records say.

    Attributes:
        higher: The published number of the first.
        lower: The published number of the second.
        claim: Whether the published means differ by more than the root of the sum of their squared spreads.
        difference: Ours, first minus second; NaN without records, like its interval.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: Two-sided, not corrected; NaN without records.
        n_seeds: Seeds of ours, the fewer of both sides.
        n_tasks: Tasks of ours; 0 for measures of the representation, which are one number per seed.
        verdict: ``survives`` or ``reversed`` where Holm's correction over the table leaves p below 5 %.
    """

    higher: Published
    lower: Published
    claim: Claim
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    n_seeds: int = 0
    n_tasks: int = 0
    verdict: Verdict = "no records"


def samples(readings: Mapping[str, Reading], targets: Iterable[Target]) -> tuple[dict[Target, Sample], list[str]]:
    """Find our results at some places.

    Args:
        readings: What was read of each suite, of one preset.
        targets: The places.

    Returns:
        The samples of the places that have complete records, and notes on those that lack some.
    """
    wanted: dict[str, list[Target]] = defaultdict(list)
    for target in targets:
        wanted[target.suite].append(target)
    found: dict[Target, tuple[Key, Panel]] = {}
    notes: list[str] = []
    for suite, places in wanted.items():
        reading = readings[suite]
        pairs = {(place.family, place.method) for place in places}
        notes += [f"{suite}: {note}" for note in reading.notes if not note.reason or note[1:3] in pairs]
        for each in reading.sets:
            of_set = [place for place in places if (place.dataset, place.backbone) == (each.dataset, each.backbone)]
            found |= _scores(each, [place for place in of_set if not place.measure])
            found |= _measures(each, [place for place in of_set if place.measure])
    shared = Resamples(RESAMPLES)
    estimates = {place: shared.estimate(key, panel, panel.scores) for place, (key, panel) in found.items()}
    return {
        place: Sample(*found[place], bool(place.measure), estimated.estimate, *estimated.interval())
        for place, estimated in estimates.items()
    }, notes


def orderings(located: Mapping[Published, Target | str], found: Mapping[Target, Sample]) -> list[Ordering]:
    """Compare every two algorithms of a table under the same condition.

    What a later table repeats, number for number, is compared once. Equal published means order nothing.

    Args:
        located: Our place of every published number, or the reason why there is none.
        found: Our results by place.
    """
    groups: dict[tuple[str, ...], list[Published]] = defaultdict(list)
    for row in located:
        groups[row.table, row.env, row.split, row.condition].append(row)
    seen, pairs = set(), []
    for rows in groups.values():
        for first, second in combinations(rows, 2):
            if math.isnan(first.value + second.value) or first.value == second.value:
                continue
            higher, lower = (first, second) if first.value > second.value else (second, first)
            numbers = [(row.env, row.split, row.algorithm, row.mean, row.std) for row in (higher, lower)]
            if tuple(numbers) not in seen:
                seen.add(tuple(numbers))
                pairs.append((higher, lower))
    resamples = enough_resamples(RESAMPLES, len(pairs), CONFIDENCE)
    return _with_verdicts([_ordering(*pair, located, found, resamples) for pair in pairs])


def _ordering(
    higher: Published,
    lower: Published,
    located: Mapping[Published, Target | str],
    found: Mapping[Target, Sample],
    resamples: int,
) -> Ordering:
    spread = math.hypot(higher.spread, lower.spread)
    claim: Claim = "no spread"
    if not math.isnan(spread):
        claim = "claimed" if higher.value - lower.value > spread else "within noise"
    ordering = Ordering(higher, lower, claim)
    first, second = (found.get(place) if isinstance(place := located[row], Target) else None for row in (higher, lower))
    if first is None or second is None:
        return ordering
    sides = (first.panel,), (second.panel,)
    try:
        ours = paired_difference(first.key, *sides, f"difference from {second.key.method}", resamples)
    except ValueError as error:
        raise InputError(f"cannot compare with {second.key.method!r}: {error}") from error
    low, high = ours.interval()
    return replace(
        ordering,
        difference=ours.estimate,
        low=low,
        high=high,
        p_value=ours.p_value(),
        n_seeds=min(len(first.panel.seeds), len(second.panel.seeds)),
        n_tasks=0 if first.is_measure else len(first.panel.tasks),
        verdict="undecided",
    )


def _with_verdicts(rows: list[Ordering]) -> list[Ordering]:
    compared: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.verdict != "no records":
            compared[row.higher.table].append(index)
    for indices in compared.values():
        adjusted = holm(np.array([rows[index].p_value for index in indices]))
        for index, p in zip(indices, adjusted, strict=True):
            row = rows[index]
            # one seed or one task leaves half of the uncertainty out; measures have no tasks to resample
            if p < 1 - CONFIDENCE and row.n_seeds > 1 and row.n_tasks != 1:
                rows[index] = replace(row, verdict="survives" if row.difference > 0 else "reversed")
    return rows


def _scores(results: Results, places: list[Target]) -> dict[Target, tuple[Key, Panel]]:
    """Scores of a set, at the places where there are any."""
    keys = {place: Key(place.suite, results.preset, *place[1:4], place.condition, place.method) for place in places}
    frame = results.frame
    for column in ("family", "condition", "method"):
        frame = frame[frame[column].isin({getattr(key, column) for key in keys.values()})]
    groups = panels(frame) if len(frame) else {}
    return {place: (key, groups[key][0]) for place, key in keys.items() if key in groups}


def _measures(results: Results, places: list[Target]) -> dict[Target, tuple[Key, Panel]]:
    """Measures of the representation, which records hold beside their cubes: one number per seed."""
    found = {}
    for place in places:
        of_place = [r for r in results.records if (r.cell.family, r.cell.method) == (place.family, place.method)]
        values = {r.cell.seed: r.representation.get(place.condition, {}).get(place.measure) for r in of_place}
        known = {seed: value for seed, value in sorted(values.items()) if value is not None and math.isfinite(value)}
        if known:
            matrix = np.array(list(known.values()), dtype=float)[:, None]
            condition = f"{place.condition}/{place.measure}"
            key = Key(place.suite, results.preset, *place[1:4], condition, place.method)
            panel = Panel(place.family, matrix, np.full_like(matrix, np.nan), tuple(known), (place.measure,), 0)
            found[place] = key, panel
    return found
