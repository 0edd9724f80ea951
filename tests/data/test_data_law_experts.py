"""Experts that were trained on the law are as good on tasks that no table has."""

import numpy as np
import pytest

from omrl_bench.data.behaviour import EXPERT, make_actor
from omrl_bench.data.train_behaviour import CONFIGS, PpoConfig
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import FAMILIES

OF_THE_LAW = [name for name, config in CONFIGS.items() if isinstance(config, PpoConfig) and config.from_law]
EPISODES = 4


def mean_returns(family, descriptors):
    """Mean return of the expert's mean action in each task."""
    actor, rng = make_actor(family), np.random.default_rng(0)
    told = np.repeat(descriptors, EPISODES, axis=0)
    lanes = np.arange(len(told))
    env = BatchedEnv(family, len(told), threads=2)
    observations = env.reset_to(told, lanes, lanes)
    actor.reset(np.full(len(told), EXPERT), rng)
    returns, running = np.zeros(len(told)), np.ones(len(told), bool)
    for _ in range(family.horizon):
        actions = np.nan_to_num(actor.act(observations, told, rng, deterministic=True))
        observations, rewards, terminated, _ = env.step(actions, running)
        returns += np.nan_to_num(rewards)
        running &= ~terminated
    return returns.reshape(-1, EPISODES).mean(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_THE_LAW)
@pytest.mark.parametrize(("part", "split"), [("inside", "test"), ("beyond", "extrapolation")])
def test_an_expert_of_the_law_is_as_good_on_new_tasks_as_on_the_table(name, part, split):
    family = FAMILIES[name]
    new = mean_returns(family, getattr(family.task_law, part)(np.random.default_rng(5), 100))
    table = mean_returns(family, family.tasks().descriptors[family.tasks().ids(split)])
    error = np.sqrt(new.var() / len(new) + table.var() / len(table))
    print(f"{name} {part}: new {new.mean():.0f} +- {new.std():.0f}, table {table.mean():.0f} +- {table.std():.0f}")
    assert new.mean() > table.mean() - 3 * error
