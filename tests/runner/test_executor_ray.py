"""Ray: a cluster of three nodes on this machine, whose head runs no jobs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from omrl_bench.runner.records import iterate_records, read_record

ALONE = (  # the seeds one by one, each evaluated when the next one begins; held by a folder that nodes see
    ("HERE = Path(__file__).parent", "HERE = Path({folder!r})"),
    ("self.pause(number, step)", "self.pause(seed, step)"),
    ('log("policy", number * 50 + step + 1, len(seeds) * 50)', 'log("policy", step + 1, 50, seeds=[seed])'),
)


def wait_for(condition, what, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_without_ray(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "omrl_bench.runner.executors.ray", raising=False)
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--executor", "ray")
    expected = "error: executor 'ray': Ray is not installed; pip install 'omrl-bench[ray]'\n"
    assert (outcome.code, outcome.out, outcome.err) == (2, "", expected)
    assert not (tmp_path / "runs").exists()


def test_other_executors_do_not_import_it():
    code = "import sys; from omrl_bench.runner.executors import make_executor, executors; make_executor('local'); "
    code += "assert 'ray' in executors() and 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("processors", "gpus", "wanted", "jobs"),
    [
        *((0, 0, 0, 0), (4, 0, 0, 4), (4, 0, 1, 0), (0.5, 0, 0, 0)),
        *((4, 1, 0.25, 4), (9, 2, 0.3, 6), (8, 5, 2, 2), (1, 8, 1, 1)),
    ],
)
def test_jobs_that_fit_on_a_node(processors, gpus, wanted, jobs):
    """Each GPU is shared by jobs of its own: 0.3 fits three times into one, not seven times into two."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from omrl_bench.runner.executors.ray import _fitting

    resources = {name: number for name, number in (("CPU", processors), ("GPU", gpus)) if number}
    assert _fitting(resources, wanted) == jobs


class Nodes:
    """A cluster; each node has folders of its own for data and temporary files."""

    def __init__(self, root):
        from ray.cluster_utils import Cluster

        self.root, self.number = root, 0
        memory = {"object_store_memory": 80 * 2**20}
        self.cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
        self.workers = [self.add(), self.add()]

    def add(self):
        folder = self.root / f"node-{self.number}"
        folders = {"MINARI_DATASETS_PATH": folder / "data", "TMPDIR": folder / "tmp"}
        for path in folders.values():
            path.mkdir(parents=True)
        self.number += 1
        environment = {name: str(path) for name, path in folders.items()}
        node = self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, env_vars=environment)
        node.folder = folder
        self.cluster.wait_for_nodes()
        return node

    def remove(self, node):
        """Switch a node off, and put another one in its place."""
        self.cluster.remove_node(node, allow_graceful=False)
        self.workers[self.workers.index(node)] = self.add()

    def jobs(self):
        """The workers of omrl-bench that run: their process and the node that it is on."""
        found = []
        for node in self.workers:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            for process in raylet.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "--package" in process.cmdline():
                        found.append((process, node))
        return found

    @property
    def left(self):
        """What jobs have left in the temporary folders of the nodes that are there."""
        return [path for node in self.workers for path in (node.folder / "tmp").glob("omrl-bench-*")]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    pytest.importorskip("ray", reason="Ray is not installed")
    found = Nodes(tmp_path_factory.mktemp("cluster"))
    yield found
    found.cluster.shutdown()


@pytest.fixture
def alone(held):
    """The adapter, changed as above; it is held where the original is."""
    text = held.file.read_text()
    for old, new in ALONE:
        assert old in text
        text = text.replace(old, new.format(folder=str(held.file.parent)))
    held.file.write_text(text)
    return held


@pytest.fixture
def command(nodes, tiny, alone, tmp_path):
    """The run that is disturbed."""
    where = ("--executor", "ray", "--address", nodes.cluster.address, "--no-report")
    return ("run", "--suite", tiny(), "--method", alone.reference, "--out", tmp_path / "runs", *where)


