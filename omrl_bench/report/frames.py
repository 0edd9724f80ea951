"""From records to tidy frames, with notes on everything that is missing from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from omrl_bench.errors import InputError
from omrl_bench.runner.records import Cell, Cube, Hashes, Record, iterate_records, read_cube

CONTROLS = ("random", "behaviour", "task-blind", "oracle")
#: Columns of the tidy frame.
COLUMNS = (
    *("suite", "preset", "family", "dataset", "method", "backbone", "seed"),
    *("quality", "task", "draw", "return", "score"),
)

#: Columns of the frame of costs; 0 where a method has no such stage.
COST_COLUMNS = ("family", "method", "seeds_together", "parameters", "representation", "policy", "memory")


@dataclass(frozen=True)
class Results:
    """What one set of tables and figures is made of.

    Attributes:
        suite: Name of the suite.
        preset: Name of the preset.
        dataset: Quality of the training data.
        backbone: Offline-RL learner under the methods.
        frame: Tidy frame with columns :data:`COLUMNS`, of the complete records only.
        costs: One row per complete record, with columns :data:`COST_COLUMNS`.
        notes: What is missing, failed or not as it should be, a sentence each.
        privileges: Of each method that has any.
    """

    suite: str
    preset: str
    dataset: str
    backbone: str
    frame: pd.DataFrame
    costs: pd.DataFrame
    notes: tuple[str, ...]
    privileges: Mapping[str, tuple[str, ...]]


def load(results: Path, suite: str | None = None, preset: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Read all records into one tidy frame.

    Args:
        results: Folder of records.
        suite: Only records of this suite.
        preset: Only records of this preset.

    Returns:
        The frame, with columns :data:`COLUMNS`, and the notes (missing and failed cells).

    Raises:
        InputError: if a file is not a record.
    """
    sets = collect(results, suite, preset)
    frames = [each.frame for each in sets if len(each.frame)]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    return frame, [note for each in sets for note in each.notes]


def collect(results: Path, suite: str | None = None, preset: str | None = None) -> list[Results]:
    """Read all records, kept apart by (suite, preset, dataset, backbone), sorted by them.

    Args:
        results: Folder of records.
        suite: Only records of this suite.
        preset: Only records of this preset.

    Raises:
        InputError: if a file is not a record.
    """
    tables: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in iterate_records(results):
        cell = record.cell
        if suite in (None, cell.suite) and preset in (None, cell.preset):
            tables[cell.suite, cell.preset, cell.dataset, cell.backbone].append(record)
    return [_results(results, key, records) for key, records in sorted(tables.items())]


def ordered(names: Iterable[str], given: Sequence[str] = (), first: Sequence[str] = CONTROLS) -> list[str]:
    """Sort names: as in ``given``; names that are not in it after those, ``first`` ones first, then alphabetically."""
    ranks = {name: (0, rank, "") for rank, name in reversed(list(enumerate(given)))}
    later = {name: (1, rank, "") for rank, name in enumerate(first)}
    return sorted(set(names), key=lambda name: ranks.get(name) or later.get(name) or (2, 0, name))


def _results(results: Path, key: tuple[str, str, str, str], records: list[Record]) -> Results:
    notes, kept, frames = [], [], []
    for record in records:
        where = f"{record.cell.family} / {record.cell.method}: seed {record.cell.seed}"
        if record.status != "complete":
            notes.append(f"{where} failed: {_first_line(record.error)}")
            continue
        try:
            cube = read_cube(record.cell.cube_path(results))
        except InputError as error:
            notes.append(f"{where} left out: {_first_line(str(error))}")
            continue
        frame = _frame(record.cell, cube)
        if not np.isfinite(frame[["return", "score"]].to_numpy()).all():
            notes.append(f"{where} left out: it has returns or scores that are not finite")
            continue
        kept.append(record)
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    privileges = {record.cell.method: record.privileges for record in records if record.privileges}
    every = (*notes, *_missing(records, kept), *_provenance(kept))
    costs = pd.DataFrame([_costs(record) for record in kept], columns=list(COST_COLUMNS))
    return Results(*key, frame=frame, costs=costs, notes=every, privileges=privileges)


def _costs(record: Record) -> tuple[str, str, int, int, float, float, float]:
    representation, policy = (record.update_milliseconds.get(stage, 0.0) for stage in ("representation", "policy"))
    together = len(record.trained_together)
    cell, memory = record.cell, record.peak_memory_mib
    return cell.family, cell.method, together, record.parameters, representation, policy, memory


def _frame(cell: Cell, cube: Cube) -> pd.DataFrame:
    """Tidy frame of one cell."""
    axes = (np.arange(len(cube.qualities)), np.asarray(cube.tasks), np.arange(cube.returns.shape[2]))
    quality, task, draw = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    columns = {
        **dict(cell),
        "quality": np.array(cube.qualities)[quality],
        "task": task,
        "draw": draw,
        "return": cube.returns.ravel().astype(float),
        "score": cube.scores().ravel().astype(float),
    }
    return pd.DataFrame(columns)[list(COLUMNS)]


def _missing(records: list[Record], kept: list[Record]) -> list[str]:
    """Notes on methods that have fewer seeds in a family than other methods."""
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for record in kept:
        seeds[record.cell.family, record.cell.method].add(record.cell.seed)
    notes = []
    methods = ordered({record.cell.method for record in records})
    for family in sorted({record.cell.family for record in records}):
        expected = {record.cell.seed for record in records if record.cell.family == family}
        for method in methods:
            present = seeds[family, method]
            if not present:
                notes.append(f"{family} / {method}: no results")
            elif present != expected:
                lacking = ", ".join(map(str, sorted(expected - present)))
                notes.append(f"{family} / {method}: {len(present)} of {len(expected)} seeds (without {lacking})")
    return notes


def _provenance(kept: list[Record]) -> list[str]:
    """Notes on records that were not made from the same things, so that their numbers do not compare."""
    notes = []
    for family in sorted({record.cell.family for record in kept}):
        records = [record for record in kept if record.cell.family == family]
        for name in Hashes.model_fields:
            if name == "method":
                continue
            if len({getattr(record.hashes, name) for record in records}) > 1:
                notes.append(f"{family}: the records differ in their {name} hash; their numbers do not compare")
        hashes: dict[str, set[str]] = defaultdict(set)
        for record in records:
            hashes[record.cell.method].add(record.hashes.method)
        for method in ordered(name for name, values in hashes.items() if len(values) > 1):
            notes.append(f"{family} / {method}: the seeds were run with different versions of the method")
        for status in sorted({record.dataset_status for record in records} - {"canonical"}):
            notes.append(f"{family}: trained on data whose status is {status!r}, not 'canonical'")
    return notes


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines() or ["no message"]
    # of a traceback, the last line is the one that says what happened
    line = lines[-1 if lines[0].startswith("Traceback") else 0]
    return "".join(character for character in line if character.isprintable()).strip()
