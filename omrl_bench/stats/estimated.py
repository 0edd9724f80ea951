"""An estimate with its bootstrap distribution: interquartile means, profiles and probabilities of improvement.

All methods of a table see the same resamples of a family's seeds and tasks, as far as these are the same, whatever else
is in the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from omrl_bench.stats.bootstrap import CONFIDENCE, estimate_of_counts, interval, shared_counts
from omrl_bench.stats.estimators import Estimator, mean
from omrl_bench.stats.panels import Key, Panel
from omrl_bench.stats.small_samples import Part, correction_of, parts_of, shrunk


@dataclass(frozen=True)
class Estimated:
    """An estimate, its bootstrap distribution (resamples,), and the parts of its variance.

    Several estimates with the same resamples are one too: an array (...) with distributions (..., resamples).
    """

    estimate: Any
    samples: np.ndarray
    parts: tuple[Part, ...]

    def interval(self, confidence: float = CONFIDENCE) -> tuple[Any, Any]:
        """Expanded percentile interval: (low, high)."""
        return interval(self.samples, confidence, correction_of(self.parts))

    def columns(self, name: str, confidence: float = CONFIDENCE) -> dict[str, Any]:
        """Columns ``name``, ``name_low``, ``name_high``."""
        low, high = self.interval(confidence)
        return {name: self.estimate, f"{name}_low": low, f"{name}_high": high}


@dataclass
class Resamples:
    """Resampled seeds and tasks of every family, drawn once each."""

    number: int
    _drawn: dict[tuple[str, tuple[object, ...]], np.ndarray] = field(default_factory=dict)

    def counts(self, key: Key, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        """How often each seed and task is in each resample: (resamples, seeds), (resamples, tasks)."""
        family = "/".join((*key.table, panel.family))
        return self._axis(f"{family}/seeds", panel.seeds), self._axis(f"{family}/tasks", panel.tasks)

    def estimate(self, key: Key, panel: Panel, matrix: np.ndarray, estimator: Estimator = mean) -> Estimated:
        """Estimate a (seeds, tasks) matrix of a panel; the mean also of several, (..., seeds, tasks)."""
        samples = estimate_of_counts(matrix, *self.counts(key, panel), estimator)
        return Estimated(estimator(matrix)[()], samples, tuple(parts_of([matrix], estimator)))

    def _axis(self, label: str, names: tuple[object, ...]) -> np.ndarray:
        if (label, names) not in self._drawn:
            self._drawn[label, names] = shared_counts(label, names, self.number)
        return self._drawn[label, names]


def over_families(estimates: Sequence[Estimated]) -> Estimated:
    """Mean of the estimates of families, which are resampled independently."""
    return Estimated(
        np.mean([each.estimate for each in estimates], axis=0),
        np.mean([each.samples for each in estimates], axis=0),
        tuple(shrunk([part for each in estimates for part in each.parts], len(estimates))),
    )
