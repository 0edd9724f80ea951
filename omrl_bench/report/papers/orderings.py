"""Do published orderings of algorithms survive in our records? Differences, intervals, verdicts.

The rule, which was written down before the records were made: a published ordering is *claimed* where the published
means differ by more than the root of the sum of their squared spreads. Only claims are tested, on these tasks and on
new tasks, with Holm's correction over the claims of one question: one environment and condition of a paper.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.special import stdtr

from omrl_bench.errors import InputError
from omrl_bench.report.papers.mapping import Paper, Published, Target
from omrl_bench.report.papers.samples import Sample
from omrl_bench.stats.contrasts import Questions
from omrl_bench.stats.differences import difference
from omrl_bench.stats.verdicts import MARGIN, Judgement, holm, judge

Claim = Literal["claimed", "within noise", "no spread"]
Verdict = Literal["survives", "reversed", "equivalent", "undecided", "not tested", "no records"]
VERDICTS: tuple[Verdict, ...] = ("survives", "reversed", "equivalent", "undecided")
_WORDS: dict[str, Verdict] = {"higher": "survives", "lower": "reversed"}


@dataclass(frozen=True)
class Ordering:
    """Two algorithms of one table, the one with the higher published mean first, and what our records say.

    Attributes:
        higher: The published number of the first.
        lower: The published number of the second.
        claim: Whether the published means differ by more than the root of the sum of their squared spreads.
        published_p: Two-sided p value of Welch's test of the published numbers, see :func:`welch`; NaN if unknown.
        published_holm: The same, corrected as ours is; NaN unless it is a claim.
        difference: Ours, first minus second; NaN without records.
        these: Ours on these tasks; None without records. Its p values are NaN where it is not tested.
        new: Ours on new tasks, likewise; None too for measures of the representation, which are one number per seed.
        n_seeds: Seeds of ours, the fewer of both sides.
        n_tasks: Tasks of ours; 0 for measures of the representation.
    """

    higher: Published
    lower: Published
    claim: Claim
    published_p: float = math.nan
    published_holm: float = math.nan
    difference: float = math.nan
    these: Judgement | None = None
    new: Judgement | None = None
    n_seeds: int = 0
    n_tasks: int = 0

    @property
    def question(self) -> tuple[str, str, str]:
        """Environment, split and condition: what claims are corrected over."""
        return self.higher.env, self.higher.split, self.higher.condition

    def verdict(self, question: str) -> Verdict:
        """The verdict on a question, ``these`` or ``new``."""
        if not self.n_seeds:
            return "no records"
        judgement: Judgement | None = getattr(self, question)
        if self.claim != "claimed" or judgement is None:
            return "not tested"
        return _WORDS.get(judgement.verdict, judgement.verdict)  # type: ignore[arg-type]


def orderings(
    paper: Paper, located: Mapping[Published, Target | str], found: Mapping[Target, Sample]
) -> list[Ordering]:
    """Compare every two algorithms of a table under the same condition.

    What a later table repeats, number for number, is compared once. Equal published means order nothing.

    Args:
        paper: The paper, which says how many runs stand behind a spread.
        located: Our place of every published number, or the reason why there is none.
        found: Our results by place.

    Raises:
        InputError: if two of our results are of different tasks.
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
                pairs.append(Ordering(higher, lower, _claim(higher, lower), welch(higher, lower, paper.seeds)))
    ours = [_ours(ordering, located, found) for ordering in pairs]
    questions: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, ordering in enumerate(pairs):
        questions[ordering.question].append(index)
    result: dict[int, Ordering] = {}
    for indices in questions.values():
        judged = _judged([pairs[index] for index in indices], [ours[index] for index in indices])
        result |= dict(zip(indices, judged, strict=True))
    return [result[index] for index in range(len(pairs))]


