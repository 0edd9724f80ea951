"""The nearest training task: errors by brute force, which task it takes, and what it does there."""

from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.api import Budget, Setup
from omrl_bench.baselines.nearest_task import (
    NearestTask,
    NearestTaskConfig,
    best_rows,
    make_bank,
    spaced,
    task_errors,
)
from omrl_bench.data.contexts import gather

CONFIG = NearestTaskConfig(rows=40, steps=7)


@pytest.fixture(scope="module")
def data(data_for):
    return data_for(NearestTask)


@pytest.fixture(scope="module")
def method(space, data):
    method = NearestTask(space, Setup())
    method.fit(data, Budget(1, 1), (0, 1), lambda stage, step, total: None)
    return method


def test_errors_are_those_of_the_nearest_logged_transition(data, contexts):
    """Every distance written out, on contexts of different lengths."""
    bank, context = make_bank(data, CONFIG), contexts[0]
    valid = context.valid.copy()
    valid[1, 5:], valid[2] = False, False
    found = task_errors(bank, replace(context, valid=valid), CONFIG.steps)
    for lane in (0, 1, 2):
        rows = spaced(valid[lane], CONFIG.steps)
        for task in (0, 11, 29):
            total = 0.0
            for n in rows:
                s, a, r = context.observations[lane, n], context.actions[lane, n], context.rewards[lane, n]
                query = (np.concatenate([s, a]) - bank.input_scale[0]) / bank.input_scale[1]
                label = np.concatenate([[r], context.next_observations[lane, n] - s])
                label = (label - bank.label_scale[0]) / bank.label_scale[1]
                nearest = np.argmin([((query - known) ** 2).sum() for known in bank.inputs[task]])
                error = (label - bank.labels[task, nearest]) ** 2
                total += error[0] + error[1:].mean()
            np.testing.assert_allclose(found[lane, task], total / max(len(rows), 1), rtol=2e-3, atol=1e-5)


def test_the_best_episodes_are_those_of_the_highest_return(data):
    rows = best_rows(data, 3, 0.2)
    episodes = range(data.task_episodes[3], data.task_episodes[4])
    bounds = [slice(data.episode_offsets[e], data.episode_offsets[e + 1]) for e in episodes]
    returns = [data.rewards[b].sum() for b in bounds]
    chosen = sorted(np.argsort(returns)[-2:])
    np.testing.assert_array_equal(rows, np.concatenate([np.arange(bounds[i].start, bounds[i].stop) for i in chosen]))


def test_it_takes_the_training_task_that_the_context_is_of(method, family, episodes, data):
    numbers = np.array(
        [np.flatnonzero((episodes.tasks == task) & (episodes.behaviours == 9))[0] for task in data.tasks]
    )
    policy = method.policy(0)
    policy.reset(len(numbers))
    policy.condition(gather(episodes, numbers))
    assert (policy.representation().argmin(axis=1) == np.arange(len(numbers))).all()


def test_actions_are_means_over_the_nearest_states_of_the_best_episodes(method, contexts):
    context, observations = contexts
    policy = method.policy(0)
    policy.reset(len(observations))
    policy.condition(context)
    actions, tasks = policy.act(observations), policy.representation().argmin(axis=1)
    for lane, task in enumerate(tasks):
        scaled = (observations[lane] - method.bank.input_scale[0, :2]) / method.bank.input_scale[1, :2]
        nearest = np.argsort(((method.bank.states[task] - scaled) ** 2).sum(axis=1))[: method.config.actions]
        np.testing.assert_allclose(actions[lane], method.bank.actions[task][nearest].mean(axis=0), atol=1e-4)


def test_lanes_do_not_see_each_other_and_an_empty_context_changes_nothing(method, contexts):
    context, observations = contexts
    policy = method.policy(1)
    policy.reset(8)
    before = policy.act(observations)
    empty = replace(context, valid=np.zeros_like(context.valid))
    policy.reset(8)
    policy.condition(empty)
    np.testing.assert_array_equal(policy.act(observations), before)
    policy.condition(context)
    together = policy.act(observations)
    alone = method.policy(1)
    alone.reset(2)
    alone.condition(replace(context, **{k: v[3:5] for k, v in vars(context).items()}))
    np.testing.assert_array_equal(alone.act(observations[3:5]), together[3:5])


def test_padding_does_not_matter(method, contexts):
    context, _ = contexts
    padded = {
        name: np.concatenate([value, np.full_like(value[:, :9], 0)], axis=1)
        for name, value in vars(context).items()
        if name != "descriptors"
    }
    errors = [task_errors(method.bank, c, 64) for c in (context, replace(context, **padded))]
    np.testing.assert_allclose(*errors, rtol=1e-5)


def test_an_unknown_seed_and_an_unknown_setting(method, space):
    with pytest.raises(ValueError, match="seed 4"):
        method.policy(4)
    with pytest.raises(ValueError, match="no hyper-parameter 'stepz'"):
        NearestTask(space, Setup("quick", "iql", {"stepz": 3}))
    assert NearestTask(space, Setup("quick", "iql", {"steps": 3})).configuration()["steps"] == 3
