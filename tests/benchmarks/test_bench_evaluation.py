import numpy as np
import pytest

from omrl_bench.api import Budget, Setup
from omrl_bench.data.build import collect
from omrl_bench.data.contexts import gather
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.protocols.rollout import Rollout, lane_seeds
from omrl_bench.registry import load_class, methods

DRAWS = 10


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_evaluation_against_bare_simulation(compare):
    """20 tasks x 10 episodes of cheetah-vel: FOCAL's standard policy against stepping its actions again."""
    family = get_family("cheetah-vel")
    tasks = family.tasks().ids("test")
    episodes = collect(family, "mixed", threads=2, episodes=2).episodes
    method = load_class(methods()["focal"])(family.space(), Setup("standard", "iql"))
    method.fit(MetaDataset(family, episodes, frozenset()), Budget(2, 2), (0,), lambda *_: None)
    context = gather(episodes, np.repeat(np.searchsorted(episodes.tasks, tasks), DRAWS))
    rollout, bare = Rollout(family, tasks, DRAWS, 0, threads=1), BatchedEnv(family, len(tasks) * DRAWS, 1)
    protocol = GivenContext(kind="given-context")

    def evaluation():
        return protocol.evaluate(lambda: method.policy(0), rollout, protocol.conditions(["high"]), lambda _: context)

    def simulation():
        bare.reset(np.repeat(tasks, DRAWS), lane_seeds(family, tasks, DRAWS, 0))
        return sum(bare.step(actions)[1] for actions in recorded)

    ((returns, played),) = evaluation()
    recorded = list(played.actions.swapaxes(0, 1))
    np.testing.assert_allclose(simulation().reshape(returns.shape), returns, rtol=1e-3)
    compare(evaluation, simulation, at_least=1 / 1.5)
