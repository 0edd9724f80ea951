"""What a run costs beside its jobs: by processor time, in which the machine's other work does not count."""

import contextlib
import time

import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.executors import Ended, Watcher, make_executor
from omrl_bench.runner.job import failed_record
from omrl_bench.runner.plan import select, unknown_statuses
from omrl_bench.runner.run import execute, make_plan, run_jobs

FAMILIES = ('["point-goal"]', '["point-goal", "point-square", "point-wind", "point-hard"]')
SEEDS = range(0, 250, 5)  # each in a job of its own
MOST_SECONDS, MOST_PER_JOB = 10.0, 2.0
JOBS = 6  # empty ones, of each executor


class Nothing:
    """Writes a tiny record for each job at once, and counts the time that it takes for that."""

    slots = threads = 1

    def __init__(self):
        self.seconds, self.record = 0.0, None

    def run(self, jobs, watcher):
        for job in jobs:
            started = time.process_time()
            self.record = self.record or failed_record(job, 0, "").model_copy(update={"status": "complete"})
            record = self.record.model_copy(update={"cell": job.cells[0], "job": job.token, "error": None})
            path = job.cells[0].record_path(job.results)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(record.model_dump_json())
            self.seconds += time.process_time() - started
            yield Ended(job, 0.0, "")


def test_planning_and_collecting_ten_thousand_jobs(benchmark, write_suite, tiny_text, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "none"))
    suite = load_suite(str(write_suite(tiny_text, [FAMILIES])))

    def seconds(methods):
        executor, results = Nothing(), tmp_path / f"runs-{methods}"
        results.mkdir()
        started = time.process_time()
        names = [f"focal[beta={number}.0]" for number in range(1, methods + 1)]
        selection = select(suite, methods=names, seeds=SEEDS)
        plan = make_plan(selection, results, "stale", executor, unknown_statuses(selection))
        assert len(plan.jobs) == methods * 4 * len(SEEDS)
        assert run_jobs(plan.jobs, executor, Watcher()) == []
        return time.process_time() - started - executor.seconds

    if benchmark.disabled:
        seconds(1)
        benchmark(lambda: None)
        return
    seconds(1)  # imports
    quarter, whole = seconds(13), seconds(50)
    benchmark.extra_info["seconds"] = whole
    benchmark.pedantic(lambda: None)
    with capsys.disabled():
        print(f"\n  {benchmark.name}: {whole:.1f} s (at most {MOST_SECONDS:.0f}); of 2,600 jobs {quarter:.1f} s")
    assert whole < MOST_SECONDS
    assert whole < 1.25 * quarter * 50 / 13


@pytest.mark.slow
def test_an_empty_job_on_ray_beside_local(benchmark, write_suite, tiny_text, tmp_path, monkeypatch, capsys):
    """The policy of `random`, two lanes of each task: what a job takes is its worker's start."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    if benchmark.disabled:
        pytest.skip("it takes minutes")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    suite = load_suite(str(write_suite(tiny_text, [])))
    seconds = {"local": [], "ray": []}
    with contextlib.ExitStack() as stack:
        cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        stack.callback(cluster.shutdown)
        stack.callback(ray.shutdown)
        executors = {"local": make_executor("local", 1), "ray": make_executor("ray", 1, address=cluster.address)}
        for number in range(JOBS + 1):
            selection = select(suite, methods=["random"], seeds=[5 * number])
            for name, executor in executors.items():
                started = time.perf_counter()
                assert execute(selection, tmp_path / name, executor=executor).errors == ()
                seconds[name].append(time.perf_counter() - started)
    local, on_ray = (sorted(each[1:])[JOBS // 2] for each in seconds.values())  # the first ones build data
    benchmark.extra_info["ratio"] = on_ray / local
    benchmark.pedantic(lambda: None)
    with capsys.disabled():
        print(
            f"\n  {benchmark.name}: {on_ray:.1f} s, local {local:.1f} s: {on_ray / local:.2f} (at most {MOST_PER_JOB})"
        )
    assert on_ray / local <= MOST_PER_JOB
