"""Context sets: which logged episodes are given to a method as the context of a task."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import numpy as np

from omrl_bench.api import Transitions
from omrl_bench.data.store import Episodes
from omrl_bench.envs.families import Family
from omrl_bench.errors import unknown_name
from omrl_bench.fingerprint import hash_text

#: Context quality -> the dataset it is drawn from, and the range of return ranks (fractions) within a task.
SOURCES = {
    "high": ("mixed", 90, 100),
    "medium": ("mixed", 45, 55),
    "low": ("mixed", 0, 10),
    "random": ("random", 0, 100),
}
DRAWS = 20


@dataclass(frozen=True)
class ContextSet:
    """Context draws of every task, for the qualities that one dataset serves.

    Attributes:
        draws: By quality: (tasks, DRAWS) episode numbers in the dataset.
    """

    draws: dict[str, np.ndarray]

    def to_json(self) -> str:
        """The context set as it is stored beside its dataset."""
        return json.dumps({quality: draws.tolist() for quality, draws in sorted(self.draws.items())})

    def fingerprint(self) -> str:
        """Hash of :meth:`to_json`."""
        return hash_text(self.to_json())


def source_dataset(quality: str) -> str:
    """Return the quality of the dataset that serves a context quality.

    Raises:
        InputError: if there is no such context quality.
    """
    if quality not in SOURCES:
        raise unknown_name("context quality", quality, SOURCES)
    return SOURCES[quality][0]


def draw_contexts(family: Family, dataset: str, episodes: Episodes) -> ContextSet:
    """Derive the context sets that a dataset serves; the same dataset always gives the same sets.

    A quality's pool is the task's episodes in its range of return ranks. Draws go through the pool in random
    order, and through it again when it is smaller than the number of draws.
    """
    rng = np.random.default_rng([zlib.crc32(f"contexts {family.name} {family.version} {dataset}".encode())])
    returns = episodes.returns()
    starts = np.searchsorted(episodes.tasks, family.tasks().ids())
    stops = np.searchsorted(episodes.tasks, family.tasks().ids(), side="right")
    draws: dict[str, list[np.ndarray]] = {q: [] for q, (source, _, _) in SOURCES.items() if source == dataset}
    for start, stop in zip(starts, stops, strict=True):
        ranked = start + np.argsort(returns[start:stop], kind="stable")
        for quality in draws:
            _, low, high = SOURCES[quality]
            pool = ranked[low * len(ranked) // 100 : -(-high * len(ranked) // 100)]
            rounds = [rng.permutation(pool) for _ in range(-(-DRAWS // len(pool)))]
            draws[quality].append(np.concatenate(rounds)[:DRAWS])
    return ContextSet({quality: np.array(rows) for quality, rows in draws.items()})


def gather(episodes: Episodes, numbers: np.ndarray, descriptors: np.ndarray | None = None) -> Transitions:
    """Return whole episodes as contexts, one per lane, padded to the longest.

    Args:
        episodes: The dataset.
        numbers: (lanes,) episode numbers.
        descriptors: (lanes, descriptor size) for a method with the privilege, else None.
    """
    starts = episodes.offsets[numbers]
    lengths = episodes.offsets[numbers + 1] - starts
    steps = np.arange(lengths.max())
    valid = steps < lengths[:, None]
    rows = np.where(valid, starts[:, None] + steps, 0)

    def take(array: np.ndarray) -> np.ndarray:
        taken = array[rows]
        taken[~valid] = 0
        return taken

    return Transitions(
        observations=take(episodes.observations),
        actions=take(episodes.actions),
        rewards=take(episodes.rewards),
        next_observations=take(episodes.next_observations),
        terminated=take(episodes.terminated),
        valid=valid,
        descriptors=descriptors,
    )
