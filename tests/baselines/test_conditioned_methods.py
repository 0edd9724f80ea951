"""What every trained method keeps: its seeds apart, its promises to the harness."""

import json
import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from omrl_bench.api import Algorithm, Budget
from omrl_bench.baselines.backbone import Backbone
from omrl_bench.baselines.training import load_tensors
from omrl_bench.data.meta_dataset import MetaDataset

from .conftest import has_backbone

SEEDS = (3, 5, 11)
UPDATES, ENCODER_UPDATES = 6, 4
LOOKED_AT = (1, 3, 6)


@dataclass
class Trained:
    """A method trained once, and what was seen of it meanwhile.

    Attributes:
        method: The method.
        calls: What it logged.
        during: Actions of all seeds after some of the policy's updates.
        critics: Critics and their targets after each of the policy's updates.
        generators: The states of the global generators before and after.
    """

    method: Algorithm
    calls: list = field(default_factory=list)
    during: dict = field(default_factory=dict)
    critics: list = field(default_factory=list)
    generators: tuple = ()


@pytest.fixture(scope="session")
def data(family, episodes, case):
    """Three episodes of each task: of a bad, a fair and a good behaviour."""
    few = episodes.select(np.flatnonzero(np.isin(episodes.behaviours, (1, 5, 9))))
    return MetaDataset(family, few, case[0].requires.privileges)


@pytest.fixture(scope="session")
def observed(episodes):
    """Two steps that the lanes of a policy observe; lane 2 has ended before the second."""

    def step(first):
        rows = np.arange(first, first + 8 * 60, 60)[:, None]  # of different episodes
        names = ("observations", "actions", "rewards", "next_observations", "terminated")
        return {name: getattr(episodes, name)[rows] for name in names} | {"valid": np.ones((8, 1), bool)}

    steps = [step(7), step(8)]
    for array in steps[1].values():
        array[2] = 0
    return steps


@pytest.fixture(scope="session")
def drive(contexts, observed):
    """Actions of one seed's policy in the contexts, (6, lanes, action size): all that a policy is asked for."""
    given, where = contexts

    def run(method, seed, context=given, steps=observed, lanes=slice(None)):
        policy, observations = method.policy(seed), where[lanes]
        chosen = replace(context, **{k: v[lanes] for k, v in vars(context).items() if v is not None})
        policy.reset(len(observations))
        policy.condition(chosen)
        actions = [policy.act(observations)]
        for step in steps:
            policy.observe(replace(chosen, **{k: v[lanes] for k, v in step.items()}))
            actions += [policy.act(observations), policy.act(observations, explore=True)]
        policy.end_episode()
        return np.stack([*actions, policy.act(observations)])

    return run


def global_generators():
    legacy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return random.getstate(), legacy["key"].tolist(), legacy["pos"], torch.get_rng_state().tolist()


@pytest.fixture(scope="session")
def retrain(fit, data, case):
    """The method of this case, trained on some seeds, with nobody looking."""
    cls, backbone = case
    return lambda seeds=SEEDS: fit(cls, seeds, UPDATES, ENCODER_UPDATES, data=data, backbone=backbone)


@pytest.fixture(scope="session")
def trained(make, data, drive, case):
    before = global_generators()
    result = Trained(make(case[0], backbone=case[1]))

    def log(stage, step, total, seeds=SEEDS):
        result.calls.append((stage, step, total))
        if stage != "policy":
            return
        learner = result.method.backbone if has_backbone(case[0]) else None
        if isinstance(learner, Backbone):
            pairs = zip(learner.critics.parameters(), learner.target_critics.parameters(), strict=True)
            result.critics.append([(critic.detach().clone(), target.clone()) for critic, target in pairs])
        if step in LOOKED_AT:
            result.during[step] = np.stack([drive(result.method, seed) for seed in seeds])

    result.method.fit(data, Budget(UPDATES, ENCODER_UPDATES), SEEDS, log)
    drive(result.method, 3)
    result.generators = before, global_generators()
    return result


