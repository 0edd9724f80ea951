"""What the records of one set were made from: which of them compare, and what a reader must know of the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import Suite, load_suite, suite_names
from omrl_bench.report.reading.results import Note, on_family, on_row
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.equivalences import Equivalences
from omrl_bench.runner.known_tasks import KnownTasks, known_tasks
from omrl_bench.runner.records import Cell, Record

#: Statuses of training data whose numbers compare, see :func:`omrl_bench.data.manifest.compare`.
COMPARABLE = ("canonical", "equivalent")

#: The hashes in which the records of a board agree, in words.
_OF_BOARD = {"suite": "suite", "family": "family", "tasks": "evaluated tasks"}

#: What cubes must have in common, with which others, and what it is of a cube.
_ALIKE: tuple[tuple[str, str, Callable[[Cube], object]], ...] = (
    ("tasks", "family", lambda cube: cube.tasks.tobytes()),
    ("reference returns", "family", lambda cube: (cube.random.tobytes(), cube.expert.tobytes())),
    ("draws", "family", lambda cube: cube.returns.shape[2]),
    ("conditions", "method", lambda cube: cube.conditions),
)


def one_version(
    records: Sequence[Record], equal: Equivalences, reference: Container[str] = ()
) -> tuple[list[Record], list[Note]]:
    """Keep one version of every family and suite: numbers of two versions have no place on one board.

    Args:
        records: Complete records of one set.
        equal: Hashes that are declared equal: records that differ in them only are of one version.
        reference: Methods that stand beside the others: they do not decide which version is kept.

    Returns:
        The records of the version that most records of a family have (the newest of those with equally many), in the
        order given, and a note on every family that has others.
    """
    kept: set[Cell] = set()
    notes = []
    for family, of_family in _by_family(equal.applied(records)).items():
        versions: dict[tuple[tuple[str, str], ...], list[Record]] = defaultdict(list)
        for record in of_family:
            versions[record.hashes.of_board()].append(record)
        deciding = [r for r in of_family if r.cell.method not in reference] or of_family
        counts = Counter(r.hashes.of_board() for r in deciding)
        newest = {r.hashes.of_board(): r.created for r in sorted(deciding, key=lambda r: r.created)}
        best = max(counts, key=lambda key: (counts[key], newest[key], key))
        kept.update(record.cell for record in versions.pop(best))
        if versions:
            others = [record for version in versions.values() for record in version]
            what = [name for name, value in best if any(getattr(r.hashes, name) != value for r in others)]
            said = (
                f"{len(others)} of {len(of_family)} records left out: they are of another version of the "
                f"{' and '.join(_OF_BOARD[name] for name in what)} than the rest (of {_methods(others)})"
            )
            notes.append(on_family(family, said))
    return [record for record in records if record.cell in kept], notes


def unlike_the_others(cubes: Mapping[Cell, Cube], reference: Container[str] = ()) -> dict[Cell, str]:
    """Cubes that cannot stand beside the others of their family, or seed beside seed of their method, and why not.

    What most cubes of a family (of a method) have is right; a method may lack a condition, but in all of its seeds.

    Args:
        cubes: Of the complete records of one set.
        reference: Methods that stand beside the others: they do not decide what is right, where there are others.
    """
    unlike: dict[Cell, str] = {}
    for what, of, about in _ALIKE:
        groups: dict[tuple[str, ...], dict[Cell, object]] = defaultdict(dict)
        for cell, cube in cubes.items():
            if cell not in unlike:
                groups[(cell.family,) if of == "family" else (cell.family, cell.method)][cell] = about(cube)
        for group in groups.values():
            deciding = [own for cell, own in group.items() if cell.method not in reference] or group.values()
            ((usual, _),) = Counter(deciding).most_common(1)
            unlike |= {cell: f"other {what} than most of its {of}" for cell, own in group.items() if own != usual}
    return unlike


def forged(cubes: Mapping[Cell, Cube], records: Iterable[Record]) -> dict[Cell, str]:
    """Cubes that are not of the tasks which their records' hashes name, with their reference returns, and why not.

    Where the package does not know the hash, :func:`provenance` and the doubts of the leaderboard say so.
    """
    known: dict[str, KnownTasks | None] = {}
    found = {}
    for record in records:
        cell = record.cell
        if cell not in cubes:
            continue
        if cell.family not in known:
            known[cell.family] = known_tasks(cell.family)
        of_family = known[cell.family]
        objection = of_family.objection(record.hashes.tasks, cubes[cell]) if of_family else ""
        if objection:
            found[cell] = objection
    return found


def expected_seeds(suite: str, preset: str, records: Iterable[Record]) -> dict[str, set[int]]:
    """Seeds that every method of a family should have: any record's, but of a known preset none beyond its own."""
    found: dict[str, set[int]] = defaultdict(set)
    for record in records:
        found[record.cell.family].add(record.cell.seed)
    known = shipped(suite)
    if known and preset in known.presets:
        return {family: seeds & set(known.presets[preset].seeds) or seeds for family, seeds in found.items()}
    return dict(found)


