"""A short training on point-goal is enough to tell tasks apart and to act on it."""

import numpy as np
import pytest
import torch

from omrl_bench.baselines.controls import Oracle, TaskBlind
from omrl_bench.baselines.focal import Focal
from omrl_bench.baselines.hs_omrl import HardSampling
from omrl_bench.data.contexts import draw_contexts, gather
from omrl_bench.data.manifest import read_manifest
from omrl_bench.protocols.given_context import evaluate

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
        returns = [evaluate(learnt(cls).policy(seed), family, tasks, context, DRAWS, seed, 1) for seed in SEEDS]
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


@pytest.mark.parametrize("cls", [Focal, HardSampling])
def test_embeddings_of_unseen_tasks_separate(learnt, family, episodes, cls):
    """Of the contexts of two opposite test tasks, made by good behaviour: near within a task, far between tasks."""
    goals, tasks = family.tasks().descriptors, family.tasks().ids("test")
    opposite = tasks[np.argmin(goals[tasks] @ goals[tasks[0]])]
    numbers = np.concatenate(
        [np.flatnonzero((episodes.tasks == t) & (episodes.behaviours >= 7)) for t in (tasks[0], opposite)]
    )
    context, same = gather(episodes, numbers), np.equal.outer([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1])
    for index in range(len(SEEDS)):
        z = learnt(cls).inference(index)(context)
        distances = torch.cdist(z, z).numpy()
        assert distances[~same].min() > 2 * distances[same].max()
