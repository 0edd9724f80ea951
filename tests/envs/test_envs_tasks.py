"""The frozen task tables."""

import csv
from importlib import resources

import numpy as np
import pytest

from omrl_bench.envs.families import FAMILIES, SPLITS, get_family
from omrl_bench.errors import InputError

every_family = pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES.values()])
COUNTS = {"train": 30, "validation": 10, "test": 20}
EXTRAPOLATION = {"cheetah-vel": 10}
#: No two tasks are nearer than this: half of a stratum, see tools/draw_task_tables.py.
NEAREST = {"point-goal": 0.05, "cheetah-vel": 0.0249}


@every_family
def test_split_sizes(family):
    table = family.tasks()
    expected = COUNTS | {"extrapolation": EXTRAPOLATION.get(family.name, 0)}
    assert {split: len(table.ids(split)) for split in SPLITS} == expected
    assert len(table) == sum(expected.values())


@every_family
def test_splits_are_a_partition(family):
    table = family.tasks()
    together = np.concatenate([table.ids(split) for split in SPLITS])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(table)))
    np.testing.assert_array_equal(table.ids(), np.arange(len(table)))
    np.testing.assert_array_equal(table.ids("train", "test"), np.sort(np.append(table.ids("train"), table.ids("test"))))


@every_family
def test_ids_have_no_gaps_and_rows_are_read_right(family):
    file = resources.files("omrl_bench.envs").joinpath("tasks", f"{family.name}-{family.version}.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [int(row["task"]) for row in rows] == list(range(len(rows)))
    table = family.tasks()
    assert list(table.splits) == [row["split"] for row in rows]
    assert table.descriptors.dtype == np.float64
    for i, name in enumerate(family.descriptor):
        np.testing.assert_array_equal(table.descriptors[:, i], [float(row[name]) for row in rows])


@every_family
def test_no_near_duplicates(family):
    descriptors = family.tasks().descriptors
    distances = np.linalg.norm(descriptors[:, None] - descriptors, axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > NEAREST[family.name]


@every_family
def test_every_split_covers_the_law(family):
    """No third of the law's range is without a validation and a test task."""
    table = family.tasks()
    if family.name == "point-goal":
        position = np.arctan2(table.descriptors[:, 1], table.descriptors[:, 0]) % (2 * np.pi) / (2 * np.pi)
    else:
        position = table.descriptors[:, 0] / 3
    for split in ("train", "validation", "test"):
        third = np.floor(3 * position[table.ids(split)]).astype(int)
        assert set(third) == {0, 1, 2}


def test_goals_lie_on_the_unit_circle():
    goals = get_family("point-goal").tasks().descriptors
    np.testing.assert_allclose(np.hypot(goals[:, 0], goals[:, 1]), 1, atol=1e-6)


def test_velocities_are_within_the_law_and_extrapolation_is_beyond_it():
    table = get_family("cheetah-vel").tasks()
    within = table.descriptors[table.ids("train", "validation", "test"), 0]
    beyond = table.descriptors[table.ids("extrapolation"), 0]
    assert within.min() >= 0
    assert within.max() <= 3
    assert beyond.min() > 3
    assert beyond.min() - within.max() > 0.0249


def test_an_unknown_family_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown family 'point-gaol'; did you mean 'point-goal'"):
        get_family("point-gaol")
    with pytest.raises(InputError, match="unknown family 'xyzzy'; known: cheetah-vel, point-goal"):
        get_family("xyzzy")


def test_an_unknown_split_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown split 'tests'; did you mean 'test'"):
        get_family("point-goal").tasks().ids("tests")


def test_check_names_the_first_task_that_does_not_exist():
    table = get_family("point-goal").tasks()
    np.testing.assert_array_equal(table.check([59, 0]), [59, 0])
    with pytest.raises(InputError, match="task 60 does not exist; the table has tasks 0 to 59"):
        table.check([3, 60, -2])
    with pytest.raises(InputError, match="task -1 does not exist"):
        table.check(np.array([-1]))
