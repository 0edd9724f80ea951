"""How the frozen task tables were drawn, once. They are never drawn again: the files are the benchmark.

python tools/draw_task_tables.py FAMILY > omrl_bench/envs/tasks/FAMILY-v0.csv
"""

import sys
from collections.abc import Callable

import numpy as np

from omrl_bench.envs.families import get_family

# 60 tasks of the training law, one per stratum so that no two are near-duplicates; of every six
# neighbours three train, one validates and two test, in random order.
PATTERN = ["train", "train", "train", "validation", "test", "test"]
ORDER = ("train", "validation", "test", "extrapolation")

Rows = list[tuple[str, tuple[float, ...]]]


def splits(rng: np.random.Generator, count: int = 60) -> list[str]:
    return [str(s) for _ in range(count // 6) for s in rng.permutation(PATTERN)]


def stratified(rng: np.random.Generator, low: float, high: float, count: int = 60) -> tuple[np.ndarray, list[str]]:
    """Return one value from the middle half of each of ``count`` strata, and its split."""
    width = (high - low) / count
    values = low + width * (np.arange(count) + rng.uniform(0.25, 0.75, count))
    return values, splits(rng, count)


def scalars(low: float, high: float, beyond: np.ndarray) -> Callable[[np.random.Generator], Rows]:
    def draw(rng: np.random.Generator) -> Rows:
        values, names = stratified(rng, low, high)
        return [(s, (v,)) for v, s in zip(values, names, strict=True)] + [("extrapolation", (v,)) for v in beyond]

    return draw


def angles(high: float, beyond: np.ndarray) -> Callable[[np.random.Generator], Rows]:
    def draw(rng: np.random.Generator) -> Rows:
        values, names = stratified(rng, 0, high)
        rows = [*zip(names, values, strict=True), *(("extrapolation", a) for a in beyond)]
        return [(s, (np.cos(a), np.sin(a))) for s, a in rows]

    return draw


def square(half: float, beyond: tuple[float, float]) -> Callable[[np.random.Generator], Rows]:
    """10 x 6 strata of [-half, half]^2, a column of six is a block of neighbours; a ring around it extrapolates."""

    def draw(rng: np.random.Generator) -> Rows:
        cells = np.stack(np.meshgrid(np.arange(10), np.arange(6), indexing="ij"), axis=-1).reshape(60, 2)
        points = half * (2 * (cells + rng.uniform(0.25, 0.75, (60, 2))) / [10, 6] - 1)
        turns = 2 * np.pi * (np.arange(10) + rng.uniform(0.25, 0.75, 10)) / 10
        directions = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        ring = directions / np.abs(directions).max(axis=1, keepdims=True) * rng.uniform(*beyond, (10, 1))
        return [*zip(splits(rng), map(tuple, points), strict=True), *(("extrapolation", tuple(p)) for p in ring)]

    return draw


def multipliers(family: str) -> Callable[[np.random.Generator], Rows]:
    """Independent base^U(-3, 3); extrapolation: U(-4, 4), with at least four of the numbers that matter beyond 3."""

    def draw(rng: np.random.Generator) -> Rows:
        names = get_family(family).descriptor
        logs = np.log([1.3 if name.startswith("damping") else 1.5 for name in names])
        inside = logs * rng.uniform(-3, 3, (60, len(names)))
        matters = np.array([_matters(name) for name in names])
        outside: list[np.ndarray] = []
        while len(outside) < 10:
            exponents = rng.uniform(-4, 4, len(names))
            if (np.abs(exponents[matters]) > 3).sum() >= 4:
                outside.append(logs * exponents)
        return [*zip(splits(rng), map(tuple, inside), strict=True), *(("extrapolation", tuple(p)) for p in outside)]

    return draw


def _matters(name: str) -> bool:
    """Whether a planar robot feels a multiplier: not the world's, nor inertia out of the plane, nor free joints'."""
    field, rest = name.split("_", 1)
    if field == "friction":
        return rest.endswith("_slide")
    felt = not rest.startswith(("world", "root"))
    return felt and (field != "inertia" or rest.endswith("_y"))


BEYOND_SEMICIRCLE = np.concatenate([-np.linspace(0.1, 0.5, 5), np.pi + np.linspace(0.1, 0.5, 5)])

RECIPES: dict[str, Callable[[np.random.Generator], Rows]] = {
    "point-goal": angles(2 * np.pi, np.array([])),
    "point-square": square(1.0, (1.05, 1.3)),
    "point-sparse": angles(np.pi, BEYOND_SEMICIRCLE),
    "point-wind": square(0.05, (0.0525, 0.065)),
    "point-hard": angles(np.pi, BEYOND_SEMICIRCLE),
    "cheetah-vel": scalars(0, 3, np.linspace(3.05, 3.5, 10)),
    "cheetah-vel-wide": scalars(0, 6, np.linspace(6.1, 7.0, 10)),
    # two directions are all there is: the same two tasks in every split
    "cheetah-dir": lambda rng: [(split, (d,)) for split in ORDER[:3] for d in (-1.0, 1.0)],
    "ant-dir": angles(2 * np.pi, np.array([])),
    "walker-params": multipliers("walker-params"),
    "hopper-params": multipliers("hopper-params"),
    "cheetah-mass": scalars(0.2, 1.8, np.linspace(1.85, 2.3, 10)),
    "ant-mass": scalars(0.5, 1.5, np.concatenate([np.linspace(0.35, 0.45, 5), np.linspace(1.55, 1.75, 5)])),
    "walker-vel-sparse": scalars(0, 2, np.linspace(2.05, 2.5, 10)),
}


def main(family: str) -> None:
    """Print the table of a family."""
    if family not in RECIPES:
        sys.exit(f"no recipe for {family}; there are {', '.join(RECIPES)}")
    rows = RECIPES[family](np.random.default_rng(20261121))
    rows.sort(key=lambda row: ORDER.index(row[0]))
    print(f"task,split,{','.join(get_family(family).descriptor)}")
    for task, (split, values) in enumerate(rows):
        print(f"{task},{split},{','.join(f'{v:.6f}' for v in values)}")


if __name__ == "__main__":
    main(sys.argv[1])
