"""What the installed package knows of the tasks that a record was evaluated on: their ids and reference returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.states import evaluated_hash


@dataclass(frozen=True)
class KnownTasks:
    """The tasks of an installed family.

    Attributes:
        splits: Ids of the tasks of each split, by the hash that a record of them carries
            (:attr:`omrl_bench.runner.records.Hashes.tasks`).
        random: (tasks,) reference return of the random policy, of every task of the table.
        expert: (tasks,) that of the expert.
    """

    splits: Mapping[str, np.ndarray]
    random: np.ndarray
    expert: np.ndarray

    def objection(self, tasks: str, cube: Cube) -> str:
        """Why a cube is not of the tasks that its record names; empty if it is, or they are of another version.

        Args:
            tasks: The record's hash of the evaluated tasks.
            cube: Its cube.
        """
        ids = self.splits.get(tasks)
        if ids is None:
            return ""
        if not np.isin(cube.tasks, ids).all():
            return "tasks that are not among those of its hash"
        for name, own, known in (("random", cube.random, self.random), ("expert", cube.expert, self.expert)):
            if not np.array_equal(own, known[cube.tasks].astype(own.dtype)):
                return f"other reference returns of the {name} policy than this package"
        return ""


def known_tasks(family: str) -> KnownTasks | None:
    """The tasks of a family; None if it is not installed, or nothing is known of its data."""
    try:
        found = get_family(family)
        manifest = read_manifest(found)
    except InputError:
        return None
    splits = {evaluated_hash(found, split): ids for split, ids in found.tasks().by_split().items()}
    return KnownTasks(splits, np.array(manifest.random), np.array(manifest.expert))
