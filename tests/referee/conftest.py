"""Methods in processes of their own, on the data of one small family."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from omrl_bench.api import Budget, Setup
from omrl_bench.data.build import collect
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.datasets import Datasets
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.suite import load_suite
from omrl_bench.referee import lanes, method
from omrl_bench.runner.evaluation import Evaluation

ADAPTERS = Path(__file__).parent / "adapters"
SEEDS = (0, 3)
BUDGET = Budget(updates=6, encoder_updates=6)
POINTS = 2


class Small(Datasets):
    """A few episodes of point-goal for everything that is asked for."""

    collected = collect(get_family("point-goal"), "mixed", threads=1, episodes=6).episodes
    drawn = draw_contexts(get_family("point-goal"), "mixed", collected)

    def __init__(self, privileges=frozenset()):
        super().__init__(get_family("point-goal"), privileges)
        self._context_sets = {"mixed": self.drawn}

    def episodes(self, quality):
        return self.collected


def protocol_of(suite, preset=None):
    definition = load_suite(suite)
    return definition.protocol_of(definition.preset(preset)[0])


class Judged:
    """A method that is trained and evaluated as a worker does it."""

    def __init__(self, made, order=lanes.drawn, suite="smoke", qualities=("high", "low"), draws=1, split="validation"):
        self.method, self.curve, self.heard = made, [], []
        self.datasets = Small(made.declared.privileges)
        protocol = protocol_of(suite).model_copy(update={"draws": draws, "split": split})
        self.evaluation = Evaluation(self.datasets, protocol, qualities, 0, 1, order)

    def fit(self, seeds=SEEDS):
        self.method.fit(self.datasets.training("mixed", "mixed"), BUDGET, seeds, self.log, POINTS)
        self.method.save()

    def log(self, stage, step, total, seeds, calls):
        self.heard.append((stage, step, calls))
        if stage == "policy" and step * POINTS // total > (step - 1) * POINTS // total:
            self.curve += [self.evaluation.validate(partial(self.method.policy, seed), seed) for seed in seeds or SEEDS]

    def cube(self, seed):
        return self.evaluation.cube(partial(self.method.policy, seed), seed).returns

    def scores(self, seed):
        """Mean score of each condition."""
        self.played = self.evaluation.cube(partial(self.method.policy, seed), seed)
        return self.played.scores().mean(axis=(1, 2))

    def check(self, seed, draw=0):
        """The sampled check of what was just played."""
        rng = np.random.default_rng(draw)
        self.evaluation.check_independence(partial(self.method.policy, seed), seed, self.played, rng)

    def representation(self, seed):
        return self.evaluation.representation(partial(self.method.policy, seed), partial(self.method.attention, seed))


@pytest.fixture(scope="session")
def judge():
    """Judges a method: judge(method, order, suite, qualities, draws)."""
    return Judged


@pytest.fixture(scope="session")
def warden():
    """One for many methods of the benchmark's own."""
    made = method.Warden("a method", "omrl_bench.baselines.networks", lambda content: print(content.decode()))
    yield made
    made.close()


@pytest.fixture
def hosted(warden, monkeypatch):
    """Make a method in processes that are forked off the same one: hosted(target)."""
    monkeypatch.setattr(method, "Warden", lambda *_: warden)
    monkeypatch.setattr(warden, "close", lambda: None, raising=False)
    made = []

    def make(target, setup=None):
        made.append(method.Hosted(target, get_family("point-goal").space(), setup or Setup()))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()
        each._trainer.close()
        for path in warden.folder.iterdir():
            shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def cheat():
    """Make a method of the corpus in processes of its own: cheat("remembers", "Cheat"); what it prints is kept."""
    made = []

    def make(file, name="Cheat", **options):
        printed = []
        options = {"output": printed.append, "timeout": 60.0} | options
        made.append(method.Hosted(target(file, name), get_family("point-goal").space(), Setup(), **options))
        made[-1].printed = printed
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


def target(file, name="Cheat"):
    return f"{ADAPTERS / file}.py:{name}"
