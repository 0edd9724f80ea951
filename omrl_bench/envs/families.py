"""The table of families and their frozen task tables (light: no simulator is imported here).

Other packages bring families of their own under the entry-point group ``omrl_bench.families``
(``ring-goal = "omrl_ring:FAMILY"``, the name of the family and a :class:`Family`). A built-in family wins over one of
its name, and :func:`families` says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

import numpy as np

from omrl_bench.api import TaskSpace
from omrl_bench.envs.definition import law_sources
from omrl_bench.envs.simulator import import_mujoco
from omrl_bench.envs.task_laws import TaskLaw, arc, disc, either, interval, multipliers, square
from omrl_bench.envs.task_table import TaskTable, parse_task_table
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.fingerprint import hash_text
from omrl_bench.named import import_named

if TYPE_CHECKING:
    from omrl_bench.envs.law import Law

ENTRY_POINTS = "omrl_bench.families"
BUILT_IN = "omrl_bench.envs"  # the home of the families that come with this package

#: Goals in the plane of each task, (tasks, goals, 2), from the descriptors (tasks, descriptor size).
Goals = Callable[[np.ndarray], np.ndarray]
#: Fields of a family that are no part of what its MDPs are: the fingerprint leaves them out.
_NO_DEFINITION = ("env_id", "variant_of", "controller", "policies", "goals", "task_law", "package", "source")


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
        assets: Model files that the law reads, in the folder ``assets`` beside the law's module.
        varies: What differs between tasks: ``reward``, ``dynamics``, or ``reward and dynamics``.
        task_table: Name of the family whose task table it uses; its own if empty.
        variant_of: Name of the family that this is a paper's variant of, if any.
        controller: ``module:Class`` of its scripted behaviour policies (:class:`omrl_bench.api.Behaviour`, constructed
            with the family); if empty, ten checkpoints act.
        policies: Name of the family whose checkpoints act; its own if empty.
        goals: Of a robot that is a point in the plane, its position the first two observations: where the goals are.
        task_law: What its tasks are drawn from, if that is known.
        package: Package with the folders ``tasks``, ``policies`` and ``manifests``; the law's own if empty.
        source: Where ``data pull`` finds its datasets unless told otherwise, e.g. ``hf://OWNER/NAME@COMMIT``.
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
    controller: str = ""
    policies: str = ""
    goals: Goals | None = None
    task_law: TaskLaw | None = None
    package: str = ""
    source: str = ""

    @property
    def version(self) -> str:
        """Version suffix of the Gymnasium id, e.g. ``v1``."""
        return self.env_id.rsplit("-", 1)[1]

    @property
    def is_point(self) -> bool:
        """Whether the robot is a point in the plane, the first two observations its position."""
        return self.goals is not None

    def task_goals(self) -> np.ndarray:
        """The goals of each task in the plane, (tasks, goals, 2).

        Raises:
            ValueError: if the robot is no point.
        """
        if self.goals is None:
            raise ValueError(f"the robot of {self.name} is no point in the plane: its tasks have no goals there")
        return self.goals(self.tasks().descriptors)

    @property
    def home(self) -> str:
        """Name of the package with its task table, and with its policies and manifest if it is not a built-in one."""
        module = self.law.split(":")[0]
        return self.package or module.rpartition(".")[0] or module

    def make_law(self) -> Law:
        """Import and construct the family's MDP.

        Raises:
            InputError: if the law cannot be imported.
        """
        if self.assets:
            import_mujoco()
        law: Law = import_named(self.law)(self)
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
        """Return the family's frozen task table.

        Raises:
            InputError: if it cannot be read.
        """
        return _read_task_table(self)

    def fingerprint(self) -> str:
        """Hash of everything that defines the MDPs: this entry, the task table, the law's source, model files.

        Raises:
            InputError: if one of these files is missing.
        """
        return hash_text(self.env_id, self.tasks().text, *self._definition())

    def training_fingerprint(self) -> str:
        """Hash of what defines the MDPs of the training tasks: no other task and no version is part of it.

        Raises:
            InputError: if a file is missing.
        """
        table = self.tasks()
        return hash_text(table.row_text(table.ids("train")), *self._definition())

    def _definition(self) -> list[str]:
        """This entry but for its version, the law's source, and the model files."""
        definition = {name: value for name, value in asdict(self).items() if name not in _NO_DEFINITION}
        module = self.law.split(":")[0]
        beside = module.rpartition(".")[0] or module
        return [
            json.dumps(definition),
            *law_sources(module),
            *(_read(beside, "assets", asset) for asset in self.assets),
        ]


