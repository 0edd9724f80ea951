"""Training of behaviour policies: tiny agents, interrupted and resumed; the choice of ten checkpoints."""

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from stable_baselines3 import PPO, SAC

from omrl_bench.data import train_behaviour
from omrl_bench.data.behaviour import CheckpointActor
from omrl_bench.data.build import roll_out
from omrl_bench.data.train_behaviour import (
    CONFIGS,
    PpoConfig,
    SacConfig,
    TaskConditionedVecEnv,
    evaluate,
    select,
    train,
)
from omrl_bench.envs import mujoco_physics
from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.errors import InputError

TINY = {
    "sac": SacConfig(
        lanes=4, updates=24, updates_per_step=2, width=8, batch=16, random_steps=12, checkpoint_every=4, seed=3
    ),
    "ppo": PpoConfig(lanes=4, updates=24, rollout=8, epochs=2, width=8, batch=16, checkpoint_every=4, seed=3),
}
POINTS = [0, 4, 8, 12, 16, 20, 24]  # updates

both = pytest.mark.parametrize("learner", TINY)


class SmallSAC(SAC):
    """With a replay buffer that is saved in no time."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords | {"buffer_size": 400})


@pytest.fixture(scope="module")
def short(cheetah):
    return replace(cheetah, horizon=6)


@pytest.fixture
def hopper():
    return replace(get_family("hopper-params"), horizon=6)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(train_behaviour, "SAC", SmallSAC)
    monkeypatch.setattr(train_behaviour, "SAVE_EVERY", 2)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def curve(folder):
    with (folder / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def interrupt_after(monkeypatch, points):
    """Interrupt the training while it evaluates the point after so many."""
    left = [2 * points]  # two evaluations each

    def evaluate_or_stop(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(train_behaviour, "evaluate", evaluate_or_stop)


@both
def test_a_training_leaves_a_curve_and_an_actor_per_point(short, tmp_path, learner):
    train(short, TINY[learner], tmp_path)
    rows = curve(tmp_path)
    assert list(rows[0]) == ["updates", "steps", "return_deterministic", "return_stochastic"]
    assert [int(row["updates"]) for row in rows] == POINTS
    steps = [int(row["steps"]) for row in rows]
    assert steps[0] == 0
    assert (np.diff(steps) > 0).all()
    actors = sorted(tmp_path.glob("actor-*.safetensors"))
    assert [actor.name for actor in actors] == [f"actor-{updates:07d}.safetensors" for updates in POINTS]
    tensors = [load_file(actor) for actor in actors]
    assert all(not np.array_equal(a["mean.weight"], b["mean.weight"]) for a, b in pairwise(tensors))
    for k in (0, 6):  # what the curve says is what the actor does
        weights = {name: torch.from_numpy(array) for name, array in tensors[k].items()}
        for name, deterministic in (("return_deterministic", True), ("return_stochastic", False)):
            assert evaluate(weights, short, deterministic) == pytest.approx(float(rows[k][name]), abs=0.006)


@both
@pytest.mark.parametrize("points", [3, 4, 5])
def test_an_interrupted_training_goes_on_without_points_twice(short, tmp_path, monkeypatch, learner, points):
    """States are saved at the second and the fourth point."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, points)
        with pytest.raises(KeyboardInterrupt):
            train(short, TINY[learner], tmp_path)
    before = curve(tmp_path)
    assert [int(row["updates"]) for row in before] == POINTS[:points]
    train(short, TINY[learner], tmp_path)
    after = curve(tmp_path)
    assert [int(row["updates"]) for row in after] == POINTS
    saved = points // 2 * 2
    assert after[:saved] == before[:saved]
    assert len({row["updates"] for row in after}) == len(after)
    steps = [int(row["steps"]) for row in after]
    assert steps == sorted(set(steps))
    assert {p.name for p in tmp_path.glob("actor-*")} == {f"actor-{u:07d}.safetensors" for u in POINTS}


@both
def test_a_training_that_was_interrupted_before_it_saved_begins_again(short, tmp_path, monkeypatch, learner):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(short, TINY[learner], tmp_path)
    assert not (tmp_path / "agent.zip").exists()
    train(short, TINY[learner], tmp_path)
    assert [int(row["updates"]) for row in curve(tmp_path)] == POINTS


