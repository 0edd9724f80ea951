"""Reference returns of a family's tasks, which scores lie between: of the random policy, and of the expert.

A mean over few episodes is a matter of luck where the start decides the return: over 20 starts, the expert of a
point-square task fell short of its true mean by 16 % of the way from random to expert, and any good policy scored above
100 there. So a task gets as many episodes as its spread asks for.
"""

from __future__ import annotations

import zlib
from functools import partial

import numpy as np

from omrl_bench.api import Behaviour
from omrl_bench.data.behaviour import EXPERT, RANDOM, UniformActor, make_actor
from omrl_bench.data.build import roll_out
from omrl_bench.envs.families import Family

FIRST = 20  # episodes of every task: they tell its spread
STANDARD_ERROR = 0.01  # of a mean, as a share of the way from random to expert: what more episodes are played for
MOST = 2_000  # episodes of a task
MOST_SIMULATED = 40  # where a simulator runs
LANES = 4_000  # rolled out together

Sample = tuple[np.ndarray, np.ndarray]  # (episodes,) task and return


def reference_returns(family: Family, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean return per task of the random policy and of the expert's mean action, each (tasks,).

    In two stages (Stein, 1945): the spread of the first 20 episodes says how many more are needed. Those of a task do
    not change when a later version of the family appends tasks.

    Raises:
        InputError: if the family has no behaviour policies, or the simulation is unstable.
    """
    players = partial(_play, family, UniformActor(family), RANDOM), partial(_play, family, make_actor(family), EXPERT)
    since = family.tasks().since
    means = np.empty((2, len(since)))
    for version in np.unique(since):
        tasks = np.flatnonzero(since == version)
        first = [play(tasks, np.zeros(len(tasks), int), np.full(len(tasks), FIRST), threads) for play in players]
        moments = [_moments(sample, tasks) for sample in first]
        way = np.abs(moments[1][0] - moments[0][0])
        for row, (play, sample, (_, spread)) in enumerate(zip(players, first, moments, strict=True)):
            needed = np.ceil((spread / np.maximum(STANDARD_ERROR * way, 1e-9)) ** 2)
            wanted = np.clip(needed, FIRST, MOST_SIMULATED if family.assets else MOST).astype(int)
            more = play(tasks, np.full(len(tasks), FIRST), wanted, threads)
            means[row, tasks] = _moments((np.append(sample[0], more[0]), np.append(sample[1], more[1])), tasks)[0]
    return means[0], means[1]


def _play(
    family: Family,
    actor: Behaviour,
    behaviour: int,
    tasks: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    threads: int,
) -> Sample:
    """Episodes number ``start`` to ``stop`` of each task."""
    name = zlib.crc32(f"{family.name} reference {behaviour}".encode())
    lanes = np.repeat(tasks, stop - start)
    seeds = [
        np.random.SeedSequence([name, int(task)]).generate_state(last)[first:]
        for task, first, last in zip(tasks, start, stop, strict=True)
    ]
    seeds_of_all = np.concatenate(seeds).astype(np.int64)
    played, returns = [lanes[:0]], [np.empty(0)]
    for number, first in enumerate(range(0, len(lanes), LANES)):
        part = slice(first, first + LANES)
        rng = np.random.default_rng([name, int(tasks[0]), int(start[0]), number])
        behaviours = np.full(len(lanes[part]), behaviour)
        rolled = roll_out(
            family, actor, lanes[part], behaviours, seeds_of_all[part], rng, threads, deterministic=behaviour == EXPERT
        )
        played.append(rolled.episodes.tasks)
        returns.append(rolled.episodes.returns())
    return np.concatenate(played), np.concatenate(returns)


def _moments(sample: Sample, tasks: np.ndarray) -> Sample:
    """Mean and standard deviation of the returns of each of the tasks."""
    which, returns = np.searchsorted(tasks, sample[0]), sample[1]
    counts = np.maximum(np.bincount(which, minlength=len(tasks)), 1)
    mean = np.bincount(which, returns, len(tasks)) / counts
    variance = np.bincount(which, (returns - mean[which]) ** 2, len(tasks)) / np.maximum(counts - 1, 1)
    return mean, np.sqrt(variance)
