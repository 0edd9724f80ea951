"""Declare hashes equal after a change of the code that changes no number, with the evidence.

Records that exist carry hashes of the code that made them. This runs the suites that they are of once more, with a
small budget, by an older checkout (whose hashes they carry) and by this one; where every return has the same bits,
``equivalences.toml`` of the results folder declares the two hashes equal, see :mod:`omrl_bench.runner.equivalences`.
Run by hand, when the code is committed, with the Python of each checkout:

    .venv/bin/python tools/declare_equal.py ../before/.venv/bin/python --why "one update step in place of five copies"

A hash is declared equal if cells that were run carry it, old and new, with the same hyper-parameters, and none of them
differs. The hash of a suite depends on the budget, so that no small run carries it: it is declared equal if the two
checkouts read the same protocol and budget from the suite, and none of its small cells differs. What stays stale is
printed, and the exit code is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
import typer

from omrl_bench.errors import InputError, RecordError
from omrl_bench.processes import processors
from omrl_bench.protocols.suite import seed_text, suite_names, suite_table
from omrl_bench.registry import methods as registered
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.equivalences import Declaration, Equivalences, HashName, add_declarations, read_equivalences
from omrl_bench.runner.records import Cell, Record, iterate_records, read_record

#: What a checkout reads from suites. In: (suite, preset, family); out: the suite's hash, and what numbers depend on.
READ_SUITES = """
import json, sys
from omrl_bench.protocols.suite import load_suite

GRID = {"seeds", "time_limit", "job_seconds", "methods", "families", "family_updates"}
OTHERS = {"extends", "title", "families", "datasets", "methods", "backbones", "default_preset", "presets"}
found = []
for name, preset, family in json.load(sys.stdin):
    suite = load_suite(name)
    budget = suite.presets[preset].of(family).model_dump(mode="json", exclude=GRID)
    keys = suite.model_dump(mode="json", exclude=OTHERS)
    found.append([suite.fingerprint(preset, family), {**keys, **keys.pop("protocol"), **budget}])
json.dump(found, sys.stdout)
"""
Board = tuple[str, str]  # suite, preset
Claim = tuple[HashName, str, str]  # field of the hashes, old value, new value


class Twins(NamedTuple):
    """A cell that both checkouts ran, and how its numbers differ; an empty text if every bit is the same."""

    old: Record
    new: Record
    difference: str


class SuiteHash(NamedTuple):
    """The hash of a suite, preset and family in both checkouts, and what else they read from the suite's file."""

    old: str
    new: str
    difference: str


def main(
    old_python: Annotated[Path, typer.Argument(help="Python of the older checkout.")],
    why: Annotated[str, typer.Option(help="Why the new code computes the same: a sentence for the reader.")],
    results: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    commit: Annotated[str, typer.Option(help="Commit that changed the code (default: this checkout's).")] = "",
    suite: Annotated[list[str] | None, typer.Option(help="Only records of this suite (repeatable).")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only records of this method (repeatable).")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only records of this family (repeatable).")] = None,
    updates: Annotated[int, typer.Option(min=1, help="Updates of the encoder, and of the policy.")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 2,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers at a time (default: one per core).")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder that keeps both runs, to go on when interrupted.")] = None,
) -> None:
    """Run the suites of a results folder's records by two checkouts, and declare the hashes equal that are."""
    wanted = (("suite", suite), ("method", method), ("family", family))
    records = [
        record
        for record in iterate_records(results)
        if record.status == "complete" and all(not names or getattr(record.cell, key) in names for key, names in wanted)
    ]
    for name in sorted({record.cell.method for record in records} - set(registered())):
        typer.echo(f"left out, for it is no method of this checkout: {name}", err=True)
    records = [record for record in records if record.cell.method in registered()]
    old, new = str(old_python.absolute()), sys.executable
    if _place_of(old) == _place_of(new):
        raise InputError(f"{old_python} runs this very checkout, {_place_of(new)}: there is nothing to compare")
    known = read_equivalences(results)
    with tempfile.TemporaryDirectory() as temporary:
        work = (keep or Path(temporary)).resolve()
        twins = run_both(records, work, old, new, updates, seeds, jobs or processors())
    support = claims(twins, read_suites(records, old, new))
    found = declarations(support, records, known, commit or _commit(twins), why, f"{updates} updates")
    add_declarations(results, found)
    for each in found:
        typer.echo(f"declared equal: {each.field} {each.old} and {each.new}")
    left = remaining(support, records, Equivalences((*known.declarations, *found)))
    for line in left:
        typer.echo(line, err=True)
    typer.echo(f"{len(found)} declarations written to {results}; {len(left)} hashes stay stale")
    raise typer.Exit(1 if left else 0)


