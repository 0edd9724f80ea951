"""What a worker does with its job, in this process."""

import time

import pytest
import torch

from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner import worker
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.job import job_path, read_job, write_job
from omrl_bench.runner.plan import inspect_cells, make_jobs, select
from omrl_bench.runner.records import iterate_records

SEQUENTIAL = '''
import json

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy


class Still(MetaPolicy):
    def reset(self, lanes):
        pass

    def condition(self, context):
        pass

    def act(self, observations, explore=False):
        return np.zeros((len(observations), 2), np.float32)


class Sequential(Algorithm):
    """Trains one seed after the other, as the contract allows, and reports after each update, as it demands."""

    def fit(self, data, budget, seeds, log):
        self.trained = {}
        for seed in seeds:
            for update in range(budget.updates):
                log("policy", update + 1, budget.updates)
            self.trained[seed] = Still()

    def policy(self, seed):
        return self.trained[seed]

    def save(self, folder):
        kinds = {seed: type(policy).__name__ for seed, policy in self.trained.items()}
        (folder / "policies.json").write_text(json.dumps(kinds))

    def load(self, folder):
        kinds = json.loads((folder / "policies.json").read_text())
        self.trained = {int(seed): globals()[kind]() for seed, kind in kinds.items()}


class OneByOne(Sequential):
    """The same, and it says which seed it reports of."""

    def fit(self, data, budget, seeds, log):
        self.trained = {}
        for seed in seeds:
            self.trained[seed] = Still()
            for update in range(budget.updates):
                log("policy", update + 1, budget.updates, seeds=[seed])


class Interrupted(OneByOne):
    """Ctrl-C, or a failure, in the middle of the second seed."""

    error = KeyboardInterrupt

    def fit(self, data, budget, seeds, log):
        def until_then(stage, step, total, seeds):
            log(stage, step, total, seeds=seeds)
            if seeds == [1] and step == 2:
                raise self.error("in the middle")

        super().fit(data, budget, seeds, until_then)


class Broken(Interrupted):
    error = RuntimeError


class Resumed(OneByOne):
    """Comes back to its first seed when it has trained the second, and then has another policy for it."""

    def fit(self, data, budget, seeds, log):
        super().fit(data, budget, seeds, log)
        self.trained[seeds[0]] = Moving()
        log("policy", budget.updates, budget.updates, seeds=seeds[:1])


class Moving(Still):
    def act(self, observations, explore=False):
        return np.full((len(observations), 2), 0.05, np.float32)


class Thief(Sequential):
    """Reads what it did not declare."""

    def fit(self, data, budget, seeds, log):
        data.descriptors


class Configured(Sequential):
    def fit(self, data, budget, seeds, log):
        self.trained = {seed: Still() for seed in seeds}

    def configuration(self):
        return {"rate": np.float32(0.1)}
'''


@pytest.fixture
def job(tiny, datasets, monkeypatch, tmp_path):
    """job(reference) -> the one job of a method, not yet run."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    results = tmp_path / "runs"

    def make(reference, **changes):
        selection = select(load_suite(str(tiny())), methods=[reference])
        cells = inspect_cells(selection, results)
        (made,) = make_jobs(selection, cells, "stale", {("point-goal", "mixed"): "canonical"}, results, 1)
        return made.model_copy(update=changes)

    return make


@pytest.fixture
def run(monkeypatch):
    """Run a job: its records by seed, and the progress it reported; in this process, each step of it is reported."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(worker, "REPORT_EVERY", 0.0)
    reports = []

    def execute(job, in_process=False):
        worker.run_job(job, reports.append, in_process)
        return {record.cell.seed: record for record in iterate_records(job.results)}, reports

    yield execute
    torch.set_num_threads(threads)


@pytest.fixture
def sequential(tmp_path):
    (tmp_path / "sequential.py").write_text(SEQUENTIAL)
    return lambda name: f"{tmp_path / 'sequential.py'}:{name}"


def test_job_file_survives_the_round_trip(job, bad):
    made = job(bad("Zero"))
    write_job(job_path(made), made)
    assert read_job(job_path(made)) == made


def test_progress_never_goes_back(job, run, held):
    records, reports = run(job(f"{held.file}:Quick"), in_process=True)
    assert [r.status for r in records.values()] == ["complete", "complete"]
    fractions = [report.fraction for report in reports]
    assert len(fractions) > 100 and fractions == sorted(fractions)
    assert {report.stage for report in reports} == {"policy", "evaluation"}
    assert fractions[0] >= 0 and fractions[-1] <= 1


