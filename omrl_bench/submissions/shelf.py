"""The folder of merged submissions, and the maintainers' file in it, which alone says what badge a row has.

``board.toml`` lists every merged row with the digest of its files: what was changed after the merge is left out. A row
is ``verified`` if the maintainers say there what was run again; whatever a submission says of itself makes no badge. ::

    [[row]]
    name = "Prototypes"
    version = 1
    digest = "0123..."                       # sha256 of all files
    merged = "2026-11-28"
    verified = "re-trained by the maintainers, ..."   # left out: self-reported
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from omrl_bench.errors import InputError
from omrl_bench.files import read_regular, write_atomically
from omrl_bench.frozen import Frozen
from omrl_bench.protocols.suite import key_problem, parse_toml
from omrl_bench.runner.records import Statement, folder_key
from omrl_bench.submissions.declaration import RECORDS, Declaration, RowName, read_declaration
from omrl_bench.submissions.files import digest, find_files

FILE = "board.toml"
MOST_BYTES = 2**22
HEADER = "# Kept by `omrl-bench submit merge`: which submissions are merged, and what was verified of them.\n"


class Row(Frozen):
    """What the maintainers say of one submission."""

    name: RowName
    version: Annotated[int, Field(strict=True, ge=1)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    merged: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    verified: Statement | None = None  # what was run again, by what, and how it compared


class _File(Frozen):
    row: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Submitted:
    """A merged submission.

    Attributes:
        declaration: What it says of itself.
        row: What the maintainers say of it.
        folder: Where it is.
    """

    declaration: Declaration
    row: Row
    folder: Path

    @property
    def records(self) -> Path:
        """Its results folder."""
        return self.folder / RECORDS


def read_rows(shelf: Path) -> tuple[Row, ...]:
    """What the maintainers say; nothing, if there is no such file.

    Raises:
        InputError: if the file is damaged.
    """
    file = shelf / FILE
    try:
        rows = _File.model_validate(parse_toml(read_regular(file, MOST_BYTES).decode(), str(file))).row
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{file}: {key_problem(error.errors()[0])}") from error
    names = [folder_key(row.name) for row in rows]
    if len(set(names)) < len(names):
        raise InputError(f"{file}: a row is there twice")
    return rows


def write_rows(shelf: Path, rows: Iterable[Row]) -> None:
    """Write what the maintainers say, sorted by name."""
    blocks = []
    for row in sorted(rows, key=lambda each: folder_key(each.name)):
        values = row.model_dump(exclude_none=True).items()
        blocks.append("\n".join(["[[row]]", *(f"{name} = {_quoted(value)}" for name, value in values)]) + "\n")
    write_atomically(shelf / FILE, "\n".join([HEADER, *blocks]).encode())


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_shelf(shelf: Path, warn: Callable[[str], object]) -> tuple[Submitted, ...]:
    """All merged submissions, sorted by name.

    Args:
        shelf: The folder.
        warn: Called with a line for each folder that is left out.

    Raises:
        InputError: if the folder is none, or the maintainers' file is damaged.
    """
    if not shelf.is_dir():
        raise InputError(f"{shelf} is not a folder of submissions; --submissions names one")
    rows = {row.name: row for row in read_rows(shelf)}
    found = []
    for name, row in sorted(rows.items()):
        try:
            found.append(_read(shelf / name, row))
        except InputError as error:
            warn(f"submission {name} left out: {error}"[:500])
    for folder in sorted(path for path in shelf.iterdir() if path.is_dir() and path.name not in rows):
        if folder.name.startswith("."):  # of a merge that is going on
            continue
        name = "".join(character for character in folder.name if character.isprintable())[:100]
        warn(f"submission {name} left out: {FILE} does not name it, so it is not merged")
    return tuple(found)


def _read(folder: Path, row: Row) -> Submitted:
    """Read one submission, as it was merged."""
    files, problems = find_files(folder)
    if problems:
        raise InputError(problems[0])
    if digest(folder, files) != row.digest:
        raise InputError(f"its files are not those that were merged: the digest in {FILE} is another")
    declaration = read_declaration(folder)
    if (declaration.name, declaration.version) != (row.name, row.version):
        raise InputError(f"it is {declaration.name}, version {declaration.version}")
    return Submitted(declaration, row, folder)
