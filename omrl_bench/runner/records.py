"""Records: the JSON file that one cell leaves behind, beside its cube."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, FiniteFloat, ValidationError

from omrl_bench.errors import RecordError
from omrl_bench.files import read_regular, write_atomically
from omrl_bench.frozen import Frozen
from omrl_bench.runner.cubes import Cube, Metric, read_cube

SCHEMA_VERSION: Literal[1] = 1
MOST_CHARACTERS = 500  # of a statement
LONGEST_NAME = 200  # bytes; file systems take 255
LONGEST_TEXT = 300  # characters of other texts
MOST_BYTES = 2**18  # of a record's file; they have 4 KB
MOST_SEED = 2**63 - 1  # what a frame holds
SEEDS_TOGETHER = 5  # of a training, at most
RECORD_DEPTH = 7  # parts of a record's path in its results folder
JOBS = ".jobs"  # folder of a run's own files in the results folder


@lru_cache(maxsize=256)  # a plan has the same few in all of its cells
def _folder_name(name: str) -> str:
    if not name or ".." in name or name == "." or set(name) & set("/\\") or not name.isprintable():
        raise ValueError("a name that cannot be a folder's: it is empty or has '/', '\\', '..' or control characters")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"a name that cannot be a folder's: it is longer than {LONGEST_NAME} bytes")
    return name


def folder_key(name: str) -> str:
    """What two names share whose folders are the same on some disks: they do not tell case or forms of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_statement(text: str) -> str:
    """Return what somebody says, to be shown as a note, or raise ValueError if it is no line, or too long."""
    if not text or not text.isprintable() or len(text) > MOST_CHARACTERS:
        raise ValueError(f"say it in a line of 1 to {MOST_CHARACTERS} characters")
    return text


