"""Which figures a set of records has, and the numbers that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from omrl_bench.report.figures.intervals import rank_figure, score_figure
from omrl_bench.report.figures.lines import episode_figure, learning_figure, profile_figure
from omrl_bench.report.figures.matrices import MOST_METHODS, dataset_figure, improvement_figure
from omrl_bench.report.figures.styles import shown
from omrl_bench.report.reading.frames import Results, ordered
from omrl_bench.report.representation import measure_frame, measure_table, trace_pictures
from omrl_bench.report.tables.captions import EPISODES, usual_sizes
from omrl_bench.report.tables.layout import Layout
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
        see :func:`omrl_bench.report.figures.styles.shown`); ``representation`` (csv, md) and, by method,
        ``embeddings-*``, ``paths-*`` and ``attention-*`` where records have such things. With one method there are no
        ranks and improvements, without learning curves no ``learning``, with given contexts no ``episodes``.
    """
    sizes = usual_sizes(summary)
    files = _named("score", score_figure(scores, sizes))
    profiles = performance_profiles(_only(groups, compared, shown(layout.methods)), THRESHOLDS, _RESAMPLES)
    files |= _named("profiles", profile_figure(profiles, layout, compared, sizes))
    files["profiles", "csv"] = _csv(profiles[profiles["threshold"] % _WRITTEN_EVERY == 0])
    scopes = _scopes(summary, layout, compared)
    if scopes:
        conditions = list(dict.fromkeys(quality for _, quality in scopes))
        ranks = rank_intervals(_only(groups, conditions, layout.methods))
        contestants = replace(layout, methods=_contestants(summary, layout, scopes))
        drawn = _only(groups, conditions, shown(contestants.methods, MOST_METHODS))
        improvements = improvement_matrix(drawn, _RESAMPLES)
        files |= _named("ranks", rank_figure(ranks, layout, scopes))
        files |= _named("improvement", improvement_figure(improvements, contestants, scopes))
        files |= {("ranks", "csv"): _csv(ranks), ("improvement", "csv"): _csv(improvements)}
    measured = measure_frame(results)
    if len(measured):
        files["representation", "csv"] = _csv(measured)
        files["representation", "md"] = measure_table(measured, layout, layout.qualities[0]).encode()
    files |= trace_pictures(results, layout)
    if len(results.curves):
        files |= _named("learning", learning_figure(results.curves, layout))
    if len(layout.qualities) > 1 and all(quality.startswith(EPISODES) for quality in layout.qualities):
        acting = any(quality.startswith("episode-") for quality in layout.qualities)  # elsewhere they only explore
        areas = area_under_episodes(results.frame) if acting else None
        files |= _named("episodes", episode_figure(summary, layout, sizes, areas))
    return files


def figures_across(summaries: Sequence[pd.DataFrame], layouts: Sequence[Layout], methods: Sequence[str] = ()) -> Files:
    """Draw the figure of sets of records that differ in their training data only.

    Args:
        summaries: Of each set.
        layouts: Of each set.
        methods: Order of methods; the rest follows.

    Returns:
        ``datasets`` in all formats; nothing if there is but one dataset.
    """
    families = dict.fromkeys(family for layout in layouts for family in layout.families if family != ALL)
    everywhere = {ALL} & {family for layout in layouts for family in layout.families}
    together = Layout(
        families=(*families, *everywhere),
        qualities=tuple(dict.fromkeys(quality for layout in layouts for quality in layout.qualities)),
        methods=tuple(ordered({method for layout in layouts for method in layout.methods}, methods)),
        marked=frozenset().union(*(layout.marked for layout in layouts)),
        references=frozenset().union(*(layout.references for layout in layouts)),
    )
    return _named("datasets", dataset_figure(pd.concat(summaries, ignore_index=True), together))


def _scopes(summary: pd.DataFrame, layout: Layout, compared: Sequence[str]) -> list[tuple[str, str]]:
    """The (family, quality) that methods are compared in: over all families if there is a mean over them."""
    if ALL in layout.families or len(layout.families) == 1:
        candidates = [(layout.families[-1], quality) for quality in compared]
    else:
        candidates = [(family, compared[0]) for family in layout.families]
    numbers = summary.groupby(["family", "quality"], observed=True)["method"].nunique()
    return [scope for scope in candidates if numbers.get(scope, 0) > 1]


def _contestants(summary: pd.DataFrame, layout: Layout, scopes: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The methods that have results in one of these scopes."""
    known = set(zip(summary["family"], summary["quality"], summary["method"], strict=True))
    return tuple(method for method in layout.methods if any((*scope, method) in known for scope in scopes))


def _only(groups: Panels, qualities: Sequence[str], methods: Sequence[str]) -> Panels:
    """Some panels; a mean over families stays that over all families, whichever methods are shown."""
    return {key: group for key, group in groups.items() if key.quality in qualities and key.method in methods}


def _named(stem: str, contents: Mapping[str, bytes]) -> Files:
    return {(stem, ending): content for ending, content in contents.items()}


def _csv(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False, lineterminator="\n", float_format="%.10g").encode()
