"""The laws that tasks are drawn from: a family's training tasks, and those beyond them.

A frozen task table is one draw (``tools/draw_task_tables.py``); an expert that must know more than a table is trained
on tasks of the law itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np


@dataclass(frozen=True)
class Region:
    """A distribution of tasks: the image of numbers that are uniform in [0, 1).

    Attributes:
        size: Numbers that a task takes.
        place: Numbers (tasks, size) -> descriptors (tasks, descriptor size).
        accepts: Which of these descriptors are tasks, bool (tasks,); all if not given.
        parts: Pieces of equal weight that it falls into, one after the other along the first number.
    """

    size: int
    place: Callable[[np.ndarray], np.ndarray]
    accepts: Callable[[np.ndarray], np.ndarray] | None = None
    parts: int = 1

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw independent tasks, (count, descriptor size)."""
        if self.accepts is None:
            return self.place(rng.random((count, self.size)))
        found: list[np.ndarray] = []
        while len(found) < count:
            drawn = self.place(rng.random((1, self.size)))
            found += [*drawn[self.accepts(drawn)]]
        return np.array(found).reshape(count, -1)


@dataclass(frozen=True)
class TaskLaw:
    """How the tasks of a family are distributed.

    Attributes:
        inside: Draws tasks of the training law: ``inside(rng, count)``.
        beyond: Draws extrapolation tasks, if there are any.
        widths: What counts as the distance 1 between two tasks, one number per component of the descriptor: the width
            of the training law.
        felt: Whether each component of the descriptor changes anything; all do if empty.
    """

    inside: Region
    beyond: Region | None
    widths: tuple[float, ...]
    felt: tuple[bool, ...] = ()

    def distances(self, descriptors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Euclidean distances between tasks in widths of the law, (tasks, other tasks)."""
        differences = (descriptors[:, None] - others) / np.array(self.widths)
        distances: np.ndarray = np.sqrt(np.sum(differences**2, axis=-1))
        return distances


def interval(low: float, high: float, *beyond: tuple[float, float]) -> TaskLaw:
    """One number, uniform in [low, high]; beyond: uniform in some other intervals of equal length."""
    return TaskLaw(_intervals((low, high)), _intervals(*beyond), (high - low,))


def arc(high: float, *beyond: tuple[float, float]) -> TaskLaw:
    """A unit vector, its angle uniform in [0, high]; beyond: in some other intervals of equal length, if any."""
    return TaskLaw(_angles((0, high)), _angles(*beyond) if beyond else None, (high, high))


def square(half: float, beyond: tuple[float, float]) -> TaskLaw:
    """A point, uniform in [-half, half]^2; beyond: on the squares around, their halves uniform in an interval."""
    inside = Region(2, partial(_square, half=half))
    return TaskLaw(inside, Region(2, partial(_square_ring, halves=beyond)), (2 * half, 2 * half))


def disc(radius: float, beyond: tuple[float, float]) -> TaskLaw:
    """A point, uniform in the area of a disc; beyond: uniform in the area between two radii."""
    ring = Region(2, partial(_ring, radii=beyond))
    return TaskLaw(Region(2, partial(_ring, radii=(0, radius))), ring, (2 * radius, 2 * radius))


def either(*descriptors: Sequence[float]) -> TaskLaw:
    """One of a few tasks; there is nothing beyond."""
    return TaskLaw(Region(1, partial(_either, descriptors=descriptors)), None, (1.0,) * len(descriptors[0]))


def multipliers(names: Sequence[str]) -> TaskLaw:
    """Logarithms of independent multipliers base^U(-3, 3), the base 1.3 for damping and 1.5 for everything else.

    Beyond: base^U(-4, 4), with at least four of the numbers that a planar robot feels beyond 3. Tasks are at the
    distance 1 when their numbers differ by the width of the law in quadratic mean.

    Args:
        names: What is multiplied: ``mass_torso``, ``inertia_torso_y``, ``damping_foot``, ``friction_foot_slide``.
    """
    logs = np.log([1.3 if name.startswith("damping") else 1.5 for name in names])
    felt = np.array([_felt(name) for name in names])
    beyond = Region(
        len(names), partial(_powers, logs=logs, limit=4), partial(_far, logs=logs, felt=felt, limit=3, least=4)
    )
    widths = 6 * logs * np.sqrt(len(names))
    inside = Region(len(names), partial(_powers, logs=logs, limit=3))
    return TaskLaw(inside, beyond, tuple(widths.tolist()), tuple(felt.tolist()))


def _intervals(*bounds: tuple[float, float]) -> Region:
    return Region(1, partial(_along, bounds=bounds), parts=len(bounds))


def _angles(*bounds: tuple[float, float]) -> Region:
    return Region(1, partial(_unit_vectors, bounds=bounds), parts=len(bounds))


def _along(numbers: np.ndarray, bounds: Sequence[tuple[float, float]]) -> np.ndarray:
    """Positions along some intervals, one after the other."""
    which = np.minimum((numbers * len(bounds)).astype(int), len(bounds) - 1)
    start, stop = np.moveaxis(np.array(bounds)[which], -1, 0)
    positions: np.ndarray = start + (stop - start) * (numbers * len(bounds) - which)
    return positions


def _unit_vectors(numbers: np.ndarray, bounds: Sequence[tuple[float, float]]) -> np.ndarray:
    angles = _along(numbers, bounds)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def _square(numbers: np.ndarray, half: float) -> np.ndarray:
    return half * (2 * numbers - 1)


def _square_ring(numbers: np.ndarray, halves: tuple[float, float]) -> np.ndarray:
    directions = _unit_vectors(numbers[:, :1], [(0, 2 * np.pi)])
    low, high = halves
    return directions / np.abs(directions).max(axis=1, keepdims=True) * (low + (high - low) * numbers[:, 1:])


def _ring(numbers: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
    low, high = radii
    return _unit_vectors(numbers[:, :1], [(0, 2 * np.pi)]) * np.sqrt(low**2 + (high**2 - low**2) * numbers[:, 1:])


def _either(numbers: np.ndarray, descriptors: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(descriptors, dtype=np.float64)[(numbers[:, 0] * len(descriptors)).astype(int)]


def _powers(numbers: np.ndarray, logs: np.ndarray, limit: float) -> np.ndarray:
    return logs * (limit * (2 * numbers - 1))


def _far(descriptors: np.ndarray, logs: np.ndarray, felt: np.ndarray, limit: float, least: int) -> np.ndarray:
    far: np.ndarray = (np.abs(descriptors / logs)[:, felt] > limit).sum(axis=1) >= least
    return far


def _felt(name: str) -> bool:
    """Whether a planar robot feels a multiplier: not the world's, nor inertia out of the plane, nor free joints'."""
    field, rest = name.split("_", 1)
    if field == "friction":
        return rest.endswith("_slide")
    felt = not rest.startswith(("world", "root"))
    return felt and (field != "inertia" or rest.endswith("_y"))
