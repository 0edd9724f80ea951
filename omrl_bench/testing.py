"""Checks of an adapter, for ``omrl-bench smoke`` and for the tests of other packages."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from omrl_bench.api import Algorithm, Budget, MetaPolicy, Setup, Transitions
from omrl_bench.data.build import collect
from omrl_bench.data.contexts import draw_contexts, gather
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.families import Family, get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.rollout import PolicyError
from omrl_bench.referee import returned
from omrl_bench.referee.declared import Declared, checked, described
from omrl_bench.referee.lanes import taken

EPISODES = 10  # per task, of the real `mixed` behaviour
BUDGET = Budget(updates=20, encoder_updates=20)
SEEDS = (3, 7)
LANES = 6

Result = TypeVar("Result")


class AdapterError(Exception):
    """What is wrong with an adapter, in words."""


@dataclass
class _Trial:
    """An adapter, real data, and what earlier checks have trained."""

    cls: type[Algorithm]
    declared: Declared
    backbone: str
    family: Family

    def __post_init__(self) -> None:
        self.episodes: Episodes = collect(self.family, "mixed", threads=1, episodes=EPISODES).episodes
        draws = draw_contexts(self.family, "mixed", self.episodes).draws["high", "episode"]
        tasks = self.family.tasks().ids("validation")[:LANES]
        told = "descriptors" in self.declared.privileges
        descriptors = self.family.tasks().descriptors[tasks].astype(np.float32) if told else None
        self.context = gather(self.episodes, draws[tasks, 0], descriptors)
        self.observations = np.random.default_rng(0).uniform(-1, 1, (LANES, 2)).astype(np.float32)

    def make(self) -> Algorithm:
        return self.cls(self.family.space(), Setup("quick", self.backbone))

    def fit(self) -> Algorithm:
        algorithm = self.make()
        data = MetaDataset(self.family, self.episodes, self.declared.privileges)

        def log(stage: str, step: int, total: int, seeds: Sequence[int] | None = None) -> None:
            if stage == "policy" and step == total:  # as the harness does for the learning curve
                for seed in SEEDS if seeds is None else seeds:
                    self.actions(_call(f"policy({seed}) inside log", partial(algorithm.policy, seed)))

        algorithm.fit(data, BUDGET, SEEDS, log)
        return algorithm

    def actions(self, policy: MetaPolicy, lanes: np.ndarray | None = None) -> np.ndarray:
        """Two steps of a conditioned policy in some of the lanes, all if none are given: (2, lanes, action size)."""
        lanes = np.arange(LANES) if lanes is None else lanes
        observations, context = self.observations[lanes], taken(self.context, lanes)
        policy.reset(len(lanes))
        policy.condition(context)
        acted = []
        for _ in range(2):
            actions = policy.act(observations)
            self._check_actions(actions, len(lanes))
            acted.append(actions)
            policy.observe(_transition(observations, actions, context))
        policy.end_episode()
        return np.stack(acted)

    def _check_actions(self, actions: np.ndarray, lanes: int) -> None:
        expected = (lanes, self.family.action_size)
        if not isinstance(actions, np.ndarray):
            raise AdapterError(f"act returned a {type(actions).__name__}; return a NumPy array of shape {expected}")
        if actions.shape != expected:
            raise AdapterError(f"act returned shape {actions.shape} for {lanes} lanes; expected {expected}")
        if actions.dtype.kind not in "fiu":
            raise AdapterError(f"act returned numbers of type {actions.dtype.name}; return real numbers")
        if not np.isfinite(actions).all():
            raise AdapterError("act returned NaN or infinity")
        excess = float(np.abs(actions).max()) / self.family.action_limit
        if excess > 1 + 1e-5:
            raise AdapterError(
                f"an action is {excess:.3g} times the limit space.action_limit = {self.family.action_limit}; "
                "the environment would clip it"
            )


def check_adapter(
    cls: type[Algorithm], backbone: str = "iql", passed: Callable[[str], None] = lambda text: None
) -> None:
    """Check an adapter on a small real dataset, in seconds.

    Args:
        cls: The adapter.
        backbone: Backbone to build it with.
        passed: Called with the name of each check that passes.

    Raises:
        AdapterError: what is wrong first, in words; an exception of the adapter is its cause.
    """
    family = get_family("point-goal")
    declared = _check_declared(cls, lambda: cls(family.space(), Setup("quick", backbone)))
    passed("declares what it needs")
    trial = _Trial(cls, declared, backbone, family)
    first = _without_global_randomness("fit", lambda: _call("fit", trial.fit))
    passed("trains on the training tasks, without global random state")
    policies = [_call(f"policy({seed})", partial(first.policy, seed)) for seed in SEEDS]
    acted = [
        _without_global_randomness("act", partial(_call, "the policy", partial(trial.actions, policy)))
        for policy in policies
    ]
    passed("acts: right shape, finite, within the limits")
    again = _call("the policy", lambda: trial.actions(policies[0]))
    _same(
        acted[0],
        again,
        "after reset, the same policy in the same context acts differently: reset must forget all, and randomness must "
        "start again from the policy's seed",
    )
    passed("forgets on reset")
    _check_independence(trial, policies[0], acted[0])
    passed("lanes do not depend on each other")
    _check_measured(first, policies[0], trial)
    second = _call("fit", trial.fit)
    _same(acted[0], trial.actions(second.policy(SEEDS[0])), "two fits with the same seed act differently")
    passed("same seed, same actions")
    passed(_check_saving(trial, first, acted))


def _check_declared(cls: type[Algorithm], make: Callable[[], Algorithm]) -> Declared:
    """As a run does, see :mod:`omrl_bench.referee.declared`."""
    try:
        return checked(cls.__name__, _call("configuration", lambda: described(cls, make())))
    except InputError as error:
        raise AdapterError(str(error)) from error


def _check_independence(trial: _Trial, policy: MetaPolicy, acted: np.ndarray) -> None:
    """Whether lanes act alone, and in another order, as among all."""
    if _is_random(trial, policy):
        return  # there is nothing to compare: a run asks whether the difference is chance
    every = np.arange(LANES)
    orders = {
        "in another order of the lanes": every[::-1],
        "without the other lanes": every[: LANES // 2],
        "as a lane alone": every[-1:],
    }
    for how, lanes in orders.items():
        again = _call("the policy", partial(trial.actions, policy, lanes))
        _same(
            acted[:, lanes],
            again,
            f"the policy acts differently {how}: a lane is an episode of its own, and must not depend on others",
        )


def _check_measured(algorithm: Algorithm, policy: MetaPolicy, trial: _Trial) -> None:
    """What a record holds beside returns: as a run does, see :mod:`omrl_bench.referee.returned`."""
    name = type(algorithm).__name__
    trial.actions(policy)
    values: dict[str, Any] = {
        "representation": _call("representation", policy.representation),
        "attention": _call("attention_weights", partial(algorithm.attention_weights, SEEDS[0], trial.context)),
        "count": _call("parameter_count", algorithm.parameter_count),
    }
    shape = trial.context.valid.shape
    try:
        returned.representation(*returned.array_or_words(values["representation"]), name, LANES)
        returned.attention(*returned.array_or_words(values["attention"]), name, shape)
        returned.parameter_count(values["count"], type(values["count"]).__name__, name)
    except PolicyError as error:
        raise AdapterError(str(error)) from error


def _is_random(trial: _Trial, policy: MetaPolicy) -> bool:
    """Whether two lanes that see the same act differently: then a lane is compared with nothing."""
    same = trial.actions(policy, np.zeros(LANES, int))
    return not np.allclose(same, same[:, :1], rtol=1e-5, atol=1e-6)


def _check_saving(trial: _Trial, fitted: Algorithm, acted: Sequence[np.ndarray]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        _call("save", lambda: fitted.save(Path(folder)))
        restored = trial.make()
        if "behaviour" in trial.declared.privileges:
            return "saves (loading is not checked: the behaviour policies come from fit)"
        _call("load", lambda: restored.load(Path(folder)))
        for seed, actions in zip(SEEDS, acted, strict=True):
            policy = _call(f"policy({seed}) after load", partial(restored.policy, seed))
            loaded = _call("the loaded policy", partial(trial.actions, policy))
            _same(actions, loaded, f"the policy of seed {seed} acts differently after save and load")
    return "save and load give the same actions"


def _without_global_randomness(what: str, call: Callable[[], Result]) -> Result:
    import torch

    def state() -> tuple[object, ...]:
        generator = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  (the check that nobody uses it)
        return random.getstate(), (generator["key"].tobytes(), generator["pos"]), bytes(torch.get_rng_state().numpy())

    before = state()
    result = call()
    for name, old, new in zip(("random", "np.random", "torch"), before, state(), strict=True):
        if old != new:
            raise AdapterError(f"{what} used the global generator of `{name}`; use a generator of your own, per seed")
    return result


def _call(what: str, call: Callable[[], Result]) -> Result:
    try:
        return call()
    except AdapterError:
        raise
    except (Exception, SystemExit) as error:
        raise AdapterError(f"{what} raised {type(error).__name__}: {error}") from error


def _same(expected: np.ndarray, actual: np.ndarray, otherwise: str) -> None:
    if not np.allclose(expected, actual, rtol=1e-5, atol=1e-6):
        raise AdapterError(otherwise)


def _transition(observations: np.ndarray, actions: np.ndarray, context: Transitions) -> Transitions:
    lanes = len(observations)
    return Transitions(
        observations=observations[:, None],
        actions=actions[:, None].astype(np.float32),
        rewards=np.zeros((lanes, 1), np.float32),
        next_observations=(observations + actions)[:, None].astype(np.float32),
        terminated=np.zeros((lanes, 1), bool),
        valid=np.ones((lanes, 1), bool),
        descriptors=context.descriptors,
    )
