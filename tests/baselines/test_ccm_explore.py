"""CCM's exploration agent: the rewards and beliefs it learns from, and how the two agents take turns."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omrl_bench.baselines.ccm_explore as ccm_explore
from omrl_bench.api import Budget
from omrl_bench.baselines.ccm import ContrastiveValueRecovery
from omrl_bench.baselines.ccm_explore import ContrastiveExploration, UnregularisedExploration
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.networks import take_seed
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.data.meta_dataset import MetaDataset

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def relabelled(family, ragged, make):
    """A method as built, whose guide is not its encoder; episodes of different lengths; beliefs and gains of all."""
    data, method = MetaDataset(family, ragged), make(ContrastiveExploration, width=16)
    method.build(SEEDS, Scale.of(data, method.space))
    with torch.no_grad():
        method.guide.contrast.similarity.add_(
            torch.as_tensor(np.random.default_rng(0).normal(size=(2, 7, 7))), alpha=20
        )
        for number, parameter in enumerate(method.guide.transition.parameters()):
            parameter.add_(torch.as_tensor(np.random.default_rng(number).normal(0, 0.3, parameter.shape)))
    batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
    return method, batches, *method.relabel(batches)


def info_nce(method, seed, z, keys, own):
    """Eq. 8 of one belief, in double precision."""
    weight = method.guide.contrast.similarity[seed].detach().double()
    scores = [(z.double() @ weight @ key.double()).item() for key in keys]
    return -math.log(math.exp(scores[own]) / sum(math.exp(score) for score in scores))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 299), st.integers(0, 1))
def test_gain_of_a_step_is_the_fall_of_the_loss_of_the_partial_trajectory(relabelled, episode, seed):
    method, batches, beliefs, gains = relabelled
    start, stop = batches.data.episode_offsets[episode : episode + 2]
    task = int(np.searchsorted(batches.data.task_episodes, episode, "right") - 1)
    keys, guide = method.task_keys(batches)[seed], take_seed(method.guide, seed)
    previous = math.log(30)  # nothing is known before the first step
    for row in range(start, min(stop, start + 5)):
        z = guide(batches.features[None, None, start : row + 1])[0, 0]
        torch.testing.assert_close(beliefs[seed, row], z, rtol=1e-4, atol=1e-5)
        loss = info_nce(method, seed, z, keys, task)
        assert gains[seed, row].item() == pytest.approx(previous - loss, abs=2e-4)
        previous = loss


def test_gains_of_an_episode_telescope(relabelled):
    """They add up to L_0 - L_T, whatever happened between."""
    method, batches, beliefs, gains = relabelled
    keys, offsets = method.task_keys(batches), batches.data.episode_offsets
    tasks = torch.as_tensor(np.repeat(np.arange(30), np.diff(batches.data.task_episodes)))
    last = method.guide.contrast.losses(beliefs[:, offsets[1:] - 1], keys, tasks).detach()
    sums = torch.stack([gains[:, a:b].sum(dim=1) for a, b in pairwise(offsets)], dim=1)
    torch.testing.assert_close(sums, math.log(30) - last, rtol=1e-3, atol=1e-4)
    assert sums.std() > 0.1


def test_without_the_regularisation_a_gain_is_that_of_the_similarity_to_the_own_task(relabelled, make):
    """The first term of eq. 14; with the second one it is the fall of the loss."""
    method, batches, beliefs, gains = relabelled
    other = make(UnregularisedExploration, width=16)
    other.build(SEEDS, method.scale)
    other.guide.load_state_dict(method.guide.state_dict())
    same, positive = other.relabel(batches)
    assert torch.equal(same, beliefs)
    start, stop = batches.data.episode_offsets[17:19]
    task = int(np.searchsorted(batches.data.task_episodes, 17, "right") - 1)
    for seed in range(2):
        weight, key = method.guide.contrast.similarity[seed].detach(), method.task_keys(batches)[seed, task]
        f = torch.cat([torch.zeros(1), beliefs[seed, start:stop] @ weight @ key])  # f(0, k) = 0
        torch.testing.assert_close(positive[seed, start:stop], f.diff(), rtol=1e-3, atol=2e-4)
    assert not torch.allclose(positive, gains, atol=0.01)


def test_relabelling_does_not_depend_on_how_many_episodes_are_done_at_once(relabelled, monkeypatch):
    method, batches, beliefs, gains = relabelled
    assert beliefs.shape == (2, len(batches.data.rewards), 7)
    monkeypatch.setattr(ccm_explore, "EPISODES_AT_ONCE", 41)
    for one, other in zip(method.relabel(batches), (beliefs, gains), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_keys_are_of_all_transitions_of_the_tasks(relabelled):
    method, batches, *_ = relabelled
    keys = method.task_keys(batches)
    assert keys.shape == (2, 30, 7)
    rows = slice(*batches.data.task_offsets[4:6])
    embedded = torch.tanh(method.guide.contrast.key(batches.features[None, rows].expand(2, -1, -1)))
    torch.testing.assert_close(keys[:, 4], embedded.mean(dim=1))


def test_belief_before_a_step_is_that_after_the_one_before_and_empty_at_the_start(relabelled):
    method, batches, beliefs, gains = relabelled
    method.beliefs, method.gains = beliefs, gains
    start = batches.data.episode_offsets[17]
    rows = np.array([[start, start + 1, start + 2], [0, 1, start]])
    before, after, gained = method.partial(batches, rows)
    assert not before[0, 0].any() and not before[1, 0].any() and not before[1, 2].any()
    assert torch.equal(before[0, 1:], beliefs[0, start : start + 2])
    assert torch.equal(before[1, 1], beliefs[1, 0])
    for seed in range(2):
        assert torch.equal(after[seed], beliefs[seed, rows[seed]])
        assert torch.equal(gained[seed], gains[seed, rows[seed]])


def test_explorer_learns_from_beliefs_and_from_rewards_with_the_weighted_gain(make, data_for, monkeypatch):
    """The executing agent's rewards have no intrinsic part, and the alternating agents see their own z."""
    data, seen, real = data_for(ContrastiveExploration), [], IQL.loss

    def loss(self, batch, z, next_z=None, policy_z=None):
        seen.append((self, batch, z, next_z))
        return real(self, batch, z, next_z, policy_z)

    monkeypatch.setattr(IQL, "loss", loss)
    drawn, sample = [], MetaDataset.sample_rows
    monkeypatch.setattr(MetaDataset, "sample_rows", lambda self, *args: drawn.append(sample(self, *args)) or drawn[-1])
    method = make(ContrastiveExploration, alpha=100.0)
    kept = {}
    relabel = method.relabel
    monkeypatch.setattr(method, "relabel", lambda batches: kept.setdefault("all", relabel(batches)))
    method.fit(data, Budget(2, 3), SEEDS, lambda stage, step, total: None)
    assert [backbone is method.explorer for backbone, *_ in seen] == [False, True] * 2
    beliefs, gains = kept["all"]
    for (backbone, batch, z, next_z), rows in zip(seen, drawn, strict=True):
        rows = rows.reshape(2, -1)
        plain = torch.as_tensor(data.rewards[rows]) / method.scale.learning_reward_std
        if backbone is method.backbone:
            torch.testing.assert_close(batch.rewards, plain)
            assert z.requires_grad
            continue
        each = torch.arange(2)[:, None]
        torch.testing.assert_close(batch.rewards, plain + 100 * gains[each, rows])
        assert not z.requires_grad
        assert torch.equal(next_z, beliefs[each, rows])
        assert not torch.equal(z, next_z)
    assert not hasattr(method, "beliefs")  # nothing of the data is kept


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_guide_is_the_encoder_as_pre_training_leaves_it(make, data_for):
    method, at = make(ContrastiveExploration), {}

    def log(stage, step, total):
        at[stage, step] = state(method.encoder)

    method.fit(data_for(ContrastiveExploration), Budget(3, 3), SEEDS, log)
    for name, tensor in method.guide.state_dict().items():
        assert torch.equal(tensor, at["representation", 3][name])
    assert any(not torch.equal(tensor, at["policy", 3][name]) for name, tensor in method.guide.state_dict().items())


