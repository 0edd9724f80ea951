"""What every trained method keeps: its seeds apart, its promises to the harness, its hyper-parameters."""

import json
import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget, Setup
from omrl_bench.baselines.conditioned import Conditioned, NoConfig, fit_backbone, resolve
from omrl_bench.baselines.controls import Oracle, TaskBlind
from omrl_bench.baselines.focal import Focal, FocalConfig
from omrl_bench.baselines.hs_omrl import HardSampling, HSConfig, SupervisedContrastive
from omrl_bench.baselines.iql import IQL, IQLConfig
from omrl_bench.baselines.pearl import Pearl
from omrl_bench.baselines.training import Batches, Scale, seed_generators

SEEDS = (3, 5, 11)
TWO_STAGE = (Focal, SupervisedContrastive, HardSampling)


class Trained:
    """Each method trained once on three seeds, with what it logged, and its policies during the training."""

    def __init__(self, fit, make, data_for, act):
        self._fit, self._make, self._data_for, self._act = fit, make, data_for, act
        self._done = {}

    def __getitem__(self, cls):
        if cls not in self._done:
            method, calls, during = self._make(cls), [], {}

            def log(stage, step, total):
                calls.append((stage, step, total))
                if stage == "policy" and step in (1, 15, 30):
                    during[step] = [self._act(method, seed) for seed in SEEDS]

            method.fit(self._data_for(cls), Budget(30, 20), SEEDS, log)
            self._done[cls] = method, calls, during
        return self._done[cls]


@pytest.fixture(scope="module")
def trained(fit, make, data_for, act):
    return Trained(fit, make, data_for, act)


def weights(method):
    return {f"{n}.{k}": v.clone() for n, module in method.modules().items() for k, v in module.state_dict().items()}


def test_seeds_trained_together_equal_each_trained_alone(trained, fit, act, method_class):
    together = [act(trained[method_class][0], seed) for seed in SEEDS]
    for seed, actions in zip(SEEDS, together, strict=True):
        alone = act(fit(method_class, seeds=(seed,), encoder_updates=20), seed)
        np.testing.assert_allclose(actions, alone, atol=1e-5)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(together[one] - together[other]).mean() > 1e-3  # far more than the tolerance


def test_order_of_the_seeds_does_not_matter(trained, fit, act):
    turned = fit(Pearl, seeds=SEEDS[::-1], encoder_updates=20)
    for seed in SEEDS:
        np.testing.assert_allclose(act(turned, seed), act(trained[Pearl][0], seed), atol=1e-5)


def test_training_twice_is_bit_identical_and_looking_at_the_policy_changes_nothing(trained, fit, act, method_class):
    """The first training called policy() in its log, the second does not."""
    first, second = trained[method_class][0], fit(method_class, encoder_updates=20)
    for name, tensor in weights(second).items():
        assert torch.equal(tensor, weights(first)[name]), name
    np.testing.assert_array_equal(act(first, 5), act(second, 5))


def test_save_and_load_give_the_same_actions(trained, make, act, method_class, tmp_path):
    method = trained[method_class][0]
    method.save(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".safetensors", ".json"}
    restored = make(method_class)
    restored.load(tmp_path)
    for seed in SEEDS:
        np.testing.assert_array_equal(act(restored, seed), act(method, seed))
    assert restored.parameter_count() == method.parameter_count()


def test_global_generators_are_left_alone(make, data_for, act, method_class):
    def state():
        legacy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        return random.getstate(), legacy["key"].tolist(), legacy["pos"], torch.get_rng_state().tolist()

    before = state()
    method = make(method_class)
    method.fit(data_for(method_class), Budget(2, 2), (0, 1), lambda stage, step, total: None)
    act(method, 1)
    assert state() == before


def test_log_is_called_after_every_update_of_every_stage(trained, method_class):
    calls = trained[method_class][1]
    representation = [("representation", step, 20) for step in range(1, 21)] if method_class in TWO_STAGE else []
    assert calls == representation + [("policy", step, 30) for step in range(1, 31)]


def test_policy_inside_the_log_is_the_current_one(trained, act, method_class):
    method, _, during = trained[method_class]
    assert sorted(during) == [1, 15, 30]
    for index, seed in enumerate(SEEDS):
        np.testing.assert_array_equal(during[30][index], act(method, seed))
        assert not np.allclose(during[1][index], during[15][index], atol=1e-4)
        assert not np.allclose(during[15][index], during[30][index], atol=1e-4)


def test_actions_are_float32_within_the_limits(trained, act, space, method_class):
    actions = act(trained[method_class][0], 3)
    assert actions.dtype == np.float32
    assert actions.shape == (8, 2)
    assert np.abs(actions).max() <= space.action_limit


def test_lanes_are_independent(trained, contexts, method_class):
    context, observations = contexts
    policy = trained[method_class][0].policy(3)
    policy.reset(8)
    policy.condition(context)
    actions = policy.act(observations)
    order = [5, 2, 7]
    some = replace(context, **{name: value[order] for name, value in vars(context).items()})
    policy.reset(3)
    policy.condition(some)
    np.testing.assert_allclose(policy.act(observations[order]), actions[order], atol=1e-6)


