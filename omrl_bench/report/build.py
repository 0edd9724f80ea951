"""Write all tables and figures of a results folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from omrl_bench.errors import InputError
from omrl_bench.files import write_atomically
from omrl_bench.processes import process_pool, processors
from omrl_bench.report.extensions import extra_files
from omrl_bench.report.figures.pictures import Files, figures_across, figures_of, task_number_pictures
from omrl_bench.report.reading.frames import NoRecordsError, RecordFile, find_sets, read_set
from omrl_bench.report.reading.health import health_notes
from omrl_bench.report.reading.results import Results, SetKey
from omrl_bench.report.tables.boards import board_of, discrimination_table
from omrl_bench.report.tables.captions import are_episodes, main_condition
from omrl_bench.report.tables.costs import method_table
from omrl_bench.report.tables.gap import gap_tables
from omrl_bench.report.tables.layout import Layout, layout_of
from omrl_bench.report.tables.measures import measure_frame, measure_table
from omrl_bench.report.tables.text import csv, latex, markdown
from omrl_bench.report.tables.wide import Table, drop_table, return_table, robust_table, score_table, with_z_scores
from omrl_bench.stats.differences import drop_under_shift
from omrl_bench.stats.panels import Panels, panels
from omrl_bench.submissions.shelf import read_shelf

_WORTH_PROCESSES = 500  # records of all sets: below, processes take longer to start than they save
DROP_FROM, DROP_TO = "high", "low"
_ORDER = (("family", "families"), ("condition", "conditions"), ("method", "methods"))  # of rows in the CSV file


def build(
    results: Path,
    out: Path,
    suite: str | None = None,
    preset: str | None = None,
    warn: Callable[[str], object] = lambda line: None,
    reference: Path | None = None,
    submissions: Path | None = None,
) -> list[Path]:
    """Write the tables and figures of each suite and preset of a results folder to ``<out>/<suite>-<preset>``.

    Tables: ``score``, ``return`` and ``drop`` as ``md`` and ``tex``, scores also as ``csv`` (long form, all numbers);
    ``robust``, mean, interquartile mean and ratio of sums in the last episode, where methods collect their contexts;
    ``discrimination`` as ``md`` and ``csv``; ``collapsed.csv`` where seeds collapsed; scores beside the costs of
    training as ``methods.md``. Drops are left out if there are no contexts of high and low
    quality. ``gap.md`` where a suite that extends this one has the same methods on the training tasks; figure
    ``training-tasks`` where presets of a shipped suite differ in their number.

    Figures as ``svg``, ``pdf`` and ``png``: see :func:`omrl_bench.report.figures.pictures.figures_of`. If a suite has
    several datasets or backbones, these names end in ``-<dataset>-<backbone>``, and the figure ``datasets``, which
    shows all datasets, in ``-<backbone>``. The same records make the same bytes.

    What installed packages add is beside these (:mod:`omrl_bench.report.extensions`).

    Many records are rendered in several processes; a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        results: Folder of records.
        out: Folder to write to.
        suite: Only this suite.
        preset: Only this preset.
        warn: Called with a line for each file that cannot be used, for what failed of other packages and for each
            method whose representation is not healthy, before anything is written.
        reference: Another results folder, whose methods are shown beside, see
            :func:`omrl_bench.report.reading.frames.read`.
        submissions: Folder of merged submissions, whose rows are shown too.

    Returns:
        The files written.

    Raises:
        InputError: if there are no complete records, or those of a suite and preset do not fit together; the others'
            files are written nevertheless.
    """
    shelf_lines: list[str] = []
    submitted = read_shelf(submissions, shelf_lines.append) if submissions else ()
    sets, lines = find_sets(results, suite, preset, reference, submitted)
    outcomes = _of_each(partial(_read_and_render, results), sets.items(), list(map(len, sets.values())))
    for line in sorted([*shelf_lines, *lines, *(line for outcome in outcomes for line in outcome.lines)]):  # by path
        warn(line)
    if all(outcome.rendered is None for outcome in outcomes):
        raise NoRecordsError(results, suite, preset)
    return _write_all(outcomes, out)


def build_read(sets: Sequence[Results], out: Path) -> list[Path]:
    """Write the same as :func:`build`, of records that have been read.

    Args:
        sets: From :func:`omrl_bench.report.reading.frames.collect`.
        out: Folder to write to.

    Raises:
        InputError: if the records of a set do not fit together; the others' files are written nevertheless.
    """
    return _write_all(_of_each(_rendered, [(each,) for each in sets], [len(each.records) for each in sets]), out)


@dataclass(frozen=True)
class _Rendered:
    """One set of records: its files, and what figures of several sets are made of."""

    key: SetKey
    files: Files
    groups: Panels
    summary: pd.DataFrame
    layout: Layout


class _Outcome(NamedTuple):
    """A set; or None if it has no complete record, or why it cannot be rendered. And a line for each unusable file."""

    rendered: _Rendered | str | None
    lines: list[str]


def _of_each(work: Callable[..., _Outcome], sets: Iterable[tuple[object, ...]], sizes: Sequence[int]) -> list[_Outcome]:
    """Do the work for every set, given as arguments, of so many records; many in processes of their own."""
    sets = list(sets)
    processes = min(len(sets), processors())
    if processes <= 1 or sum(sizes) < _WORTH_PROCESSES:
        return [work(*each) for each in sets]
    with process_pool(processes) as pool:
        largest_first = sorted(range(len(sets)), key=lambda index: sizes[index], reverse=True)
        futures = {index: pool.submit(work, *sets[index]) for index in largest_first}
        return [futures[index].result() for index in range(len(sets))]


def _read_and_render(results: Path, key: SetKey, files: Sequence[RecordFile]) -> _Outcome:
    found, lines = read_set(results, key, files)
    if found is None:
        return _Outcome(None, lines)
    outcome = _rendered(found)
    return outcome._replace(lines=[*lines, *outcome.lines])


def _rendered(found: Results) -> _Outcome:
    if found.frame.empty:
        return _Outcome(None, [])
    try:
        rendered = _render(found)
    except ValueError as error:  # costs this set only
        return _Outcome(f"cannot report suite {found.suite!r}, preset {found.preset!r}: {error}", [])
    extra, problems = extra_files(found, rendered.layout)
    rendered.files.update(extra)
    return _Outcome(rendered, [*problems, *map(str, health_notes(found.records))])


def _write_all(outcomes: Sequence[_Outcome], out: Path) -> list[Path]:
    """Add what is seen across sets of records, and write everything; InputError for what cannot be rendered."""
    every = [outcome.rendered for outcome in outcomes if isinstance(outcome.rendered, _Rendered)]
    problems = [outcome.rendered for outcome in outcomes if isinstance(outcome.rendered, str)]
    sets = [each.key for each in every]
    layouts = [each.layout for each in every]
    for index, pictures in task_number_pictures(sets, [each.summary for each in every], layouts).items():
        every[index].files.update({("training-tasks", ending): content for ending, content in pictures.items()})
    for index, text in gap_tables(sets, [each.groups for each in every], layouts).items():
        every[index].files["gap", "md"] = text.encode()
    in_folder = Counter((key.suite, key.preset) for key in sets)
    across: dict[tuple[str, str, str], list[_Rendered]] = defaultdict(list)
    paths = []
    for each in every:
        suite, preset, dataset, backbone = each.key
        several = in_folder[suite, preset] > 1
        paths += _write(each.files, out, suite, preset, f"-{dataset}-{backbone}" if several else "")
        if several:
            across[suite, preset, backbone].append(each)
    for (suite, preset, backbone), group in across.items():
        files = figures_across([each.summary for each in group], [each.layout for each in group])
        paths += _write(files, out, suite, preset, f"-{backbone}")
    if problems:
        raise InputError("; ".join(problems) + ("; the rest is written" if paths else ""))
    return paths


def _write(files: Files, out: Path, suite: str, preset: str, suffix: str) -> list[Path]:
    folder = out / _file_name(f"{suite}-{preset}")
    paths = []
    for (stem, ending), content in files.items():
        path = folder / f"{stem}{_file_name(suffix)}.{ending}"
        write_atomically(path, content)
        paths.append(path)
    return paths


def _render(results: Results) -> _Rendered:
    """Contents of all files of one set, by stem and ending."""
    groups = panels(results.frame)
    board = board_of(groups)
    summary = board.summary
    layout = layout_of(results, summary, board.discrimination)
    scores = score_table(results, summary, layout)
    tables: dict[str, Table] = {"score": with_z_scores(scores, summary)}
    tables["return"] = return_table(results, summary, layout)
    if are_episodes(layout.conditions):
        tables["robust"] = robust_table(results, summary, layout, main_condition(layout.conditions))
    if {DROP_FROM, DROP_TO} <= set(layout.conditions):
        drops = drop_under_shift(groups, DROP_FROM, DROP_TO)
        if len(drops):
            tables["drop"] = drop_table(results, drops, layout)
    first, last, main = layout.conditions[0], layout.conditions[-1], main_condition(layout.conditions)
    pair = (DROP_FROM, DROP_TO) if "drop" in tables else (first if main == last else main, last)
    compared = tuple(dict.fromkeys(pair))
    files: Files = {("methods", "md"): method_table(results, summary, layout, compared).encode()}
    for stem, table in tables.items():
        label = f"{results.suite}-{results.preset}-{results.dataset}-{results.backbone}-{stem}"
        files[stem, "md"] = markdown(table).encode()
        files[stem, "tex"] = latex(table, label).encode()
    order = {name: {value: rank for rank, value in enumerate(getattr(layout, plural))} for name, plural in _ORDER}
    long = summary.sort_values([name for name, _ in _ORDER], key=lambda column: column.map(order[column.name]))
    long["privileges"] = [" ".join(results.privileges.get(method, ())) for method in long["method"]]
    files["score", "csv"] = csv(long)
    files["discrimination", "csv"] = csv(board.discrimination)
    files["discrimination", "md"] = discrimination_table(board.discrimination, layout).encode()
    if len(board.collapsed):
        files["collapsed", "csv"] = csv(board.collapsed)
    measured = measure_frame(results)
    if len(measured):
        files["representation", "csv"] = csv(measured)
        files["representation", "md"] = measure_table(measured, summary, layout, first).encode()
    files |= figures_of(results, groups, summary, layout, scores, compared)
    return _Rendered(
        SetKey(results.suite, results.preset, results.dataset, results.backbone), files, groups, summary, layout
    )


def _file_name(name: str) -> str:
    """Make a name from a record safe as part of a file name."""
    return re.sub(r"[^\w.+-]+", "_", name)