def _descriptor_is_the_goal(descriptors: np.ndarray) -> np.ndarray:
    return descriptors[:, None]


def _one_goal(descriptors: np.ndarray) -> np.ndarray:
    return np.broadcast_to([1.0, 0.0], (len(descriptors), 1, 2))


def _goal_after_goal(descriptors: np.ndarray) -> np.ndarray:
    return np.stack([descriptors / 2, descriptors], axis=1)


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


_SEMICIRCLE = arc(np.pi, (-0.1, -0.5), (np.pi + 0.1, np.pi + 0.5))

_POINT = Family(
    name="point-goal",
    env_id="omrl/PointGoal-v1",
    law="omrl_bench.envs.point:PointGoal",
    horizon=60,
    observation_size=2,
    action_size=2,
    action_limit=0.1,
    descriptor=("goal_x", "goal_y"),
    controller="omrl_bench.data.behaviour:PointActor",
    goals=_descriptor_is_the_goal,
    task_law=arc(2 * np.pi),
)
_CHEETAH = Family(
    name="cheetah-vel",
    env_id="omrl/CheetahVel-v1",
    law="omrl_bench.envs.cheetah:CheetahVel",
    horizon=200,
    observation_size=17,
    action_size=6,
    action_limit=1.0,
    descriptor=("velocity",),
    assets=("half_cheetah.xml",),
    task_law=interval(0, 3, (3.05, 3.5)),
)
_ANT = Family(
    name="ant-dir",
    env_id="omrl/AntDir-v1",
    law="omrl_bench.envs.ant:AntDir",
    horizon=200,
    observation_size=27,
    action_size=8,
    action_limit=1.0,
    descriptor=("direction_x", "direction_y"),
    assets=("ant.xml",),
    task_law=arc(2 * np.pi),
)
_WALKER = Family(
    name="walker-params",
    env_id="omrl/WalkerParams-v1",
    law="omrl_bench.envs.walker:WalkerParams",
    horizon=200,
    observation_size=17,
    action_size=6,
    action_limit=1.0,
    descriptor=_multipliers("walker"),
    assets=("walker2d.xml",),
    varies="dynamics",
    task_law=multipliers(_multipliers("walker")),
)


def _like(family: Family, name: str, law: str | None = None, **changes: Any) -> Family:
    """Another entry, like a given one but for the changes; its Gymnasium id follows its name."""
    env_id = f"omrl/{''.join(part.capitalize() for part in name.split('-'))}-v1"
    module = family.law.split(":")[0]
    return replace(family, name=name, env_id=env_id, law=f"{module}:{law}" if law else family.law, **changes)


_WIND = _like(
    _POINT,
    "point-wind",
    "PointWind",
    horizon=20,
    descriptor=("wind_x", "wind_y"),
    varies="dynamics",
    controller="omrl_bench.data.behaviour:PointWindActor",
    goals=_one_goal,
    task_law=square(0.05, beyond=(0.0525, 0.065)),
)