@pytest.fixture(scope="session")
def actions(trained, drive):
    """Of every seed."""
    return {seed: drive(trained.method, seed) for seed in SEEDS}


def needs_context(cls):
    if not cls.requires.context:
        pytest.skip("makes no use of a context")


def test_seeds_trained_together_equal_each_trained_alone(actions, retrain, drive):
    for seed in SEEDS:
        np.testing.assert_allclose(actions[seed], drive(retrain((seed,)), seed), atol=1e-5)
    for one, other in ((3, 5), (3, 11), (5, 11)):
        assert np.abs(actions[one] - actions[other]).mean() > 1e-3  # far more than the tolerance


def test_order_of_the_seeds_does_not_matter(actions, retrain, drive):
    turned = retrain(SEEDS[::-1])
    for seed in SEEDS:
        np.testing.assert_allclose(drive(turned, seed), actions[seed], atol=1e-5)


def test_training_twice_is_bit_identical_and_looking_at_the_policy_changes_nothing(trained, retrain, tmp_path):
    """The first training called policy() in its log, the second does not."""
    saved = []
    for number, method in enumerate((trained.method, retrain())):
        (tmp_path / str(number)).mkdir()
        method.save(tmp_path / str(number))
        saved.append(load_tensors(tmp_path / str(number))[1])
    assert saved[0].keys() == saved[1].keys()
    for name, tensor in saved[1].items():
        assert torch.equal(tensor, saved[0][name]), name


def test_save_and_load_give_the_same_actions(trained, actions, make, drive, case, tmp_path):
    trained.method.save(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".safetensors", ".json"}
    restored = make(case[0], backbone=case[1])
    restored.load(tmp_path)
    if "behaviour" not in case[0].requires.privileges:  # that comes with the data: the harness trains such rows anew
        for seed in SEEDS:
            np.testing.assert_array_equal(drive(restored, seed), actions[seed])
    assert restored.parameter_count() == trained.method.parameter_count() > 0


def test_global_generators_are_left_alone(trained):
    before, after = trained.generators
    assert after == before


def test_log_is_called_after_every_update_of_every_stage(trained):
    stages = list(dict.fromkeys(stage for stage, _, _ in trained.calls))
    assert stages[-1] == "policy"
    totals = {stage: UPDATES if stage == "policy" else ENCODER_UPDATES for stage in stages}
    assert trained.calls == [(s, step, totals[s]) for s in stages for step in range(1, totals[s] + 1)]


def test_policy_inside_the_log_is_the_current_one(trained, actions):
    assert sorted(trained.during) == sorted(LOOKED_AT)
    first, middle, last = (trained.during[step] for step in LOOKED_AT)
    np.testing.assert_array_equal(last, np.stack(list(actions.values())))
    for index in range(len(SEEDS)):
        assert np.abs(first[index] - middle[index]).max() > 1e-5
        assert np.abs(middle[index] - last[index]).max() > 1e-5


def test_actions_are_float32_within_the_limits(actions, space):
    for taken in actions.values():
        assert taken.dtype == np.float32
        assert taken.shape == (6, 8, 2)
        assert np.abs(taken).max() <= space.action_limit


def test_acting_again_gives_the_same_actions(trained, actions, drive):
    np.testing.assert_array_equal(drive(trained.method, 5), actions[5])


def test_reset_forgets_everything(trained, contexts, observed, case):
    context, observations = contexts
    policy = trained.method.policy(3)

    def from_reset(explore):
        policy.reset(8)
        return policy.act(observations, explore=explore)

    prior = [from_reset(explore) for explore in (False, True)]
    policy.condition(context)
    if case[0].requires.context:
        assert np.abs(policy.act(observations) - prior[0]).max() > 1e-6
    for step in observed:
        policy.observe(replace(context, **step))
    policy.end_episode()
    for explore in (False, True):
        np.testing.assert_array_equal(from_reset(explore), prior[explore])


