"""Datasets that were collected elsewhere: a Minari dataset of a family's tasks, taken in as one of its qualities.

Its episodes have the flat metadata of our own: ``task_id``, ``split``, ``behaviour`` and ``return``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from omrl_bench.data.behaviour import ReplayActor
from omrl_bench.data.build import roll_out
from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.families import Family
from omrl_bench.envs.simulator import import_mujoco
from omrl_bench.errors import InputError

METADATA = ("task_id", "split", "behaviour", "return")
UNKNOWN_SEED = -1
#: Observations of a replay may differ by this much: the recorder may have applied actions of higher precision.
TOLERANCE = 1e-4


def read_minari(family: Family, minari_id: str) -> Episodes:
    """Read a Minari dataset as episodes of a family; one that is not here is downloaded, as Minari does.

    The seeds are kept if the first episode of every task replays from its seed and actions, else they become
    :data:`UNKNOWN_SEED`, and rewards cannot be relabelled.

    Args:
        family: The family.
        minari_id: Minari's id of the dataset, e.g. ``ring/expert-v0``.

    Raises:
        InputError: if it cannot be loaded, an episode is not one of the family's, or a task has none.
    """
    import_mujoco()
    import minari  # seconds

    try:
        dataset = minari.load_dataset(minari_id, download=True)
        facts = list(dataset.storage.get_episode_metadata(dataset.episode_indices))
        logged = list(dataset.iterate_episodes())
    except Exception as error:  # of the disk, of Minari, or of the network
        raise InputError(f"Minari dataset {minari_id} cannot be loaded: {type(error).__name__}: {error}") from error
    for episode, about in zip(logged, facts, strict=True):
        problem = _problem(family, episode, about)
        if problem:
            raise InputError(f"Minari dataset {minari_id}, episode {episode.id}: {problem}")
    episodes = _joined(logged, facts)
    missing = np.flatnonzero(episodes.counts(len(family.tasks())) == 0)
    if len(missing):
        raise InputError(f"Minari dataset {minari_id} has no episode of task {missing[0]} of {family.name}")
    known = (episodes.seeds != UNKNOWN_SEED).all() and _replays(family, episodes)
    return episodes if known else replace(episodes, seeds=np.full(len(episodes.tasks), UNKNOWN_SEED))


def _problem(family: Family, episode: Any, about: Mapping[str, Any]) -> str:
    """What keeps an episode from being the family's, in words; empty if nothing."""
    absent = [name for name in METADATA if name not in about]
    if absent:
        return f"its metadata lack {absent[0]!r}; needed: {', '.join(METADATA)}"
    task, table, steps = int(about["task_id"]), family.tasks(), len(episode.rewards)
    if not 0 <= task < len(table):
        return f"there is no task {task}; the table has tasks 0 to {len(table) - 1}"
    if about["split"] != table.splits[task]:
        return f"task {task} is for {table.splits[task]}, not {about['split']}"
    if not 1 <= steps <= family.horizon:
        return f"it has {steps} steps; the horizon is {family.horizon}"
    shapes = {"observations": (steps + 1, family.observation_size), "actions": (steps, family.action_size)}
    for name, shape in shapes.items():
        if np.shape(getattr(episode, name)) != shape:
            return f"its {name} have shape {np.shape(getattr(episode, name))}; expected {shape}"
    if not all(np.isfinite(array).all() for array in (episode.observations, episode.actions, episode.rewards)):
        return "it holds NaN or infinity"
    if np.abs(episode.actions).max() > family.action_limit * (1 + 1e-6):
        return f"an action is beyond the limit {family.action_limit}; store what the environment applied"
    if np.any(episode.terminations[:-1]):
        return "it goes on after a terminal state"
    if not np.isclose(np.sum(episode.rewards, dtype=float), float(about["return"]), rtol=1e-4, atol=1e-4):
        return f"its rewards sum up to {np.sum(episode.rewards):.6g}, its metadata say return {about['return']:.6g}"
    return ""


def _joined(logged: list[Any], facts: list[Mapping[str, Any]]) -> Episodes:
    """All episodes as arrays, ordered by task."""

    def rows(take: Any, dtype: type) -> np.ndarray:
        return np.concatenate([take(episode) for episode in logged]).astype(dtype)

    tasks = np.array([int(about["task_id"]) for about in facts], dtype=np.int64)
    joined = Episodes(
        observations=rows(lambda episode: episode.observations[:-1], np.float32),
        actions=rows(lambda episode: episode.actions, np.float32),
        rewards=rows(lambda episode: episode.rewards, np.float32),
        next_observations=rows(lambda episode: episode.observations[1:], np.float32),
        terminated=rows(lambda episode: episode.terminations, bool),
        offsets=np.concatenate([[0], np.cumsum([len(episode.rewards) for episode in logged])]).astype(np.int64),
        tasks=tasks,
        behaviours=np.array([int(about["behaviour"]) for about in facts], dtype=np.int64),
        seeds=np.array([_seed(about) for about in facts], dtype=np.int64),
    )
    return joined.select(np.argsort(tasks, kind="stable"))


def _seed(about: Mapping[str, Any]) -> int:
    """An episode's seed, if it is known and fits: Minari draws seeds of 64 bits if none is given."""
    seed = about.get("seed")
    return int(seed) if seed is not None and 0 <= int(seed) < 2**63 else UNKNOWN_SEED


def _replays(family: Family, episodes: Episodes) -> bool:
    """Whether the first episode of every task comes out again from its seed and actions."""
    first = episodes.select(np.unique(episodes.tasks, return_index=True)[1])
    rng = np.random.default_rng(0)
    actor = ReplayActor(first, family.horizon)
    lanes = np.arange(len(first.tasks))
    again = roll_out(family, actor, first.tasks, lanes, first.seeds, rng, threads=1).episodes
    if len(again.tasks) < len(lanes):
        return False
    lengths = np.diff(first.offsets)
    if (np.diff(again.offsets) < lengths).any():
        return False
    # after a logged episode's end, the replay goes on
    rows = np.concatenate([start + np.arange(n) for start, n in zip(again.offsets[:-1], lengths, strict=True)])
    pairs = ((again.next_observations, first.next_observations), (again.rewards, first.rewards))
    return all(np.allclose(new[rows], old, rtol=TOLERANCE, atol=TOLERANCE) for new, old in pairs)