def welch(higher: Published, lower: Published, seeds: int) -> float:
    """P value of Welch's two-sided test of two published numbers, if they are what is assumed.

    Assumed: the spread is the standard deviation of ``seeds`` independent runs (0: not known), whose means over the
    paper's test tasks are near normal. So it is a test on the paper's tasks. NaN without a spread.
    """
    a, b = (row.spread**2 / seeds if seeds else math.nan for row in (higher, lower))
    variance = a + b
    if seeds < 2 or math.isnan(variance):
        return math.nan
    if not variance:
        return 0.0
    degrees = (seeds - 1) * variance**2 / (a**2 + b**2)
    return float(2 * stdtr(degrees, -abs(higher.value - lower.value) / math.sqrt(variance)))


def claimed_level(seeds: int) -> float:
    """P value at which two published means with equal spreads begin to be claimed: of t = root of the runs."""
    return float(2 * stdtr(2 * seeds - 2, -math.sqrt(seeds)))


def independent(rows: Sequence[Ordering]) -> int:
    """How many independent contrasts some orderings are: of k algorithms at most k - 1 in each question.

    It is the rank of the matrix with a row per ordering, 1 for the first algorithm and -1 for the second.
    """
    total = 0
    for question in {row.question for row in rows}:
        of_question = [row for row in rows if row.question == question]
        names = sorted({each.algorithm for row in of_question for each in (row.higher, row.lower)})
        matrix = np.zeros((len(of_question), len(names)))
        for index, row in enumerate(of_question):
            matrix[index, [names.index(row.higher.algorithm), names.index(row.lower.algorithm)]] = 1, -1
        total += int(np.linalg.matrix_rank(matrix))
    return total


def _claim(higher: Published, lower: Published) -> Claim:
    spread = math.hypot(higher.spread, lower.spread)
    if math.isnan(spread):
        return "no spread"
    return "claimed" if higher.value - lower.value > spread else "within noise"


def _ours(
    row: Ordering, located: Mapping[Published, Target | str], found: Mapping[Target, Sample]
) -> tuple[Sample, Sample, Questions] | None:
    """Our results of both sides, and their difference."""
    places = (located[row.higher], located[row.lower])
    first, second = (found.get(place) if isinstance(place, Target) else None for place in places)
    if first is None or second is None:
        return None
    paired = [first.paired and second.paired and first.panel.seeds == second.panel.seeds]
    label = f"difference from {second.key.method}"
    try:
        return first, second, difference(first.key, [first.panel], [second.panel], paired, label)
    except ValueError as error:
        raise InputError(f"cannot compare with {second.key.method!r}: {error}") from error


def _judged(rows: Sequence[Ordering], ours: Sequence[tuple[Sample, Sample, Questions] | None]) -> list[Ordering]:
    """Fill in what our records say of the orderings of one question, and correct the published tests likewise."""
    published = holm(np.array([row.published_p if row.claim == "claimed" else math.nan for row in rows]))
    result = [replace(row, published_holm=float(p)) for row, p in zip(rows, published, strict=True)]
    known = [(index, each) for index, each in enumerate(ours) if each is not None]
    if not known:
        return result
    are_measures = any(first.is_measure for _, (first, _, _) in known)
    sizes = [min(len(first.panel.seeds), len(second.panel.seeds)) for _, (first, second, _) in known]
    tasks = [0 if are_measures else len(first.panel.tasks) for _, (first, _, _) in known]
    # one seed, or for new tasks one task, leaves half of the uncertainty out
    tested = [rows[index].claim == "claimed" and size > 1 for (index, _), size in zip(known, sizes, strict=True)]
    margin = None if are_measures else MARGIN
    these = judge([each.these for _, (_, _, each) in known], tested, margin)
    both = [each and number > 1 for each, number in zip(tested, tasks, strict=True)]
    new = judge([each.new for _, (_, _, each) in known], both, margin)
    for number, (index, (_, _, each)) in enumerate(known):
        result[index] = replace(
            result[index],
            difference=float(each.these.estimate),
            these=these[number],
            new=None if are_measures else new[number],
            n_seeds=sizes[number],
            n_tasks=tasks[number],
        )
    return result
