"""A job on a machine that shares no folder: what it takes along, how it settles in, what it brings back."""

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from omrl_bench.data.store import file_hash
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.fingerprint import package_hash
from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.executors import Ended
from omrl_bench.runner.executors.inline import Inline
from omrl_bench.runner.parcel import bring_back, pack, settle
from omrl_bench.runner.plan import select
from omrl_bench.runner.records import iterate_records, read_record
from omrl_bench.runner.run import execute, make_plan
from omrl_bench.runner.worker import run_job


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Elsewhere:
    """Runs each job from its parcel, in a folder of its own, and brings back what is new there."""

    slots = threads = 1

    def __init__(self, folder, package=None):
        self.folder, self.package, self.parcels = folder, package or package_hash(), []

    def run(self, jobs, watcher):
        for job in jobs:
            files, path = pack(job)
            self.parcels.append(files)
            there = self.folder / job.token
            for name, content in files.items():
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                (there / name).write_bytes(content)
            settled = settle(there / path, self.package, lambda progress: None)
            assert settled.results == there / "results"
            run_job(settled, lambda progress: None)
            came = files_of(there / "results")
            shutil.rmtree(there)
            bring_back(job, came)
            yield Ended(job, 0.0, "it left nothing")


@pytest.fixture
def selection(tiny, datasets, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    return lambda *methods, suite=None: select(load_suite(str(suite or tiny())), methods=methods)


@pytest.fixture
def package(held, tmp_path):
    """The adapter, in a package of two levels with a neighbour, and what is none of its business beside them."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").touch()
    (inner / "held.py").write_text("from .base import Held as Base\n\n\nclass Held(Base):\n    pass\n")
    shutil.copy(held.file, inner / "base.py")
    (tmp_path / "other.py").write_text("raise RuntimeError\n")
    return f"{inner / 'held.py'}:Held"


def test_records_are_those_of_the_same_folder(selection, held, package, tmp_path, undisturbed):
    """A method of the package, a file of one's own, and one in a package of one's own."""
    for name, methods in (("one", ("focal", held.reference)), ("two", (package,))):
        outcome = execute(selection(*methods), tmp_path / name, executor=Elsewhere(tmp_path / "there"))
        assert outcome.errors == ()
        records = list(iterate_records(tmp_path / name))
        assert len(records) == 2 * len(methods)
        for record in records:
            path, other = (record.cell.cube_path(results) for results in (tmp_path / name, undisturbed[0]))
            assert path.read_bytes() == other.read_bytes()
            expected = read_record(other.with_suffix(".json"))
            assert read_cube(path, record.cube) and record.metrics == expected.metrics
            assert (record.hashes == expected.hashes) == (name == "one")  # the package's source is another
            assert record.equivalent_to == expected.equivalent_to
        assert [*(tmp_path / name).rglob("*.tmp")] == []


def test_what_is_carried(selection, package, tmp_path):
    executor = Elsewhere(tmp_path / "there")
    execute(selection(package), tmp_path / "runs", executor=executor)
    (files,) = executor.parcels
    sources = {name for name in files if name.startswith("method/")}
    names = ("outer/__init__.py", "outer/inner/__init__.py", "outer/inner/held.py", "outer/inner/base.py")
    assert sources == {f"method/{name}" for name in names}
    assert files.keys() - sources == {"results/.jobs/tiny/quick/point-goal/mixed/Held/iql/seed-0.job"}


def test_a_kept_training_goes_along_and_comes_back(selection, tiny, held, tmp_path):
    results, executor = tmp_path / "runs", Elsewhere(tmp_path / "there")
    execute(selection(held.reference), results, executor=executor)
    kept = files_of(results / ".trained")
    assert {name.rpartition("/")[2] for name in kept} == {"training.json", "weights.json"}
    suite = tiny(("given-context", "one-shot"), ('["high", "low"]', "[]"), ('["high"]', "[]"), ('"tiny"', '"other"'))
    execute(selection(held.reference, suite=suite), results, executor=executor)
    assert {f"results/.trained/{name}" for name in kept} <= executor.parcels[1].keys()
    others = [record for record in iterate_records(results) if record.cell.suite == "other"]
    assert [record.trained_for for record in others] == ["tiny, quick"] * 2
    assert files_of(results / ".trained") == kept
    execute(selection(held.reference, suite=suite), results, "all", executor=executor)
    assert not any(".trained" in name for name in executor.parcels[2])  # it is to be trained again


def test_a_failure_elsewhere_replaces_no_complete_record(selection, held, tmp_path):
    results = tmp_path / "runs"
    execute(selection(held.reference), results, executor=Elsewhere(tmp_path / "there"))
    before = files_of(results / "tiny")
    held.file.write_text(held.file.read_text().replace("rng = ", "raise RuntimeError('no') or "))
    outcome = execute(selection(held.reference), results, executor=Elsewhere(tmp_path / "there"))
    assert outcome.errors[0].startswith("point-goal / Held (seeds 0, 1): RuntimeError: no (held.py:")
    assert files_of(results / "tiny") == before


def test_another_package_or_method_there_is_refused(selection, held, tmp_path, monkeypatch):
    chosen = selection(held.reference)
    with pytest.raises(InputError, match="omrl-bench is another version there"):
        execute(chosen, tmp_path / "runs", executor=Elsewhere(tmp_path / "there", "0123456789abcdef"))
    monkeypatch.setattr("omrl_bench.runner.parcel.method_hash", lambda *_: "another")
    with pytest.raises(InputError, match="point-goal / Held: another method there; install the same packages"):
        execute(chosen, tmp_path / "runs", executor=Elsewhere(tmp_path / "there"))
    assert list(iterate_records(tmp_path / "runs")) == []


def test_data_of_other_bytes_there_are_said_in_the_record(selection, datasets, tmp_path, monkeypatch):
    """As on a processor that rounds differently: the record has the hashes of what it was trained on."""
    from omrl_bench.runner import parcel

    root = tmp_path / "own"
    shutil.copytree(datasets, root)
    folder = root / "omrl" / "point-goal" / "mixed-v1"
    arrays = load_file(folder / "contexts.safetensors")
    arrays["high.episode"][get_family("point-goal").tasks().ids("test")[0], 0] += 1
    save_file(arrays, folder / "contexts.safetensors")
    receipt = json.loads((folder / "receipt.json").read_text())
    parts = receipt["parts"] | {"train": "other"}
    receipt |= {"content": "other", "parts": parts, "contexts": file_hash(folder / "contexts.safetensors")}

    class There(Elsewhere):
        def run(self, jobs, watcher):
            jobs = list(jobs)
            monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
            monkeypatch.setattr(parcel, "prepare_datasets", lambda *_: {("point-goal", "mixed"): "equivalent"})
            (folder / "receipt.json").write_text(json.dumps(receipt))
            yield from super().run(jobs, watcher)
            monkeypatch.undo()

    chosen = selection("behaviour")
    execute(chosen, tmp_path / "runs", executor=There(tmp_path / "there"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    for record in iterate_records(tmp_path / "runs"):
        assert (record.hashes.dataset, record.dataset_status) == ("other", "equivalent")
        canonical = record.equivalent_to
        assert canonical.dataset != "other" and canonical.contexts != record.hashes.contexts
    plan = make_plan(chosen, tmp_path / "runs", "stale", Inline(), {("point-goal", "mixed"): "canonical"})
    assert {cell.state for cell in plan.cells} == {"complete"} and plan.jobs == []
