"""Means and their differences, for two questions: *on these tasks*, and *on new tasks*.

Scores are x_st = mean + seed effect + task effect + residual, crossed: S seeds (rows) saw the same T tasks (columns);
the residual is their interaction and what is left of the draws. What varies adds three parts to the variance of a mean
(Searle, Casella and McCulloch 1992, chapter 4):

    a = s^2(means of the seeds) / S            with S - 1 degrees of freedom,
    b = s^2(means of the tasks) / T            with T - 1,
    e = MSE / (S T)                            with (S - 1) (T - 1).

a and b both hold e. *On these tasks* the tasks are fixed and only training runs vary: V = a. *On new tasks* both vary:
V = max(a + b - e, a, b). Degrees of freedom are Satterthwaite's (1946): V^2 / sum(part^2 / its degrees).

A difference of two methods is that of one sample of differences where its seeds are paired
(:mod:`omrl_bench.stats.pairing`); else each side has an a and an e of its own, and b is that of the tasks' differences:
Welch's t (1947) for these tasks, V = max(a_A + a_B + b - e_A - e_B, a_A + a_B, b) for new ones. A mean over families
adds the families' variances, which are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import nctdtrinc, stdtr, stdtrit

from omrl_bench.stats.bootstrap import CONFIDENCE

POWER = 0.8
_NOTHING = 1e-9  # smaller differences and standard errors are rounding


class Part(NamedTuple):
    """What the sampling of some things adds to the variance of a mean; no degrees of freedom: there was one of them."""

    variance: Any
    degrees: Any


class Marginals(NamedTuple):
    """What :func:`on_these_tasks` and :func:`on_new_tasks` need of scores (..., seeds, tasks).

    Attributes:
        mean: (...).
        tasks: (..., tasks), means over the seeds.
        seeds: The part of the seeds, a.
        residual: The part of the residual, e.
    """

    mean: Any
    tasks: np.ndarray
    seeds: Part
    residual: Part


@dataclass(frozen=True)
class Contrast:
    """An estimate (a mean, or a difference of means) with its variance; all may be arrays of one shape.

    Attributes:
        estimate: The estimate.
        variance: Of the estimate; NaN where there is nothing to estimate it from.
        degrees: Degrees of freedom of the variance.
    """

    estimate: Any
    variance: Any
    degrees: Any

    @property
    def standard_error(self) -> Any:
        """Root of the variance."""
        return np.sqrt(self.variance)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[Any, Any]:
        """Student's interval: (low, high); NaN without a variance."""
        half = stdtrit(self._degrees, (1 + confidence) / 2) * self.standard_error
        return self.estimate - half, self.estimate + half

    def p_value(self) -> Any:
        """Two-sided p value of "it is zero", which agrees with the interval; NaN without a variance."""
        return np.minimum(1.0, 2 * self._below(-np.abs(self.estimate)))

    def p_above(self) -> Any:
        """One-sided p value of "it is zero or less"."""
        return self._below(-np.asarray(self.estimate))

    def p_equivalent(self, margin: float) -> Any:
        """P value of "it is ``margin`` or more away from zero", of two one-sided tests (Schuirmann 1987)."""
        return self._below(np.abs(self.estimate) - margin)

    def detectable(self, power: float = POWER, level: float = 1 - CONFIDENCE) -> Any:
        """Smallest true difference that a two-sided test at ``level``, not corrected, finds with this ``power``.

        From the variance that was measured: delta with P(T > t) = power, T being noncentral t about
        delta / standard error. That a test may be decided by the wrong tail is left out: it is far below 1 in 1,000.
        """
        degrees = self._degrees
        return nctdtrinc(degrees, 1 - power, stdtrit(degrees, 1 - level / 2)) * self.standard_error

    def columns(self, name: str, confidence: float = CONFIDENCE) -> dict[str, Any]:
        """Columns ``name``, ``name_low``, ``name_high``."""
        low, high = self.interval(confidence)
        return {name: self.estimate, f"{name}_low": low, f"{name}_high": high}

    @property
    def _degrees(self) -> Any:
        return np.where(np.asarray(self.degrees) > 0, self.degrees, 1.0)[()]  # of no importance where nothing varies

    def _below(self, distance: Any) -> Any:
        """Probability that a t variable times the standard error is below a distance."""
        error = np.asarray(self.standard_error)
        sure = np.where(distance < -_NOTHING, 0.0, np.where(distance > _NOTHING, 1.0, 0.5))  # where nothing varies
        varies = ~(error <= _NOTHING)
        return np.where(varies, stdtr(self._degrees, distance / np.where(varies, error, 1.0)), sure)[()]


class Questions(NamedTuple):
    """The same estimate for both questions."""

    these: Contrast
    new: Contrast


