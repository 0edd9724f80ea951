"""From records to tidy frames, with notes on everything that is missing from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from omrl_bench.api import STAGES
from omrl_bench.errors import InputError, RecordError
from omrl_bench.report.reading.accepted import check_accepted
from omrl_bench.report.reading.groups import ordered
from omrl_bench.report.reading.health import health_notes
from omrl_bench.report.reading.provenance import expected_seeds, forged, one_version, provenance, unlike_the_others
from omrl_bench.report.reading.results import (
    COLUMNS,
    COST_COLUMNS,
    CURVE_COLUMNS,
    NAMES,
    NO_RESULTS,
    REFERENCE,
    SELF_REPORTED,
    VERIFIED,
    Note,
    Reading,
    Results,
    SetKey,
    on_row,
)
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.equivalences import read_equivalences
from omrl_bench.runner.records import (
    LONGEST_TEXT,
    RECORD_DEPTH,
    Cell,
    Record,
    read_cube_beside,
    read_record_of,
    record_files,
)
from omrl_bench.submissions.shelf import Submitted


class NoRecordsError(InputError):
    """A results folder has no complete records, of this suite and preset if they are named."""

    def __init__(self, results: Path, suite: str | None = None, preset: str | None = None) -> None:
        of = "".join(f" of {kind} {name!r}" for kind, name in (("suite", suite), ("preset", preset)) if name)
        super().__init__(f"{results} has no complete records{of}; run a suite first")


class RecordFile(NamedTuple):
    """A file that is called like a record, the results folder that it lies in, and the submission that it is of."""

    results: Path
    path: Path
    submitted: Submitted | None = None

    def key(self) -> SetKey:
        """The set that its place says, see :meth:`omrl_bench.runner.records.Cell.folder`."""
        suite, preset, _, dataset, _, backbone, _ = self.path.relative_to(self.results).parts
        return SetKey(suite, preset, dataset, backbone)

    def row(self) -> tuple[str, str]:
        """Family and method that its place says."""
        _, _, family, _, method, _, _ = self.path.relative_to(self.results).parts
        return family, method


def load(
    results: Path, suite: str | None = None, preset: str | None = None, reference: Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read all records into one tidy frame: the way in for a script or notebook of one's own.

    >>> frame, notes = load(Path("results"), "shift", "standard")

    Args:
        results: Folder of records.
        suite: Only records of this suite.
        preset: Only records of this preset.
        reference: Another folder of records, see :func:`read`.

    Returns:
        The frame, with columns :data:`COLUMNS`, and the notes: what is missing, failed, left out or unreadable.
    """
    reading = read(results, suite, preset, reference)
    return reading.frame(), list(map(str, reading.notes))


def collect(
    results: Path,
    suite: str | None = None,
    preset: str | None = None,
    warn: Callable[[str], object] = lambda line: None,
    reference: Path | None = None,
    submissions: Sequence[Submitted] = (),
) -> list[Results]:
    """Read all records, kept apart by (suite, preset, dataset, backbone), sorted by them.

    Args:
        results: Folder of records.
        suite: Only records of this suite.
        preset: Only records of this preset.
        warn: Called with a line for each file or folder that cannot be used as a record or as the cube of one. It is
            left out, with a note if its place says which set it belongs to.
        reference: Another folder of records, see :func:`read`.
        submissions: See :func:`read`.
    """
    reading = read(results, suite, preset, reference, submissions)
    for line in reading.unusable:
        warn(line)
    return list(reading.sets)


def read(
    results: Path,
    suite: str | None = None,
    preset: str | None = None,
    reference: Path | None = None,
    submissions: Sequence[Submitted] = (),
) -> Reading:
    """Read every record of a results folder once.

    Args:
        results: Folder of records; there need not be any.
        suite: Only records of this suite.
        preset: Only records of this preset.
        reference: Another folder of records, to show rows of beside those of ``results``: in the sets and families that
            ``results`` has, and of the methods that it does not have there, so that no row mixes two folders.
        submissions: Whose rows to show too, in whatever sets they are of: they decide nothing of the other rows.
    """
    files, unplaced = find_sets(results, suite, preset, reference, submissions)
    sets = []
    unusable = list(unplaced)
    for key, of_key in files.items():
        found, lines = read_set(results, key, of_key)
        unusable += lines
        if found:
            sets.append(found)
        else:
            unplaced += lines
    return Reading(tuple(sets), tuple(sorted(unusable)), tuple(sorted(unplaced)))  # by path


