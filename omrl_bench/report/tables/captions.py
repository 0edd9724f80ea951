"""Sentences that tables and figures share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from omrl_bench.conditions import Condition
from omrl_bench.report.reading.groups import ordered
from omrl_bench.report.tables.layout import ALMOST, COLLAPSED, DAGGER, Layout
from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.collapse import DEVIATIONS, POINTS
from omrl_bench.stats.discrimination import RELIABLE
from omrl_bench.stats.panels import ALL

TIMES = "\N{MULTIPLICATION SIGN}"
MISSING = "\N{EN DASH}"
SCORE_NOTE = "Score = 100 (R - random) / (expert - random), per task: 0 is the random policy, 100 the expert."
INTERVAL_NOTE = (
    f"[low, high]: {100 * CONFIDENCE:.0f} % interval of a mean for new seeds and new tasks (crossed random effects); "
    "with one seed it covers tasks only."
)

Z_NOTE = (
    "all (z): mean over the families of (score - mean) / standard deviation, both over the methods of the family and "
    "condition without controls. Every family counts alike, which in the mean of scores it does not; the interval "
    "takes mean and deviation as known."
)
RATIO_NOTE = (
    "IQM: mean of the middle half of all seed-task pairs. Ratio of sums: 100 sum(R - random) / sum(expert - random), "
    "sums over tasks. A few tasks where very little is to be gained, or lost, move them less than the mean."
)

Sizes = tuple[int, int, int]  # seeds, tasks, draws
_SIZES = ("n_seeds", "n_tasks", "n_draws")


def are_episodes(conditions: Sequence[str]) -> bool:
    """Whether a method collects its contexts itself under some of the conditions; given ones are bounds then."""
    return not all(Condition.parse(name).given for name in conditions)


def main_condition(conditions: Sequence[str]) -> str:
    """What a board is sorted by: the last episode, which adaptation ends with, or the first of contexts that are given.

    Args:
        conditions: In order; one at least.
    """
    own = [name for name in conditions if not Condition.parse(name).given]
    return own[-1] if own else conditions[0]


def condition_word(conditions: Sequence[str]) -> str:
    """What the columns of a table are: context qualities, or episodes where a method collects its contexts itself."""
    return "episode" if are_episodes(conditions) else "context quality"


def privilege_note(privileges: Mapping[str, tuple[str, ...]]) -> str:
    """Say which methods are marked, and why."""
    methods = (f"{method} ({', '.join(privileges[method])})" for method in ordered(privileges))
    return f"{DAGGER} sees more than the training data and the context: {'; '.join(methods)}."


def collapse_note(summary: pd.DataFrame, layout: Layout) -> list[str]:
    """Name the collapsed seeds; nothing where there are none.

    Args:
        summary: With a column ``collapsed``, see :func:`omrl_bench.report.tables.boards.board_of`; none without it.
        layout: Order of the methods.
    """
    if "collapsed" not in summary:
        return []
    rows = summary[(summary["family"] != ALL) & (summary["collapsed"] != "")]
    found: dict[tuple[str, int, str], dict[str, list[str]]] = {}
    columns = rows[["family", "method", "condition", "collapsed"]]
    for family, method, condition, seeds in columns.itertuples(index=False, name=None):
        of_row = found.setdefault((family, layout.methods.index(method), method), {})
        for seed in seeds.split():
            of_row.setdefault(seed, []).append(condition)
    texts = [
        f"{family} / {method} " + ", ".join(f"{seed} ({', '.join(where)})" for seed, where in of_row.items())
        for (family, _, method), of_row in sorted(found.items())
    ]
    rule = f"more than {POINTS:g} points and {DEVIATIONS:g} usual deviations below the median of the method's seeds"
    return [f"{COLLAPSED} collapsed seeds, {rule}: {'; '.join(texts)}."] if texts else []


def discrimination_note(layout: Layout) -> list[str]:
    """Say which columns do not discriminate; nothing where all do, or it is not known."""
    weak = [
        f"{family} {condition} {layout.unreliable[family, condition]:.2f}"
        for family in layout.families
        for condition in layout.conditions
        if (family, condition) in layout.unreliable
    ]
    said = f"{ALMOST} does not discriminate: trained again, the methods would often be in another order (reliability"
    return [f"{said} below {RELIABLE}): {', '.join(weak)}."] if weak else []


def usual_sizes(rows: pd.DataFrame) -> dict[str, Sizes]:
    """The most common (seeds, tasks, draws) of each family, without :data:`ALL`.

    Args:
        rows: Summary or drops, with columns ``family``, ``n_seeds``, ``n_tasks``, ``n_draws``.
    """
    rows = rows[rows["family"] != ALL]
    return {
        str(family): max(sorted(Counter(_sizes(group)).items(), reverse=True), key=lambda item: item[1])[0]
        for family, group in rows.groupby("family")
    }


def sizes_text(sizes: Sizes, words: bool = True) -> str:
    """Write sample sizes: ``5 seeds x 20 tasks x 10 draws``, or ``5 x 20 x 10``, with multiplication signs."""
    if not words:
        return f" {TIMES} ".join(map(str, sizes))
    return f" {TIMES} ".join(
        f"{n} {word}{'s' * (n != 1)}" for n, word in zip(sizes, ("seed", "task", "draw"), strict=True)
    )


def sample_note(rows: pd.DataFrame, layout: Layout) -> str:
    """Say how many seeds, tasks and draws each family has, and which methods have other numbers."""
    usual = usual_sizes(rows)
    families: dict[Sizes, list[str]] = {}
    for family in layout.families:
        if family in usual:
            families.setdefault(usual[family], []).append(family)
    parts = [sizes_text(sizes) + (f" ({', '.join(of)})" if len(families) > 1 else "") for sizes, of in families.items()]
    found = rows[["family", "method", *_SIZES]].drop_duplicates().itertuples(index=False, name=None)
    order = {method: index for index, method in enumerate(layout.methods)}
    unusual = [(family, order[method], method, sizes) for family, method, *sizes in found if family in usual]
    others = [
        f"{family} / {method} {sizes_text(tuple(sizes), words=False)}"
        for family, _, method, sizes in sorted(unusual)
        if tuple(sizes) != usual[family]
    ]
    return f"n = {'; '.join(parts)}." + (f" Other numbers: {'; '.join(others)}." if others else "")


def _sizes(rows: pd.DataFrame) -> list[Sizes]:
    columns = rows[list(_SIZES)]
    return [(int(seeds), int(tasks), int(draws)) for seeds, tasks, draws in columns.itertuples(index=False)]