def marginals(scores: np.ndarray) -> Marginals:
    """Cut scores (..., seeds, tasks) into what varies."""
    seeds, tasks = scores.shape[-2:]
    by_seed, by_task, overall = scores.mean(axis=-1), scores.mean(axis=-2), scores.mean(axis=(-2, -1))
    degrees = (seeds - 1) * (tasks - 1)
    # sum of squares of x_st - x_s. - x_.t + x_..
    rest = scores - by_seed[..., :, None] - by_task[..., None, :] + overall[..., None, None]
    residual = (rest**2).sum(axis=(-2, -1)) / (max(degrees, 1) * seeds * tasks)
    return Marginals(overall, by_task, part_of(by_seed), Part(residual * (degrees > 0), degrees))


def part_of(values: np.ndarray) -> Part:
    """What the sampling of n values (..., n) adds to the variance of their mean: s^2 / n; nothing if n is 1."""
    size = values.shape[-1]
    return Part(values.var(axis=-1) / max(size - 1, 1), size - 1)


def on_these_tasks(first: Marginals, second: Marginals | None = None) -> Contrast:
    """The mean of ``first``, or its difference from ``second``, the tasks being fixed: V = a, or a_A + a_B (Welch).

    The variance is NaN where a side has a single seed.
    """
    sides = (first,) if second is None else (first, second)
    contrast = crossed(_value(first, second), [side.seeds for side in sides], (), ())
    known = np.all(np.broadcast_arrays(*(np.asarray(side.seeds.degrees) > 0 for side in sides)), axis=0)
    return Contrast(contrast.estimate, np.where(known, contrast.variance, np.nan)[()], contrast.degrees)


def on_new_tasks(first: Marginals, second: Marginals | None = None) -> Contrast:
    """The mean of ``first``, or its difference from ``second``, seeds and tasks varying; both have the same tasks.

    With a single seed (task), the variance is that of the tasks (seeds) alone.
    """
    sides = (first,) if second is None else (first, second)
    tasks = part_of(first.tasks if second is None else first.tasks - second.tasks)
    return crossed(_value(first, second), [side.seeds for side in sides], [tasks], [side.residual for side in sides])


def all_pairs_on_new_tasks(methods: Sequence[np.ndarray]) -> Contrast:
    """Differences of every method (rows) from every other (columns) on new tasks, seeds not paired: (M, M).

    Args:
        methods: Scores (seeds, tasks) of each; the tasks are the same, the seeds may be more or fewer.
    """
    each = [marginals(scores) for scores in methods]

    def stacked(axis: int) -> Marginals:
        mean, tasks, seeds, residual = (np.expand_dims(np.array(values), axis) for values in zip(*each, strict=True))
        return Marginals(mean, tasks, Part(*np.moveaxis(seeds, -1, 0)), Part(*np.moveaxis(residual, -1, 0)))

    return on_new_tasks(stacked(1), stacked(0))


def crossed(estimate: Any, seeds: Sequence[Part], tasks: Sequence[Part], residuals: Sequence[Part]) -> Contrast:
    """V = max(a + b - e, a, b) with a, b, e the sums of parts; degrees V^2 / sum(part^2 / its degrees).

    Where e is larger than a or b, which happens by chance, V^2 is too small for that sum: there are at least as many
    degrees of freedom as the smallest sample of seeds or tasks has.
    """
    a, b, e = (sum((np.asarray(part.variance) for part in parts), np.zeros(())) for parts in (seeds, tasks, residuals))
    variance = np.maximum(a + b - e, np.maximum(a, b))
    squares = sum(_square_over_degrees(part) for part in (*seeds, *tasks, *residuals))
    fewest: Any = np.inf
    for part in (*seeds, *tasks):
        fewest = np.minimum(fewest, np.where(np.asarray(part.degrees) > 0, part.degrees, np.inf))
    degrees = _ratio(variance**2, squares)
    return Contrast(estimate, variance[()], np.where(degrees > 0, np.maximum(degrees, fewest), 0.0)[()])


def over_families(contrasts: Sequence[Contrast]) -> Contrast:
    """Mean of the estimates of families, whose seeds and tasks are their own: variances add."""
    number = len(contrasts)
    variance = sum(np.asarray(each.variance) for each in contrasts) / number**2
    squares = sum(_square_over_degrees(Part(each.variance, each.degrees)) for each in contrasts) / number**4
    estimate = np.mean([each.estimate for each in contrasts], axis=0)
    return Contrast(estimate, np.asarray(variance)[()], _ratio(np.asarray(variance) ** 2, squares))


def _value(first: Marginals, second: Marginals | None) -> Any:
    return first.mean if second is None else first.mean - second.mean


def _square_over_degrees(part: Part) -> Any:
    degrees = np.asarray(part.degrees)
    return np.where(degrees > 0, np.asarray(part.variance) ** 2 / np.where(degrees > 0, degrees, 1), 0.0)


def _ratio(squared: Any, squares: Any) -> Any:
    """Satterthwaite's degrees of freedom; 0 where nothing varies."""
    varies = squares > 0
    return np.where(varies, squared / np.where(varies, squares, 1.0), 0.0)[()]
