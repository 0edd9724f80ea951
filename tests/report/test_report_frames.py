"""From records to tidy frames and notes."""

import json

import numpy as np
import pandas as pd
import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.reading.frames import collect, load
from omrl_bench.report.reading.groups import ordered
from omrl_bench.report.reading.results import COLUMNS, CURVE_COLUMNS
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import CurvePoint, iterate_records, write_record
from omrl_bench.stats.summary import summarise


def test_frame_holds_every_return_of_every_cube(store):
    record = store.put("point-goal", "focal", 3, tasks=4, draws=2)
    frame, notes = load(store.path)
    assert notes == []
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 2 * 4 * 2
    cube = read_cube(record.cell.cube_path(store.path))
    row = frame.query("condition == 'low' and task == 42 and draw == 1")
    assert row["return"].item() == cube.returns[1, 2, 1]
    assert row["score"].item() == pytest.approx(cube.scores()[1, 2, 1])
    assert row[["suite", "family", "method", "seed"]].iloc[0].tolist() == ["shift", "point-goal", "focal", 3]


def test_frame_is_what_stats_takes(store):
    store.fill()
    frame, _ = load(store.path)
    row = summarise(frame, resamples=50).query("family == 'all' and method == 'focal' and condition == 'high'")
    assert row["score_mean"].item() == pytest.approx(
        frame.query("method=='focal' and condition=='high'")["score"].mean()
    )


def test_failed_records_are_listed_not_averaged(store):
    store.fill(families=("cheetah-vel",))
    store.put("cheetah-vel", "focal", 2, error="ValueError: loss is NaN\n  at step 3")
    frame, notes = load(store.path)
    assert notes == [
        "cheetah-vel / focal: seed 2 failed: ValueError: loss is NaN",
        "cheetah-vel / focal: 2 of 3 seeds (without 2)",
    ]
    assert sorted(set(frame.query("method == 'focal'")["seed"])) == [0, 1]


def test_of_a_traceback_the_last_line_is_quoted(store):
    store.put(
        "ant-dir", "focal", 0, error="Traceback (most recent call last):\n  File x\nMemoryError: \x1b[31mno room\n"
    )
    assert load(store.path)[1][0] == "ant-dir / focal: seed 0 failed: MemoryError: [31mno room"


def test_methods_without_a_family_or_seed_are_noted(store):
    store.fill(families=("ant-dir", "point-goal"))
    store.put("ant-dir", "corro", 0)
    assert load(store.path)[1] == [
        "ant-dir / corro: 1 of 3 seeds (without 1, 2)",
        "point-goal / corro: no results",
    ]


def test_damaged_and_unfinished_cubes_are_left_out(store):
    store.fill(families=("ant-dir",))
    damaged = store.put("ant-dir", "focal", 0)
    damaged.cell.cube_path(store.path).write_bytes(b"no cube")
    store.put("ant-dir", "focal", 1, levels=(np.nan, 50))
    store.put("ant-dir", "oracle", 1, levels=(50, np.inf))
    store.put("ant-dir", "task-blind", 2).cell.cube_path(store.path).unlink()
    frame, notes = load(store.path)
    assert set(frame.query("method == 'focal'")["seed"]) == {2}
    assert "ant-dir / focal: seed 0 left out: its cube is missing or damaged: " in notes[0]
    assert notes[1:] == [
        "ant-dir / focal: seed 1 left out: its cube has returns or scores that are not finite",
        "ant-dir / oracle: seed 1 left out: its cube has returns or scores that are not finite",
        "ant-dir / task-blind: seed 2 left out: its cube is missing or damaged: No such file or directory",
        "ant-dir / task-blind: 2 of 3 seeds (without 2)",
        "ant-dir / oracle: 2 of 3 seeds (without 1)",
        "ant-dir / focal: 1 of 3 seeds (without 0, 1)",
    ]