@pytest.fixture(scope="module")
def trained(fit):
    return {cls: fit(cls, SEEDS, 6, 4) for cls in (ContrastiveExploration, ContrastiveValueRecovery)}


def test_executing_agent_is_that_of_ccm_rv(trained, act):
    """The exploration agent takes none of its random numbers."""
    for seed in SEEDS:
        np.testing.assert_allclose(
            act(trained[ContrastiveExploration], seed), act(trained[ContrastiveValueRecovery], seed), atol=1e-6
        )


@pytest.fixture
def turns(trained, contexts):
    """The policy of a seed, observations, and two steps to observe."""
    context, observations = contexts
    steps = [
        replace(
            context, **{name: value[:, n : n + 1] for name, value in vars(context).items() if name != "descriptors"}
        )
        for n in (3, 4)
    ]
    policy = trained[ContrastiveExploration].policy(1)
    policy.reset(8)
    return policy, observations, steps


def test_explorer_acts_on_what_was_observed_and_the_executor_from_the_next_episode_on(trained, turns):
    policy, observations, steps = turns
    method = trained[ContrastiveExploration]
    prior = {explore: policy.act(observations, explore) for explore in (False, True)}
    assert np.abs(prior[True] - prior[False]).max() > 1e-4
    for step in steps:
        policy.observe(step)
    exploring = policy.act(observations, explore=True)
    assert np.abs(exploring - prior[True]).max() > 1e-6
    np.testing.assert_array_equal(policy.act(observations), prior[False])
    policy.end_episode()
    executing = policy.act(observations)
    assert np.abs(executing - prior[False]).max() > 1e-6
    np.testing.assert_array_equal(policy.act(observations, explore=True), exploring)
    # each on the mean embedding by its own encoder
    features = torch.cat([method.scale.features(step) for step in steps], dim=1)[None]
    state = method.scale.observations(observations)[None]
    for backbone, encoder, actions in (
        (method.backbone, method.encoder, executing),
        (method.explorer, method.guide, exploring),
    ):
        z = take_seed(encoder, 1)(features)
        expected = backbone.actor(1)(state, z)[0] * method.space.action_limit
        np.testing.assert_allclose(actions, expected.numpy(), atol=1e-6)


def test_explorer_forgets_on_reset(turns):
    policy, observations, steps = turns
    prior = policy.act(observations, explore=True)
    policy.observe(steps[0])
    policy.end_episode()
    policy.reset(8)
    np.testing.assert_array_equal(policy.act(observations, explore=True), prior)
    policy.end_episode()
    policy.observe(steps[0])
    policy.observe(steps[1])
    together = policy.act(observations, explore=True)
    policy.reset(8)
    policy.observe(steps[1])
    policy.observe(steps[0])
    np.testing.assert_allclose(policy.act(observations, explore=True), together, atol=1e-6)  # order does not matter


def test_a_given_context_and_what_follows_are_one_belief(turns, contexts):
    policy, observations, steps = turns
    context = contexts[0]
    policy.condition(context)
    policy.observe(steps[0])
    policy.end_episode()
    longer = {
        name: np.concatenate([value, getattr(steps[0], name)], axis=1)
        for name, value in vars(context).items()
        if name != "descriptors"
    }
    actions = [policy.act(observations, explore) for explore in (False, True)]
    policy.condition(replace(context, **longer))
    for explore, expected in zip((False, True), actions, strict=True):
        np.testing.assert_allclose(policy.act(observations, explore), expected, atol=1e-6)