def provenance(records: Sequence[Record], equal: Equivalences) -> list[Note]:
    """Notes on records of one version that were not made from the same data or methods, and on those without a hash.

    Args:
        records: Complete records of one set and version.
        equal: Hashes that are declared equal: no note on records that differ in them only.
    """
    notes = []
    records = equal.applied(records)
    families = _by_family(records)
    for family, of_family in families.items():
        notes += [on_family(family, said) for said in _data_notes(of_family)]
        today, versions = version_today(family), {record.family_version for record in of_family}
        if not today:
            said = "not a family of this package: nothing here says whether its tasks and reference returns are right"
            notes.append(on_family(family, said))
        if versions != {today} and today:
            said = f"of version {', '.join(sorted(versions))[1:]} of the family, which is at version {today[1:]} now"
            notes.append(on_family(family, said))
        elsewhere = {(record.cell.method, record.trained_elsewhere) for record in of_family if record.trained_elsewhere}
        notes += [
            on_row(family, method, f"trained elsewhere, self-reported ({said})") for method, said in sorted(elsewhere)
        ]
        hashes: dict[str, set[str]] = defaultdict(set)
        for record in of_family:
            hashes[record.cell.method].add(record.hashes.method)
        for method in sorted(name for name, values in hashes.items() if len(values) > 1):
            notes.append(on_row(family, method, "the seeds were run with different versions of the method"))
    older = [family for family, of_family in families.items() if not _of_todays_suite(of_family[0], equal)]
    if len(older) < len(families):
        notes += [on_family(family, "run by another version of the suite than the other families") for family in older]
    unhashed = sum(record.content is None for record in records)
    if unhashed:
        said = f"{unhashed} of {len(records)} records have no content hash: a change by hand would not be seen"
        notes.append(Note(said))
    return notes


def version_today(family: str) -> str:
    """Version of an installed family; "" if there is none of that name."""
    try:
        return get_family(family).version
    except InputError:
        return ""


def _of_todays_suite(record: Record, equal: Equivalences) -> bool:
    """Whether a record is of the suite as this package has it, or the package does not have it."""
    cell = record.cell
    suite = shipped(cell.suite)
    if suite is None or cell.preset not in suite.presets:
        return True
    return equal.same("suite", record.hashes.suite, suite.fingerprint(cell.preset, cell.family))


def shipped(suite: str) -> Suite | None:
    """The suite of that name, if it comes with the package."""
    return load_suite(suite) if suite in suite_names() else None


def _data_notes(records: list[Record]) -> list[str]:
    """Notes on the data of one family's records."""
    notes = []
    of_status: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        of_status[record.dataset_status if record.dataset_status in COMPARABLE else "unknown"].append(record)
    equivalent, unknown = of_status["equivalent"], of_status["unknown"]
    if equivalent:
        notes.append(
            f"{len(equivalent)} of {len(records)} records were trained on data that are equivalent to the canonical "
            "ones (other rounding, the same returns within the manifest's tolerance), "
            f"of methods {_methods(equivalent)}"
        )
    if unknown:
        alone = len(unknown) == len(records) and not _differing(unknown)
        consequence = "they compare with each other only" if alone else "their numbers do not compare"
        notes.append(
            f"{len(unknown)} of {len(records)} records were trained on data of unknown status, "
            f"of methods {_methods(unknown)}; {consequence}"
        )
    for name in _differing(of_status["canonical"]):  # canonical data are the same bytes, by definition
        notes.append(f"the records on canonical data differ in their {name} hash; their numbers do not compare")
    return notes


def _differing(records: list[Record]) -> list[str]:
    names = ("dataset", "contexts")
    return [name for name in names if len({getattr(record.hashes, name) for record in records}) > 1]


def _by_family(records: Iterable[Record]) -> dict[str, list[Record]]:
    families: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        families[record.cell.family].append(record)
    return dict(sorted(families.items()))


def _methods(records: Iterable[Record]) -> str:
    return ", ".join(sorted({record.cell.method for record in records}))
