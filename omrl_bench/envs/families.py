"""The table of families and their frozen task tables (light: no simulator is imported here)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from typing import TYPE_CHECKING

import numpy as np

from omrl_bench.api import TaskSpace
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.fingerprint import hash_text, normalise_source

if TYPE_CHECKING:
    from omrl_bench.envs.law import Law

SPLITS = ("train", "validation", "test", "extrapolation")


@dataclass(frozen=True)
class Family:
    """A set of MDPs that share spaces and differ in reward or dynamics.

    Attributes:
        name: Name on the command line and in records.
        env_id: Gymnasium id.
        law: ``module:Class`` of the MDP in formulas (:class:`omrl_bench.envs.law.Law`).
        horizon: Steps after which every episode is truncated.
        observation_size: Length of an observation.
        action_size: Length of an action.
        action_limit: Actions lie in ``[-action_limit, action_limit]``, clipped per component.
        descriptor: Names of the true task parameters, the descriptor columns of the task table.
        assets: Model files under ``envs/assets`` that the law reads.
        varies: What differs between tasks: ``reward``, ``dynamics``.
    """

    name: str
    env_id: str
    law: str
    horizon: int
    observation_size: int
    action_size: int
    action_limit: float
    descriptor: tuple[str, ...]
    assets: tuple[str, ...] = ()
    varies: str = "reward"

    @property
    def version(self) -> str:
        """Version suffix of the Gymnasium id, e.g. ``v0``."""
        return self.env_id.rsplit("-", 1)[1]

    def make_law(self) -> Law:
        """Import and construct the family's MDP."""
        module, name = self.law.split(":")
        law: Law = getattr(import_module(module), name)(self)
        return law

    def space(self) -> TaskSpace:
        """What a method is told of the family."""
        return TaskSpace(
            family=self.name,
            observation_size=self.observation_size,
            action_size=self.action_size,
            action_limit=self.action_limit,
            horizon=self.horizon,
            descriptor_size=len(self.descriptor),
        )

    def tasks(self) -> TaskTable:
        """Return the family's frozen task table."""
        return _read_task_table(self)

    def fingerprint(self) -> str:
        """Hash of everything that defines the MDPs: this entry, the task table, the law's source, model files."""
        files = resources.files("omrl_bench.envs")
        modules = [self.law.split(":")[0].rsplit(".", 1)[1], *(["mujoco_physics"] if self.assets else [])]
        sources = [normalise_source(files.joinpath(f"{m}.py").read_text(encoding="utf-8")) for m in modules]
        assets = [files.joinpath("assets", asset).read_text(encoding="utf-8") for asset in self.assets]
        return hash_text(repr(self), self.tasks().text, *sources, *assets)


@dataclass(frozen=True, eq=False)
class TaskTable:
    """A family's tasks, one row each; row number = task id.

    Attributes:
        splits: Split of each task, in :data:`SPLITS`.
        descriptors: True parameters, float64 of shape (tasks, descriptor size).
        text: The file as read.
    """

    splits: tuple[str, ...]
    descriptors: np.ndarray
    text: str

    def __len__(self) -> int:
        return len(self.splits)

    def ids(self, *splits: str) -> np.ndarray:
        """Return the ids of the tasks in the given splits (all tasks if none is given), ascending."""
        for split in splits:
            if split not in SPLITS:
                raise unknown_name("split", split, SPLITS)
        return np.array([i for i, s in enumerate(self.splits) if not splits or s in splits], dtype=np.int64)

    def check(self, tasks: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return task ids as an array, or raise :class:`InputError` for one that does not exist."""
        ids = np.asarray(tasks)
        if ids.size and ids.dtype.kind not in "iu":
            raise InputError(f"task ids are integers, not {tasks!r}")
        ids = ids.astype(np.int64)
        wrong = ids[(ids < 0) | (ids >= len(self))]
        if wrong.size:
            raise InputError(f"task {wrong.flat[0]} does not exist; the table has tasks 0 to {len(self) - 1}")
        return ids


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="point-goal",
            env_id="omrl/PointGoal-v0",
            law="omrl_bench.envs.point:PointGoal",
            horizon=60,
            observation_size=2,
            action_size=2,
            action_limit=0.1,
            descriptor=("goal_x", "goal_y"),
        ),
        Family(
            name="cheetah-vel",
            env_id="omrl/CheetahVel-v0",
            law="omrl_bench.envs.cheetah:CheetahVel",
            horizon=200,
            observation_size=17,
            action_size=6,
            action_limit=1.0,
            descriptor=("velocity",),
            assets=("half_cheetah.xml",),
        ),
    )
}


def get_family(name: str) -> Family:
    """Return the family of that name.

    Raises:
        InputError: if there is none, with the nearest names.
    """
    if name not in FAMILIES:
        raise unknown_name("family", name, FAMILIES)
    return FAMILIES[name]


@cache
def _read_task_table(family: Family) -> TaskTable:
    name = f"{family.name}-{family.version}.csv"
    text = resources.files("omrl_bench.envs").joinpath("tasks", name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    if [int(row["task"]) for row in rows] != list(range(len(rows))):
        raise InputError(f"task table {name}: task ids must run from 0 without gaps")
    descriptors = np.array([[float(row[column]) for column in family.descriptor] for row in rows])
    return TaskTable(tuple(row["split"] for row in rows), descriptors, text)
