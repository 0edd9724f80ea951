"""The run service: without the command line, in a thread, by any executor, interrupted and failing."""

import signal
import sys
import threading

import pytest
import torch

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.executors import Watcher, executors, make_executor
from omrl_bench.runner.plan import select
from omrl_bench.runner.records import iterate_records
from omrl_bench.runner.run import execute

LEAVES = """
import sys

from omrl_bench.api import Algorithm


class Leaves(Algorithm):
    def fit(self, data, budget, seeds, log):
        sys.exit("I am done")

    policy = save = load = None
"""

#: An executor of another package: the last job first, and every other one is lost.
ELSEWHERE = """
from omrl_bench.runner.executors import Ended
from omrl_bench.runner.executors.inline import Inline


class Elsewhere(Inline):
    def run(self, jobs, watcher):
        for number, job in enumerate(reversed(list(jobs))):
            if number % 2:
                watcher.started(job)
                yield Ended(job, 0.0, "the machine was switched off")
            else:
                yield from super().run([job], watcher)
"""


class Listing(Watcher):
    """Keeps what it is told."""

    def __init__(self):
        self.events = []

    def planned(self, plan):
        self.events.append(("planned", len(plan.jobs)))

    def started(self, job):
        self.events.append(("started", job.cells[0].method))

    def progressed(self, job, stage, fraction):
        self.events.append(("progressed", job.cells[0].method))

    def finished(self, job, seconds, error):
        self.events.append(("finished", job.cells[0].method, error))


@pytest.fixture
def selection(tiny, datasets, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    return lambda *methods: select(load_suite(str(tiny())), methods=methods)


def numbers(results):
    """Of every complete record: its cell, its hashes, its configuration, and the hash of its cube."""
    return {
        (r.cell.method, r.cell.seed): (r.cell, r.hashes, r.configuration, read_cube(r.cell.cube_path(results), r.cube))
        for r in iterate_records(results)
        if r.status == "complete"
    }


def check_same_numbers(results, others, methods):
    found, expected = numbers(results), numbers(others)
    assert {key for key in expected if key[0] in methods} == set(found)
    for key, (*facts, cube) in found.items():
        assert facts == list(expected[key][:3])
        assert cube.content_hash() == expected[key][3].content_hash()


def test_in_a_thread_as_in_a_notebook_and_again(selection, held, tmp_path, undisturbed, capsys):
    """Nothing is printed, no signal is caught, no setting of torch's stays; the numbers are those of processes."""
    watcher, outcomes = Listing(), []
    chosen = selection("focal", held.reference)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    threads = torch.get_num_threads()

    def work():
        outcomes.append(execute(chosen, tmp_path / "runs", executor=make_executor("inline"), watcher=watcher))

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert [(len(each.plan.jobs), each.errors) for each in outcomes] == [(2, ()), (0, ())]
    told = [event for event in watcher.events if event[0] != "progressed"]
    assert told == [
        ("planned", 2),
        *(("started", "focal"), ("finished", "focal", None), ("started", "Held"), ("finished", "Held", None)),
        ("planned", 0),
    ]
    assert ("progressed", "focal") in watcher.events
    assert capsys.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert torch.get_num_threads() == threads
    check_same_numbers(tmp_path / "runs", undisturbed[0], {"focal", "Held"})
    assert [path for path in (tmp_path / "runs" / ".jobs").rglob("*") if path.is_file()] == []


def test_processes_from_a_thread(selection, tmp_path, undisturbed):
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(execute(selection("random"), tmp_path / "runs")))
    thread.start()
    thread.join()
    assert outcomes[0].errors == ()
    check_same_numbers(tmp_path / "runs", undisturbed[0], {"random"})


@pytest.mark.parametrize("name", ["local", "inline"])
def test_a_failing_method_costs_its_own_cells_only(selection, bad, tmp_path, name):
    (tmp_path / "leaves.py").write_text(LEAVES)
    chosen = selection(bad("Raises"), f"{tmp_path / 'leaves.py'}:Leaves", "random")
    outcome = execute(chosen, tmp_path / "runs", executor=make_executor(name))
    raises, leaves = sorted(outcome.errors, reverse=True)
    assert raises.startswith("point-goal / Raises (seeds 0, 1): RuntimeError: the matrix is singular (bad.py:")
    assert leaves.startswith("point-goal / Leaves (seeds 0, 1): the method ended its process, with 'I am done'")
    states = {(r.cell.method, r.cell.seed): r.status for r in iterate_records(tmp_path / "runs")}
    expected = {"Raises": "failed", "Leaves": "failed", "random": "complete"}
    assert states == {(method, seed): state for method, state in expected.items() for seed in (0, 1)}


