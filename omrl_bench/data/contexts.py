"""Context sets: which logged data is given to a method as the context of a task.

A *quality* says from which dataset and which range of returns, a *unit* what one draw is, see
:data:`omrl_bench.vocabulary.UNITS`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
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

    def hashes(self) -> dict[str, str]:
        """Hash of each array of :meth:`arrays`."""
        return {
            name: hashlib.sha256(f"{array.shape} ".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
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
    the pool in random order, and through it again when it is smaller than the number of draws.
    """
    served = [quality for quality, (source, _, _) in SOURCES.items() if source == dataset]
    pools = _pools(family, episodes, served)
    draws: dict[tuple[str, str], np.ndarray] = {}
    # the first qualities of the benchmark share one generator; the others came later and have their own
    first = [quality for quality in served if quality != "mixed"]
    draws |= _draw_episodes(first, pools, _generator(family, dataset))
    if "mixed" in served:
        draws |= _draw_episodes(["mixed"], pools, _generator(family, dataset, "mixed"))
    for quality in served:
        rng = _generator(family, dataset, quality, "segment")
        draws[quality, "segment"] = _draw_segments(episodes, pools[quality], rng)
        rng = _generator(family, dataset, quality, "transitions")
        draws[quality, "transitions"] = _draw_transitions(episodes, pools[quality], family.horizon, rng)
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


def _generator(family: Family, *words: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(" ".join(("contexts", family.name, family.version, *words)).encode())])


def _pools(family: Family, episodes: Episodes, qualities: Iterable[str]) -> dict[str, list[np.ndarray]]:
    """Episode numbers by quality and task."""
    returns = episodes.returns()
    ids = family.tasks().ids()
    bounds = zip(np.searchsorted(episodes.tasks, ids), np.searchsorted(episodes.tasks, ids, side="right"), strict=True)
    ranked = [start + np.argsort(returns[start:stop], kind="stable") for start, stop in bounds]
    return {
        quality: [r[SOURCES[quality][1] * len(r) // 100 : -(-SOURCES[quality][2] * len(r) // 100)] for r in ranked]
        for quality in qualities
    }


def _draw_episodes(
    qualities: list[str], pools: dict[str, list[np.ndarray]], rng: np.random.Generator
) -> dict[tuple[str, str], np.ndarray]:
    draws = {q: np.full((len(pools[q]), DRAWS), -1, dtype=np.int32) for q in qualities}
    for task in range(len(pools[qualities[0]]) if qualities else 0):
        for quality in qualities:
            draws[quality][task] = _through(pools[quality][task], rng)
    return {(quality, "episode"): array for quality, array in draws.items()}


def _draw_segments(episodes: Episodes, pools: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    numbers = np.stack([_through(pool, rng) for pool in pools])
    starts, stops = episodes.offsets[numbers], episodes.offsets[numbers + 1]
    latest = np.maximum(stops - SEGMENT, starts)
    first = starts + (rng.random(numbers.shape) * (latest - starts + 1)).astype(np.int64)
    segments = np.stack([first, np.minimum(first + SEGMENT, stops)], axis=-1)
    segments[numbers < 0] = -1
    return segments


def _draw_transitions(episodes: Episodes, pools: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    draws = np.full((len(pools), DRAWS, count), -1, dtype=np.int32)
    for task, pool in enumerate(pools):
        if len(pool):
            lengths = episodes.offsets[pool + 1] - episodes.offsets[pool]
            ends = np.cumsum(lengths)
            picks = rng.integers(ends[-1], size=(DRAWS, count))
            which = np.searchsorted(ends, picks, side="right")
            draws[task] = episodes.offsets[pool][which] + picks - (ends - lengths)[which]
    return draws


def _through(pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """DRAWS members of a pool, in random order, again and again; -1 if it is empty."""
    if not len(pool):
        return np.full(DRAWS, -1)
    rounds = [rng.permutation(pool) for _ in range(-(-DRAWS // len(pool)))]
    return np.concatenate(rounds)[:DRAWS]
