"""Reference rows: records of another folder, shown beside one's own without running or copying them.

Own records win: a method that has any in the results folder is shown as it was run there. Of the others, the rows are
taken that stand beside own ones (same family, dataset and backbone), and were run by the suite and on the family as
they are now.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.envs.families import get_family
from omrl_bench.errors import no_results_folder
from omrl_bench.runner.plan import Selection
from omrl_bench.runner.records import Cell, Record, RecordError, read_record_of, record_files

ROOT = Path(__file__).resolve().parents[2]
# of a record's path in a results folder, see omrl_bench.runner.records.Cell
DEPTH, METHOD = 7, 4


@dataclass(frozen=True)
class References:
    """Reference rows of a suite and preset.

    Attributes:
        folder: Where they are; None if there is no such folder.
        cells: Their cells.
        sentences: What there is, and what there is not, for people.
    """

    folder: Path | None
    cells: tuple[Cell, ...]
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
        return References(None, (), (sentence,))
    if not folder.is_dir():
        raise no_results_folder(folder, "--against")
    suite, preset = selection.suite.name, selection.preset_name
    records = [each for each in _records(folder, suite, preset) if each.status == "complete"]
    if not records:
        others = sorted({path.name for path in folder.glob("*/*") if path.parent.name == suite and path.is_dir()})
        known = f" (it has those of preset {', '.join(others)})" if others else ""
        sentence = f"{folder} has no records of suite {suite!r}, preset {preset!r}{known}: {only_own}"
        return References(folder, (), (sentence,))
    wanted = [each.cell for each in records if _compares(each, selection)]
    lacking = [family for family in selection.families if family not in {cell.family for cell in wanted}]
    older = {each.cell.family for each in records} & set(lacking)
    sentences = []
    if wanted:
        sentences.append(f"reference rows from {folder}: {', '.join(sorted({cell.method for cell in wanted}))}")
    for family in lacking:
        why = "none but of another version of the suite or family" if family in older else "none"
        sentences.append(f"reference rows for {family} in {folder}: {why}")
    return References(folder, tuple(wanted), tuple(sentences))


@contextmanager
def beside(out: Path, references: References | None, suite: str, preset: str) -> Iterator[tuple[Path, frozenset[str]]]:
    """A results folder that shows own records of a suite and preset with the reference rows beside them.

    It is made of links, and is there while the context is open; without reference rows it is ``out`` itself.

    Args:
        out: Results folder of the own records.
        references: What to show beside them, if anything.
        suite: Name of the suite.
        preset: Name of the preset.

    Yields:
        The folder, and the names of the methods whose rows are references.
    """
    cells = () if references is None else references.cells
    own = record_files(out / suite / preset, lambda error: None)
    # a file that lies elsewhere than a record does is none
    folders = {path.parent.relative_to(out) for path in own if len(path.relative_to(out).parts) == DEPTH}
    places, methods = {_place(folder) for folder in folders}, {folder.parts[METHOD] for folder in folders}
    shown = [cell for cell in cells if _place(cell.folder()) in places and cell.method not in methods]
    if references is None or references.folder is None or not shown:
        yield out, frozenset()
        return
    with tempfile.TemporaryDirectory(prefix="omrl-bench-") as name:
        for path in own:
            _link(path, Path(name, path.relative_to(out)))
        for cell in shown:
            _link(cell.record_path(references.folder), cell.record_path(Path(name)))
        yield Path(name), frozenset(cell.method for cell in shown)


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


def _place(folder: Path) -> tuple[str, ...]:
    """The folder of a cell without its method: what two rows of one table share."""
    return (*folder.parts[:METHOD], *folder.parts[METHOD + 1 :])


def _link(record: Path, there: Path) -> None:
    """Link a record, and its cube and traces if there are any."""
    there.parent.mkdir(parents=True, exist_ok=True)
    for ending in (".json", ".npz", ".traces.npz"):
        if record.with_suffix(ending).exists():
            there.with_suffix(ending).symlink_to(record.with_suffix(ending).resolve())
