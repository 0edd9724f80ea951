"""What an update of each method costs, at the sizes of cheetah-vel, on one thread.

Costs are compared with the networks of preset `standard`, and so is the rate of arithmetic with that of the product
of matrices that most of an update consists of. What is gained by training five seeds at once is measured with those
of `quick`: it is the overhead of many small operations; with wider networks arithmetic is the limit.
"""

import statistics
import time
from functools import wraps

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from omrl_bench.api import Budget, Setup
from omrl_bench.data.build import collect
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.suite import load_suite
from omrl_bench.registry import backbones, load_class, methods

SEEDS = (0, 1, 2, 3, 4)
UPDATES = 12  # measured of each stage
UNTRAINED = ("random", "behaviour", "nearest-task")
RECURRENT = ("borel", "r2pgo")  # their GRU takes its time steps one by one, with any number of seeds
SAMPLING = ("sample_tasks", "sample_rows", "sample_episodes", "sample_within")
COUNTED = 5  # updates whose operations are counted
TRAINED = sorted((name for name in methods() if name not in UNTRAINED), key=lambda name: name != "focal")
ROWS = [(name, "iql") for name in TRAINED] + [("focal", backbone) for backbone in backbones() if backbone != "iql"]
FOCAL = ROWS[0]


@pytest.fixture(scope="module")
def episodes():
    return collect(get_family("cheetah-vel"), "mixed", threads=2, episodes=10).episodes


@pytest.fixture(scope="module")
def table():
    """Rows of all methods, printed at the end."""
    rows = {}
    yield rows
    if FOCAL in rows:
        _print(rows)


def learner(name, backbone, episodes, preset):
    """A method, not yet trained, and its data."""
    cls, family = load_class(methods()[name]), get_family("cheetah-vel")
    return cls(family.space(), Setup(preset, backbone)), MetaDataset(family, episodes, cls.requires.privileges)


def operations(name, backbone, episodes):
    """Floating-point operations of all products of matrices in an update of each stage, forward and back."""
    method, data = learner(name, backbone, episodes, "standard")
    counts = {}

    def log(stage, step, total, seeds=None):
        counts.setdefault(stage, []).append(counter.get_total_flops())

    with FlopCounterMode(display=False) as counter:
        method.fit(data, Budget(COUNTED, COUNTED), SEEDS, log)
    return {stage: (marks[-1] - marks[0]) / (len(marks) - 1) for stage, marks in counts.items()}


def product_rate(batch=256, width=128):
    """Operations per second of the forward product in a hidden layer of all seeds: what a machine can give."""
    rows, weight = torch.randn(len(SEEDS), batch, width), torch.randn(len(SEEDS), width, width)
    seconds = []
    for _ in range(50):
        started = time.process_time()
        torch.bmm(rows, weight)
        seconds.append(time.process_time() - started)
    return 2 * rows.numel() * width / statistics.median(seconds)


class Costs:
    """Seconds of the training of some seeds: of one update of each stage, and of the drawing of its batches."""

    def __init__(self, name, backbone, seeds, episodes, updates=UPDATES, preset="standard"):
        method, data = learner(name, backbone, episodes, preset)
        self.sampling = 0.0
        for drawing in SAMPLING:
            setattr(data, drawing, self._timed(getattr(data, drawing)))
        times = {}

        def log(stage, step, total, seeds=None):
            times.setdefault(stage, []).append((time.process_time(), self.sampling))

        method.fit(data, Budget(updates, updates), seeds, log)
        self.update, self.drawing = {}, {}
        for stage, marks in times.items():
            pairs = list(zip(marks, marks[2:], strict=False))  # two updates: td3bc's policy steps in every second one
            self.update[stage] = statistics.median(after[0] - before[0] for before, after in pairs) / 2
            self.drawing[stage] = statistics.median(after[1] - before[1] for before, after in pairs) / 2

    def _timed(self, function):
        @wraps(function)
        def call(*arguments, **options):
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.sampling += time.process_time() - started

        return call

    def training(self):
        """Seconds of a whole training with the standard budget."""
        preset = load_suite("shift").presets["standard"]
        budgets = {"representation": preset.encoder_updates, "policy": preset.updates}
        return sum(budgets[stage] * seconds for stage, seconds in self.update.items())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "backbone"), ROWS)
def test_cost_of_an_update(benchmark, table, episodes, name, backbone):
    """R = 5 at once against five times R = 1, the share of an update that draws its batch, the rate of arithmetic."""
    if benchmark.disabled:
        Costs(name, backbone, SEEDS[:2], episodes, updates=3)
        benchmark(lambda: None)
        return
    costs, product = Costs(name, backbone, SEEDS, episodes), product_rate()
    together, alone = (Costs(name, backbone, seeds, episodes, 2 * UPDATES, "quick") for seeds in (SEEDS, SEEDS[:1]))
    ratio = len(SEEDS) * alone.training() / together.training()
    share = max(costs.drawing[stage] / seconds for stage, seconds in costs.update.items())
    counts = operations(name, backbone, episodes)
    rates = {stage: counts[stage] / seconds for stage, seconds in costs.update.items()}
    table[name, backbone] = costs, ratio, share, rates, product
    benchmark.extra_info.update(ratio=ratio, sampling=share, product=product, **rates)
    benchmark.pedantic(lambda: None, rounds=1)
    assert share <= 0.1
    if not name.startswith(RECURRENT):
        assert ratio >= 1.4
    if name == "focal":
        assert rates["policy"] >= 0.3 * product


def _print(rows):
    focal = rows[FOCAL][0]
    print(
        f"\n\n  time per update of {len(SEEDS)} seeds relative to focal on iql (cheetah-vel, standard); 10^9 operations"
    )
    print("  a second in the products of matrices, and in one of a hidden layer's size by itself")
    print(f"  {'':<30}{'encoder':>9}{'policy':>9}{'training':>9}{'R=5 gain':>10}{'sampling':>10}", end="")
    print(f"{'enc. rate':>11}{'pol. rate':>11}{'product':>9}")
    for (name, backbone), (costs, ratio, share, rates, product) in rows.items():
        label = name if backbone == "iql" else f"{name} on {backbone}"
        stages = ("representation", "policy")
        parts = [costs.update[stage] / focal.update[stage] if stage in costs.update else None for stage in stages]
        parts.append(costs.training() / focal.training())
        texts = "".join(f"{'-' if part is None else format(part, '.2f'):>9}" for part in parts)
        speeds = "".join(f"{format(rates[stage] / 1e9, '.0f') if stage in rates else '-':>11}" for stage in stages)
        print(f"  {label:<30}{texts}{ratio:>10.2f}{share:>10.1%}{speeds}{product / 1e9:>9.0f}")
