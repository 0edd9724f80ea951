"""The controls: random, behaviour, task-blind and oracle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget, Setup
from omrl_bench.baselines.conditioned import draw_batch
from omrl_bench.baselines.controls import BehaviourControl, BehaviourPolicy, Oracle, Random, Supervised, TaskBlind
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.data.contexts import gather
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.sampling import PrivilegeError
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.protocols.rollout import Rollout


def evaluate(policy, rollout, context):
    """The returns under one condition, with this context."""
    protocol = GivenContext(kind="given-context")
    (played,) = protocol.evaluate(lambda: policy, rollout, protocol.conditions(["high"]), lambda condition: context)
    return played.returns


def untrained(cls, space, data=None):
    control = cls(space, Setup())
    control.fit(data, Budget(1, 1), (0, 1), lambda stage, step, total: None)
    return control


def told(family, episodes, tasks, draws):
    """Some context of every lane, with the descriptors."""
    lanes = np.repeat(tasks, draws)
    return gather(episodes, np.zeros(len(lanes), int), family.tasks().descriptors[lanes].astype(np.float32))


def rollout(policy, lanes, steps, context):
    policy.reset(lanes)
    policy.condition(context)
    return np.stack([policy.act(np.zeros((lanes, 2), np.float32)) for _ in range(steps)])


def test_random_is_uniform_within_the_limits(space):
    actions = rollout(untrained(Random, space).policy(0), 500, 40, None)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= np.float32(space.action_limit)
    counts = np.histogram(actions, bins=10, range=(-0.1, 0.1))[0]
    assert counts.sum() == actions.size == 40000
    assert np.abs(counts - 4000).max() < 5 * np.sqrt(4000 * 0.9)
    for axes in ((0,), (1,), (2,)):  # steps, lanes and components differ
        assert np.abs(np.diff(actions, axis=axes[0])).max() > 0.1


def test_random_starts_again_on_reset_and_differs_between_seeds(space):
    control = untrained(Random, space)
    policy = control.policy(3)
    first = rollout(policy, 7, 5, None)
    np.testing.assert_array_equal(rollout(policy, 7, 5, None), first)
    np.testing.assert_array_equal(rollout(control.policy(3), 7, 5, None), first)
    assert not np.array_equal(rollout(control.policy(4), 7, 5, None), first)


def test_random_scores_zero(family, episodes, space):
    """Its returns agree with the manifest's reference returns of the random policy."""
    tasks = family.tasks().ids()
    policy = untrained(Random, space).policy(0)
    context = told(family, episodes, tasks, 20)
    returns = evaluate(policy, Rollout(family, tasks, 20, 0, 1, context.descriptors), context)
    reference = np.array(read_manifest(family).random)
    error = returns.std(axis=1).mean() * np.sqrt(2 / returns.size)
    assert abs((returns.mean(axis=1) - reference).mean()) < 4 * error


class Recorder:
    """Behaviour policies that keep what they are told."""

    def reset(self, behaviours, rng):
        self.behaviours, self.rng = behaviours, rng

    def act(self, observations, descriptors, rng, deterministic=False):
        assert rng is self.rng
        self.told = observations, descriptors, deterministic
        return rng.uniform(-0.1, 0.1, (len(observations), 2))


def test_behaviour_takes_the_ten_policies_in_turn_and_tells_them_the_task(family, episodes):
    recorder = Recorder()
    policy = BehaviourPolicy(recorder, 0)
    context = told(family, episodes, family.tasks().ids("test")[:5], 5)
    actions = rollout(policy, 25, 3, context)
    np.testing.assert_array_equal(recorder.behaviours, [*range(10), *range(10), *range(5)])
    observations, descriptors, deterministic = recorder.told
    np.testing.assert_array_equal(descriptors, context.descriptors)
    assert observations.shape == (25, 2)
    assert not deterministic
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(rollout(policy, 25, 3, context), actions)
    assert not np.array_equal(rollout(BehaviourPolicy(recorder, 1), 25, 3, context), actions)