def test_frame_is_that_of_the_cubes_one_by_one(store):
    """Cubes of different shapes and conditions, in the order of their records."""
    store.put("point-goal", "focal", 0, levels=(80,), tasks=5, draws=1)
    store.put("ant-dir", "oracle", 10, tasks=2, draws=3)
    store.put("ant-dir", "oracle", 9, tasks=2, draws=3)
    frame, _ = load(store.path)
    rows = []
    for record in iterate_records(store.path):
        cube = read_cube(record.cell.cube_path(store.path))
        for q, t, d in np.ndindex(cube.returns.shape):
            values = dict(record.cell) | {"condition": cube.conditions[q], "task": cube.tasks[t], "draw": d}
            values |= {"return": float(cube.returns[q, t, d]), "score": float(cube.scores()[q, t, d])}
            rows.append(values | {"range": float(cube.expert[t] - cube.random[t])})
    expected = pd.DataFrame(rows)[list(COLUMNS)]
    pd.testing.assert_frame_equal(frame.astype(expected.dtypes), expected, check_exact=True)


def test_names_of_several_sets_stay_categorical(store):
    store.put("ant-dir", "focal", 0)
    store.put("point-goal", "oracle", 0, backbone="brac")
    frame, _ = load(store.path)
    assert {str(frame[name].dtype) for name in ("suite", "family", "method", "backbone", "condition")} == {"category"}
    assert frame["method"].tolist() == ["oracle"] * 16 + ["focal"] * 16
    assert len(frame.groupby(["family", "method", "condition"], observed=True)) == 4


def test_learning_curves_are_those_of_complete_records(store):
    points = (CurvePoint(step=10, score=-3.5), CurvePoint(step=20, score=41.25))
    store.put("ant-dir", "focal", 1, costs={"curve": points})
    store.put("ant-dir", "corro", 0, error="boom", costs={"curve": points})
    store.put("ant-dir", "oracle", 0)
    (results,) = collect(store.path)
    assert tuple(results.curves.columns) == CURVE_COLUMNS
    assert results.curves.to_numpy().tolist() == [
        ["ant-dir", "focal", 1, 10, -3.5],
        ["ant-dir", "focal", 1, 20, 41.25],
    ]


def test_methods_run_in_different_versions_are_noted(store):
    store.fill(families=("ant-dir", "point-goal"), seeds=2)
    store.put("ant-dir", "focal", 0, hashes={"method": "old"})
    assert load(store.path)[1] == ["ant-dir / focal: the seeds were run with different versions of the method"]


def put_in(store, year, *cell, **fields):
    """Put a record that was created in another year."""
    record = store.put(*cell, **fields)
    write_record(store.path, record.model_copy(update={"created": f"{year}-01-01T00:00:00Z"}), None)


EQUIVALENT = (
    "records were trained on data that are equivalent to the canonical ones (other rounding, the same returns within "
    "the manifest's tolerance), of methods "
)


def test_equivalent_data_compare_whatever_their_hashes(store):
    """Two machines that round differently have other bytes, of the training data and of the contexts."""
    store.fill(families=("ant-dir", "point-goal"), seeds=2)
    for seed, machine in enumerate("ab"):
        hashes = {"dataset": machine, "contexts": machine}
        store.put("ant-dir", "focal", seed, hashes=hashes, dataset_status="equivalent")
    store.put("ant-dir", "corro", 0, hashes=hashes, dataset_status="equivalent")
    frame, notes = load(store.path)
    assert notes == [
        "ant-dir / corro: 1 of 2 seeds (without 1)",
        "point-goal / corro: no results",
        f"ant-dir: 3 of 7 {EQUIVALENT}corro, focal",
    ]
    assert len(frame) == 13 * 16  # nothing is left out


@pytest.mark.parametrize(
    ("number", "hashes", "consequence"),
    [
        (1, "ab", "their numbers do not compare"),  # beside canonical ones
        (2, "aa", "they compare with each other only"),
        (2, "ab", "their numbers do not compare"),  # with each other
    ],
)
def test_unknown_data(store, number, hashes, consequence):
    for seed, (status, data) in enumerate(zip(("homemade", "unknown")[-number:], hashes, strict=False)):
        store.put("ant-dir", "focal", seed, hashes={"dataset": data}, dataset_status=status)
    if number == 1:
        store.put("ant-dir", "focal", 1)
    note = f"ant-dir: {number} of 2 records were trained on data of unknown status, of methods focal; {consequence}"
    assert load(store.path)[1] == [note]


