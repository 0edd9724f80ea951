"""What acts before a context: representations of training contexts in turn, or z = 0."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from omrl_bench.api import Transitions
from omrl_bench.baselines.encoded import TRIED, TrainingRepresentations
from omrl_bench.baselines.focal import Focal
from omrl_bench.baselines.pearl import Pearl
from omrl_bench.baselines.policies import REDRAW, ContextPolicy, MeanPolicy, Prior

from .conftest import BUILT_IN

LANES = 40


@pytest.fixture
def scale():
    return SimpleNamespace(
        observations=torch.as_tensor,
        features=lambda context: torch.as_tensor(context.rewards)[..., None],
        action_limit=1.0,
    )


def actor(observations, z):
    """The action shows z."""
    return z


def context(rewards, valid=None):
    rewards = np.asarray(rewards, np.float32)
    empty = np.zeros((*rewards.shape, 2), np.float32)
    valid = np.ones(rewards.shape, bool) if valid is None else valid
    return Transitions(empty, empty, rewards, empty, np.zeros(rewards.shape, bool), valid)


def played(policy, steps):
    """What the policy acts on at each step, (steps, lanes)."""
    return np.stack([policy.act(np.zeros((LANES, 2), np.float32))[:, 0].copy() for _ in range(steps)])


def test_z_is_drawn_anew_for_each_lane_every_few_steps(scale):
    policy = ContextPolicy(
        actor, lambda context: torch.full((LANES, 1), 7.0), Prior(torch.arange(5.0)[:, None], 3), scale
    )
    policy.reset(LANES)
    z = played(policy, 4 * REDRAW).reshape(4, REDRAW, LANES)
    assert (z == z[:, :1]).all()  # it stays for a few steps
    draws = z[:, 0]
    assert set(np.unique(draws)) == set(range(5))
    assert all(len(np.unique(each)) > 2 for each in draws)  # not the same in all lanes
    assert all((before != after).mean() > 0.5 for before, after in pairwise(draws))
    policy.condition(context(np.zeros((LANES, 1))))
    assert (played(policy, 2 * REDRAW) == 7).all()  # from then on the task is known
    policy.reset(LANES)
    np.testing.assert_array_equal(played(policy, 4 * REDRAW).reshape(z.shape), z)


def test_a_lane_that_has_seen_nothing_stays_with_the_prior(scale):
    """A mean over nothing is no z; the other lanes act on theirs."""
    policy = MeanPolicy(actor, lambda features: features, Prior(torch.tensor([[5.0], [6.0]]), 0), scale)
    policy.reset(LANES)
    assert set(np.unique(played(policy, 1))) == {5, 6}
    valid = np.ones((LANES, 3), bool)
    valid[::2] = False
    policy.condition(context(np.full((LANES, 3), 2.0), valid))
    z = played(policy, 2 * REDRAW)
    assert (z[:, 1::2] == 2).all() and set(np.unique(z[:, ::2])) == {5, 6}


def test_what_is_taken_in_counts_when_the_policy_is_told_to_update(scale):
    policy = MeanPolicy(actor, lambda features: features, Prior.zero(1), scale)
    policy.reset(LANES)
    policy.take(context(np.full((LANES, 1), 4.0)))
    assert (played(policy, 2 * REDRAW) == 0).all()
    policy.update()
    assert (played(policy, 1) == 4).all()


@pytest.mark.parametrize("count", [1, 10, 64, 1350])
def test_representations_of_all_tasks_are_kept(count):
    kept = TrainingRepresentations(2, 3)
    z = torch.arange(float(count))[None, :, None].expand(2, -1, 3)
    kept.keep(z.clone().requires_grad_())
    assert kept.z.shape == (2, TRIED, 3) and not kept.z.requires_grad
    found = kept.z[0, :, 0]
    assert len(found.unique()) == min(count, TRIED)
    assert found[0] == 0 and found[-1] == count - 1 and (found.diff() >= 0).all()


@pytest.mark.parametrize("method", ["focal", "gentle", "ccm-rv", "csro"])
def test_the_prior_is_what_the_policy_was_trained_on_and_is_saved(method, fit, make, tmp_path):
    cls = BUILT_IN[method]
    trained = fit(cls)
    prior = trained.prior(1)
    assert prior.seed == trained.seeds[1]
    assert prior.candidates.shape == (TRIED, trained.z_size) and prior.candidates.std(dim=0).max() > 0
    trained.save(tmp_path)
    loaded = make(cls)
    loaded.load(tmp_path)
    assert torch.equal(loaded.prior(1).candidates, prior.candidates)


def test_z_0_is_the_papers_variant_and_pearls_own(make, fit):
    zero = fit(Focal, prior="zero")
    assert torch.equal(zero.prior(0).candidates, torch.zeros(1, zero.z_size))
    policy = zero.policy(3)
    policy.reset(4)
    assert not policy.representation().any()
    assert make(Pearl).config.prior == "zero" and make(Focal).config.prior == "redrawn"
    with pytest.raises(ValueError, match="prior 'none': there are redrawn, zero"):
        make(Focal, prior="none")