def test_behaviour_returns_what_the_mixed_data_returned(family, episodes, space, data_for):
    """Task by task and behaviour by behaviour, within the sampling error."""
    tasks, draws = family.tasks().ids(), 10
    control = untrained(BehaviourControl, space, data_for(BehaviourControl))
    context = told(family, episodes, tasks, draws)
    lanes = [Rollout(family, tasks, draws, seed, 1, context.descriptors) for seed in (0, 1, 2)]
    returns = np.stack([evaluate(control.policy(seed), lanes[seed], context) for seed in (0, 1, 2)])
    logged = episodes.returns().reshape(len(tasks), 10)
    np.testing.assert_array_equal(episodes.behaviours.reshape(len(tasks), 10)[0], range(10))
    for behaviour in range(10):
        mine, data = returns[:, :, behaviour], logged[:, behaviour]
        error = np.hypot(mine.std() / np.sqrt(mine.size), data.std() / np.sqrt(data.size))
        assert abs(mine.mean() - data.mean()) < 4 * error + 1e-6, behaviour
    assert returns[:, :, 9].mean() - returns[:, :, 0].mean() > 50  # the expert is last
    below = np.mean(read_manifest(family).expert) - returns[:, :, 9].mean()  # its mean action is the reference
    assert 0 < below < 2


def test_behaviour_policies_can_run_side_by_side(family, episodes, space, data_for):
    control = untrained(BehaviourControl, space, data_for(BehaviourControl))
    context = told(family, episodes, family.tasks().ids("test")[:5], 2)
    alone = rollout(control.policy(0), 10, 2, context)
    first, second = control.policy(0), control.policy(1)
    for policy in (first, second):
        policy.reset(10)
        policy.condition(context)
    np.testing.assert_array_equal(first.act(np.zeros((10, 2), np.float32)), alone[0])


def test_privileges_are_declared(family, episodes, space):
    """Without them the data refuses; the others are trained without any in these tests."""
    bare = MetaDataset(family, episodes)
    for cls in (Oracle, BehaviourControl):
        with pytest.raises(PrivilegeError):
            untrained(cls, space, bare)
    assert BehaviourControl.requires.privileges == {"behaviour", "descriptors"}
    assert Oracle.requires.privileges == {"descriptors"}
    for cls in (Random, TaskBlind):
        assert cls.requires.privileges == frozenset()
    assert not any(cls.requires.context for cls in (Random, BehaviourControl, TaskBlind, Oracle))


@pytest.fixture(scope="module")
def oracle(fit):
    return fit(Oracle, seeds=(0, 1), updates=60)


def test_oracle_sees_the_standardised_descriptor(oracle, family, contexts):
    context, _ = contexts
    train = family.tasks().descriptors[family.tasks().ids("train")]
    expected = (context.descriptors - train.mean(axis=0)) / train.std(axis=0)
    for index in range(2):
        z = oracle.inference(index)(context)
        assert z.dtype == torch.float32
        np.testing.assert_allclose(z.numpy(), expected, atol=1e-5)


def test_oracle_reads_descriptors_and_nothing_else_of_the_context(oracle, act, contexts):
    context, observations = contexts
    actions = act(oracle, 1)
    policy = oracle.policy(1)
    policy.reset(8)
    garbage = {
        name: np.full_like(value, 7)
        for name, value in vars(context).items()
        if name not in ("descriptors", "valid", "terminated")
    }
    policy.condition(replace(context, **garbage))
    np.testing.assert_array_equal(policy.act(observations), actions)
    policy.condition(replace(context, descriptors=context.descriptors[::-1].copy()))
    swapped = policy.act(observations)
    assert np.abs(swapped - actions).max() > 5e-3


def test_oracle_is_trained_on_the_descriptor_of_the_transitions_task(make, family, episodes, monkeypatch):
    """With a different number of episodes in each task."""
    kept = np.flatnonzero(np.random.default_rng(0).random(len(episodes.tasks)) < 0.6)
    rows = (kept[:, None] * family.horizon + np.arange(family.horizon)).reshape(-1)
    per_row = ("observations", "actions", "rewards", "next_observations", "terminated")
    uneven = replace(
        episodes,
        **{name: getattr(episodes, name)[rows] for name in per_row},
        offsets=np.arange(len(kept) + 1) * family.horizon,
        tasks=episodes.tasks[kept],
    )
    data, seen = MetaDataset(family, uneven, Oracle.requires.privileges), []
    assert len(set(np.diff(data.task_episodes))) > 3
    data.rewards = np.repeat(np.arange(30), np.diff(data.task_offsets)).astype(np.float32)
    loss = IQL.loss
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: seen.append((batch, z)) or loss(self, batch, z))
    method = make(Oracle)
    method.fit(data, Budget(2, 0), (0, 1), lambda stage, step, total: None)
    train = family.tasks().descriptors[family.tasks().ids("train")]
    standardised = (train - train.mean(axis=0)) / train.std(axis=0)
    for batch, z in seen:
        tasks = (batch.rewards * method.scale.learning_reward_std).round().long().numpy()
        np.testing.assert_allclose(z.numpy(), standardised[tasks], atol=1e-5)
    assert len(seen) == 2


