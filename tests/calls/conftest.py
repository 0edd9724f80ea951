"""Real data of one point family, small suites of every protocol, and plain objects that act."""

import os

import numpy as np
import pytest
from filelock import FileLock

import omrl_bench


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Minari's root folder, with the data of point-goal that a first call builds; once, whatever xdist's processes."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "omrl-call-data"
    with FileLock(folder.with_suffix(".lock")), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        omrl_bench.load("point-goal", "mixed")
    return folder


@pytest.fixture
def data(built, monkeypatch):
    """The data are where the calls look for them."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(built))
    return built


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """There are no data, and the folder stays empty unless something is built."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@pytest.fixture
def tiny(write_suite, tiny_text):
    """The small suite's file; called with replacements, a changed copy of it."""
    text = tiny_text.replace("evaluations = 2", "evaluations = 0")  # there is no learning curve to compare
    return lambda *replacements, name="tiny.toml": str(write_suite(text, replacements, name))


SELF_COLLECTED = ('qualities = ["high", "low"]\n', "")  # such protocols give no contexts


@pytest.fixture(params=["episode", "transitions", "segment", "one-shot", "zero-shot", "explore"])
def suite(request, tiny):
    """A suite of each protocol, and of each unit of a given context."""
    given = 'kind = "given-context"\n'
    if request.param in ("episode", "transitions", "segment"):
        return tiny((given, f'{given}unit = "{request.param}"\n'))
    episodes = "" if request.param == "one-shot" else "episodes = 2\n"
    return tiny((given, f'kind = "{request.param}"\n{episodes}'), SELF_COLLECTED)


class Follower:
    """Goes where its context ended, or anywhere without one; its hooks say what was called."""

    def __init__(self):
        self.called = []

    def reset(self, lanes):
        self.called.append("reset")
        self.goals = np.zeros((lanes, 2), np.float32)
        self.random = np.random.default_rng(0)

    def condition(self, context):
        self.called.append("condition")
        self.context = context
        self.goals = context.next_observations[np.arange(len(self.goals)), context.valid.sum(axis=1) - 1]

    def act(self, observations, explore=False):
        self.called.append("explore" if explore else "act")
        wander = self.random.normal(size=self.goals.shape)
        return np.clip(self.goals - observations + wander, -0.1, 0.1).astype(np.float32)


@pytest.fixture
def follower():
    """The class of a plain policy that has what every protocol needs and nothing else."""
    return Follower