def run_both(
    records: Iterable[Record], work: Path, old: str, new: str, updates: int, seeds: int, jobs: int
) -> list[Twins]:
    """Run small copies of the suites of some records by two checkouts, and compare every cell.

    Raises:
        InputError: if a checkout cannot run a suite at all.
    """
    found = []
    for name, preset in sorted({(record.cell.suite, record.cell.preset) for record in records}):
        cells = [record.cell for record in records if (record.cell.suite, record.cell.preset) == (name, preset)]
        if name not in suite_names():
            continue
        file = work / f"{name}-{preset}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(small_suite(name, preset, cells, updates, seeds), encoding="utf-8")
        folders = work / "old", work / "new"
        for python, folder in zip((old, new), folders, strict=True):
            command = [python, "-m", "omrl_bench", "run", "--suite", str(file), "--out", str(folder)]
            command += ["--jobs", str(jobs)]
            code = subprocess.run(command, cwd=work, check=False).returncode  # not in a checkout: it would be imported
            if code not in (0, 1):  # 1: some cells failed
                raise InputError(f"{python} cannot run {file}: exit code {code}")
        found += compare_runs(*folders, (name, preset))
    return found


def small_suite(name: str, preset: str, cells: Sequence[Cell], updates: int, seeds: int) -> str:
    """A shipped suite as TOML, restricted to the names that some cells have, and with a small budget."""
    table = suite_table(name)
    grid = ("methods", "families", "family_updates")
    budget = {key: value for key, value in table["presets"][preset].items() if key not in grid}
    budget |= {"seeds": list(range(seeds)), "evaluations": 0, "updates": updates}
    budget["encoder_updates"] = min(updates, budget["encoder_updates"])
    names = {"families": "family", "datasets": "dataset", "methods": "method", "backbones": "backbone"}
    keys = {key: value for key, value in table.items() if key not in ("extends", "presets")}
    keys |= {plural: sorted({getattr(cell, each) for cell in cells}) for plural, each in names.items()}
    keys["default_preset"] = preset
    rho = {family: value for family, value in keys.pop("context_rho", {}).items() if family in keys["families"]}
    tables = {"protocol": keys.pop("protocol"), "context_rho": rho, f"presets.{preset}": budget}
    lines = _assignments(keys)
    for title, of_table in tables.items():
        lines += ["", f"[{title}]", *_assignments(of_table)] if of_table else []
    return "\n".join(lines) + "\n"


def compare_runs(old: Path, new: Path, board: Board) -> list[Twins]:
    """Compare the cells that two results folders have of a suite and preset, bit for bit."""
    found = []
    for record in iterate_records(new):
        if (record.cell.suite, record.cell.preset) == board:
            before = read_record(record.cell.record_path(old))  # a run leaves a record of every cell
            found.append(Twins(before, record, _difference(before, old, record, new)))
    return found


def read_suites(records: Iterable[Record], old: str, new: str) -> dict[tuple[str, str, str], SuiteHash]:
    """Read the shipped suites of some records by two checkouts: by suite, preset and family."""
    asked = sorted({(record.cell.suite, record.cell.preset, record.cell.family) for record in records})
    asked = [key for key in asked if key[0] in suite_names()]
    then, now = (_ask(python, READ_SUITES, json.dumps(asked)) for python in (old, new))
    found = {}
    for key, (old_hash, old_keys), (new_hash, new_keys) in zip(asked, json.loads(then), json.loads(now), strict=True):
        # a key that only one of them knows has to say nothing there
        changed = [name for name in {**old_keys, **new_keys} if (old_keys.get(name) or 0) != (new_keys.get(name) or 0)]
        difference = f"the checkouts read another {', '.join(changed)} from it" if changed else ""
        found[key] = SuiteHash(old_hash, new_hash, difference)
    return found


def claims(twins: Iterable[Twins], suites: Mapping[tuple[str, str, str], SuiteHash]) -> dict[Claim, list[Twins]]:
    """The cells that speak for, or by a difference against, two hashes being equal."""
    found: dict[Claim, list[Twins]] = defaultdict(list)
    for each in twins:
        cell = each.new.cell
        for name in get_args(HashName):
            if name != "suite":
                found[name, getattr(each.old.hashes, name), getattr(each.new.hashes, name)].append(each)
        for (suite, preset, _), hashes in suites.items():
            if (suite, preset) == (cell.suite, cell.preset):
                difference = each.difference or hashes.difference
                found["suite", hashes.old, hashes.new].append(each._replace(difference=difference))
    return found


