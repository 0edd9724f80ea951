"""Whether a submission is what it says: everything that can be told without running it. Its code is never imported."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omrl_bench.errors import InputError, RecordError
from omrl_bench.fingerprint import hash_text
from omrl_bench.protocols.suite import Suite, load_suite, suite_names
from omrl_bench.registry import backbones, source_hash
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.equivalences import Equivalences, read_equivalences
from omrl_bench.runner.plan import Selection, select
from omrl_bench.runner.records import Hashes, Record, iterate_records, read_cube_beside
from omrl_bench.runner.references import shipped_records
from omrl_bench.runner.states import hashes_with
from omrl_bench.submissions.declaration import RECORDS, SOURCE, Declaration, parse_declaration
from omrl_bench.submissions.evidence import cube_problems, notes_on_numbers
from omrl_bench.submissions.files import find_files, source_digest

COMPARABLE = ("canonical", "equivalent")
PLACEHOLDER_HOURS = 0.5  # of what the records' clocks say: fewer stated hours are a slip


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        declaration: What the submission says; None if that cannot be read.
        problems: What must be mended, a line each.
        notes: What a maintainer should look at, a line each.
        cubes: The records that can be used, with their cubes.
    """

    declaration: Declaration | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cubes: Sequence[tuple[Record, Cube]] = field(default=(), repr=False)


