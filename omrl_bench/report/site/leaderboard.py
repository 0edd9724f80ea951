"""The leaderboard as data: from records to what ``leaderboard.json`` holds and the page shows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from omrl_bench.protocols.suite import Suite
from omrl_bench.registry import is_built_in
from omrl_bench.report.reading.frames import NoRecordsError, collect
from omrl_bench.report.reading.groups import CONTROLS, ordered
from omrl_bench.report.reading.provenance import COMPARABLE, expected_seeds, shipped
from omrl_bench.report.reading.results import Note, Results
from omrl_bench.report.site.models import Badge, Board, BoardEntry, Discrimination, Leaderboard, Notes, Run
from omrl_bench.report.tables.boards import board_of
from omrl_bench.report.tables.captions import condition_word, main_condition
from omrl_bench.runner.equivalences import Equivalences
from omrl_bench.runner.known_tasks import known_tasks
from omrl_bench.runner.records import Record
from omrl_bench.runner.references import shipped_records
from omrl_bench.stats.panels import ALL, panels
from omrl_bench.stats.ranks import rank_intervals
from omrl_bench.submissions.shelf import read_shelf

#: Names in a summary and in an entry, and decimals kept.
_VALUES = (
    ("score_mean", "score", 2),
    ("score_iqm", "iqm", 2),
    ("score_ratio", "ratio", 2),
    ("z", "z", 3),
    ("return_mean", "return_mean", 4),
)
_ENDS = ("", "_low", "_high")
_FROM_WORST: tuple[Badge, ...] = ("self-reported", "verified", "reference")


def leaderboard(
    results: Path,
    suite: str | None = None,
    preset: str | None = None,
    warn: Callable[[str], object] = lambda line: None,
    submissions: Path | None = None,
) -> Leaderboard:
    """Make the leaderboard of a results folder. The same records make the same leaderboard.

    Args:
        results: Folder of records.
        suite: Only this suite.
        preset: Only this preset.
        warn: Called with a line for each file that cannot be used.
        submissions: Folder of merged submissions, whose rows are shown too.

    Raises:
        InputError: if there are no complete records.
    """
    submitted = read_shelf(submissions, warn) if submissions else ()
    sets = collect(results, suite, preset, warn, submissions=submitted)
    if not any(len(each.frame) for each in sets):
        raise NoRecordsError(results, suite, preset)
    boards: dict[tuple[str, str], list[_TableOf]] = defaultdict(list)
    runs: list[Run] = []
    entries: list[BoardEntry] = []
    for each in sets:
        numbers = _numbers(each) if len(each.frame) else None
        if isinstance(numbers, str):
            each = replace(each, frame=each.frame[:0], notes=(*each.notes, Note(numbers)))
        of_table = _runs(each)
        positions = {(run.family, run.method): len(runs) + position for position, run in enumerate(of_table)}
        runs += of_table
        discrimination: list[Discrimination] = []
        if isinstance(numbers, _Numbers):
            entries += _entries(numbers.rows, positions)
            discrimination = _discrimination(each, numbers.discrimination)
        families = tuple(sorted({run.family for run in of_table} - {ALL}))
        boards[each.suite, each.preset].append(_TableOf(each, families, discrimination))
    return Leaderboard(
        boards=tuple(_board(*key, tables) for key, tables in boards.items()), runs=tuple(runs), entries=tuple(entries)
    )


class _Numbers(NamedTuple):
    """Of one table: summary with ranks, and how well it discriminates."""

    rows: pd.DataFrame
    discrimination: pd.DataFrame


class _TableOf(NamedTuple):
    """One table of a board."""

    results: Results
    families: tuple[str, ...]
    discrimination: list[Discrimination]


def _numbers(results: Results) -> _Numbers | str:
    """The numbers of a table; or why its records do not fit together, which costs that table only."""
    try:
        groups = panels(results.frame)
        board, ranks = board_of(groups), rank_intervals(groups)
    except ValueError as error:
        return f"not shown: {error}"
    keys = ["family", "condition", "method"]
    columns = [*keys, "rank", "rank_low", "rank_high", "could_be_best"]
    rows = board.summary.merge(ranks[columns], on=keys, validate="one_to_one")
    return _Numbers(rows, board.discrimination)


def _discrimination(results: Results, boards: pd.DataFrame) -> list[Discrimination]:
    decimals = {"between": 2, "error": 2, "reliability": 3, "reliability_new": 3, "rank_agreement": 3}
    return [
        Discrimination(
            dataset=results.dataset,
            backbone=results.backbone,
            **{name: row[name] for name in ("family", "condition", "methods", "discriminates")},
            **{name: _rounded(row[name], places) for name, places in decimals.items()},
            at_oracle=None if pd.isna(row["at_oracle"]) else int(row["at_oracle"]),
        )
        for row in boards.to_dict("records")
    ]


def _board(suite: str, preset: str, tables: Sequence[_TableOf]) -> Board:
    frames = [table.results.frame for table in tables if len(table.results.frame)]
    conditions = tuple(dict.fromkeys(name for frame in frames for name in frame["condition"].unique()))
    families = sorted({family for table in tables for family in table.families})
    of_package = shipped(suite)
    return Board(
        suite=suite,
        preset=preset,
        title=of_package.title if of_package else suite,
        kind=condition_word(conditions),
        conditions=conditions,
        main_condition=main_condition(conditions) if conditions else "",
        families=(*([ALL] if len(families) > 1 else []), *families),
        tables=tuple(
            Notes(dataset=results.dataset, backbone=results.backbone, notes=tuple(map(str, results.notes)))
            for results, *_ in tables
        ),
        discrimination=tuple(row for table in tables for row in table.discrimination),
    )


def _entries(rows: pd.DataFrame, positions: Mapping[tuple[str, str], int]) -> list[BoardEntry]:
    """All numbers of a table."""
    return [
        BoardEntry(
            run=positions[row["family"], row["method"]],
            condition=row["condition"],
            rank=row["rank"],
            rank_low=row["rank_low"],
            rank_high=row["rank_high"],
            could_be_best=row["could_be_best"],
            **{
                f"{new}{end}": _rounded(row[f"{old}{end}"], decimals) for old, new, decimals in _VALUES for end in _ENDS
            },
            seeds=row["n_seeds"],
            tasks=row["n_tasks"],
            draws=row["n_draws"],
            collapsed=tuple(row["collapsed"].split()),
        )
        for row in rows.to_dict("records")
    ]


def _runs(results: Results) -> list[Run]:
    """A run for each method and family that has any record, and means over the families if there are several."""
    records = results.every
    kept = set(results.frame[["family", "method", "seed"]].drop_duplicates().itertuples(index=False, name=None))
    groups: dict[tuple[str, str], list[Record]] = {}
    families = sorted({record.cell.family for record in records})
    methods = ordered({record.cell.method for record in records})
    for record in records:
        cell = record.cell
        if (cell.family, cell.method, cell.seed) in kept:
            groups.setdefault((cell.family, cell.method), []).append(record)
    wanted = expected_seeds(results.suite, results.preset, records)
    suite = shipped(results.suite)
    runs = [
        _run(results, suite, family, method, groups.get((family, method), []), wanted[family])
        for method in methods
        for family in families
    ]
    averaged = {family for family, _ in groups}  # a family that no method has results of is in nobody's mean
    if len(averaged) < 2:
        return runs
    expected = families if suite is None or results.preset not in suite.presets else suite.families_of(results.preset)
    absent = sorted({*families, *expected} - averaged)
    of_method = {method: [run for run in runs if run.method == method and run.family in averaged] for method in methods}
    return [*(_mean_run(members, absent) for members in of_method.values()), *runs]


def _run(
    results: Results, suite: Suite | None, family: str, method: str, records: Sequence[Record], wanted: set[int]
) -> Run:
    """One row, from the records whose numbers count and the seeds that the table has of the family."""
    doubts = _doubts(suite, results.preset, family, results.equal.applied(records), results.equal)
    seeds = {record.cell.seed for record in records}
    costs = (
        ("parameters", [record.parameters for record in records]),
        ("training_seconds", [record.fit_seconds / max(1, len(record.trained_together)) for record in records]),
        ("memory_mib", [record.peak_memory_mib for record in records]),
    )
    origin_and_costs: dict[str, Any] = _origin(results, method, records, doubts)
    for name, values in costs:
        origin_and_costs[name] = _rounded(pd.Series(values, dtype=float).median(), 2) or None
    return Run(
        suite=results.suite,
        preset=results.preset,
        dataset=results.dataset,
        backbone=results.backbone,
        family=family,
        method=method,
        control=method in CONTROLS,
        privileges=results.privileges.get(method, ()),
        status="missing" if not seeds else "partial" if wanted - seeds else "complete",
        reasons=tuple(note.reason for note in results.notes if note.reason and note[1:3] == (family, method)),
        doubts=tuple(doubts),
        created=max((record.created for record in records), default=None),
        versions=_joined(record.versions for record in records),
        **origin_and_costs,
    )


def _origin(results: Results, method: str, records: Sequence[Record], doubts: Sequence[str]) -> dict[str, Any]:
    """Where a row comes from: its badge, and the commit of its own code.

    Only the maintainers' files make a badge: the package's own results folder and methods, and the list of merged rows.
    The commit in a record is that of the harness; it is that of the method, too, if the method is one of the package.
    """
    submitted = results.submitted.get(method)
    fields: dict[str, Any] = dict.fromkeys(("verified", "ruleset", "tuning_episodes", "paper"))
    if submitted is not None:
        said, verified = submitted.declaration, submitted.row.verified
        fields |= {"verified": verified, "ruleset": said.ruleset, "paper": said.paper or None}
        fields |= {"tuning_episodes": said.effort.tuning_episodes}
        badge: Badge = "verified" if verified else "self-reported"
        return fields | {"badge": badge, "commits": tuple(filter(None, [said.code.commit]))}
    if not is_built_in(method):
        return fields | {"badge": "self-reported", "commits": ()}
    commits = {str(record.git["commit"]) for record in records if record.git.get("commit")}
    own = shipped_records()
    of_package = own is not None and results.folders.get(method, Path()).resolve() == own
    return fields | {
        "badge": "reference" if of_package and not doubts else "self-reported",
        "commits": tuple(sorted(commits)),
    }


def _mean_run(members: Sequence[Run], absent: Sequence[str]) -> Run:
    """The row of family ``all`` from the rows of the families, and families of the suite without any results."""
    lacking = [run.family for run in members if run.status == "missing"]
    badge = min((run.badge for run in members), key=_FROM_WORST.index)
    reasons = [f"no mean over the families: nothing from {', '.join(lacking)}"] if lacking else []
    statuses = {run.status for run in members}
    worst = next(status for status in ("missing", "partial", "complete") if status in statuses)
    costs: dict[str, Any] = {}
    for name in ("parameters", "training_seconds", "memory_mib"):
        values = [getattr(run, name) for run in members if getattr(run, name) is not None]
        costs[name] = _rounded(sum(values) / len(values), 2) if values else None
    return members[0].model_copy(
        update={
            "family": ALL,
            "status": worst,
            "reasons": (*reasons, *(f"{run.family}: {reason}" for run in members for reason in run.reasons)),
            "badge": "self-reported" if absent and badge == "reference" else badge,
            "doubts": (
                *(f"{run.family}: {doubt}" for run in members for doubt in run.doubts),
                *(f"{family}: not in the mean, nobody has results" for family in absent),
            ),
            "created": max((run.created for run in members if run.created), default=None),
            "versions": _joined(run.versions for run in members),
            "commits": tuple(sorted({commit for run in members for commit in run.commits})),
            **costs,
        }
    )


def _doubts(suite: Suite | None, preset: str, family: str, records: Sequence[Record], equal: Equivalences) -> list[str]:
    """What speaks against comparing these records of one method and family; see :data:`BADGE_NOTE`."""
    if not records:
        return ["there are no results"]
    doubts = []
    if suite is None or preset not in suite.presets:
        doubts.append("no suite and preset of this package: nothing says which seeds belong to it")
    else:
        lacking = sorted(set(suite.presets[preset].seeds) - {record.cell.seed for record in records})
        if lacking:
            doubts.append(f"without seeds {', '.join(map(str, lacking))} of the suite")
        now = equal.representative("suite", suite.fingerprint(preset, family))
        if {record.hashes.suite for record in records} != {now}:
            doubts.append("run by another version of the suite than this package has")
        if _are_of_other_tasks(family, records):
            doubts.append("evaluated on tasks or reference returns that this package does not have")
    if len({record.hashes.method for record in records}) > 1:
        doubts.append("the seeds were run with different versions of the method")
    status = sorted({record.dataset_status for record in records} - set(COMPARABLE))
    if status:
        doubts.append(f"trained on data of status {', '.join(status)}")
    if any(record.trained_elsewhere is not None for record in records):
        doubts.append("trained elsewhere: self-reported")
    if any(record.content is None for record in records):
        doubts.append("without a content hash: a change by hand would not be seen")
    if any(not record.git.get("commit") for record in records):
        doubts.append("the commit of the code is not known")
    elif any(record.git.get("dirty") is not False for record in records):
        doubts.append("the code had changes that were not committed")
    return doubts


def _are_of_other_tasks(family: str, records: Sequence[Record]) -> bool:
    known = known_tasks(family)
    return known is None or not {record.hashes.tasks for record in records} <= set(known.splits)


def _joined(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Versions of packages, those that differ with commas."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in versions:
        for package, version in each.items():
            found[package].update(version.split(", "))
    return {package: ", ".join(sorted(found[package])) for package in sorted(found)}


def _rounded(value: float, decimals: int) -> Any:
    """The number, or None if it is NaN."""
    return round(float(value), decimals) + 0.0 if math.isfinite(value) else None  # no -0.0
