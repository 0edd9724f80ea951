"""The table of families and their frozen task tables (light: no simulator is imported here)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

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
        varies: What differs between tasks: ``reward``, ``dynamics``, or both.
        task_table: Name of the family whose task table it uses; its own if empty.
        variant_of: Name of the family that this is a paper's variant of, if any.
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
    task_table: str = ""
    variant_of: str = ""

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
        definition = asdict(self) | {"variant_of": None}  # what it is called is no part of what it is
        modules = [self.law.split(":")[0].rsplit(".", 1)[1], *(["mujoco_physics"] if self.assets else [])]
        sources = [normalise_source(files.joinpath(f"{m}.py").read_text(encoding="utf-8")) for m in modules]
        assets = [files.joinpath("assets", asset).read_text(encoding="utf-8") for asset in self.assets]
        return hash_text(json.dumps(definition), self.tasks().text, *sources, *assets)


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

    def training_subset(self, count: int) -> np.ndarray:
        """Return the ids of a fixed subset of the training tasks, ascending; a smaller one lies within a larger one.

        Raises:
            InputError: if there are not so many training tasks.
        """
        train = self.ids("train")
        if count > len(train):
            raise InputError(f"{count} training tasks asked for; the table has {len(train)}")
        order = np.random.default_rng(len(train)).permutation(len(train))  # as the papers draw theirs, but once
        return np.sort(train[order[:count]])

    @property
    def train_is_test(self) -> bool:
        """Whether the test tasks are the training tasks again, as in a family of two tasks."""
        train, test = (np.unique(self.descriptors[self.ids(split)], axis=0) for split in ("train", "test"))
        return bool(np.array_equal(train, test))

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


_BODIES = {
    "walker": ("torso", "thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left"),
    "hopper": ("torso", "thigh", "leg", "foot"),
}


def _multipliers(robot: str) -> tuple[str, ...]:
    """Descriptor of a rand-params family: logarithms of the multipliers, in the order of the model's arrays."""
    bodies, joints = ("world", *_BODIES[robot]), ("rootx", "rootz", "rooty", *_BODIES[robot][1:])
    geoms = ("floor", *_BODIES[robot])
    return (
        *(f"mass_{body}" for body in bodies),
        *(f"inertia_{body}_{axis}" for body in bodies for axis in "xyz"),
        *(f"damping_{joint}" for joint in joints),
        *(f"friction_{geom}_{kind}" for geom in geoms for kind in ("slide", "spin", "roll")),
    )


_POINT = Family(
    name="point-goal",
    env_id="omrl/PointGoal-v0",
    law="omrl_bench.envs.point:PointGoal",
    horizon=60,
    observation_size=2,
    action_size=2,
    action_limit=0.1,
    descriptor=("goal_x", "goal_y"),
)
_CHEETAH = Family(
    name="cheetah-vel",
    env_id="omrl/CheetahVel-v0",
    law="omrl_bench.envs.cheetah:CheetahVel",
    horizon=200,
    observation_size=17,
    action_size=6,
    action_limit=1.0,
    descriptor=("velocity",),
    assets=("half_cheetah.xml",),
)
_ANT = Family(
    name="ant-dir",
    env_id="omrl/AntDir-v0",
    law="omrl_bench.envs.ant:AntDir",
    horizon=200,
    observation_size=27,
    action_size=8,
    action_limit=1.0,
    descriptor=("direction_x", "direction_y"),
    assets=("ant.xml",),
)
_WALKER = Family(
    name="walker-params",
    env_id="omrl/WalkerParams-v0",
    law="omrl_bench.envs.walker:WalkerParams",
    horizon=200,
    observation_size=17,
    action_size=6,
    action_limit=1.0,
    descriptor=_multipliers("walker"),
    assets=("walker2d.xml",),
    varies="dynamics",
)


def _like(family: Family, name: str, law: str | None = None, **changes: Any) -> Family:
    """Another entry, like a given one but for the changes; its Gymnasium id follows its name."""
    env_id = f"omrl/{''.join(part.capitalize() for part in name.split('-'))}-v0"
    module = family.law.split(":")[0]
    return replace(family, name=name, env_id=env_id, law=f"{module}:{law}" if law else family.law, **changes)


#: Every family by name; those with ``variant_of`` are a paper's variants of another one.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _POINT,
        _like(_POINT, "point-square", "PointSquare", horizon=20),
        _like(_POINT, "point-sparse", "PointSparse", horizon=20),
        _like(_POINT, "point-wind", "PointWind", horizon=20, descriptor=("wind_x", "wind_y"), varies="dynamics"),
        _like(
            _POINT,
            "point-hard",
            "PointHard",
            horizon=32,
            observation_size=3,
            descriptor=("direction_x", "direction_y"),
            varies="reward and dynamics",  # whether the first goal was reached is part of the state
        ),
        _CHEETAH,
        _like(_CHEETAH, "cheetah-dir", "CheetahDir", descriptor=("direction",)),
        _ANT,
        _WALKER,
        _like(
            _WALKER,
            "hopper-params",
            "HopperParams",
            observation_size=11,
            action_size=3,
            descriptor=_multipliers("hopper"),
            assets=("hopper.xml",),
        ),
        _like(_CHEETAH, "cheetah-mass", "CheetahMass", descriptor=("mass_scale",), varies="dynamics"),
        _like(_ANT, "ant-mass", "AntMass", descriptor=("mass_scale",), varies="dynamics"),
        _like(_CHEETAH, "cheetah-vel-sparse", "CheetahVelSparse", horizon=64, task_table="cheetah-vel"),
        _like(_WALKER, "walker-vel-sparse", "WalkerVelSparse", horizon=64, descriptor=("velocity",), varies="reward"),
        _like(_POINT, "point-goal-h10", horizon=10, task_table="point-goal", variant_of="point-goal"),
        _like(_POINT, "point-goal-h200", horizon=200, task_table="point-goal", variant_of="point-goal"),
        _like(
            _POINT,
            "point-wind-h25",
            "PointWind",
            horizon=25,
            descriptor=("wind_x", "wind_y"),
            varies="dynamics",
            task_table="point-wind",
            variant_of="point-wind",
        ),
        _like(_CHEETAH, "cheetah-vel-wide", variant_of="cheetah-vel"),
        _like(_ANT, "ant-dir-speed", "AntDirSpeed", task_table="ant-dir", variant_of="ant-dir"),
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
    name = f"{family.task_table or family.name}-{family.version}.csv"
    text = resources.files("omrl_bench.envs").joinpath("tasks", name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    if [int(row["task"]) for row in rows] != list(range(len(rows))):
        raise InputError(f"task table {name}: task ids must run from 0 without gaps")
    descriptors = np.array([[float(row[column]) for column in family.descriptor] for row in rows])
    return TaskTable(tuple(row["split"] for row in rows), descriptors, text)