@pytest.mark.parametrize("cls", [Focal, Pearl, HardSampling])
def test_context_matters_and_reset_forgets_it(trained, contexts, cls):
    context, observations = contexts
    policy = trained[cls][0].policy(3)
    policy.reset(8)
    prior = policy.act(observations)
    policy.condition(context)
    conditioned = policy.act(observations)
    assert not np.allclose(prior, conditioned, atol=1e-4)
    turned = replace(context, **{name: np.roll(value, 1, axis=0) for name, value in vars(context).items()})
    policy.condition(turned)
    assert not np.allclose(policy.act(observations), conditioned, atol=1e-5)
    policy.reset(8)
    np.testing.assert_array_equal(policy.act(observations), prior)


@pytest.mark.parametrize("cls", [TaskBlind, Focal, Pearl, SupervisedContrastive, HardSampling])
def test_methods_without_the_privilege_do_not_look_at_descriptors(trained, act, contexts, cls):
    context, observations = contexts
    policy = trained[cls][0].policy(3)
    policy.reset(8)
    policy.condition(replace(context, descriptors=None))
    np.testing.assert_array_equal(policy.act(observations), act(trained[cls][0], 3))


@pytest.mark.parametrize("cls", [Focal, Pearl, HardSampling])
def test_padding_of_a_context_does_not_matter(trained, act, contexts, cls):
    context, observations = contexts

    def pad(array):
        return np.concatenate([array, np.zeros_like(array[:, :9])], axis=1)

    padded = {name: pad(value) for name, value in vars(context).items() if name != "descriptors"}
    policy = trained[cls][0].policy(3)
    policy.reset(8)
    policy.condition(replace(context, **padded))
    np.testing.assert_allclose(policy.act(observations), act(trained[cls][0], 3), atol=1e-6)


def test_an_unknown_seed_has_no_policy(trained):
    with pytest.raises(ValueError, match="4"):
        trained[TaskBlind][0].policy(4)


def test_target_critics_are_updated_after_each_step(make, data_for, method_class):
    method, differences = make(method_class, backbone_target_rate=1.0), []

    def log(stage, step, total):
        if stage == "policy":
            pairs = zip(method.backbone.critics.parameters(), method.backbone.target_critics.parameters(), strict=True)
            differences.append(max((a - b).abs().max().item() for a, b in pairs))

    method.fit(data_for(method_class), Budget(3, 1), (0, 1), log)
    assert max(differences) < 1e-6
    frozen = make(method_class, backbone_target_rate=0.0)
    frozen.fit(data_for(method_class), Budget(3, 1), (0, 1), lambda stage, step, total: None)
    fresh = make(method_class)
    fresh.build((0, 1), Scale.of(data_for(method_class), fresh.space))
    for a, b in zip(
        frozen.backbone.target_critics.parameters(), fresh.backbone.target_critics.parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_each_transition_gets_the_representation_of_an_episode_of_its_task(make, data_for, monkeypatch):
    """Embeddings that name episode and task, rewards that name the task."""
    seeds, data = (0, 1), data_for(TaskBlind)
    task_of = np.repeat(np.arange(30), np.diff(data.task_episodes)).astype(np.float32)
    data.rewards = np.repeat(np.arange(30), np.diff(data.task_offsets)).astype(np.float32)
    seen = []
    monkeypatch.setattr(TaskBlind, "z_size", 2)
    loss = IQL.loss
    monkeypatch.setattr(IQL, "loss", lambda self, batch, z: seen.append((batch, z)) or loss(self, batch, z))
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


def test_a_typo_in_a_setting_is_an_error(make, method_class):
    with pytest.raises(ValueError, match="no hyper-parameter 'temprature'"):
        make(method_class, temprature=1.0)
    with pytest.raises(ValueError, match="IQLConfig has no hyper-parameter 'temprature'"):
        make(method_class, backbone_temprature=1.0)


def test_a_setting_of_another_method_is_an_error(make):
    with pytest.raises(ValueError, match="no hyper-parameter 'latent'"):
        make(TaskBlind, latent=3)
    with pytest.raises(ValueError, match="FocalConfig has no hyper-parameter 'temperature'"):
        make(Focal, temperature=0.1)


def test_configuration_is_json_and_says_what_was_used(make, method_class):
    configuration = make(method_class, backbone_width=24, backbone_discount=0.5).configuration()
    assert json.loads(json.dumps(configuration)) == configuration
    assert configuration["backbone"]["width"] == 24
    assert configuration["backbone"]["discount"] == 0.5
    assert configuration["backbone"]["expectile"] == 0.8
    if method_class not in (TaskBlind, Oracle):
        assert configuration["latent"] == make(method_class).z_size
    if method_class in (Focal, Pearl, SupervisedContrastive, HardSampling):
        assert configuration["width"] == 32


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
        IQL, "loss", lambda self, batch, z: sizes.append(batch.rewards.shape[1]) or loss(self, batch, z)
    )
    for cls in (TaskBlind, Pearl):
        fit(cls, seeds=(0,), updates=1, backbone_batch=60)
    assert sizes == [48, 48]


def test_an_unknown_backbone_is_an_error(space):
    with pytest.raises(ModuleNotFoundError, match="sarsa"):
        TaskBlind(space, Setup("quick", "sarsa"))


def test_conditioned_is_abstract(space):
    with pytest.raises(TypeError, match="abstract"):
        Conditioned(space, Setup())