@pytest.mark.parametrize("name", ["dataset", "contexts"])
def test_canonical_data_with_different_hashes_are_a_contradiction(store, name):
    store.fill(families=("ant-dir", "point-goal"), seeds=2)
    store.put("ant-dir", "focal", 0, hashes={name: "other"})
    expected = f"ant-dir: the records on canonical data differ in their {name} hash; their numbers do not compare"
    assert load(store.path)[1] == [expected]


@pytest.mark.parametrize("name", ["family", "suite"])
def test_one_version_of_a_family_is_shown(store, name):
    """The one with most records, also if the other one is newer."""
    store.fill(families=("ant-dir",), seeds=2)
    put_in(store, 2027, "ant-dir", "focal", 0, hashes={name: "z"})
    put_in(store, 2027, "ant-dir", "corro", 0, hashes={name: "z"})
    frame, notes = load(store.path)
    assert notes == [
        f"ant-dir: 2 of 7 records left out: they are of another version of the {name} than the rest (of corro, focal)",
        "ant-dir / corro: no results",
        "ant-dir / focal: 1 of 2 seeds (without 0)",
    ]
    assert len(frame) == 5 * 16


@pytest.mark.parametrize("newest", [0, 1])
def test_of_versions_with_equally_many_records_the_newest_is_shown(store, newest):
    for seed, version in enumerate("ab"):
        put_in(store, 2027 + (seed == newest), "ant-dir", "focal", seed, hashes={"family": version})
    assert set(load(store.path)[0]["seed"]) == {newest}


def test_families_of_different_versions_of_a_suite_are_noted(store):
    suite = load_suite("limited")  # cheetah-vel has a budget of its own, and so a fingerprint
    for family, preset in (("point-square", "standard"), ("cheetah-vel", "standard")):
        hashes = {"suite": suite.fingerprint(preset, family)}
        store.fill(families=(family,), seeds=1, suite="limited", preset=preset, hashes=hashes)
    assert load(store.path)[1] == []
    store.fill(families=("ant-dir",), seeds=1, suite="limited", preset="standard", hashes={"suite": "old"})
    assert load(store.path)[1] == ["ant-dir: run by another version of the suite than the other families"]


def test_records_without_hashes_are_counted(store):
    for seed in range(2):
        path = store.put("ant-dir", "focal", seed).cell.record_path(store.path)
    fields = json.loads(path.read_text())
    del fields["content"], fields["cube"]
    path.write_text(json.dumps(fields))
    frame, notes = load(store.path)
    assert set(frame["seed"]) == {0, 1}
    assert notes == ["1 of 2 records have no content hash: a change by hand would not be seen"]


def test_filter_by_suite_and_preset(store):
    for suite, preset in (("shift", "quick"), ("shift", "standard"), ("ood", "quick")):
        store.put("ant-dir", "focal", 0, suite=suite, preset=preset)
    assert len(load(store.path)[0]) == 3 * 16
    assert set(load(store.path, suite="shift")[0]["preset"]) == {"quick", "standard"}
    assert set(load(store.path, preset="quick")[0]["suite"]) == {"shift", "ood"}
    assert len(load(store.path, "ood", "quick")[0]) == 16
    assert load(store.path, "ood", "paper")[0].empty


def test_sets_are_kept_apart_and_carry_privileges(store):
    store.fill(seeds=1)
    store.put("ant-dir", "focal", 0, backbone="brac")
    first, second = collect(store.path)
    assert (first.backbone, second.backbone) == ("brac", "iql")
    assert set(first.frame["family"]) == {"ant-dir"}
    assert first.privileges == {}
    assert second.privileges == {"oracle": ("descriptors",)}


def test_no_folder_is_no_records(tmp_path):
    frame, notes = load(tmp_path / "nowhere")
    assert tuple(frame.columns) == COLUMNS
    assert frame.empty
    assert notes == []


def test_order_of_methods():
    names = ["focal", "oracle", "corro", "random", "task-blind", "behaviour"]
    assert ordered(names) == ["random", "behaviour", "task-blind", "oracle", "corro", "focal"]
    assert ordered(names, ["focal", "absent", "random"])[:3] == ["focal", "random", "behaviour"]
    assert ordered(["b", "a", "b"]) == ["a", "b"]
