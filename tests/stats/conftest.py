"""Tidy frames from cubes of scores."""

import numpy as np
import pandas as pd
import pytest


def frame_of(scores, seeds=None, tasks=None):
    """A tidy frame of one table with one draw.

    Args:
        scores: By (family, condition, method), (seeds, tasks).
        seeds: By method, ids of its seeds (default: 0, 1, ...).
        tasks: Ids of the tasks (default: 40, 41, ...).
    """
    rows = []
    for (family, condition, method), matrix in scores.items():
        matrix = np.asarray(matrix, dtype=float)
        names = (seeds or {}).get(method, range(len(matrix)))
        for (seed, task), score in np.ndenumerate(matrix):
            task_id = (tasks or range(40, 40 + matrix.shape[1]))[task]
            row = ("shift", "quick", family, "mixed", method, "iql", names[seed], condition, task_id, 0, score, score)
            rows.append(row)
    columns = "suite preset family dataset method backbone seed condition task draw return score"
    return pd.DataFrame(rows, columns=columns.split())


@pytest.fixture
def frame():
    """Make a tidy frame, see :func:`frame_of`."""
    return frame_of
