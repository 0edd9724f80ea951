"""Protocols `zero-shot`, `one-shot` and `explore`: what a policy is told, when, and what its adaptation earns."""

import numpy as np
import pytest

from omrl_bench.api import MetaPolicy
from omrl_bench.conditions import Condition
from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.protocols.rollout import Rollout, lane_seeds
from omrl_bench.protocols.self_collected import ZeroShot

POINT, SQUARE, HOPPER = get_family("point-goal"), get_family("point-square"), get_family("hopper-params")
TASKS = np.array([41, 33, 50])


def evaluate(policy, rollout, names):
    """Returns of the episodes that these conditions name, (conditions, tasks, draws)."""
    protocol = ZeroShot(kind="zero-shot", episodes=3)  # all that collect their contexts play alike
    conditions = [Condition.parse(name) for name in names]
    return np.stack([episode.returns for episode in protocol.evaluate(lambda: policy, rollout, conditions, None)])


class Script(MetaPolicy):
    """Acts by rule, writes down what it is told."""

    def __init__(self, family, actions=None):
        self.family, self.actions, self.calls, self.contexts, self.observed = family, actions, [], [], []

    def reset(self, lanes):
        self.calls.append("reset")

    def condition(self, context):
        self.calls.append("condition")
        self.contexts.append(context)

    def act(self, observations, explore=False):
        self.calls.append("explore" if explore else "act")
        if self.actions is not None:
            return self.actions(observations)
        return np.full((len(observations), self.family.action_size), 0.05, np.float32)

    def observe(self, transitions):
        self.calls.append("observe")
        self.observed.append(transitions)

    def end_episode(self):
        self.calls.append("end_episode")


class Trilaterates(MetaPolicy):
    """Finds the goal of `point-goal` from the distances that rewards show, then walks there."""

    def reset(self, lanes):
        self.goal = None

    def condition(self, context):
        # |s' - g|^2 = r^2, minus its mean over the context, is linear in g
        s, r = context.next_observations.astype(float), context.rewards.astype(float)
        right = (s**2).sum(axis=2) - r**2
        left = 2 * (s - s.mean(axis=1, keepdims=True))
        right = right - right.mean(axis=1, keepdims=True)
        self.goal = np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(left, right, strict=True)])

    def act(self, observations, explore=False):
        if self.goal is None:  # a quarter of a circle, so that both coordinates are told
            away = np.linalg.norm(observations, axis=1) < 0.5
            return np.where(away[:, None], [0.1, 0.0], [0.0, 0.1]).astype(np.float32)
        return np.clip(self.goal - observations, -0.1, 0.1).astype(np.float32)


def test_what_a_policy_is_told_and_when():
    policy = Script(POINT)
    returns = evaluate(policy, Rollout(POINT, TASKS, 2, seed=0, threads=1), ("episode-1", "episode-2", "episode-3"))
    episode = [*["act", "observe"] * POINT.horizon, "end_episode"]
    assert policy.calls == ["reset", *episode, "condition", *episode, "condition", *episode]
    assert returns.shape == (3, 3, 2)
    assert [context.valid.sum(axis=1).tolist() for context in policy.contexts] == [[60] * 6, [120] * 6]


def test_a_context_is_what_the_lane_has_seen():
    policy = Script(SQUARE)
    returns = evaluate(policy, Rollout(SQUARE, TASKS, 2, seed=3, threads=1), ("episode-1", "episode-2", "episode-3"))
    context, horizon = policy.contexts[-1], SQUARE.horizon
    for number in (0, 1):
        part = slice(number * horizon, (number + 1) * horizon)
        sums = context.rewards[:, part].sum(axis=1, dtype=float)
        np.testing.assert_allclose(sums, returns[number].reshape(-1), rtol=1e-5)
        following, observations = context.next_observations[:, part], context.observations[:, part]
        np.testing.assert_array_equal(following[:, :-1], observations[:, 1:])
    assert not np.array_equal(context.observations[:, 0], context.observations[:, horizon])  # another start


def test_explore_asks_to_explore_and_then_to_execute():
    policy = Script(POINT)
    evaluate(policy, Rollout(POINT, TASKS, 1, seed=0, threads=1), ("explore-1", "explore-2", "execute"))
    acts = [call for call in policy.calls if call in ("act", "explore")]
    assert acts == ["explore"] * 2 * POINT.horizon + ["act"] * POINT.horizon


def test_the_first_episode_has_the_environment_seeds_of_given_contexts():
    empty = Rollout(SQUARE, TASKS, 4, seed=5, threads=1).seen([])
    protocol = GivenContext(kind="given-context")
    rollout, high = Rollout(SQUARE, TASKS, 4, seed=5, threads=1), protocol.conditions(["high"])
    (given,) = protocol.evaluate(lambda: Script(SQUARE), rollout, high, lambda condition: empty)
    returns = evaluate(Script(SQUARE), Rollout(SQUARE, TASKS, 4, seed=5, threads=1), ("episode-1", "episode-2"))
    np.testing.assert_array_equal(returns[0], given.returns)
    assert not np.intersect1d(lane_seeds(SQUARE, TASKS, 4, 5, 0), lane_seeds(SQUARE, TASKS, 4, 5, 1)).size


def test_only_the_privileged_are_told_the_task_before_they_have_seen_anything():
    descriptors = np.repeat(POINT.tasks().descriptors[TASKS], 2, axis=0).astype(np.float32)
    for told in (False, True):
        policy = Script(POINT)
        rollout = Rollout(POINT, TASKS, 2, 0, 1, descriptors if told else None)
        evaluate(policy, rollout, ("episode-1",))
        assert policy.calls.index("act") == (2 if told else 1)
        if told:
            assert not policy.contexts[0].valid.any()
            np.testing.assert_array_equal(policy.contexts[0].descriptors, descriptors)
        else:
            assert all(step.descriptors is None for step in policy.observed)


def test_an_episode_that_ends_early_leaves_padding():
    policy = Script(HOPPER, lambda observations: np.ones((len(observations), HOPPER.action_size), np.float32))
    evaluate(policy, Rollout(HOPPER, np.array([31, 40]), 2, seed=0, threads=1), ("episode-1", "episode-2"))
    (context,) = policy.contexts
    lengths = context.valid.sum(axis=1)
    assert (lengths < HOPPER.horizon).any(), "no hopper fell; the test needs another action"
    for lane, length in enumerate(lengths):
        assert context.valid[lane, :length].all()
        assert not context.rewards[lane, length:].any()
        assert context.terminated[lane].sum() == (length < HOPPER.horizon)


@pytest.mark.parametrize(("conditions", "first"), [(("episode-1", "episode-2"), 0), (("explore-1", "execute"), 0)])
def test_adaptation_earns_what_the_optimum_does(conditions, first):
    tasks = POINT.tasks().ids("test")
    returns = evaluate(Trilaterates(), Rollout(POINT, tasks, 2, seed=0, threads=1), conditions)
    expert = np.array(read_manifest(POINT).expert)[tasks][:, None]
    np.testing.assert_allclose(returns[1], np.broadcast_to(expert, returns[1].shape), atol=0.1)
    assert (returns[first] < expert - 5).all()
