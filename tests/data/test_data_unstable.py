"""Episodes in which the simulation became unstable are left out and counted; a few of them are still a dataset."""

from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.data import build
from omrl_bench.data import manifest as manifest_module
from omrl_bench.data.behaviour import UniformActor
from omrl_bench.data.build import UNSTABLE, Collected, collect, drop_unstable, roll_out
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.manifest import TOLERANCE, build_dataset, compare, read_manifest, verify_dataset
from omrl_bench.data.store import read_contexts, read_episodes, read_receipt, write_dataset
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.errors import InputError


def spoil(episodes, name, numbers, value=np.nan, row=-1):
    """Put a value into the first (0) or last (-1) row of some episodes."""
    array = getattr(episodes, name).copy()
    for number in numbers:
        at = episodes.offsets[number] if row == 0 else episodes.offsets[number + 1] - 1
        array.reshape(len(array), -1)[at, -1] = value
    return replace(episodes, **{name: array})


@pytest.fixture(scope="module")
def many(point, make_ragged):
    """About 1400 episodes of different lengths."""
    return make_ragged(point, episodes=(6, 14))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("name", ["rewards", "observations", "actions", "next_observations"])
def test_exactly_the_unstable_episode_is_dropped(point, many, name, row, value):
    number = int(np.flatnonzero(np.diff(many.offsets) > 2)[7])
    collected = drop_unstable(point, spoil(many, name, [number], value, row))
    assert collected.dropped == 1
    kept = np.delete(np.arange(len(many.tasks)), number)
    assert collected.episodes.content_hash() == many.select(kept).content_hash()


def test_the_first_and_the_last_episode_can_be_dropped(point, many):
    last = len(many.tasks) - 1
    collected = drop_unstable(point, spoil(many, "rewards", [0, last]))
    assert collected.dropped == 2
    assert collected.episodes.content_hash() == many.select(np.arange(1, last)).content_hash()


def test_what_was_told_is_dropped_with_its_episode(point, many):
    told = replace(many, told=np.arange(len(many.tasks)))
    kept = drop_unstable(point, spoil(told, "actions", [5])).episodes
    np.testing.assert_array_equal(kept.told, np.delete(told.told, 5))


def test_stable_episodes_are_untouched(point, many):
    collected = drop_unstable(point, many)
    assert collected == Collected(many, 0)
    assert collected.episodes is many


def test_up_to_one_per_cent_may_be_unstable(point, many):
    most = int(UNSTABLE * len(many.tasks))
    assert UNSTABLE == 0.01
    assert most > 5
    numbers = np.arange(3, 3 + most + 1)
    assert drop_unstable(point, spoil(many, "rewards", numbers[:-1])).dropped == most
    task = many.tasks[3]
    said = rf"point-goal: {most + 1} of {len(many.tasks)} episodes are unstable \(NaN\), first in task {task}"
    with pytest.raises(InputError, match=said):
        drop_unstable(point, spoil(many, "rewards", numbers))


@pytest.fixture
def failing_lanes(monkeypatch):
    """Make some lanes of the simulator give NaN from the third step on."""
    lanes = []

    class Unstable(BatchedEnv):
        def reset(self, tasks, seeds, lanes=None):
            self.steps = 0
            return super().reset(tasks, seeds, lanes)

        def step(self, actions, active=None):
            observations, rewards, terminated, truncated = super().step(actions, active)
            self.steps += 1
            if self.steps >= 3:
                observations[lanes], rewards[lanes] = np.nan, np.nan
            return observations, rewards, terminated, truncated

    monkeypatch.setattr(build, "BatchedEnv", Unstable)
    return lanes


def test_roll_out_drops_the_lanes_that_fail(point, failing_lanes):
    family, tasks = replace(point, horizon=6), np.repeat(np.arange(60), 4)

    def run():
        rng = np.random.default_rng(0)
        return roll_out(family, UniformActor(family), tasks, tasks, np.arange(240), rng, 1)

    stable = run()
    failing_lanes.extend([9, 130])
    unstable = run()
    assert (stable.dropped, unstable.dropped) == (0, 2)
    expected = stable.episodes.select(np.delete(np.arange(240), failing_lanes))
    assert unstable.episodes.content_hash() == expected.content_hash()


def test_collect_says_how_many_and_too_many_are_an_error(point, failing_lanes):
    family = replace(point, horizon=4)
    failing_lanes.extend([0, 239])
    assert collect(family, "random", 1, episodes=4).dropped == 4  # two of each version's tasks
    with pytest.raises(InputError, match=r"point-goal: 2 of 60 episodes are unstable \(NaN\), first in task 0"):
        failing_lanes[:] = [0, 59]
        collect(family, "random", 1, episodes=1)


