"""Small real data of point-goal, and methods trained on it for a moment."""

from dataclasses import fields, replace
from importlib import import_module

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget, Setup, TaskSpace
from omrl_bench.baselines.conditioned import Conditioned
from omrl_bench.baselines.controls import Untrained
from omrl_bench.data.build import collect
from omrl_bench.data.contexts import draw_contexts, gather
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.families import get_family
from omrl_bench.registry import BASELINES, backbones, methods

from .backbone_cases import B, R, Z, random, random_batch

torch.set_num_threads(1)

SMALL = {"width": 32}  # where a method has such a hyper-parameter
SMALL_BACKBONE = {"backbone.width": 32, "backbone.batch": 64}
ON_EVERY_BACKBONE = ("task-blind", "focal", "pearl")


def method_named(name):
    """Import the class of a built-in method."""
    module, cls = methods()[name].split(":")
    return getattr(import_module(module), cls)


BUILT_IN = {name: method_named(name) for name, target in methods().items() if target.startswith(f"{BASELINES}.")}
TRAINED = sorted(name for name, cls in BUILT_IN.items() if not issubclass(cls, Untrained))
CASES = [(name, "iql") for name in TRAINED]
CASES += [(name, backbone) for backbone in sorted(backbones()) if backbone != "iql" for name in ON_EVERY_BACKBONE]


def has_backbone(cls):
    """Whether a method learns its policy with a backbone; a sequence model has none."""
    return issubclass(cls, Conditioned)


def _ignore(stage, step, total, seeds=None):
    pass


@pytest.fixture(scope="session")
def family():
    return get_family("point-goal")


@pytest.fixture(scope="session")
def space(family):
    return TaskSpace(family.name, 2, 2, family.action_limit, family.horizon, 2)


@pytest.fixture(scope="session")
def episodes(family):
    return collect(family, "mixed", threads=1, episodes=10).episodes


@pytest.fixture(scope="session")
def ragged(episodes):
    """The same episodes, each cut to a length of its own between 3 and 60; the cut ones end in a terminal state."""
    lengths = np.random.default_rng(0).integers(3, 61, len(episodes.tasks))
    horizon = int(episodes.offsets[1])
    kept = np.arange(horizon) < lengths[:, None]
    last = np.arange(horizon) == lengths[:, None] - 1
    rows = kept.reshape(-1)
    return replace(
        episodes,
        observations=episodes.observations[rows],
        actions=episodes.actions[rows],
        rewards=episodes.rewards[rows],
        next_observations=episodes.next_observations[rows],
        terminated=(last & (lengths < horizon)[:, None]).reshape(-1)[rows],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
    )


@pytest.fixture(scope="session")
def data_for(family, episodes):
    """Training data with just the privileges that a class declares."""
    return lambda cls: MetaDataset(family, episodes, cls.requires.privileges)


@pytest.fixture(scope="session")
def make(space):
    """A method that is not trained yet, small unless told otherwise; `backbone_x` is the setting `backbone.x`."""

    def construct(cls, preset="quick", backbone="iql", **settings):
        small = {field.name: SMALL[field.name] for field in fields(cls.Config) if field.name in SMALL}
        named = {name.replace("backbone_", "backbone.", 1): value for name, value in settings.items()}
        if has_backbone(cls):
            return cls(space, Setup(preset, backbone, {**SMALL_BACKBONE, **small, **named}))
        own = {name: value for name, value in named.items() if not name.startswith("backbone.")}
        return cls(space, Setup(preset, backbone, {**small, **own}))

    return construct


@pytest.fixture(scope="session")
def fit(make, data_for):
    """A method after a few updates."""

    def run(cls, seeds=(3, 5, 11), updates=30, encoder_updates=30, log=_ignore, data=None, **settings):
        method = make(cls, **settings)
        method.fit(data or data_for(cls), Budget(updates, encoder_updates), seeds, log)
        return method

    return run


@pytest.fixture(scope="session")
def contexts(family, episodes):
    """Contexts of 8 test tasks (descriptors included), and observations to act on."""
    tasks = family.tasks().ids("test")[:8]
    draws = draw_contexts(family, "mixed", episodes).draws["high", "episode"][tasks, 0]
    context = gather(episodes, draws, family.tasks().descriptors[tasks].astype(np.float32))
    observations = np.random.default_rng(1).uniform(-1, 1, (8, 2)).astype(np.float32)
    return context, observations


@pytest.fixture(scope="session")
def act(contexts):
    """Actions of a seed's policy in the contexts."""
    context, observations = contexts

    def run(method, seed):
        policy = method.policy(seed)
        policy.reset(len(observations))
        policy.condition(context)
        return policy.act(observations)

    return run


@pytest.fixture(scope="session", params=CASES, ids=lambda case: "-".join(case))
def case(request):
    """Each method that is trained, on iql, and a few on every other backbone: the class and the backbone's name."""
    name, backbone = request.param
    return BUILT_IN[name], backbone


@pytest.fixture
def batch():
    """Transitions for the losses of a backbone."""
    return random_batch()


@pytest.fixture
def z():
    """A representation of each of them."""
    return random(R, B, Z, seed=5)
