"""Live curves: a tracker is shown what a method reports, and nothing else changes."""

import importlib
import itertools
import os
import subprocess
import sys

import pytest

from omrl_bench.errors import InputError
from omrl_bench.referee import method
from omrl_bench.runner import trackers, worker
from omrl_bench.runner.executors import Watcher
from omrl_bench.runner.executors.inline import Inline
from omrl_bench.runner.records import iterate_records
from omrl_bench.runner.run import execute

#: What a record says of the circumstances; everything else are numbers.
CIRCUMSTANCES = {
    *("fit_seconds", "evaluate_seconds", "update_milliseconds", "peak_memory_mib", "created", "job", "content"),
}


class Memory:
    """A tracker that keeps what it is shown; it fails where it is told to."""

    def __init__(self, fails=()):
        self.runs, self.fails, self.logins = {}, fails, 0

    def login(self):
        self.logins += 1

    def init(self, **given):
        self._may_fail("init")
        run = self.runs[given["config"]["seed"]] = MemoryRun(given, self._may_fail)
        return run

    def _may_fail(self, where):
        if where in self.fails:
            raise RuntimeError(f"no {where}")


class MemoryRun:
    def __init__(self, given, may_fail):
        self.given, self.points, self.finished, self.may_fail = given, [], 0, may_fail

    def log(self, data, step):
        self.may_fail("log")
        self.points.append((step, dict(data)))

    def finish(self):
        self.finished += 1
        self.may_fail("finish")


@pytest.fixture
def memory(monkeypatch):
    """memory(fails) -> a tracker by the name of `memory`."""

    def make(fails=()):
        made = Memory(fails)
        monkeypatch.setitem(trackers.BUILT_IN, "memory", "some:where")
        monkeypatch.setattr(trackers, "import_named", lambda reference, what: made)
        return made

    return make


@pytest.fixture
def run(datasets, monkeypatch, tiny, tmp_path):
    """run(methods, track) -> records by method and seed, of a run in this process in a folder of its own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    numbers = itertools.count()

    def make(*methods, track=None):
        from omrl_bench.protocols.suite import load_suite
        from omrl_bench.runner.plan import select

        results = tmp_path / f"runs-{next(numbers)}"
        outcome = execute(select(load_suite(str(tiny())), methods=methods), results, "stale", Inline(), track=track)
        assert outcome.errors == ()
        return results, {(record.cell.method, record.cell.seed): record for record in iterate_records(results)}

    return make


def numbers_of(results, records):
    """Everything of some records that is no circumstance, and their cubes and traces."""
    files = {path.relative_to(results): path.read_bytes() for path in sorted(results.rglob("*.npz"))}
    return {key: record.model_dump(exclude=CIRCUMSTANCES) for key, record in records.items()}, files


@pytest.mark.parametrize("track", ["memory", "tensorboard"])
def test_tracking_changes_no_number(run, memory, track):
    if track == "tensorboard":
        pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    else:
        memory()
    without, with_it = numbers_of(*run("focal")), numbers_of(*run("focal", track=track))
    assert with_it == without and without[1]


def test_a_tracker_is_shown_what_the_method_reports(run, memory):
    tracker = memory()
    results, records = run("focal", track="memory")
    assert tracker.logins == 1 and set(tracker.runs) == {0, 1}
    for seed, each in tracker.runs.items():
        given = each.given
        assert given["project"] == "omrl-bench" and given["name"] == f"point-goal / focal / seed {seed}"
        assert given["group"] == "tiny/quick/point-goal/mixed/focal/iql" and given["dir"] == str(results / ".track")
        assert given["config"]["updates"] == 4 and given["config"]["configuration"]["width"]
        assert given["config"]["seed"] == seed
        steps = [step for step, _ in each.points]
        assert steps == list(range(1, 9))  # four updates of the representation, then four of the policy
        shares = [data["representation/share"] for _, data in each.points[:4]]
        assert shares == [0.25, 0.5, 0.75, 1.0] and "policy/share" not in each.points[0][1]
        assert all(data["policy/update_milliseconds"] > 0 for _, data in each.points[4:])
        curve = [(step - 4, data["validation/score"]) for step, data in each.points if "validation/score" in data]
        assert curve == [(point.step, point.score) for point in records["focal", seed].curve] and len(curve) == 2
        assert each.finished == 1


def test_a_long_training_is_a_hundred_points_of_each_stage(run, memory, monkeypatch):
    tracker = memory()
    monkeypatch.setattr(worker.Evaluation, "validate", lambda self, policy, seed: 1.0)
    load = method.load_class

    def long(target):
        class Long(load(target)):
            def fit(self, data, budget, seeds, log):
                super().fit(data, budget, seeds, lambda *given, **named: None)
                for seed in seeds:  # one by one
                    for step in range(1, 5001):
                        log("policy", step, 5000, seeds=[seed])

        return Long

    monkeypatch.setattr(method, "load_class", long)
    run("random", track="memory")
    for each in tracker.runs.values():
        assert [step for step, _ in each.points] == list(range(50, 5001, 50))


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_what_goes_wrong_with_a_tracker_costs_nothing_but_curves(run, memory, capsys, where):
    tracker = memory(fails={where})
    _, records = run("random", "focal", track="memory")
    assert {record.status for record in records.values()} == {"complete"} and len(records) == 4
    said = capsys.readouterr().out
    for seed in (0, 1):
        assert said.count(f"the curves of seed {seed} are tracked no further: RuntimeError: no {where}\n") >= 1
    if where == "log":
        assert all(each.finished == 0 and each.points == [] for each in tracker.runs.values())


def test_curves_of_a_training_that_fails_are_finished(run, memory, bad, monkeypatch):
    tracker = memory()
    with pytest.raises(AssertionError, match="the matrix is singular"):
        run(bad("Raises"), track="memory")
    assert [each.finished for each in tracker.runs.values()] == [1, 1]


def test_weights_that_are_kept_are_not_tracked_again(memory, tiny, datasets, monkeypatch, tmp_path):
    """Only what trains has curves."""
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.plan import select

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    tracker = memory()
    selection = select(load_suite(str(tiny())), methods=["focal"])
    for _ in range(2):
        execute(selection, tmp_path / "runs", "stale", Inline(), Watcher(), track="memory")
        for record in iterate_records(tmp_path / "runs"):
            record.cell.record_path(tmp_path / "runs").unlink()
        found, tracker.runs = tracker.runs, {}
    assert found == {}


def test_tensorboard_reads_the_curves(run):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results, records = run("focal", track="tensorboard")
    for seed in (0, 1):
        folder = results / ".track/tensorboard/tiny/quick/point-goal/mixed/focal/iql" / f"seed-{seed}"
        events = EventAccumulator(str(folder)).Reload()
        assert events.Tags()["tensors"] or events.Tags()["scalars"]
        points = [(event.step - 4, tensor_value(event)) for event in events.Tensors("validation/score")]
        assert points == [(point.step, pytest.approx(point.score)) for point in records["focal", seed].curve]


def tensor_value(event):
    from tensorboard.util.tensor_util import make_ndarray

    return float(make_ndarray(event.tensor_proto))


def test_a_second_training_takes_the_place_of_the_first(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    tracker = trackers.find_tracker("tensorboard")
    for _ in range(2):
        made = tracker.init(project="p", name="n", group="a/b", config={"seed": 3}, dir=str(tmp_path))
        made.log({"x": 1.0}, step=1)
        made.finish()
    assert len(list((tmp_path / "tensorboard/a/b/seed-3").iterdir())) == 1


def test_wandb_offline(tiny, omrl, run, monkeypatch, tmp_path):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    command = ("run", "--suite", tiny(), "--method", "focal", "--out", tmp_path / "runs", "--no-report")
    outcome = omrl(*command, "--track", "wandb")
    assert outcome.code == 0, outcome
    files = list((tmp_path / "runs/.track/wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    for file in files:
        content = file.read_bytes()
        assert b"validation/score" in content and b"point-goal / focal / seed " in content
    records = {(record.cell.method, record.cell.seed): record for record in iterate_records(tmp_path / "runs")}
    assert numbers_of(tmp_path / "runs", records) == numbers_of(*run("focal"))


def test_wandb_without_a_key_is_said_before_anything_trains(cli, tiny, monkeypatch, tmp_path):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    code = "from omrl_bench.runner.trackers import log_in; log_in('wandb')"
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(
        "omrl_bench.errors.InputError: tracker 'wandb': No API key configured"
    )


def test_nothing_of_a_tracker_is_imported_unless_it_is_asked_for(tiny, datasets, tmp_path):
    code = f"""
