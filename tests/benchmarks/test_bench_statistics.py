import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from omrl_bench.stats.comparison import improvement_matrix
from omrl_bench.stats.contrasts import all_pairs_on_new_tasks, marginals, on_new_tasks
from omrl_bench.stats.estimators import iqm, iqm_of_counts, mean, mean_of_counts
from omrl_bench.stats.summary import summarise

RESAMPLES = 10_000


def make_frame(methods, families, conditions, seeds, tasks):
    """A tidy frame with one draw, its names categorical as those of records are."""
    shape = (methods, families, conditions, seeds, tasks)
    indices = np.indices(shape).reshape(len(shape), -1)
    named = zip(("method", "family", "condition"), shape, indices, strict=False)
    columns = {
        name: pd.Categorical.from_codes(codes, [f"{name}-{number}" for number in range(size)])
        for name, size, codes in named
    }
    score = np.random.default_rng(0).normal(50, 20, indices.shape[1])
    names = {"suite": "shift", "preset": "standard", "dataset": "mixed", "backbone": "iql", "draw": 0}
    return pd.DataFrame(columns | {"seed": indices[3], "task": indices[4], "return": score, "score": score}).assign(
        **names
    )


@pytest.mark.parametrize(
    ("estimator", "of_counts", "at_least"), [(mean, mean_of_counts, 10.0), (iqm, iqm_of_counts, 2.5)]
)
def test_estimating_from_counts_against_gathering(compare, estimator, of_counts, at_least):
    """Mean and interquartile mean of 10,000 resamples of 10 seeds x 20 tasks, against those of gathered scores."""
    rng = np.random.default_rng(0)
    scores = rng.normal(50, 20, (10, 20))
    seeds, tasks = (rng.integers(size, size=(RESAMPLES, size)) for size in scores.shape)
    counts = [(rows[:, :, None] == np.arange(rows.shape[1])).sum(axis=1).astype(float) for rows in (seeds, tasks)]
    compare(
        lambda: of_counts(scores, *counts),
        lambda: estimator(scores[seeds[:, :, None], tasks[:, None, :]]),
        at_least,
    )


def test_all_pairs_at_once_against_one_pair_after_another(compare):
    """Every two of 35 methods on new tasks, 5 seeds x 100 tasks."""
    methods = list(np.random.default_rng(0).normal(50, 20, (35, 5, 100)))

    def one_by_one():
        return [on_new_tasks(marginals(first), marginals(second)) for first in methods for second in methods]

    found, expected = all_pairs_on_new_tasks(methods), one_by_one()
    for name in ("variance", "degrees"):
        np.testing.assert_allclose(getattr(found, name).ravel()[1], getattr(expected[1], name))
    compare(lambda: all_pairs_on_new_tasks(methods), one_by_one, 20.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "sizes", "rows", "seconds"),
    [
        (summarise, (20, 10, 1, 10, 20), 220, 10),
        (improvement_matrix, (35, 2, 4, 5, 20), 35 * 34 * 4 * 3, 20),
    ],
    ids=["summary of 20 methods and 10 families", "pairs of 35 methods"],
)
def test_time_of_a_table(benchmark, capsys, call, sizes, rows, seconds):
    """Processor time, so that what else the machine does is left out."""
    frame = make_frame(*sizes)

    def measured():
        started = time.process_time()
        assert len(call(frame)) == rows
        return time.process_time() - started

    taken = benchmark.pedantic(measured, rounds=1)
    with capsys.disabled():
        print(f"\n  {benchmark.name}: {taken:.1f} s (at most {seconds})")
    assert benchmark.disabled or taken <= seconds


def test_memory_of_a_summary():
    """What is kept is the estimates of one method's resamples, not its resampled scores (640 MB here)."""
    frame = make_frame(2, 10, 1, 10, 20)
    tracemalloc.start()
    try:
        summarise(frame, resamples=2_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 60 * 2**20
