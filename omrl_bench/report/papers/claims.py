"""What becomes of a paper's claims in our records: sentences, and the table of its orderings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from omrl_bench.report.papers.mapping import TRAIN_SPLIT, Paper
from omrl_bench.report.papers.orderings import VERDICTS, Ordering, claimed_level, independent
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.report.tables.markdown import escape, grid, section
from omrl_bench.report.tables.wide import Entry
from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.verdicts import MARGIN, Judgement

QUESTIONS = {"these": "On these tasks", "new": "On new tasks"}
_NOT_CLAIMED = {
    "within noise": "differ by less than their combined spread",
    "no spread": "are printed without a spread",
}
_LEVEL = 1 - CONFIDENCE
_NOTE = (
    "Two algorithms of a table under the same condition, the one with the higher published mean first; claimed if the "
    "means differ by more than their combined spread, the root of the sum of the squared spreads. Only claims are "
    f"tested, at {100 * _LEVEL:.0f} % after Holm's correction over the claims of one environment and condition. "
    "On these tasks: Welch's t over the seeds' means. On new tasks: seeds and tasks vary. survives, reversed: the "
    f"difference is not zero. equivalent: it is less than {MARGIN:g} points (two one-sided tests). undecided: neither. "
    "[low, high]: 95 % interval, not corrected. finds: the smallest difference that so many seeds and tasks would find "
    "with 80 % power at 5 %, not corrected. p: Welch's test of the published numbers, likewise not corrected. "
    "With one seed nothing is decided. What a later table repeats is counted once; what cannot be checked is counted "
    "but not listed."
)


def summary(paper: Paper, orderings: Sequence[Ordering]) -> list[str]:
    """Say what becomes of the claims on both questions, and how many orderings are none."""
    claims = [row for row in orderings if row.claim == "claimed"]
    sentences = []
    if claims:
        sentences.append(_published(paper, claims))
        checked = [row for row in claims if row.n_seeds]
        sentences.append(f"{_number(checked)} of the claims can be checked in our records.")
        sentences += [_counted(checked, question) for question in QUESTIONS if checked]
        own = [row for row in checked if row.higher.algorithm in paper.own and row.lower.algorithm not in paper.own]
        whose = f"the paper's own {'algorithm' if len(paper.own) == 1 else 'algorithms'} above another"
        if own:
            sentences.append(f"{_number(own)} of these place {whose}.")
            sentences += [_counted(own, question) for question in QUESTIONS]
    for claim, words in _NOT_CLAIMED.items():
        number = sum(row.claim == claim for row in orderings)
        if number:
            sentences.append(f"{number} more orderings, whose means {words}, are not claimed and not tested.")
    return sentences


def orderings_frame(orderings: Sequence[Ordering]) -> pd.DataFrame:
    """One row per published ordering, with our difference, and for both questions all that was judged."""
    fields = [(question, name) for question in QUESTIONS for name in Judgement._fields if name != "verdict"]
    columns = ["table", "env", "split", "condition", "higher", "lower", "published_difference", "claim"]
    columns += ["published_p", "published_p_holm", "difference", *(f"{question}_{name}" for question, name in fields)]
    columns += ["n_seeds", "n_tasks", *(f"{question}_verdict" for question in QUESTIONS)]
    rows = [
        (
            *(row.higher.table, row.higher.env, row.higher.split, row.higher.condition),
            *(row.higher.algorithm, row.lower.algorithm, round(row.higher.value - row.lower.value, 6), row.claim),
            *(row.published_p, row.published_holm, row.difference),
            *(getattr(getattr(row, question), name, math.nan) for question, name in fields),
            *(row.n_seeds, row.n_tasks, *(row.verdict(question) for question in QUESTIONS)),
        )
        for row in orderings
    ]
    return pd.DataFrame(rows, columns=columns)


def orderings_section(orderings: Sequence[Ordering]) -> str:
    """The orderings that can be checked, as a section of a page."""
    body = []
    for row in orderings:
        if not row.n_seeds:
            continue
        first, split = row.higher, f" ({row.higher.split} tasks)" if row.higher.split == TRAIN_SPLIT else ""
        names = (first.table, first.env, f"{first.condition}{split}", f"{first.algorithm} > {row.lower.algorithm}")
        p = "" if math.isnan(row.published_p) else f", p {_p_text(row.published_p)}"
        published = f"{first.mean} > {row.lower.mean}, {row.claim}{p}"
        decimals = 1 if row.n_tasks else 3
        ours = [_question(row, question, decimals) for question in QUESTIONS]
        body.append([*map(escape, (*names, published)), f"{row.difference:.{decimals}f}", *ours])
    headers = ["table", "env", "condition", "ordering", "published", "ours", *map(str.lower, QUESTIONS.values())]
    return section("Published orderings", escape(_NOTE), grid(headers, body, names=5) if body else "", level=2)


def _question(row: Ordering, question: str, decimals: int) -> str:
    """``**survives** [2.1, 7.5], finds 3.4``."""
    judgement: Judgement | None = getattr(row, question)
    if judgement is None:
        return MISSING
    verdict = row.verdict(question)
    words = "" if verdict == "not tested" else f"{verdict} "
    if math.isnan(judgement.low):
        return f"{words}{MISSING}"
    interval = Entry(row.difference, judgement.low, judgement.high, decimals).texts()[1]
    return f"{words}{interval}, finds {judgement.detectable:.{decimals}f}"


def _published(paper: Paper, claims: Sequence[Ordering]) -> str:
    sentence = f"{_number(claims)} published orderings are claims: the means differ by more than their combined spread"
    known = [row for row in claims if not math.isnan(row.published_p)]
    if not known:
        return f"{sentence}."
    passing = sum(row.published_holm < _LEVEL for row in claims)
    assumed = "" if paper.spread == "standard deviation" else ", assuming that the spread is a standard deviation"
    level = f"p < {claimed_level(paper.seeds):.3f}"
    return (
        f"{sentence}, which with equal spreads of {paper.seeds} seeds is {level}{assumed}. "
        f"{passing} of them pass Welch's test of the published numbers, corrected as ours is."
    )


def _counted(rows: Sequence[Ordering], question: str) -> str:
    """``On these tasks: 15 (9) survive, 0 reversed, ...``."""
    groups = {verdict: [row for row in rows if row.verdict(question) == verdict] for verdict in VERDICTS}
    words = {"survives": "surviving"}
    counts = [f"{_number(group)} {words.get(verdict, verdict)}" for verdict, group in groups.items()]
    lacking = len(rows) - sum(map(len, groups.values()))
    return f"{QUESTIONS[question]}: {', '.join(counts)}{f', {lacking} not asked' if lacking else ''}."


def _number(rows: Sequence[Ordering]) -> str:
    """How many; and in brackets how many independent contrasts, where these are fewer."""
    rank = independent(rows)
    return f"{len(rows)} ({rank} independent)" if rank < len(rows) else str(len(rows))


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
