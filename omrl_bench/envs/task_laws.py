"""The laws that tasks are drawn from: a family's training tasks, and those beyond them.

A frozen task table is one draw (``tools/draw_task_tables.py``); an expert that must know more than a table is trained
on tasks of the law itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: (generator, number of tasks) -> descriptors, (tasks, descriptor size).
Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class TaskLaw:
    """How the tasks of a family are distributed.

    Attributes:
        inside: Draws tasks of the training law.
        beyond: Draws extrapolation tasks, if there are any.
    """

    inside: Draw
    beyond: Draw | None = None


def multipliers(names: Sequence[str]) -> TaskLaw:
    """Logarithms of independent multipliers base^U(-3, 3), the base 1.3 for damping and 1.5 for everything else.

    Beyond: base^U(-4, 4), with at least four of the numbers that a planar robot feels beyond 3.

    Args:
        names: What is multiplied: ``mass_torso``, ``inertia_torso_y``, ``damping_foot``, ``friction_foot_slide``.
    """
    logs = np.log([1.3 if name.startswith("damping") else 1.5 for name in names])
    felt = np.array([_felt(name) for name in names])

    def inside(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.asarray(logs * rng.uniform(-3, 3, (count, len(names))))

    def beyond(rng: np.random.Generator, count: int) -> np.ndarray:
        found: list[np.ndarray] = []
        while len(found) < count:
            exponents = rng.uniform(-4, 4, len(names))
            if (np.abs(exponents[felt]) > 3).sum() >= 4:
                found.append(logs * exponents)
        return np.array(found)

    return TaskLaw(inside, beyond)


def _felt(name: str) -> bool:
    """Whether a planar robot feels a multiplier: not the world's, nor inertia out of the plane, nor free joints'."""
    field, rest = name.split("_", 1)
    if field == "friction":
        return rest.endswith("_slide")
    felt = not rest.startswith(("world", "root"))
    return felt and (field != "inertia" or rest.endswith("_y"))
