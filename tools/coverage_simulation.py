"""Measure how often intervals hold the truth and tests find a difference; prints the tables of docs/statistics.md.

Scores are simulated as level + seed effect + task effect + residual, and bent where a model says so. Of two methods
half of the variance of the task effects is common. Run by hand, on one core: python tools/coverage_simulation.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from omrl_bench.stats.bootstrap import distribution, interval
from omrl_bench.stats.comparison import family_improvement
from omrl_bench.stats.contrasts import Contrast, all_pairs_on_new_tasks, marginals, on_new_tasks, on_these_tasks
from omrl_bench.stats.estimated import Resamples
from omrl_bench.stats.estimators import iqm
from omrl_bench.stats.pairing import seeds_correlate
from omrl_bench.stats.panels import Key, Panel
from omrl_bench.stats.ranks import places
from omrl_bench.stats.small_samples import correction_of, parts_of
from omrl_bench.stats.verdicts import MARGIN

SEEDS, TASKS = (3, 5, 10, 20), (20, 100)
REPEATS = 2000  # data sets for means and differences
RACES = 300  # data sets for ranks
FEW = 60  # data sets for what needs the bootstrap
RESAMPLES = 300
METHODS, STEP = 8, 1.5  # a race: that many methods, so many points apart
ESTIMATES = ("mean", "difference, these tasks", "difference, new tasks", "IQM", "P(A > B)", "rank", "could be best")
LEVEL = 50.0
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal effects."""
    return rng.normal(size=shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 3 degrees of freedom, standard deviation 1."""
    return rng.standard_t(3, size=shape) / np.sqrt(3)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A long tail of bad ones: mean 0, standard deviation 1, skewness -2 (as of tasks of cheetah-vel)."""
    return 1 - rng.exponential(size=shape)


def either(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Good or bad, as likely: -1 or 1."""
    return rng.choice([-1.0, 1.0], size=shape)


def collapsing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One in five is 4 standard deviations of the others down, mean 0."""
    return rng.normal(size=shape) - 15.0 * (rng.random(shape) < 0.2) + 3.0


class Model(NamedTuple):
    """Standard deviations and laws of effects, and what is done to the sum."""

    name: str
    seed: float = 4
    task: float = 8
    residual: float = 6
    runs: Draw = normal  # law of the seed effects
    rest: Draw = normal  # law of the task effects and residuals
    second: float = 1  # standard deviation of the second method's seed effects, relative to the first's
    saturated: bool = False  # at 100, with a level of 92
    rounded: float = 0  # to multiples of it

    def tasks(self, rng: np.random.Generator, methods: int, repeats: int, tasks: int) -> np.ndarray:
        """Task effects (methods, repeats, 1, tasks)."""
        common = self.rest(rng, (1, repeats, 1, tasks))
        own = self.rest(rng, (methods, repeats, 1, tasks))
        return self.task * np.sqrt(0.5) * (common + own)

    def scores(self, rng: np.random.Generator, of_tasks: np.ndarray, seeds: int, shift: float = 0.0) -> np.ndarray:
        """Scores (methods, repeats, seeds, tasks); each further method has ``shift`` more points."""
        methods, repeats, _, tasks = of_tasks.shape
        scale = np.where(np.arange(methods) % 2, self.second, 1.0)[:, None, None, None]
        values = of_tasks + self.residual * self.rest(rng, (methods, repeats, seeds, tasks))
        values += scale * self.seed * self.runs(rng, (methods, repeats, seeds, 1))
        values += self.level + shift * np.arange(methods)[:, None, None, None]
        if self.rounded:
            values = self.rounded * np.round(values / self.rounded)
        return np.minimum(values, 100.0) if self.saturated else values

    @property
    def level(self) -> float:
        """Mean before anything is bent."""
        return 92.0 if self.saturated else LEVEL

    def expected(self, of_tasks: np.ndarray) -> np.ndarray:
        """Expected score of tasks with these effects, over runs and residuals (rounding leaves it as it is)."""
        centre = self.level + of_tasks
        if not self.saturated:
            return centre
        spread = np.hypot(self.seed, self.residual)  # normal in this model: the mean of min(x, 100)
        z = (100.0 - centre) / spread
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return np.asarray(centre * ndtr(z) - spread * density + 100.0 * ndtr(-z))


COLLAPSE = Model("collapse: one seed in five loses 60 points", runs=collapsing)
MODELS = (
    Model("normal"),
    Model("tasks dominate", seed=1, task=15),
    Model("seeds dominate", seed=10, task=2, residual=4),
    Model("interaction dominates", seed=1.2, task=1, residual=12),
    Model("heavy tails: t with 3 degrees of freedom", runs=heavy, rest=heavy),
    Model("skewed: a long tail of bad ones", runs=skewed, rest=skewed),
    Model("bimodal: a seed works or does not", seed=8, runs=either),
    Model("saturated at 100", saturated=True),
    Model("unequal: seeds of one method vary 3 times as much", second=3),
    Model("ties: scores in steps of 10", rounded=10),
    COLLAPSE,
)


def held(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
    """Share of the intervals that hold the truth."""
    return float(np.mean((low <= truth) & (truth <= high)))


def of_means(model: Model, seeds: int, tasks: int, repeats: int) -> list[float]:
    """Coverage of a mean, and of a difference on these tasks and on new ones."""
    rng = np.random.default_rng([1, seeds, tasks])
    of_tasks = model.tasks(rng, 2, repeats, tasks)
    first, second = map(marginals, model.scores(rng, of_tasks, seeds))
    truths = model.expected(of_tasks).mean(axis=(2, 3))
    overall = model.expected(model.tasks(rng, 1, 1, 400_000)).mean() if model.saturated else model.level
    return [
        held(*on_new_tasks(first).interval(), overall),
        held(*on_these_tasks(first, second).interval(), truths[0] - truths[1]),
        held(*on_new_tasks(first, second).interval(), 0.0),
    ]


@cache
def true_iqm(model: Model) -> float:
    """What the interquartile mean tends to for many seeds and tasks."""
    rng = np.random.default_rng(0)
    return float(iqm(model.scores(rng, model.tasks(rng, 1, 1, 2000), 2000)[0, 0]))


def of_resampled(model: Model, seeds: int, tasks: int, repeats: int) -> list[float]:
    """Coverage of an IQM, and of a probability of improvement whose truth is one half, both methods having one law."""
    rng = np.random.default_rng([2, seeds, tasks])
    pairs = model.scores(rng, model.tasks(rng, 2, repeats, tasks), seeds)
    truth = true_iqm(model)
    key = Key("", "", "", "", "", "", "")
    found = []
    for repeat, (first, second) in enumerate(zip(*pairs, strict=True)):
        of_iqm = interval(distribution([first], repeat, iqm, RESAMPLES), 0.95, correction_of(parts_of([first], iqm)))
        label = str(repeat)
        a, b = (
            Panel(label, scores, scores, tuple(range(start, start + seeds)), tuple(range(tasks)), 1)
            for scores, start in ((first, 0), (second, seeds))
        )
        low, high = family_improvement(key, a, b, Resamples(RESAMPLES)).interval()
        found.append((of_iqm[0] <= truth <= of_iqm[1], low <= 0.5 <= high))
    return list(np.mean(found, axis=0))


def races(model: Model, seeds: int, tasks: int, repeats: int, step: float) -> list[float]:
    """Coverage and width of ranks, how often the best could be best, and how many could; methods ``step`` apart."""
    rng = np.random.default_rng([3, seeds, tasks])
    scores = model.scores(rng, model.tasks(rng, METHODS, repeats, tasks), seeds, step)
    truth = METHODS - np.arange(METHODS)
    found = []
    for repeat in range(repeats):
        low, high, best = places(all_pairs_on_new_tasks(list(scores[:, repeat])), 0.05, np.zeros(METHODS, dtype=bool))
        found.append((((low <= truth) & (truth <= high)).mean(), (high - low).mean(), best[-1], best.sum()))
    return list(np.mean(found, axis=0))


def coverage(
    model: Model, seeds: int, tasks: int, repeats: int = REPEATS, few: int = FEW, contests: int = RACES
) -> list[float]:
    """Coverage of everything in :data:`ESTIMATES`."""
    rank, _, best, _ = races(model, seeds, tasks, contests, STEP)
    return [*of_means(model, seeds, tasks, repeats), *of_resampled(model, seeds, tasks, few), rank, best]


def power(model: Model, seeds: int, tasks: int, repeats: int = REPEATS) -> list[float]:
    """Of both questions: detectable difference (median), share found there, and equivalence at 0 and at the margin."""
    result = []
    for question in (on_these_tasks, on_new_tasks):

        def contrast(shift: float, question: Callable[..., Contrast] = question) -> Contrast:
            rng = np.random.default_rng([4, seeds, tasks])
            of_tasks = model.tasks(rng, 2, repeats, tasks)
            # on these tasks a true difference is one of the tasks that are there
            of_tasks -= of_tasks.mean(axis=-1, keepdims=True) * (question is on_these_tasks)
            return question(*map(marginals, model.scores(rng, of_tasks, seeds, shift)))

        detectable = float(np.median(contrast(0.0).detectable()))
        found = np.mean(contrast(detectable).p_value() < 0.05)
        equivalent = (np.mean(contrast(shift).p_equivalent(MARGIN) < 0.05) for shift in (0.0, MARGIN))
        result += [detectable, found, *equivalent]
    return result


def pairing_rule(share: float, seeds: int, repeats: int) -> list[float]:
    """Share of races in which seeds are paired, coverage on these tasks, and width relative to no pairing."""
    rng = np.random.default_rng([5, seeds])
    found = []
    for _ in range(repeats):
        noise = np.sqrt(share) * rng.normal(size=(1, seeds))
        means = noise + np.sqrt(1 - share) * rng.normal(size=(METHODS, seeds))
        first, second = means[0][:, None], means[1][:, None]
        unpaired = on_these_tasks(marginals(first), marginals(second)).interval()
        paired = seeds_correlate(means)
        low, high = on_these_tasks(marginals(first - second)).interval() if paired else unpaired
        found.append((paired, low <= 0 <= high, (high - low) / (unpaired[1] - unpaired[0])))
    return list(np.mean(found, axis=0))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, numbers with three decimals."""
    print("| " + " | ".join(head) + " |\n|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |", flush=True)
    print()


def main() -> None:
    """Print all tables."""
    sizes = [(seeds, tasks) for tasks in TASKS for seeds in SEEDS]
    cells = {(model, size): coverage(model, *size) for size in sizes for model in MODELS}
    head = ["interval", *(f"{seeds} x {tasks}" for seeds, tasks in sizes)]
    rows: list[list[object]] = []
    for number, name in enumerate(ESTIMATES):
        of_sizes = [[cells[model, size][number] for model in MODELS if model is not COLLAPSE] for size in sizes]
        rows.append([name, *(f"{np.mean(of_size):.3f} ({min(of_size):.2f})" for of_size in of_sizes)])
    table(head, rows)
    table(head, [[name, *(cells[COLLAPSE, s][number] for s in sizes)] for number, name in enumerate(ESTIMATES)])
    table(["model, 5 x 20", *ESTIMATES], [[model.name, *cells[model, (5, 20)]] for model in MODELS])

    names = ("detectable", "found there", "equivalent at 0", f"equivalent at {MARGIN:g}")
    head = ["model", *(f"{name}, {question}" for question in ("these tasks", "new tasks") for name in names)]
    rows = []
    for model in (MODELS[0], MODELS[1], MODELS[3], MODELS[4], COLLAPSE):
        for seeds, tasks in ((5, 20), (5, 100), (10, 100)):
            values = power(model, seeds, tasks)
            texts = [f"{value:.1f}" if index % 4 == 0 else f"{value:.3f}" for index, value in enumerate(values)]
            rows.append([f"{model.name.partition(':')[0]}, {seeds} x {tasks}", *texts])
    table(head, rows)

    words = ("rank holds", "width", "best is in", "in the set")
    head = ["methods apart", *(f"{size}: {word}" for size in ("5 x 20", "10 x 100") for word in words)]
    rows = []
    for step in (0.2, 1.0, STEP, 5.0):
        values = [value for size in ((5, 20), (10, 100)) for value in races(MODELS[0], *size, RACES, step)]
        texts = [f"{value:.1f}" if index % 2 else f"{value:.3f}" for index, value in enumerate(values)]
        rows.append([f"{step:g}", *texts])
    table(head, rows)

    head = [
        "noise that seeds share",
        *(f"{n} seeds: {word}" for n in (5, 10) for word in ("paired", "coverage", "width")),
    ]
    shares = (0.0, 0.1, 0.3, 0.5, 0.8)
    table(head, [[f"{s:.1f}", *pairing_rule(s, 5, REPEATS), *pairing_rule(s, 10, REPEATS)] for s in shares])


if __name__ == "__main__":
    main()
