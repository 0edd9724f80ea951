"""One real, undisturbed run of the tiny suite: what it prints and what it leaves behind."""

import csv
import json

import numpy as np
import pytest

from omrl_bench.envs.families import get_family
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import Hashes, iterate_records

METHODS = ("random", "focal", "Held")


@pytest.fixture(scope="module")
def records(undisturbed):
    return {(r.cell.method, r.cell.seed): r for r in iterate_records(undisturbed[0])}


def test_every_cell_has_a_complete_record(records):
    assert set(records) == {(method, seed) for method in METHODS for seed in (0, 1)}
    for (method, seed), record in records.items():
        assert record.status == "complete" and record.error is None
        assert record.cell.model_dump() == {
            "suite": "tiny",
            "family": "point-goal",
            "dataset": "mixed",
            "method": method,
            "backbone": "iql",
            "preset": "quick",
            "seed": seed,
        }
        assert record.trained_together == (0, 1)


def test_records_are_small_and_whole(undisturbed):
    for path in undisturbed[0].rglob("seed-*.json"):
        assert path.stat().st_size < 4096
        fields = json.loads(path.read_text())
        assert fields["schema_version"] == 1
        assert all(len(value) >= 16 and int(value, 16) >= 0 for value in fields["hashes"].values())
        assert set(fields["hashes"]) == set(Hashes.model_fields)
        assert fields["dataset_status"] == "canonical"
        assert {"python", "torch", "numpy", "mujoco", "minari", "gymnasium", "omrl-bench"} <= set(fields["versions"])
        assert fields["machine"]["cores"] > 0 and fields["peak_memory_mib"] > 10
        assert fields["created"].endswith("+00:00")


def test_hashes_tell_methods_apart_and_nothing_else(records):
    for name in ("suite", "family", "dataset", "contexts", "tasks"):
        assert len({getattr(r.hashes, name) for r in records.values()}) == 1
    by_method = {method: {records[method, s].hashes.method for s in (0, 1)} for method in METHODS}
    assert all(len(hashes) == 1 for hashes in by_method.values())
    assert len(set.union(*by_method.values())) == 3


def test_cubes_hold_all_returns(undisturbed, records):
    family = get_family("point-goal")
    for record in records.values():
        cube = read_cube(record.cell.cube_path(undisturbed[0]))
        assert cube.conditions == ("high", "low")
        np.testing.assert_array_equal(cube.tasks, family.tasks().ids("test"))
        assert cube.returns.shape == (2, len(cube.tasks), 2) and cube.returns.dtype == np.float32
        assert np.isfinite(cube.returns).all() and (cube.returns < 0).all()
        assert cube.random.shape == cube.expert.shape == cube.tasks.shape
        assert (cube.random < cube.expert).all()


def test_metrics_are_means_of_the_cube(undisturbed, records):
    for record in records.values():
        cube = read_cube(record.cell.cube_path(undisturbed[0]))
        assert set(record.metrics) == {"high", "low"}
        for index, quality in enumerate(cube.conditions):
            scores = [
                100 * (r - floor) / (top - floor)
                for row, floor, top in zip(cube.returns[index], cube.random, cube.expert, strict=True)
                for r in row
            ]
            assert record.metrics[quality].score == pytest.approx(np.mean(scores), abs=2e-3)
            assert record.metrics[quality].mean_return == pytest.approx(cube.returns[index].mean(), abs=2e-3)


def test_trained_methods_have_a_curve_and_parameters(records):
    for seed in (0, 1):
        assert [point.step for point in records["focal", seed].curve] == [2, 4]
        assert records["focal", seed].parameters > 1000
        assert records["focal", seed].fit_seconds > 0
        assert records["random", seed].curve == () and records["random", seed].parameters == 0


def test_random_scores_nothing(records):
    scores = [m.score for s in (0, 1) for m in records["random", s].metrics.values()]
    assert abs(np.mean(scores)) < 15


def test_seeds_differ(undisturbed, records):
    for method in METHODS:
        one, two = (read_cube(records[method, s].cell.cube_path(undisturbed[0])) for s in (0, 1))
        assert not np.array_equal(one.returns, two.returns)


def test_plan_and_estimate_come_before_training_and_the_table_last(undisturbed):
    out = undisturbed[1].out
    # 3 jobs, 2 at a time, of 100 s each
    order = [
        "2 missing",
        "6 cells, 6 to run in 3 jobs, 2 at a time",
        "estimated time: 3 min",
        "start ",
        "done ",
        "high",
    ]
    places = [out.index(text) if text != "high" else out.rindex(text) for text in order]
    assert places == sorted(places)


def test_progress_is_plain_lines_where_there_is_no_terminal(undisturbed):
    out = undisturbed[1].out
    assert "\x1b" not in out and "\r" not in out
    lines = [line for line in out.splitlines() if line.startswith(("start", "done"))]
    for method in METHODS:
        assert lines.count(f"start  point-goal / {method} (seeds 0, 1)") == 1
        assert sum(line.startswith(f"done   point-goal / {method} (seeds 0, 1) in ") for line in lines) == 1
    assert lines[-1].endswith("; 3/3 jobs")


def test_table_shows_every_method_and_n(undisturbed):
    out = undisturbed[1].out
    table = out[out.index("Score by method") :]
    for method in METHODS:
        assert f"│ {method}" in table
    assert "n = 2 seeds × 100 tasks × 2 draws" in table  # noqa: RUF001
    assert undisturbed[1].err == ""


def test_run_leaves_tables_and_figure(undisturbed):
    folder = undisturbed[0] / "report" / "tiny-quick"
    assert {"score.md", "score.csv", "score.tex", "score.svg", "score.pdf", "score.png"} <= {
        p.name for p in folder.iterdir()
    }
    with (folder / "score.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == set(METHODS)


def test_nothing_else_is_left_behind(undisturbed):
    results = undisturbed[0]
    assert {p.name for p in results.iterdir()} == {"tiny", "report", ".jobs", ".trained"}
    assert [path for path in (results / ".jobs").rglob("*") if path.is_file()] == []
    assert list(results.rglob("*.tmp")) == []


def test_the_same_command_again_runs_nothing(undisturbed, results, tiny, cli):
    held = undisturbed[0].parent / "held" / "held.py"
    before = {p: p.stat().st_mtime_ns for p in results.rglob("seed-*")}
    outcome = cli(
        "run",
        "--suite",
        tiny(),
        "--method",
        "random",
        "--method",
        "focal",
        "--method",
        f"{held}:Held",
        "--out",
        results,
    )
    assert outcome.code == 0
    assert "6 cells, 0 to run in 0 jobs" in outcome.words
    assert "start" not in outcome.out and "estimated" not in outcome.out
    assert before == {p: p.stat().st_mtime_ns for p in results.rglob("seed-*")}


def test_report_writes_the_same_files_again(undisturbed, cli, tmp_path):
    outcome = cli("report", "--results", undisturbed[0], "--out", tmp_path / "again")
    assert outcome.code == 0
    written = {p.name: p for p in (tmp_path / "again" / "tiny-quick").iterdir()}
    assert sorted(outcome.out.split()) == sorted(map(str, written.values()))
    for path in (undisturbed[0] / "report" / "tiny-quick").iterdir():
        assert written[path.name].read_bytes() == path.read_bytes(), path.name


def test_report_of_nothing_is_bad_input(cli, tmp_path):
    outcome = cli("report", "--results", tmp_path / "empty")
    assert outcome.code == 2 and "has no complete records" in outcome.err
    assert not (tmp_path / "empty").exists()
