"""Measure how often the intervals hold the truth; prints the table of docs/statistics.md.

Scores are simulated as mean + seed effect + task effect + residual (interaction and what is left of the draws), with
standard deviations found in the reference records (cells of 5 seeds x 20 tasks; a cell is named in the table). Run by
hand, on one core: python tools/coverage_simulation.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from omrl_bench.stats.bootstrap import difference_distribution, distribution, interval
from omrl_bench.stats.estimators import Estimator, iqm, mean
from omrl_bench.stats.small_samples import Correction, correction_of, difference_parts, parts_of

TASKS = 20
SEEDS = (3, 5, 10, 20)
REPEATS = 500
RESAMPLES = 1000
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Standard normal effects."""
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Effects with a long tail of bad ones, mean 0, standard deviation 1, skewness -2 (as of tasks of cheetah-vel)."""
    return 1 - rng.exponential(size=shape)


class Case(NamedTuple):
    """Standard deviations of effects, and their law."""

    name: str
    seed: float
    task: float
    residual: float
    effects: Draw = normal

    def two_methods(self, rng: np.random.Generator, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """Simulated scores (seeds, tasks) of two methods about a mean of 0; half of the tasks' effects is common."""
        common = self.effects(rng, (1, TASKS))
        first, second = (
            self.seed * self.effects(rng, (seeds, 1))
            + self.task * np.sqrt(0.5) * (common + self.effects(rng, (1, TASKS)))
            + self.residual * self.effects(rng, (seeds, TASKS))
            for _ in range(2)
        )
        return first, second


CASES = (
    Case("tasks dominate (cheetah-vel, focal, high)", 1, 15, 6),
    Case("seeds dominate (point-goal, hs-hard, low)", 9.5, 8, 19),
    Case("seeds dominate strongly", 10, 2, 4),
    Case("residual dominates (point-goal, hs-hard, high)", 1.2, 0, 4),
    Case("skewed effects (cheetah-vel, pearl, high)", 5, 17, 9, skewed),
)


def true_value(case: Case, estimator: Estimator) -> float:
    """What the estimator tends to for many seeds and tasks."""
    rng = np.random.default_rng(0)
    n = 3000
    seeds, tasks, residuals = (case.effects(rng, shape) for shape in ((n, 1), (n, 1), (n, n)))
    tasks = np.sqrt(0.5) * (tasks + case.effects(rng, (n, 1)))
    return float(estimator(case.seed * seeds + case.task * tasks.T + case.residual * residuals))


def held(samples: np.ndarray, correction: Correction | None, truth: float) -> list[bool]:
    """Whether the plain and the expanded interval hold the truth."""
    ends = interval(samples), interval(samples, correction=correction)
    return [low <= truth <= high for low, high in ends]


def coverage(case: Case, seeds: int, repeats: int = REPEATS) -> np.ndarray:
    """Coverage (mean, IQM, difference) x (plain, expanded), (3, 2)."""
    rng = np.random.default_rng([seeds, repeats])
    truths = [0.0 if estimator is mean else true_value(case, estimator) for estimator in (mean, iqm)]
    found = []
    for repeat in range(repeats):
        scores, other = case.two_methods(rng, seeds)
        row = []
        for estimator, truth in zip((mean, iqm), truths, strict=True):
            samples = distribution([scores], repeat, estimator, RESAMPLES)
            row.append(held(samples, correction_of(parts_of([scores], estimator)), truth))
        sides = [scores], [other], [True]
        correction = correction_of(difference_parts(*sides))
        row.append(held(difference_distribution(*sides, repeat, resamples=RESAMPLES), correction, 0.0))
        found.append(row)
    return np.mean(found, axis=0)


def main() -> None:
    """Print the table."""
    names = ("mean", "IQM", "difference")
    print(
        "| case | seeds | " + " | ".join(f"{name}, {kind}" for name in names for kind in ("plain", "expanded")) + " |"
    )
    print("|---|---:|" + "---:|" * 6)
    for case in CASES:
        for seeds in SEEDS:
            cells = " | ".join(f"{value:.3f}" for value in coverage(case, seeds).ravel())
            print(f"| {case.name} | {seeds} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
