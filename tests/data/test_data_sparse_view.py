"""Sparse rewards for contexts only."""

import numpy as np
import pytest

from omrl_bench.data.contexts import gather, sparse_view
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.errors import InputError


@pytest.mark.parametrize("rho", [-0.1, 3.0])
def test_the_rule_of_focal_plus_plus(rho):
    rewards = np.linspace(-5, 5, 101, dtype=np.float32)

    view = sparse_view(rewards, rho)

    for reward, seen in zip(rewards.tolist(), view.tolist(), strict=True):
        assert seen == pytest.approx((reward - rho) / abs(rho) if reward > rho else 0.0, rel=1e-5, abs=1e-6)
    assert view.dtype == np.float32
    assert 0 < (view == 0).sum() < view.size


def test_zero_is_no_threshold():
    with pytest.raises(InputError, match="rho cannot be 0"):
        sparse_view(np.zeros(2), 0.0)


def test_only_contexts_see_it(point, small):
    dense, sparse = MetaDataset(point, small), MetaDataset(point, small, rho=-0.5)

    assert dense.context_rewards is dense.rewards
    np.testing.assert_array_equal(sparse.rewards, dense.rewards)
    np.testing.assert_array_equal(sparse.context_rewards, sparse_view(dense.rewards, -0.5))
    assert (sparse.context_rewards != dense.rewards).any()


def test_given_contexts(small):
    context, viewed = (gather(small, np.array([0, 5]), rho=rho) for rho in (None, -0.5))

    np.testing.assert_array_equal(viewed.rewards, sparse_view(context.rewards, -0.5))
    np.testing.assert_array_equal(viewed.observations, context.observations)