def test_context_matters(trained, contexts, actions, drive, case):
    needs_context(case[0])
    context, _ = contexts
    turned = replace(context, **{name: np.roll(value, 1, axis=0) for name, value in vars(context).items()})
    assert np.abs(drive(trained.method, 3, turned)[0] - actions[3][0]).max() > 1e-6


def test_lanes_are_independent(trained, actions, drive, contexts):
    """Of what the other lanes hold; and of how many there are, except where exploration is random."""
    context, order = contexts[0], [5, 2, 7]
    others = np.setdiff1d(np.arange(8), order)
    turned = {name: value.copy() for name, value in vars(context).items()}
    for value in turned.values():
        value[others] = np.roll(value[others], 1, axis=0)
    changed = drive(trained.method, 3, replace(context, **turned))
    np.testing.assert_allclose(changed[:, order], actions[3][:, order], atol=1e-6)
    executing = [0, 1, 3, 5]
    few = drive(trained.method, 3, lanes=order)
    np.testing.assert_allclose(few[executing], actions[3][executing][:, order], atol=1e-6)


def test_methods_without_the_privilege_do_not_look_at_descriptors(trained, actions, drive, contexts, case):
    if "descriptors" in case[0].requires.privileges:
        pytest.skip("has the privilege")
    np.testing.assert_array_equal(drive(trained.method, 3, replace(contexts[0], descriptors=None)), actions[3])


def test_padding_of_a_context_does_not_matter(trained, actions, drive, contexts):
    context = contexts[0]
    padded = {
        name: np.concatenate([value, np.zeros_like(value[:, :9])], axis=1)
        for name, value in vars(context).items()
        if name != "descriptors"
    }
    np.testing.assert_allclose(drive(trained.method, 3, replace(context, **padded)), actions[3], atol=1e-6)


def test_what_an_ended_lane_observes_does_not_matter(trained, actions, drive, observed):
    garbage = {name: value.copy() for name, value in observed[1].items()}
    for name in ("observations", "actions", "rewards", "next_observations"):
        garbage[name][2] = 7
    np.testing.assert_allclose(drive(trained.method, 3, steps=[observed[0], garbage]), actions[3], atol=1e-6)


def test_an_unknown_seed_has_no_policy(trained):
    with pytest.raises(ValueError, match="4"):
        trained.method.policy(4)


def needs_backbone(cls):
    if not has_backbone(cls):
        pytest.skip("has no backbone")


def test_target_critics_follow_the_critics(trained, case):
    """By a Polyak step after every update, or, where the backbone waits for its policy, after some of them."""
    needs_backbone(case[0])
    if not isinstance(trained.method.backbone, Backbone):
        pytest.skip("has no critics")
    rate, moved = trained.method.backbone_config.target_rate, 0
    for before, after in pairwise(trained.critics):
        each = [(old, critic, target) for (_, old), (critic, target) in zip(before, after, strict=True)]
        rests = all(torch.equal(target, old) for old, _, target in each)
        assert rests or all(torch.allclose(target, old + rate * (c - old), atol=1e-7) for old, c, target in each)
        moved += not rests
    assert moved >= (UPDATES - 1) // 2


def test_a_typo_in_a_setting_is_an_error(make, case):
    cls, backbone = case
    with pytest.raises(ValueError, match="no hyper-parameter 'temprature'"):
        make(cls, backbone=backbone, temprature=1.0)
    needs_backbone(cls)
    with pytest.raises(ValueError, match=r"Config has no hyper-parameter 'temprature'"):
        make(cls, backbone=backbone, backbone_temprature=1.0)


@pytest.mark.parametrize("preset", ["quick", "standard", "paper"])
def test_configuration_is_json_and_says_what_was_used(make, case, preset):
    cls, backbone = case
    configuration = make(cls, preset, backbone, backbone_width=24, backbone_learning_rate=0.5).configuration()
    assert json.loads(json.dumps(configuration)) == configuration
    needs_backbone(cls)
    assert configuration["backbone"]["width"] == 24
    assert configuration["backbone"]["learning_rate"] == 0.5
