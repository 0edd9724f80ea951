"""A later version of a family appends tasks: what there was stays, bit for bit, and nothing is trained again."""

from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.data.build import EVALUATION_EPISODES, collect, collect_version
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import part_hashes
from omrl_bench.envs.families import get_family

POINT = get_family("point-goal")


@pytest.fixture
def later(tmp_path, monkeypatch):
    """Version 2 of point-goal: two more test tasks."""
    tasks = tmp_path / "later_point" / "tasks"
    tasks.mkdir(parents=True)
    (tasks.parent / "__init__.py").touch()
    count = len(POINT.tasks())
    rows = [f"{count},test,2,0.6,0.8", f"{count + 1},test,2,-0.6,0.8"]
    (tasks / "point-goal-v2.csv").write_text("\n".join([*POINT.tasks().text.splitlines(), *rows]) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    return replace(POINT, env_id="omrl/PointGoal-v2", package="later_point")


def test_the_fingerprint_of_training_covers_the_training_rows_only(later):
    assert later.fingerprint() != POINT.fingerprint()
    assert later.training_fingerprint() == POINT.training_fingerprint()
    assert replace(later, horizon=61).training_fingerprint() != POINT.training_fingerprint()


@pytest.mark.parametrize("quality", ["mixed", "random", "cross"])
def test_appended_tasks_leave_the_episodes_and_contexts_of_all_others_as_they_were(later, quality):
    before, after = (collect(family, quality, 1).episodes for family in (POINT, later))
    assert after.of_tasks(POINT.tasks().ids()).content_hash() == before.content_hash()
    then, now = part_hashes(POINT, before), part_hashes(later, after)
    assert {split for split in then if now[split] != then[split]} == {"test"}
    draws = draw_contexts(later, quality, after).draws
    for key, array in draw_contexts(POINT, quality, before).draws.items():
        np.testing.assert_array_equal(draws[key][: len(array)], array)
    appended = after.of_tasks(np.arange(len(POINT.tasks()), len(later.tasks())))
    assert appended.counts(len(later.tasks()))[-2:].tolist() == [EVALUATION_EPISODES] * 2


def test_a_training_task_has_45_episodes_and_any_other_the_first_20_of_as_many():
    table = POINT.tasks()
    all_of_them = collect_version(POINT, "mixed", 0, 1, evaluation_episodes=45).episodes
    kept = collect(POINT, "mixed", 1).episodes
    counts = kept.counts(len(table))
    assert set(counts[table.ids("train")]) == {45} and set(counts[table.ids("validation", "test")]) == {20}
    number = np.concatenate([np.arange(count) for count in all_of_them.counts(len(table.first()))])
    first = all_of_them.select(np.flatnonzero(np.isin(all_of_them.tasks, table.ids("train")) | (number < 20)))
    assert kept.of_tasks(table.first()).content_hash() == first.content_hash()
    behaviours = [np.bincount(kept.of_tasks(np.array([task])).behaviours) for task in table.ids("test")]
    np.testing.assert_array_equal(behaviours, 2)  # two of each of the ten behaviours


def test_joined_episodes_are_in_the_order_of_their_tasks():
    mixed = collect(POINT, "mixed", 1, episodes=3).episodes
    parts = [mixed.of_tasks(tasks) for tasks in (np.array([1, 5]), np.array([0, 3]), np.array([4]))]
    assert Episodes.joined(parts).content_hash() == mixed.of_tasks(np.array([0, 1, 3, 4, 5])).content_hash()


def test_the_first_version_keeps_the_data_that_it_had():
    """Hashes of version 0, over the episodes that are kept of them; measured on the processor of the manifests."""
    mixed = collect(POINT, "mixed", 1).episodes
    if mixed.content_hash() != read_manifest(POINT).datasets["mixed"].content:
        pytest.skip("this processor rounds differently")
    assert mixed.of_tasks(POINT.tasks().first()).content_hash()[:16] == "be215db3d82a0ca5"