def check(folder: Path, others: Mapping[str, Path] | None = None) -> Checked:
    """Check a submission: nothing in it is believed, and none of its code is run.

    Args:
        folder: The submission.
        others: Results folders of other rows, by what to call them, to find copies of their numbers.

    Raises:
        InputError: if the folder is none, or the package's own file of equal hashes is damaged.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"{folder} is not a folder of a submission; omrl-bench submit new makes one")
    files, problems = find_files(folder)
    if problems:
        return Checked(None, tuple(problems))
    declaration, problems = parse_declaration(folder)
    if declaration is None:
        return Checked(None, tuple(problems))
    suite, problems = _suite_of(declaration)
    if suite is None:
        return Checked(declaration, tuple(problems))
    found, unread = _read_cubes(folder / RECORDS)
    cubes = [(record, cube) for record, cube in found if not _misplaced(record, declaration)]
    selection = select(suite, declaration.grid.preset, declaration.grid.families, seeds=declaration.grid.seeds)
    equal = read_equivalences(*filter(None, [shipped_records()]))
    problems = [
        *unread,
        *(f"{_where(record)}: {problem}" for record, _ in found if (problem := _misplaced(record, declaration))),
        *_left_over(files, found, declaration),
        *_grid_problems(declaration, suite, [record for record, _ in cubes]),
        *(line for record, _ in cubes for line in _record_problems(record, declaration)),
        *_hash_problems(declaration, selection, equal, [record for record, _ in cubes]),
        *_source_problems(folder, declaration, [record for record, _ in cubes]),
        *cube_problems(cubes, selection),
    ]
    notes = [*_notes(declaration, suite, [record for record, _ in cubes]), *notes_on_numbers(cubes, others or {})]
    return Checked(declaration, tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes)), cubes)


def _suite_of(declaration: Declaration) -> tuple[Suite | None, list[str]]:
    grid = declaration.grid
    if grid.suite not in suite_names():
        return None, [f"suite {grid.suite!r} does not come with the package; there are {', '.join(suite_names())}"]
    suite = load_suite(grid.suite)
    if grid.preset not in suite.presets:
        return None, [f"suite {grid.suite!r} has no preset {grid.preset!r}; there are {', '.join(suite.presets)}"]
    known = {"dataset": suite.datasets, "backbone": suite.backbones}
    problems = [
        f"{kind} {getattr(grid, kind)!r} is none of the suite's: {', '.join(names)}"
        for kind, names in known.items()
        if getattr(grid, kind) not in names
    ]
    strange = sorted(set(grid.families) - set(suite.families_of(grid.preset)))
    if strange:
        problems.append(f"families that the preset does not have: {', '.join(strange)}")
    if grid.backbone not in backbones():
        problems.append(f"unknown backbone {grid.backbone!r}")
    return (None if problems else suite), problems


def _read_cubes(results: Path) -> tuple[list[tuple[Record, Cube]], list[str]]:
    """The records that can be used, with their cubes, and a line for each that cannot."""
    problems: list[str] = []

    def refuse(error: RecordError) -> None:
        problems.append(f"{RECORDS}/{error.path.relative_to(results).as_posix()}: it {error.reason}")

    cubes = []
    for record in iterate_records(results, refuse):
        if record.status != "complete":
            problems.append(f"{_where(record)}: it is of a failure; leave it out, and say why under [[absent]]")
            continue
        try:
            cubes.append((record, read_cube_beside(record.cell.record_path(results), record)))
        except RecordError as error:
            refuse(error)
    return cubes, problems


def _where(record: Record) -> str:
    return f"{RECORDS}/{record.cell.record_path(Path()).as_posix()}"


def _misplaced(record: Record, declaration: Declaration) -> str:
    """Why a record is none of the declared row and grid; empty if it is one."""
    cell, grid = record.cell, declaration.grid
    wanted = {"method": declaration.name, **grid.model_dump(include={"suite", "preset", "dataset", "backbone"})}
    for name, value in wanted.items():
        if getattr(cell, name) != value:
            return f"its {name} is {getattr(cell, name)!r}, the declared one {value!r}"
    if cell.family not in grid.families or cell.seed not in grid.seeds:
        return "its family or seed is not of the declared grid"
    return ""


def _left_over(files: Sequence[Path], found: Sequence[tuple[Record, Cube]], declaration: Declaration) -> Iterator[str]:
    """Cubes without a record, and a ledger that is named and not there."""
    ledger = declaration.effort.ledger
    if ledger and Path(ledger) not in files:
        yield f"effort.ledger: there is no file {ledger}"
    used = {record.cell.cube_path(Path(RECORDS)) for record, _ in found}
    for path in files:
        if path.suffix == ".npz" and path.parts[0] == RECORDS and path not in used:
            yield f"{path.as_posix()}: a cube without a record that can be used"


def _grid_problems(declaration: Declaration, suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    """Cells of the suite's preset that are neither there nor explained."""
    grid = declaration.grid
    there = {(record.cell.family, record.cell.seed) for record in records}
    absent = {(each.family, seed) for each in declaration.absent for seed in each.seeds}
    for family in suite.families_of(grid.preset):
        seeds = suite.presets[grid.preset].seeds
        lacking = [seed for seed in seeds if (family, seed) not in there | absent]
        if lacking:
            some = f"seeds {', '.join(map(str, lacking))}" if len(lacking) < len(seeds) else "nothing"
            verb = "are not there" if len(lacking) < len(seeds) else "is there"
            yield f"{family}: {some} {verb}; run the rest of the preset, or explain it under [[absent]]"
    for family, seed in sorted(absent & there):
        yield f"{family}: seed {seed} is declared absent, but it is there"
    more = sorted(set(grid.seeds) - set(suite.presets[grid.preset].seeds))
    if more:
        yield f"seeds {', '.join(map(str, more))} are not of the preset: a row has all of its seeds and no other"


def _record_problems(record: Record, declaration: Declaration) -> Iterator[str]:
    """What one record says that it should not."""
    where = _where(record)
    if record.content is None or record.cube is None or not record.metrics:
        yield f"{where}: it has no content hash, no hash of its cube, or no means"
    if record.dataset_status not in COMPARABLE:
        yield f"{where}: it was trained on data of status {record.dataset_status!r}; omrl-bench data verify says why"
    if set(record.privileges) != set(declaration.privileges):
        declared = ", ".join(sorted(declaration.privileges)) or "none"
        yield f"{where}: its privileges are {', '.join(record.privileges) or 'none'}, the declared ones {declared}"
    elsewhere = record.trained_elsewhere is not None
    if elsewhere != (declaration.effort.checkpoint == "trained elsewhere"):
        yield f"{where}: effort.checkpoint is {declaration.effort.checkpoint!r}, and the record says otherwise"
    limit = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    if datetime.datetime.fromisoformat(record.created) > limit:
        yield f"{where}: it was made at {record.created}, which is yet to come"
    if record.cell.seed not in record.trained_together and not elsewhere:
        yield f"{where}: its seed is not among those that were trained together"


