"""FOCAL with scripted exploration: what the sweep finds, and that only the way to the context differs."""

import numpy as np
import pytest
import torch

from omrl_bench.baselines.focal import Focal
from omrl_bench.baselines.scripted import (
    ScriptedPolicy,
    SweepExploration,
    SweepPolicy,
    UniformExploration,
    in_order,
)
from omrl_bench.data.behaviour import make_actor
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.rollout import Rollout


def sweep(family):
    tasks = family.tasks()
    return SweepPolicy(make_actor(family), in_order(tasks.descriptors[tasks.ids("train")]), family.horizon, 0)


def explored(policy, family, episodes):
    """Whether each test task has shown a reward after each episode, (episodes, tasks)."""
    ids = family.tasks().ids("test")
    rollout = Rollout(family, ids, 1, 0, 1)
    policy.reset(len(ids))
    played = [rollout.episode(policy, number, explore=True) for number in range(episodes)]
    rewarded = np.stack([(episode.transitions.rewards > 0).any(axis=1) for episode in played])
    return np.logical_or.accumulate(rewarded)


@pytest.mark.parametrize(("name", "episodes"), [("point-hard", 2), ("point-sparse", 4)])
def test_a_sweep_finds_what_there_is_to_find(name, episodes):
    found = explored(sweep(get_family(name)), get_family(name), episodes).mean(axis=1)
    assert found[-1] > 0.95
    assert found[0] < found[-1]  # one episode is too short for the whole range


def test_a_sweep_goes_on_where_it_stopped_and_comes_back():
    told = []

    class Spy:
        def reset(self, behaviours, rng):
            assert set(behaviours) == {9}

        def act(self, observations, descriptors, rng, deterministic=False):
            told.append(descriptors[:, 0].tolist())
            return np.zeros((len(observations), 2))

    policy, observations = SweepPolicy(Spy(), np.arange(4.0)[:, None], 8, 0), np.zeros((2, 3))
    policy.reset(2)
    for _ in range(2):
        for _ in range(8):
            policy.act(observations, explore=True)
        policy.end_episode()
    assert all(len(set(step)) == 1 for step in told)  # the same in all lanes
    assert [step[0] for step in told] == [0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 3, 2, 1, 0]


def test_the_order_of_a_sweep():
    angles = np.array([2.0, -1.0, 0.5])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(in_order(circle), circle[[1, 2, 0]])
    np.testing.assert_array_equal(in_order(np.array([[3.0], [1.0], [2.0]])), [[1.0], [2.0], [3.0]])


@pytest.mark.parametrize("cls", [UniformExploration, SweepExploration])
def test_encoder_and_policy_are_those_of_focal(cls, fit, contexts):
    scripted, focal = fit(cls), fit(Focal)
    for name, module in focal.modules().items():
        for one, other in zip(module.parameters(), scripted.modules()[name].parameters(), strict=True):
            assert torch.equal(one, other)
    context, observations = contexts
    policies = scripted.policy(3), focal.policy(3)
    for policy in policies:
        policy.reset(len(observations))
        policy.condition(context)
    np.testing.assert_array_equal(*(policy.act(observations) for policy in policies))
    assert not np.array_equal(*(policy.act(observations, explore=True) for policy in policies))


def test_uniform_explores_uniformly_and_executes_by_its_context(fit):
    policy = fit(UniformExploration).policy(3)
    assert isinstance(policy, ScriptedPolicy)
    policy.reset(500)
    actions = np.concatenate([policy.act(np.zeros((500, 2), np.float32), explore=True) for _ in range(4)])
    assert np.abs(actions).max() <= 0.1 and abs(actions.mean()) < 0.01
    assert actions.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.1)
