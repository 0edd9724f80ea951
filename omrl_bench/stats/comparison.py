"""Two methods, or every pair of methods, compared: differences of means and probabilities of improvement.

What adaptation gains is the comparison of a method with ``task-blind``.

The probability of improvement is the probability that a run of the first method beats a run of the second on a task,
averaged over tasks. Of a task it is the share of pairs (seed of the first, seed of the second) in which the first is
higher, ties counting one half: the Mann-Whitney statistic divided by the number of pairs (Agarwal et al. 2021, section
4.3; rliable's definition).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pandas as pd

from omrl_bench.stats.bootstrap import CONFIDENCE, RESAMPLES
from omrl_bench.stats.contrasts import Questions
from omrl_bench.stats.differences import check_tasks, difference, fewest, mean_score
from omrl_bench.stats.estimated import Estimated, Resamples, over_families
from omrl_bench.stats.pairing import are_paired, pairing
from omrl_bench.stats.panels import Key, Panel, Panels, panels
from omrl_bench.stats.small_samples import Part
from omrl_bench.stats.verdicts import Judgement, judge

MATRIX_RESAMPLES = 2_000
_CONDITION = tuple(name for name in Key._fields if name != "method")
_IMPROVEMENT = ("improvement", "improvement_low", "improvement_high")
_COUNTS = ("n_seeds", "n_tasks", "n_draws")
_JUDGED = tuple(f"{question}_{name}" for question in Questions._fields for name in Judgement._fields)
#: The verdict on the first method.
WORDS = {"higher": "better", "lower": "worse", "equivalent": "equivalent", "undecided": "undecided"}
COMPARISON_COLUMNS = (
    *_CONDITION,
    *("first", "second", "score_first", "score_second", "difference"),
    *_JUDGED,
    *_IMPROVEMENT,
    *_COUNTS,
)
MATRIX_COLUMNS = (*_CONDITION, "first", "second", *_IMPROVEMENT, *_COUNTS)


def compare(
    frame: pd.DataFrame | Panels, first: str, second: str, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Compare two methods in every family and condition that both have.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`. It may have other methods, which help to say whether
            seeds are paired (:mod:`omrl_bench.stats.pairing`).
        first: A method.
        second: Another.
        resamples: Resamples of the two-way bootstrap, for the probability of improvement.
        confidence: Coverage of the intervals, and 1 - the level of the verdicts.

    Returns:
        One row per (suite, preset, dataset, backbone, family, condition) that both have, sorted by them, with columns
        ``first``, ``second``, ``score_first``, ``score_second``; ``difference`` (of the means); for each question,
        ``these`` (on these tasks) and ``new`` (on new tasks), what :class:`omrl_bench.stats.verdicts.Judgement` has,
        as ``these_low``, ..., ``new_verdict``, judged over the rows of a table, the verdict on the first method being
        ``better``, ``worse``, ``equivalent`` or ``undecided``; ``improvement`` (the probability of it), with ``_low``
        and ``_high``; ``n_seeds``, ``n_tasks``, ``n_draws``. Family ``all`` is the mean over families; a method that
        lacks a family has none.

    Raises:
        ValueError: if both are the same, one has no results, they have no family and condition in common or not the
            same tasks there, or results are incomplete.
    """
    if first == second:
        raise ValueError(f"{first!r} cannot be compared with itself")
    groups = panels(frame)
    for method in (first, second):
        if not any(key.method == method for key in groups):
            raise ValueError(f"the method {method!r} has no results")
    pairs = {
        key: (group, groups[key._replace(method=second)])
        for key, group in groups.items()
        if key.method == first and key._replace(method=second) in groups
    }
    if not pairs:
        raise ValueError(f"{first!r} and {second!r} have no family and condition in common")
    shared, paired = Resamples(resamples), pairing(groups)
    rows, contrasts = [], []
    for key, sides in pairs.items():
        of_families = list(zip(*sides, strict=True))
        pair = [are_paired(paired, key, a, b) for a, b in of_families]
        contrasts.append(difference(key, *sides, pair, f"difference from {second}"))
        improvement = over_families([family_improvement(key, a, b, shared) for a, b in of_families])
        row = _condition(key) | {"first": first, "second": second}
        row |= {"score_first": mean_score(sides[0]), "score_second": mean_score(sides[1])}
        row |= {"difference": contrasts[-1].new.estimate}
        rows.append(row | _bounded(improvement, confidence) | fewest(*sides))
    tables: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(pairs):
        tables[key.table].append(index)
    for indices in tables.values():
        for question in Questions._fields:
            found = [getattr(contrasts[index], question) for index in indices]
            judged = judge(found, [_can_be_tested(rows[index], question) for index in indices], confidence=confidence)
            for index, judgement in zip(indices, judged, strict=True):
                named = judgement._replace(verdict=WORDS[judgement.verdict])._asdict()  # type: ignore[arg-type]
                rows[index] |= {f"{question}_{name}": value for name, value in named.items()}
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def improvement_matrix(
    frame: pd.DataFrame | Panels, resamples: int = MATRIX_RESAMPLES, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Probability of improvement of every method over every other, in every family and condition.

    Args:
        frame: Tidy frame; see :mod:`omrl_bench.stats.panels`.
        resamples: Resamples of the two-way bootstrap.
        confidence: Coverage of the intervals, which are not corrected for the number of pairs.

    Returns:
        One row per (suite, preset, dataset, backbone, family, condition) and ordered pair of methods, sorted by them,
        with columns ``first``, ``second``, ``improvement``, ``improvement_low``, ``improvement_high``, ``n_seeds``,
        ``n_tasks``, ``n_draws``. Family ``all`` is the mean over families, for methods that have every family.

    Raises:
        ValueError: if results are incomplete, or methods of a family and condition do not have the same tasks.
    """
    groups = panels(frame)
    by_condition: dict[Key, list[Key]] = defaultdict(list)
    for key in groups:
        by_condition[key._replace(family="", method="")].append(key)
    shared = Resamples(resamples)
    rows = []
    for keys in by_condition.values():
        of_families: dict[tuple[str, str, str], Estimated] = {}  # by family, first and second, which "all" needs again
        methods: dict[str, list[Key]] = defaultdict(list)
        for key in keys:
            methods[key.family].append(key)
        for of_family in methods.values():
            for key, other in itertools.combinations(of_family, 2):
                check_tasks(key, groups[key], groups[other], f"improvement over {other.method}")
                estimates = []
                for a, b in zip(groups[key], groups[other], strict=True):
                    pair = a.family, key.method, other.method
                    if pair not in of_families:
                        of_families[pair] = family_improvement(key, a, b, shared)
                    estimates.append(of_families[pair])
                numbers = fewest(groups[key], groups[other])
                rows += [row | numbers for row in _both_ways(key, other, over_families(estimates), confidence)]
    table = pd.DataFrame(rows, columns=list(MATRIX_COLUMNS))
    return table.sort_values([*_CONDITION, "first", "second"], ignore_index=True)


def _can_be_tested(row: Mapping[str, object], question: str) -> bool:
    """With one seed (and for new tasks, with one task) half of the uncertainty is missing."""
    return row["n_seeds"] != 1 and (question == "these" or row["n_tasks"] != 1)


def _both_ways(key: Key, other: Key, improvement: Estimated, confidence: float) -> list[dict[str, object]]:
    """The rows of a pair and of the pair in reverse, which is what is left to 1."""
    forward = _bounded(improvement, confidence)
    value, low, high = (forward[name] for name in _IMPROVEMENT)
    backward = dict(zip(_IMPROVEMENT, (1 - value, 1 - high, 1 - low), strict=True))
    names = {"first": key.method, "second": other.method}
    reverse = {"first": other.method, "second": key.method}
    return [_condition(key) | names | forward, _condition(key) | reverse | backward]


def family_improvement(key: Key, first: Panel, second: Panel, shared: Resamples) -> Estimated:
    """Probability of improvement in one family; tasks are resampled jointly, and seeds too if they are the same."""
    wins = _wins(first.scores, second.scores)
    seeds, tasks = shared.counts(key, first)
    other = shared.counts(key, second)[0]
    pairs = wins.reshape(-1, wins.shape[-1])
    of_pairs = tasks @ pairs.T  # (resamples, pairs of seeds)
    weights = (seeds[:, :, None] * other[:, None, :]).reshape(of_pairs.shape)
    samples = np.einsum("rp,rp->r", of_pairs, weights) / wins.size
    by_first, by_second, by_task = (wins.mean(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    of_seeds = [by_first + by_second] if first.seeds == second.seeds else [by_first, by_second]
    return Estimated(float(wins.mean()), samples, tuple(map(_part, [*of_seeds, by_task])))


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the first is higher, 1/2 where both are the same: (..., seeds, other seeds, tasks)."""
    a, b = first[..., :, None, :], second[..., None, :, :]
    wins: np.ndarray = (a > b) + 0.5 * (a == b)
    return wins


def _part(influences: np.ndarray) -> Part:
    """Variance of a mean of such influences, (n,)."""
    size = len(influences)
    return Part(float(influences.var() / (size - 1)) if size > 1 else 0.0, size)


def _bounded(improvement: Estimated, confidence: float) -> dict[str, float]:
    """Columns of a probability; an expanded interval may reach beyond 0 and 1, which no probability does."""
    columns = improvement.columns("improvement", confidence)
    return {name: min(1.0, max(0.0, value)) for name, value in columns.items()}


def _condition(key: Key) -> dict[str, object]:
    return {name: getattr(key, name) for name in _CONDITION}
