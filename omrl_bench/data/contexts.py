"""Context sets: which logged data is given to a method as the context of a task.

A *quality* says from which dataset and which range of returns, a *unit* what one draw is, see
:data:`omrl_bench.vocabulary.UNITS`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omrl_bench.api import Transitions
from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.vocabulary import CONTEXT_ONLY, SEGMENT, UNITS

#: Context quality -> the dataset it is drawn from, and the range of return ranks (per cent) within a task.
SOURCES = {
    "high": ("mixed", 90, 100),
    "medium": ("mixed", 45, 55),
    "low": ("mixed", 0, 10),
    "random": ("random", 0, 100),
    "expert": ("expert", 0, 100),
    "mixed": ("mixed", 0, 100),
    "cross": ("cross", 0, 100),
}
DRAWS = 20


@dataclass(frozen=True)
class ContextSet:
    """Context draws of every task, for the qualities that one dataset serves.

    Attributes:
        draws: By (quality, unit), integers; a task without data (``cross`` has none for training tasks) has -1.
            ``episode``: (tasks, DRAWS) episode numbers in the dataset. ``segment``: (tasks, DRAWS, 2) first and last
            row + 1. ``transitions``: (tasks, DRAWS, horizon) rows.
    """

    draws: dict[tuple[str, str], np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """The draws under the names they have in the file: ``<quality>.<unit>``."""
        return {context_name(*key): array for key, array in self.draws.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> ContextSet:
        """The inverse of :meth:`arrays`."""
        return cls({(name.split(".")[0], name.split(".")[1]): array for name, array in arrays.items()})

    def hashes(self, splits: Mapping[str, np.ndarray]) -> dict[str, dict[str, str]]:
        """Hash of each array of :meth:`arrays`, apart for the tasks of each split.

        Args:
            splits: Task ids of each split.
        """
        return {
            name: {split: _hash(array[tasks]) for split, tasks in splits.items()}
            for name, array in sorted(self.arrays().items())
        }


def context_name(quality: str, unit: str) -> str:
    """Name of a context set in files and manifests, ``<quality>.<unit>``."""
    return f"{quality}.{unit}"


def source_dataset(quality: str) -> str:
    """Return the quality of the dataset that serves a context quality.

    Raises:
        InputError: if there is no such context quality.
    """
    if quality not in SOURCES:
        raise unknown_name("context quality", quality, SOURCES)
    return SOURCES[quality][0]


def of_training_tasks(quality: str) -> bool:
    """Whether a dataset or context quality has data of the training tasks, too: all but those of contexts only."""
    return quality not in CONTEXT_ONLY


def draw_contexts(family: Family, dataset: str, episodes: Episodes) -> ContextSet:
    """Derive the context sets that a dataset serves; the same dataset always gives the same sets.

    A quality's pool is the task's episodes in its range of return ranks. Draws of episodes and segments go through
    the pool in random order, and through it again when it is smaller than the number of draws. Every task has random
    numbers of its own: its draws do not depend on which other tasks there are.
    """
    draws: dict[tuple[str, str], np.ndarray] = {}
    for quality in (quality for quality, (source, _, _) in SOURCES.items() if source == dataset):
        pools = _pools(family, episodes, quality)

        def rngs(unit: str, quality: str = quality, tasks: int = len(pools)) -> list[np.random.Generator]:
            seed = zlib.crc32(f"contexts {family.name} {quality} {unit}".encode())
            return [np.random.default_rng([seed, task]) for task in range(tasks)]

        drawn = zip(pools, rngs("episode"), strict=True)
        draws[quality, "episode"] = np.array([_through(pool, rng) for pool, rng in drawn], dtype=np.int32)
        drawn = zip(pools, rngs("segment"), strict=True)
        draws[quality, "segment"] = np.stack([_draw_segments(episodes, pool, rng) for pool, rng in drawn])
        drawn = zip(pools, rngs("transitions"), strict=True)
        draws[quality, "transitions"] = np.stack(
            [_draw_transitions(episodes, pool, family.horizon, rng) for pool, rng in drawn]
        )
    return ContextSet(draws)


def gather(
    episodes: Episodes,
    draws: np.ndarray,
    descriptors: np.ndarray | None = None,
    unit: str = "episode",
    rho: float | None = None,
) -> Transitions:
    """Return drawn contexts, one per lane, padded to the longest.

    Args:
        episodes: The dataset.
        draws: One draw per lane: (lanes,), (lanes, 2) or (lanes, rows), see :class:`ContextSet`.
        descriptors: (lanes, descriptor size) for a method with the privilege, else None.
        unit: What a draw is, in :data:`omrl_bench.vocabulary.UNITS`.
        rho: Show the rewards through :func:`sparse_view`.

    Raises:
        InputError: if there is no such unit, or a task has no context of this quality.
    """
    if unit not in UNITS:
        raise unknown_name("context unit", unit, UNITS)
    if (draws < 0).any():
        without = ", ".join(CONTEXT_ONLY)
        raise InputError(f"a task has no context of this quality: `{without}` has none for training tasks")
    if unit == "transitions":
        rows, valid = draws, np.ones(draws.shape, dtype=bool)
    else:
        starts, stops = (episodes.offsets[draws], episodes.offsets[draws + 1]) if unit == "episode" else draws.T
        steps = np.arange((stops - starts).max())
        valid = steps < (stops - starts)[:, None]
        rows = np.where(valid, starts[:, None] + steps, 0)

    def take(array: np.ndarray) -> np.ndarray:
        taken = array[rows]
        taken[~valid] = 0
        return taken

    return Transitions(
        observations=take(episodes.observations),
        actions=take(episodes.actions),
        rewards=take(episodes.rewards if rho is None else sparse_view(episodes.rewards, rho)),
        next_observations=take(episodes.next_observations),
        terminated=take(episodes.terminated),
        valid=valid,
        descriptors=descriptors,
    )


def sparse_view(rewards: np.ndarray, rho: float) -> np.ndarray:
    """Sparse rewards for contexts only: (r - rho) / |rho| if r > rho, else 0 (FOCAL++, section 5).

    The policy still learns from the dense rewards and is judged by them: this is a view of a dataset, not a family.
    FOCAL++ has rho = -0.1 for cheetah-vel and 3 for ant forward-backward, so that about half of the rewards vanish.

    Args:
        rewards: Any shape.
        rho: The threshold, not 0.

    Raises:
        InputError: if rho is 0.
    """
    if rho == 0:
        raise InputError("the sparse view divides by |rho|: rho cannot be 0")
    sparse: np.ndarray = np.where(rewards > rho, (rewards - rho) / abs(rho), 0).astype(rewards.dtype)
    return sparse


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.shape} ".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _pools(family: Family, episodes: Episodes, quality: str) -> list[np.ndarray]:
    """Episode numbers of a quality, by task."""
    _, low, high = SOURCES[quality]
    returns, ids = episodes.returns(), family.tasks().ids()
    bounds = zip(np.searchsorted(episodes.tasks, ids), np.searchsorted(episodes.tasks, ids, side="right"), strict=True)
    ranked = [start + np.argsort(returns[start:stop], kind="stable") for start, stop in bounds]
    return [each[low * len(each) // 100 : -(-high * len(each) // 100)] for each in ranked]


def _draw_segments(episodes: Episodes, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(DRAWS, 2) first and last row + 1."""
    numbers = _through(pool, rng)
    starts, stops = episodes.offsets[numbers], episodes.offsets[numbers + 1]
    latest = np.maximum(stops - SEGMENT, starts)
    first = starts + (rng.random(DRAWS) * (latest - starts + 1)).astype(np.int64)
    segments = np.stack([first, np.minimum(first + SEGMENT, stops)], axis=-1)
    segments[numbers < 0] = -1
    return segments


def _draw_transitions(episodes: Episodes, pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(DRAWS, count) rows."""
    if not len(pool):
        return np.full((DRAWS, count), -1, dtype=np.int32)
    lengths = episodes.offsets[pool + 1] - episodes.offsets[pool]
    ends = np.cumsum(lengths)
    picks = rng.integers(ends[-1], size=(DRAWS, count))
    which = np.searchsorted(ends, picks, side="right")
    rows: np.ndarray = (episodes.offsets[pool][which] + picks - (ends - lengths)[which]).astype(np.int32)
    return rows


def _through(pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """DRAWS members of a pool, in random order, again and again; -1 if it is empty."""
    if not len(pool):
        return np.full(DRAWS, -1)
    rounds = [rng.permutation(pool) for _ in range(-(-DRAWS // len(pool)))]
    return np.concatenate(rounds)[:DRAWS]
