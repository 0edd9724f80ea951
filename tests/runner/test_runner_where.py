"""`status` says where a job runs and what a failed one printed last; it changes nothing."""

import os

import psutil
import pytest

from omrl_bench.locks import Claims, claimed_by
from omrl_bench.runner.executors import Watcher
from omrl_bench.runner.executors.local import Local
from omrl_bench.runner.job import Progress, claim_path, job_path, log_path, progress_path, write_job, write_progress
from omrl_bench.runner.records import JOBS
from omrl_bench.runner.run import run_jobs
from omrl_bench.runner.where import last_printed, whereabouts


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_where_a_job_runs(begin, cli, held, tiny, tmp_path):
    command = ("--suite", tiny(), "--method", held.reference, "--out", tmp_path / "runs")
    held.hold()
    process = begin("run", *command)
    held.wait_until_reached(process)
    below = psutil.Process(process.pid).children(recursive=True)
    (worker,) = [p for p in below if p.status() != psutil.STATUS_ZOMBIE and "worker" in p.cmdline()]
    before = content(tmp_path / "runs")
    outcome = cli("status", *command)
    assert content(tmp_path / "runs") == before
    assert outcome.words.count(f"runs in process {worker.pid} on {os.uname().nodename}: policy ") == 2
    assert "2 missing" in outcome.words
    process.kill()
    process.wait()
    assert "runs in" not in cli("status", *command).words


def test_before_the_worker_has_begun_it_is_the_run_that_has_it(jobs):
    (job,) = jobs("Zero")
    write_job(job_path(job), job)
    (cell, other) = job.cells
    assert whereabouts(job.results, [cell]).get(cell, "") == ""
    with Claims(job.results / JOBS) as claims:
        claims.claim(claim_path(job.results, cell))
        for each in (cell, other):
            assert (
                whereabouts(job.results, [each]).get(each, "")
                == f"started by process {os.getpid()} on {os.uname().nodename}"
            )
        write_progress(job_path(job), Progress(stage="queued", fraction=0.0, where="slurm job 7_1"))
        assert whereabouts(job.results, [cell]).get(cell, "") == "runs in slurm job 7_1: queued 0%"
        progress_path(job_path(job)).write_text('{"stage": "po')
        assert whereabouts(job.results, [cell])[cell].startswith("started by ")
        job_path(job).write_text('{"cells": [')
        assert whereabouts(job.results, [cell]).get(cell, "") == ""
    assert whereabouts(job.results, [cell]).get(cell, "") == ""


@pytest.mark.parametrize("written", [b"", b"\0\0\0\0", b"\xff\xfe", b"../../x"])
def test_a_damaged_claim_is_nobodys(tmp_path, written):
    claim = tmp_path / "x.claim"
    claim.write_bytes(written)
    assert claimed_by(tmp_path, claim) == ""
    with Claims(tmp_path) as claims:
        assert not claims.claim(claim)  # it may be in the making
        assert claims.claim(claim)


def test_last_lines_of_a_failed_job(jobs, cli, tiny, bad, tmp_path):
    run_jobs(jobs("Exits", "Zero"), Local(1), Watcher())
    command = (
        "status",
        "--suite",
        tiny(),
        "--method",
        bad("Exits"),
        "--method",
        bad("Zero"),
        "--out",
        tmp_path / "runs",
    )
    outcome = cli(*command)
    (log,) = (tmp_path / "runs" / ".jobs").rglob("*.log")
    assert outcome.out.endswith(f"\npoint-goal / Exits (seeds 0, 1), last lines of {log}:\n  last words\n")
    log.write_bytes(
        b"x" * 9000 + b"\n".join([b"", b"\x1b[31mred\xff\tone", b"[/bold]", *(b"line %d" % n for n in range(4))])
    )
    ending = cli(*command).out.splitlines()[-5:]
    assert ending == ["  [/bold]", *(f"  line {number}" for number in range(4))]
    log.unlink()
    assert "last lines" not in cli(*command).out


def test_the_log_of_another_job_is_not_shown(jobs):
    """The record says which job it is of; a job that is being done again has not failed yet."""
    (job,) = jobs("Exits")
    run_jobs([job], Local(1), Watcher())
    assert [each.job.seeds for each in last_printed(job.results, job.cells)] == [(0, 1)]
    with Claims(job.results / JOBS) as claims:
        claims.claim(claim_path(job.results, job.cells[0]))
        assert last_printed(job.results, job.cells) == []
    write_job(job_path(job), job.model_copy(update={"token": "another"}))
    assert last_printed(job.results, job.cells) == []
    assert log_path(job_path(job)).exists()
