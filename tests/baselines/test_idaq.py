"""IDAQ: which episodes it accepts, which z it tries, the order of its phases, and whose weights it has."""

import numpy as np
import pytest
import torch

from omrl_bench.api import Transitions
from omrl_bench.baselines.focal import Focal
from omrl_bench.baselines.idaq import (
    REFERENCE,
    IDAQFocal,
    IDAQPolicy,
    accepted,
    accepted_transitions,
    farthest,
)
from omrl_bench.registry import methods

from .conftest import BUILT_IN

HORIZON = 4


def context(returns, lengths=None):
    """Episodes of each lane with these returns, spread over their steps: (lanes, episodes)."""
    returns = np.asarray(returns, np.float32)
    lanes, count = returns.shape
    lengths = np.full((lanes, count), HORIZON) if lengths is None else np.asarray(lengths)
    valid = (np.arange(HORIZON) < lengths[..., None]).reshape(lanes, -1)
    rewards = np.repeat(returns / lengths, HORIZON, axis=1)  # padding has rewards too, which must not count
    nothing = np.zeros((lanes, count * HORIZON, 2), np.float32)
    return Transitions(nothing, nothing, rewards, nothing, np.zeros_like(valid), valid)


def episodes(transitions):
    """Which episodes are still valid."""
    return transitions.valid.reshape(len(transitions.valid), -1, HORIZON).any(axis=2).tolist()


def test_the_episodes_that_are_in_distribution_are_accepted():
    """A toy in which returns say who fits the task: 10 where the z was right, 0 to 3 where it was not."""
    returns = [[0, 10, 1, 10, 3, 10.5], [10, 10, 2, 0, 11, 9], [1, 2, 3, 1.5, 2, 10]]
    expected = [[False, True, True, True, True, True], [True, True, False, False, True, False], [0, 1, 1, 0, 1, 1]]
    found = accepted(-np.array(returns), reference=3, quantile=0.5)
    np.testing.assert_array_equal(found, np.array(expected, bool))
    strict = accepted(-np.array(returns), reference=3, quantile=0.0)
    right = np.array([[0, 1, 0, 1, 0, 1], [1, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1]], bool)
    np.testing.assert_array_equal(strict, right)


def test_the_threshold_is_that_of_the_reference_episodes_alone():
    q = np.random.default_rng(0).standard_normal((50, 3))
    first = accepted(q, 3, 0.5)
    assert (first.sum(axis=1) == 2).all()
    later = np.concatenate([q, np.random.default_rng(1).standard_normal((50, 9))], axis=1)
    np.testing.assert_array_equal(accepted(later, 3, 0.5)[:, :3], first)


def test_what_is_not_accepted_is_no_longer_valid_and_padding_counts_for_nothing():
    given = context([[1, 5, 3], [4, 4.5, 9]], lengths=[[4, 2, 1], [1, 4, 3]])
    assert episodes(accepted_transitions(given, HORIZON)) == [[False, True, True], [False, True, True]]
    kept = accepted_transitions(given, HORIZON).valid
    assert (kept <= given.valid).all() and kept[0].sum() == 3
    padded = context([[-5, 0], [-3, 0]], lengths=[[4, 1], [2, 1]])
    padded.valid[:, HORIZON:] = False  # an episode of padding is none, although its return is higher
    assert episodes(accepted_transitions(padded, HORIZON)) == [[True, False], [True, False]]
    one = context([[1], [2]])
    assert accepted_transitions(one, HORIZON) is one


def test_the_candidate_is_farthest_from_all_that_was_used():
    rng = np.random.default_rng(0)
    drawn, used = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((6, 5, 2), (6, 3, 2)))
    found = farthest(drawn, used)
    for lane in range(6):
        smallest = [min(float((z - u).norm()) for u in used[lane]) for z in drawn[lane]]
        assert torch.equal(found[lane], drawn[lane, int(np.argmax(smallest))])
    assert torch.equal(farthest(drawn, used[:, :0]), drawn[:, 0])


class Scale:
    """Everything as it is."""

    action_limit = 1.0

    def observations(self, observations):
        return torch.as_tensor(observations)


@pytest.fixture
def policy():
    candidates = torch.arange(20.0)[:, None]

    def infer(given):
        assert given.valid.any(axis=1).all()
        return torch.as_tensor(-given.valid.sum(axis=1, keepdims=True)).float()  # negative: inferred

    return IDAQPolicy(lambda observations, z: z, infer, candidates, Scale(), HORIZON, seed=1)


def z_of(policy):
    return policy.act(np.zeros((2, 2), np.float32))[:, 0]


def test_reference_episodes_come_first_and_then_the_accepted_ones(policy):
    """As in `zero-shot`: the lane's own history before every episode but the first."""
    policy.reset(2)
    tried, returns = [], [[1, 5], [5, 1], [3, 3], [9, 0], [0, 9]]
    for played in range(5):
        if played:
            policy.condition(context(np.array(returns[:played]).T))
        z = z_of(policy)
        if played < REFERENCE:
            assert (z >= 0).all()
            tried.append(z)
        else:
            kept = np.sum(np.array(returns[:played]) >= 3, axis=0)
            np.testing.assert_array_equal(z, -HORIZON * kept)
        policy.end_episode()
    assert all(len(set(lane)) == REFERENCE for lane in np.array(tried).T)  # another one in every episode
    policy.reset(2)
    np.testing.assert_array_equal(z_of(policy), tried[0])


def test_a_fresh_policy_executes_with_what_was_explored(policy):
    policy.reset(2)
    policy.condition(context([[1, 5], [5, 1]]))  # two episodes: the better one
    np.testing.assert_array_equal(z_of(policy), [-HORIZON, -HORIZON])


@pytest.mark.parametrize("name", ["idaq-focal", "idaq-csro", "idaq-unicorn"])
def test_the_training_is_that_of_the_encoders_row(name, fit, make, act, tmp_path):
    """The same weights, bit by bit; what that row has saved can be loaded; a given context gives the same actions."""
    cls = BUILT_IN[name]
    assert cls.trained_as in methods()
    other = fit(BUILT_IN[cls.trained_as], (0, 1), 3, 3)
    own = fit(cls, (0, 1), 3, 3)
    for module, parameters in other.modules().items():
        for key, value in parameters.state_dict().items():
            assert torch.equal(value, own.modules()[module].state_dict()[key]), key
    other.save(tmp_path)
    loaded = make(cls)
    loaded.load(tmp_path)
    np.testing.assert_allclose(act(loaded, 1), act(other, 1), atol=1e-6)
    assert dict(own.configuration()) == dict(other.configuration())


def test_candidates_are_representations_of_training_contexts(fit):
    trained = fit(IDAQFocal, (3,), 3, 3)
    policy = trained.policy(3)
    policy.reset(4)
    known = trained.tried.z[0]
    assert all((known == z).all(dim=1).any() for z in torch.as_tensor(policy.representation()))
    assert isinstance(trained, Focal)
