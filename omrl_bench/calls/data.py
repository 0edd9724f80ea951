"""What a script trains on and is given: training data as arrays, environments, contexts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

import numpy as np

from omrl_bench.api import Transitions
from omrl_bench.data.contexts import DRAWS, source_dataset
from omrl_bench.data.datasets import Datasets
from omrl_bench.data.manifest import ensure_dataset
from omrl_bench.envs.families import Family, get_family
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.processes import processors
from omrl_bench.vocabulary import QUALITIES, UNITS

if TYPE_CHECKING:
    import gymnasium


class TrainingArrays(TypedDict):
    """Logged transitions of the training tasks, one row each: ``{name: array[rows] for name, array in data.items()}``.

    Rows of an episode lie together and in order, episodes of a task too.
    """

    observations: np.ndarray  # (N, observation size) float32
    actions: np.ndarray  # (N, action size) float32, in the environment's units
    rewards: np.ndarray  # (N,) float32
    next_observations: np.ndarray  # (N, observation size) float32
    terminated: np.ndarray  # (N,) bool: the task ended there; do not bootstrap
    truncated: np.ndarray  # (N,) bool: the episode ended at the horizon; bootstrap
    tasks: np.ndarray  # (N,) int64 id of the task, as in the task table
    episodes: np.ndarray  # (N,) int64 number of the episode, from 0
    descriptors: NotRequired[np.ndarray]  # (N, descriptor size) float32 true parameters of the task, if asked for


class Contexts(NamedTuple):
    """Contexts of several lanes.

    Attributes:
        transitions: (lanes, n, ...), shorter contexts padded and not ``valid`` there.
        tasks: (lanes,) id of each lane's task.
    """

    transitions: Transitions
    tasks: np.ndarray


def load(family: str, quality: str = "mixed", *, train_tasks: int = 0, descriptors: bool = False) -> TrainingArrays:
    """Load what a method may learn from: the logged episodes of a family's training tasks.

    Data that are not on this machine are built first, which is said on standard error. Data of the validation and test
    tasks are not for training; :func:`contexts` and :func:`omrl_bench.evaluate` show a policy what it may see of them.

    Args:
        family: Name of the family, e.g. ``"cheetah-vel"``.
        quality: ``"mixed"``, ``"expert"``, ``"medium"`` or ``"random"``.
        train_tasks: How many of the training tasks, the fixed subset of a suite's preset; 0 for all.
        descriptors: Whether to add the true task parameters. A method that learns from them has the privilege
            ``descriptors``: pass ``privileges=("descriptors",)`` to :func:`omrl_bench.record`.

    Returns:
        NumPy arrays by name, all with one row for each transition.

    Raises:
        InputError: if there is no such family, quality or number of tasks, or the local data are damaged or of another
            version.
    """
    if quality not in QUALITIES:
        raise unknown_name("quality", quality, QUALITIES)
    definition = get_family(family)
    if train_tasks < 0:
        raise InputError(f"train_tasks is {train_tasks}; 0 takes all of the training tasks")
    ensure(definition, quality)
    data = Datasets(definition).training(quality, quality, train_tasks)
    lengths = np.diff(data.episode_offsets)
    tasks = np.repeat(data.tasks, np.diff(data.task_offsets))
    last = np.zeros(len(tasks), dtype=bool)
    last[data.episode_offsets[1:] - 1] = True
    arrays = TrainingArrays(
        observations=data.observations,
        actions=data.actions,
        rewards=data.rewards,
        next_observations=data.next_observations,
        terminated=data.terminated,
        truncated=last & ~data.terminated,
        tasks=tasks,
        episodes=np.repeat(np.arange(len(lengths)), lengths),
    )
    if descriptors:
        arrays["descriptors"] = definition.tasks().descriptors[tasks].astype(np.float32)
    return arrays


def make(family: str, task: int = 0, *, render_mode: str | None = None) -> gymnasium.Env[np.ndarray, np.ndarray]:
    """Make the Gymnasium environment of one task.

    ``reset(options={"task": 7})`` goes on in another task. The evaluation simulates many tasks at once, with the same
    numbers.

    Args:
        family: Name of the family.
        task: Task id, a row of the family's task table.
        render_mode: ``"rgb_array"`` in MuJoCo families.

    Raises:
        InputError: if there is no such family, task or render mode.
    """
    definition = get_family(family)
    definition.tasks().check([task])
    import gymnasium

    from omrl_bench.envs.single import register

    register()
    return gymnasium.make(definition.env_id, task=int(task), render_mode=render_mode)


def contexts(
    family: str,
    quality: str,
    split: str = "test",
    *,
    draws: int = 10,
    unit: str = "episode",
    descriptors: bool = False,
) -> Contexts:
    """Return the contexts that a method is given of each task of a split: always the same ones.

    Data that are not on this machine are built first, which is said on standard error.

    Args:
        family: Name of the family.
        quality: Of the context: ``"high"``, ``"medium"``, ``"low"`` (by return, of mixed data), ``"mixed"``,
            ``"expert"``, ``"random"``, or ``"cross"`` (the expert of another task).
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"extrapolation"``.
        draws: Contexts of each task, at most 20; suites take 10.
        unit: ``"episode"``, ``"transitions"`` (i.i.d.) or ``"segment"`` (100 consecutive steps).
        descriptors: Whether to add the true task parameters, as for a method with that privilege.

    Returns:
        One lane for each task and draw, task by task.

    Raises:
        InputError: if there is no such family, quality, split, unit or number of draws, the family has no tasks of the
            split, or the local data are damaged or of another version.
    """
    definition = get_family(family)
    dataset = source_dataset(quality)
    tasks = definition.tasks().ids(split)
    if unit not in UNITS:
        raise unknown_name("context unit", unit, UNITS)
    if not 1 <= draws <= DRAWS:
        raise InputError(f"{draws} draws asked for; there are 1 to {DRAWS} of each task")
    if not len(tasks):
        raise InputError(f"family {family!r} has no {split} tasks")
    ensure(definition, dataset)
    datasets = Datasets(definition, frozenset({"descriptors"} if descriptors else ()))
    return Contexts(datasets.context(tasks, quality, draws, unit), np.repeat(tasks, draws))


def ensure(family: Family, quality: str) -> None:
    """Build a dataset that is not on this machine, on all cores."""
    ensure_dataset(family, quality, processors(), announce)


def announce(text: str) -> None:
    """Say on standard error what takes a while."""
    print(f"omrl-bench: {text}", file=sys.stderr, flush=True)
