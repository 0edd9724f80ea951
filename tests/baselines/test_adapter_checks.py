"""check_adapter: every built-in method passes, and each kind of broken adapter gets its own message."""

import json
import random
import time
from importlib import import_module

import numpy as np
import pytest
import torch

from omrl_bench.api import PRIVILEGES, Algorithm, MetaPolicy, Requirements
from omrl_bench.registry import methods
from omrl_bench.testing import AdapterError, check_adapter

CHECKS = [
    "declares what it needs",
    "trains on the training tasks, without global random state",
    "acts: right shape, finite, within the limits",
    "forgets on reset",
    "lanes do not depend on each other",
    "same seed, same actions",
    "save and load give the same actions",
]


def load(target):
    module, name = target.split(":")
    return getattr(import_module(module), name)


BUILT_IN = {name: load(target) for name, target in methods().items() if target.startswith("omrl_bench.")}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_methods_pass(name):
    passed = []
    check_adapter(BUILT_IN[name], passed=passed.append)
    if name in ("behaviour", "sweep"):  # what they act with comes from fit
        assert passed == [*CHECKS[:-1], "saves (loading is not checked: the behaviour policies come from fit)"]
    else:
        assert passed == CHECKS


def test_all_methods_are_there():
    expected = {"random", "behaviour", "task-blind", "oracle", "focal", "pearl", "hs-scl", "hs-hard"}
    assert expected <= set(BUILT_IN)


class LinearPolicy(MetaPolicy):
    """Actions that depend on the observation, on the context and on what was observed since the reset."""

    def __init__(self, weight, limit):
        self.weight, self.limit = weight, limit

    def reset(self, lanes):
        self.belief = np.zeros((lanes, 2))

    def condition(self, context):
        self.belief = self.belief + context.rewards.mean(axis=1, keepdims=True)

    def act(self, observations, explore=False):
        return (self.limit * np.tanh((observations + self.belief) @ self.weight)).astype(np.float32)

    def observe(self, transitions):
        self.belief = self.belief + transitions.actions[:, 0]


class Good(Algorithm):
    """A minimal adapter, NumPy only, one seed at a time."""

    Policy = LinearPolicy

    def fit(self, data, budget, seeds, log):
        self.weights = {seed: self.train(data, np.random.default_rng(seed)) for seed in seeds}

    def train(self, data, rng):
        rows = data.sample_rows([rng], np.zeros((1, 1), int), 16)[0, 0]
        return data.observations[rows].T @ data.actions[rows] + rng.normal(size=(2, 2))

    def policy(self, seed):
        return self.Policy(self.weights[seed], self.space.action_limit)

    def save(self, folder):
        weights = {seed: weight.tolist() for seed, weight in self.weights.items()}
        (folder / "weights.json").write_text(json.dumps(weights))

    def load(self, folder):
        weights = json.loads((folder / "weights.json").read_text())
        self.weights = {int(seed): np.array(weight) for seed, weight in weights.items()}


def with_policy(**methods):
    """The good adapter with another policy."""
    return type("Adapter", (Good,), {"Policy": type("Policy", (LinearPolicy,), methods)})


def with_methods(**methods):
    """The good adapter with other methods."""
    return type("Adapter", (Good,), methods)


def failure(cls):
    """The checks that an adapter passes, and the message of the one that it does not."""
    passed = []
    with pytest.raises(AdapterError) as caught:
        check_adapter(cls, passed=passed.append)
    return passed, str(caught.value)


def good_act(self, observations):
    return LinearPolicy.act(self, observations)