def test_an_interruption_passes_and_keeps_what_has_ended(selection, held, tmp_path, undisturbed):
    class Impatient(Watcher):
        def progressed(self, job, stage, fraction):
            if job.cells[0].method == "Held":
                raise KeyboardInterrupt

    results, chosen = tmp_path / "runs", selection("random", held.reference)
    with pytest.raises(KeyboardInterrupt):
        execute(chosen, results, executor=make_executor("inline"), watcher=Impatient())
    assert set(numbers(results)) == {("random", 0), ("random", 1)}
    outcome = execute(chosen, results, executor=make_executor("inline"))  # the lock is gone, too
    assert [job.label for job in outcome.plan.jobs] == ["point-goal / Held (seeds 0, 1)"] and outcome.errors == ()
    check_same_numbers(results, undisturbed[0], {"random", "Held"})


def test_the_data_that_are_missing_are_announced(selection, tmp_path, monkeypatch):
    from omrl_bench.data import manifest

    class Announced(Watcher):
        def preparing(self, text):
            raise StopIteration(text)

    chosen = selection("random")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(manifest, "build_dataset", lambda *_, **__: pytest.fail("it is built before it is announced"))
    with pytest.raises(StopIteration, match="building omrl/point-goal/mixed-v1"):
        execute(chosen, tmp_path / "runs", executor=make_executor("inline"), watcher=Announced())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An installed package with an executor of its own."""
    folder = tmp_path / "site"
    information = folder / "elsewhere-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[omrl_bench.executors]\nelsewhere = elsewhere:Elsewhere\n")
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("elsewhere", None)


def test_an_executor_of_another_package(elsewhere, cli, tiny, tmp_path):
    """It needs nothing but to start workers; jobs that it loses leave records of a failure."""
    assert set(executors()) >= {"local", "inline", "slurm", "elsewhere"}
    methods = ("--method", "random", "--method", "behaviour")
    outcome = cli("run", "--suite", tiny(), *methods, "--out", tmp_path / "runs", "--executor", "elsewhere")
    assert outcome.code == 1
    assert "point-goal / random (seeds 0, 1): the machine was switched off\n" in outcome.err
    states = {r.cell.method: (r.status, r.error) for r in iterate_records(tmp_path / "runs")}
    assert states == {"random": ("failed", "the machine was switched off"), "behaviour": ("complete", None)}


def test_executors_that_are_not_there(cli, tiny, tmp_path):
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--executor", "inlin")
    assert (outcome.code, outcome.err) == (2, "error: unknown executor 'inlin'; did you mean 'inline'?\n")
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--executor", "inline", "--jobs", 3)
    assert (outcome.code, outcome.err) == (2, "error: executor 'inline' runs one job at a time, not 3\n")
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--gpus-per-job", 0.5)
    assert (outcome.code, outcome.err) == (2, "error: executor 'local' has no option --gpus-per-job\n")
    assert not (tmp_path / "runs").exists()


def test_an_executor_that_cannot_be_imported(elsewhere, tmp_path):
    (tmp_path / "site" / "elsewhere.py").write_text("import torhc\n")
    with pytest.raises(InputError, match="executor 'elsewhere': elsewhere cannot be imported: ModuleNotFoundError"):
        make_executor("elsewhere")
    (tmp_path / "site" / "elsewhere.py").write_text("class Elsewhere:\n    def __init__(self, jobs):\n        pass\n")
    with pytest.raises(InputError, match=r"elsewhere:Elsewhere has not all of omrl_bench\.runner\.executors\.Executor"):
        make_executor("elsewhere")


def test_the_command_line_puts_the_signal_handler_back(cli, inline, tiny, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    assert cli("run", "--suite", tiny(), "--method", "random", "--out", tmp_path / "runs").code == 0
    assert signal.getsignal(signal.SIGTERM) == before
