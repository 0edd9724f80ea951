"""What others do with the datasets, with Minari, Gymnasium and PyTorch alone: load, replay, filter, learn."""

import json
import os
from types import SimpleNamespace

import gymnasium
import minari
import numpy as np
import pytest
import torch

from omrl_bench.data.behaviour import EXPERT, UniformActor, make_actor
from omrl_bench.data.build import _other_tasks, collect, roll_out
from omrl_bench.data.store import write_dataset
from omrl_bench.envs.single import register

register()


@pytest.fixture(scope="module")
def dataset(every, qualities_of, tmp_path_factory):
    """A few episodes of every family, as Minari loads them; `random` where there are no behaviour policies yet."""
    quality = "mixed" if "mixed" in qualities_of(every) else "random"
    table = every.tasks()
    tasks = np.array([0, len(table) // 2, len(table) - 1])
    behaviours = np.array([0, 4, EXPERT]) if quality == "mixed" else np.full(3, -1)
    seeds = np.array([3, 2**31, 2**32 - 1])
    actor = make_actor(every) if quality == "mixed" else UniformActor(every)
    rng = np.random.default_rng(0)
    episodes = roll_out(every, actor, tasks, behaviours, seeds, rng, threads=1).episodes
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("others") / "datasets"))
        write_dataset(every, quality, episodes, (-1.0, 1.0))
        loaded = minari.load_dataset(f"omrl/{every.name}/{quality}-{every.version}")
        yield SimpleNamespace(family=every, episodes=episodes, minari=loaded, quality=quality)


def about(dataset):
    return list(dataset.minari.storage.get_episode_metadata(range(len(dataset.minari))))


def test_minari_loads_every_family(dataset):
    family, loaded = dataset.family, dataset.minari
    assert loaded.spec.dataset_id == f"omrl/{family.name}/{dataset.quality}-v1"
    assert (loaded.total_episodes, loaded.total_steps) == (3, len(dataset.episodes.rewards))
    assert loaded.observation_space.shape == (family.observation_size,)
    assert loaded.action_space == gymnasium.spaces.Box(-family.action_limit, family.action_limit, (family.action_size,))
    for number, episode in enumerate(loaded.iterate_episodes()):
        rows = slice(dataset.episodes.offsets[number], dataset.episodes.offsets[number + 1])
        np.testing.assert_array_equal(episode.rewards, dataset.episodes.rewards[rows])
        np.testing.assert_array_equal(episode.actions, dataset.episodes.actions[rows])
        np.testing.assert_array_equal(episode.observations[:-1], dataset.episodes.observations[rows])
        assert all(loaded.observation_space.contains(observation) for observation in episode.observations)
        assert all(loaded.action_space.contains(action) for action in episode.actions)
        assert episode.terminations[-1] != episode.truncations[-1]


def test_metadata_of_every_family(dataset):
    family, table = dataset.family, dataset.family.tasks()
    for number, episode in enumerate(about(dataset)):
        task = int(dataset.episodes.tasks[number])
        assert (episode["task_id"], episode["split"]) == (task, table.splits[task])
        assert episode["behaviour"] == dataset.episodes.behaviours[number]
        assert episode["seed"] == dataset.episodes.seeds[number]
        assert episode["return"] == pytest.approx(dataset.minari[number].rewards.sum(dtype=float), abs=1e-9)
    descriptors = json.loads(dataset.minari.storage.metadata["task_table"])
    assert [list(row) for row in descriptors] == [list(family.descriptor)] * len(table)
    assert [list(row.values()) for row in descriptors] == table.descriptors.tolist()


def test_episodes_of_every_family_replay_in_the_recovered_environment(dataset):
    """One environment for all episodes: its task is chosen when it is reset."""
    env = dataset.minari.recover_environment()
    assert env.spec.id == dataset.family.env_id
    for number, episode in enumerate(about(dataset)):
        stored = dataset.minari[number]
        observation, info = env.reset(seed=episode["seed"], options={"task": int(episode["task_id"])})
        assert info["task"] == episode["task_id"]
        for step in range(len(stored)):
            np.testing.assert_allclose(observation, stored.observations[step], rtol=1e-5, atol=1e-6)
            observation, reward, terminated, truncated, _ = env.step(stored.actions[step])
            assert reward == pytest.approx(float(stored.rewards[step]), rel=1e-5, abs=1e-5)
            assert (terminated, truncated) == (stored.terminations[step], stored.truncations[step])
        np.testing.assert_allclose(observation, stored.observations[-1], rtol=1e-5, atol=1e-6)
        assert terminated or truncated
    env.close()


