"""Making a record again: what it takes, what has changed since, and whether the numbers come out the same."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omrl_bench.api import Setup
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import Suite, load_suite, seed_text, suite_names
from omrl_bench.registry import methods
from omrl_bench.runner.circumstances import PACKAGES, circumstances
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.equivalences import FILE, Equivalences, read_equivalences
from omrl_bench.runner.plan import Selection, select
from omrl_bench.runner.records import Cell, Record, read_cube_beside
from omrl_bench.runner.settings import configuration_of, flatten, split_reference
from omrl_bench.runner.states import expected_hashes

#: Two scores that differ by no more than this (of 100) differ by rounding: float32 sums of some hundred rewards.
ROUNDING = 0.01

_MEANINGS = {
    "suite": "its version, protocol or budget is another: other things are measured, after another training",
    "family": "the MDPs, their training tasks or their simulation are others: returns of the two do not compare",
    "dataset": "the training data are other bytes, of another build or version: training sees other numbers",
    "contexts": "other episodes are given as contexts",
    "tasks": "other tasks are evaluated, or their reference returns are others: scores of the two do not compare",
    "method": "the source of the method or of its backbone, or its hyper-parameters, are others",
}


@dataclass(frozen=True)
class HashCheck:
    """One of a record's hashes, compared with what it would be now.

    Attributes:
        name: Field of :class:`omrl_bench.runner.records.Hashes`.
        same: Whether it has not changed, or is declared equal.
        meaning: What it means that it has changed, or that it is declared equal; empty if it has not changed.
    """

    name: str
    same: bool
    meaning: str


@dataclass(frozen=True)
class Step:
    """One command for a shell, empty where there is none, and what to know about it, in one line."""

    command: str
    note: str


@dataclass(frozen=True)
class Agreement:
    """How a repetition compares with the record.

    Attributes:
        identical: Whether the two cubes have the same bits.
        return_difference: Largest absolute difference of two returns.
        score_difference: Largest absolute difference of two scores of one episode.
        scores: By condition, the mean score recorded, the repetition's, and the standard deviation of the
            repetition's over seeds (NaN for one seed).
    """

    identical: bool
    return_difference: float
    score_difference: float
    scores: Mapping[str, tuple[float, float, float]]

    @property
    def agrees(self) -> bool:
        """Whether the numbers are the same up to rounding."""
        return self.identical or self.score_difference <= ROUNDING  # NaN is no agreement


def select_again(record: Record, suite: str | None = None, method: str | None = None, device: str = "cpu") -> Selection:
    """Select the cells that were trained together with a record's.

    Args:
        record: The record.
        suite: Its suite's file, if the suite does not come with the package.
        method: ``path/to/file.py:Class`` of its method, if that is not registered.
        device: Where to train.

    Raises:
        InputError: if it was trained elsewhere, or the suite, family, dataset, method, backbone or preset is not there,
            and what to pass if it is a matter of that.
    """
    cell = record.cell
    if record.trained_elsewhere is not None:
        raise InputError(
            f"{cell.method} was trained elsewhere ({record.trained_elsewhere}): there is no training to repeat here"
        )
    definition = _suite_of(cell, suite)
    base, _ = split_reference(cell.method)
    if method is None and base not in methods():
        raise InputError(
            f"method {base!r} is not registered here; pass the file that it came from: --method path/to/file.py:{base}"
        )
    if method is not None and method.rpartition(":")[2] != base:
        raise InputError(f"--method {method}: the record is of class {base!r}")
    return select(
        definition,
        cell.preset,
        [cell.family],
        [_reference(cell, method)],
        _seeds(record),
        device,
        datasets=[cell.dataset],
        backbones=[cell.backbone],
    )


def steps(record: Record, out: Path, suite: str | None = None, method: str | None = None) -> list[Step]:
    """The commands that make a record again from any checkout; the options are those of :func:`select_again`."""
    cell = record.cell
    commit, dirty = str(record.git.get("commit", "")), bool(record.git.get("dirty", True))
    found = [Step("", "the record names no commit: use the version of omrl-bench that made it")]
    if re.fullmatch("[0-9a-f]{7,64}", commit):
        clean = "its code was as committed"
        changed = "its code had changes that were not committed: this is the nearest, not the very code"
        found = [Step(f"git checkout {commit}", changed if dirty else clean)]
    wanted, notes = _versions(record, with_project=not commit)
    if wanted:
        found.append(Step(shlex.join(["pip", "install", *wanted]), f"here: {', '.join(notes)}"))
    python, processor = record.versions.get("python"), record.machine.get("processor")
    here = platform.python_version(), circumstances()["machine"]["processor"]
    if python not in (None, here[0]):
        found.append(Step("", f"it was made with Python {python}; here it is {here[0]}"))
    if processor not in (None, here[1]):
        found.append(
            Step("", f"it was made on {processor}; another processor may round otherwise; here it is {here[1]}")
        )
    options = {
        "suite": suite or cell.suite,
        "preset": cell.preset,
        "method": _reference(cell, method),
        "family": cell.family,
        "seeds": seed_text(_seeds(record)),
        "out": str(out),
        **({"device": record.device} if record.device != "cpu" else {}),
        "rerun": "all",
    }
    command = ["omrl-bench", "run", *(word for name, value in options.items() for word in (f"--{name}", value))]
    notes = [f"seeds {options['seeds']} trained together"] if len(_seeds(record)) > 1 else []
    if record.trained_for:
        notes.append(f"the record's weights were trained for {record.trained_for}; this trains them anew")
    definition = _suite_of(cell, suite)
    others = [
        name for name in (*definition.datasets, *definition.backbones) if name not in (cell.dataset, cell.backbone)
    ]
    if others:
        notes.append(f"it also runs {', '.join(others)} of the suite, which `reproduce --run` leaves out")
    found.append(Step(shlex.join(command), "; ".join(notes)))
    # a record's words must not become a line of their own in somebody's shell
    return [replace(step, note=" ".join(step.note.split())) for step in found]


def equivalences_of(path: Path, record: Record) -> Equivalences:
    """Read what the results folder that a record lies in declares equal; nothing, if it lies in none."""
    return read_equivalences(*_results_folders(path.resolve(), record))


def hash_checks(record: Record, selection: Selection, equal: Equivalences) -> list[HashCheck]:
    """Compare a record's hashes with those that a repetition would have now.

    Args:
        record: The record.
        selection: The repetition, see :func:`select_again`.
        equal: What is declared equal, see :func:`equivalences_of`.

    Raises:
        InputError: if the method cannot be loaded, or local data are damaged.
    """
    cell = record.cell
    (method,) = selection.methods
    now = expected_hashes(selection, cell.family, cell.dataset, method, cell.backbone)[0].model_dump()
    checks = []
    for name, value in record.hashes.model_dump().items():
        meaning = "" if value == now[name] else _MEANINGS.get(name, "")
        same = equal.same(name, value, now[name])
        if meaning and same:
            meaning = f"declared equal in {FILE}: {equal.why(name, value, now[name])}"
        elif meaning and name == "method":
            meaning = _method_change(record, selection)
        elif meaning and record.equivalent_to and getattr(record.equivalent_to, name) == now[name]:
            meaning = "the record's are equivalent to these, of a processor that rounds differently"
        checks.append(HashCheck(name, same, meaning))
    return checks


def read_original(path: Path, record: Record) -> Cube:
    """Read the cube beside a record.

    Raises:
        InputError: if the record is of a failure, which leaves no numbers.
        RecordError: if the cube is missing, damaged, or disagrees with the record.
    """
    if record.status != "complete":
        raise InputError(f"{path} is the record of a failure: there are no numbers to compare with")
    return read_cube_beside(path, record)


def check_out(path: Path, record: Record, out: Path) -> None:
    """Make sure that a repetition overwrites no record.

    Raises:
        InputError: if the folder is, or is in, the record's own results folder, or has a record of one of the cells.
    """
    original, target = path.resolve(), out.resolve()
    if any(folder == target or folder in target.parents for folder in _results_folders(original, record)):
        raise InputError(f"--out {out}: that is in the results folder of the record itself; choose another")
    for seed in _seeds(record):
        there = record.cell.model_copy(update={"seed": seed}).record_path(out)
        if there.exists():
            raise InputError(f"--out {out}: {there} is there already; choose another folder, or delete it")


def compare(original: Cube, repeated: Mapping[int, Cube], seed: int) -> Agreement | None:
    """Compare a record's cube with the repetition's of the same seed; None if they are not of the same things.

    Args:
        original: The record's.
        repeated: The repetition's, by seed; the other seeds say how much a score varies.
        seed: The record's.
    """
    again = repeated[seed]
    if (original.conditions, original.returns.shape) != (again.conditions, again.returns.shape):
        return None
    if not np.array_equal(original.tasks, again.tasks):
        return None
    means = np.stack([cube.scores().mean(axis=(1, 2)) for cube in repeated.values()])  # (seeds, conditions)
    spread = means.std(axis=0, ddof=1) if len(means) > 1 else np.full(means.shape[1], np.nan)
    both = (cube.scores().mean(axis=(1, 2)) for cube in (original, again))
    rows = zip(*both, spread, strict=True)
    return Agreement(
        identical=original.content_hash() == again.content_hash(),
        return_difference=float(np.abs(original.returns - again.returns).max()),
        score_difference=float(np.abs(original.scores() - again.scores()).max()),
        scores={
            name: (float(a), float(b), float(c)) for name, (a, b, c) in zip(original.conditions, rows, strict=True)
        },
    )


def _results_folders(path: Path, record: Record) -> list[Path]:
    """The results folder that a record lies in, if its place is that of its cell; its path is absolute."""
    return [folder for folder in path.parents if record.cell.record_path(folder) == path]


def _seeds(record: Record) -> tuple[int, ...]:
    return tuple(dict.fromkeys((*record.trained_together, record.cell.seed)))


def _reference(cell: Cell, file: str | None) -> str:
    """What names a record's method, with its settings: the file that was passed in place of the class's name."""
    if file is None:
        return cell.method
    _, bracket, settings = cell.method.partition("[")
    return file + bracket + settings


def _suite_of(cell: Cell, file: str | None) -> Suite:
    if file is None and cell.suite not in suite_names():
        raise InputError(
            f"suite {cell.suite!r} does not come with the package; "
            "pass the file that the record was run with: --suite FILE"
        )
    suite = load_suite(file or cell.suite)
    if suite.name != cell.suite:
        raise InputError(f"--suite {file}: it is suite {suite.name!r}, the record is of {cell.suite!r}")
    return suite


def _versions(record: Record, with_project: bool) -> tuple[list[str], list[str]]:
    """What to install, as pip takes it, and what is here in its place."""
    here = circumstances()["versions"]
    wanted, notes = [], []
    for package in PACKAGES if with_project else PACKAGES[1:]:
        version = record.versions.get(package, "")
        # a local part (2.13.0+cpu) is known to the index it came from only
        public = version.partition("+")[0]
        if version != here[package] and re.fullmatch(r"[0-9][\w.!]*", public, re.ASCII):
            wanted.append(f"{package}=={public}")
            notes.append(f"{package} {here[package]}, the record's {version}")
    return wanted, notes


def _method_change(record: Record, selection: Selection) -> str:
    """What is different about the method, as far as its configuration tells."""
    (chosen,) = selection.methods
    setup = Setup(selection.preset_name, record.cell.backbone, chosen.settings)
    now = flatten(configuration_of(chosen.target, get_family(record.cell.family), setup))
    then = flatten(record.configuration)
    absent = "not there"
    changes = [
        f"{name} was {then.get(name, absent)}, is {now.get(name, absent)}"
        for name in {**then, **now}
        if then.get(name, absent) != now.get(name, absent)
    ]
    if not changes:
        return "the source of the method or of its backbone is another; its hyper-parameters are the same"
    return f"its hyper-parameters are others: {', '.join(changes)}"
