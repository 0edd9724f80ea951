"""Checkpoint actors against PyTorch, and against the policies of Stable-Baselines3 that they were taken from."""

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import load
from stable_baselines3 import PPO, SAC

from omrl_bench.data.behaviour import CheckpointActor, make_actor, read_checkpoints
from omrl_bench.data.train_behaviour import (
    PpoConfig,
    SacConfig,
    TaskConditionedVecEnv,
    _start,
    actor_tensors,
)
from omrl_bench.envs.families import FAMILIES
from omrl_bench.errors import InputError


def torch_forward(family, behaviour, observations, descriptors):
    """Mean and standard deviation before tanh, by PyTorch, in double precision."""
    file = resources.files("omrl_bench.data").joinpath("policies", family.name, f"{behaviour}.safetensors")
    weights = {name: tensor.double() for name, tensor in load(file.read_bytes()).items()}
    x = torch.from_numpy(np.concatenate([observations, descriptors], axis=1))
    for layer in ("hidden0", "hidden1"):
        x = torch.relu(torch.nn.functional.linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"]))
    mean = torch.nn.functional.linear(x, weights["mean.weight"], weights["mean.bias"])
    log_std = torch.nn.functional.linear(x, weights["log_std.weight"], weights["log_std.bias"])
    return mean.numpy(), log_std.clamp(-20, 2).exp().numpy()


@pytest.fixture(scope="module")
def cheetah_lanes(cheetah):
    """30 lanes in which the behaviours alternate, as in a dataset."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(30, 17))
    return np.arange(30) * 7 % 10, observations, cheetah.tasks().descriptors[rng.integers(70, size=30)]


def test_checkpoint_actor_equals_torch(cheetah, cheetah_lanes):
    behaviours, observations, descriptors = cheetah_lanes
    actor = CheckpointActor(cheetah, read_checkpoints(cheetah))
    for deterministic in (True, False):
        rng = np.random.default_rng(5)
        actor.reset(behaviours, rng)
        actions = actor.act(observations, descriptors, rng, deterministic)
        noise = np.random.default_rng(5).standard_normal((30, 6), dtype=np.float32)
        for lane, behaviour in enumerate(behaviours):
            here = slice(lane, lane + 1)
            mean, std = torch_forward(cheetah, behaviour, observations[here], descriptors[here])
            expected = np.tanh(mean if deterministic else mean + std * noise[lane])
            np.testing.assert_allclose(actions[here], expected, atol=2e-5)


def test_checkpoints_are_ten_different_ones(cheetah, cheetah_lanes):
    _, observations, descriptors = cheetah_lanes
    means = [torch_forward(cheetah, k, observations, descriptors)[0] for k in range(10)]
    for k in range(9):
        assert np.abs(means[k] - means[k + 1]).max() > 0.1


def test_the_checkpoints_see_the_task(cheetah, cheetah_lanes):
    _, observations, _ = cheetah_lanes
    slow, fast = (torch_forward(cheetah, 9, observations, np.full((30, 1), v))[0] for v in (0.5, 2.5))
    assert np.abs(slow - fast).max() > 0.1


def test_a_family_without_checkpoints_is_an_input_error(cheetah):
    with pytest.raises(InputError, match="'cheetah-none' has no behaviour policies yet"):
        make_actor(replace(cheetah, name="cheetah-none"))


@pytest.mark.parametrize(("borrower", "lender"), [(name, f.policies) for name, f in FAMILIES.items() if f.policies])
def test_borrowed_checkpoints_are_of_a_family_with_the_same_inputs(borrower, lender):
    borrower, lender = FAMILIES[borrower], FAMILIES[lender]
    for attribute in ("observation_size", "action_size", "action_limit", "descriptor", "assets"):
        assert getattr(borrower, attribute) == getattr(lender, attribute)
    try:
        theirs = read_checkpoints(lender)
    except InputError:
        pytest.skip(f"{lender.name} has no policies yet")
    for mine, other in zip(read_checkpoints(borrower), theirs, strict=True):
        assert set(mine) == set(other)
        assert all(np.array_equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.controller])
def test_every_checkpoint_fits_its_family(name):
    family = FAMILIES[name]
    try:
        checkpoints = read_checkpoints(family)
    except InputError:
        pytest.skip(f"{name} has no policies yet")
    assert isinstance(make_actor(family), CheckpointActor)
    for tensors in checkpoints:
        assert {array.dtype for array in tensors.values()} == {np.dtype(np.float16)}
        assert all(np.isfinite(array).all() for array in tensors.values())
        assert tensors["hidden0.weight"].shape[1] == family.observation_size + len(family.descriptor)
        assert tensors["mean.bias"].shape == (family.action_size,)
        assert ("log_std" in tensors) != ("log_std.weight" in tensors)


# --- actors of agents


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ppo(cheetah):
    """After a few steps, so that the moments of the observations are no longer 0 and 1."""
    config = PpoConfig(lanes=4, rollout=16, epochs=2, batch=32, width=16, learning_rate=0.02)
    agent = _start(cheetah, config, TaskConditionedVecEnv(cheetah, 4, 0))
    assert isinstance(agent, PPO)
    return agent.learn(256)


@pytest.fixture(scope="module")
def sac(cheetah):
    class Small(SAC):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords | {"buffer_size": 1000})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omrl_bench.data.train_behaviour.SAC", Small)
        config = SacConfig(lanes=4, updates_per_step=2, width=16, batch=32, random_steps=40)
        return _start(cheetah, config, TaskConditionedVecEnv(cheetah, 4, 0)).learn(80)


def actions_of(family, agent, observations, descriptors, deterministic):
    """Actions of the agent's actor, and the noise in them."""
    actor = CheckpointActor(family, [{name: tensor.numpy() for name, tensor in actor_tensors(agent).items()}])
    actor.reset(np.zeros(len(observations), int), np.random.default_rng(0))
    actions = actor.act(observations, descriptors, np.random.default_rng(3), deterministic)
    noise = np.random.default_rng(3).standard_normal(actions.shape, dtype=np.float32)
    return actions, torch.from_numpy(noise)


@pytest.fixture(scope="module")
def states(cheetah, ppo):
    """Observations as an agent meets them, and descriptors of tasks."""
    rng = np.random.default_rng(0)
    moments = ppo.get_vec_normalize_env().obs_rms
    inputs = moments.mean + np.sqrt(moments.var) * rng.normal(size=(200, 18))
    return inputs[:, :17].astype(np.float32), cheetah.tasks().descriptors[rng.integers(70, size=200)]


def test_ppo_actor_equals_the_agents_prediction(cheetah, ppo, states):
    """Of normalised observations; the actor's weights are in half precision."""
    inputs = np.concatenate(states, axis=1, dtype=np.float32)
    normalised = ppo.get_vec_normalize_env().normalize_obs(inputs)
    expected, _ = ppo.predict(normalised, deterministic=True)
    actions, _ = actions_of(cheetah, ppo, *states, deterministic=True)
    np.testing.assert_allclose(actions, expected, atol=5e-3)
    assert np.abs(expected - ppo.predict(inputs, deterministic=True)[0]).mean() > 0.05  # the normalisation matters
    actions, noise = actions_of(cheetah, ppo, *states, deterministic=False)
    with torch.no_grad():
        distribution = ppo.policy.get_distribution(torch.from_numpy(normalised)).distribution
        sampled = (distribution.mean + distribution.stddev * noise).clamp(-1, 1)
    np.testing.assert_allclose(actions, sampled.numpy(), atol=5e-3)
    assert (np.abs(actions) == 1).any()  # clipped, not squashed


def test_sac_actor_equals_the_agents_prediction(cheetah, sac, states):
    inputs = np.concatenate(states, axis=1, dtype=np.float32)
    expected, _ = sac.predict(inputs, deterministic=True)
    actions, _ = actions_of(cheetah, sac, *states, deterministic=True)
    np.testing.assert_allclose(actions, expected, atol=5e-3)
    assert expected.std(axis=0).min() > 0.01
    actions, noise = actions_of(cheetah, sac, *states, deterministic=False)
    with torch.no_grad():
        mean, log_std, _ = sac.actor.get_action_dist_params(torch.from_numpy(inputs))
        sampled = torch.tanh(mean + log_std.exp() * noise)
    np.testing.assert_allclose(actions, sampled.numpy(), atol=5e-3)


def test_which_tensors_an_actor_has(ppo, sac):
    shared = {f"{layer}.{part}" for layer in ("hidden0", "hidden1", "mean") for part in ("weight", "bias")}
    assert set(actor_tensors(ppo)) == shared | {"log_std"}
    assert set(actor_tensors(sac)) == shared | {"log_std.weight", "log_std.bias"}
    assert {tensor.dtype for agent in (ppo, sac) for tensor in actor_tensors(agent).values()} == {torch.float16}


def test_lanes_of_both_kinds_of_actors(cheetah, ppo, sac, states):
    """Each lane is acted in by its own behaviour, whatever the others are."""
    weights = [{name: tensor.numpy() for name, tensor in actor_tensors(agent).items()} for agent in (ppo, sac)]
    mixed, behaviours = CheckpointActor(cheetah, weights), np.arange(200) % 2
    rng = np.random.default_rng(0)
    mixed.reset(behaviours, rng)
    together = mixed.act(*states, rng, deterministic=True)
    for behaviour in (0, 1):
        alone = CheckpointActor(cheetah, [weights[behaviour]])
        alone.reset(np.zeros(200, int), rng)
        here = behaviours == behaviour
        np.testing.assert_allclose(together[here], alone.act(*states, rng, True)[here], atol=1e-6)
