"""The frozen task tables."""

import csv
import runpy
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.envs.task_table import parse_task_table
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import SPLITS

every_family = pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES.values()])
WITHIN = ("train", "validation", "test")
COUNTS = {"train": 30, "validation": 10, "test": 100, "extrapolation": 40}
FIRST_COUNTS = {"train": 30, "validation": 10, "test": 20, "extrapolation": 10}  # of version 0
#: The laws that tasks are drawn from, of the papers that the modules of the laws cite: angles of a unit vector, in
#: radians; or values per component.
ARCS = {
    "point-goal": 2 * np.pi,
    "point-sparse": np.pi,
    "point-hard": np.pi,
    "ant-dir": 2 * np.pi,
}
BOXES = {
    "point-square": (-1, 1),
    "point-wind": (-0.05, 0.05),
    "cheetah-vel": (0, 3),
    "cheetah-vel-wide": (0, 6),
    "cheetah-mass": (0.2, 1.8),
    "ant-mass": (0.5, 1.5),
    "walker-vel-sparse": (0, 2),
}
DISCS = {"ant-goal": 3.0}
PARAMS = ("walker-params", "hopper-params")
TWO_TASKS = ("cheetah-dir", "ant-fwd-back")
SHARED = {
    "cheetah-vel-sparse": "cheetah-vel",
    "point-goal-h10": "point-goal",
    "point-goal-h200": "point-goal",
    "point-wind-h25": "point-wind",
    "ant-dir-speed": "ant-dir",
}
#: Families whose law leaves nothing beyond its range: a whole circle, or both directions.
WITHOUT_EXTRAPOLATION = {"point-goal", "ant-dir", *TWO_TASKS}
#: Families that came with version 1.
NEW = {"ant-goal", "ant-fwd-back"}


def table_of(family):
    """Name of the family that the table is called after."""
    return SHARED.get(family.name, family.name)


def places(family, descriptors=None):
    """Each task's place in the law's range, (tasks, dimensions): from 0 to 1 within it, beyond outside."""
    descriptors = family.tasks().descriptors if descriptors is None else descriptors
    table = table_of(family)
    if table in ARCS:
        middle = ARCS[table] / 2
        turned = np.arctan2(descriptors[:, 1], descriptors[:, 0]) - middle
        return ((turned + np.pi) % (2 * np.pi) - np.pi + middle)[:, None] / ARCS[table]
    if table in BOXES:
        low, high = BOXES[table]
        return (descriptors - low) / (high - low)
    if table in PARAMS:  # base ** U(-3, 3)
        bases = [1.3 if name.startswith("damping") else 1.5 for name in family.descriptor]
        return descriptors / (6 * np.log(bases)) + 0.5
    if table in DISCS:
        return (descriptors / DISCS[table] + 1) / 2
    assert table in TWO_TASKS
    return (descriptors[:, :1] + 1) / 2


def beyond(family, descriptors=None):
    """How far each number of each task lies outside the law's range, in widths of it; 0 within."""
    place = places(family, descriptors)
    if table_of(family) in DISCS:  # the radius counts
        return np.maximum(np.linalg.norm(place - 0.5, axis=1, keepdims=True) - 0.5, 0)
    return np.maximum(np.maximum(-place, place - 1), 0)


def test_every_family_has_a_law():
    assert {*ARCS, *BOXES, *DISCS, *PARAMS, *SHARED, *TWO_TASKS} == set(FAMILIES)


@every_family
def test_split_sizes(family):
    table = family.tasks()
    for counts, there in ((COUNTS, table.since < 2), (FIRST_COUNTS, table.since == 0)):
        expected = dict(counts)
        if table_of(family) in WITHOUT_EXTRAPOLATION:
            expected["extrapolation"] = 0
        if family.name in TWO_TASKS:
            expected = {"train": 2, "validation": 2, "test": 2, "extrapolation": 0}
        if family.name in NEW and counts is FIRST_COUNTS:
            expected = dict.fromkeys(SPLITS, 0)
        assert {split: int(there[table.ids(split)].sum()) for split in SPLITS} == expected
        assert there.sum() == sum(expected.values())


