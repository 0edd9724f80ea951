"""Joining results folders: records with what lies beside them, and the trainings that are kept."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omrl_bench.errors import InputError, RecordError
from omrl_bench.files import beside, put_in_place, write_atomically
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.equivalences import FILE as EQUIVALENCES
from omrl_bench.runner.records import Cell, Record, read_record_of
from omrl_bench.runner.run import taken
from omrl_bench.runner.traces import traces_path
from omrl_bench.runner.trained import FILE as TRAINING
from omrl_bench.runner.trained import FOLDER as TRAINED

Keep = Literal["first", "last"]
#: Of a complete record, what depends on when and where it was made only.
_CIRCUMSTANCES = {
    *("trained_together", "fit_seconds", "evaluate_seconds", "update_milliseconds", "peak_memory_mib", "machine"),
    *("versions", "git", "created", "job", "content"),
}


class ConflictError(InputError):
    """Folders have different complete records of the same cells."""


@dataclass
class Merged:
    """What came of it.

    Attributes:
        copied: Records.
        same: Records that were there, or whose numbers were.
        worse: Failures of cells that have a complete record, or another failure.
        trainings: Kept trainings that were copied.
        refused: What cannot be taken, and why.
    """

    copied: int = 0
    same: int = 0
    worse: int = 0
    trainings: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    folder: Path
    record: Record


def merge(destination: Path, sources: Sequence[Path], keep: Keep | None = None) -> Merged:
    """Copy what other results folders have into one; nothing is removed from them.

    A complete record is worth more than a failure. Two complete records of a cell are the same if they agree in all but
    the circumstances (times, machine, versions); of those and of two failures the first is kept. A record is replaced
    in one step, its cube before it. Nothing is read through links, and nothing but files and folders is looked at.

    Args:
        destination: Results folder; it need not be there.
        sources: Others, in the order of what is first; the destination is before all of them.
        keep: Which of two different complete records of a cell is kept; None keeps neither and changes nothing.

    Raises:
        ConflictError: if there are such records, with a line for each, unless ``keep`` says which to keep.
        InputError: if a source is no folder or the destination itself, the destination cannot be written to, or a run
            is just making one of the records.
    """
    _check(destination, sources)
    merged = Merged()
    chosen: dict[Cell, _Found] = {}
    conflicts = []
    for source in sources:
        for found in _records(source, merged.refused):
            cell = found.record.cell
            other = chosen.get(cell) or _there(destination, cell)
            if other is None or other.record.status != found.record.status == "complete":
                chosen[cell] = found
            elif found.record.status == "failed":
                merged.same += found.record == other.record
                merged.worse += found.record != other.record
            elif _numbers(found.record) == _numbers(other.record):
                merged.same += 1
            elif keep == "last":
                chosen[cell] = found
            elif keep is None:
                conflicts.append(f"{cell.record_path(Path()).as_posix()} differs in {other.folder} and {found.folder}")
    if conflicts:
        raise ConflictError("\n".join(conflicts))
    if chosen:
        with taken(destination, chosen):
            for found in chosen.values():
                _copy(found, destination)
                merged.copied += 1
    for source in sources:
        merged.trainings += _copy_trainings(source, destination, merged.refused)
        if (source / EQUIVALENCES).exists():
            merged.refused.append(f"{source / EQUIVALENCES} is not merged: add its declarations to {destination}'s")
    return merged


def _check(destination: Path, sources: Sequence[Path]) -> None:
    for source in sources:
        if not source.is_dir():
            raise InputError(f"{source} is not a folder of results")
        for one, other in ((source, destination), (destination, source)):
            if one.resolve().is_relative_to(other.resolve()):
                raise InputError(f"{source} and {destination}: one is in the other")


def _records(source: Path, refused: list[str]) -> Iterator[_Found]:
    """The records of a folder that can be used."""
    for path in _files(source, refused):
        if path.name.startswith("seed-") and path.suffix == ".json":
            try:
                yield _Found(source, _read(source, path))
            except RecordError as error:
                refused.append(str(error))


def _read(results: Path, path: Path) -> Record:
    """Read a record and, if it is complete, make sure of its cube.

    Raises:
        RecordError: if one of them cannot be used.
    """
    record = read_record_of(results, path)
    if record.status == "complete":
        cube = record.cell.cube_path(results)
        if cube.is_symlink() or (cube.exists() and not cube.is_file()):
            raise RecordError(cube, "is no file")
        read_cube(cube, record.cube)
    return record


def _there(destination: Path, cell: Cell) -> _Found | None:
    """What the destination has of a cell, if it can be used."""
    path = cell.record_path(destination)
    try:
        return _Found(destination, _read(destination, path)) if path.is_file() else None
    except RecordError:  # another is better than that
        return None


def _numbers(record: Record) -> dict[str, Any]:
    """A record without its circumstances."""
    return record.model_dump(exclude=_CIRCUMSTANCES)


def _files(folder: Path, refused: list[str]) -> Iterator[Path]:
    """All files below a folder that is not hidden; what is neither file nor folder is named."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        refused.append(f"{folder} cannot be read: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path, mode = Path(entry.path), entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from _files(path, refused)
        elif stat.S_ISREG(mode):
            yield path
        else:
            refused.append(f"{path} is {'a link' if stat.S_ISLNK(mode) else 'no file'}: it is not followed")


def _copy(found: _Found, destination: Path) -> None:
    """Copy a record after what lies beside it, so that a complete one always has its cube."""
    cell, source = found.record.cell, found.folder
    for path_of in (cell.cube_path, lambda results: traces_path(results, cell), cell.record_path):
        origin, target = path_of(source), path_of(destination)
        if origin.is_file() and not origin.is_symlink():
            write_atomically(target, origin.read_bytes())
        else:
            target.unlink(missing_ok=True)  # of the record that is replaced
    cell.failure_path(destination).unlink(missing_ok=True)


def _copy_trainings(source: Path, destination: Path, refused: list[str]) -> int:
    """Copy kept trainings that the destination has not, and return how many."""
    count = 0
    root = source / TRAINED
    for method in _folders(root):
        for key in _folders(method):
            for training in _folders(key):
                target = destination / training.relative_to(source)
                if target.exists() or not (training / TRAINING).is_file():
                    continue
                problems: list[str] = []
                files = list(_files(training, problems))
                refused += problems
                if not problems:
                    _copy_folder(training, files, target)
                    count += 1
    return count


def _folders(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink() and path.name[0] != "."
    ]


def _copy_folder(origin: Path, files: Sequence[Path], target: Path) -> None:
    """Copy files of a folder: all of them or nothing is there afterwards."""
    unfinished, aside = beside(target), beside(target)
    try:
        for file in files:
            copy = unfinished / file.relative_to(origin)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        put_in_place(unfinished, target, aside)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
