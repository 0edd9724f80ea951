"""The files of a submission: regular ones, few, small, and of which digest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.files import file_kind, read_regular
from omrl_bench.runner.cubes import MOST_BYTES as MOST_OF_CUBE
from omrl_bench.submissions.declaration import FILE, RECORDS, SOURCE

MOST_FILES = 3000
MOST_OF_FILE = MOST_OF_CUBE
MOST_BYTES = 64 * 2**20  # of all files
DEEPEST = 10  # folders
README = "README.md"


def find_files(folder: Path) -> tuple[list[Path], list[str]]:
    """All files of a submission, relative, sorted; and a line for everything that has no place in one."""
    found: list[Path] = []
    problems: list[str] = []
    size = 0
    try:
        for path, status in _walk(folder, Path()):
            problem = _problem(path, status)
            if problem:
                problems.append(f"{_shown(path)}: {problem}")
                continue
            size += status.st_size
            found.append(path)
            if len(found) > MOST_FILES or size > MOST_BYTES:
                limit = f"at most {MOST_FILES:,} files of together {MOST_BYTES // 2**20} MiB"
                return [], [*problems[:20], f"too many or too large files; a submission has {limit}"]
    except OSError as error:
        problems.append(f"{error.filename or folder} cannot be read: {error.strerror}")
    if len(problems) > 20:
        problems = [*problems[:20], f"and {len(problems) - 20} more files that have no place here"]
    return sorted(found), problems


def _walk(folder: Path, below: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything in a folder that is no folder; links are not followed."""
    with os.scandir(folder / below) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            path, status = below / entry.name, entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and len(path.parts) <= DEEPEST:
                yield from _walk(folder, path)
            else:
                yield path, status


def _problem(path: Path, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return f"it is {file_kind(status.st_mode)}; a submission has regular files only"
    if status.st_size > MOST_OF_FILE:
        return f"it is larger than {MOST_OF_FILE // 2**20} MiB"
    if not str(path).isprintable() or not str(path).isascii() or any(part.startswith(".") for part in path.parts):
        return "its name is hidden, or not printable ASCII"
    if len(path.parts) > 1 and path.parts[0] not in (RECORDS, SOURCE):
        return f"no folder of a submission, which are {RECORDS}/ and {SOURCE}/"
    if path.parts[0] == RECORDS and not (path.name.startswith("seed-") and path.suffix in (".json", ".npz")):
        return "neither a record nor a cube"
    if len(path.parts) == 1 and path.name not in (FILE, README) and path.suffix not in (".csv", ".txt"):
        return f"beside {FILE} lie {README}, and .csv and .txt files, such as the ledger of tuning"
    return ""


def digest(folder: Path, files: Iterable[Path]) -> str:
    """The sha256 of some files' names and contents.

    Args:
        folder: Where they are.
        files: Relative paths.

    Raises:
        InputError: if one cannot be read.
    """
    total = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(read_file(folder, path)).hexdigest()
        total.update(f"{path.as_posix()} {content}\n".encode())
    return total.hexdigest()


def source_digest(folder: Path) -> str:
    """The sha256 of the folder ``source`` of a submission; empty if there is none."""
    files = [path.relative_to(SOURCE) for path in find_files(folder)[0] if path.parts[0] == SOURCE]
    return digest(folder / SOURCE, files) if files else ""


def read_file(folder: Path, path: Path) -> bytes:
    """Content of one file of a submission.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return read_regular(folder / path, MOST_OF_FILE)
    except OSError as error:
        raise InputError(f"{_shown(folder / path)} cannot be read: {error.strerror}") from error


def _shown(path: Path) -> str:
    return "".join(character if character.isprintable() else "?" for character in path.as_posix())[:200]