def find_sets(
    results: Path,
    suite: str | None = None,
    preset: str | None = None,
    reference: Path | None = None,
    submissions: Sequence[Submitted] = (),
) -> tuple[dict[SetKey, list[RecordFile]], list[str]]:
    """Find the files of each set by their place.

    Args:
        results: Folder of records.
        suite: Only records of this suite.
        preset: Only records of this preset.
        reference: Another folder of records, see :func:`read`.
        submissions: See :func:`read`.

    Returns:
        The files by set, sorted, those of ``results`` first; and a line for each file or folder of ``results`` that
        lies where no record belongs, and for each of a submission that cannot be a row.
    """
    sets, errors = _by_set(results)
    lines = [_line(results, error) for error in errors]
    for submitted in submissions:
        lines += _add_submission(sets, submitted)
    wanted = {key: sets[key] for key in sorted(sets) if suite in (None, key.suite) and preset in (None, key.preset)}
    beside = _by_set(reference)[0] if reference and wanted else {}
    for key, files in wanted.items():
        own = [file.row() for file in files if file.submitted is None] or [file.row() for file in files]
        families = {family for family, _ in own}
        methods = {file.row()[1] for file in files}
        for file in beside.get(key, ()):
            family, method = file.row()
            if family in families and method not in methods:
                files.append(file)
    return wanted, lines


def _add_submission(sets: dict[SetKey, list[RecordFile]], submitted: Submitted) -> list[str]:
    """Add the files of a submission to those of the sets; and a line for each that cannot be a part of its row."""
    name = submitted.declaration.name
    found, errors = _by_set(submitted.records)
    lines = [_line(submitted.records, error, f"submission {name} ") for error in errors]
    for key, files in found.items():
        taken = {file.row()[1] for file in sets.get(key, ())}
        for file in files:
            if file.row()[1] != name or name in taken:
                reason = "is of a row that others have" if name in taken else f"is not of {name}"
                lines.append(_line(submitted.records, RecordError(file.path, reason), f"submission {name} "))
            else:
                sets.setdefault(key, []).append(file._replace(submitted=submitted))
    return lines


def read_set(results: Path, key: SetKey, files: Iterable[RecordFile]) -> tuple[Results | None, list[str]]:
    """Read one set of records.

    Args:
        results: Folder of records; what lies in another one is reference, or submitted.
        key: Which set it is.
        files: Its files, from :func:`find_sets`.

    Returns:
        The set, or None if none of the files is a record; and a line for each file that cannot be used.

    Raises:
        InputError: if a folder's file of equal hashes is damaged.
    """
    records: list[Record] = []
    unread: list[Note] = []
    folders: dict[str, Path] = {}
    submitted: dict[str, Submitted] = {}
    for file in files:
        folder, path, of_submission = file
        try:
            record = read_record_of(folder, path)
            check_accepted(path, record)
        except RecordError as error:
            unread.append(Note(_line(folder, error, _whose(results, folder, of_submission)), *file.row()))
        else:
            records.append(record)
            folders[record.cell.method] = folder
            if of_submission is not None:
                submitted[record.cell.method] = of_submission
    lines = list(map(str, unread))
    return (_results(results, key, records, folders, submitted, unread, lines) if records else None), lines


def _whose(results: Path, folder: Path, submitted: Submitted | None) -> str:
    """What a line about a file begins with."""
    if submitted is not None:
        return f"submission {submitted.declaration.name} "
    return "reference " if folder != results else ""


