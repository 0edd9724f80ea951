"""The two-way bootstrap over seeds and tasks, and the tests that follow from it.

A claim of offline meta-RL is about new training runs *and* new tasks, so both are resampled: seeds and tasks
independently, with replacement, crossed. Estimates over several families are means of the families' estimates;
each family's seeds and tasks are resampled on their own, because its runs and its tasks are its own.

A percentile interval of few seeds is too narrow; intervals and p values are therefore corrected for sample size
(:mod:`omrl_bench.stats.small_samples`). What no correction can do: with one seed (one task) the interval says nothing
about seeds (tasks). Tables therefore always show the numbers of both. ``docs/statistics.md`` has the formulas and the
measured coverage.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from omrl_bench.stats.estimators import OF_COUNTS, Estimator, mean
from omrl_bench.stats.small_samples import Correction

RESAMPLES = 10_000
CONFIDENCE = 0.95


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
        estimator: Estimate of one family, see :func:`estimate_of_counts`.
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
        total += estimate_of_counts(matrix, seeds, tasks, estimator)
    return total / len(matrices)


def shared_counts(label: str, names: Sequence[object], resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of some seeds or tasks is in each resample, the same for everything with that label.

    Whatever is compared resample by resample (ranks, pairs of methods) asks with the same label, and so sees the same
    seeds where seeds are the same.

    Args:
        label: What is resampled, with the axis: seeds and tasks may have the same names.
        names: The seeds or tasks.
        resamples: Number of resamples.

    Returns:
        (resamples, len(names)) counts.
    """
    rng = np.random.default_rng(seed_from(f"{label}/{','.join(map(str, names))}"))
    return _draw(rng, len(names), resamples)


def estimate_of_counts(
    matrix: np.ndarray, seeds: np.ndarray, tasks: np.ndarray, estimator: Estimator = mean
) -> np.ndarray:
    """Estimate every resample: matrix (S, T), counts (resamples, S) and (resamples, T) -> (resamples,).

    For the mean, matrices (..., S, T) -> (..., resamples).

    Args:
        matrix: Scores.
        seeds: How often each seed is in each resample.
        tasks: How often each task is in each resample.
        estimator: One of :data:`omrl_bench.stats.estimators.OF_COUNTS`.
    """
    return OF_COUNTS[estimator](matrix, seeds, tasks)


def interval(
    samples: np.ndarray, confidence: float = CONFIDENCE, correction: Correction | None = None
) -> tuple[Any, Any]:
    """Percentile interval of a bootstrap distribution, expanded about its median.

    Args:
        samples: (..., resamples).
        confidence: Coverage.
        correction: Of each distribution.

    Returns:
        The low and the high ends, (...): floats of a single distribution, arrays of several.
    """
    tail = (1 - confidence) / 2
    low, middle, high = np.quantile(samples, (tail, 0.5, 1 - tail), axis=-1)
    stretch = correction.stretch(np.array(tail)) if correction else 1.0
    return middle + stretch * (low - middle), middle + stretch * (high - middle)


def _check(matrices: Sequence[np.ndarray]) -> None:
    if not matrices:
        raise ValueError("nothing to resample")
    for matrix in matrices:
        if matrix.ndim != 2 or matrix.size == 0:
            raise ValueError(f"need a (seeds, tasks) matrix with at least one of each, not one of shape {matrix.shape}")


def _draw(rng: np.random.Generator, size: int, resamples: int) -> np.ndarray:
    """Draw as many things as there are, with replacement: (resamples, size) counts of each."""
    drawn = rng.integers(size, size=(resamples, size)) + size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
    return np.asfortranarray(counts, dtype=float)  # estimators go along the resamples
