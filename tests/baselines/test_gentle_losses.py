"""GENTLE's reconstruction loss against loops, and what trains encoder, decoder and backbone."""

import numpy as np
import pytest
import torch

import omrl_bench.baselines.backbone as backbone_module
from omrl_bench.baselines.focal import metric_loss
from omrl_bench.baselines.gentle import Gentle, GentleConfig, GentleContrastive, GentleNoPolicyRelabel, GentleNoRelabel
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.training import Batches, Scale, seed_generators

SEEDS = (0, 1)
QUICK = {"epoch": 3, "relabelled": 16, "model_batch": 4}
VARIANTS = (Gentle, GentleContrastive, GentleNoPolicyRelabel, GentleNoRelabel)


@pytest.fixture
def built(make, data_for):
    def construct(cls=Gentle, **settings):
        data, method = data_for(cls), make(cls, **QUICK, **settings)
        method.build(SEEDS, Scale.of(data, method.space))
        return method, Batches(data, method.scale, method.space, seed_generators(SEEDS, "data"))

    return construct


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def test_reconstruction_loss_is_equation_4_with_a_mean_over_the_state(built):
    method, _ = built()
    contexts = torch.as_tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 7))).float()
    z = method.encoder(contexts)
    losses = method.reconstruction_loss(contexts, z)
    for r in range(2):
        total = 0.0
        for t in range(3):
            embedded = [torch.tanh(method.encoder.transition(contexts[:, t, k]))[r].tolist() for k in range(4)]
            pooled = [sum(e[i] for e in embedded) / 4 for i in range(5)]
            np.testing.assert_allclose(z[r, t].detach(), pooled, atol=1e-6)
            for k in range(4):
                x = contexts[r, t, k].tolist()
                row = torch.tensor([[x[:4] + pooled], [x[:4] + pooled]])
                predicted = method.decoder(row)[r, 0].tolist()
                label = [x[4], x[5] - x[0], x[6] - x[1]]
                reward, *state = ((p - y) ** 2 for p, y in zip(predicted, label, strict=True))
                total += reward + sum(state) / 2
        assert losses[r].item() == pytest.approx(total / 12, rel=1e-5)


@pytest.mark.parametrize("cls", [Gentle, GentleNoRelabel])
def test_half_of_the_contexts_are_single_episodes_and_the_mixture_is_reconstructed(built, monkeypatch, cls):
    method, batches = built(cls, transitions=12)
    mixture, reconstructed, seen = [], [], []
    draw, encode = method.draw_contexts, method.encoder.forward
    monkeypatch.setattr(method, "draw_contexts", lambda *args: mixture.append(draw(*args)) or mixture[0])
    monkeypatch.setattr(method.encoder, "forward", lambda contexts: seen.append(contexts) or encode(contexts))
    monkeypatch.setattr(
        method, "reconstruction_loss", lambda contexts, z: reconstructed.append(contexts) or z.sum(dim=(1, 2))
    )
    tasks = batches.tasks(16)
    method.representation_loss(batches, None, tasks)
    assert torch.equal(reconstructed[0], mixture[0])
    assert torch.equal(seen[0][:, 8:], mixture[0][:, 8:])
    offsets, of_task = batches.data.episode_offsets, batches.data.task_episodes
    for r in range(2):
        for t in range(8):
            rows = [np.flatnonzero((batches.features == step).all(dim=1).numpy()) for step in seen[0][r, t]]
            episodes = [set(np.searchsorted(offsets, found, side="right") - 1) for found in rows]
            common = set.intersection(*episodes)
            assert any(of_task[tasks[r, t]] <= episode < of_task[tasks[r, t] + 1] for episode in common)


def test_z_does_not_depend_on_the_order_of_the_context_and_is_bounded(built):
    method, _ = built()
    contexts = 100 * torch.as_tensor(np.random.default_rng(0).standard_normal((2, 3, 9, 7))).float()
    order = torch.as_tensor(np.random.default_rng(1).permutation(9))
    torch.testing.assert_close(method.encoder(contexts[:, :, order]), method.encoder(contexts))
    assert method.encoder(contexts).abs().max() <= 1


def test_reconstruction_trains_encoder_and_decoder(built):
    method, batches = built()
    tasks = batches.tasks(16)
    loss, z = method.representation_loss(batches, None, tasks)
    assert z.shape == (2, 16, 5)
    loss.sum().backward()
    for module in (method.encoder, method.decoder):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert all(p.grad is None for p in method.backbone.parameters())


@pytest.mark.parametrize("cls", VARIANTS)
def test_the_backbones_loss_does_not_train_the_encoder(fit, built, monkeypatch, cls):
    before = {name: state(module) for name, module in built(cls)[0].modules().items()}
    original = cls.representation_loss

    def nothing(self, batches, buffer, tasks):
        loss, z = original(self, batches, buffer, tasks)
        assert z.requires_grad
        return 0 * loss, z

    monkeypatch.setattr(cls, "representation_loss", nothing)
    method = fit(cls, SEEDS, updates=3, encoder_updates=2, **QUICK)
    assert changed(before["encoder"], method.encoder) == set()
    assert changed(before["decoder"], method.decoder) == set()
    assert {name.split(".")[0] for name in changed(before["backbone"], method.backbone)} >= {"critics", "policy"}


