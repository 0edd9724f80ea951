"""From records to tidy frames and notes."""

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.report.frames import COLUMNS, collect, load, ordered
from omrl_bench.runner.records import read_cube
from omrl_bench.stats.summary import summarise


def test_frame_holds_every_return_of_every_cube(store):
    record = store.put("point-goal", "focal", 3, tasks=4, draws=2)
    frame, notes = load(store.path)
    assert notes == []
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 2 * 4 * 2
    cube = read_cube(record.cell.cube_path(store.path))
    row = frame.query("quality == 'low' and task == 42 and draw == 1")
    assert row["return"].item() == cube.returns[1, 2, 1]
    assert row["score"].item() == pytest.approx(cube.scores()[1, 2, 1])
    assert row[["suite", "family", "method", "seed"]].iloc[0].tolist() == ["shift", "point-goal", "focal", 3]


def test_frame_is_what_stats_takes(store):
    store.fill()
    frame, _ = load(store.path)
    row = summarise(frame, resamples=50).query("family == 'all' and method == 'focal' and quality == 'high'")
    assert row["score_mean"].item() == pytest.approx(frame.query("method=='focal' and quality=='high'")["score"].mean())


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
    frame, notes = load(store.path)
    assert set(frame.query("method == 'focal'")["seed"]) == {2}
    assert "ant-dir / focal: seed 0 left out:" in notes[0]
    assert "missing or damaged" in notes[0]
    assert notes[1] == "ant-dir / focal: seed 1 left out: it has returns or scores that are not finite"
    assert notes[2] == "ant-dir / focal: 1 of 3 seeds (without 0, 1)"


def test_records_that_do_not_compare_are_noted(store):
    store.fill(families=("ant-dir", "point-goal"), seeds=2)
    store.put("ant-dir", "focal", 0, hashes={"contexts": "other", "method": "old"}, dataset_status="equivalent")
    assert load(store.path)[1] == [
        "ant-dir: the records differ in their contexts hash; their numbers do not compare",
        "ant-dir / focal: the seeds were run with different versions of the method",
        "ant-dir: trained on data whose status is 'equivalent', not 'canonical'",
    ]


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


def test_a_file_that_is_no_record(store):
    store.path.mkdir()
    (store.path / "seed-0.json").write_text("{}")
    with pytest.raises(InputError, match="not a record"):
        load(store.path)


def test_order_of_methods():
    names = ["focal", "oracle", "corro", "random", "task-blind", "behaviour"]
    assert ordered(names) == ["random", "behaviour", "task-blind", "oracle", "corro", "focal"]
    assert ordered(names, ["focal", "absent", "random", "focal"])[:2] == ["focal", "random"]
    assert ordered(names, ["focal"])[1:] == ["random", "behaviour", "task-blind", "oracle", "corro"]
    assert ordered(["b", "a", "b"], first=()) == ["a", "b"]
