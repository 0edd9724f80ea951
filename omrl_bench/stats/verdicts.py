"""Verdicts on differences of means: higher, lower, equivalent or undecided, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.contrasts import Contrast

MARGIN = 5.0  # points of score: methods that differ by less are equivalent
Verdict = Literal["higher", "lower", "equivalent", "undecided"]


class Judgement(NamedTuple):
    """What one contrast says.

    Attributes:
        low: Lower end of its interval, not corrected.
        high: Upper end.
        p_value: Of "there is no difference"; NaN where it cannot be tested.
        p_holm: The same, corrected over all contrasts that were judged together.
        p_equivalent: Of "the difference is the margin or more", not corrected; NaN where it cannot be tested.
        detectable: Smallest difference found with 80 % power at 5 %, not corrected.
        verdict: ``higher`` or ``lower`` where ``p_holm`` is below the level; else ``equivalent`` where
            ``p_equivalent``, corrected likewise, is; else ``undecided``.
    """

    low: float
    high: float
    p_value: float
    p_holm: float
    p_equivalent: float
    detectable: float
    verdict: Verdict


def judge(
    contrasts: Sequence[Contrast],
    tested: Sequence[bool],
    margin: float | None = MARGIN,
    confidence: float = CONFIDENCE,
) -> list[Judgement]:
    """Judge some contrasts together.

    Holm's correction is over all that are tested: once over the tests of a difference, once over those of equivalence.
    So the chance of any false difference among them is at most the level, and that of any false equivalence too.

    Args:
        contrasts: Differences, one number each.
        tested: Whether each can be tested: with one seed (or task) half of the uncertainty is missing. Those that
            cannot be are undecided and take no part in the correction.
        margin: Largest difference that is none; None where there is no such thing (measures of other units).
        confidence: Coverage of the intervals, and 1 - the level.
    """
    able = [bool(each and np.isfinite(found.variance)) for each, found in zip(tested, contrasts, strict=True)]
    pairs = list(zip(contrasts, able, strict=True))
    p_values = np.array([float(found.p_value()) if each else np.nan for found, each in pairs])
    within = [float(found.p_equivalent(margin)) if each and margin is not None else np.nan for found, each in pairs]
    p_equivalent = np.array(within)
    p_holm, equivalent = holm(p_values), holm(p_equivalent)
    judgements = []
    for index, contrast in enumerate(contrasts):
        verdict: Verdict = "undecided"
        if p_holm[index] < 1 - confidence:
            verdict = "higher" if contrast.estimate > 0 else "lower"
        elif equivalent[index] < 1 - confidence:
            verdict = "equivalent"
        low, high = map(float, contrast.interval(confidence))
        p, p_corrected, p_within = (float(values[index]) for values in (p_values, p_holm, p_equivalent))
        detectable = float(contrast.detectable(level=1 - confidence))
        judgements.append(Judgement(low, high, p, p_corrected, p_within, detectable, verdict))
    return judgements


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (1979): (n,) p values -> (n,) adjusted ones, in the same order.

    What is NaN stays so and takes no part.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return adjusted