@pytest.mark.parametrize("cls", VARIANTS)
def test_the_encoders_loss_trains_it_every_update_and_never_the_backbone(fit, built, monkeypatch, cls):
    before = {name: state(module) for name, module in built(cls)[0].modules().items()}
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: 0 * z.sum())
    method = fit(cls, SEEDS, updates=1, encoder_updates=2, **QUICK)
    assert changed(before["encoder"], method.encoder) == set(before["encoder"])
    decoder = set() if cls is GentleContrastive else set(before["decoder"])
    assert changed(before["decoder"], method.decoder) == decoder
    assert changed(before["backbone"], method.backbone) == set()


def test_models_are_not_trained_by_the_policy_stage(fit, monkeypatch):
    seen = []
    original = Gentle.train_policy

    def watched(self, batches, updates, log):
        seen.append(state(self.models))
        original(self, batches, updates, log)

    monkeypatch.setattr(Gentle, "train_policy", watched)
    method = fit(Gentle, SEEDS, updates=4, encoder_updates=3, **QUICK)
    assert changed(seen[0], method.models) == set()


@pytest.mark.parametrize("cls", VARIANTS)
def test_backbone_sees_the_z_of_its_tasks_contexts(fit, data_for, monkeypatch, cls):
    data = data_for(cls)
    data.rewards = np.repeat(np.arange(30), np.diff(data.task_offsets)).astype(np.float32)  # the reward names the task
    drawn, seen = [], []
    original = cls.representation_loss

    def representation_loss(self, batches, buffer, tasks):
        loss, z = original(self, batches, buffer, tasks)
        drawn.append((tasks, z))
        return loss, z

    monkeypatch.setattr(cls, "representation_loss", representation_loss)
    loss = IQL.loss
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: seen.append((batch, z)) or loss(self, batch, z))
    method = fit(cls, SEEDS, updates=3, encoder_updates=1, data=data, **QUICK)
    for (tasks, z), (batch, used) in zip(drawn, seen, strict=True):
        assert not used.requires_grad
        torch.testing.assert_close(used, z.detach().repeat_interleave(4, dim=1))
        named = (batch.rewards * method.scale.learning_reward_std).round()
        np.testing.assert_array_equal(named, np.repeat(tasks, 4, axis=1))


def test_contrastive_loss_is_focals_on_two_contexts_of_each_task(built, monkeypatch):
    method, batches = built(GentleContrastive, beta=2.5, epsilon=0.3, single_share=0.0)
    drawn = []
    original = GentleContrastive.draw_contexts
    monkeypatch.setattr(
        GentleContrastive,
        "draw_contexts",
        lambda self, b, buffer, tasks: drawn.append((tasks, original(self, b, buffer, tasks))) or drawn[0][1],
    )
    tasks = batches.tasks(16)
    loss, z = method.representation_loss(batches, None, tasks)
    labels, contexts = drawn[0]
    np.testing.assert_array_equal(labels, np.repeat(tasks, 2, axis=1))
    every = method.encoder(contexts)
    expected = metric_loss(every, torch.as_tensor(labels), beta=2.5, epsilon=0.3)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(z, every[:, ::2])


@pytest.mark.parametrize("cls", VARIANTS)
def test_every_update_is_logged_once(fit, cls):
    calls = []
    fit(cls, SEEDS, updates=5, encoder_updates=4, log=lambda *call: calls.append(call), **QUICK)
    models = [] if cls is GentleNoRelabel else [("representation", k + 1, 4) for k in range(4)]
    assert calls == models + [("policy", k + 1, 5) for k in range(5)]


def test_optimiser_uses_the_learning_rates_on_record(fit, monkeypatch):
    optimisers = []
    original = backbone_module.step
    monkeypatch.setattr(backbone_module, "step", lambda o, loss: optimisers.append(o) or original(o, loss))
    method = fit(Gentle, (0,), 1, 1, learning_rate=0.2, backbone_learning_rate=0.03, **QUICK)
    rates = {id(p): group["lr"] for group in optimisers[0].param_groups for p in group["params"]}
    for module, rate in ((method.encoder, 0.2), (method.decoder, 0.2), (method.backbone, 0.03)):
        assert {rates.pop(id(p)) for p in module.parameters() if p.requires_grad} == {rate}
    assert not rates


def test_the_papers_sizes():
    paper = GentleConfig(**GentleConfig.PRESETS["paper"])
    assert (paper.members, paper.transitions, paper.relabelled, paper.epoch, paper.width) == (7, 256, 2560, 400, 256)
    assert int(paper.relabelled_share * paper.transitions) == 243
    assert paper.own_share == 1 / (1 + 3)
