"""What it costs that a method is in processes of its own, beside the start of them."""

from functools import partial

import pytest

from omrl_bench.api import Budget, Setup
from omrl_bench.data.build import collect
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.datasets import Datasets
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.referee import method
from omrl_bench.registry import methods
from omrl_bench.runner.evaluation import Evaluation

FAMILY = "cheetah-vel"
UPDATES = 300


class Few(Datasets):
    """Two episodes of each task."""

    def __init__(self, episodes, contexts):
        super().__init__(get_family(FAMILY))
        self._episodes, self._context_sets = {"mixed": episodes}, {"mixed": contexts}


@pytest.fixture
def started(monkeypatch):
    """Methods begin in forks of one process, whose start is not what is compared."""
    warden = method.Warden("FOCAL", "omrl_bench.baselines.focal", None)
    end = warden.close
    monkeypatch.setattr(method, "Warden", lambda *_: warden)
    monkeypatch.setattr(warden, "close", lambda: None)
    yield
    end()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "started")
def test_a_job_against_the_same_in_one_process(compare):
    """FOCAL on cheetah-vel: training, and the evaluation of a seed on 100 tasks x 2 draws, each in a new process."""
    family = get_family(FAMILY)
    episodes = collect(family, "mixed", threads=2, episodes=2).episodes
    datasets = Few(episodes, draw_contexts(family, "mixed", episodes))
    protocol = GivenContext(kind="given-context", draws=2)
    evaluation = Evaluation(datasets, protocol, ["high"], 0, threads=1)
    target, data = methods()["focal"], datasets.training("mixed", "mixed")

    def job(make):
        with make(target, family.space(), Setup("standard")) as made:
            made.fit(data, Budget(UPDATES, UPDATES), (0,), lambda *_: None, 0)
            made.save()
            return evaluation.cube(partial(made.policy, 0), 0)

    compare(partial(job, method.Hosted), partial(job, method.InProcess), at_least=1 / 1.05)
