"""How the frozen task tables were drawn, once. They are never drawn again: the files are the benchmark.

python tools/draw_task_tables.py point-goal|cheetah-vel
"""

import sys

import numpy as np

# 60 tasks of the training law, one per stratum so that no two are near-duplicates; of every six
# neighbours three train, one validates and two test, in random order.
PATTERN = ["train", "train", "train", "validation", "test", "test"]


def stratified(rng: np.random.Generator, low: float, high: float, count: int = 60) -> tuple[np.ndarray, list[str]]:
    """Return one value from the middle half of each of ``count`` strata, and its split."""
    width = (high - low) / count
    values = low + width * (np.arange(count) + rng.uniform(0.25, 0.75, count))
    splits = [str(s) for _ in range(count // 6) for s in rng.permutation(PATTERN)]
    return values, splits


def main(family: str) -> None:
    """Print the table of a family."""
    rng = np.random.default_rng(20261121)
    rows: list[tuple[str, tuple[float, ...]]] = []
    if family == "point-goal":
        angles, splits = stratified(rng, 0, 2 * np.pi)
        rows = [(s, (np.cos(a), np.sin(a))) for a, s in zip(angles, splits, strict=True)]
        columns = "goal_x,goal_y"
    elif family == "cheetah-vel":
        speeds, splits = stratified(rng, 0, 3)
        rows = [(s, (v,)) for v, s in zip(speeds, splits, strict=True)]
        rows += [("extrapolation", (v,)) for v in np.linspace(3.05, 3.5, 10)]
        columns = "velocity"
    else:
        sys.exit(f"no recipe for {family}")
    order = ("train", "validation", "test", "extrapolation")
    rows.sort(key=lambda row: order.index(row[0]))
    print(f"task,split,{columns}")
    for task, (split, values) in enumerate(rows):
        print(f"{task},{split},{','.join(f'{v:.6f}' for v in values)}")


if __name__ == "__main__":
    main(sys.argv[1])
