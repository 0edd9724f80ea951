"""Cubes: the returns of one cell, and the ``.npz`` file that holds them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict

from omrl_bench.errors import RecordError
from omrl_bench.files import read_regular
from omrl_bench.frozen import Frozen

_VALUES = ("returns", "random", "expert")
_ARRAYS = ("tasks", *_VALUES)
MOST_BYTES = 4 * 2**20  # of a file; the largest of a suite have 70 KB
MOST_UNPACKED = 16 * 2**20  # bytes of its arrays together
MOST_CONDITIONS, LONGEST_CONDITION = 1000, 100
MOST_TASK = 10**6  # id
MOST_SCORE = 1e6  # either way: no policy is so bad, and squares of larger numbers are none
#: What NumPy writes before an array: its type, order and shape.
_HEADER = re.compile(
    rb"\{'descr': '[<>|=]?[a-zA-Z]\d{1,6}', 'fortran_order': (True|False), 'shape': \([\d, ]*\), \} *\n"
)
#: What reading a cube raises beside OSError, depending on where a file is damaged.
_DAMAGE = (
    *(ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


class Metric(Frozen):
    """Means over tasks and draws for one condition."""

    score: float
    mean_return: float


class Cube(Frozen):
    """All returns of one cell, with what is needed to score them.

    Attributes:
        conditions: Names of the first axis: context qualities, or episodes.
        tasks: (tasks,) ids of the second axis.
        returns: (conditions, tasks, draws) float32, undiscounted.
        random: (tasks,) reference return of the random policy.
        expert: (tasks,) reference return of the expert.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    conditions: tuple[str, ...]
    tasks: np.ndarray
    returns: np.ndarray
    random: np.ndarray
    expert: np.ndarray

    def scores(self) -> np.ndarray:
        """100 (R - random) / (expert - random), (conditions, tasks, draws)."""
        floor, ceiling = self.random[None, :, None], self.expert[None, :, None]
        scores: np.ndarray = 100 * (self.returns - floor) / (ceiling - floor)
        return scores

    def metrics(self) -> dict[str, Metric]:
        """Means over tasks and draws, rounded, by condition."""
        scores, returns = self.scores().mean(axis=(1, 2)), self.returns.mean(axis=(1, 2))
        return {
            condition: Metric(score=round(float(score), 3), mean_return=round(float(mean), 3))
            for condition, score, mean in zip(self.conditions, scores, returns, strict=True)
        }

    def stored(self) -> Cube:
        """The same numbers in the precision of the file, float32."""
        return self.model_copy(update={name: getattr(self, name).astype(np.float32) for name in _VALUES})

    def content_hash(self) -> str:
        """The sha256 of the arrays: the same numbers have the same hash, however the file is compressed."""
        digest = hashlib.sha256(json.dumps(self.conditions).encode())
        for name in _ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def file_content(self) -> bytes:
        """What a file of it holds."""
        stored, buffer = self.stored(), io.BytesIO()
        arrays = {name: getattr(stored, name) for name in _ARRAYS}
        np.savez_compressed(buffer, conditions=np.array(stored.conditions), **arrays)
        return buffer.getvalue()


def read_cube(path: Path, expected: str | None = None) -> Cube:
    """Read the cube beside a record.

    Args:
        path: The cube's file.
        expected: The record's hash of it, if it has one.

    Raises:
        RecordError: if the file is missing, no regular one, too large, damaged, or not the one that the record was
            written with, or its returns or scores are not finite, or absurd.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_regular(path, MOST_BYTES))) as file:
            content = _unpacked(file)
        conditions = _read_array(content["conditions" if "conditions" in content else "qualities"])  # the first records
        if conditions.dtype.kind != "U" or conditions.ndim != 1 or len(conditions) > MOST_CONDITIONS:
            raise ValueError("the conditions are no list of names")
        arrays = {name: _read_array(content[name]) for name in _ARRAYS}
        cube = Cube(conditions=tuple(map(str, conditions)), **arrays)
        _check_shapes(cube)
    except OSError as error:
        raise RecordError(path, f"is missing or damaged: {error.strerror or 'it cannot be read'}") from error
    except _DAMAGE as error:
        raise RecordError(path, f"is missing or damaged: {error}"[:200]) from error
    if expected not in (None, cube.content_hash()):
        raise RecordError(path, "is not the cube that its record was written with: its hash disagrees")
    with np.errstate(all="ignore"):  # an expert who is no better than random divides by zero
        if not all(np.isfinite(values).all() for values in (cube.returns, cube.random, cube.expert, cube.scores())):
            raise RecordError(path, "has returns or scores that are not finite")
        if np.abs(cube.scores()).max() > MOST_SCORE:
            raise RecordError(path, f"has scores beyond {MOST_SCORE:,.0f}, which no policy earns")
    return cube


def _unpacked(file: zipfile.ZipFile) -> dict[str, bytes]:
    """The arrays of an ``.npz`` file, by name; what they say of their size is not believed.

    Raises:
        ValueError: if they are too many or too large.
    """
    members = file.infolist()
    if len(members) > len(_ARRAYS) + 1:
        raise ValueError(f"it has {len(members)} arrays, not {len(_ARRAYS) + 1}")
    content, left = {}, MOST_UNPACKED
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a limit
            raise ValueError("an array is compressed in a way that NumPy does not use")
        with file.open(member) as packed:
            content[member.filename.removesuffix(".npy")] = packed.read(left + 1)
        left -= len(content[member.filename.removesuffix(".npy")])
        if left < 0:
            raise ValueError(f"its arrays have more than {MOST_UNPACKED:,} bytes")
    return content


def _read_array(content: bytes) -> np.ndarray:
    """Read one array of an ``.npz`` file; :func:`numpy.load` takes three times as long for a small one."""
    end = 10 + int.from_bytes(content[8:10], "little")  # of the header: magic, version, length, dictionary
    shape, fortran, dtype = _read_header(content[:end])
    return np.frombuffer(content, dtype, offset=end).reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=256)
def _read_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array; the cubes of a suite have the same few headers, and parsing one is slow."""
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is written in a later version of NumPy's format")
    if not _HEADER.fullmatch(header[10:]):  # it is evaluated
        raise ValueError("an array has a strange header")
    return np.lib.format.read_array_header_1_0(file)


def _check_shapes(cube: Cube) -> None:
    """Raise ValueError if the arrays of a cube do not belong together."""
    shape = (len(cube.conditions), len(cube.tasks))
    if cube.returns.ndim != 3 or cube.returns.shape[:2] != shape or not cube.returns.size:
        raise ValueError(f"returns of shape {cube.returns.shape} for {shape[0]} conditions and {shape[1]} tasks")
    if cube.tasks.dtype.kind not in "iu" or any(getattr(cube, name).dtype.kind != "f" for name in _VALUES):
        raise ValueError("an array has the wrong type")
    if any(array.shape != (shape[1],) for array in (cube.tasks, cube.random, cube.expert)):
        raise ValueError("tasks and reference returns differ in their number")
    if cube.tasks.min() < 0 or cube.tasks.max() > MOST_TASK:
        raise ValueError(f"a task is none of 0 to {MOST_TASK:,}")
    if len(set(cube.conditions)) < shape[0] or len(set(cube.tasks.tolist())) < shape[1]:
        raise ValueError("a condition or task is there twice")
    if not all(name and name.isprintable() and len(name) <= LONGEST_CONDITION for name in cube.conditions):
        raise ValueError(f"a condition has no printable name of at most {LONGEST_CONDITION} characters")
