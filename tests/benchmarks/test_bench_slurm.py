"""What Slurm adds to a job, beside processes of this machine: jobs that do nothing, two at a time on both."""

import json
import sys
import time

import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.executors import Watcher, local, make_executor
from omrl_bench.runner.executors import slurm as slurm_executor
from omrl_bench.runner.job import job_path, write_job
from omrl_bench.runner.plan import inspect_cells, make_jobs, select, unknown_statuses

MOST_SECONDS = 3.0  # per job, more than on this machine: of a queue that starts two at a time

#: A worker that does nothing; that of a submission takes its mark away.
EMPTY = """
import json, pathlib, sys
_, listing, *number = sys.argv[1:]
if number:
    listing = pathlib.Path(listing)
    (listing.parents[3] / json.loads(listing.read_text())[int(number[0])]).unlink()
"""


@pytest.mark.slow
def test_overhead_of_an_empty_job(slurm, benchmark, tmp_path, monkeypatch, capsys):
    for module in (local, slurm_executor):
        monkeypatch.setattr(module, "command", lambda *arguments: [sys.executable, "-S", "-c", EMPTY, *arguments])
    selection = select(load_suite("shift"))
    cells = inspect_cells(selection, tmp_path)
    planned = make_jobs(selection, cells, "missing", unknown_statuses(selection), tmp_path, 1)
    for job in planned:
        write_job(job_path(job), job)
    seconds = {}
    for name in ("local", "slurm"):
        started = time.perf_counter()
        ended = list(make_executor(name, 2).run(planned, Watcher()))
        seconds[name] = (time.perf_counter() - started) / len(planned)
        assert len(ended) == len(planned)
    benchmark(lambda: None)
    with capsys.disabled():
        print(f"\n  seconds per empty job, two at a time: {json.dumps({k: round(v, 2) for k, v in seconds.items()})}")
    assert seconds["slurm"] - seconds["local"] < MOST_SECONDS
