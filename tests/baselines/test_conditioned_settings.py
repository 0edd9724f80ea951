"""Hyper-parameters of methods and backbones, and what a backbone under a method is trained on."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch

from omrl_bench.api import Setup
from omrl_bench.baselines.conditioned import Conditioned, NoConfig, fit_backbone, resolve
from omrl_bench.baselines.controls import TaskBlind
from omrl_bench.baselines.focal import Focal, FocalConfig
from omrl_bench.baselines.hs_omrl import HardSampling, HSConfig
from omrl_bench.baselines.iql import IQL, IQLConfig
from omrl_bench.baselines.pearl import Pearl
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.errors import InputError


def test_each_transition_gets_the_representation_of_an_episode_of_its_task(make, data_for, monkeypatch):
    """Embeddings that name episode and task, rewards that name the task."""
    seeds, data = (0, 1), data_for(TaskBlind)
    task_of = np.repeat(np.arange(30), np.diff(data.task_episodes)).astype(np.float32)
    data.rewards = np.repeat(np.arange(30), np.diff(data.task_offsets)).astype(np.float32)
    seen = []
    monkeypatch.setattr(TaskBlind, "z_size", 2)
    loss = IQL.loss
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z, *others: seen.append((batch, z)) or loss(self, batch, z))
    method = make(TaskBlind)
    method.build(seeds, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(seeds, "data"))
    names = torch.from_numpy(np.stack([task_of, np.arange(len(task_of), dtype=np.float32)], axis=1))
    embeddings = torch.stack([names, names + torch.tensor([0.0, 1000.0])])
    fit_backbone(method, batches, embeddings, 5, lambda stage, step, total: None)
    for batch, z in seen:
        assert z.shape == (2, 64, 2)
        tasks = (batch.rewards * method.scale.learning_reward_std).round()
        assert torch.equal(z[..., 0], tasks)
        assert ((z[..., 1] >= 1000) == torch.tensor([[False], [True]])).all()  # each seed its own embeddings
        assert len(tasks[0].unique()) == 16
        assert len(z[0, :, 1].unique()) > 20  # episodes are drawn per transition
    assert len(seen) == 5


@dataclass(frozen=True)
class Example:
    """Hyper-parameters with presets."""

    width: int = 1
    depth: int = 2
    rate: float = 3.0

    PRESETS: ClassVar = {"quick": {"width": 10}, "paper": {"width": 100, "depth": 20}}


def test_resolve_takes_defaults_then_the_preset_then_the_settings():
    assert resolve(Example, "standard", {}) == Example(1, 2, 3.0)
    assert resolve(Example, "quick", {}) == Example(10, 2, 3.0)
    assert resolve(Example, "paper", {"depth": 7}) == Example(100, 7, 3.0)
    assert resolve(Example, "quick", {"width": 8}) == Example(8, 2, 3.0)
    assert resolve(NoConfig, "quick", {}) == NoConfig()
    assert Example.PRESETS == {"quick": {"width": 10}, "paper": {"width": 100, "depth": 20}}


def test_resolve_refuses_a_name_that_is_none():
    with pytest.raises(ValueError, match="Example has no hyper-parameter 'detph'; it has: width, depth, rate"):
        resolve(Example, "quick", {"width": 8, "detph": 1})
    with pytest.raises(ValueError, match="NoConfig has no hyper-parameter 'width'; it has: none"):
        resolve(NoConfig, "quick", {"width": 8})


def test_presets_reach_method_and_backbone(make, space):
    assert Focal(space, Setup("paper")).config == FocalConfig(width=200, transitions=100, learning_rate=3e-4)
    assert Focal(space, Setup("quick")).config == FocalConfig(width=64)
    assert Focal(space, Setup("standard")).config == FocalConfig()
    assert make(Focal, preset="paper", beta=2.0).config.beta == 2.0
    assert TaskBlind(space, Setup("standard")).backbone_config == IQLConfig()
    paper = TaskBlind(space, Setup("paper")).backbone_config
    assert (paper.width, paper.learning_rate, paper.temperature) == (64, 3e-4, 3.0)  # HS-OMRL, table 2


def test_settings_go_to_the_method_and_those_with_the_prefix_to_the_backbone(make):
    method = make(Focal, latent=3, backbone_discount=0.5, width=16, backbone_width=8)
    assert (method.config.latent, method.backbone_config.discount) == (3, 0.5)
    assert (method.config.width, method.backbone_config.width) == (16, 8)
    method = make(HardSampling, temperature=0.2)
    assert (method.config.temperature, method.backbone_config.temperature) == (0.2, IQLConfig().temperature)
    method = make(HardSampling, backbone_temperature=0.2)
    assert (method.config.temperature, method.backbone_config.temperature) == (HSConfig().temperature, 0.2)


def test_a_setting_of_another_method_is_an_error(make):
    with pytest.raises(ValueError, match="no hyper-parameter 'latent'"):
        make(TaskBlind, latent=3)
    with pytest.raises(ValueError, match="FocalConfig has no hyper-parameter 'temperature'"):
        make(Focal, temperature=0.1)


def test_configuration_holds_the_hyper_parameters_of_both(make):
    configuration = make(Focal, backbone_discount=0.5).configuration()
    assert (configuration["width"], configuration["latent"], configuration["beta"]) == (32, 20, 1.0)
    backbone = configuration["backbone"]
    assert (backbone["width"], backbone["discount"], backbone["expectile"]) == (32, 0.5, 0.8)


def test_parameter_count_is_that_of_a_hand_count(make, data_for):
    def mlp(*sizes):
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))

    method = make(Focal, width=12, backbone_width=16, latent=6)
    assert method.parameter_count() == 0
    value, critic, policy = mlp(8, 16, 16, 1), mlp(10, 16, 16, 1), mlp(8, 16, 16, 2)
    expected = value + 2 * critic + policy + 2 + mlp(7, 12, 12, 12, 6)  # 2 critics, 2 deviations; no target critics
    for seeds in ((0,), (0, 1, 2)):
        method.build(seeds, Scale.of(data_for(Focal), method.space))
        assert method.parameter_count() == expected


def test_a_batch_that_is_no_multiple_of_the_tasks_is_rounded_down(fit, monkeypatch):
    sizes = []
    loss = IQL.loss
    monkeypatch.setattr(
        IQL, "loss", lambda self, batch, z, *others: sizes.append(batch.rewards.shape[1]) or loss(self, batch, z)
    )
    for cls in (TaskBlind, Pearl):
        fit(cls, seeds=(0,), updates=1, backbone_batch=60)
    assert sizes == [48, 48]


def test_an_unknown_backbone_is_an_error(space):
    with pytest.raises(InputError, match="unknown backbone 'td3'; did you mean 'td3bc'"):
        TaskBlind(space, Setup("quick", "td3"))


def test_conditioned_is_abstract(space):
    with pytest.raises(TypeError, match="abstract"):
        Conditioned(space, Setup())
