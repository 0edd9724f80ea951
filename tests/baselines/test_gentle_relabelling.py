"""Algorithm 1: states of whom, whose actions, whose labels; and what share of a context is relabelled."""

import numpy as np
import pytest
import torch

from omrl_bench.baselines.gentle import Gentle, GentleContrastive, GentleNoPolicyRelabel, GentleNoRelabel
from omrl_bench.baselines.training import Batches, Scale, seed_generators

SEEDS = (0, 1)
K = 40


def quiet(stage, step, total):
    pass


@pytest.fixture
def prepared(make, data_for):
    """A method with models, one training update old."""

    def construct(cls=Gentle, data=None, **settings):
        data, method = data or data_for(cls), make(cls, relabelled=K, **settings)
        method.build(SEEDS, Scale.of(data, method.space))
        batches = Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))
        method.train_representation(batches, 1, quiet)
        return method, batches

    return construct


def one_task(data):
    data.tasks, data.task_offsets = data.tasks[4:5], data.task_offsets[[0, -1]]
    data.task_episodes = data.task_episodes[[0, -1]]
    return data


def test_states_are_of_the_own_task_and_of_all_others_in_the_stated_ratio(prepared):
    method, batches = prepared()
    offsets = batches.data.task_offsets
    rows = np.concatenate([method.draw_states(batches) for _ in range(50)], axis=2).reshape(2, 30, 50, K)
    assert (rows >= 0).all()
    assert (rows < offsets[-1]).all()
    tasks = np.searchsorted(offsets, rows, side="right") - 1
    own = np.arange(30)[:, None]
    assert (tasks[..., :10] == own[..., None]).all()  # K1 : K2 = 1 : 3
    assert (tasks[..., 10:] != own[..., None]).all()
    for t in range(30):  # all other tasks about equally often: they have equally many transitions
        counts = np.bincount(tasks[:, t, :, 10:].reshape(-1), minlength=30)
        others = np.delete(counts, t)
        assert np.abs(others - 3000 / 29).max() < 6 * (3000 / 29) ** 0.5
    assert not np.array_equal(rows[0], rows[1])  # each seed its own


def test_every_transition_of_the_others_can_be_drawn(prepared):
    """Tasks of unequal length, the first and the last included."""
    method, batches = prepared()
    data = batches.data
    data.task_offsets = np.array([0, 2, 7, 8])
    method.models.shape = (2, 3, 2)
    rows = np.concatenate([method.draw_states(batches) for _ in range(60)], axis=2)
    others = rows.reshape(2, 3, 60, K)[..., 10:]
    assert [set(others[:, t].reshape(-1)) for t in range(3)] == [set(range(2, 8)), {0, 1, 7}, set(range(7))]


def relabelled(method, batches):
    """The buffer, and the rows that its states are of."""
    drawn = method.draw_states(batches)
    method.draw_states = lambda batches: drawn
    return method.relabel(batches, None), drawn


def test_actions_are_the_policys_for_the_task_that_labels(prepared, monkeypatch):
    method, batches = prepared()
    z = torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (2, 30, 5))).float()
    monkeypatch.setattr(method.encoder, "forward", lambda contexts: z)
    buffer, rows = relabelled(method, batches)
    states = batches.features[torch.as_tensor(rows)][..., :2]
    torch.testing.assert_close(buffer[..., :2], states)
    for r in range(2):
        actor = method.backbone.actor(r)
        for t in (0, 13, 29):
            expected = actor(states[r : r + 1, t], z[r, t].expand(1, K, -1))[0]
            torch.testing.assert_close(buffer[r, t, :, 2:4], expected)


@pytest.mark.parametrize("cls", [Gentle, GentleContrastive, GentleNoPolicyRelabel])
def test_labels_are_of_the_tasks_own_models(prepared, cls):
    method, batches = prepared(cls)
    buffer, _ = relabelled(method, batches)
    known = buffer[..., :4]
    each = method.models.members(known[:, :, None].expand(-1, -1, method.models.shape[2], -1, -1)).mean(dim=2)
    torch.testing.assert_close(buffer[..., 4], each[..., 0])
    torch.testing.assert_close(buffer[..., 5:], known[..., :2] + each[..., 1:])
    assert not buffer.requires_grad


