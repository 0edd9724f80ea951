"""The two-way bootstrap over seeds and tasks, and the tests that follow from it.

A claim of offline meta-RL is about new training runs *and* new tasks, so both are resampled: seeds and tasks
independently, with replacement, crossed. Estimates over several families are means of the families' estimates;
each family's seeds and tasks are resampled on their own, because its runs and its tasks are its own.

What it cannot do: with one seed (one task) the interval says nothing about seeds (tasks), and with very few of
either it is too narrow, like every percentile bootstrap. Tables therefore always show the numbers of both.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from omrl_bench.stats.estimators import Estimator, mean

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK_ELEMENTS = 2**21  # resampled scores held in memory at once (16 MiB)


def seed_from(label: str) -> int:
    """Return a seed that depends on the label only: not on row order, the process or the machine."""
    return zlib.crc32(label.encode())


def distribution(
    matrices: Sequence[np.ndarray], seed: int, estimator: Estimator = mean, resamples: int = RESAMPLES
) -> np.ndarray:
    """Resample an estimate, averaged over families.

    Args:
        matrices: One (seeds, tasks) array per family.
        seed: Seed of the resampling; see :func:`seed_from`.
        estimator: Estimate of one family.
        resamples: Number of resamples.

    Returns:
        (resamples,) estimates.

    Raises:
        ValueError: if there is no matrix, or one is empty or not two-dimensional.
    """
    _check(matrices)
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for matrix in matrices:
        seeds, tasks = (_draw(rng, size, resamples) for size in matrix.shape)
        total += _estimate(matrix, seeds, tasks, estimator)
    return total / len(matrices)


def difference_distribution(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    same_seeds: Sequence[bool],
    seed: int,
    estimator: Estimator = mean,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Resample the paired difference ``first - second``, averaged over families.

    Both sides of a resample see the same tasks. They see the same seeds too where the seed sets are the same;
    elsewhere each side draws its own seeds.

    Args:
        first: One (seeds, tasks) array per family.
        second: One (seeds, tasks) array per family; its tasks are those of ``first``, in the same order.
        same_seeds: For each family, whether the seeds of both sides are the same, in the same order.
        seed: Seed of the resampling; see :func:`seed_from`.
        estimator: Estimate of one side in one family.
        resamples: Number of resamples.

    Returns:
        (resamples,) differences.

    Raises:
        ValueError: if there is nothing to compare, or the shapes do not match.
    """
    _check([*first, *second])
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for a, b, same in zip(first, second, same_seeds, strict=True):
        if a.shape[1] != b.shape[1] or (same and a.shape != b.shape):
            raise ValueError(f"cannot pair matrices of shapes {a.shape} and {b.shape}")
        seeds, tasks = (_draw(rng, size, resamples) for size in a.shape)
        other = seeds if same else _draw(rng, b.shape[0], resamples)
        total += _estimate(a, seeds, tasks, estimator) - _estimate(b, other, tasks, estimator)
    return total / len(first)


def interval(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Percentile interval of a bootstrap distribution (resamples,): (low, high)."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(samples, (tail, 100 - tail))
    return float(low), float(high)


def p_value(samples: np.ndarray) -> float:
    """Two-sided p value of "the difference is zero" from a bootstrap distribution (resamples,).

    Counts include one for the data themselves, so that the value is never zero.
    """
    below, above = np.count_nonzero(samples <= 0), np.count_nonzero(samples >= 0)
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(samples)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction over one table: (n,) p values -> (n,) adjusted p values, in the same order."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return adjusted


def _check(matrices: Sequence[np.ndarray]) -> None:
    if not matrices:
        raise ValueError("nothing to resample")
    for matrix in matrices:
        if matrix.ndim != 2 or matrix.size == 0:
            raise ValueError(f"need a (seeds, tasks) matrix with at least one of each, not one of shape {matrix.shape}")


def _draw(rng: np.random.Generator, size: int, resamples: int) -> np.ndarray:
    return rng.integers(size, size=(resamples, size))


def _estimate(matrix: np.ndarray, seeds: np.ndarray, tasks: np.ndarray, estimator: Estimator) -> np.ndarray:
    """Estimate every resample: matrix (S, T), seeds (resamples, S), tasks (resamples, T) -> (resamples,)."""
    chunks = -(-len(seeds) * matrix.size // _CHUNK_ELEMENTS)
    parts = zip(np.array_split(seeds, chunks), np.array_split(tasks, chunks), strict=True)
    return np.concatenate([estimator(matrix[s[:, :, None], t[:, None, :]]) for s, t in parts])