import sys
from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.plan import select
from omrl_bench.runner.run import execute
from omrl_bench.runner.executors.inline import Inline
from pathlib import Path
selection = select(load_suite({str(tiny())!r}), methods=["focal"])
outcome = execute(selection, Path({str(tmp_path / "runs")!r}), executor=Inline())
assert outcome.errors == ()
assert not {{"wandb", "tensorboard"}} & set(sys.modules)
"""
    environment = os.environ | {"MINARI_DATASETS_PATH": str(datasets)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboard.summary"), ("wandb", "wandb")])
def test_an_extra_that_is_missing_is_named_before_anything_trains(cli, tiny, tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"omrl_bench.runner.trackers.{name}", raising=False)
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--track", name)
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
    assert f"tracker {name!r}: " in outcome.err and f"pip install 'omrl-bench[{name}]'" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_tracker_that_does_not_exist(cli, tiny, tmp_path):
    for dry in ((), ("--dry-run",)):
        outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--track", "tensorbord", *dry)
        assert (outcome.code, outcome.err) == (2, "error: unknown tracker 'tensorbord'; did you mean 'tensorboard'?\n")


def test_trackers_of_other_packages(tmp_path, monkeypatch):
    """A module with init is one, as wandb itself is; what has none is not."""
    package = tmp_path / "curves-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: curves\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[omrl_bench.trackers]\ncurves = curves_package:inside\nnothing = curves_package:x\nwandb = curves_package:x\n"
    )
    (tmp_path / "curves_package.py").write_text(
        "from types import SimpleNamespace\nx = 3\ninside = SimpleNamespace(init=lambda **given: None)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert trackers.trackers()["wandb"] == trackers.BUILT_IN["wandb"]
    assert hasattr(trackers.find_tracker("curves"), "init")
    with pytest.raises(InputError, match="tracker 'nothing': curves_package:x has no init"):
        trackers.find_tracker("nothing")
