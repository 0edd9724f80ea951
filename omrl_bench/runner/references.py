"""Reference rows: records of another folder that stand beside one's own, and what to say of them before a run.

The report joins them, see :func:`omrl_bench.report.reading.frames.read`: records are neither run again nor copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omrl_bench.errors import RecordError, no_results_folder
from omrl_bench.runner.equivalences import Equivalences, read_equivalences
from omrl_bench.runner.plan import Selection
from omrl_bench.runner.records import Record, read_record_of, record_files
from omrl_bench.runner.states import hashes_with

ROOT = Path(__file__).resolve().parents[2]


def shipped_records() -> Path | None:
    """The reference records of a checkout; None in an installed package, which has none."""
    folder = ROOT / "results"
    return folder if (ROOT / "pyproject.toml").is_file() and folder.is_dir() else None


def reference_notes(selection: Selection, folder: Path | None) -> list[str]:
    """What there is to stand beside a selection, family by family, a sentence each.

    Args:
        selection: What is to be run.
        folder: Results folder of the reference rows; None for one that is not there.

    Raises:
        InputError: if the folder is none.
    """
    only_own = "the tables show the rows of --out alone"
    if folder is None:
        return [f"no reference records come with an installed package: {only_own}; --against FOLDER names some"]
    if not folder.is_dir():
        raise no_results_folder(folder, "--against")
    suite, preset = selection.suite.name, selection.preset_name
    records = [each for each in _records(folder, suite, preset) if each.status == "complete"]
    if not records:
        others = sorted(path.name for path in folder.glob(f"{suite}/*") if path.is_dir())
        known = f" (it has those of preset {', '.join(others)})" if others else ""
        return [f"{folder} has no records of suite {suite!r}, preset {preset!r}{known}: {only_own}"]
    equal = read_equivalences(folder)
    wanted = [each.cell for each in records if _compares(each, selection, equal)]
    of_another_version = {each.cell.family for each in records}
    notes = []
    if wanted:
        notes.append(f"reference rows from {folder}: {', '.join(sorted({cell.method for cell in wanted}))}")
    for family in selection.families:
        if family not in {cell.family for cell in wanted}:
            why = "none but of another version of the suite or family" if family in of_another_version else "none"
            notes.append(f"reference rows for {family} in {folder}: {why}")
    return notes


def _records(folder: Path, suite: str, preset: str) -> Iterator[Record]:
    """The records that can be used."""
    for path in record_files(folder / suite / preset, lambda error: None):
        try:
            yield read_record_of(folder, path)
        except RecordError:
            continue


def _compares(record: Record, selection: Selection, equal: Equivalences) -> bool:
    """Whether a record is of the suite and the family as they are now."""
    family = record.cell.family
    if family not in selection.families:
        return False
    now = hashes_with(selection, family, record.cell.dataset, record.hashes.method)[1]
    return equal.of(record.hashes).of_board() == equal.of(now).of_board()