def test_without_policy_relabelling_the_datas_actions_stay(prepared):
    method, batches = prepared(GentleNoPolicyRelabel)
    buffer, rows = relabelled(method, batches)
    data = batches.features[torch.as_tensor(rows)]
    torch.testing.assert_close(buffer[..., :4], data[..., :4])
    assert (
        buffer[..., 4] != data[..., 4]
    ).float().mean() > 0.99  # of the own task's states too: labels are the models'


def test_contexts_hold_the_stated_share_of_their_tasks_relabelled_transitions(prepared):
    method, batches = prepared()
    buffer = -torch.arange(1, 2 * 30 * K + 1.0).reshape(2, 30, K, 1).expand(-1, -1, -1, 7)
    batches.features = torch.arange(len(batches.features), dtype=torch.float32)[:, None].expand(-1, 7)
    tasks = batches.tasks(16)
    contexts = method.draw_contexts(batches, buffer, tasks)[..., 0].long().numpy()
    assert contexts.shape == (2, 16, 32)
    artificial = contexts < 0
    assert (artificial.sum(axis=2) == 30).all()  # int(0.95 * 32)
    for r, c in np.ndindex(2, 16):
        made, real = contexts[r, c][artificial[r, c]], contexts[r, c][~artificial[r, c]]
        assert ((-made - 1) // K == r * 30 + tasks[r, c]).all()  # of this seed's buffer of this task
        assert (np.searchsorted(batches.data.task_offsets, real, side="right") - 1 == tasks[r, c]).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_is_a_setting(prepared, share):
    method, batches = prepared(relabelled_share=share)
    buffer = torch.full((2, 30, K, 7), 1e6)
    contexts = method.draw_contexts(batches, buffer, batches.tasks(16))
    assert contexts.shape == (2, 16, 32, 7)
    assert ((contexts == 1e6).all(dim=-1).sum(dim=-1) == int(share * 32)).all()


def test_without_relabelling_contexts_are_real_and_there_are_no_models(fit, monkeypatch):
    buffers = []
    original = GentleNoRelabel.draw_contexts
    monkeypatch.setattr(
        GentleNoRelabel, "draw_contexts", lambda self, b, f, t: buffers.append(f) or original(self, b, f, t)
    )
    method = fit(GentleNoRelabel, SEEDS, updates=4, encoder_updates=3, epoch=2)
    assert buffers == [None] * 4
    assert not hasattr(method, "models")


def test_without_relabelling_it_is_gentle_with_no_relabelled_share(fit, monkeypatch):
    """Random numbers apart: those of relabelling are drawn from generators that the comparison leaves alone."""
    plain = fit(GentleNoRelabel, SEEDS, updates=6, encoder_updates=0)
    original = Gentle.relabel

    def apart(self, batches, buffer):
        kept, batches.rngs = batches.rngs, seed_generators(SEEDS, "elsewhere")
        made = original(self, batches, buffer)
        batches.rngs = kept
        return made

    monkeypatch.setattr(Gentle, "relabel", apart)
    other = fit(Gentle, SEEDS, updates=6, encoder_updates=0, relabelled=8, relabelled_share=0.0)
    for name, module in plain.modules().items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, other.modules()[name].state_dict()[key])


def test_one_task_has_only_its_own_states(fit, data_for, prepared):
    method, batches = prepared(data=one_task(data_for(Gentle)))
    rows = method.draw_states(batches)
    assert rows.shape == (2, 1, K)
    trained = fit(Gentle, SEEDS, updates=3, encoder_updates=2, data=one_task(data_for(Gentle)), relabelled=8, epoch=2)
    assert all(p.isfinite().all() for module in trained.modules().values() for p in module.parameters())


def test_the_buffer_is_rebuilt_every_epoch_from_the_one_before(fit, monkeypatch):
    made, given = [], []
    original = Gentle.relabel

    def relabel(self, batches, buffer):
        given.append(buffer)
        made.append(original(self, batches, buffer))
        return made[-1]

    monkeypatch.setattr(Gentle, "relabel", relabel)
    fit(Gentle, SEEDS, updates=7, encoder_updates=2, epoch=3, relabelled=8)
    assert len(made) == 3
    assert given[0] is None
    assert given[1] is made[0]
    assert given[2] is made[1]
    assert not torch.equal(made[0][..., 2:4], made[1][..., 2:4])  # the policy has moved on