def _by_set(results: Path) -> tuple[dict[SetKey, list[RecordFile]], list[RecordError]]:
    """All files of a results folder by set, and what lies where no record belongs."""
    sets: dict[SetKey, list[RecordFile]] = defaultdict(list)
    errors: list[RecordError] = []
    for path in record_files(results, errors.append):
        file = RecordFile(results, path)
        if len(path.relative_to(results).parts) == RECORD_DEPTH:
            sets[file.key()].append(file)
        else:
            try:
                read_record_of(results, path)  # to say what it is
            except RecordError as error:
                errors.append(error)
    return sets, errors


def _line(folder: Path, error: RecordError, whose: str = "") -> str:
    """What is wrong with a file; its path is relative, so that the same records make the same notes everywhere."""
    return _printable(f"{whose}{error.path.relative_to(folder).as_posix()} left out: it {error.reason}")


def _results(
    results: Path,
    key: SetKey,
    records: list[Record],
    folders: Mapping[str, Path],
    submitted: Mapping[str, Submitted],
    unread: Sequence[Note],
    lines: list[str],
) -> Results:
    """Make a set of its records; unusable cubes are added to ``lines``."""
    reference = frozenset(method for method, folder in folders.items() if folder != results and method not in submitted)
    guests = reference | set(submitted)
    complete = [record for record in records if record.status == "complete"]
    # what a submission declares equal is not asked
    equal = read_equivalences(results, *(folder for method, folder in folders.items() if method not in submitted))
    chosen, versions = one_version(complete, equal, guests)
    kept_cells = {record.cell for record in chosen}
    notes: list[Note] = []
    cubes: dict[Cell, Cube] = {}
    for record in records:
        if record.status != "complete":
            notes.append(_on_seed(record.cell, f"failed: {_first_line(record.error)}"))
        elif record.cell in kept_cells:
            folder = folders[record.cell.method]
            try:
                cubes[record.cell] = read_cube_beside(record.cell.record_path(folder), record)
            except RecordError as error:
                notes.append(_on_seed(record.cell, f"left out: its cube {error.reason}"))
                lines.append(_line(folder, error, _whose(results, folder, submitted.get(record.cell.method))))
    unusable = forged(cubes, records)
    unusable |= unlike_the_others({cell: cube for cell, cube in cubes.items() if cell not in unusable}, guests)
    for cell, reason in unusable.items():
        del cubes[cell]
        notes.append(_on_seed(cell, f"left out: its cube has {reason}"))
        folder = folders[cell.method]
        whose = _whose(results, folder, submitted.get(cell.method))
        lines.append(_line(folder, RecordError(cell.cube_path(folder), f"has {reason}"), whose))
    if all(cell.method in reference for cell in cubes):
        cubes = {}  # nothing to stand beside
    kept = [(record, cubes[record.cell]) for record in records if record.cell in cubes]
    kept_records = [record for record, _ in kept]
    shown = {record.cell.method for record in kept_records} & reference
    if shown:
        rows = f"{REFERENCE} reference rows, from records of another folder: {', '.join(ordered(shown))}"
        notes.insert(0, Note(rows))
    notes[:0] = _submission_notes(submitted[name] for name in ordered(submitted))
    missing = _missing(records, kept_records, expected_seeds(key.suite, key.preset, records))
    health = health_notes(kept_records)
    every = (*notes, *unread, *versions, *missing, *health, *provenance(kept_records, equal))
    return Results(
        *key,
        frame=_frame(kept),
        costs=pd.DataFrame([_costs(record) for record in kept_records], columns=list(COST_COLUMNS)),
        notes=every,
        privileges=_privileges(records),
        curves=pd.DataFrame([row for record in kept_records for row in _curve(record)], columns=list(CURVE_COLUMNS)),
        records=tuple(kept_records),
        every=tuple(records),
        reference=frozenset(shown),
        submitted=submitted,
        folders=folders,
        equal=equal,
    )