def declarations(
    support: Mapping[Claim, Sequence[Twins]],
    records: Sequence[Record],
    known: Equivalences,
    commit: str,
    why: str,
    budget: str,
) -> list[Declaration]:
    """What can be declared of the hashes that records have: nothing speaks against it, and it is not known yet."""
    found: list[Declaration] = []
    for (name, old, new), cells in sorted(support.items(), key=lambda item: item[0]):
        equal = Equivalences((*known.declarations, *found))
        theirs = [record for record in records if equal.same(name, getattr(record.hashes, name), old)]
        if not theirs or equal.same(name, old, new) or _objections(name, cells, theirs):
            continue
        evidence = [f"{line}, {budget}: the same bits" for line in _lines(each.new for each in cells)]
        if name == "suite":
            evidence = ["both checkouts read the same protocol and budget from the suite", *evidence]
        found.append(Declaration(field=name, old=old, new=new, commit=commit, why=why, evidence=tuple(evidence)))
    return found


def remaining(support: Mapping[Claim, Sequence[Twins]], records: Sequence[Record], equal: Equivalences) -> list[str]:
    """The hashes of records that are none of this checkout's, a line each, and why."""
    lines = []
    for name in get_args(HashName):
        of_field = {(old, new): cells for (kind, old, new), cells in support.items() if kind == name}
        for value in sorted({getattr(record.hashes, name) for record in records}):
            if any(equal.same(name, value, new) for _, new in of_field):
                continue
            theirs = [record for record in records if getattr(record.hashes, name) == value]
            cells = [each for (old, _), cells in of_field.items() if equal.same(name, old, value) for each in cells]
            reasons = _objections(name, cells, theirs) or ["the older checkout does not have it, or did not run it"]
            lines.append(f"stale: {name} {value} of {_lines(theirs)[0]}: {reasons[0]}")
    return lines


def _objections(name: str, cells: Iterable[Twins], records: Iterable[Record]) -> list[str]:
    """Why a hash cannot be declared equal for some records, going by what some cells showed."""
    found = [f"{_where(each.new)}: {each.difference}" for each in cells if each.difference]
    settings = [each.new.configuration for each in cells]
    for record in records if name == "method" and settings else ():
        if record.configuration != settings[0]:
            found.append(f"{_where(record)}: its hyper-parameters are others")
    return found


def _difference(before: Record, old: Path, record: Record, new: Path) -> str:
    """How the numbers of a cell differ between two results folders; nothing if every bit is the same."""
    for each in (before, record):
        if each.status != "complete":
            return f"failed: {each.error}"
    if before.configuration != record.configuration:
        return "its hyper-parameters are others"
    try:
        first, second = (read_cube(each.cell.cube_path(at), each.cube) for each, at in ((before, old), (record, new)))
    except RecordError as error:
        return str(error)
    if first.content_hash() == second.content_hash():
        return ""
    if first.returns.shape != second.returns.shape or not np.array_equal(first.tasks, second.tasks):
        return "other conditions or tasks were measured"
    count = int((first.returns != second.returns).sum())
    return (
        f"{count} of {first.returns.size} returns differ, by up to {np.abs(first.returns - second.returns).max():.2g}"
    )


def _lines(records: Iterable[Record]) -> list[str]:
    """Cells for people: a line for all seeds that share a folder."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for record in records:
        seeds[record.cell.folder().as_posix()].add(record.cell.seed)
    return [f"{folder}, seeds {seed_text(tuple(sorted(found)))}" for folder, found in sorted(seeds.items())]


def _where(record: Record) -> str:
    return f"{record.cell.folder().as_posix()}, seed {record.cell.seed}"


def _commit(twins: Iterable[Twins]) -> str:
    """The commit that this checkout's cells were run at.

    Raises:
        InputError: if there is none, or the code had changes.
    """
    git = [each.new.git for each in twins]
    commits = {str(each.get("commit", "")) for each in git}
    if len(commits) != 1 or "" in commits or any(each.get("dirty") for each in git):
        raise InputError("the code here is not as committed: commit it first, or name the commit by --commit")
    return commits.pop()


def _place_of(python: str) -> str:
    return _ask(python, "import omrl_bench; print(omrl_bench.__file__)").strip()


def _ask(python: str, code: str, given: str = "") -> str:
    """Run a little program by a checkout and return its output.

    Raises:
        InputError: if it cannot be run.
    """
    try:
        done = subprocess.run([python, "-P", "-c", code], input=given, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"{python} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise InputError(f"{python}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stdout


def _assignments(keys: Mapping[str, Any]) -> list[str]:
    """Keys as TOML, which writes what is in a suite like JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
