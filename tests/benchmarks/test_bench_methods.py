"""What an update of each method costs, at the sizes of cheetah-vel, on one thread.

Costs are compared with the networks of preset `standard`. What is gained by training five seeds at once is measured
with those of `quick`: it is the overhead of many small operations; with wider networks arithmetic is the limit.
"""

import itertools
import statistics
import time
from functools import wraps

import pytest

from omrl_bench.api import Budget, Setup
from omrl_bench.data.build import collect
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.suite import load_suite
from omrl_bench.registry import load_class, methods

SEEDS = (0, 1, 2, 3, 4)
UPDATES = 12  # measured of each stage
UNTRAINED = ("random", "behaviour")
RECURRENT = ("borel", "r2pgo")  # their GRU takes its time steps one by one, with any number of seeds
SAMPLING = ("sample_tasks", "sample_rows", "sample_episodes", "sample_within")
TRAINED = [name for name in methods() if name not in UNTRAINED]


@pytest.fixture(scope="module")
def episodes():
    return collect(get_family("cheetah-vel"), "mixed", threads=2, episodes=10).episodes


@pytest.fixture(scope="module")
def table():
    """Rows of all methods, printed at the end."""
    rows = {}
    yield rows
    if "focal" in rows and len(rows) > 1:
        _print(rows)


class Costs:
    """Seconds of the training of some seeds: of one update of each stage, and of the drawing of its batches."""

    def __init__(self, name, seeds, episodes, updates=UPDATES, preset="standard"):
        cls = load_class(methods()[name])
        data = MetaDataset(get_family("cheetah-vel"), episodes, cls.requires.privileges)
        self.sampling = 0.0
        for drawing in SAMPLING:
            setattr(data, drawing, self._timed(getattr(data, drawing)))
        times = {}

        def log(stage, step, total, seeds=None):
            times.setdefault(stage, []).append((time.perf_counter(), self.sampling))

        method = cls(get_family("cheetah-vel").space(), Setup(preset, "iql"))
        method.fit(data, Budget(updates, updates), seeds, log)
        self.update, self.drawing = {}, {}
        for stage, marks in times.items():
            pairs = list(itertools.pairwise(marks))
            self.update[stage] = statistics.median(after[0] - before[0] for before, after in pairs)
            self.drawing[stage] = statistics.median(after[1] - before[1] for before, after in pairs)

    def _timed(self, function):
        @wraps(function)
        def call(*arguments, **options):
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.sampling += time.perf_counter() - started

        return call

    def training(self):
        """Seconds of a whole training with the standard budget."""
        preset = load_suite("shift").presets["standard"]
        budgets = {"representation": preset.encoder_updates, "policy": preset.updates}
        return sum(budgets[stage] * seconds for stage, seconds in self.update.items())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", sorted(TRAINED, key=lambda name: name != "focal"))
def test_cost_of_an_update(benchmark, table, episodes, name):
    """R = 5 at once against five times R = 1, and the share of an update that draws its batch."""
    if benchmark.disabled:
        Costs(name, SEEDS[:2], episodes, updates=2)
        benchmark(lambda: None)
        return
    costs = Costs(name, SEEDS, episodes)
    together, alone = (Costs(name, seeds, episodes, 2 * UPDATES, "quick") for seeds in (SEEDS, SEEDS[:1]))
    ratio = len(SEEDS) * alone.training() / together.training()
    share = max(costs.drawing[stage] / seconds for stage, seconds in costs.update.items())
    table[name] = costs, ratio, share
    benchmark.extra_info.update(ratio=ratio, sampling=share)
    benchmark.pedantic(lambda: None, rounds=1)
    assert share <= 0.1
    if not name.startswith(RECURRENT):
        assert ratio >= 1.4


def _print(rows):
    focal = rows["focal"][0]
    print(f"\n\n  time per update of {len(SEEDS)} seeds relative to focal (cheetah-vel, standard, iql)")
    print(f"  {'method':<24}{'encoder':>9}{'policy':>9}{'training':>9}{'R=5 gain':>10}{'sampling':>10}")
    for name, (costs, ratio, share) in rows.items():
        stages = [costs.update.get(stage) for stage in ("representation", "policy")]
        parts = [None if s is None else s / focal.update[stage] for s, stage in zip(stages, focal.update, strict=True)]
        parts.append(costs.training() / focal.training())
        texts = "".join(f"{'-' if part is None else format(part, '.2f'):>9}" for part in parts)
        print(f"  {name:<24}{texts}{ratio:>10.2f}{share:>10.1%}")
