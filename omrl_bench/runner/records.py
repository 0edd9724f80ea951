"""Records: the JSON file and the cube of returns that one cell leaves behind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from omrl_bench.errors import InputError
from omrl_bench.files import write_atomically

SCHEMA_VERSION: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Frozen):
    """One training run."""

    suite: str
    family: str
    dataset: str
    method: str
    backbone: str
    preset: str
    seed: int

    def folder(self) -> Path:
        """Folder of the cell's files, relative to the results folder."""
        return Path(self.suite, self.preset, self.family, self.dataset, self.method, self.backbone)

    def record_path(self, results: Path) -> Path:
        """Path of the record."""
        return results / self.folder() / f"seed-{self.seed}.json"

    def cube_path(self, results: Path) -> Path:
        """Path of the cube."""
        return results / self.folder() / f"seed-{self.seed}.npz"


class Hashes(_Frozen):
    """What a cell's numbers depend on; if one changes, the record is stale."""

    suite: str
    family: str
    dataset: str
    contexts: str
    method: str


class Metric(_Frozen):
    """Means over tasks and draws for one condition."""

    score: float
    mean_return: float


class CurvePoint(_Frozen):
    """Mean score on the validation tasks after so many policy updates: first context quality, or last episode."""

    step: int
    score: float


class Record(_Frozen):
    """What is kept of one cell."""

    schema_version: Literal[1] = SCHEMA_VERSION
    cell: Cell
    status: Literal["complete", "failed"]
    error: str | None = None
    hashes: Hashes
    dataset_status: str  # canonical, equivalent, unknown
    privileges: tuple[str, ...]
    configuration: dict[str, Any]
    trained_together: tuple[int, ...]  # the seeds that shared the process
    metrics: dict[str, Metric] = {}  # by condition
    curve: tuple[CurvePoint, ...] = ()
    parameters: int = 0
    fit_seconds: float = 0.0  # of all seeds together, learning curve included
    evaluate_seconds: float = 0.0
    update_milliseconds: dict[str, float] = {}  # processor time of one update of all seeds together, by stage
    device: str = "cpu"
    peak_memory_mib: float = 0.0
    machine: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git: dict[str, Any] = {}
    created: str


class Cube(_Frozen):
    """All returns of one cell, with what is needed to score them.

    Attributes:
        qualities: Names of the first axis, the protocol's conditions: context qualities, or episodes.
        tasks: (tasks,) ids of the second axis.
        returns: (qualities, tasks, draws) float32, undiscounted.
        random: (tasks,) reference return of the random policy.
        expert: (tasks,) reference return of the expert.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    qualities: tuple[str, ...]
    tasks: np.ndarray
    returns: np.ndarray
    random: np.ndarray
    expert: np.ndarray

    def scores(self) -> np.ndarray:
        """100 (R - random) / (expert - random), (qualities, tasks, draws)."""
        floor, ceiling = self.random[None, :, None], self.expert[None, :, None]
        scores: np.ndarray = 100 * (self.returns - floor) / (ceiling - floor)
        return scores


def write_record(results: Path, record: Record, cube: Cube | None) -> None:
    """Write a cell's cube, then its record: a complete record always has its cube."""
    if cube is not None:
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            qualities=np.array(cube.qualities),
            tasks=cube.tasks,
            returns=cube.returns.astype(np.float32),
            random=cube.random.astype(np.float32),
            expert=cube.expert.astype(np.float32),
        )
        write_atomically(record.cell.cube_path(results), buffer.getvalue())
    text = record.model_dump_json(indent=1) + "\n"
    write_atomically(record.cell.record_path(results), text.encode())


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        InputError: if the file is not a record of this schema.
    """
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a record of schema {SCHEMA_VERSION}; move it away or delete it") from error


def read_cube(path: Path) -> Cube:
    """Read the cube beside a record.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        with np.load(path) as file:
            return Cube(
                qualities=tuple(str(q) for q in file["qualities"]),
                **{name: file[name] for name in ("tasks", "returns", "random", "expert")},
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is missing or damaged: {error}; run its cell again with --rerun all") from error


def iterate_records(results: Path) -> Iterator[Record]:
    """Read all records below a results folder, in the order of their paths."""
    for path in sorted(results.rglob("seed-*.json")):
        yield read_record(path)