@every_family
def test_splits_are_a_partition(family):
    table = family.tasks()
    together = np.concatenate([table.ids(split) for split in SPLITS])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(table)))
    np.testing.assert_array_equal(table.ids(), np.arange(len(table)))
    np.testing.assert_array_equal(table.ids("train", "test"), np.sort(np.append(table.ids("train"), table.ids("test"))))


@every_family
def test_ids_have_no_gaps_and_rows_are_read_right(family):
    file = resources.files("omrl_bench.envs").joinpath("tasks", f"{table_of(family)}-{family.version}.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [int(row["task"]) for row in rows] == list(range(len(rows)))
    assert tuple(rows[0]) == ("task", "split", "since", *family.descriptor)
    table = family.tasks()
    assert table.since.tolist() == [int(row["since"]) for row in rows]
    assert list(table.splits) == [row["split"] for row in rows]
    assert table.descriptors.dtype == np.float64
    for i, name in enumerate(family.descriptor):
        np.testing.assert_array_equal(table.descriptors[:, i], [float(row[name]) for row in rows])


@every_family
def test_no_task_is_in_two_splits_but_where_there_are_only_two_tasks(family):
    table = family.tasks()
    assert table.train_is_test == (family.name in TWO_TASKS)
    distinct = len(np.unique(table.descriptors, axis=0))
    assert distinct == (2 if family.name in TWO_TASKS else len(table))


def distances(family):
    """Between tasks, in widths of the law; and the least that version 0 and version 1 state of tasks of their own:
    version 1 of two tasks within the law, and of two of which one lies beyond (see tools/draw_task_tables.py)."""
    place = places(family)
    differences = np.abs(place[:, None] - place)
    if table_of(family) in PARAMS:  # independent numbers differ by sqrt(1/6) of the range on average
        return np.sqrt((differences**2).mean(axis=-1)), 0.25, 0.25, 0.25
    if place.shape[1] == 2:  # 10 x 6 cells, in each direction; then 10 x 8, as the crow flies
        return np.sqrt((differences**2).sum(axis=-1)), 0.5 / 10, 1 / 40, 1 / 40
    around = ARCS.get(table_of(family)) == 2 * np.pi  # the two ends are neighbours
    along = np.minimum(differences, 1 - differences) if around else differences
    return along[..., 0], 0.5 / 60, 1 / 480, 1 / 1000


@pytest.mark.parametrize("family", [f for f in FAMILIES.values() if f.name not in TWO_TASKS], ids=lambda f: f.name)
def test_no_near_duplicates(family):
    """No task is nearer to another one, of whichever split and version, than what is stated of its kind of law."""
    table = family.tasks()
    apart, first, appended, beyond_it = distances(family)
    np.fill_diagonal(apart, np.inf)
    inside, old = np.isin(np.arange(len(table)), table.ids(*WITHIN)), table.since == 0
    if family.name not in NEW and table_of(family) not in DISCS:
        assert apart[np.ix_(old & inside, old & inside)].min() > first - 1e-5
    assert apart[np.ix_(inside, inside)].min() > appended - 1e-5
    assert apart[~inside].min(initial=np.inf) > beyond_it - 1e-5
    assert apart[inside][:, ~inside].min(initial=np.inf) > min(appended, 0.005)


@pytest.mark.parametrize("family", [f for f in FAMILIES.values() if f.name not in TWO_TASKS], ids=lambda f: f.name)
def test_test_tasks_are_spread_as_the_law_is(family):
    """Their mean and spread are those of a uniform distribution; of a disc, of one in its area."""
    table = family.tasks()
    place = places(family)[table.ids("test")]
    spread = 0.25 if table_of(family) in DISCS else 12**-0.5
    many = table_of(family) in PARAMS
    assert place.mean(axis=0) == pytest.approx(np.full(place.shape[1], 0.5), abs=0.12 if many else 0.02)
    assert place.std(axis=0) == pytest.approx(np.full(place.shape[1], spread), abs=0.06 if many else 0.02)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_the_table_is_a_draw_of_the_familys_law(family, capsys):
    """The file is what tools/draw_task_tables.py prints, so that nobody changes a task by hand."""
    path = Path(__file__).parents[2] / "tools" / "draw_task_tables.py"
    runpy.run_path(str(path))["main"](table_of(family))
    assert capsys.readouterr().out == family.tasks().text


@every_family
def test_secret_tasks_of_the_law_lie_where_the_tables_do(family):
    """Independent draws: within the law, or beyond it no further than the table's."""
    law, rng = family.task_law, np.random.default_rng(0)
    secret = law.inside(rng, 300)
    assert secret.shape == (300, len(family.descriptor))
    assert beyond(family, secret).max() <= 1e-9
    if law.beyond is None:
        assert table_of(family) in WITHOUT_EXTRAPOLATION
        return
    table = family.tasks()
    far = beyond(family, law.beyond(rng, 300))
    if table_of(family) in PARAMS:
        assert 0.15 < far.max() <= 1 / 6 + 1e-9
        return
    far = far.max(axis=1)
    known = beyond(family)[table.ids("extrapolation")].max(axis=1)
    width = known.max() - known.min()
    assert known.min() - 0.1 * width - 1e-5 < far.min()
    assert far.max() < known.max() + 0.1 * width + 1e-5


@every_family
def test_tasks_lie_within_the_law_and_extrapolation_beyond_it(family):
    table, outside = family.tasks(), beyond(family)
    assert outside[table.ids(*WITHIN)].max() <= 1e-6
    extrapolation = outside[table.ids("extrapolation")]
    if table_of(family) in PARAMS:  # base ** U(-4, 4): a quarter of the numbers, on average
        share = (extrapolation > 0).mean(axis=1)
        assert share.min() > 0.05
        assert share.mean() == pytest.approx(0.25, abs=0.05)
        assert extrapolation.max() <= 1 / 6 + 1e-5
        assert extrapolation.max() > 0.15
    elif len(extrapolation):
        assert extrapolation.max(axis=1).min() > 0.008
        assert extrapolation.max() < 0.35  # near the law: a method is not asked for the impossible


@pytest.mark.parametrize("table", sorted(ARCS))
def test_goals_and_directions_are_of_unit_length(table):
    vectors = get_family(table).tasks().descriptors
    np.testing.assert_allclose(np.hypot(vectors[:, 0], vectors[:, 1]), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["point-sparse", "point-hard"])
def test_semicircles_are_the_upper_one_and_are_left_on_both_sides(name):
    table = get_family(name).tasks()
    assert table.descriptors[table.ids(*WITHIN), 1].min() > 0
    left = table.descriptors[table.ids("extrapolation")]
    assert left[:, 1].max() < -0.09  # 0.1 rad beyond
    assert ((left[:, 0] > 0).sum(), (left[:, 0] < 0).sum()) == (20, 20)


def test_goals_of_the_disc_are_left_on_a_ring_around_it():
    table = get_family("ant-goal").tasks()
    radius = np.linalg.norm(table.descriptors, axis=1)
    assert radius[table.ids(*WITHIN)].max() <= 3
    ring = table.descriptors[table.ids("extrapolation")]
    assert radius[table.ids("extrapolation")].min() >= 3.05
    assert radius[table.ids("extrapolation")].max() <= 3.5
    turns = np.sort(np.arctan2(ring[:, 1], ring[:, 0]))
    assert np.diff(turns, append=turns[0] + 2 * np.pi).max() < 0.5  # all around


@pytest.mark.parametrize("name", ["ant-mass"])
def test_masses_are_extrapolated_on_both_sides(name):
    table = get_family(name).tasks()
    scales = table.descriptors[table.ids("extrapolation"), 0]
    assert ((scales < 0.5).sum(), (scales > 1.5).sum()) == (20, 20)


@pytest.mark.parametrize("name", ["point-square", "point-wind"])
def test_squares_are_left_on_all_sides(name):
    table = get_family(name).tasks()
    x, y = (table.descriptors[table.ids("extrapolation")] / BOXES[name][1]).T
    assert all(side.any() for side in (x > 1, x < -1, y > 1, y < -1))
    assert np.maximum(abs(x), abs(y)).min() >= 1.05 - 1e-5
    assert np.maximum(abs(x), abs(y)).max() <= 1.3 + 1e-5


@every_family
def test_every_split_covers_the_law(family):
    """No third of the law's range is without a task of each split; of many parameters: without a training task."""
    table, place = family.tasks(), places(family)
    if family.name in TWO_TASKS:
        for split in WITHIN:
            assert table.descriptors[table.ids(split), 0].tolist() == [-1, 1]
        return
    dimensions, splits = (place.shape[1], WITHIN[:1]) if table_of(family) in PARAMS else (1, WITHIN)
    for split in splits:
        for dimension in range(dimensions):
            third = np.floor(3 * place[table.ids(split), dimension]).astype(int)
            assert set(third) == {0, 1, 2}


@pytest.mark.parametrize(("name", "other"), SHARED.items())
def test_families_that_share_a_table_have_the_same_tasks(name, other):
    assert get_family(name).tasks().text == get_family(other).tasks().text
    assert get_family(name).descriptor == get_family(other).descriptor


@pytest.mark.parametrize("name", PARAMS)
def test_multipliers_are_uniform_in_the_exponent_and_independent(name):
    """Mean and spread of each field, and no number that follows another: rand_param_envs draws each on its own."""
    family = get_family(name)
    table = family.tasks()
    inside = places(family)[table.ids(*WITHIN)]
    fields = {prefix: [n.startswith(prefix) for n in family.descriptor] for prefix in ("mass", "inertia", "damping")}
    for columns in fields.values():
        assert inside[:, columns].mean() == pytest.approx(0.5, abs=0.05)
        assert inside[:, columns].std() == pytest.approx(12**-0.5, abs=0.02)
        assert inside[:, columns].min() < 0.03
        assert inside[:, columns].max() > 0.97
    correlations = np.corrcoef(inside.T) - np.eye(inside.shape[1])
    assert np.abs(correlations).max() < 0.6


def test_an_unknown_family_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown family 'point-gaol'; did you mean 'point-goal'"):
        get_family("point-gaol")
    with pytest.raises(InputError, match="unknown family 'cheetah-vel-wied'; did you mean 'cheetah-vel-wide'"):
        get_family("cheetah-vel-wied")
    with pytest.raises(
        InputError, match="unknown family 'xyzzy'; known: ant-dir, ant-dir-speed, ant-fwd-back, ant-goal, ant-mass, "
    ):
        get_family("xyzzy")


def test_an_unknown_split_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown split 'tests'; did you mean 'test'"):
        get_family("point-goal").tasks().ids("tests")


def test_check_names_the_first_task_that_does_not_exist():
    table = get_family("point-goal").tasks()
    np.testing.assert_array_equal(table.check([139, 0]), [139, 0])
    with pytest.raises(InputError, match="task 140 does not exist; the table has tasks 0 to 139"):
        table.check([3, 140, -2])
    with pytest.raises(InputError, match="task -1 does not exist"):
        table.check(np.array([-1]))


TABLE = "task,split,x\n0,train,1.5\n1,test,2.5\n"


def test_a_table_is_read():
    table = parse_task_table(TABLE, "mine.csv", ["x"])
    assert table.splits == ("train", "test")
    assert table.descriptors.tolist() == [[1.5], [2.5]]
    assert table.since.tolist() == [0, 0]


def test_a_table_says_since_which_version_a_task_is_there():
    table = parse_task_table("task,split,since,x\n0,train,0,1.5\n1,train,1,2.5\n2,test,1,3\n", "mine.csv", ["x"])
    assert table.since.tolist() == [0, 1, 1]
    with pytest.raises(InputError, match=r"mine\.csv: tasks of a later version come after all others"):
        parse_task_table("task,split,since,x\n0,train,1,1.5\n1,test,0,2.5\n", "mine.csv", ["x"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("x\n", "y\n", "mine.csv has no column 'x'"),
        ("0,train,1.5\n1,test,2.5\n", "", "or no task"),
        ("1,test", "2,test", "must run from 0 without gaps"),
        ("2.5", "two", "could not convert string to float: 'two'"),
        (",2.5", "", "mine.csv: float"),
        ("test", "tset", "mine.csv, task 1: unknown split 'tset'; did you mean 'test'"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_input_error(old, new, words):
    assert old in TABLE
    with pytest.raises(InputError) as error:
        parse_task_table(TABLE.replace(old, new), "mine.csv", ["x"])
    assert words in str(error.value)