@pytest.fixture
def output(tmp_path):
    return lambda: (tmp_path / "output").read_text()


def check_same(results, others, methods):
    """All records are there and complete, and the files of their returns are the same to the byte."""
    records = list(iterate_records(results))
    assert {(r.cell.method, r.cell.seed) for r in records} == {(m, seed) for m in methods for seed in (0, 1)}
    for record in records:
        path, other = record.cell.cube_path(results), record.cell.cube_path(others)
        assert path.read_bytes() == other.read_bytes()
        assert record.metrics == read_record(other.with_suffix(".json")).metrics
    assert list(results.rglob("*.tmp")) == [] and list(results.rglob("*.claim")) == []


@pytest.mark.slow
def test_records_are_those_of_local_without_a_shared_folder(nodes, tiny, held, omrl, tmp_path, undisturbed):
    results = tmp_path / "runs"
    methods = ("--method", "random", "--method", "focal", "--method", held.reference)
    where = ("--executor", "ray", "--address", nodes.cluster.address, "--no-report")
    outcome = omrl("run", "--suite", tiny(), *methods, "--out", results, *where)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "6 to run in 3 jobs, 2 at a time" in outcome.words
    check_same(results, undisturbed[0], ("random", "focal", "Held"))
    records = {(r.cell.method, r.cell.seed): r for r in iterate_records(results)}
    for record in iterate_records(undisturbed[0]):
        mine = records[record.cell.method, record.cell.seed]
        same = ("hashes", "equivalent_to", "configuration", "dataset_status", "curve", "representation", "parameters")
        assert [getattr(mine, name) for name in same] == [getattr(record, name) for name in same]
    kept = [sorted(path.relative_to(r) for path in r.glob(".trained/*/*/*/*")) for r in (results, undisturbed[0])]
    assert kept[0] == kept[1] != []
    built = [list(node.folder.glob("data/omrl/point-goal/mixed-v1/receipt.json")) for node in nodes.workers]
    assert all(len(found) == 1 for found in built)  # on each node, by the first of its jobs
    assert nodes.left == []


@pytest.mark.slow
def test_a_node_is_removed_and_workers_are_killed(nodes, begin, command, alone, tmp_path, undisturbed, output):
    alone.hold()
    process = begin(*command)
    alone.wait_until_reached(process, 300)
    ((worker, node),) = nodes.jobs()
    first = tmp_path / "runs/tiny/quick/point-goal/mixed/Held/iql/seed-0.json"
    wait_for(first.exists, "the first seed did not come back before the second has ended")
    nodes.remove(node)
    wait_for(lambda: not worker.is_running(), "the worker outlived its node")
    wait_for(nodes.jobs, "the job was not begun again")
    ((worker, _),) = nodes.jobs()
    worker.kill()  # as the kernel does where memory runs out
    wait_for(lambda: nodes.jobs() and nodes.jobs()[0][0] != worker, "the job was not begun again")
    alone.release()
    assert process.wait(400) == 0, output()
    assert re.findall(r"^(?:start|done|failed) .*?\)", output(), re.MULTILINE) == [
        f"{what} point-goal / Held (seeds 0, 1)" for what in ("start ", "done  ")
    ]
    check_same(tmp_path / "runs", undisturbed[0], ("Held",))
    assert nodes.left == []


@pytest.mark.slow
def test_the_driver_is_ended_and_the_command_repeated(nodes, begin, command, alone, tmp_path, undisturbed, output):
    """Ctrl-C, then kill -9: no worker goes on, the seed that was finished is kept, and the same command goes on."""
    first = tmp_path / "runs/tiny/quick/point-goal/mixed/Held/iql/seed-0.json"
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        alone.hold()
        process = begin(*command)
        alone.wait_until_reached(process, 300)
        ((worker, _),) = nodes.jobs()
        if number == signal.SIGINT:
            wait_for(first.exists, "the first seed did not come back")
        os.killpg(process.pid, number)
        assert process.wait(60) == code, output()
        wait_for(lambda worker=worker: not worker.is_running(), "a worker goes on", 30)
        if number == signal.SIGINT:
            assert "interrupted; finished cells are kept" in output() and "Traceback" not in output()
            assert nodes.left == []
            kept = first.read_bytes()
        alone.release()
    process = begin(*command)
    assert process.wait(400) == 0, output()
    assert "2 cells, 1 to run in 1 jobs" in output()
    assert first.read_bytes() == kept
    check_same(tmp_path / "runs", undisturbed[0], ("Held",))