def test_curve_has_as_many_points_as_the_preset_asks_for(job, run, held):
    made = job(f"{held.file}:Quick")
    records, _ = run(made.model_copy(update={"preset": made.preset.model_copy(update={"evaluations": 4})}))
    assert [point.step for point in records[0].curve] == [25, 50, 75, 100]
    # the second seed trains in the second half: until then its policy, and so its score, is what it was at the start
    assert records[1].curve[0].score == records[1].curve[1].score != records[1].curve[3].score


def test_a_learning_method_is_better_with_good_contexts(job, run, held):
    """The adapter of these tests really learns: it moves towards where the context ended."""
    records, _ = run(job(f"{held.file}:Quick"))
    for record in records.values():
        assert record.metrics["high"].score > 20
        assert record.metrics["high"].score > record.metrics["low"].score


def test_undeclared_privilege_fails_the_cell_in_words(job, run, sequential):
    records, _ = run(job(sequential("Thief")))
    for record in records.values():
        assert record.status == "failed"
        assert record.error.startswith("PrivilegeError: the method reads 'descriptors' without declaring it")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nan", "PolicyError: act returned NaN or infinity in lane 0"),
        (
            "Shape",
            "PolicyError: act returned shape (200, 1); expected a NumPy array of shape (200, 2) (lanes, action size)",
        ),
        ("Raises", "RuntimeError: the matrix is singular (bad.py:"),
        ("Init", "RuntimeError: no licence found (bad.py:"),
    ],
)
def test_what_goes_wrong_is_in_the_record(job, run, bad, name, words):
    made = job(bad("Zero"))
    made = made.model_copy(update={"target": made.target.replace("Zero", name)})
    records, _ = run(made)
    assert set(records) == {0, 1}
    for record in records.values():
        assert record.status == "failed" and record.error.startswith(words)
        assert record.metrics == {} and record.trained_together == (0, 1)
    assert list(made.results.rglob("*.npz")) == []


def test_errors_become_one_short_line():
    def fail(message):
        try:
            raise ValueError(message)
        except ValueError as error:
            return worker.describe(error)

    assert fail("first\nsecond").startswith("ValueError: first (test_runner_worker.py:")
    assert fail("").startswith("ValueError: no message (")
    assert len(fail("x" * 5000)) <= 600


def test_returns_are_undiscounted_sums_of_the_environment(job, run, bad):
    made = job(bad("Zero"))
    run(made)
    cubes = [read_cube(cell.cube_path(made.results)) for cell in made.cells]
    # point-goal starts at the origin and standing still earns the same everywhere: every return is -60 goal distances
    for cube in cubes:
        assert cube.returns == pytest.approx(-60, abs=1e-3)


def test_a_method_that_passes_smoke_and_trains_seed_by_seed_runs(job, run, sequential):
    from omrl_bench.registry import load_class
    from omrl_bench.testing import AdapterError, check_adapter

    made = job(sequential("Sequential"))
    try:
        check_adapter(load_class(made.target))
    except AdapterError:
        return  # told beforehand
    records, _ = run(made)
    assert [record.error for record in records.values()] == [None, None]


def test_configuration_that_is_no_json_is_said_before_training(cli, tiny, sequential, tmp_path):
    """By the plan of a run and by `smoke`."""
    from omrl_bench.registry import load_class
    from omrl_bench.testing import AdapterError, check_adapter

    out = tmp_path / "runs"
    outcome = cli("run", "--suite", tiny(), "--method", sequential("Configured"), "--out", out, "--dry-run")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert "Configured cannot say its configuration(): TypeError" in outcome.err
    with pytest.raises(AdapterError, match=r"configuration must be what JSON can hold"):
        check_adapter(load_class(sequential("Configured")))


def test_a_method_that_trains_seed_by_seed_may_say_which(job, run, sequential):
    records, _ = run(job(sequential("OneByOne")))
    assert [record.error for record in records.values()] == [None, None]
    assert [point.step for point in records[0].curve] == [point.step for point in records[1].curve] == [2, 4]


