"""What pictures need beside the returns: embeddings of contexts, paths and attention, of the preset's first seed.

They lie beside the record, in ``seed-<k>.traces.npz``; nothing but pictures reads them.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from pydantic import ConfigDict

from omrl_bench.files import write_atomically
from omrl_bench.frozen import Frozen
from omrl_bench.runner.records import Cell

_OPTIONAL = ("embeddings", "paths", "attention")


class Traces(Frozen):
    """What is kept of one seed for pictures.

    Attributes:
        conditions: Context qualities or episodes, the first axis.
        tasks: (tasks,) ids of the second axis.
        embeddings: (conditions, tasks, draws, size) representation of given contexts, or None.
        paths: (conditions, tasks, steps, 2) positions in a point family, one episode of each task, or None.
        attention: (conditions, tasks, transitions, 2) reward and attention weight in one context of each task, NaN
            where a context is shorter, or None.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    conditions: tuple[str, ...]
    tasks: np.ndarray
    embeddings: np.ndarray | None = None
    paths: np.ndarray | None = None
    attention: np.ndarray | None = None


def traces_path(results: Path, cell: Cell) -> Path:
    """Where a cell's traces are."""
    return results / cell.folder() / f"seed-{cell.seed}.traces.npz"


def write_traces(results: Path, cell: Cell, traces: Traces | None) -> None:
    """Write a cell's traces in half precision, or remove those of an earlier run."""
    path = traces_path(results, cell)
    if traces is None:
        path.unlink(missing_ok=True)
        return
    given = {name: getattr(traces, name) for name in _OPTIONAL if getattr(traces, name) is not None}
    halves = {name: array.astype(np.float16) for name, array in given.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, conditions=np.array(traces.conditions), tasks=traces.tasks, **halves)
    write_atomically(path, buffer.getvalue())


def read_traces(results: Path, cell: Cell) -> Traces | None:
    """Read a cell's traces; None if there are none, or they are damaged: a picture less, nothing else."""
    try:
        with np.load(traces_path(results, cell)) as file:
            given = {name: file[name].astype(np.float32) for name in _OPTIONAL if name in file.files}
            return Traces(conditions=tuple(map(str, file["conditions"])), tasks=file["tasks"], **given)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
