"""Runs that are interrupted or killed in the middle of a training: nothing is lost, nothing stays behind."""

import os
import signal
import time

import numpy as np
import psutil
import pytest

from omrl_bench.runner.records import iterate_records, read_cube, read_record

JOBS = ("--jobs", 2)


def living(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def workers_of(process):
    """The run's workers; there is at least one."""
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "worker" in p.cmdline()]
    assert workers
    return workers


def wait_for(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def check_whole(results):
    """All records below a folder can be read, the complete ones have cubes, and no write was left unfinished."""
    records = {(r.cell.method, r.cell.seed): r for r in iterate_records(results)}
    for record in records.values():
        if record.status == "complete":
            read_cube(record.cell.cube_path(results))
    assert list(results.rglob("*.tmp")) == []
    return records


def check_same_numbers(results, undisturbed):
    records = check_whole(results)
    for seed in (0, 1):
        record = records["Held", seed]
        other = undisturbed[0] / record.cell.folder() / f"seed-{seed}"
        assert record.status == "complete"
        assert record.metrics == read_record(other.with_suffix(".json")).metrics
        cube, expected = read_cube(record.cell.cube_path(results)), read_cube(other.with_suffix(".npz"))
        np.testing.assert_array_equal(cube.returns, expected.returns)
        np.testing.assert_array_equal(cube.tasks, expected.tasks)


@pytest.fixture
def output(tmp_path):
    return lambda: (tmp_path / "output").read_text()


def test_ctrl_c_and_sigterm_end_the_workers_and_keep_what_is_done(begin, cli, held, tiny, tmp_path, undisturbed, output):
    results = tmp_path / "runs"
    quick = f"{held.file}:Quick"
    command = ("run", "--suite", tiny(), "--method", quick, "--method", held.reference, "--out", results, *JOBS)
    finished = results / "tiny/quick/point-goal/mixed/Quick/iql/seed-1.json"

    held.hold()
    process = begin(*command)
    held.wait_until_reached(process)
    wait_for(finished.exists, "the other method did not finish")
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(20) == 130
    assert living(workers) == []
    assert "interrupted; finished cells are kept, the same command goes on from here" in output()
    assert "Traceback" not in output()
    records = check_whole(results)
    assert {key: r.status for key, r in records.items()} == {("Quick", 0): "complete", ("Quick", 1): "complete"}
    kept = finished.stat().st_mtime_ns

    held.hold()
    process = begin(*command)
    held.wait_until_reached(process)
    workers = workers_of(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    assert living(workers) == []
    assert "4 cells, 2 to run in 1 jobs" in output() and "interrupted" in output()
    assert len(check_whole(results)) == 2

    held.release()
    outcome = cli(*command)
    assert outcome.code == 0
    assert "4 cells, 2 to run in 1 jobs" in outcome.words
    assert finished.stat().st_mtime_ns == kept
    check_same_numbers(results, undisturbed)
    assert list((results / ".jobs").iterdir()) == []


def test_kill_9_of_runner_and_of_worker(begin, cli, held, tiny, tmp_path, undisturbed, output):
    results = tmp_path / "runs"
    command = ("run", "--suite", tiny(), "--method", held.reference, "--out", results, *JOBS)

    held.hold()
    process = begin(*command)
    held.wait_until_reached(process)
    orphans = workers_of(process)
    process.kill()
    process.wait()
    wait_for(lambda: living(orphans) == [], "an orphaned worker goes on", 5)
    assert check_whole(results) == {}

    held.hold()
    process = begin(*command)  # the dead run's lock is gone
    held.wait_until_reached(process)
    (worker,) = workers_of(process)
    worker.kill()
    assert process.wait(60) == 1
    records = check_whole(results)
    assert set(records) == {("Held", 0), ("Held", 1)}
    for record in records.values():
        assert record.status == "failed"
        assert record.error.startswith("the worker was ended by signal SIGKILL")
    assert "1 failed; the same command tries them again:" in output()
    assert "point-goal / Held (seeds 0, 1): the worker was ended by signal SIGKILL" in output()
    assert "Traceback" not in output()

    held.release()
    outcome = cli(*command)
    assert outcome.code == 0
    check_same_numbers(results, undisturbed)


def test_ctrl_c_before_training_is_no_traceback(cli, tiny, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("omrl_bench.runner.run.data_statuses", interrupt)
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs")
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert list((tmp_path / "runs").rglob("*.json")) == []
