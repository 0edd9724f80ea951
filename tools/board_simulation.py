"""Measure the rule for collapsed seeds, the reliability of boards, and the interval of the ratio of sums.

Prints the three tables of docs/statistics.md. Run by hand, on one core: python tools/board_simulation.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau

from omrl_bench.stats.collapse import is_collapsed, usual_deviation
from omrl_bench.stats.discrimination import BEST, discrimination
from omrl_bench.stats.panels import Key, Panel
from omrl_bench.stats.summary import summarise

METHODS = 12  # of a family and condition
Law = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

#: Laws of seeds, by name; standard deviation about 1. "Unequal": a method's deviation is a half, 1 or 3.
LAWS: dict[str, Law] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t, 3 degrees": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed down": lambda rng, shape: 1 - rng.exponential(size=shape),
    "unequal": lambda rng, shape: rng.normal(size=shape) * rng.choice([0.5, 1, 3], (shape[0], 1)),
    "saturated": lambda rng, shape: np.minimum(rng.normal(size=shape), 0.5),
}


def collapse_rates(law: Law, deviation: float, methods: int, seeds: int, repeats: int = 60) -> list[float]:
    """Share of rows in which a seed is named although none fell; shares of falls by 20 and 40 points that are named.

    Every method has one fallen seed.
    """
    rng = np.random.default_rng(0)
    false, found = [], []
    for _ in range(repeats):
        scores = deviation * law(rng, (methods, seeds))
        false.append(_named(scores).any(axis=1))
        found.append([_named(scores - fall * _first_seeds(scores))[:, 0] for fall in (20, 40)])
    return [float(np.mean(false)), *np.mean(found, axis=(0, 2)).tolist()]


def _named(scores: np.ndarray) -> np.ndarray:
    usual = usual_deviation(list(scores))
    return np.array([is_collapsed(each, usual) for each in scores])


def _first_seeds(scores: np.ndarray) -> np.ndarray:
    """One in the first seed of each method."""
    return (np.arange(scores.shape[1]) == 0) * np.ones_like(scores)


def reliability(ratio: float, methods: int, seeds: int, repeats: int = 60) -> list[float]:
    """Of boards whose methods differ by so many standard errors: reliability, its deviation, how many are reliable.

    And what it promises: the rank agreement of the best methods with what the same methods score once more.
    """
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(repeats):
        truth = rng.normal(size=methods) * ratio * np.sqrt(1 / seeds)
        first, again = (truth[:, None] + rng.normal(size=(methods, seeds)) for _ in range(2))
        groups = {
            Key("", "", "", "", "f", "c", f"{index:02}"): (
                Panel("f", np.tile(scores[:, None], 2), np.tile(scores[:, None], 2), tuple(range(seeds)), (0, 1), 1),
            )
            for index, scores in enumerate(first)
        }
        (row,) = discrimination(groups).to_dict("records")
        best = np.argsort(-first.mean(axis=1))[: int(np.ceil(BEST * methods))]
        agreement = kendalltau(first.mean(axis=1)[best], again.mean(axis=1)[best]).statistic
        rows.append([row["reliability"], row["discriminates"], agreement])
    table = np.array(rows, dtype=float)
    return [table[:, 0].mean(), table[:, 0].std(), *table[:, 1:].mean(axis=0)]


def ratio_coverage(law: Law, seeds: int, tasks: int, repeats: int = 400) -> tuple[float, float]:
    """How often intervals of the mean and of the ratio of sums hold the truth; ranges of tasks span a factor of 4.5."""
    rng = np.random.default_rng(0)
    held = []
    many = np.random.default_rng(1)
    ranges = many.uniform(1, 4.5, 1_000_000)
    effects = _task_effects(many, law, ranges)
    truths = {"score_mean": effects.mean(), "score_ratio": (effects * ranges).sum() / ranges.sum()}
    for _ in range(repeats):
        ranges = rng.uniform(1, 4.5, tasks)
        scores = 3 * law(rng, (seeds, 1)) + _task_effects(rng, law, ranges) + 3 * law(rng, (seeds, tasks))
        panel = Panel("f", scores, scores, tuple(range(seeds)), tuple(range(tasks)), 1, ranges)
        row = summarise({Key("", "", "", "", "f", "c", "m"): (panel,)}, resamples=10).iloc[0]  # which only the IQM has
        held.append([row[f"{name}_low"] <= truth <= row[f"{name}_high"] for name, truth in truths.items()])
    mean, ratio = np.mean(held, axis=0)
    return float(mean), float(ratio)


def _task_effects(rng: np.random.Generator, law: Law, ranges: np.ndarray) -> np.ndarray:
    """Scores of tasks: those with a small range vary more, as returns that vary alike make them."""
    return np.asarray(80 + 25 / ranges * law(rng, (1, len(ranges)))[0])


def main() -> None:
    """Print the tables."""
    print("| seeds' law | deviation | seeds | named, none fell | fall of 20 found | fall of 40 found |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, law in LAWS.items():
        for deviation in (3, 8):
            for seeds in (5, 10):
                cells = " | ".join(f"{value:.3f}" for value in collapse_rates(law, deviation, METHODS, seeds))
                print(f"| {name} | {deviation} | {seeds} | {cells} |", flush=True)
    print("\n| SD of methods / SE | methods | seeds | reliability (SD) | discriminates | tau with a repetition |")
    print("|---:|---:|---:|---:|---:|---:|")
    for ratio in (0, 1, 2, 3, 5):
        for methods, seeds in ((6, 5), (12, 5), (30, 5), (12, 10)):
            mean, spread, reliable, tau = reliability(ratio, methods, seeds)
            print(
                f"| {ratio} | {methods} | {seeds} | {mean:.2f} ({spread:.2f}) | {reliable:.2f} | {tau:.2f} |",
                flush=True,
            )
    print("\n| law of all effects | seeds | tasks | mean | ratio of sums |")
    print("|---|---:|---:|---:|---:|")
    for name in ("normal", "skewed down"):
        for seeds, tasks in ((3, 20), (5, 20), (10, 20), (5, 100)):
            covered = " | ".join(f"{value:.3f}" for value in ratio_coverage(LAWS[name], seeds, tasks))
            print(f"| {name} | {seeds} | {tasks} | {covered} |", flush=True)


if __name__ == "__main__":
    main()