@both
def test_the_agent_that_goes_on_is_the_one_that_was_saved(short, tmp_path, monkeypatch, learner):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(short, TINY[learner], tmp_path)
    config = TINY[learner]
    agent = train_behaviour._resume(config, TaskConditionedVecEnv(short, config.lanes, 9), tmp_path)
    assert isinstance(agent, SAC if learner == "sac" else PPO)
    assert agent._n_updates == POINTS[3]
    stored = load_file(tmp_path / f"actor-{POINTS[3]:07d}.safetensors")
    resumed = train_behaviour.actor_tensors(agent)
    assert set(stored) == set(resumed)
    for name, tensor in resumed.items():
        np.testing.assert_array_equal(tensor.numpy(), stored[name])
    if learner == "sac":
        assert agent.replay_buffer.size() > 0


@both
def test_a_finished_training_is_not_trained_further(short, tmp_path, learner):
    config = TINY[learner]
    train(short, config, tmp_path)
    before = curve(tmp_path)
    train(short, config, tmp_path)
    assert curve(tmp_path)[:6] == before[:6]
    assert [int(row["updates"]) for row in curve(tmp_path)] == POINTS


def test_evaluate_is_the_mean_return_over_all_tasks(short):
    rng = np.random.default_rng(0)
    shapes = {"hidden0": (8, 18), "hidden1": (8, 8), "mean": (6, 8), "log_std": (6, 8)}
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.from_numpy(rng.normal(size=shape)).half()
        tensors[f"{name}.bias"] = torch.from_numpy(rng.normal(size=shape[0])).half()
    tasks = short.tasks().ids()
    actor = CheckpointActor(short, [{name: tensor.numpy() for name, tensor in tensors.items()}])
    returns = {}
    for deterministic in (True, False):
        episodes = roll_out(
            short, actor, tasks, 0 * tasks, 10**6 + tasks, np.random.default_rng(0), 1, deterministic
        ).episodes
        returns[deterministic] = episodes.returns().mean()
        assert evaluate(tensors, short, deterministic) == pytest.approx(returns[deterministic])
    assert returns[True] != returns[False]


def test_settings_are_of_families_that_exist():
    assert set(CONFIGS) <= set(FAMILIES)
    assert all(isinstance(config, (SacConfig, PpoConfig)) for config in CONFIGS.values())


# --- the environment that Stable-Baselines3 sees


def test_the_descriptor_is_part_of_what_the_agent_sees_and_episodes_restart(short):
    env = TaskConditionedVecEnv(short, 5, seed=0)
    shown = env.reset()
    assert shown.shape == (5, 18) == (5, *env.observation_space.shape)
    assert shown.dtype == np.float32
    for step in range(1, 14):
        told = env._descriptors[:, 0].astype(np.float32)
        np.testing.assert_array_equal(shown[:, 17], told)
        env.step_async(np.zeros((5, 6)))
        shown, rewards, done, infos = env.step_wait()
        assert rewards.dtype == np.float32
        assert done.tolist() == [step % 6 == 0] * 5
        for lane, info in enumerate(infos):
            if done[lane]:
                assert info["TimeLimit.truncated"]
                assert info["terminal_observation"][17] == told[lane]  # the old task's
                assert not np.array_equal(info["terminal_observation"], shown[lane])
            else:
                assert info == {}


def drawn(env, episodes):
    """Descriptors of the tasks of so many episodes of every lane."""
    env.reset()
    descriptors = [env._descriptors.copy()]
    for _ in range(episodes - 1):
        env._restart(np.arange(env.num_envs))
        descriptors.append(env._descriptors.copy())
    return np.concatenate(descriptors)


def test_all_tasks_are_trained_on(short):
    """Those of the table, and no others."""
    seen = drawn(TaskConditionedVecEnv(short, 900, seed=0), 2)
    assert set(seen[:, 0]) == set(short.tasks().descriptors[:, 0])


def test_from_the_law_every_episode_has_a_task_of_its_own_and_one_in_four_lies_beyond(short):
    seen = drawn(TaskConditionedVecEnv(short, 500, seed=0, from_law=True), 4)[:, 0]
    assert len(set(seen)) == len(seen) == 2000
    assert not set(seen) & set(short.tasks().descriptors[:, 0])
    beyond = seen > 3  # cheetah-vel is uniform in [0, 3], and in [3.05, 3.5] beyond
    assert beyond.mean() == pytest.approx(TaskConditionedVecEnv.BEYOND, abs=0.03)
    assert seen[beyond].min() >= 3.05 and seen.max() <= 3.5
    quarters = np.histogram(seen[~beyond], np.linspace(0, 3, 5))[0] / (~beyond).sum()
    assert quarters == pytest.approx(np.full(4, 0.25), abs=0.04)


