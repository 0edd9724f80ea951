"""What the numbers of a submission say: whether they can be, and whether somebody else's row has them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from omrl_bench.errors import RecordError
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.known_tasks import known_tasks
from omrl_bench.runner.plan import Selection
from omrl_bench.runner.records import RECORD_DEPTH, Record, read_cube_beside, read_record_of, record_files

HIGH = 120.0  # mean score above which somebody should look: the experts have 100
SAME = 1e-3  # of the way from random to expert: returns that differ by less are the same
MANY_SAME = 0.5  # share of a cube's returns

Cubes = Sequence[tuple[Record, Cube]]


def cube_problems(cubes: Cubes, selection: Selection) -> Iterator[str]:
    """Tasks, draws, conditions and reference returns that are not those of the suite and this package."""
    conditions = {each.name for each in selection.protocol.conditions(selection.preset.qualities)}
    known = {family: known_tasks(family) for family in sorted({record.cell.family for record, _ in cubes})}
    for record, cube in cubes:
        where = record.cell.record_path(Path()).with_suffix(".npz").as_posix()
        of_family = known[record.cell.family]
        if of_family is None or record.hashes.tasks not in of_family.splits:
            yield f"{where}: this package does not know its tasks"
            continue
        objection = of_family.objection(record.hashes.tasks, cube)
        if objection:
            yield f"{where}: it has {objection}"
        expected = len(of_family.splits[record.hashes.tasks])
        if len(cube.tasks) != expected and selection.protocol.split != "train":
            yield f"{where}: {len(cube.tasks)} tasks; the suite evaluates {expected}"
        if cube.returns.shape[2] != selection.protocol.draws:
            yield f"{where}: {cube.returns.shape[2]} draws; the suite has {selection.protocol.draws}"
        if set(cube.conditions) != conditions:
            yield f"{where}: conditions {', '.join(cube.conditions)}; the suite has {', '.join(sorted(conditions))}"
        if set(record.metrics) != set(cube.conditions):
            yield f"{where}: its record has means of other conditions"


def notes_on_numbers(cubes: Cubes, others: Mapping[str, Path]) -> Iterator[str]:
    """Numbers that are higher than anybody's, equal in two seeds, or somebody else's.

    Args:
        cubes: Of the submission.
        others: Results folders of other rows, by what to call them.
    """
    for record, cube in cubes:
        means = cube.scores().mean(axis=(1, 2))
        for condition, score in zip(cube.conditions, means, strict=True):
            if score > HIGH:
                yield f"{_cell(record)}: mean score {score:.1f} under {condition!r}: above every expert's 100"
    seen: dict[tuple[str, str], Record] = {}
    for record, cube in cubes:
        first = seen.setdefault((record.cell.family, cube.content_hash()), record)
        if first is not record:
            same = f"{_cell(record)}: the returns of seed {first.cell.seed}, to the bit"
            yield f"{same}; right only where neither the method nor the episodes are random"
    for name, results in others.items():
        yield from _copies(cubes, name, results)


def _copies(cubes: Cubes, name: str, results: Path) -> Iterator[str]:
    """Rows of a results folder that have the returns of the submission."""
    own = {(record.cell.family, record.cell.seed): (record, cube) for record, cube in cubes}
    sets = {record.cell.folder().parts[:2] for record, _ in cubes}
    shared: dict[tuple[str, str], list[float]] = {}
    for path in (path for some in sorted(sets) for path in record_files(results.joinpath(*some), lambda error: None)):
        if len(path.relative_to(results).parts) != RECORD_DEPTH:
            continue
        try:
            record = read_record_of(results, path)
            key = record.cell.family, record.cell.seed
            if record.status != "complete" or key not in own or record.hashes.tasks != own[key][0].hashes.tasks:
                continue
            share = same_returns(own[key][1], read_cube_beside(path, record))
        except RecordError:  # `report` says what is wrong with it
            continue
        shared.setdefault((record.cell.family, record.cell.method), []).append(share)
    for (family, method), shares in sorted(shared.items()):
        if max(shares) > MANY_SAME:
            yield f"{family}: {max(shares):.0%} of the returns of a seed are those of {method} in {name}: a copy?"


def same_returns(first: Cube, second: Cube) -> float:
    """The share of returns that two cubes have in common, of what both measured."""
    conditions = [name for name in first.conditions if name in second.conditions]
    tasks = np.intersect1d(first.tasks, second.tasks)
    draws = min(first.returns.shape[2], second.returns.shape[2])
    if not conditions or not len(tasks):
        return 0.0
    one, other = (_part(cube, conditions, tasks, draws) for cube in (first, second))
    return float(np.mean(np.abs(one - other) < 100 * SAME))


def _part(cube: Cube, conditions: Sequence[str], tasks: np.ndarray, draws: int) -> np.ndarray:
    rows = [cube.conditions.index(name) for name in conditions]
    places = np.array([np.flatnonzero(cube.tasks == task)[0] for task in tasks])
    return cube.scores()[rows][:, places, :draws]


def _cell(record: Record) -> str:
    return f"{record.cell.family}, seed {record.cell.seed}"