def _text(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ValueError(f"no line of at most {LONGEST_TEXT} characters")
    return text


def _date(text: str) -> str:
    date = datetime.datetime.fromisoformat(_text(text))  # ValueError
    if date.tzinfo is None or not 2020 <= date.year < 2100:
        raise ValueError("no time with its zone, of the years 2020 to 2099")
    return text


def _versions(versions: dict[str, str]) -> dict[str, str]:
    for package, version in versions.items():
        if not re.fullmatch(r"[\w.-]{1,50}", package) or not re.fullmatch(r"not installed|\d[\w.+!-]{0,49}", version):
            raise ValueError(f"{package[:50]!r} has no version {version[:50]!r}")
    return versions


def _git_state(state: dict[str, Any]) -> dict[str, Any]:
    commit, dirty, unknown = (state.get(name) for name in ("commit", "dirty", "unknown"))
    if set(state) - {"commit", "dirty", "unknown"} or not isinstance(dirty, bool | None):
        raise ValueError("it says 'commit' and 'dirty', or why they are 'unknown'")
    if commit is not None and not (isinstance(commit, str) and re.fullmatch("[0-9a-f]{7,64}", commit)):
        raise ValueError("the commit is no hash")
    if unknown is not None:
        _text(str(unknown))
    return state


def _machine(machine: dict[str, Any]) -> dict[str, Any]:
    for name, value in machine.items():
        if not isinstance(value, str | int | float | None):
            raise ValueError(f"{name[:50]!r} is no text and no number")
        _text(f"{name} {value}")
    return machine


def _configuration(values: dict[str, Any]) -> dict[str, Any]:
    json.dumps(values, ensure_ascii=False).encode()  # ValueError for what is no text
    return values


#: What is shown in a line, or compared.
Text = Annotated[str, AfterValidator(_text)]
#: Seconds, milliseconds, MiB, parameters.
Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
#: Cells are folders: a name must not lead anywhere else.
Name = Annotated[str, AfterValidator(_folder_name)]
#: What somebody says, as a note in tables.
Statement = Annotated[str, AfterValidator(check_statement)]


_HERE = Path()


@lru_cache(maxsize=256)  # pathlib is slow, and a run asks ten times for every cell
def _join(folder: Path, names: tuple[str, ...]) -> Path:
    return folder.joinpath(*names)


class Cell(Frozen):
    """One training run."""

    suite: Name
    family: Name
    dataset: Name
    method: Name
    backbone: Name
    preset: Name
    seed: Seed

    def folder(self) -> Path:
        """Folder of the cell's files, relative to the results folder."""
        return _join(_HERE, self._names)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.suite, self.preset, self.family, self.dataset, self.method, self.backbone

    def group(self) -> tuple[Path, int]:
        """What it shares with the cells that it may train together with: always the same seeds, 0 to 4, 5 to 9, ..."""
        return self.folder(), self.seed // SEEDS_TOGETHER

    def record_path(self, results: Path) -> Path:
        """Path of the record."""
        return _join(results, self._names) / f"seed-{self.seed}.json"

    def cube_path(self, results: Path) -> Path:
        """Path of the cube."""
        return _join(results, self._names) / f"seed-{self.seed}.npz"

    def jobs_folder(self, results: Path) -> Path:
        """Where the files of a run are that is going on."""
        return _join(results, (JOBS, *self._names))

    def failure_path(self, results: Path) -> Path:
        """Path of the record of a failure beside a complete record, which it does not replace."""
        return self.jobs_folder(results) / f"seed-{self.seed}.failed.json"


class Hashes(Frozen):
    """What a cell's numbers depend on; if one changes, the record is stale.

    Training depends on family, dataset, method and budget alone: on nothing of the tasks that are evaluated.
    """

    suite: Text  # version, protocol and budget
    family: Text  # the law, and the rows of the training tasks
    dataset: Text  # the training tasks' episodes
    contexts: Text  # the context sets of the evaluated tasks, and the episodes that they are drawn from
    method: Text
    tasks: Text = ""  # rows and reference returns of the evaluated tasks; "" in the records of version 0

    def of_board(self) -> tuple[tuple[str, str], ...]:
        """The names and values of those in which records must agree to stand on one board."""
        return ("suite", self.suite), ("family", self.family), ("tasks", self.tasks)


class CurvePoint(Frozen):
    """Mean score on the validation tasks after so many policy updates: first context quality, or last episode."""

    step: Annotated[int, Field(ge=0)]
    score: FiniteFloat


class Record(Frozen):
    """What is kept of one cell."""

    schema_version: Literal[1] = SCHEMA_VERSION
    cell: Cell
    family_version: Annotated[str, Field(pattern="^v[0-9]{1,6}$")] = "v0"  # the first records do not say it
    status: Literal["complete", "failed"]
    error: str | None = None
    hashes: Hashes
    equivalent_to: Hashes | None = None  # what they would be on the canonical data, where some were equivalent only
    dataset_status: Text  # canonical, equivalent, unknown
    privileges: tuple[Text, ...]
    configuration: Annotated[dict[str, Any], AfterValidator(_configuration)]
    trained_together: Annotated[tuple[Seed, ...], Field(max_length=1000)]  # the seeds that shared the process
    trained_for: Text | None = None  # suite, preset, perhaps method of the run that trained, if not this cell's
    trained_elsewhere: Statement | None = None  # what trained the weights, and where, if not the harness: self-reported
    refereed: bool | None = None  # whether the method ran in processes of its own; the first records do not say it
    metrics: dict[str, Metric] = {}  # by condition
    representation: dict[Text, dict[Text, FiniteFloat]] = {}  # measures of the context embeddings, by context quality
    curve: Annotated[tuple[CurvePoint, ...], Field(max_length=10_000)] = ()
    parameters: Annotated[int, Field(ge=0, le=10**12)] = 0
    fit_seconds: Amount = 0.0  # of all seeds together, learning curve included
    evaluate_seconds: Amount = 0.0
    update_milliseconds: dict[Text, Amount] = {}  # processor time of one update of all seeds together, by stage
    device: Text = "cpu"
    peak_memory_mib: Amount = 0.0
    machine: Annotated[dict[str, Any], AfterValidator(_machine)] = {}
    versions: Annotated[dict[str, str], AfterValidator(_versions)] = {}
    git: Annotated[dict[str, Any], AfterValidator(_git_state)] = {}  # of the harness
    created: Annotated[str, AfterValidator(_date)]
    job: Text | None = None  # token of the job that wrote it; the first records have none
    cube: Text | None = None  # hash of the cube, see Cube.content_hash; None in the first records, which have no hashes
    content: Text | None = None  # hash of all the other fields: against accidents, not against forgery


def write_record(results: Path, record: Record, cube: Cube | None) -> None:
    """Write a cell's cube, then its record, with the hashes of both: a complete record always has its cube."""
    if cube is not None:
        write_atomically(record.cell.cube_path(results), cube.file_content())
        record = record.model_copy(update={"cube": cube.stored().content_hash()})
    _write(record.cell.record_path(results), record)


def write_failure(results: Path, record: Record) -> None:
    """Write the record of a failure; beside a complete one, never over it, see :meth:`Cell.failure_path`."""
    cell = record.cell
    _write(cell.failure_path(results) if is_complete(results, cell) else cell.record_path(results), record)


def _write(path: Path, record: Record) -> None:
    # these fields came after the first records, which are written again as they were
    later = {name for name in ("trained_elsewhere", "job", "refereed") if getattr(record, name) is None}
    content = _content_hash(json.loads(record.model_dump_json(exclude=later)))
    text = record.model_copy(update={"content": content}).model_dump_json(indent=1, exclude=later) + "\n"
    write_atomically(path, text.encode())


def is_complete(results: Path, cell: Cell) -> bool:
    """Whether a results folder has a complete record of a cell, with its cube."""
    path = cell.record_path(results)
    try:
        if not path.exists():
            return False
        record = read_record(path)
        if record.status == "complete":
            read_cube_beside(path, record)
    except (OSError, RecordError):
        return False
    return record.cell == cell and record.status == "complete"


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: if the file is not a record of this schema, or was changed after it was written.
    """
    try:
        fields = json.loads(read_regular(path, MOST_BYTES).decode())
        version = fields["schema_version"]
        if version != SCHEMA_VERSION:
            raise RecordError(
                path, f"is of schema {repr(version)[:20]}, not {SCHEMA_VERSION}: another omrl-bench wrote it"
            )
        record = Record.model_validate(fields)
    except OSError as error:
        raise RecordError(path, f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(path, f"is not a record of schema {SCHEMA_VERSION}: {where}: {first['msg']}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:  # no text, no JSON, or no object with a version
        raise RecordError(path, "is not a record: truncated, or something else") from error
    if record.content not in (None, _content_hash(fields)):
        raise RecordError(path, "was changed after it was written: its content hash disagrees")
    return record


def read_cube_beside(path: Path, record: Record) -> Cube:
    """Read the cube of a complete record.

    Args:
        path: The record's file.
        record: What is in it.

    Raises:
        RecordError: if there is none, it is not the record's (see :func:`omrl_bench.runner.cubes.read_cube`), or has
            other means than the record says.
    """
    file = path.with_suffix(".npz")
    cube = read_cube(file, record.cube)
    scores, returns = (array.mean(axis=(1, 2), dtype=float) for array in (cube.scores(), cube.returns))
    found = dict(zip(cube.conditions, zip(scores, returns, strict=True), strict=True))
    for condition, metric in record.metrics.items():
        stated = metric.score, metric.mean_return
        if condition not in found or not np.allclose(found[condition], stated, rtol=1e-5, atol=2e-3):  # rounded
            raise RecordError(file, f"disagrees with its record on the mean of {condition!r}")
    return cube


def iterate_records(results: Path, on_error: Callable[[RecordError], None] | None = None) -> Iterator[Record]:
    """Read all records below a results folder, in the order of their paths.

    Args:
        results: Folder of records; there need not be any.
        on_error: Called with every file or folder that is left out, and why; without it the first one is raised.

    Raises:
        RecordError: if a file is not a record, or lies elsewhere than its cell says, unless there is ``on_error``.
    """

    def refuse(error: RecordError) -> None:
        if on_error is None:
            raise error
        on_error(error)

    for path in record_files(results, refuse):
        try:
            record = read_record_of(results, path)
        except RecordError as error:
            refuse(error)
        else:
            yield record


def read_record_of(results: Path, path: Path) -> Record:
    """Read a record of a results folder, as :func:`read_record` does.

    Raises:
        RecordError: also if it lies elsewhere than its cell says.
    """
    record = read_record(path)
    if record.cell.record_path(results) != path:
        raise RecordError(path, f"is the record of {record.cell.record_path(Path()).as_posix()}: a copy")
    return record


def record_files(results: Path, on_error: Callable[[RecordError], None]) -> list[Path]:
    """Files that are called like a record, sorted; hidden folders are none of ours to read.

    Args:
        results: Folder of records; there need not be any.
        on_error: Called with every folder that cannot be read.
    """

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            on_error(RecordError(Path(error.filename), f"cannot be read: {error.strerror}"))

    found, entered = [], set[Path]()

    def is_entered(folder: Path) -> bool:
        """Whether to look into a folder: a link may lead to one above it, so each target is followed once."""
        if folder.name.startswith("."):
            return False
        if not folder.is_symlink():
            return True
        target = folder.resolve()
        new = target not in entered
        entered.add(target)
        return new

    for folder, subfolders, names in os.walk(results, onerror=unreadable, followlinks=True):
        found += [Path(folder, name) for name in (*names, *subfolders) if _is_called_record(name)]
        subfolders[:] = [
            name for name in sorted(subfolders) if not _is_called_record(name) and is_entered(Path(folder, name))
        ]
    return sorted(found)


def _is_called_record(name: str) -> bool:
    return name.startswith("seed-") and name.endswith(".json")


def _content_hash(fields: Mapping[str, Any]) -> str:
    """Hash of a record's fields without ``content``, whatever their order and layout in the file."""
    rest = {name: value for name, value in fields.items() if name != "content"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
