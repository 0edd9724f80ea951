"""Adapters that go wrong cost their own cells only, and say how."""

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from omrl_bench.runner.executors import child, local
from omrl_bench.runner.job import failed_record, read_job
from omrl_bench.runner.records import iterate_records
from omrl_bench.runner.run import run_jobs

WORDS = {
    "Raises": "RuntimeError: the matrix is singular (bad.py:",
    "Kills": "the method's process was ended by signal SIGKILL, in fit; its output is in ",
    "Exits": "the method's process ended with exit code 3, in fit; its output is in ",
}


def test_failures_cost_their_own_cells_only(failures):
    results, outcome = failures
    assert outcome.code == 1
    records = {(r.cell.method, r.cell.seed): r for r in iterate_records(results)}
    assert set(records) == {(name, seed) for name in ("Quick", *WORDS) for seed in (0, 1)}
    assert {name for (name, _), record in records.items() if record.status == "complete"} == {"Quick"}
    assert all(records["Quick", seed].metrics for seed in (0, 1))
    assert "│ Quick" in outcome.out[outcome.out.index("Score by method") :]


@pytest.mark.parametrize("name", WORDS)
def test_failed_record_says_what_went_wrong(failures, name):
    records = [record for record in iterate_records(failures[0]) if record.cell.method == name]
    assert len(records) == 2
    for record in records:
        assert record.status == "failed"
        assert record.error.startswith(WORDS[name])
        assert "\n" not in record.error
        assert record.metrics == {} and not record.cell.cube_path(failures[0]).exists()
        assert record.cell.record_path(failures[0]).stat().st_size < 4096


def test_failures_are_listed_at_the_end(failures):
    lines = failures[1].err.strip().splitlines()
    assert lines[0] == "3 failed; the same command tries them again:"
    assert len(lines) == 4
    for name, words in WORDS.items():
        assert sum(line.startswith(f"  point-goal / {name} (seeds 0, 1): {words}") for line in lines[1:]) == 1
    assert "Traceback" not in failures[1].words


def test_failures_are_reported_as_they_happen(failures):
    lines = failures[1].out.splitlines()
    for name, words in WORDS.items():
        assert sum(line.startswith(f"failed point-goal / {name} (seeds 0, 1): {words}") for line in lines) == 1
    assert any(line.startswith("done   point-goal / Quick (seeds 0, 1) in ") for line in lines)


def test_output_of_a_dead_worker_is_kept(failures):
    error = next(r.error for r in iterate_records(failures[0]) if r.cell.method == "Exits")
    log = Path(error.partition("its output is in ")[2])
    assert "last words" in log.read_text()


def test_status_shows_failures_and_their_reason(failures, cli, tiny, bad):
    shown = cli("status", "--suite", tiny(), "--method", "random", "--method", bad("Raises"), "--out", failures[0])
    assert shown.code == 0
    assert "0 complete, 2 missing, 2 failed, 0 stale" in shown.out
    assert "the matrix is singular" in shown.words


def test_an_adapter_that_takes_too_long_is_ended(cli, tiny, bad, tmp_path):
    out = tmp_path / "runs"
    outcome = cli("run", "--suite", tiny(), "--preset", "brief", "--method", bad("Hangs"), "--out", out)
    assert outcome.code == 1
    assert "point-goal / Hangs (seeds 0, 1): exceeded the time limit of 2 s" in outcome.err
    records = list(iterate_records(out))
    assert [r.status for r in records] == ["failed", "failed"]
    assert all(r.error.startswith("exceeded the time limit of 2 s") for r in records)


class Recorder:
    """A watcher that keeps what it is told."""

    def __init__(self):
        self.events = []

    def started(self, job):
        self.events.append(("started", job.cells[0].method))

    def progressed(self, job, stage, fraction):
        self.events.append(("progressed", job.cells[0].method))

    def finished(self, job, seconds, error):
        self.events.append(("finished", job.cells[0].method, error))


@pytest.fixture
def pretend(monkeypatch):
    """Start a little program in place of the real worker of some methods: its processes, in order."""
    real = local.subprocess.Popen

    def install(**programs):
        started = []

        def popen(command, **options):
            if "worker" not in command:  # a method's
                return real(command, **options)
            method = read_job(Path(command[-1])).cells[0].method
            if method in programs:
                command = [sys.executable, "-S", "-c", programs[method], command[-1]]
            started.append(real(command, **options))
            return started[-1]

        monkeypatch.setattr(local.subprocess, "Popen", popen)
        return started

    return install


