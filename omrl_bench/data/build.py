"""Rolls the behaviour policies out into datasets."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omrl_bench.api import BEHAVIOURS, Behaviour
from omrl_bench.data.behaviour import EXPERT, RANDOM, UniformActor, half_way, make_actor
from omrl_bench.data.contexts import DRAWS, of_training_tasks
from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.vocabulary import DATASETS

EPISODES_PER_TASK = 45  # of a training task
#: Of every other task: some of as many as a training task has, of which the rest is not simulated.
EVALUATION_EPISODES = 20
#: Share of a dataset's episodes that may be unstable; more says that something else is wrong.
UNSTABLE = 0.01


@dataclass(frozen=True)
class Collected:
    """What was rolled out, and how many episodes of it were dropped because the simulation became unstable."""

    episodes: Episodes
    dropped: int


@dataclass(frozen=True)
class Levels:
    """Mean returns that say what half-way is: of uniform actions, and of each behaviour's sampled actions."""

    random: float
    behaviours: tuple[float, ...]


def collect(
    family: Family,
    quality: str,
    threads: int,
    episodes: int = EPISODES_PER_TASK,
    levels: Levels | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Collected:
    """Roll out one dataset: so many episodes of every task, in one batched simulation for each version of the table.

    One that only contexts are drawn from has :data:`DRAWS` episodes of every task that is not for training, whatever
    ``episodes`` says.

    Args:
        family: The family.
        quality: In :data:`omrl_bench.vocabulary.DATASETS`.
        threads: Simulator threads.
        episodes: Episodes per training task; others have at most :data:`EVALUATION_EPISODES`.
        levels: Needed for ``medium``.
        progress: Called with the fraction done.

    Raises:
        InputError: if there is no such quality, the family has no behaviour policies, or the simulation is unstable.
    """
    if quality not in DATASETS:
        raise unknown_name("quality", quality, DATASETS)
    versions = np.unique(family.tasks().since)
    parts = []
    for done, since in enumerate(versions):

        def report(fraction: float, done: int = done) -> None:
            progress((done + fraction) / len(versions))

        parts.append(collect_version(family, quality, since, threads, episodes, levels, progress=report))
    return Collected(Episodes.joined([part.episodes for part in parts]), sum(part.dropped for part in parts))


def collect_version(
    family: Family,
    quality: str,
    since: int,
    threads: int,
    episodes: int = EPISODES_PER_TASK,
    levels: Levels | None = None,
    evaluation_episodes: int = EVALUATION_EPISODES,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Collected:
    """Roll out what :func:`collect` does, of the tasks that came with one version of the family.

    They have random numbers of their own: their episodes stay what they are when a later version appends tasks.

    Args:
        family: The family.
        quality: In :data:`omrl_bench.vocabulary.DATASETS`.
        since: The version, see :attr:`omrl_bench.envs.task_table.TaskTable.since`.
        threads: Simulator threads.
        episodes: Episodes per training task.
        levels: Needed for ``medium``.
        evaluation_episodes: Most episodes per other task.
        progress: Called with the fraction done.

    Raises:
        InputError: as :func:`collect`.
    """
    table = family.tasks()
    crossed = not of_training_tasks(quality)
    episodes = DRAWS if crossed else episodes
    training = np.array(table.splits) == "train"
    ids = np.flatnonzero((table.since == since) & ~(crossed & training))
    entropy = [zlib.crc32(f"{family.name} v{since} {quality}".encode())]
    tasks = np.repeat(ids, episodes)
    behaviours = _behaviours(quality, episodes, levels)
    kept = np.tile(_of_evaluation_tasks(quality, behaviours, evaluation_episodes), len(ids))
    seeds = np.random.SeedSequence(entropy).generate_state(len(tasks)).astype(np.int64)
    rng = np.random.default_rng(entropy)
    return roll_out(
        family,
        UniformActor(family) if quality == "random" else make_actor(family),
        tasks,
        np.tile(behaviours, len(ids)),
        seeds,
        rng,
        threads,
        told=_other_tasks(family, tasks, rng) if crossed else None,
        kept=training[tasks] | kept,
        progress=progress,
    )


def roll_out(
    family: Family,
    actor: Behaviour,
    tasks: np.ndarray,
    behaviours: np.ndarray,
    seeds: np.ndarray,
    rng: np.random.Generator,
    threads: int,
    deterministic: bool = False,
    told: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Collected:
    """Run one episode per lane and keep every transition up to its end.

    Args:
        family: The family.
        actor: Who acts.
        tasks: (lanes,) task ids, ascending.
        behaviours: (lanes,) behaviour of each lane.
        seeds: (lanes,) environment seeds.
        rng: Source of the sampled actions.
        threads: Simulator threads.
        deterministic: Whether the actor takes its mean action.
        told: (lanes,) the task that the actor is told it is in, if not the true one.
        kept: (lanes,) bool, which lanes are simulated; random numbers are drawn for the others, too. All by default.
        progress: Called with the fraction done.

    Raises:
        InputError: if more than a few episodes are unstable (NaN).
    """
    lanes = np.arange(len(tasks)) if kept is None else np.flatnonzero(kept)
    shape = (len(lanes), family.horizon)
    observations = np.empty((len(lanes), family.horizon + 1, family.observation_size), np.float32)
    actions = np.empty((*shape, family.action_size), np.float32)
    rewards = np.empty(shape, np.float32)
    terminated = np.zeros(shape, bool)
    descriptors = family.tasks().descriptors[tasks if told is None else told]
    env = BatchedEnv(family, len(lanes), threads)
    current = np.zeros((len(tasks), family.observation_size))
    current[lanes] = env.reset(tasks[lanes], seeds[lanes])
    actor.reset(behaviours, rng)
    observations[:, 0] = current[lanes]
    ended = np.zeros(len(lanes), dtype=bool)
    for step in range(family.horizon):
        # the float32 action is what is stored, so it is also what is applied; an unstable lane's does not matter
        actions[:, step] = np.nan_to_num(actor.act(current, descriptors, rng, deterministic))[lanes]
        current[lanes], rewards[:, step], terminated[:, step], _ = env.step(actions[:, step], ~ended)
        observations[:, step + 1] = current[lanes]
        progress((step + 1) / family.horizon)
        ended |= terminated[:, step]
        if ended.all():
            break
    lengths = np.where(ended, terminated.argmax(axis=1) + 1, family.horizon)
    within = np.arange(family.horizon) < lengths[:, None]
    collected = Episodes(
        observations=observations[:, :-1][within],
        actions=actions[within],
        rewards=rewards[within],
        next_observations=observations[:, 1:][within],
        terminated=terminated[within],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        tasks=tasks[lanes].astype(np.int64),
        behaviours=behaviours[lanes].astype(np.int64),
        seeds=seeds[lanes],
        told=None if told is None else told[lanes],
    )
    return drop_unstable(family, collected)


def drop_unstable(family: Family, episodes: Episodes) -> Collected:
    """Leave out the episodes that hold NaN or infinity.

    Raises:
        InputError: if that is more than 1 % of them.
    """
    finite = np.isfinite(episodes.rewards)
    for array in (episodes.observations, episodes.actions, episodes.next_observations):
        finite &= np.isfinite(array).all(axis=1)
    stable = np.logical_and.reduceat(finite, episodes.offsets[:-1])
    dropped = int((~stable).sum())
    if dropped > UNSTABLE * len(stable):
        task = int(episodes.tasks[np.argmin(stable)])
        raise InputError(f"{family.name}: {dropped} of {len(stable)} episodes are unstable (NaN), first in task {task}")
    return Collected(episodes.select(np.flatnonzero(stable)) if dropped else episodes, dropped)


def _behaviours(quality: str, episodes: int, levels: Levels | None) -> np.ndarray:
    """Behaviour of each of a task's episodes."""
    number = np.arange(episodes)
    if quality == "mixed":
        return number % BEHAVIOURS
    if quality == "medium":
        assert levels is not None, "medium is relative to the other qualities"
        lower, share = half_way(np.array(levels.behaviours), levels.random)
        return lower + (number < round(share * episodes))
    return np.full(episodes, RANDOM if quality == "random" else EXPERT)


def _of_evaluation_tasks(quality: str, behaviours: np.ndarray, most: int) -> np.ndarray:
    """Which of a task's episodes, given their behaviours, an evaluation task has, too: so many in a row.

    They are the first, but in ``medium``, where the better behaviour comes first: there both have their share.
    """
    better = int((behaviours == behaviours[0]).sum()) if quality == "medium" else 0
    number = np.arange(len(behaviours)) - better + round(better / len(behaviours) * most)
    kept: np.ndarray = (number >= 0) & (number < most)
    return kept


def _other_tasks(family: Family, tasks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a training task with another descriptor for each lane."""
    table = family.tasks()
    train = table.ids("train")
    differs = (table.descriptors[train][None] != table.descriptors[tasks][:, None]).any(axis=2)
    others: np.ndarray = train[np.where(differs, rng.random(differs.shape), -1).argmax(axis=1)]
    return others