@pytest.mark.slow
def test_jobs_that_fail(nodes, tiny, bad, omrl, tmp_path):
    """What local says, and which node; the end of the output comes back."""
    before = nodes.left  # by jobs whose Ray was killed
    methods = [f"--method={bad(name)}" for name in ("Raises", "Exits", "Kills")]
    where = ("--executor", "ray", "--address", nodes.cluster.address, "--no-report")
    outcome = omrl("run", "--suite", tiny(), *methods, "--out", tmp_path / "runs", *where)
    assert outcome.code == 1
    jobs = tmp_path / "runs/.jobs/tiny/quick/point-goal/mixed"
    assert "Raises (seeds 0, 1): RuntimeError: the matrix is singular (bad.py:" in outcome.err
    for name, how in (("Exits", "ended with exit code 3"), ("Kills", "was ended by signal SIGKILL")):
        assert f"{name} (seeds 0, 1): the method's process {how}, in fit\n" in outcome.err
    assert (jobs / "Exits/iql/seed-0.log").read_text().endswith("last words\n")
    assert "Traceback" in (jobs / "Raises/iql/seed-0.log").read_text()
    assert {r.status for r in iterate_records(tmp_path / "runs")} == {"failed"}
    assert nodes.left == before


@pytest.mark.slow
def test_what_cannot_be(nodes, tiny, omrl, tmp_path):
    """One line, exit code 2, within seconds."""
    here = nodes.cluster.address
    nodes = "1 with 0 CPUs and 0 GPUs, 2 with 1 CPUs and 0 GPUs\n"
    no_gpu = f"no node of the Ray cluster {here} can run a job of 1 CPU and 0.5 GPUs; of its nodes, {nodes}"
    cases = [
        (("--address", "127.0.0.1:1"), "--address 127.0.0.1:1: nothing answers there: "),
        (("--address", "no-such-host.invalid:6379"), "--address no-such-host.invalid:6379: nothing answers there: "),
        (("--address", "nonsense"), "--address nonsense: there is no Ray cluster that this machine is part of: "),
        (("--address", f"ray://{here}"), f"--address ray://{here}: Ray's client is not supported; run this"),
        (("--address", here, "--gpus-per-job", 0.5), no_gpu),
        (("--address", here, "--gpus-per-job", 1.5), "--gpus-per-job 1.5: a part of one GPU, or a whole number"),
    ]
    for options, message in cases:
        started = time.monotonic()
        command = ("run", "--suite", tiny(), "--out", tmp_path / "runs", "--executor", "ray", *options)
        outcome = omrl(*command)
        assert outcome.code == 2 and outcome.out == "", (options, outcome)
        assert outcome.err.startswith(f"error: {message}") and outcome.err.count("\n") == 1
        assert time.monotonic() - started < 100
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_another_package_on_a_node(nodes, tiny, omrl, tmp_path, begin, output):
    """The run ends at once, with the node's name, and the same command would go on."""
    code = "import sys\nfrom omrl_bench.runner.executors import ray\nray.package_hash = lambda: 'another'\n"
    code += "from omrl_bench.cli.main import main\nmain()"
    where = ("--executor", "ray", "--address", nodes.cluster.address, "--no-report")
    process = begin("run", "--suite", tiny(), "--method", "random", "--out", tmp_path / "runs", *where, code=code)
    assert process.wait(300) == 2
    assert re.search(r"^error: node \S+: omrl-bench is another version there", output(), re.MULTILINE)
    assert list(iterate_records(tmp_path / "runs")) == []
