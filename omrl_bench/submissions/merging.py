"""What the maintainers do: run a submission again, and put it on the shelf with what came of that."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.files import put_in_place
from omrl_bench.runner.records import Record, folder_key, iterate_records, read_cube_beside
from omrl_bench.runner.reproduce import ROUNDING, compare
from omrl_bench.submissions.checking import Checked, check
from omrl_bench.submissions.declaration import Declaration, today
from omrl_bench.submissions.files import digest, find_files
from omrl_bench.submissions.packing import unpack
from omrl_bench.submissions.shelf import Row, read_rows, write_rows


def merge(source: Path, shelf: Path, rerun: Path | None = None, others: Mapping[str, Path] | None = None) -> Row:
    """Put a submission on the shelf, in the place of an earlier version of it.

    Args:
        source: Its folder, or what ``submit pack`` wrote.
        shelf: The folder of merged submissions.
        rerun: Results folder in which the maintainers ran cells of it again: the row is verified if they agree.
        others: See :func:`omrl_bench.submissions.checking.check`.

    Raises:
        InputError: if it has problems, another row has its name, its version is not a later one, or what was run
            again does not agree.
    """
    rows = {row.name: row for row in read_rows(shelf)}
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".merging-") as temporary:
        folder = Path(temporary) / "new"
        _copy(source, folder)
        checked = check(folder, others)
        declaration = checked.declaration
        if checked.problems or declaration is None:
            raise InputError(f"{source} is not merged: {'; '.join(checked.problems[:5])}; omrl-bench submit check")
        _check_place(declaration, rows)
        verified = None if rerun is None else agreement(checked, rerun)
        files, _ = find_files(folder)
        row = Row(
            name=declaration.name,
            version=declaration.version,
            digest=digest(folder, files),
            merged=today(),
            verified=verified,
        )
        aside = Path(temporary) / "old"
        put_in_place(folder, shelf / row.name, aside)
        write_rows(shelf, (rows | {row.name: row}).values())
    return row


def _copy(source: Path, folder: Path) -> None:
    """Copy the files of a submission; problems with them are raised before anything else of it is looked at."""
    if source.is_file():
        folder.mkdir()
        unpack(source, folder)
        return
    files, problems = find_files(source)
    if problems:
        raise InputError(f"{source} is not merged: {problems[0]}")
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, folder / path, follow_symlinks=False)


def _check_place(declaration: Declaration, rows: Mapping[str, Row]) -> None:
    for row in rows.values():
        if folder_key(row.name) == folder_key(declaration.name) and row.name != declaration.name:
            raise InputError(f"row {row.name!r} differs from {declaration.name!r} in capital letters only; rename it")
    earlier = rows.get(declaration.name)
    if earlier is not None and earlier.version >= declaration.version:
        raise InputError(
            f"{declaration.name} has version {earlier.version} already; a changed row has a later one than that"
        )


def agreement(checked: Checked, rerun: Path) -> str:
    """Compare what was run again with what was submitted: a sentence for the badge.

    Raises:
        InputError: if nothing was run again, by another source or other settings, or if the numbers do not agree.
    """
    own = {record.cell: (record, cube) for record, cube in checked.cubes}
    name = checked.declaration.name if checked.declaration else ""
    identical = rounded = 0
    made_with: set[str] = set()
    for again in iterate_records(rerun):
        if again.cell not in own or again.status != "complete":
            continue
        record, cube = own[again.cell]
        seed = again.cell.seed
        if again.hashes.method != record.hashes.method:
            raise InputError(f"{rerun}: {_where(again)} is of another source or other settings than the submission's")
        found = compare(cube, {seed: read_cube_beside(again.cell.record_path(rerun), again)}, seed)
        if found is None or not found.agrees:
            apart = "other tasks or conditions" if found is None else f"scores up to {found.score_difference:.3g} apart"
            raise InputError(f"{rerun}: {_where(again)} does not agree with the submission: {apart}")
        identical, rounded = identical + found.identical, rounded + (not found.identical)
        made_with.add(again.versions.get("omrl-bench", "unknown"))
    if not identical + rounded:
        raise InputError(f"{rerun} has no complete records of cells of {name}")
    parts = [f"{identical} to the bit"] * bool(identical) + [f"{rounded} within {ROUNDING} points"] * bool(rounded)
    return (
        f"{identical + rounded} of {len(own)} cells trained and evaluated again by the maintainers "
        f"(omrl-bench {', '.join(sorted(made_with))}): {', '.join(parts)}"
    )


def _where(record: Record) -> str:
    return record.cell.record_path(Path()).as_posix()
