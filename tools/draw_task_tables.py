"""How the frozen task tables were drawn, once. They are never drawn again: the files are the benchmark.

python tools/draw_task_tables.py FAMILY > omrl_bench/envs/tasks/FAMILY-v1.csv

Version 0 has 60 tasks of the training law and ten beyond it; version 1 appends 80 test tasks and 30 beyond. All are
spread evenly: one in each cell of a grid over the numbers that a task is made of, or, where a task is made of dozens,
wherever the law has them. A new task is nowhere nearer to another one, old or new, than :data:`NEAREST`.
"""

import sys

import numpy as np

from omrl_bench.envs.families import get_family
from omrl_bench.envs.task_laws import Region, TaskLaw

# Of every six neighbours three train, one validates and two test, in random order.
PATTERN = ["train", "train", "train", "validation", "test", "test"]
ORDER = ("train", "validation", "test", "extrapolation")

#: Cells of the grid, by how many numbers a task is made of: tasks within the law of version 0, those that version 1
#: appends, tasks beyond of version 0, and those that version 1 appends.
GRIDS = {1: ((60,), (80,), (10,), (30,)), 2: ((10, 6), (10, 8), (10, 1), (30, 1))}
#: Least distance of a task that version 1 appends to all others, in widths of the law (``TaskLaw.distances``): within
#: it, and beyond it, where many share little room. (Of version 0: 1/120, 1/20, and 1/4 of many numbers.)
NEAREST = {1: (1 / 480, 1 / 1000), 2: (1 / 40, 1 / 40)}
NEAREST_OF_MANY = (1 / 4, 1 / 4)

TWO_TASKS = ("cheetah-dir", "ant-fwd-back")
#: Families that came with a later version than the first.
SINCE = {"ant-goal": 1, "ant-fwd-back": 1}

Rows = list[tuple[int, str, np.ndarray]]  # since, split, descriptor


def version_0(law: TaskLaw) -> Rows:
    """60 tasks of the law, each from the middle of its cell, and ten beyond it."""
    rng = np.random.default_rng(20261121)
    size = law.inside.size
    inside = law.inside.place(_middle(rng, GRIDS[size][0])) if size in GRIDS else law.inside(rng, 60)
    beyond = _beyond_0(law.beyond, rng) if law.beyond else []
    splits = [str(split) for _ in range(10) for split in rng.permutation(PATTERN)]
    rows = [*zip(splits, inside, strict=True), *(("extrapolation", task) for task in beyond)]
    return [(0, split, task.round(6)) for split, task in rows]  # as they are written


def _beyond_0(region: Region, rng: np.random.Generator) -> np.ndarray:
    """Ten tasks: evenly spaced if one number makes a task, in ten directions if two do."""
    if region.size == 1:
        part = np.linspace(0, 1 - 1e-12, 10 // region.parts)
        numbers = (np.arange(region.parts)[:, None] + part) / region.parts
        return region.place(numbers.reshape(-1, 1))
    if region.size == 2:
        turns = (np.arange(10) + rng.uniform(0.25, 0.75, 10)) / 10
        return region.place(np.stack([turns, rng.random(10)], axis=1))
    return region(rng, 10)


def appended(law: TaskLaw, there: Rows) -> Rows:
    """The 80 test tasks and 30 extrapolation tasks of version 1."""
    rng = np.random.default_rng([20261121, 1])
    tasks = [task for _, _, task in there]
    rows: Rows = []
    for index, (split, region, count) in enumerate([("test", law.inside, 80), ("extrapolation", law.beyond, 30)]):
        if region is None:
            continue
        nearest = NEAREST.get(region.size, NEAREST_OF_MANY)[index]
        cells = _cells(GRIDS[region.size][1 + 2 * index]) if region.size in GRIDS else [None] * count
        for cell in cells:
            tasks.append(_far_enough(law, region, cell, np.array(tasks), nearest, rng))
            rows.append((1, split, tasks[-1]))
    return rows


def _far_enough(
    law: TaskLaw,
    region: Region,
    cell: tuple[np.ndarray, np.ndarray] | None,
    others: np.ndarray,
    nearest: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A task of the region, in its cell if there is one, that is not near any other."""
    for _ in range(10_000):
        drawn = region(rng, 1) if cell is None else region.place(rng.uniform(*cell)[None])
        drawn = drawn.round(6)
        if law.distances(drawn, others).min() >= nearest:
            return drawn[0]
    sys.exit(f"no task of cell {cell} is {nearest} away from all others: state a smaller distance")


def _corners(grid: tuple[int, ...]) -> np.ndarray:
    """The cells' lowest corners, (cells, numbers), a cell being 1 wide."""
    return np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, len(grid))


def _cells(grid: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lowest and highest numbers of each cell."""
    return [(corner / grid, (corner + 1) / grid) for corner in _corners(grid)]


def _middle(rng: np.random.Generator, grid: tuple[int, ...]) -> np.ndarray:
    """Numbers in the middle half of each cell, (cells, numbers)."""
    corners = _corners(grid)
    return (corners + rng.uniform(0.25, 0.75, corners.shape)) / grid


def draw(name: str) -> Rows:
    """All tasks of a family, in the order of its table."""
    law = get_family(name).task_law
    if law is None:
        sys.exit(f"family {name!r} has no law that its tasks are drawn from")
    if name in TWO_TASKS:  # two directions are all there is: the same two tasks in every split
        rows = [(0, split, task) for split in ORDER[:3] for task in law.inside.place(np.array([[0.0], [0.5]]))]
    else:
        rows = version_0(law)
        rows += appended(law, rows)
    rows = [(max(since, SINCE.get(name, 0)), split, task) for since, split, task in rows]
    return sorted(rows, key=lambda row: (row[0], ORDER.index(row[1])))


def main(name: str) -> None:
    """Print the table of a family."""
    print(f"task,split,since,{','.join(get_family(name).descriptor)}")
    for number, (since, split, values) in enumerate(draw(name)):
        print(f"{number},{split},{since},{','.join(f'{value:.6f}' for value in values)}")


if __name__ == "__main__":
    main(sys.argv[1])
