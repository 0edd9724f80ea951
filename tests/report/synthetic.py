"""Synthetic records for the tests of the report."""

from pathlib import Path

import numpy as np

from omrl_bench.runner.records import Cell, Cube, Hashes, Record, write_record

QUALITIES = ("high", "medium", "low")


def make_record(
    family: str,
    method: str,
    seed: int,
    *,
    suite: str = "shift",
    preset: str = "quick",
    dataset: str = "mixed",
    backbone: str = "iql",
    error: str | None = None,
    privileges: tuple[str, ...] = (),
    dataset_status: str = "canonical",
    hashes: Hashes | None = None,
) -> Record:
    return Record(
        cell=Cell(
            suite=suite,
            family=family,
            dataset=dataset,
            method=method,
            backbone=backbone,
            preset=preset,
            seed=seed,
        ),
        status="failed" if error else "complete",
        error=error,
        hashes=hashes or Hashes(suite="s", family=family, dataset="d", contexts="c", method=method),
        dataset_status=dataset_status,
        privileges=privileges,
        configuration={},
        trained_together=(seed,),
        created="2026-01-01T00:00:00Z",
    )


def make_cube(scores: np.ndarray, qualities: tuple[str, ...] = QUALITIES) -> Cube:
    """A cube with given scores (qualities, tasks, draws): random returns -300, the expert -50."""
    tasks = scores.shape[1]
    return Cube(
        qualities=qualities,
        tasks=np.arange(40, 40 + tasks),
        returns=(-300 + 2.5 * scores).astype(np.float32),
        random=np.full(tasks, -300.0),
        expert=np.full(tasks, -50.0),
    )


def draw_scores(levels: tuple[float, ...], tasks: int, draws: int, seed: int) -> np.ndarray:
    """Scores (qualities, tasks, draws) around the level of each quality, with effects of tasks and of the seed."""
    task_effect = np.random.default_rng(99).normal(0, 12, (1, tasks, 1))
    rng = np.random.default_rng([seed, int(abs(levels[0]) * 10)])
    noise = rng.normal(0, 4, (len(levels), 1, 1)) + rng.normal(0, 6, (len(levels), tasks, draws))
    return np.array(levels)[:, None, None] + task_effect + noise


def write_cell(
    results: Path, record: Record, levels: tuple[float, ...] = (80, 70, 50), tasks: int = 4, draws: int = 2
) -> None:
    """Write a record, with a cube if it is complete."""
    cube = None
    if record.status == "complete":
        cube = make_cube(draw_scores(levels, tasks, draws, record.cell.seed), QUALITIES[: len(levels)])
    write_record(results, record, cube)