def test_from_a_law_with_nothing_beyond_all_tasks_are_of_the_law(point):
    seen = drawn(TaskConditionedVecEnv(point, 100, seed=0, from_law=True), 2)
    assert len(np.unique(seen, axis=0)) == 200
    np.testing.assert_allclose(np.hypot(*seen.T), 1)


def test_the_simulation_is_of_the_task_that_was_drawn(hopper):
    """A restart in the middle of training gives the dynamics of the new descriptor."""
    env = TaskConditionedVecEnv(hopper, 3, seed=0, from_law=True)
    env.reset()
    env._restart(np.arange(3))
    models = [env._env._law.task_model(descriptor) for descriptor in env._descriptors]
    assert env._env._physics[0]._models == models
    nominal = env._env._law.model
    for model, descriptor in zip(models, env._descriptors, strict=True):
        np.testing.assert_allclose(model.body_mass, nominal.body_mass * np.exp(descriptor[: nominal.nbody]))


def test_models_of_tasks_that_are_drawn_do_not_fill_the_memory(hopper, monkeypatch):
    monkeypatch.setattr(mujoco_physics, "MODELS", 5)
    law, rng = hopper.make_law(), np.random.default_rng(0)
    kept = []
    for descriptor in hopper.task_law.inside(rng, 23):
        model = law.task_model(descriptor)
        assert law.task_model(descriptor) is model
        kept.append(len(law._task_models))
    assert max(kept) == 5 and kept[-1] == 3


def test_the_bound_on_kept_models_is_above_the_number_of_tasks_of_any_table():
    assert max(len(family.tasks()) for family in FAMILIES.values()) < mujoco_physics.MODELS


# --- the choice


def write_training(folder, returns, every=100):
    folder.mkdir()
    lines = ["updates,steps,return_deterministic,return_stochastic"]
    for k, value in enumerate(returns):
        lines.append(f"{every * k},{every * k * 10},{value},{-value}")
        (folder / f"actor-{every * k:07d}.safetensors").write_text(f"actor {k}")
    (folder / "curve.csv").write_text("\n".join(lines) + "\n")


def test_select_keeps_the_first_the_best_and_eight_between_at_squares(tmp_path):
    returns = [*range(82), 50, 60]
    write_training(tmp_path / "training", returns)
    select(tmp_path / "training", tmp_path / "new" / "policies", tmp_path / "other" / "curve.csv")
    kept = [(tmp_path / "new" / "policies" / f"{k}.safetensors").read_text() for k in range(10)]
    assert kept == [f"actor {k * k}" for k in range(10)]  # the best is number 81
    assert len(list((tmp_path / "new" / "policies").iterdir())) == 10
    with (tmp_path / "other" / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    marked = {int(row["updates"]): row["behaviour"] for row in rows if row["behaviour"]}
    assert marked == {100 * k * k: str(k) for k in range(10)}
    assert [{name: row[name] for name in row if name != "behaviour"} for row in rows] == curve(tmp_path / "training")
    assert b"\r" not in (tmp_path / "other" / "curve.csv").read_bytes()


def test_select_never_keeps_a_checkpoint_twice(tmp_path):
    """Ten points between the first and the best: the squares crowd at the start."""
    write_training(tmp_path / "training", [*range(11), 3])
    select(tmp_path / "training", tmp_path / "policies", tmp_path / "curve.csv")
    kept = [int((tmp_path / "policies" / f"{k}.safetensors").read_text().split()[1]) for k in range(10)]
    assert kept == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]


def test_select_of_a_training_whose_best_is_too_early_is_an_input_error(tmp_path):
    write_training(tmp_path / "training", [*range(9), 3, 4, 5])
    with pytest.raises(InputError, match="the best checkpoint is number 8; ten need at least ten, train longer"):
        select(tmp_path / "training", tmp_path / "policies", tmp_path / "curve.csv")
    assert not (tmp_path / "policies").exists()
