"""Protocol `given-context`: who acts where, with which seed, and what is added up."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family
from omrl_bench.protocols import rollout
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.protocols.rollout import PolicyError, Rollout, check_actions, lane_seeds


def evaluate(policy, rollout, context):
    """The returns under one condition, with this context."""
    protocol = GivenContext(kind="given-context")
    (played,) = protocol.evaluate(lambda: policy, rollout, protocol.conditions(["high"]), lambda condition: context)
    return played.returns


POINT, CHEETAH = get_family("point-goal"), get_family("cheetah-vel")


def random_context(family, lanes, steps=5, descriptors=None):
    """A context of the right shapes; what is in it does not matter to the protocol."""
    rng = np.random.default_rng(0)
    return Transitions(
        observations=rng.normal(size=(lanes, steps, family.observation_size)).astype(np.float32),
        actions=rng.normal(size=(lanes, steps, family.action_size)).astype(np.float32),
        rewards=rng.normal(size=(lanes, steps)).astype(np.float32),
        next_observations=rng.normal(size=(lanes, steps, family.observation_size)).astype(np.float32),
        terminated=np.zeros((lanes, steps), bool),
        valid=np.ones((lanes, steps), bool),
        descriptors=descriptors,
    )


def lane(context, index):
    """The context of one lane."""
    fields = {name: value[index : index + 1] for name, value in vars(context).items() if value is not None}
    return replace(context, **fields)


class Gain(MetaPolicy):
    """An elementwise policy, so that a lane alone gives bit for bit what it gives among others."""

    def __init__(self, family):
        self.family, self.calls, self.observed, self.acted_on = family, [], [], []

    def reset(self, lanes):
        self.calls.append(("reset", lanes))

    def condition(self, context):
        self.calls.append("condition")
        self.context = context
        self.gain = context.rewards[:, :1]

    def act(self, observations, explore=False):
        self.calls.append("explore" if explore else "act")
        self.acted_on.append(observations)
        limit = self.family.action_limit
        actions = self.gain * observations[:, : self.family.action_size] + np.float32(limit / 3)
        return np.clip(actions, -limit, limit)

    def observe(self, transitions):
        self.calls.append("observe")
        self.observed.append(transitions)

    def end_episode(self):
        self.calls.append("end_episode")


@pytest.mark.parametrize(
    ("family", "tasks", "draws", "checked"), [(POINT, [30, 41, 35], 4, range(12)), (CHEETAH, [41, 30], 2, [0, 3])]
)
def test_returns_are_those_of_single_gymnasium_environments(family, tasks, draws, checked):
    """Lane i * draws + j is draw j of task i: same task, same context, same seed."""
    context = random_context(family, len(tasks) * draws)
    returns = evaluate(
        Gain(family), Rollout(family, np.array(tasks), draws, 7, threads=1, descriptors=context.descriptors), context
    )
    assert returns.shape == (len(tasks), draws)
    assert returns.dtype == np.float64
    seeds = lane_seeds(family, np.array(tasks), draws, 7)
    for index in checked:
        policy = Gain(family)
        policy.reset(1)
        policy.condition(lane(context, index))
        env = gymnasium.make(family.env_id, task=tasks[index // draws])
        observation, _ = env.reset(seed=int(seeds[index]))
        total, steps, over = 0.0, 0, False
        while not over:
            action = policy.act(observation[None].astype(np.float32))[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            total, steps, over = total + reward, steps + 1, terminated or truncated
        assert steps == family.horizon
        assert returns[index // draws, index % draws] == pytest.approx(total, rel=1e-9)
    assert len(np.unique(returns)) == returns.size


class Script:
    """An environment that plays rewards and ends from a table, and keeps what it was asked."""

    rewards: np.ndarray  # (horizon, lanes)
    ends: np.ndarray  # (lanes,) step after which a lane is terminated

    def __init__(self, family, lanes, threads=1):
        type(self).made = self
        self.family, self.lanes, self.threads, self.time, self.actions = family, lanes, threads, 0, []
        self.active = []

    def _observations(self):
        return np.stack([np.full(self.lanes, float(self.time)), np.arange(self.lanes)], axis=1)

    def reset(self, tasks, seeds):
        self.tasks, self.seeds = np.array(tasks), np.array(seeds)
        return self._observations()

    def step(self, actions, active=None):
        self.actions.append(actions)
        self.active.append(active.copy())
        rewards = self.rewards[self.time]
        self.time += 1
        terminated = self.time >= self.ends
        return self._observations(), rewards, terminated, np.full(self.lanes, self.time >= self.family.horizon)


@pytest.fixture
def script(monkeypatch):
    """The protocol on a scripted environment: 3 tasks, 2 draws, six lanes that end at different steps."""
    rewards = np.random.default_rng(3).normal(size=(60, 6))
    cls = type("Scripted", (Script,), {"rewards": rewards, "ends": np.array([1, 2, 30, 59, 60, 1000])})
    monkeypatch.setattr(rollout, "BatchedEnv", cls)
    return cls


def run(policy, seed=0):
    return evaluate(policy, Rollout(POINT, np.array([50, 33, 41]), 2, seed, 1, policy.given.descriptors), policy.given)


@pytest.fixture
def policy():
    gain = Gain(POINT)
    gain.given = random_context(POINT, 6, descriptors=np.arange(12, dtype=np.float32).reshape(6, 2))
    return gain


def test_lanes_are_task_by_task_and_draw_by_draw(script, policy):
    run(policy, seed=5)
    np.testing.assert_array_equal(script.made.tasks, [50, 50, 33, 33, 41, 41])
    np.testing.assert_array_equal(script.made.seeds, lane_seeds(POINT, np.array([50, 33, 41]), 2, 5))
    assert policy.context is policy.given
    assert (script.made.lanes, script.made.threads) == (6, 1)


def test_terminated_lanes_stop_accumulating(script, policy):
    returns = run(policy)
    expected = [script.rewards[: min(end, 60), index].sum() for index, end in enumerate(script.ends)]
    np.testing.assert_allclose(returns.reshape(-1), expected, rtol=1e-12)


def test_a_lane_that_terminated_once_stays_ended(script, policy, monkeypatch):
    """Also where the simulation walks back into a healthy state."""

    class Recovering(script):
        def step(self, actions, active=None):
            observations, rewards, _, truncated = super().step(actions, active)
            return observations, rewards, self.time == self.ends, truncated

    monkeypatch.setattr(rollout, "BatchedEnv", Recovering)
    expected = [script.rewards[: min(end, 60), index].sum() for index, end in enumerate(script.ends)]
    np.testing.assert_allclose(run(policy).reshape(-1), expected, rtol=1e-12)
    assert not policy.observed[-1].valid[:4].any()


def test_what_a_lane_does_after_its_end_does_not_matter(script, policy):
    script.rewards = np.where(np.arange(60)[:, None] >= script.ends, np.nan, script.rewards)
    assert np.isfinite(run(policy)).all()


def test_lanes_that_have_ended_are_not_simulated(script, policy):
    run(policy)
    for step, active in enumerate(script.made.active):
        np.testing.assert_array_equal(active, script.ends > step)


def test_policy_is_told_everything_in_order(script, policy):
    run(policy)
    assert policy.calls == [("reset", 6), "condition", *["act", "observe"] * 60, "end_episode"]


def test_policy_observes_what_happened(script, policy):
    run(policy)
    for step, seen in enumerate(policy.observed):
        assert seen.observations.shape == seen.next_observations.shape == (6, 1, 2)
        assert seen.actions.shape == (6, 1, 2)
        assert seen.rewards.shape == seen.terminated.shape == seen.valid.shape == (6, 1)
        for array in (seen.observations, seen.actions, seen.rewards, seen.next_observations):
            assert array.dtype == np.float32
        assert seen.terminated.dtype == seen.valid.dtype == bool
        going = step < script.ends  # the last step of a lane counts; afterwards all is zero
        np.testing.assert_array_equal(seen.observations[:, 0, 0], np.where(going, step, 0))
        np.testing.assert_array_equal(seen.next_observations[:, 0, 0], np.where(going, step + 1, 0))
        np.testing.assert_array_equal(seen.observations[:, 0, 1], np.where(going, range(6), 0))
        np.testing.assert_array_equal(seen.observations[:, 0], policy.acted_on[step])
        np.testing.assert_array_equal(seen.actions[:, 0], script.made.actions[step])
        np.testing.assert_array_equal(seen.rewards[:, 0], np.where(going, script.rewards[step], 0).astype(np.float32))
        np.testing.assert_array_equal(seen.terminated[:, 0], step + 1 == script.ends)
        np.testing.assert_array_equal(seen.valid[:, 0], going)
        assert seen.descriptors is policy.given.descriptors
    assert policy.acted_on[0].dtype == np.float32


def test_policy_observes_the_real_simulation():
    """Reward and next observation belong to the action: s' = s + a, r = -|s' - goal|."""
    tasks, policy = np.array([30, 45]), Gain(POINT)
    returns = evaluate(policy, Rollout(POINT, tasks, 2, 0, 1), random_context(POINT, 4))
    goals = POINT.tasks().descriptors[np.repeat(tasks, 2)]
    rewards = np.zeros(4)
    for step, seen in enumerate(policy.observed):
        np.testing.assert_allclose(seen.next_observations, seen.observations + seen.actions, atol=1e-5)
        distance = np.linalg.norm(seen.next_observations[:, 0] - goals, axis=1)
        np.testing.assert_allclose(seen.rewards[:, 0], -distance, atol=1e-5)
        if step:
            np.testing.assert_array_equal(seen.observations, policy.observed[step - 1].next_observations)
        rewards += seen.rewards[:, 0]
    np.testing.assert_allclose(returns.reshape(-1), rewards, rtol=1e-5)


def test_policy_observes_the_action_that_was_applied(policy):
    policy.act = lambda observations, explore=False: np.full((6, 2), 0.3, np.float32)
    run(policy)
    seen = policy.observed[0]
    np.testing.assert_allclose(seen.next_observations, 0.1, atol=1e-6)
    np.testing.assert_allclose(seen.next_observations - seen.observations, seen.actions, atol=1e-6)


def test_environment_seeds_are_the_same_for_every_method_and_quality(script):
    tasks, seeds = np.array([50, 33, 41]), []
    for steps, step_size in ((3, 0.0), (9, 0.1)):  # other contexts, other actions
        other = Gain(POINT)
        other.given = random_context(POINT, 6, steps)
        other.act = lambda observations, explore=False, size=step_size: np.full((6, 2), size)
        run(other)
        seeds.append(script.made.seeds)
    np.testing.assert_array_equal(*seeds)
    np.testing.assert_array_equal(seeds[0], lane_seeds(POINT, tasks, 2, 0))


def test_lane_seeds_differ_by_task_draw_training_seed_and_family():
    tasks = np.array([3, 4, 59])
    seeds = lane_seeds(POINT, tasks, 10, 0)
    assert seeds.shape == (30,)
    others = np.concatenate([seeds, lane_seeds(POINT, tasks, 10, 1), lane_seeds(CHEETAH, tasks, 10, 0)])
    assert len(np.unique(others)) == 90


def test_lane_seeds_of_a_task_do_not_depend_on_the_other_tasks_or_the_number_of_draws():
    together = lane_seeds(POINT, np.array([3, 4, 59]), 10, 2).reshape(3, 10)
    np.testing.assert_array_equal(lane_seeds(POINT, np.array([59]), 10, 2), together[2])
    np.testing.assert_array_equal(lane_seeds(POINT, np.array([4, 3]), 4, 2).reshape(2, 4), together[[1, 0], :4])


def test_lane_seeds_reach_the_simulator():
    """Two evaluations of one training seed start alike, of another seed they do not."""

    def starts(seed):
        policy = Gain(CHEETAH)
        lanes = 2
        context = random_context(CHEETAH, lanes)
        short = replace(CHEETAH, horizon=1)
        evaluate(policy, Rollout(short, np.array([30]), lanes, seed, 1, context.descriptors), context)
        return policy.acted_on[0]

    np.testing.assert_array_equal(starts(0), starts(0))
    assert not np.array_equal(starts(0), starts(1))
    assert not np.array_equal(starts(0)[0], starts(0)[1])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((6, 3)), r"act returned shape \(6, 3\); expected a NumPy array of shape \(6, 2\)"),
        (np.zeros((5, 2)), r"act returned shape \(5, 2\); expected"),
        (np.zeros(2), r"act returned shape \(2,\); expected"),
        (np.zeros((6, 1)), r"act returned shape \(6, 1\); expected"),  # would broadcast
        (torch.zeros(6, 2), r"act returned a Tensor; expected a NumPy array"),
        ([[0.0, 0.0]] * 6, "act returned a list; expected a NumPy array"),
        (None, "act returned a NoneType; expected a NumPy array"),
    ],
)
def test_actions_of_the_wrong_shape_or_type(policy, actions, message):
    policy.act = lambda observations, explore=False: actions
    with pytest.raises(PolicyError, match=message):
        run(policy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite_are_refused_with_the_lane(policy, value):
    actions = np.zeros((6, 2))
    actions[4, 1] = actions[5, 0] = value
    policy.act = lambda observations, explore=False: actions
    with pytest.raises(PolicyError, match="act returned NaN or infinity in lane 4"):
        run(policy)


def test_actions_are_checked_at_every_step(policy):
    policy.act = lambda observations, explore=False: np.full((6, 2), np.nan if len(policy.observed) == 17 else 0.0)
    with pytest.raises(PolicyError, match="lane 0"):
        run(policy)
    assert len(policy.observed) == 17


def test_check_actions_clips_and_stills_ended_lanes():
    actions = np.array([[5.0, -5.0], [0.05, 0.0], [np.nan, 1.0]])
    checked = check_actions(actions, np.array([True, True, False]), POINT)
    np.testing.assert_array_equal(checked, [[0.1, -0.1], [0.05, 0.0], [0.0, 0.0]])


def test_actions_beyond_the_limits_are_clipped(policy):
    policy.act = lambda observations, explore=False: np.full((6, 2), 0.1, np.float64)
    within = run(policy)
    policy.act = lambda observations, explore=False: np.full((6, 2), 100.0)
    np.testing.assert_array_equal(run(policy), within)


def test_the_batched_environment_is_the_real_one():
    assert rollout.BatchedEnv is BatchedEnv