def test_episodes_of_another_task_do_not_replay(cheetah, root):
    """So the test above would notice a wrong task."""
    rng = np.random.default_rng(0)
    episodes = roll_out(cheetah, UniformActor(cheetah), np.array([3]), np.array([-1]), np.array([5]), rng, 1).episodes
    write_dataset(cheetah, "random", episodes, (0.0, 1.0))
    env = minari.load_dataset("omrl/cheetah-vel/random-v1").recover_environment()
    env.reset(seed=5, options={"task": 40})
    rewards = [env.step(action)[1] for action in episodes.actions[:20]]
    assert np.abs(np.array(rewards) - episodes.rewards[:20]).min() > 0.01


def test_cross_episodes_say_what_the_policy_was_told(point, root):
    tasks, rng = np.array([30, 40, 59]), np.random.default_rng(0)
    told = _other_tasks(point, tasks, rng)
    nine = np.full(3, EXPERT)
    episodes = roll_out(point, make_actor(point), tasks, nine, tasks, rng, 1, told=told).episodes
    write_dataset(point, "cross", episodes, (0.0, 1.0))
    loaded = minari.load_dataset("omrl/point-goal/cross-v1")
    rows = json.loads(loaded.storage.metadata["task_table"])
    for number, episode in enumerate(loaded.storage.get_episode_metadata(range(3))):
        goal = np.array(list(rows[int(episode["told_task_id"])].values()))
        assert np.linalg.norm(loaded[number].observations[-1] - goal) < 0.1
        assert episode["told_task_id"] == told[number] != episode["task_id"]


# --- a learner of somebody else's: behaviour cloning, conditioned on the task


def pad(episodes):
    """Collate function in the manner of Minari's documentation, with a mask."""
    stack = torch.nn.utils.rnn.pad_sequence
    lengths = torch.tensor([len(episode) for episode in episodes])
    return {
        "ids": torch.tensor([episode.id for episode in episodes]),
        "observations": stack([torch.as_tensor(e.observations[:-1]) for e in episodes], batch_first=True),
        "actions": stack([torch.as_tensor(e.actions) for e in episodes], batch_first=True),
        "mask": torch.arange(int(lengths.max())) < lengths[:, None],
    }


@pytest.fixture
def one_thread():
    """Networks this small are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def training_half(point, root):
    """Expert episodes of unequal length of the training tasks, filtered by Minari."""
    whole = collect(point, "expert", 1, episodes=2).episodes
    lengths = np.random.default_rng(0).integers(20, point.horizon, len(whole.tasks), endpoint=True)
    kept = (np.arange(point.horizon) < lengths[:, None]).ravel()
    rows = {name: getattr(whole, name)[kept] for name in ("observations", "actions", "rewards", "next_observations")}
    cut = type(whole)(
        **rows,
        terminated=whole.terminated[kept],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        tasks=whole.tasks,
        behaviours=whole.behaviours,
        seeds=whole.seeds,
    )
    write_dataset(point, "expert", cut, (0.0, 1.0))
    loaded = minari.load_dataset("omrl/point-goal/expert-v1")
    splits = [episode["split"] for episode in loaded.storage.get_episode_metadata(range(len(loaded)))]
    return loaded.filter_episodes(lambda episode: splits[episode.id] == "train")


def test_behaviour_cloning_with_a_torch_loader(training_half, one_thread):
    assert len(training_half) == 60
    rows = json.loads(training_half.storage.metadata["task_table"])
    metadata = training_half.storage.get_episode_metadata(range(120))
    tasks = [[rows[int(episode["task_id"])][name] for name in ("goal_x", "goal_y")] for episode in metadata]
    goals = torch.tensor(tasks, dtype=torch.float32)
    loader = torch.utils.data.DataLoader(
        training_half, batch_size=16, shuffle=True, collate_fn=pad, generator=torch.Generator().manual_seed(0)
    )
    network = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2), torch.nn.Tanh())
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.4, 0.4, generator=rng)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    losses, seen = [], set()
    while len(losses) < 20:
        for batch in loader:
            seen |= set(batch["ids"].tolist())
            assert batch["observations"].shape[:2] == batch["actions"].shape[:2] == batch["mask"].shape
            assert not batch["mask"].all()  # somebody is padded
            assert not batch["actions"][~batch["mask"]].any()
            here = goals[batch["ids"]][:, None].expand(*batch["mask"].shape, 2)
            predicted = 0.1 * network(torch.cat([batch["observations"], here], dim=-1))
            loss = ((predicted - batch["actions"]) ** 2)[batch["mask"]].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert seen == set(range(60))  # episodes of the 30 training tasks, two each
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:2])