# --- datasets with dropped episodes


def allow(monkeypatch, family, quality, **changes):
    """Change an entry of the manifest."""
    frozen = read_manifest(family)
    entry = frozen.datasets[quality].model_copy(update=changes)
    patched = frozen.model_copy(update={"datasets": frozen.datasets | {quality: entry}})
    monkeypatch.setattr(manifest_module, "read_manifest", lambda family: patched)


@pytest.mark.parametrize(
    ("allowed", "missing", "expected"), [(0, 1, "wrong"), (1, 1, "equivalent"), (2, 2, "equivalent"), (2, 3, "wrong")]
)
@pytest.mark.parametrize(("task", "episodes"), [(7, 45), (97, 20)])
def test_counts_within_dropped_are_equivalent(
    point, canonical, monkeypatch, task, episodes, allowed, missing, expected
):
    allow(monkeypatch, point, "mixed", dropped=allowed)
    whole = canonical["mixed"]
    kept = np.setdiff1d(np.arange(len(whole.tasks)), np.searchsorted(whole.tasks, task) + np.arange(missing))
    status, said = compare(whole.select(kept), point, "mixed")
    assert status == expected
    if expected == "wrong":
        assert said == f"task {task} has {episodes - missing} episodes, the canonical dataset {episodes}"


def test_episodes_that_are_unstable_elsewhere_only_are_equivalent(point, canonical, monkeypatch):
    """The canonical dataset lacks an episode of task 7, this one another of task 9."""
    episodes = list(read_manifest(point).datasets["mixed"].episodes)
    episodes[7] -= 1
    allow(monkeypatch, point, "mixed", dropped=1, episodes=tuple(episodes))
    kept = np.delete(np.arange(len(canonical["mixed"].tasks)), 45 * 9)
    assert compare(canonical["mixed"].select(kept), point, "mixed")[0] == "equivalent"


def test_returns_are_compared_with_dropped_episodes_too(point, canonical, monkeypatch):
    allow(monkeypatch, point, "mixed", dropped=3)
    episodes = canonical["mixed"].select(np.delete(np.arange(len(canonical["mixed"].tasks)), [400, 1800]))
    entry = read_manifest(point).datasets["mixed"]
    error = entry.return_std[50] * np.sqrt(2 / 20) / 60
    for factor, expected in ((TOLERANCE + 1, "wrong"), (TOLERANCE - 1, "equivalent")):
        here = np.repeat(episodes.tasks == 50, point.horizon)
        shifted = replace(episodes, rewards=(episodes.rewards + here * factor * error).astype(np.float32))
        assert compare(shifted, point, "mixed")[0] == expected


def test_a_dataset_with_dropped_episodes_is_written_read_and_verified(point, make_ragged, root, monkeypatch):
    whole = make_ragged(point, episodes=(5, 5), length=(2, 3))
    collected = drop_unstable(point, spoil(whole, "rewards", [8, 123]))
    counts = collected.episodes.counts(len(point.tasks()))
    assert (counts[1], counts[24], counts.sum()) == (4, 4, 5 * len(point.tasks()) - 2)
    manifest = read_manifest(point)
    monkeypatch.setattr(manifest_module, "collect", lambda *_, **__: collected)
    build_dataset(point, "mixed", 1)
    episodes, receipt = read_episodes(point, "mixed")
    assert receipt.dropped == read_receipt(point, "mixed").dropped == 2
    assert episodes.content_hash() == collected.episodes.content_hash()
    splits = point.tasks().by_split()
    assert read_contexts(point, "mixed").hashes(splits) == draw_contexts(point, "mixed", episodes).hashes(splits)
    allow(
        monkeypatch,
        point,
        "mixed",
        content=manifest.datasets["random"].content,
        episodes=tuple(counts.tolist()),
        dropped=2,
        return_mean=tuple(episodes.returns()[episodes.tasks == task].mean() for task in point.tasks().ids()),
    )
    status, said = verify_dataset(point, "mixed")
    assert (status, "0.0 standard errors" in said) == ("equivalent", True)


def test_dropped_is_zero_unless_said(point, make_ragged, root):
    ragged = make_ragged(point, episodes=(1, 1))
    assert write_dataset(point, "mixed", ragged, (0.0, 1.0)).dropped == 0
    assert write_dataset(point, "mixed", ragged, (0.0, 1.0), 4).dropped == 4
    assert read_receipt(point, "mixed").dropped == 4
