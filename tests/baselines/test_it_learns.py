"""A short training on point-goal is enough to tell tasks apart and to act on it: a few methods; by hand (slow), all."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget
from omrl_bench.baselines.controls import Oracle, TaskBlind
from omrl_bench.baselines.focal import Focal
from omrl_bench.baselines.hs_omrl import HardSampling
from omrl_bench.data.contexts import draw_contexts, gather
from omrl_bench.data.manifest import read_manifest
from omrl_bench.protocols.given_context import GivenContext
from omrl_bench.protocols.rollout import Rollout

from .conftest import BUILT_IN, TRAINED


def evaluate(policy, rollout, context):
    """The returns under one condition, with this context."""
    protocol = GivenContext(kind="given-context")
    (played,) = protocol.evaluate(lambda: policy, rollout, protocol.conditions(["high"]), lambda condition: context)
    return played.returns


SEEDS = (0, 1)
DRAWS = 3
BUDGETS = {TaskBlind: (500, 0), Oracle: (400, 0), Focal: (600, 300), HardSampling: (1, 150)}  # policy, encoder


@pytest.fixture(scope="module")
def learnt(fit):
    """A method trained long enough, once; of HS-OMRL only the encoder."""
    done = {}

    def get(cls):
        if cls not in done:
            updates, encoder_updates = BUDGETS[cls]
            wide = {"width": 64} if hasattr(cls.Config, "width") else {}
            done[cls] = fit(cls, SEEDS, updates, encoder_updates, **wide, backbone_width=64, backbone_batch=256)
        return done[cls]

    return get


@pytest.fixture(scope="module")
def score(learnt, family, episodes):
    """Mean score of each seed on the test tasks, with contexts of one quality."""
    manifest, tasks = read_manifest(family), family.tasks().ids("test")
    floor, ceiling = np.array(manifest.random)[tasks, None], np.array(manifest.expert)[tasks, None]
    contexts = draw_contexts(family, "mixed", episodes).draws

    def run(cls, quality):
        lanes = np.repeat(tasks, DRAWS)
        told = family.tasks().descriptors[lanes].astype(np.float32)
        context = gather(episodes, contexts[quality, "episode"][tasks, :DRAWS].reshape(-1), told)
        lanes = {seed: Rollout(family, tasks, DRAWS, seed, 1, context.descriptors) for seed in SEEDS}
        returns = [evaluate(learnt(cls).policy(seed), lanes[seed], context) for seed in SEEDS]
        return [float((100 * (r - floor) / (ceiling - floor)).mean()) for r in returns]

    return run


def test_focal_with_good_contexts_beats_the_blind_by_far(score):
    focal, blind = score(Focal, "high"), score(TaskBlind, "high")
    assert min(focal) > 40
    assert max(blind) < 15
    assert min(focal) - max(blind) > 40


def test_oracle_comes_near_the_expert(score):
    assert min(score(Oracle, "high")) > 70


def test_focal_loses_with_bad_contexts(score):
    assert max(score(Focal, "low")) < min(score(Focal, "high")) - 15


def two_tasks(family, episodes):
    """Contexts of two opposite test tasks, made by good behaviour, and which pairs of them are of the same one."""
    goals, tasks = family.tasks().descriptors, family.tasks().ids("test")
    opposite = tasks[np.argmin(goals[tasks] @ goals[tasks[0]])]
    numbers = np.concatenate(
        [np.flatnonzero((episodes.tasks == t) & (episodes.behaviours >= 7)) for t in (tasks[0], opposite)]
    )
    return gather(episodes, numbers), np.equal.outer([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("cls", [Focal, HardSampling])
def test_embeddings_of_unseen_tasks_separate(learnt, family, episodes, cls):
    """Of the contexts of two opposite test tasks, made by good behaviour: near within a task, far between tasks."""
    context, same = two_tasks(family, episodes)
    for index in range(len(SEEDS)):
        z = learnt(cls).inference(index)(context)
        distances = torch.cdist(z, z).numpy()
        assert distances[~same].min() > 2 * distances[same].max()


CONTEXTUAL = [name for name in TRAINED if BUILT_IN[name].requires.context]


@pytest.fixture(scope="module")
def blind(make, data_for, score_of):
    return score_of(quick(make, data_for, TaskBlind))


def quick(make, data_for, cls):
    """A method trained for half a minute to a minute with the networks of `quick`."""
    method = make(cls, backbone_width=64, backbone_batch=256, **{"width": 64} if has_width(cls) else {})
    method.fit(data_for(cls), Budget(2000, 600), SEEDS, lambda stage, step, total: None)
    return method


def has_width(cls):
    return any(field.name == "width" for field in fields(cls.Config))


@pytest.fixture(scope="module")
def score_of(family, episodes):
    """Scores with good contexts, (seeds, test tasks)."""
    manifest, tasks = read_manifest(family), family.tasks().ids("test")
    floor, ceiling = np.array(manifest.random)[tasks, None], np.array(manifest.expert)[tasks, None]
    draws = draw_contexts(family, "mixed", episodes).draws["high", "episode"][tasks, :DRAWS].reshape(-1)

    def run(method):
        told = family.tasks().descriptors[np.repeat(tasks, DRAWS)].astype(np.float32)
        context = gather(episodes, draws, told)
        lanes = {seed: Rollout(family, tasks, DRAWS, seed, 1, context.descriptors) for seed in SEEDS}
        returns = [evaluate(method.policy(seed), lanes[seed], context) for seed in SEEDS]
        return np.stack([(100 * (r - floor) / (ceiling - floor)).mean(axis=1) for r in returns])

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTEXTUAL)
def test_every_method_beats_the_blind_and_separates_tasks(name, make, data_for, family, episodes, blind, score_of):
    """The 95 % interval of the paired difference, over seeds and tasks, excludes 0; contexts of two tasks differ."""
    method = quick(make, data_for, BUILT_IN[name])
    difference = score_of(method) - blind
    rng = np.random.default_rng(0)
    seeds = rng.integers(len(SEEDS), size=(2000, len(SEEDS)))
    tasks = rng.integers(difference.shape[1], size=(2000, difference.shape[1]))
    means = difference[seeds[:, :, None], tasks[:, None]].mean(axis=(1, 2))
    assert np.quantile(means, 0.025) > 0
    context, same = two_tasks(family, episodes)
    for index in range(len(SEEDS)):
        with torch.no_grad():
            distances = torch.cdist(*2 * [method.inference(index)(context)]).numpy()
        assert distances[~same].mean() > 1.5 * distances[same].mean()
