"""Point estimates of a matrix of scores, vectorised over resamples.

Every estimator takes an array (..., seeds, tasks) and returns an array (...). The draws of a task have been
averaged before. Definitions follow rliable, so that numbers compare with papers that use it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np

#: (..., seeds, tasks) -> (...).
Estimator = Callable[[np.ndarray], np.ndarray]
#: (seeds, tasks), (resamples, seeds) counts, (resamples, tasks) counts -> (resamples,).
CountsEstimator = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_TRIM = 0.25  # cut from either end by the interquartile mean
_CHUNK_ELEMENTS = 2**19  # resampled scores held in memory at once: they should stay in the processor's cache


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds and tasks: (..., seeds, tasks) -> (...)."""
    result: np.ndarray = scores.mean(axis=(-2, -1))
    return result


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean, the mean of the middle half of all seed-task pairs: (..., seeds, tasks) -> (...)."""
    pooled = scores.reshape(*scores.shape[:-2], -1)
    size = pooled.shape[-1]
    cut = int(_TRIM * size)
    # SciPy's trim_mean is the same; its checks take many times as long, and this is called for every row of a table
    middle = np.partition(pooled, (cut, size - cut - 1), axis=-1)[..., cut : size - cut]
    return np.asarray(middle.mean(axis=-1))


def mean_of_counts(scores: np.ndarray, seeds: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """:func:`mean` of resamples that are given by how often each seed and task is in them.

    Args:
        scores: (..., seeds, tasks).
        seeds: (resamples, seeds) counts.
        tasks: (resamples, tasks) counts.

    Returns:
        (..., resamples).
    """
    # resamples last: they are many, the rest is few
    sums = np.einsum("...sr,sr->...r", scores @ tasks.T, seeds.T)
    return np.asarray(sums / (scores.shape[-2] * scores.shape[-1]))


def iqm_of_counts(scores: np.ndarray, seeds: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """:func:`iqm` of resamples that are given by counts, as in :func:`mean_of_counts`.

    The scores are sorted once; of each resample, what lies between the quartiles is found by adding up counts.
    """
    order = np.argsort(scores, axis=None, kind="stable")
    values = scores.ravel()[order]
    seed, task = np.unravel_index(order, scores.shape)
    cut = int(_TRIM * scores.size)
    # sum of values x counts = last value x all counts - steps between values x counts up to there
    steps = np.diff(values)
    kept = scores.size - 2 * cut
    result = np.empty(len(seeds))
    # resamples in columns, so that the counts are added up in long rows; they never exceed the number of scores
    small = "int16" if scores.size <= np.iinfo(np.int16).max else "int32"
    by_seed, by_task = (np.ascontiguousarray(counts.T.astype(small)) for counts in (seeds, tasks))
    rows = max(1, _CHUNK_ELEMENTS // scores.size)
    for start in range(0, len(seeds), rows):
        part = slice(start, start + rows)
        upto = by_seed[seed[:-1], part] * by_task[task[:-1], part]
        for before, row in itertools.pairwise(upto):  # np.cumsum over columns is many times slower
            row += before
        np.clip(upto, cut, cut + kept, out=upto)
        result[part] = values[-1] - steps @ (upto - cut) / kept
    return result


#: Faster forms of estimators, for resamples given by counts.
OF_COUNTS: Mapping[Estimator, CountsEstimator] = {mean: mean_of_counts, iqm: iqm_of_counts}
