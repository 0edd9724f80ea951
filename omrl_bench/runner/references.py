"""Reference rows: what another folder has to show beside one's own records, said before anything is trained.

:func:`omrl_bench.report.reading.frames.read` puts them beside each other, without running or copying them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.envs.families import get_family
from omrl_bench.errors import no_results_folder
from omrl_bench.runner.plan import Selection
from omrl_bench.runner.records import Record, RecordError, read_record_of, record_files

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class References:
    """Reference rows of a suite and preset.

    Attributes:
        folder: Where they are; None if there are none.
        sentences: What there is, and what there is not, for people.
    """

    folder: Path | None
    sentences: tuple[str, ...]


def shipped_records() -> Path | None:
    """The reference records of a checkout; None in an installed package, which has none."""
    folder = ROOT / "results"
    return folder if (ROOT / "pyproject.toml").is_file() and folder.is_dir() else None


def find_references(selection: Selection, folder: Path | None) -> References:
    """Find the reference rows of a selection's suite, preset and families, whatever their method.

    Args:
        selection: What is to stand beside them.
        folder: Results folder; None for one that is not there.

    Raises:
        InputError: if the folder is none.
    """
    only_own = "the tables show the rows of --out alone"
    if folder is None:
        sentence = f"no reference records come with an installed package: {only_own}; --against FOLDER names some"
        return References(None, (sentence,))
    if not folder.is_dir():
        raise no_results_folder(folder, "--against")
    suite, preset = selection.suite.name, selection.preset_name
    records = [each for each in _records(folder, suite, preset) if each.status == "complete"]
    if not records:
        others = sorted({path.name for path in folder.glob("*/*") if path.parent.name == suite and path.is_dir()})
        known = f" (it has those of preset {', '.join(others)})" if others else ""
        sentence = f"{folder} has no records of suite {suite!r}, preset {preset!r}{known}: {only_own}"
        return References(None, (sentence,))
    wanted = [each.cell for each in records if _compares(each, selection)]
    lacking = [family for family in selection.families if family not in {cell.family for cell in wanted}]
    older = {each.cell.family for each in records} & set(lacking)
    sentences = []
    if wanted:
        sentences.append(f"reference rows from {folder}: {', '.join(sorted({cell.method for cell in wanted}))}")
    for family in lacking:
        why = "none but of another version of the suite or family" if family in older else "none"
        sentences.append(f"reference rows for {family} in {folder}: {why}")
    return References(folder if wanted else None, tuple(sentences))


def _records(folder: Path, suite: str, preset: str) -> Iterator[Record]:
    """The records that can be used."""
    for path in record_files(folder / suite / preset, lambda error: None):
        try:
            yield read_record_of(folder, path)
        except RecordError:
            continue


def _compares(record: Record, selection: Selection) -> bool:
    """Whether a record is of the suite and the family as they are now."""
    cell, suite = record.cell, selection.suite
    if cell.family not in {*selection.families, *suite.families_of(selection.preset_name)}:
        return False
    now = suite.fingerprint(selection.preset_name, cell.family), get_family(cell.family).fingerprint()
    return now == (record.hashes.suite, record.hashes.family)