def test_time_of_an_update_is_the_methods_own(job, run, monkeypatch, tmp_path):
    """Processor time, of each stage, without the learning curve that the harness measures in between."""
    file = tmp_path / "busy.py"
    file.write_text(SEQUENTIAL + BUSY)
    validations = []
    monkeypatch.setattr(worker.Evaluation, "validate", lambda self, policy, seed: validations.append(spend(0.2)) or 0.0)
    records, _ = run(job(f"{file}:Busy"))
    assert validations
    for record in records.values():
        assert record.device == "cpu"
        assert set(record.update_milliseconds) == {"representation", "policy"}
        assert 5 <= record.update_milliseconds["representation"] < 15
        assert 20 <= record.update_milliseconds["policy"] < 60


BUSY = """
import time


def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Busy(Sequential):
    def fit(self, data, budget, seeds, log):
        self.trained = {seed: Still() for seed in seeds}
        for stage, seconds, updates in (("representation", 0.005, 4), ("policy", 0.02, budget.updates)):
            for update in range(updates):
                spend(seconds)
                time.sleep(0.01)
                log(stage, update + 1, updates)
"""


def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_method_is_called_with_the_jobs_device(job, run, tmp_path, device):
    """Torch's default device is the job's while the method works, and its own again afterwards."""
    file = tmp_path / "placed.py"
    file.write_text(SEQUENTIAL + PLACED)
    records, _ = run(job(f"{file}:Placed", device=device))
    assert {record.status for record in records.values()} == {"complete"}
    assert {record.configuration["device"] for record in records.values()} == {device}
    assert {record.device for record in records.values()} == {device}
    assert torch.zeros(1).device.type == "cpu"


PLACED = """
import torch


class Placed(Sequential):
    def fit(self, data, budget, seeds, log):
        self.trained = {seed: Still() for seed in seeds}
        assert torch.zeros(1).device.type == torch.as_tensor(data.rewards).device.type == self.setup.device

    def configuration(self):
        return {"device": self.setup.device}
"""


def test_seeds_that_are_trained_one_by_one_are_kept_one_by_one(job, run, sequential):
    """As Ctrl-C promises: finished cells are kept."""
    made = job(sequential("Interrupted"))
    with pytest.raises(KeyboardInterrupt):
        run(made, in_process=True)
    (record,) = iterate_records(made.results)
    assert (record.cell.seed, record.status, record.job) == (0, "complete", made.token)
    assert [point.step for point in record.curve] == [2, 4]
    whole = job(sequential("OneByOne"))
    records, _ = run(whole)
    assert records[0].metrics == record.metrics
    cubes = [read_cube(each.cells[0].cube_path(each.results)) for each in (made, whole)]
    assert cubes[0].content_hash() == cubes[1].content_hash()
    assert records[0].fit_seconds == records[1].fit_seconds >= record.fit_seconds  # of all seeds together


def test_a_failure_costs_the_seeds_that_are_not_trained(job, run, sequential):
    records, _ = run(job(sequential("Broken")))
    assert [records[seed].status for seed in (0, 1)] == ["complete", "failed"]
    assert records[1].error.startswith("RuntimeError: in the middle")


def test_a_seed_that_is_trained_on_is_evaluated_when_it_is_done(job, run, sequential):
    records, _ = run(job(sequential("Resumed")))
    assert records[0].metrics != records[1].metrics
    assert [record.error for record in records.values()] == [None, None]


def test_progress_of_seeds_one_by_one_never_goes_back(job, run, sequential):
    made = job(sequential("OneByOne"))
    preset = made.preset.model_copy(update={"updates": 50, "evaluations": 0})
    _, reports = run(made.model_copy(update={"preset": preset}), in_process=True)
    fractions = [report.fraction for report in reports if report.stage == "policy"]
    assert len(fractions) == 100
    assert fractions == pytest.approx([0.9 * (step + 1) / 100 for step in range(100)])


def test_progress_of_a_representation_is_a_third_of_the_training(job, run, tmp_path):
    file = tmp_path / "staged.py"
    file.write_text(SEQUENTIAL + STAGED)
    _, reports = run(job(f"{file}:Staged"))
    fractions = [report.fraction for report in reports if report.stage != "evaluation"]
    assert fractions == pytest.approx([0.9 * share for share in (1 / 6, 1 / 3, 2 / 3, 1)])


STAGED = """
class Staged(Sequential):
    def fit(self, data, budget, seeds, log):
        self.trained = {seed: Still() for seed in seeds}
        for stage in ("representation", "policy"):
            for update in range(2):
                log(stage, update + 1, 2)
"""