#: Ignores SIGTERM, reports, and does not end for a long time.
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1].removesuffix(".job") + ".progress", "w").write('{"stage": "policy", "fraction": 0.5}')
time.sleep(90)
"""


def test_a_hanging_worker_is_killed_and_the_others_finish(monkeypatch, jobs, pretend, tmp_path):
    """It ignores SIGTERM. The clock jumps past its limit as soon as it has reported."""
    monkeypatch.setattr(child, "GRACE", 0.5)
    hanging, good = jobs("Hangs", "Zero")
    assert hanging.preset.time_limit == 120
    patient = good.model_copy(update={"preset": good.preset.model_copy(update={"time_limit": 10**6})})
    jump = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + jump[0], sleep=time.sleep)
    monkeypatch.setattr(local, "time", clock)
    started = pretend(Hangs=STUBBORN)  # the other one is a real worker

    class Jump(Recorder):
        def progressed(self, job, stage, fraction):
            if job.cells[0].method == "Hangs":
                assert (stage, fraction) == ("policy", 0.5)
                jump[0] = 121.0

    watcher = Jump()
    errors = run_jobs([hanging, patient], local.Local(2), watcher)
    assert jump[0], "it never reported"
    assert len(errors) == 1 and errors[0].startswith(
        "point-goal / Hangs (seeds 0, 1): exceeded the time limit of 120 s"
    )
    assert [process.returncode for process in started] == [-signal.SIGKILL, 0]
    states = {(r.cell.method, r.status) for r in iterate_records(tmp_path / "runs")}
    assert states == {("Hangs", "failed"), ("Zero", "complete")}
    assert ("finished", "Zero", None) in watcher.events


def test_one_slot_means_one_worker_at_a_time(jobs, pretend, tmp_path):
    pretend(Zero="raise SystemExit(4)", Nan="raise SystemExit(5)")
    watcher = Recorder()
    errors = run_jobs(jobs("Zero", "Nan"), local.Local(1), watcher)
    kinds = [(event[0], event[1]) for event in watcher.events if event[0] != "progressed"]
    assert kinds == [("started", "Zero"), ("finished", "Zero"), ("started", "Nan"), ("finished", "Nan")]
    assert "the worker ended with exit code 4" in errors[0] and "the worker ended with exit code 5" in errors[1]
    assert {r.status for r in iterate_records(tmp_path / "runs")} == {"failed"}


def test_a_dead_worker_loses_only_the_cells_it_has_not_written(jobs, pretend, tmp_path):
    (job,) = jobs("Zero")
    text = failed_record(job, 1, "written by the worker").model_dump_json()
    path = job.cells[1].record_path(job.results)
    path.parent.mkdir(parents=True)
    pretend(Zero=f"open({str(path)!r}, 'w').write({text!r}); import os; os.kill(os.getpid(), 9)")
    (error,) = run_jobs([job], local.Local(1), Recorder())
    assert "ended by signal SIGKILL" in error
    records = {r.cell.seed: r.error for r in iterate_records(tmp_path / "runs")}
    assert records[1] == "written by the worker" and "SIGKILL" in records[0]


def test_an_old_record_is_not_taken_for_the_dead_workers(jobs, pretend, tmp_path):
    pretend(Zero="raise SystemExit(4)")
    run_jobs(jobs("Zero"), local.Local(1), Recorder())
    pretend(Zero="raise SystemExit(5)")
    time.sleep(0.02)  # the file system's clock ticks
    run_jobs(jobs("Zero"), local.Local(1), Recorder())
    assert all("exit code 5" in r.error for r in iterate_records(tmp_path / "runs"))


def test_output_of_a_dead_worker_is_kept_by_later_runs(jobs, pretend, tmp_path):
    pretend(**{name: f"print('output of {name}'); raise SystemExit(4)" for name in ("Zero", "Nan")})
    for name in ("Zero", "Nan"):  # two commands on one results folder, each for another method
        run_jobs(jobs(name, rerun="missing"), local.Local(1), Recorder())
    for record in iterate_records(tmp_path / "runs"):
        log = Path(record.error.partition("its output is in ")[2])
        assert log.read_text().strip() == f"output of {record.cell.method}"


def test_ctrl_c_ends_a_worker_that_ignores_sigterm(monkeypatch, jobs, pretend, tmp_path):
    monkeypatch.setattr(child, "GRACE", 0.5)
    started = pretend(Zero=STUBBORN)

    class Impatient(Recorder):
        def progressed(self, job, stage, fraction):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs("Zero"), local.Local(1), Impatient())
    assert [process.poll() for process in started] == [-signal.SIGKILL]
    assert list(iterate_records(tmp_path / "runs")) == []


def test_a_worker_that_ends_early_with_code_0_costs_its_cells_only(jobs, pretend, tmp_path):
    """An adapter that calls sys.exit() or os._exit(0)."""
    pretend(Zero="raise SystemExit(0)", Nan="raise SystemExit(4)")
    errors = run_jobs(jobs("Zero", "Nan"), local.Local(1), Recorder())
    assert [error.partition(":")[0] for error in errors] == [
        "point-goal / Zero (seeds 0, 1)",
        "point-goal / Nan (seeds 0, 1)",
    ]
    assert {(r.cell.method, r.status) for r in iterate_records(tmp_path / "runs")} == {
        ("Zero", "failed"),
        ("Nan", "failed"),
    }


def test_an_adapter_that_cannot_be_constructed_is_bad_input(cli, tiny, bad, tmp_path):
    outcome = cli("run", "--suite", tiny(), "--method", bad("Init"), "--out", tmp_path / "runs", "--dry-run")
    assert outcome.code == 2
    assert "Init" in outcome.err and "no licence found" in outcome.err and "unexpected" not in outcome.err
