"""Jobs in a real Slurm: slurmctld and its nodes on this machine."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.job import read_job
from omrl_bench.runner.records import iterate_records, read_record

pytestmark = pytest.mark.slow


def command(tiny, results, *methods):
    chosen = (f"--method={method}" for method in methods)
    return ("run", "--suite", tiny(), *chosen, "--executor", "slurm", "--out", results, "--no-report")


def records(results):
    return {(r.cell.method, r.cell.seed): r for r in iterate_records(results)}


def errors(results):
    return {r.cell.method: r.error for r in iterate_records(results) if r.status == "failed"}


def left_behind(results):
    """Files of runs that are over."""
    return sorted(path.name for path in (results / ".jobs").rglob("*") if path.is_file())


def check_same(results, undisturbed):
    """The records are those of `local`, to the bit."""
    found = records(results)
    assert len(found) == 2 * len({method for method, _ in found}) > 0
    for record in found.values():
        other = record.cell.record_path(undisturbed[0])
        assert record.status == "complete"
        assert record.metrics == read_record(other).metrics and record.curve == read_record(other).curve
        cubes = [read_cube(record.cell.cube_path(where)) for where in (results, undisturbed[0])]
        np.testing.assert_array_equal(cubes[0].returns, cubes[1].returns)
        assert cubes[0].content_hash() == cubes[1].content_hash()


def token(results):
    """Of the job that is submitted."""
    (file,) = (results / ".jobs").rglob("*.job")
    return read_job(file).token


@pytest.fixture
def output(tmp_path):
    return lambda: (tmp_path / "output").read_text()


def test_an_array_with_a_limit_makes_the_records_of_local(slurm, begin, cli, held, tiny, tmp_path, undisturbed, output):
    results = tmp_path / "runs 100%"  # Slurm has a use of its own for the sign
    held.hold()
    process = begin(*command(tiny, results, held.reference, "random", "focal"), "--jobs", 1, "--slurm-option", "nice=5")
    held.wait_until_reached(process)
    (first, name, state, node), *others = sorted(slurm.tasks())
    assert (state, first.partition("_")[2]) == ("RUNNING", "0") and node in ("n0", "n1")
    assert [task[1:] for task in others] == 2 * [[name, "PENDING", "(JobArrayTaskLimit)"]]  # the other node has room
    assert slurm("squeue", "-h", "-j", first, "-o", "%y %l").split() == ["5", "2:00"]
    shown = cli("status", "--suite", tiny(), "--method", held.reference, "--method", "focal", "--out", results).words
    assert f"Slurm job {first}, running on {node}" in shown
    assert re.search(r"Slurm job \d+_2, pending: JobArrayTaskLimit", shown)
    held.release()
    assert process.wait(300) == 0, output()
    assert output().count("start  ") == output().count("done   ") == 3
    check_same(results, undisturbed)
    assert left_behind(results) == []


def test_jobs_that_fail(slurm, cli, bad, tiny, tmp_path, failures):
    """They have the errors that they have on this machine, on a cluster of which a node is drained."""
    results = tmp_path / "runs"
    slurm("scontrol", "update", "node=n1", "state=drain", "reason=test")
    try:
        outcome = cli(*command(tiny, results, *map(bad, ("Raises", "Kills", "Exits", "Zero"))))
        states = {node for *_, node in slurm.tasks("all")}
    finally:
        slurm("scontrol", "update", "node=n1", "state=resume")
    assert outcome.code == 1
    assert "3 failed; the same command tries them again:" in outcome.err
    found, local = errors(results), errors(failures[0])
    assert found["Raises"] == local["Raises"]
    for method in ("Kills", "Exits"):
        words, log = found[method].split("; its output is in ")
        assert words == local[method].split("; its output is in ")[0]
        assert log == str(results / f".jobs/tiny/quick/point-goal/mixed/{method}/iql/seed-0.log")
    assert {record.status for (method, _), record in records(results).items() if method == "Zero"} == {"complete"}
    assert "n1" not in states
    shown = cli("status", "--suite", tiny(), "--method", bad("Exits"), "--out", results)
    assert "  last words\n" in shown.out
    assert "jobs.json" not in left_behind(results)


def test_a_node_that_fails(slurm, begin, held, tiny, tmp_path, undisturbed, output):
    """Slurm starts the job again, and nobody else does."""
    results = tmp_path / "runs"
    held.hold()
    process = begin(*command(tiny, results, held.reference))
    held.wait_until_reached(process)
    ((identity, name, _, node),) = slurm.tasks()
    held.hold()
    slurm("scontrol", "update", f"node={node}", "state=down", "reason=test")
    try:
        slurm.wait_for((held.file.parent / "reached").exists, 180)  # Slurm takes its time before it starts one again
        ((again, same_name, *_),) = slurm.tasks()
    finally:
        slurm("scontrol", "update", f"node={node}", "state=resume")
    assert (again, same_name) == (identity, name)
    (log,) = (results / ".jobs" / ".slurm").rglob("*.log")
    assert "DUE TO NODE FAILURE" in log.read_text()
    held.release()
    assert process.wait(120) == 0, output()
    check_same(results, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_cancel_the_jobs(slurm, begin, bad, held, tiny, tmp_path, output, number):
    results = tmp_path / "runs"
    held.hold()
    process = begin(*command(tiny, results, held.reference, bad("Zero"), bad("Hangs")))
    held.wait_until_reached(process)
    slurm.wait_for(lambda: len(records(results)) == 2)
    slurm.wait_for(lambda: list((results / ".jobs").rglob("*.progress")) != [])
    os.killpg(process.pid, number)
    assert process.wait(60) == 130, output()
    assert slurm.tasks() == []
    assert "interrupted; finished cells are kept" in output() and "Traceback" not in output()
    assert {key: r.status for key, r in records(results).items()} == {("Zero", 0): "complete", ("Zero", 1): "complete"}
    assert [name for name in left_behind(results) if name.endswith((".queued", ".claim", ".run", ".tmp"))] == []


def test_a_job_over_its_time(slurm, cli, bad, tiny, tmp_path):
    """Slurm counts in minutes: this takes two."""
    outcome = cli(*command(tiny, tmp_path / "runs", bad("Hangs")), "--preset", "brief")
    assert outcome.code == 1
    error = errors(tmp_path / "runs")["Hangs"]
    assert error.startswith("Slurm ended it at its time limit; --slurm-option time=... sets another; its output is in ")


def test_detached_jobs_are_found_again(slurm, cli, begin, held, tiny, tmp_path, undisturbed, output):
    results = tmp_path / "runs"
    arguments = command(tiny, results, held.reference)
    held.hold()
    outcome = cli(*arguments, "--detach")
    assert outcome.code == 0
    assert "1 job left to Slurm: omrl-bench status shows them, the same command goes on" in outcome.words
    first = token(results)
    slurm.wait_for((held.file.parent / "reached").exists)
    again = cli(*arguments, "--detach")
    assert again.code == 0 and "1 job left to Slurm" in again.words
    process = begin(*arguments)
    slurm.wait_for(lambda: "start  point-goal / Held" in output())
    assert len(slurm.tasks()) == 1
    shown = cli("status", "--suite", tiny(), "--method", held.reference, "--out", results).words
    assert re.search(r"Slurm job \d+_0, running on n", shown)
    held.release()
    assert process.wait(120) == 0, output()
    assert {record.job for record in records(results).values()} == {first}
    check_same(results, undisturbed)
    assert left_behind(results) == []


def test_nobody_waits_for_detached_jobs(slurm, cli, bad, tiny, tmp_path):
    """What has failed by itself has its record; the next run tries it again."""
    results = tmp_path / "runs"
    arguments = command(tiny, results, bad("Zero"), bad("Kills"))
    assert cli(*arguments, "--detach").code == 0
    slurm.wait_for(lambda: slurm.tasks() == [], 120)
    assert {(method, r.status) for (method, _), r in records(results).items()} == {
        ("Zero", "complete"),
        ("Kills", "failed"),
    }
    submitted = slurm.names()
    outcome = cli(*arguments)
    assert outcome.code == 1
    assert "Kills (seeds 0, 1): the method's process was ended by signal SIGKILL, in fit" in outcome.err
    assert len(slurm.names() - submitted) == 1


def test_a_detached_job_whose_worker_is_killed(slurm, cli, held, bad, tiny, tmp_path):
    """What is complete leaves nothing behind; of what was lost the next run says why, and the one after it does it."""
    results = tmp_path / "runs"
    held.hold()
    arguments = command(tiny, results, bad("Zero"), held.reference)
    assert cli(*arguments, "--detach").code == 0
    slurm.wait_for(held.file.with_name("reached").exists, 120)
    slurm.wait_for(lambda: len(records(results)) == 2 and len(slurm.tasks()) == 1, 120)
    workers = [p for p in psutil.process_iter(["cmdline"]) if "worker" in (p.info["cmdline"] or ())]
    for worker in workers:
        if any(part.startswith(str(results)) for part in worker.cmdline()):
            worker.kill()
    slurm.wait_for(lambda: slurm.tasks() == [], 120)
    held.release()
    assert {key: r.status for key, r in records(results).items()} == {("Zero", 0): "complete", ("Zero", 1): "complete"}
    assert {"jobs.json", "seed-0.job", "seeds-0.queued"} <= set(left_behind(results))
    shown = cli("status", "--suite", tiny(), "--method", held.reference, "--out", results)
    assert "not there any more: the worker was ended by signal SIGKILL" in shown.words
    submitted = slurm.names()
    outcome = cli(*arguments)
    assert outcome.code == 1 and "Held (seeds 0, 1): the worker was ended by signal SIGKILL" in outcome.err
    assert slurm.names() <= submitted
    assert cli(*arguments).code == 0
    assert len(slurm.names() - submitted) == 1


def test_a_run_that_is_killed_loses_nothing(slurm, begin, held, tiny, tmp_path, undisturbed, output):
    results = tmp_path / "runs"
    held.hold()
    process = begin(*command(tiny, results, held.reference))
    held.wait_until_reached(process)
    first = token(results)
    process.kill()
    process.wait()
    assert [task[2] for task in slurm.tasks()] == ["RUNNING"]
    process = begin(*command(tiny, results, held.reference))
    slurm.wait_for(lambda: "start  point-goal / Held" in output())
    assert len(slurm.tasks()) == 1
    held.release()
    assert process.wait(120) == 0, output()
    assert {record.job for record in records(results).values()} == {first}
    check_same(results, undisturbed)


def test_a_job_that_somebody_cancels(slurm, begin, held, bad, tiny, tmp_path, output):
    results = tmp_path / "runs"
    held.hold()
    process = begin(*command(tiny, results, held.reference, bad("Zero")))
    held.wait_until_reached(process)
    slurm.wait_for(lambda: len(records(results)) == 2)
    slurm.wait_for(lambda: len(slurm.tasks()) == 1)
    ((identity, *_),) = slurm.tasks()
    slurm("scancel", identity)
    assert process.wait(90) == 1, output()
    assert errors(results)["Held"].startswith("it was cancelled in Slurm; its output is in ")
    assert records(results)["Zero", 1].status == "complete"


def test_a_folder_that_nodes_do_not_see(slurm, cli, bad, tiny):
    if "n2" not in slurm.idle():
        pytest.skip("this machine gives no process a view of its own on folders (unshare -m)")
    results = slurm.hidden / "runs"
    assert cli(*command(tiny, results, bad("Zero"))).code == 0
    before = {path: path.read_bytes() for path in results.rglob("seed-*.*")}
    outcome = cli(
        *command(tiny, results, bad("Zero"), bad("Nan")), "--rerun", "all", "--slurm-option", "partition=apart"
    )
    assert outcome.code == 2
    assert outcome.err == (
        f"error: node n2 does not see the results folder {results}; --out chooses one that all nodes share\n"
    )
    assert {path: path.read_bytes() for path in results.rglob("seed-*.*") if path.suffix != ".job"} == before
    assert slurm.tasks() == []


def test_options_that_slurm_refuses(slurm, cli, bad, tiny, tmp_path):
    outcome = cli(*command(tiny, tmp_path / "runs", bad("Zero")), "--slurm-option", "partition=nowhere")
    assert outcome.code == 2
    assert outcome.err == (
        "error: sbatch refused the jobs: invalid partition specified: nowhere; Batch job submission failed: Invalid "
        "partition name specified\n"
    )
    outcome = cli(*command(tiny, tmp_path / "runs", bad("Zero")), "--slurm-option", "nonsense=3")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert outcome.err.startswith("error: sbatch refused the jobs: unrecognized option '--nonsense=3'")
    assert records(tmp_path / "runs") == {} and slurm.tasks() == []


def test_the_commands_of_the_documentation(slurm, omrl, tmp_path, monkeypatch):
    """As written: submitted, looked at, taken over."""
    monkeypatch.setenv("COLUMNS", "200")
    section = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text().partition("## Slurm")[2]
    lines = section.partition("```\n")[2].partition("```")[0].splitlines()
    detached, status, whole = (omrl(*line.split()[1:], cwd=tmp_path) for line in lines)
    assert (detached.code, status.code, whole.code) == (0, 0, 0), (detached, status, whole)
    assert "4 jobs left to Slurm" in detached.words
    assert re.search(r"Slurm job \d+_\d, (running on n[01]|pending)", status.words)
    assert "oracle" in whole.words  # some of the jobs may be done by then
    assert {record.status for record in iterate_records(tmp_path / "runs")} == {"complete"}
