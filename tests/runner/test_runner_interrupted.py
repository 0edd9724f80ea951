"""Runs that are interrupted or killed in the middle of a training: nothing is lost, nothing stays behind."""

import os
import signal
import time

import numpy as np
import psutil
import pytest

from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import iterate_records, read_record


def living(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def workers_of(process):
    """The run's workers; there is at least one."""
    workers = [p for p in living(psutil.Process(process.pid).children(recursive=True)) if "worker" in p.cmdline()]
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


def test_whatever_ends_a_run_the_same_command_goes_on(begin, cli, held, tiny, tmp_path, undisturbed, output):
    """Ctrl-C, then kill -9 of the runner, then kill -9 of the worker, each in the middle of a training."""
    results = tmp_path / "runs"
    quick = f"{held.file}:Quick"
    command = ("run", "--suite", tiny(), "--method", quick, "--method", held.reference, "--out", results, "--jobs", 2)
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
    orphans = workers_of(process)
    process.kill()
    process.wait()
    wait_for(lambda: living(orphans) == [], "an orphaned worker goes on", 5)
    assert "4 cells, 2 to run in 1 jobs" in output()
    assert len(check_whole(results)) == 2

    held.hold()
    process = begin(*command)  # the dead run's lock is gone
    held.wait_until_reached(process)
    (worker,) = workers_of(process)
    worker.kill()
    assert process.wait(60) == 1
    records = check_whole(results)
    for seed in (0, 1):
        assert records["Held", seed].status == "failed"
        assert records["Held", seed].error.startswith("the worker was ended by signal SIGKILL")
        assert records["Quick", seed].status == "complete"
    assert "1 failed; the same command tries them again:" in output()
    assert "point-goal / Held (seeds 0, 1): the worker was ended by signal SIGKILL" in output()
    assert "Traceback" not in output()

    held.release()
    outcome = cli(*command)
    assert outcome.code == 0
    assert "4 cells, 2 to run in 1 jobs" in outcome.words
    assert finished.stat().st_mtime_ns == kept
    check_same_numbers(results, undisturbed)


#: The real command, but its workers only say that they have started, and wait.
IDLE_WORKERS = """
import subprocess, sys
from pathlib import Path
from omrl_bench.cli.main import main
from omrl_bench.runner.executors import local

class Popen(subprocess.Popen):
    def __init__(self, command, **options):
        if "worker" in command:
            program = f"import time; open({command[-1] + '.started'!r}, 'w'); time.sleep(90)"
            command = [sys.executable, "-S", "-c", program, "worker"]
        super().__init__(command, **options)

local.subprocess.Popen = Popen
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_workers(begin, held, tiny, tmp_path, output, number):
    results = tmp_path / "runs"
    reference = (f"{held.file}:Quick", held.reference)
    process = begin(
        "run", "--suite", tiny(), *(f"--method={r}" for r in reference), "--out", results, code=IDLE_WORKERS
    )
    wait_for(lambda: len(list((results / ".jobs").rglob("*.started"))) == 2, "the workers did not start")
    workers = workers_of(process)
    assert len(workers) == 2
    process.send_signal(number)
    assert process.wait(20) == 130
    assert living(workers) == []
    assert "interrupted; finished cells are kept" in output() and "Traceback" not in output()
    assert check_whole(results) == {}


def test_ctrl_c_before_training_is_no_traceback(cli, tiny, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("omrl_bench.runner.run.prepare_data", interrupt)
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs")
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert list((tmp_path / "runs").rglob("*.json")) == []
