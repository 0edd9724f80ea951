"""The behaviour policies: of point-goal and cheetah-vel in detail, of every family that they act."""

import numpy as np
import pytest

from omrl_bench.data.behaviour import (
    BEHAVIOURS,
    EXPERT,
    CheckpointActor,
    PointActor,
    UniformActor,
    make_actor,
)
from omrl_bench.data.build import roll_out


def returns(family, behaviours, per_behaviour, deterministic=False):
    """Mean return of some behaviours over tasks spread over the table."""
    count = len(behaviours) * per_behaviour
    tasks = np.tile(np.linspace(0, len(family.tasks()) - 1, per_behaviour).astype(int), len(behaviours))
    numbers = np.repeat(behaviours, per_behaviour)
    rng = np.random.default_rng(1)
    episodes = roll_out(family, make_actor(family), tasks, numbers, np.arange(count), rng, 1, deterministic).episodes
    return episodes.returns().reshape(len(behaviours), per_behaviour).mean(axis=1)


def test_every_family_has_ten_behaviours_of_the_right_kind(point, cheetah):
    assert (BEHAVIOURS, EXPERT) == (10, 9)
    assert isinstance(make_actor(point), PointActor)
    assert isinstance(make_actor(cheetah), CheckpointActor)


def test_the_expert_is_better_than_the_first_and_the_middle_on_cheetah(cheetah):
    first, middle, expert = returns(cheetah, [0, 5, 9], 4)
    assert expert > middle + 10
    assert middle > first + 10


def test_the_expert_does_the_task_on_cheetah(cheetah):
    (mean,) = returns(cheetah, [9], 6, deterministic=True)
    assert mean > -60  # standing still costs 320 on average over [0, 3.2]


def test_skill_and_return_rise_together_on_point(point):
    means = returns(point, list(range(10)), 60)
    assert np.corrcoef(means, np.arange(10))[0, 1] > 0.95
    assert -5 < means[9] < -3.84
    assert means[0] < -50


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_most_skilled_point_actor_reaches_the_goal(point, deterministic):
    tasks = point.tasks().ids()
    nine, rng = np.full(len(tasks), 9), np.random.default_rng(0)
    episodes = roll_out(point, PointActor(point), tasks, nine, tasks, rng, 1, deterministic).episodes
    goals = point.tasks().descriptors
    positions = episodes.next_observations.reshape(len(tasks), point.horizon, 2)
    # the farthest axis takes ten steps of 0.1; afterwards it stays
    distances = np.linalg.norm(positions[:, 12:] - goals[:, None], axis=-1)
    assert distances.max() < (1e-6 if deterministic else 0.06)


def test_the_unskilled_point_actor_walks_straight_to_a_wrong_place(point):
    lanes = 400
    tasks, rng = np.zeros(lanes, int), np.random.default_rng(0)
    episodes = roll_out(point, PointActor(point), tasks, tasks, tasks, rng, 1, deterministic=True).episodes
    last = episodes.next_observations[episodes.offsets[1:] - 1]
    np.testing.assert_allclose(np.linalg.norm(last, axis=1), 1, atol=1e-5)
    goal = np.arctan2(*point.tasks().descriptors[0][::-1])
    turned = (np.arctan2(last[:, 1], last[:, 0]) - goal + np.pi) % (2 * np.pi)
    assert np.histogram(turned, 4, (0, 2 * np.pi))[0].min() > lanes / 4 * 0.7  # every direction


def test_the_guess_turns_by_at_most_what_the_skill_allows(point):
    lanes = 300
    tasks, six, rng = np.zeros(lanes, int), np.full(lanes, 6), np.random.default_rng(0)
    episodes = roll_out(point, PointActor(point), tasks, six, tasks, rng, 1, deterministic=True).episodes
    last = episodes.next_observations[episodes.offsets[1:] - 1]
    cosines = last @ point.tasks().descriptors[0]
    assert np.arccos(cosines.min()) == pytest.approx(np.pi * (1 - 6 / 9), rel=0.03)


def test_actions_are_within_the_limits_and_noise_comes_from_the_generator(acting):
    family, lanes = acting, 200
    behaviours = np.arange(lanes) % 10
    observations = np.random.default_rng(0).normal(size=(lanes, family.observation_size))
    descriptors = family.tasks().descriptors[np.arange(lanes) % len(family.tasks())]
    for actor in (make_actor(family), UniformActor(family)):
        drawn = []
        for seed in (3, 3, 4):
            rng = np.random.default_rng(seed)
            actor.reset(behaviours, rng)
            drawn.append(actor.act(observations, descriptors, rng))
        assert drawn[0].shape == (lanes, family.action_size)
        assert np.abs(drawn[0]).max() <= family.action_limit
        np.testing.assert_array_equal(drawn[0], drawn[1])
        assert not np.array_equal(drawn[0], drawn[2])


def test_uniform_actor_is_uniform(every):
    family = every
    actor, rng = UniformActor(family), np.random.default_rng(0)
    actor.reset(np.full(20_000, -1), rng)
    actions = actor.act(np.zeros((20_000, 1)), np.zeros((20_000, 1)), rng) / family.action_limit
    np.testing.assert_allclose(actions.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(actions.var(axis=0), 1 / 3, rtol=0.03)
    assert np.abs(actions).max() == pytest.approx(1, abs=0.01)
