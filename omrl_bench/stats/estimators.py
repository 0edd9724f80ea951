"""Point estimates of a matrix of scores, vectorised over resamples.

Every estimator takes an array (..., seeds, tasks) and returns an array (...). The draws of a task have been
averaged before. Definitions follow rliable, so that numbers compare with papers that use it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import trim_mean

#: (..., seeds, tasks) -> (...).
Estimator = Callable[[np.ndarray], np.ndarray]


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds and tasks: (..., seeds, tasks) -> (...)."""
    result: np.ndarray = scores.mean(axis=(-2, -1))
    return result


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean, the mean of the middle half of all seed-task pairs: (..., seeds, tasks) -> (...)."""
    pooled = scores.reshape(*scores.shape[:-2], -1)
    return np.asarray(trim_mean(pooled, 0.25, axis=-1))


def median(scores: np.ndarray) -> np.ndarray:
    """Median over tasks of the mean over seeds: (..., seeds, tasks) -> (...)."""
    return np.asarray(np.median(scores.mean(axis=-2), axis=-1))


def optimality_gap(scores: np.ndarray, gamma: float = 100.0) -> np.ndarray:
    """Mean shortfall from ``gamma``; what exceeds it earns nothing: (..., seeds, tasks) -> (...)."""
    return gamma - mean(np.minimum(scores, gamma))
