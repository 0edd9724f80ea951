"""Datasets on disk: our copy bit for bit, and what Minari and others read from it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import minari
import numpy as np
import pytest
import torch

from omrl_bench.data.behaviour import make_actor
from omrl_bench.data.build import roll_out
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.store import (
    data_root,
    dataset_folder,
    dataset_id,
    file_hash,
    read_episodes,
    read_receipt,
    write_dataset,
)
from omrl_bench.envs.single import register

register()


def assert_same(actual: Episodes, expected: Episodes):
    for name, array in expected.arrays().items():
        read = getattr(actual, name)
        assert (read.dtype, read.shape) == (array.dtype, array.shape), name
        assert read.tobytes() == array.tobytes(), name


# --- our own copy


def test_round_trip_is_bit_for_bit(point, small, written):
    episodes, receipt = read_episodes(point, "mixed")
    assert_same(episodes, small)
    assert receipt.content == small.content_hash() == episodes.content_hash()


def test_round_trip_of_unequal_and_terminated_episodes(point, make_ragged, root):
    ragged = make_ragged(point)
    assert ragged.terminated.any()
    write_dataset(point, "random", ragged, (0.0, 1.0))
    assert_same(read_episodes(point, "random")[0], ragged)


def test_round_trip_of_what_the_policy_was_told(point, make_ragged, root):
    ragged = make_ragged(point)
    ragged = replace(ragged, told=(ragged.tasks + 1) % len(point.tasks()))
    write_dataset(point, "cross", ragged, (0.0, 1.0))
    assert_same(read_episodes(point, "cross")[0], ragged)
    metadata = minari.load_dataset("omrl/point-goal/cross-v1").storage.get_episode_metadata(range(len(ragged.tasks)))
    assert [about["told_task_id"] for about in metadata] == ragged.told.tolist()


def test_odd_values_survive(point, make_ragged, root):
    ragged = make_ragged(point)
    ragged.rewards[:4] = [np.nan, -np.inf, -0.0, np.finfo(np.float32).tiny]
    write_dataset(point, "mixed", ragged, (0.0, 1.0))
    assert_same(read_episodes(point, "mixed")[0], ragged)


def test_receipt_says_what_was_written(point, small, written):
    receipt = read_receipt(point, "mixed")
    assert (receipt.family, receipt.quality) == ("point-goal", "mixed")
    assert receipt.family_fingerprint == point.fingerprint()
    assert receipt.hdf5 == file_hash(written / "data" / "main_data.hdf5")
    assert receipt.packed == file_hash(written / "packed.safetensors")
    assert receipt.contexts == file_hash(written / "contexts.safetensors")
    parts = {split: small.of_tasks(tasks).content_hash() for split, tasks in point.tasks().by_split().items()}
    assert receipt.parts == parts and len(set(parts.values())) == 3
    assert receipt.dropped == 0
    assert receipt.built_by.startswith("omrl-bench ")
    assert sorted(f.name for f in written.iterdir()) == [
        "contexts.safetensors",
        "data",
        "packed.safetensors",
        "receipt.json",
    ]


def test_writing_again_replaces_the_dataset(point, small, make_ragged, written):
    ragged = make_ragged(point)
    write_dataset(point, "mixed", ragged, (0.0, 1.0))
    assert_same(read_episodes(point, "mixed")[0], ragged)
    assert [f.name for f in written.parent.iterdir() if f.is_dir()] == ["mixed-v1"]
    assert len(minari.load_dataset("omrl/point-goal/mixed-v1")) == len(ragged.tasks)


def test_the_same_episodes_give_the_same_packed_file(point, small, written, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "another"))
    assert write_dataset(point, "mixed", small, (0.0, 1.0)).packed == file_hash(written / "packed.safetensors")


def test_where_datasets_are(point, tmp_path, monkeypatch):
    assert dataset_id(point, "expert") == "omrl/point-goal/expert-v1"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert dataset_folder(point, "expert") == tmp_path / "omrl" / "point-goal" / "expert-v1"
    monkeypatch.setenv("MINARI_DATASETS_PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == tmp_path / ".minari" / "datasets"


def test_a_dataset_is_as_readable_as_the_umask_says(point, make_ragged, root):
    root.mkdir(parents=True)
    expected = root / "expected"
    expected.touch()
    write_dataset(point, "mixed", make_ragged(point), (0.0, 1.0))
    folder = dataset_folder(point, "mixed")
    files = {f.name: oct(f.stat().st_mode & 0o777) for f in folder.rglob("*") if f.is_file()}
    assert oct(folder.stat().st_mode & 0o777) == oct(root.stat().st_mode & 0o777)
    assert set(files.values()) == {oct(expected.stat().st_mode & 0o777)}, files


# --- Minari


def check_minari_episodes(dataset, episodes, family):
    """Every array and every piece of metadata that Minari reads."""
    table, returns = family.tasks(), episodes.returns()
    read = list(dataset.iterate_episodes())
    metadata = list(dataset.storage.get_episode_metadata(range(len(read))))
    assert len(read) == len(episodes.tasks) == dataset.total_episodes
    assert dataset.total_steps == len(episodes.rewards)
    for e, (episode, about) in enumerate(zip(read, metadata, strict=True)):
        rows = slice(episodes.offsets[e], episodes.offsets[e + 1])
        assert episode.id == e
        expected = {
            "observations": np.concatenate([episodes.observations[rows], episodes.next_observations[rows][-1:]]),
            "actions": episodes.actions[rows],
            "rewards": episodes.rewards[rows],
            "terminations": episodes.terminated[rows],
        }
        for name, array in expected.items():
            stored = getattr(episode, name)
            assert (stored.dtype, stored.shape) == (array.dtype, array.shape)
            assert stored.tobytes() == array.tobytes()
        assert not episode.truncations[:-1].any()
        assert episode.truncations[-1] == (not episode.terminations[-1])  # one or the other ends it
        task = int(episodes.tasks[e])
        assert about["task_id"] == task
        assert about["split"] == table.splits[task]
        assert about["behaviour"] == episodes.behaviours[e]
        assert about["return"] == returns[e]
        assert about["seed"] == episodes.seeds[e]
        assert about["total_steps"] == len(episode)
        assert "told_task_id" not in about


def test_minari_reads_the_episodes(point, small, written):
    check_minari_episodes(minari.load_dataset("omrl/point-goal/mixed-v1"), small, point)


def test_minari_reads_unequal_and_terminated_episodes(point, make_ragged, root):
    ragged = make_ragged(point)
    # within an episode, a row's next observation is the next row's observation
    inside = np.setdiff1d(np.arange(len(ragged.rewards)), ragged.offsets[1:] - 1)
    ragged.next_observations[inside] = ragged.observations[inside + 1]
    write_dataset(point, "random", ragged, (0.0, 1.0))
    dataset = minari.load_dataset("omrl/point-goal/random-v1")
    check_minari_episodes(dataset, ragged, point)
    ends = {bool(episode.terminations[-1]) for episode in dataset.iterate_episodes()}
    assert ends == {True, False}


def test_minari_metadata(point, small, written):
    dataset = minari.load_dataset("omrl/point-goal/mixed-v1")
    metadata = dataset.storage.metadata
    assert dataset.spec.dataset_id == "omrl/point-goal/mixed-v1"
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (-60.0, -4.0)
    assert metadata["num_episodes_average_score"] == len(small.tasks)
    assert dataset.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert dataset.action_space == gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)
    assert all(dataset.action_space.contains(a) for a in dataset[0].actions)
    descriptors = json.loads(metadata["task_table"])
    assert len(descriptors) == len(point.tasks())
    assert [descriptors[7]["goal_x"], descriptors[7]["goal_y"]] == point.tasks().descriptors[7].tolist()


def test_minari_filters_by_task(point, small, written):
    dataset = minari.load_dataset("omrl/point-goal/mixed-v1")
    wanted = [int(m["id"]) for m in dataset.storage.get_episode_metadata(range(len(small.tasks))) if m["task_id"] == 5]
    assert wanted == [10, 11]
    chosen = dataset.filter_episodes(lambda episode: episode.id in wanted)
    assert chosen.total_steps == 120


def test_minari_lists_only_complete_datasets(point, small, written):
    (written.parent / ".building-abc" / "data").mkdir(parents=True)
    assert list(minari.list_local_datasets()) == ["omrl/point-goal/mixed-v1"]


def replay(dataset, number, atol):
    """Play a stored episode again in Gymnasium, from its metadata alone."""
    about = next(iter(dataset.storage.get_episode_metadata([number])))
    episode = dataset[number]
    env = dataset.recover_environment(task=int(about["task_id"]))
    observation, info = env.reset(seed=about["seed"])
    assert info == {"task": about["task_id"]}
    for step in range(len(episode)):
        np.testing.assert_allclose(observation.astype(np.float32), episode.observations[step], rtol=0, atol=atol)
        observation, reward, terminated, truncated, _ = env.step(episode.actions[step])
        assert reward == pytest.approx(float(episode.rewards[step]), rel=1e-6, abs=1e-6)
        assert (terminated, truncated) == (episode.terminations[step], episode.truncations[step])
    np.testing.assert_allclose(observation.astype(np.float32), episode.observations[-1], rtol=0, atol=atol)
    assert truncated
    env.close()


def test_stored_point_episodes_replay_in_gymnasium(written):
    dataset = minari.load_dataset("omrl/point-goal/mixed-v1")
    for number in (0, 61, 279):
        replay(dataset, number, atol=0)


def test_stored_cheetah_episodes_replay_in_gymnasium(cheetah, root):
    tasks, behaviours, seeds = np.array([0, 35, 169]), np.array([0, 5, 9]), np.array([7, 2**31, 2**32 - 1])
    rng = np.random.default_rng(0)
    episodes = roll_out(cheetah, make_actor(cheetah), tasks, behaviours, seeds, rng, threads=2).episodes
    write_dataset(cheetah, "mixed", episodes, (-300.0, -50.0))
    dataset = minari.load_dataset("omrl/cheetah-vel/mixed-v1")
    for number in range(3):
        replay(dataset, number, atol=1e-6)


# --- other programs


def run(command, folder, root):
    environment = {"MINARI_DATASETS_PATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    environment |= {"COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


def test_the_environment_is_recovered_where_omrl_bench_was_never_imported(tmp_path, small_root):
    code = (
        "import minari; d = minari.load_dataset('omrl/point-goal/mixed-v1'); e = d.recover_environment(task=4); "
        "print(e.spec.id, e.reset(seed=0)[1], e.spec.max_episode_steps)"
    )
    assert run([sys.executable, "-c", code], tmp_path, small_root) == "omrl/PointGoal-v1 {'task': 4} 60\n"


@pytest.mark.parametrize("arguments", [["show", "omrl/point-goal/mixed-v1"], ["list", "local"]], ids=["show", "list"])
def test_minaris_command_line_names_the_dataset(tmp_path, small_root, arguments):
    minari_command = shutil.which("minari", path=str(Path(sys.executable).parent))
    if minari_command is None:
        pytest.skip("Minari's command is not installed beside this Python")
    shown = run([minari_command, *arguments], tmp_path, small_root)
    assert "omrl/point-goal/mixed-v1" in shown
    assert "The omrl-bench authors" in shown


def pad(episodes):
    """Collate function of Minari's documentation."""
    stack = torch.nn.utils.rnn.pad_sequence
    return {
        "observations": stack([torch.as_tensor(e.observations[:-1]) for e in episodes], batch_first=True),
        "actions": stack([torch.as_tensor(e.actions) for e in episodes], batch_first=True),
        "lengths": torch.tensor([len(e) for e in episodes]),
    }


def test_a_torch_loader_trains_on_the_minari_dataset(written):
    dataset = minari.load_dataset("omrl/point-goal/mixed-v1")
    generator = torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True, collate_fn=pad, generator=generator)
    batch = next(iter(loader))
    assert batch["observations"].shape == (16, 60, 2)
    assert batch["lengths"].tolist() == [60] * 16
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def loss():
        return ((network(batch["observations"]) - batch["actions"]) ** 2).mean()

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


def test_dataset_of_another_version_keeps_a_folder_of_its_own(point, make_ragged, written):
    newer = replace(point, env_id="omrl/PointGoal-v2")
    assert dataset_folder(newer, "mixed").name == "mixed-v2"
    assert dataset_folder(newer, "mixed") != written
