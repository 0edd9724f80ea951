"""What an interval of few seeds or tasks needs beyond the percentiles of its resamples.

A bootstrap of n things has (n - 1) / n of the variance that it should have, and its percentiles are those of a normal
law where a t law is due; with five seeds the interval is a third too short. Hesterberg (2015, section 5.3) expands the
percentile interval of one sample by sqrt(n / (n - 1)) and t / z. Here several samples add to the variance, the seeds
and the tasks of each family: their shares are measured by the jackknife, and the degrees of freedom are Satterthwaite's
(1946). Deviations from the median are stretched, so that the interval may leave the range of the resamples, which with
three seeds is too short whatever percentiles are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from omrl_bench.stats.estimators import Estimator, mean


class Part(NamedTuple):
    """What the sampling of some seeds or tasks adds to the variance of an estimate, or of each of several."""

    variance: float | np.ndarray
    size: int


@dataclass(frozen=True)
class Correction:
    """How far deviations from the median of a bootstrap distribution are stretched.

    Attributes:
        widening: Standard error over the bootstrap's standard deviation; of several estimates, an array.
        degrees: Degrees of freedom of the standard error, likewise.
    """

    widening: float | np.ndarray
    degrees: float | np.ndarray

    def stretch(self, levels: np.ndarray) -> np.ndarray:
        """Factor of the quantile of each level, in (0, 1): widening x t quantile / normal quantile."""
        tails = np.minimum(np.minimum(levels, 1 - levels), 0.5 - 1e-4)  # 0 / 0 at 0.5; the ratio is flat there
        ratio: np.ndarray = stdtrit(self.degrees, tails) / ndtri(tails)
        return self.widening * ratio


def correction_of(parts: Iterable[Part]) -> Correction | None:
    """Return the correction for a variance that has these parts; None where nothing varies."""
    found = [part for part in parts if part.size > 1]
    variance = np.array([part.variance for part in found], dtype=float)
    if not variance.any():
        return None
    size = np.array([part.size for part in found]).reshape(-1, *(1,) * (variance.ndim - 1))
    total = variance.sum(axis=0)
    varies = total > 0
    share = variance / np.where(varies, total, 1.0)
    widening = 1 / np.sqrt(np.where(varies, (share * (size - 1) / size).sum(axis=0), 1.0))
    # where nothing varies, among others that do, nothing is stretched either
    degrees = np.where(varies, 1 / np.where(varies, (share**2 / (size - 1)).sum(axis=0), 1.0), np.inf)
    return Correction(widening, degrees[()])


def parts_of(matrices: Sequence[np.ndarray], estimator: Estimator = mean) -> list[Part]:
    """Parts of the variance of an estimate, averaged over families.

    Args:
        matrices: One (seeds, tasks) array per family; for the mean, several of them (..., seeds, tasks) at once.
        estimator: Estimate of one family.
    """
    parts = [_part(_without_each(matrix, axis, estimator)) for matrix in matrices for axis in (0, 1)]
    return shrunk(parts, len(matrices))


def shrunk(parts: Iterable[Part], families: int) -> list[Part]:
    """Parts of the variance of a mean over families."""
    return [Part(part.variance / families**2, part.size) for part in parts]


def _part(without_each: np.ndarray) -> Part:
    """Jackknife variance from the estimates without each of n seeds or tasks, (..., n)."""
    size = without_each.shape[-1]
    return Part((size - 1) * without_each.var(axis=-1) if size else np.zeros(without_each.shape[:-1]), size)


def _without_each(matrix: np.ndarray, axis: int, estimator: Estimator) -> np.ndarray:
    """Estimates without each of the n seeds (tasks), (..., n); none where there is only one."""
    size = matrix.shape[axis - 2]
    if size == 1:
        return np.empty((*matrix.shape[:-2], 0))
    if estimator is mean:  # as below, without copies: this is called for every number of a report
        means = matrix.mean(axis=-1 - axis)
        return np.asarray((means.sum(axis=-1, keepdims=True) - means) / (size - 1))
    kept = np.arange(1, size) - np.tri(size, size - 1, -1, dtype=int)  # row i is 0 to size - 1, without i
    without = matrix[kept] if axis == 0 else np.moveaxis(matrix[:, kept], 1, 0)
    return estimator(np.ascontiguousarray(without))