def test_oracle_takes_a_descriptor_that_does_not_vary(make, data_for, monkeypatch):
    data = data_for(Oracle)
    constant = np.stack([np.arange(30.0), np.ones(30)], axis=1)
    monkeypatch.setattr(MetaDataset, "descriptors", constant)
    method = make(Oracle)
    with np.errstate(invalid="ignore"):
        method.fit(data, Budget(1, 0), (0,), lambda stage, step, total: None)
    assert all(parameter.isfinite().all() for parameter in method.backbone.parameters())


def test_task_blind_ignores_the_context(fit, act, contexts):
    method = fit(TaskBlind, seeds=(0, 1), updates=10)
    context, observations = contexts
    policy = method.policy(1)
    policy.reset(8)
    prior = policy.act(observations)
    np.testing.assert_array_equal(prior, act(method, 1))
    turned = {name: np.roll(value, 3, axis=0) for name, value in vars(context).items()}
    policy.condition(replace(context, **turned))
    np.testing.assert_array_equal(policy.act(observations), prior)
    assert method.backbone.policy.layers[0].weight.shape[1] == 2  # the observation, and no more


def test_task_blind_acts_the_same_in_all_tasks(fit, family, episodes):
    """Whatever the task, the same observation gives the same action."""
    method = fit(TaskBlind, seeds=(0,), updates=10)
    policy = method.policy(0)
    policy.reset(4)
    policy.condition(told(family, episodes, family.tasks().ids("test")[:4], 1))
    actions = policy.act(np.tile(np.array([[0.3, -0.2]], np.float32), (4, 1)))
    np.testing.assert_allclose(actions, np.broadcast_to(actions[0], actions.shape), atol=1e-7)


def test_supervised_encoder_gets_the_gradient_of_critics_and_policy(make, data_for):
    seeds, data, method = (0, 1), data_for(Supervised), make(Supervised)
    method.build(seeds, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(seeds, "data"))
    tasks, batch = draw_batch(method, batches)
    z, penalty = method.sample(batches.contexts(data.sample_episodes(batches.rngs, tasks), 8))
    assert penalty.tolist() == [0, 0]
    z, backbone, encoder = z.repeat_interleave(4, dim=1), method.backbone, list(method.encoder.parameters())
    fixed = z.detach()
    q_target = backbone.q(backbone.target_critics, batch.observations, batch.actions, fixed).amin(dim=0).detach()
    value = backbone.value(batch.observations, fixed)[..., 0].detach()
    next_value = backbone.value(batch.next_observations, fixed)[..., 0].detach()
    losses = backbone.critic_loss(batch, z, next_value), backbone.policy_loss(batch, z, q_target - value)
    each = [torch.autograd.grad(loss.sum(), encoder, retain_graph=True) for loss in losses]
    critics_z, policy_z = method.views(z)
    total = backbone.loss(batch, critics_z, policy_z=policy_z)
    gradients = torch.autograd.grad(total, encoder, retain_graph=True)
    for mine, of_critics, of_policy in zip(gradients, *each, strict=True):
        assert of_critics.abs().max() > 0 < of_policy.abs().max()
        torch.testing.assert_close(mine, of_critics + of_policy)
    # what the backbone learns is as without an encoder under it
    learners = list(backbone.critics.parameters()) + list(backbone.value.parameters())
    plain = torch.autograd.grad(backbone.loss(batch, fixed), learners)
    for mine, gradient in zip(torch.autograd.grad(total, learners), plain, strict=True):
        assert torch.equal(mine, gradient)


def test_supervised_encoder_rests_where_the_backbone_learns_nothing(fit, make, data_for, monkeypatch):
    fresh = make(Supervised)
    fresh.build((0, 1), Scale.of(data_for(Supervised), fresh.space))

    def changed():
        trained = fit(Supervised, seeds=(0, 1), updates=3).encoder.parameters()
        return [not torch.equal(a, b) for a, b in zip(trained, fresh.encoder.parameters(), strict=True)]

    assert all(changed())
    monkeypatch.setattr(IQL, "policy_loss", lambda self, batch, z, advantage: torch.zeros(2))
    assert all(changed())
    monkeypatch.setattr(IQL, "critic_loss", lambda self, batch, z, next_value: torch.zeros(2))
    assert not any(changed())
