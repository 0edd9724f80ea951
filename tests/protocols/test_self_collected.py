"""Protocols `zero-shot`, `one-shot` and `explore`: what a policy is told, when, and what its adaptation earns."""

import numpy as np
import pytest

from omrl_bench.api import MetaPolicy
from omrl_bench.conditions import Condition
from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.protocols.rollout import Rollout, lane_seeds
from omrl_bench.protocols.self_collected import Explore, ZeroShot

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


def explored(policies, rollout, episodes, conditions, context=None):
    """What `explore` plays for these conditions; policies are those that it makes."""
    protocol = Explore(kind="explore", episodes=episodes)
    assert set(conditions) <= {condition.name for condition in protocol.conditions(["high"])}
    return protocol.evaluate(policies, rollout, list(map(Condition.parse, conditions)), context)


def test_explore_asks_to_explore_and_executes_beside_it_with_what_was_seen():
    made = []

    def policies():
        made.append(Script(POINT))
        return made[-1]

    given = Rollout(POINT, TASKS, 1, seed=0, threads=1).seen([])
    names = ("explore-1", "explore-2", "explore-3", "explore-4", "execute-2", "execute-4", "high")
    played = explored(policies, Rollout(POINT, TASKS, 1, seed=0, threads=1), [2, 4], names, lambda condition: given)
    assert len(played) == len(names)
    exploring, *executing = made
    assert [call for call in exploring.calls if call in ("act", "explore")] == ["explore"] * 4 * POINT.horizon
    assert [context.valid.sum(axis=1).tolist() for context in exploring.contexts] == [[60 * n] * 3 for n in (1, 2, 3)]
    for policy, seen in zip(executing, (120, 240, 0), strict=True):
        assert policy.calls[:2] == ["reset", "condition"]
        assert [call for call in policy.calls if call in ("act", "explore")] == ["act"] * POINT.horizon
        assert policy.contexts[0].valid.sum(axis=1).tolist() == [seen] * 3
    assert executing[-1].contexts[0] is given


def test_learning_curves_of_explore_end_with_the_first_execution():
    protocol = Explore(kind="explore", episodes=(2, 4))
    found = protocol.validated(protocol.conditions(["high"]))
    assert [condition.name for condition in found] == ["explore-1", "explore-2", "execute-2"]
    made = []
    protocol.evaluate(lambda: made.append(Script(POINT)) or made[-1], Rollout(POINT, TASKS, 1, 0, 1), found, None)
    assert [policy.calls.count("end_episode") for policy in made] == [2, 1]  # no more is played than is asked for


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


@pytest.mark.parametrize(("conditions", "first"), [(("episode-1", "episode-2"), 0), (("explore-1", "execute-1"), 0)])
def test_adaptation_earns_what_the_optimum_does(conditions, first):
    tasks = POINT.tasks().ids("test")
    rollout = Rollout(POINT, tasks, 2, seed=0, threads=1)
    if conditions[-1].startswith("execute"):
        returns = np.stack([episode.returns for episode in explored(Trilaterates, rollout, 1, conditions)])
    else:
        returns = evaluate(Trilaterates(), rollout, conditions)
    expert = np.array(read_manifest(POINT).expert)[tasks][:, None]
    np.testing.assert_allclose(returns[1], np.broadcast_to(expert, returns[1].shape), atol=0.1)
    assert (returns[first] < expert - 5).all()