#: Every built-in family by name; those with ``variant_of`` are a paper's variants of another one.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _POINT,
        _like(
            _POINT,
            "point-square",
            "PointSquare",
            horizon=20,
            controller="omrl_bench.data.behaviour:PointSquareActor",
            task_law=square(1.0, beyond=(1.05, 1.3)),
        ),
        _like(_POINT, "point-sparse", "PointSparse", horizon=20, task_law=_SEMICIRCLE),
        _WIND,
        _like(
            _POINT,
            "point-hard",
            "PointHard",
            horizon=32,
            observation_size=3,
            descriptor=("direction_x", "direction_y"),
            varies="reward and dynamics",  # whether the first goal was reached is part of the state
            controller="omrl_bench.data.behaviour:PointHardActor",
            goals=_goal_after_goal,
            task_law=_SEMICIRCLE,
        ),
        _CHEETAH,
        _like(_CHEETAH, "cheetah-dir", "CheetahDir", descriptor=("direction",), task_law=either([-1], [1])),
        _ANT,
        _like(_ANT, "ant-fwd-back", policies="ant-dir", task_law=either([-1, 0], [1, 0])),
        _like(
            _ANT,
            "ant-goal",
            "AntGoal",
            observation_size=29,
            descriptor=("goal_x", "goal_y"),
            task_law=disc(3.0, beyond=(3.05, 3.5)),
        ),
        _WALKER,
        _like(
            _WALKER,
            "hopper-params",
            "HopperParams",
            observation_size=11,
            action_size=3,
            descriptor=_multipliers("hopper"),
            task_law=multipliers(_multipliers("hopper")),
            assets=("hopper.xml",),
        ),
        _like(
            _CHEETAH,
            "cheetah-mass",
            "CheetahMass",
            descriptor=("mass_scale",),
            varies="dynamics",
            task_law=interval(0.2, 1.8, (1.85, 2.3)),
        ),
        _like(
            _ANT,
            "ant-mass",
            "AntMass",
            descriptor=("mass_scale",),
            varies="dynamics",
            task_law=interval(0.5, 1.5, (0.35, 0.45), (1.55, 1.75)),
        ),
        _like(
            _CHEETAH,
            "cheetah-vel-sparse",
            "CheetahVelSparse",
            horizon=64,
            task_table="cheetah-vel",
            policies="cheetah-vel",
        ),
        _like(
            _WALKER,
            "walker-vel-sparse",
            "WalkerVelSparse",
            horizon=64,
            descriptor=("velocity",),
            varies="reward",
            task_law=interval(0, 2, (2.05, 2.5)),
        ),
        _like(_POINT, "point-goal-h10", horizon=10, task_table="point-goal", variant_of="point-goal"),
        _like(_POINT, "point-goal-h200", horizon=200, task_table="point-goal", variant_of="point-goal"),
        _like(_WIND, "point-wind-h25", horizon=25, task_table="point-wind", variant_of="point-wind"),
        _like(_CHEETAH, "cheetah-vel-wide", variant_of="cheetah-vel", task_law=interval(0, 6, (6.1, 7))),
        _like(_ANT, "ant-dir-speed", "AntDirSpeed", task_table="ant-dir", variant_of="ant-dir", policies="ant-dir"),
    )
}


def get_family(name: str) -> Family:
    """Return the family of that name, a built-in one or that of an installed package.

    Raises:
        InputError: if there is none, with the nearest names; or if its package is broken.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    points = _entry_points(tuple(sys.path))
    if name not in points:
        raise unknown_name("family", name, {*FAMILIES, *points})
    return _load(name, points[name])


def families() -> tuple[dict[str, Family], dict[str, InputError]]:
    """Return all families by name, built-in ones first, and what is wrong with those that packages bring in vain."""
    found, wrong = dict(FAMILIES), {}
    for name, points in sorted(_entry_points(tuple(sys.path)).items()):
        try:
            family = _load(name, points)
            family.tasks()  # without tasks it is of no use
            found[name] = family
        except InputError as error:
            wrong[name] = error
    return found, wrong


@lru_cache(maxsize=4)  # planning a suite asks for every cell, and reading what is installed takes milliseconds
def _entry_points(path: tuple[str, ...]) -> dict[str, tuple[metadata.EntryPoint, ...]]:
    """The families of the packages on Python's path, by name."""
    found: dict[str, tuple[metadata.EntryPoint, ...]] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _load(name: str, points: Sequence[metadata.EntryPoint]) -> Family:
    if len(points) > 1:
        raise InputError(f"{_packages(points)} both bring a family {name!r}; uninstall one")
    family = import_named(points[0].value)
    if not isinstance(family, Family):
        raise InputError(f"{points[0].value} of {_packages(points)} is no omrl_bench.envs.families.Family")
    if family.name != name:
        raise InputError(f"{_packages(points)} calls its family {family.name!r} in code, but {name!r} as entry point")
    if name in FAMILIES or family.env_id in {built_in.env_id for built_in in FAMILIES.values()}:
        raise InputError(f"family {name!r} ({family.env_id}) of {_packages(points)} has a built-in one's name")
    return family


def _packages(points: Sequence[metadata.EntryPoint]) -> str:
    return " and ".join(f"package {point.dist.name if point.dist else point.value}" for point in points)


def _read(package: str, *parts: str) -> str:
    try:
        return resources.files(package).joinpath(*parts).read_text(encoding="utf-8")
    except (OSError, ImportError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{'/'.join(parts)} of package {package} cannot be read: {error}") from error


@cache
def _read_task_table(family: Family) -> TaskTable:
    owner = get_family(family.task_table) if family.task_table else family
    name = f"{owner.name}-{owner.version}.csv"
    return parse_task_table(_read(owner.home, "tasks", name), name, family.descriptor)