def test_a_minimal_adapter_passes():
    passed = []
    check_adapter(Good, passed=passed.append)
    assert passed == CHECKS


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda: np.random.rand(), "np.random"),  # noqa: NPY002
        (lambda: np.random.seed(time.perf_counter_ns() % 2**32), "np.random"),  # noqa: NPY002
        (lambda: torch.rand(1), "torch"),
        (lambda: torch.manual_seed(time.perf_counter_ns()), "torch"),
        (lambda: random.random(), "random"),
    ],
    ids=["np.random.rand", "np.random.seed", "torch.rand", "torch.manual_seed", "random.random"],
)
def test_global_generators(draw, name):
    def fit(self, data, budget, seeds, log):
        draw()
        Good.fit(self, data, budget, seeds, log)

    def act(self, observations, explore=False):
        draw()
        return good_act(self, observations)

    def init(self, space, setup):
        draw()
        Good.__init__(self, space, setup)

    expected = f"used the global generator of `{name}`; use a generator of your own, per seed"
    assert failure(with_methods(fit=fit)) == (CHECKS[:1], f"fit {expected}")
    assert failure(with_methods(__init__=init)) == (CHECKS[:1], f"fit {expected}")
    assert failure(with_policy(act=act)) == (CHECKS[:2], f"act {expected}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda actions: actions[:, :1], "act returned shape (6, 1) for 6 lanes; expected (6, 2)"),
        (lambda actions: actions[0], "act returned shape (2,) for 6 lanes; expected (6, 2)"),
        (torch.from_numpy, "act returned a Tensor; return a NumPy array of shape (6, 2)"),
        (list, "act returned a list; return a NumPy array of shape (6, 2)"),
        (lambda actions: actions * np.nan, "act returned NaN or infinity"),
        (lambda actions: actions + np.array([0, np.inf]), "act returned NaN or infinity"),
        (
            lambda actions: np.full_like(actions, 0.25),
            "an action is 2.5 times the limit space.action_limit = 0.1; the environment would clip it",
        ),
    ],
    ids=["too narrow", "no lanes", "tensor", "list", "nan", "infinity", "beyond the limit"],
)
def test_wrong_actions(change, message):
    adapter = with_policy(act=lambda self, observations, explore=False: change(good_act(self, observations)))
    assert failure(adapter) == (CHECKS[:2], message)


def test_actions_at_the_limit_pass():
    check_adapter(
        with_policy(act=lambda self, observations, explore=False: np.full((len(observations), 2), -0.1, np.float32))
    )


def test_state_that_outlives_the_reset():
    def reset(self, lanes):
        self.belief = getattr(self, "belief", np.zeros((lanes, 2)))

    passed, message = failure(with_policy(reset=reset))
    assert passed == CHECKS[:3]
    assert message.startswith("after reset, the same policy in the same context acts differently")


def test_actions_that_are_drawn_anew():
    def act(self, observations, explore=False):
        return np.random.default_rng().uniform(-0.1, 0.1, (len(observations), 2))

    passed, message = failure(with_policy(act=act))
    assert passed == CHECKS[:3]
    assert "the same policy in the same context acts differently" in message


def test_a_fit_that_is_not_reproducible():
    def train(self, data, rng):
        return Good.train(self, data, np.random.default_rng(time.perf_counter_ns()))

    assert failure(with_methods(train=train)) == (CHECKS[:5], "two fits with the same seed act differently")


def test_a_load_that_does_not_restore():
    def load(self, folder):
        Good.load(self, folder)
        self.weights[7] = self.weights[3]

    message = "the policy of seed 7 acts differently after save and load"
    assert failure(with_methods(load=load)) == (CHECKS[:6], message)


def test_a_load_that_forgets():
    passed, message = failure(with_methods(load=lambda self, folder: None))
    assert passed == CHECKS[:6]
    assert message.startswith("policy(3) after load raised AttributeError")


def test_an_unknown_privilege():
    adapter = with_methods(requires=Requirements(privileges=frozenset({"descriptors", "oracle"})))
    known = ", ".join(sorted(PRIVILEGES))
    assert failure(adapter) == ([], f"{adapter.__name__}.requires: unknown privilege 'oracle'; known: {known}")


def test_requirements_of_the_wrong_type():
    adapter = with_methods(requires={"privileges": ["descriptors"]})
    message = f"{adapter.__name__}.requires is a dict; expected an omrl_bench.api.Requirements"
    assert failure(adapter) == ([], message)


@pytest.mark.parametrize("privilege", ["descriptors", "behaviour"])
def test_a_privilege_that_is_not_declared(privilege):
    def train(self, data, rng):
        getattr(data, privilege)
        return Good.train(self, data, rng)

    passed, message = failure(with_methods(train=train))
    assert passed == CHECKS[:1]
    assert message.startswith(f"fit raised PrivilegeError: the method reads '{privilege}' without declaring it")
    check_adapter(with_methods(train=train, requires=Requirements(privileges=frozenset({privilege}))))


def test_descriptors_in_the_context_are_for_those_who_declare_them():
    def condition(self, context):
        self.belief = self.belief + context.descriptors

    policy = type("Policy", (LinearPolicy,), {"condition": condition})
    passed, message = failure(with_methods(Policy=policy))
    assert passed == CHECKS[:2]
    assert message.startswith("the policy raised TypeError")
    check_adapter(with_methods(Policy=policy, requires=Requirements(privileges=frozenset({"descriptors"}))))


def test_an_exception_is_told_with_its_place_and_kept_as_the_cause():
    def fit(self, data, budget, seeds, log):
        raise KeyError("weights")

    with pytest.raises(AdapterError, match="fit raised KeyError: 'weights'") as caught:
        check_adapter(with_methods(fit=fit))
    assert isinstance(caught.value.__cause__, KeyError)
