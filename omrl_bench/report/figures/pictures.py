"""Which figures a set of records has, and the numbers that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from omrl_bench.conditions import EPISODE, Condition
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import Preset, load_suite
from omrl_bench.report.figures.intervals import rank_figure, score_figure
from omrl_bench.report.figures.lines import episode_figure, learning_figure, profile_figure, task_number_figure
from omrl_bench.report.figures.matrices import MOST_METHODS, dataset_figure, improvement_figure
from omrl_bench.report.figures.styles import shown
from omrl_bench.report.figures.traces import trace_pictures
from omrl_bench.report.reading.groups import ordered
from omrl_bench.report.reading.results import Results, SetKey
from omrl_bench.report.tables.captions import usual_sizes
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.text import csv
from omrl_bench.report.tables.wide import Table
from omrl_bench.stats.comparison import improvement_matrix
from omrl_bench.stats.episodes import area_under_episodes
from omrl_bench.stats.panels import ALL, Panels
from omrl_bench.stats.ranks import performance_profiles, rank_intervals

Files = dict[tuple[str, str], bytes]  # by stem and ending

THRESHOLDS = tuple(range(-20, 121, 4))  # of performance profiles
_WRITTEN_EVERY = 20  # of their thresholds, those in the CSV file are multiples of it
_RESAMPLES = 1_000  # for intervals that are drawn as bands or decide on bold print: there are very many of them


def figures_of(
    results: Results, groups: Panels, summary: pd.DataFrame, layout: Layout, scores: Table, compared: Sequence[str]
) -> Files:
    """Draw all figures of one set of records, each where its records exist.

    Args:
        results: The records.
        groups: Their panels.
        summary: See :func:`omrl_bench.stats.summary.summarise`.
        layout: Order of everything.
        scores: The score table.
        compared: One or two context qualities that profiles, ranks and improvements are shown for.

    Returns:
        ``score``, ``profiles``, ``ranks``, ``improvement``, ``learning`` and ``episodes`` in all formats, and
        ``profiles.csv``, ``ranks.csv``, ``improvement.csv`` (profiles and improvements of the methods that are drawn;
        see :func:`omrl_bench.report.figures.styles.shown`); and, by method, ``embeddings-*``,
        ``paths-*`` and ``attention-*`` where records have such things. With one method there are no ranks and
        improvements, without learning curves no ``learning``, with nothing but given contexts no ``episodes``.
    """
    sizes = usual_sizes(summary)
    files = _named("score", score_figure(scores, sizes))
    profiles = performance_profiles(_only(groups, compared, shown(layout.methods)), THRESHOLDS, _RESAMPLES)
    files |= _named("profiles", profile_figure(profiles, layout, compared, sizes))
    files["profiles", "csv"] = csv(profiles[profiles["threshold"] % _WRITTEN_EVERY == 0])
    scopes = _scopes(summary, layout, compared)
    if scopes:
        conditions = list(dict.fromkeys(condition for _, condition in scopes))
        ranks = rank_intervals(_only(groups, conditions, layout.methods))
        contestants = replace(layout, methods=_contestants(summary, layout, scopes))
        drawn = _only(groups, conditions, shown(contestants.methods, MOST_METHODS))
        improvements = improvement_matrix(drawn, _RESAMPLES)
        files |= _named("ranks", rank_figure(ranks, layout, scopes))
        files |= _named("improvement", improvement_figure(improvements, contestants, scopes))
        files |= {("ranks", "csv"): csv(ranks), ("improvement", "csv"): csv(improvements)}
    files |= trace_pictures(results, layout)
    if len(results.curves):
        files |= _named("learning", learning_figure(results.curves, layout))
    columns = [Condition.parse(condition) for condition in layout.conditions]
    if len(columns) > 1 and not all(condition.given for condition in columns):
        acting = any(condition.kind == EPISODE for condition in columns)  # elsewhere they only explore
        areas = area_under_episodes(results.frame) if acting else None
        files |= _named("episodes", episode_figure(summary, layout, sizes, areas))
    return files


def figures_across(summaries: Sequence[pd.DataFrame], layouts: Sequence[Layout]) -> Files:
    """Draw the figure of sets of records that differ in their training data only.

    Args:
        summaries: Of each set.
        layouts: Of each set.

    Returns:
        ``datasets`` in all formats; nothing if there is but one dataset.
    """
    families = dict.fromkeys(family for layout in layouts for family in layout.families if family != ALL)
    everywhere = {ALL} & {family for layout in layouts for family in layout.families}
    together = Layout(
        families=(*families, *everywhere),
        conditions=tuple(dict.fromkeys(condition for layout in layouts for condition in layout.conditions)),
        methods=tuple(ordered(method for layout in layouts for method in layout.methods)),
        marked=frozenset().union(*(layout.marked for layout in layouts)),
        reference=frozenset().union(*(layout.reference for layout in layouts)),
    )
    return _named("datasets", dataset_figure(pd.concat(summaries, ignore_index=True), together))


def task_number_pictures(
    sets: Sequence[SetKey], summaries: Sequence[pd.DataFrame], layouts: Sequence[Layout]
) -> dict[int, dict[str, bytes]]:
    """Draw scores by the number of training tasks, where presets of a shipped suite differ in it.

    Args:
        sets: Which sets of records there are.
        summaries: Of each set.
        layouts: Of each set.

    Returns:
        The files' contents by format, by the position of the set with the most training tasks.
    """
    groups: dict[tuple[str, str, str, str], dict[int, int]] = {}
    for index, each in enumerate(sets):
        preset = _preset(each)
        if preset and preset.train_tasks:
            budget = f"{preset.updates} {preset.family_updates} {preset.encoder_updates} {preset.seeds}"
            groups.setdefault((each.suite, each.dataset, each.backbone, budget), {})[preset.train_tasks] = index
    pictures = {}
    for by_count in groups.values():
        if len(by_count) < 2:
            continue
        most = by_count[max(by_count)]
        condition = layouts[most].conditions[0]
        rows = []
        for count, index in sorted(by_count.items()):
            summary = summaries[index]
            here = summary[(summary["condition"] == condition) & (summary["family"] != ALL)]
            rows.append(here.assign(train_tasks=count))
        table = pd.concat(rows, ignore_index=True)
        columns = {"score_mean": "score", "score_mean_low": "low", "score_mean_high": "high"}
        several = table.groupby(["family", "method"], observed=True)["train_tasks"].transform("nunique") > 1
        scores = table[several].rename(columns=columns)
        if len(scores):
            note = f"Context quality {condition}; test tasks are always the same."
            pictures[most] = task_number_figure(scores, layouts[most], note)
    return pictures


def _scopes(summary: pd.DataFrame, layout: Layout, compared: Sequence[str]) -> list[tuple[str, str]]:
    """The (family, condition) that methods are compared in: over all families if there is a mean over them."""
    if ALL in layout.families or len(layout.families) == 1:
        candidates = [(layout.families[-1], condition) for condition in compared]
    else:
        candidates = [(family, compared[0]) for family in layout.families]
    numbers = summary.groupby(["family", "condition"], observed=True)["method"].nunique()
    return [scope for scope in candidates if numbers.get(scope, 0) > 1]


def _contestants(summary: pd.DataFrame, layout: Layout, scopes: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The methods that have results in one of these scopes."""
    known = set(zip(summary["family"], summary["condition"], summary["method"], strict=True))
    return tuple(method for method in layout.methods if any((*scope, method) in known for scope in scopes))


def _only(groups: Panels, conditions: Sequence[str], methods: Sequence[str]) -> Panels:
    """Some panels; a mean over families stays that over all families, whichever methods are shown."""
    return {key: group for key, group in groups.items() if key.condition in conditions and key.method in methods}


def _named(stem: str, contents: Mapping[str, bytes]) -> Files:
    return {(stem, ending): content for ending, content in contents.items()}


def _preset(key: SetKey) -> Preset | None:
    """The preset of a shipped suite."""
    try:
        return load_suite(key.suite).preset(key.preset)[1]
    except InputError:
        return None
