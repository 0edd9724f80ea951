"""RETRO's schedule: when the encoder is trained, when the backbone is, and that one to one is what it was."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget
from omrl_bench.baselines.conditioned import draw_batch
from omrl_bench.baselines.controls import Supervised
from omrl_bench.baselines.pearl import Pearl
from omrl_bench.baselines.training import Batches, Scale, adam, seed_generators

UPDATES = 6


def state(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(before, after):
    return any((one != other).any() for one, other in zip(before, after, strict=True))


def trained(make, data_for, cls, **settings):
    """Whether encoder and backbone moved in each update, and how many steps the optimiser took of each."""
    method, found = make(cls, **settings), []
    data = data_for(cls)
    states = []

    def log(stage, step, total):
        states.append((state(method.encoder), state(method.backbone)))

    method.fit(data, Budget(UPDATES, 0), (0, 1), log)
    for before, after in pairwise(states):
        found.append((moved(before[0], after[0]), moved(before[1], after[1])))
    return method, found


@pytest.mark.parametrize("cls", [Pearl, Supervised])
def test_every_second_or_third_update(cls, make, data_for):
    _, found = trained(make, data_for, cls, encoder_period=3)
    assert found == [(False, True), (False, True), (True, True), (False, True), (False, True)]


def test_no_steps_leave_the_encoder_as_it_was_built(make, data_for):
    method, found = trained(make, data_for, Pearl, encoder_steps=0)
    fresh = make(Pearl)
    fresh.build((0, 1), method.scale)
    assert not moved(state(fresh.encoder), state(method.encoder))
    assert all(backbone for _, backbone in found)


def test_more_steps_train_the_encoder_only(make, data_for, monkeypatch):
    """Two of three on draws of their own, before the one together with the backbone."""
    calls, step = [], Pearl.encoder_step

    def spy(self, optimiser, batches):
        before = state(self.encoder), state(self.backbone)
        step(self, optimiser, batches)
        calls.append((moved(before[0], state(self.encoder)), moved(before[1], state(self.backbone))))

    monkeypatch.setattr(Pearl, "encoder_step", spy)
    trained(make, data_for, Pearl, encoder_steps=3)
    assert calls == [(True, False)] * (2 * UPDATES)


def test_the_encoders_own_step_is_on_the_gradient_that_it_would_have_together(make, data_for):
    method = make(Supervised)
    method.build((0, 1), Scale.of(data_for(Supervised), method.space))
    batches = Batches(data_for(Supervised), method.scale, method.space, seed_generators((0, 1), "data"))
    batch, z, penalty = method.draw(batches.drawn_by(seed_generators((0, 1), "same")))
    critics_z, policy_z = method.views(z)
    loss = method.backbone.loss(batch, critics_z, policy_z=policy_z) + penalty.sum()
    expected = torch.autograd.grad(loss, list(method.encoder.parameters()))
    method.encoder_step(
        adam((method.encoder, 1e-3), (method.backbone, 1e-3)), batches.drawn_by(seed_generators((0, 1), "same"))
    )
    for parameter, gradient in zip(method.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_one_to_one_is_a_joint_step_on_one_draw(make, data_for):
    """Written out as it was before there was a schedule: the same bits."""
    method, by_hand = make(Pearl), make(Pearl)
    data = data_for(Pearl)
    method.fit(data, Budget(UPDATES, 0), (0, 1), lambda stage, step, total: None)
    by_hand.build((0, 1), Scale.of(data, by_hand.space))
    batches = Batches(data, by_hand.scale, by_hand.space, seed_generators((0, 1), "data"))
    optimiser = adam((by_hand.encoder, 1e-3), (by_hand.backbone, 1e-3))
    for _ in range(UPDATES):
        tasks, batch = draw_batch(by_hand, batches)
        z, penalty = by_hand.sample(by_hand.draw_contexts(batches, tasks))
        z = z.repeat_interleave(batch.rewards.shape[1] // tasks.shape[1], dim=1)
        by_hand.backbone.update(optimiser, batch, z, policy_z=z.detach(), encoder_loss=penalty)
    for one, other in ((method.encoder, by_hand.encoder), (method.backbone, by_hand.backbone)):
        assert not moved(state(one), state(other))
    assert np.isfinite(method.tried.z.numpy()).all()