def _privileges(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Of each method that has any; all that any of its records has."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        found[record.cell.method].update(record.privileges)
    return {method: tuple(sorted(privileges)) for method, privileges in found.items() if privileges}


def _on_seed(cell: Cell, said: str) -> Note:
    return on_row(cell.family, cell.method, f"seed {cell.seed} {said}")


def _curve(record: Record) -> list[tuple[str, str, int, int, float]]:
    cell = record.cell
    return [(cell.family, cell.method, cell.seed, point.step, point.score) for point in record.curve]


def _costs(record: Record) -> tuple[str | float, ...]:
    cell, together = record.cell, len(record.trained_together)
    milliseconds = (record.update_milliseconds.get(stage, 0.0) for stage in STAGES)
    return cell.family, cell.method, together, record.parameters, *milliseconds, record.peak_memory_mib


def _frame(kept: list[tuple[Record, Cube]]) -> pd.DataFrame:
    """Tidy frame of some cells; names are stored once, a frame has millions of rows."""
    if not kept:
        return pd.DataFrame(columns=list(COLUMNS))
    sizes = [cube.returns.size for _, cube in kept]
    cells = [record.cell for record, _ in kept]
    columns: dict[str, object] = {
        name: _repeated([getattr(cell, name) for cell in cells], sizes) for name in NAMES if name != "condition"
    }
    columns["seed"] = np.repeat([cell.seed for cell in cells], sizes)
    shapes = [cube.returns.shape for _, cube in kept]
    conditions = [name for _, cube in kept for name in cube.conditions]
    columns["condition"] = _repeated(conditions, [tasks * draws for n, tasks, draws in shapes for _ in range(n)])
    columns["task"] = np.concatenate(
        [np.tile(np.repeat(cube.tasks, s[2]), s[0]) for (_, cube), s in zip(kept, shapes, strict=True)]
    )
    columns["draw"] = np.concatenate([np.tile(np.arange(draws), n * tasks) for n, tasks, draws in shapes])
    columns["return"] = np.concatenate([cube.returns.ravel() for _, cube in kept]).astype(float)
    columns["score"] = np.concatenate([cube.scores().ravel() for _, cube in kept]).astype(float)
    ranges = [(cube.expert - cube.random)[:, None] for _, cube in kept]
    columns["range"] = np.concatenate(
        [np.broadcast_to(each, s).ravel() for each, s in zip(ranges, shapes, strict=True)]
    )
    return pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)


def _repeated(names: Sequence[str], times: Sequence[int]) -> pd.Categorical:
    """Every name so many times."""
    codes, categories = pd.factorize(np.array(names, dtype=object), sort=True)
    return pd.Categorical.from_codes(np.repeat(codes, times), categories)


def _submission_notes(submissions: Iterable[Submitted]) -> list[Note]:
    """What the badges of submitted rows mean, a note each."""
    notes = []
    for each in submissions:
        said, name = each.declaration, f"{each.declaration.name}, version {each.declaration.version}"
        mark, badge = (VERIFIED, f"verified: {each.row.verified}") if each.row.verified else (SELF_REPORTED, "")
        text = (
            f"{mark} submitted row {name}, {badge or 'self-reported'}; ruleset {said.ruleset}, {said.effort.hours:g} h"
        )
        notes.append(Note(f"{text}, {said.effort.tuning_episodes:,} episodes of tuning"))
    return notes


def _missing(records: list[Record], kept: list[Record], expected: Mapping[str, set[int]]) -> list[Note]:
    """Notes on methods that lack seeds in a family, or all of it."""
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for record in kept:
        seeds[record.cell.family, record.cell.method].add(record.cell.seed)
    notes = []
    methods = ordered({record.cell.method for record in records})
    for family in sorted(expected):
        for method in methods:
            present, lacking = seeds[family, method], sorted(expected[family] - seeds[family, method])
            if not present:
                notes.append(on_row(family, method, NO_RESULTS))
            elif lacking:
                total = f"{len(expected[family]) - len(lacking)} of {len(expected[family])} seeds"
                notes.append(on_row(family, method, f"{total} (without {', '.join(map(str, lacking))})"))
    return notes


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines() or ["no message"]
    # of a traceback, the last line is the one that says what happened
    line = lines[-1 if lines[0].startswith("Traceback") else 0]
    return _printable(line).strip()[:LONGEST_TEXT]


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
