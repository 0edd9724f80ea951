"""BOReL with reward relabelling: first episodes of other tasks, with the rewards of the task at hand."""

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget
from omrl_bench.baselines.borel import OWN, Borel, BorelOracle, label
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.sampling import PrivilegeError

SEEDS = (3, 5)


@pytest.fixture(params=["episodes", "ragged"])
def relabelled(request, make, family):
    data = MetaDataset(family, request.getfixturevalue(request.param), BorelOracle.requires.privileges)
    method = make(BorelOracle, trajectories=4)
    method.build(SEEDS, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
    method.train_representation(batches, 0, lambda *a: None)
    return method, batches


def test_labels_are_the_distances_to_every_tasks_goal(relabelled, family):
    _, batches = relabelled
    goals = family.tasks().descriptors[batches.data.tasks]
    distance = np.linalg.norm(batches.data.next_observations[None] - goals[:, None], axis=2)
    np.testing.assert_allclose(label(batches), -distance, atol=1e-6)


def test_features_of_a_tasks_own_rows_are_the_logged_ones(relabelled):
    method, batches = relabelled
    tasks = batches.tasks(5)
    rows = batches.data.sample_rows(batches.rngs, tasks, 7)
    torch.testing.assert_close(
        method.features(batches, rows, tasks), batches.features[torch.as_tensor(rows)], atol=1e-5, rtol=0
    )


def test_only_the_reward_of_other_tasks_rows_changes(relabelled):
    method, batches = relabelled
    tasks = batches.tasks(5)
    rows = batches.data.sample_rows(batches.rngs, (tasks + 7) % 30, 7)
    features, logged = method.features(batches, rows, tasks), batches.features[torch.as_tensor(rows)]
    kept = [0, 1, 2, 3, 5, 6]
    assert torch.equal(features[..., kept], logged[..., kept])
    goals = batches.data._family.tasks().descriptors[batches.data.tasks][tasks]
    expected = -np.linalg.norm(batches.data.next_observations[rows] - goals[:, :, None], axis=-1)
    shown = features[..., 4] * method.scale.reward_std + method.scale.reward_mean
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_first_episodes_are_of_the_task_or_of_all_others_equally_often(relabelled):
    method, batches = relabelled
    tasks = np.tile(np.repeat(np.arange(30), 200), (2, 1))
    episodes = method.draw_first(batches, tasks)
    others = np.searchsorted(batches.data.task_episodes, episodes, side="right") - 1
    assert abs((others == tasks).mean() - OWN) < 0.02  # 12,000 draws, deviation .0044
    pairs = np.zeros((30, 30))
    np.add.at(pairs, (tasks, others), 1)
    elsewhere = pairs[~np.eye(30, dtype=bool)]
    assert elsewhere.min() >= 1
    assert elsewhere.max() < 30  # 8.7 expected


def test_without_the_privilege_it_cannot_be_trained(make, family, episodes):
    with pytest.raises(PrivilegeError, match="reward_function"):
        make(BorelOracle).fit(MetaDataset(family, episodes), Budget(1, 1), (0,), lambda *a: None)


def test_the_plain_method_needs_no_privilege_and_leaves_rewards_alone(make, data_for):
    assert Borel.requires.privileges == frozenset()
    data = data_for(Borel)
    method = make(Borel)
    method.build(SEEDS, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
    rows = np.arange(12).reshape(2, 2, 3)
    tasks = np.array([[4, 9], [2, 1]])
    assert torch.equal(method.features(batches, rows, tasks), batches.features[torch.as_tensor(rows)])
    episodes = method.draw_first(batches, tasks)
    np.testing.assert_array_equal(np.searchsorted(data.task_episodes, episodes, side="right") - 1, tasks)