def _hash_problems(
    declaration: Declaration, selection: Selection, equal: Equivalences, records: Sequence[Record]
) -> Iterator[str]:
    """Hashes that are not this package's, or not the declared ones."""
    dataset = declaration.grid.dataset
    for family in sorted({record.cell.family for record in records}):
        known: Hashes = hashes_with(selection, family, dataset, "")[1]
        declared = declaration.hashes.get(family)
        if declared is None:
            yield f"submission.toml: no key 'hashes.{family}'; omrl-bench submit new writes it"
            continue
        for record in (each for each in records if each.cell.family == family):
            its = record.equivalent_to or record.hashes
            for name, value in its.model_dump().items():
                said = getattr(declared, name)
                if value != said:
                    yield f"{_where(record)}: its {name} hash is {value!r}, the declared one {said!r}"
                elif name != "method" and not equal.same(name, value, getattr(known, name)):
                    yield f"{_where(record)}: its {name} hash is not this package's; run it with this version"
    for family in sorted(set(declaration.hashes) - {record.cell.family for record in records}):
        yield f"submission.toml: hashes of {family}, of which there is no record"


def _source_problems(folder: Path, declaration: Declaration, records: Sequence[Record]) -> Iterator[str]:
    """Whether the source that is here is the declared one, and made the records."""
    code = declaration.code
    digest = source_digest(folder)
    if digest != code.sha256:
        what = "there is no folder source/" if not digest else f"the folder source/ has sha256 {digest}"
        yield f"code.sha256: {what}"
        return
    if not digest:
        return
    file, _, name = code.entry_point.rpartition(":")
    path = (folder / SOURCE / file).resolve()
    if not path.is_relative_to((folder / SOURCE).resolve()) or not path.is_file():
        yield f"code.entry_point: there is no file {SOURCE}/{file}"
        return
    try:
        source = source_hash(f"{path}:{name}", declaration.grid.backbone)
    except (InputError, SyntaxError, ValueError, RecursionError) as error:
        yield f"{SOURCE}/{file}: {error}"[:400]
        return
    for record in records:
        expected = hash_text(source, json.dumps(record.configuration, sort_keys=True))
        if record.trained_elsewhere is None and record.hashes.method != expected:
            yield f"{_where(record)}: it was not made by the source in {SOURCE}/ with the configuration that it names"


def _notes(declaration: Declaration, suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    """What is allowed and worth a look."""
    for each in declaration.absent:
        yield f"absent: {each.family}, seeds {', '.join(map(str, each.seeds))}: {each.why}"
    if not declaration.code.sha256:
        yield f"the source is not here: {declaration.code.address} at {declaration.code.commit}"
    if declaration.effort.extra_data.strip(". ").lower() not in ("none", "no"):
        yield f"extra data: {declaration.effort.extra_data}"
    if any(record.trained_elsewhere for record in records):
        yield "trained elsewhere: the row stays self-reported"
    together = {(record.cell.family, record.job, record.trained_together): record for record in records}
    clock = sum(record.fit_seconds for record in together.values()) / 3600
    if declaration.effort.hours < PLACEHOLDER_HOURS * clock:
        yield f"{declaration.effort.hours:g} hours are declared; the records' clocks say {clock:.2g} for training alone"
    if len({record.hashes.method for record in records}) > len({record.cell.family for record in records}):
        yield "the seeds of a family have different hashes of the method"
    settings = {json.dumps(record.configuration, sort_keys=True) for record in records}
    if len(settings) > 1 and declaration.ruleset == "fixed":
        yield f"ruleset 'fixed', and the records have {len(settings)} configurations; is one setting used everywhere?"
    if suite.default_preset == declaration.grid.preset and declaration.grid.preset == "quick":
        yield "preset 'quick' is for trying things out: no claim should rest on it"
