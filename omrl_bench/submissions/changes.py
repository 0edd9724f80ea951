"""What a new version of a row changes, compared with an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from omrl_bench.errors import RecordError
from omrl_bench.runner.records import iterate_records, read_cube_beside
from omrl_bench.submissions.checking import Checked
from omrl_bench.submissions.declaration import RECORDS, Declaration, parse_declaration

Means = dict[tuple[str, str], list[float]]  # of each seed, by family and condition


def changes(checked: Checked, earlier: Path) -> list[str]:
    """Compare a submission with an earlier version of it, a line for each thing that differs.

    Args:
        checked: The submission.
        earlier: Folder of the earlier version.
    """
    before, problems = parse_declaration(earlier)
    if checked.declaration is None or before is None:
        return [f"the earlier version cannot be compared: {'; '.join(problems)}"]
    lines = list(_fields(before, checked.declaration))
    old, new = _earlier_means(earlier / RECORDS), _means(checked)
    for family, condition in sorted(old.keys() | new.keys()):
        was, now = (means.get((family, condition), []) for means in (old, new))
        if was != now:
            lines.append(f"{family}, {condition}: {_score(was)} before, {_score(now)} now")
    return lines or ["nothing has changed"]


def _fields(before: Declaration, now: Declaration) -> Iterator[str]:
    was, its = (each.model_dump(exclude={"hashes"}) for each in (before, now))
    for name, value in its.items():
        if was[name] != value:
            yield f"{name}: {was[name]} before, {value} now"[:300]
    for family, hashes in now.hashes.items():
        old = before.hashes.get(family)
        names = [name for name, value in hashes.model_dump().items() if old and getattr(old, name) != value]
        if names:
            yield f"{family}: other hash of {', '.join(names)}"


def _earlier_means(results: Path) -> Means:
    means: Means = {}
    for record in iterate_records(results, lambda error: None):
        try:
            cube = read_cube_beside(record.cell.record_path(results), record)
        except RecordError:
            continue
        for condition, score in zip(cube.conditions, cube.scores().mean(axis=(1, 2)), strict=True):
            means.setdefault((record.cell.family, condition), []).append(float(score))
    return means


def _means(checked: Checked) -> Means:
    means: Means = {}
    for record, cube in checked.cubes:
        for condition, score in zip(cube.conditions, cube.scores().mean(axis=(1, 2)), strict=True):
            means.setdefault((record.cell.family, condition), []).append(float(score))
    return means


def _score(means: list[float]) -> str:
    return f"{np.mean(means):.1f} ({len(means)} seed{'s' * (len(means) != 1)})" if means else "nothing"
