"""omrl_bench.record: the records that `run` writes, marked as trained elsewhere wherever they are shown."""

import hashlib
import json

import numpy as np
import pytest

import omrl_bench
from omrl_bench.api import Budget, Setup
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.registry import load_class, methods
from omrl_bench.report.reading.frames import load
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import Record, read_record, write_record
from omrl_bench.runner.traces import read_traces

CELL = "tiny/quick/point-goal/mixed/follower/iql"


@pytest.fixture
def record(data, tiny, follower, tmp_path):
    """Record two seeds of the plain policy in runs/, unless told otherwise."""

    def call(**changes):
        arguments = {
            "policies": {0: follower(), 1: follower},
            "method": "follower",
            "suite": tiny(),
            "family": "point-goal",
            "trained_with": "nothing, by hand",
            "out": tmp_path / "runs",
        }
        return omrl_bench.record(**arguments | changes)

    return call


@pytest.fixture
def one_thread():
    """As in a worker: a policy's own arithmetic is not the call's business."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_method_trained_elsewhere_gets_the_numbers_of_its_run(record, invoke, tiny, tmp_path, one_thread):
    ran = invoke("run", "--suite", tiny(), "--method", "focal", "--out", tmp_path / "runs")
    assert ran.code == 0, ran.words
    family = get_family("point-goal")
    focal = load_class(methods()["focal"])(family.space(), Setup("quick", "iql"))
    focal.fit(MetaDataset.load("point-goal", "mixed"), Budget(4, 4), (0, 1), lambda *_: None)
    policies = {seed: focal.policy(seed) for seed in (0, 1)}
    paths = record(policies=policies, method="my-focal", configuration=focal.configuration())
    for path in paths:
        original = tmp_path / "runs" / "tiny/quick/point-goal/mixed/focal/iql" / path.name
        ours, theirs = read_record(path), read_record(original)
        assert ours.cube == theirs.cube  # the hash of all returns
        assert read_cube(path.with_suffix(".npz"), ours.cube).returns.any()
        same = ("metrics", "representation", "configuration", "dataset_status", "privileges", "equivalent_to", "status")
        for name in same:
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.hashes.model_copy(update={"method": ""}) == theirs.hashes.model_copy(update={"method": ""})
        assert (ours.trained_elsewhere, theirs.trained_elsewhere) == ("nothing, by hand", None)
        ours, theirs = (read_traces(tmp_path / "runs", each.cell) for each in (ours, theirs))
        assert (ours is None) == (theirs is None)
        if ours:
            assert np.array_equal(ours.paths, theirs.paths)
            assert np.array_equal(ours.embeddings, theirs.embeddings)


def test_every_protocol_is_recorded_with_the_returns_that_evaluate_gives(record, suite, follower, tmp_path):
    record(suite=suite)
    recorded, notes = load(tmp_path / "runs")
    for seed, rows in recorded.groupby("seed"):
        expected = omrl_bench.evaluate(follower(), suite, "point-goal", seed=seed)
        rows = rows.reset_index(drop=True)
        for column in expected:
            assert rows[column].tolist() == expected[column].tolist()
    assert set(recorded["method"]) == {"follower"}
    assert "point-goal / follower: trained elsewhere, self-reported (nothing, by hand)" in notes


def test_report_leaderboard_status_show_and_reproduce_say_so(record, invoke, tiny, tmp_path):
    results = tmp_path / "runs"
    path = record(configuration={"width": 64})[0]
    said = "trained elsewhere, self-reported"
    reported = invoke("report", "--results", results, "--out", tmp_path / "report")
    assert reported.code == 0, reported.words
    assert f"{said} (nothing, by hand)" in (tmp_path / "report/tiny-quick/score.md").read_text()
    shown = invoke("show", "record", path)
    assert f"{said}: nothing, by hand" in shown.words
    assert "hyper-parameters: width 64" in shown.words
    assert "parameters: not measured" in shown.words
    status = invoke("status", "--suite", tiny(), "--out", results)
    assert status.out.count(f"{said}: nothing, by hand") == 2
    assert "2 complete, 4 missing" in status.words
    only = invoke("status", "--suite", tiny(), "--out", results, "--method", "focal")
    assert "0 complete, 2 missing" in only.words
    repeated = invoke("reproduce", path)
    assert repeated.code == 2
    assert "follower was trained elsewhere (nothing, by hand): there is no training to repeat" in repeated.words
    (run,) = [run for run in leaderboard(results).runs if run.method == "follower"]
    assert run.badge == "self-reported"
    assert "trained elsewhere: self-reported" in run.doubts
    assert any(said in reason for reason in run.reasons)


def test_a_row_is_stale_when_what_it_was_measured_by_changes(record, invoke, tiny, tmp_path):
    record()
    changed = tiny(("version = 0", "version = 1"), name="changed.toml")
    status = invoke("status", "--suite", changed, "--out", tmp_path / "runs")
    assert "2 stale" in status.words
    assert "changed since: suite; trained elsewhere" in status.words


def test_the_method_hash_is_of_what_was_said(record, tmp_path):
    def hash_of(**changes):
        return read_record(record(replace=True, **changes)[0]).hashes.method

    first = hash_of()
    assert hash_of() == first
    assert len({first, hash_of(trained_with="by foot"), hash_of(configuration={"width": 2}), hash_of(method="b")}) == 4


def test_privileges_are_in_the_record_and_in_the_contexts(record, follower):
    policy = follower()
    paths = record(policies={0: policy}, privileges=["descriptors"])
    assert read_record(paths[0]).privileges == ("descriptors",)
    assert policy.context.descriptors is not None


def test_a_record_is_not_replaced_without_a_word(record, tmp_path):
    path = record()[0]
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"seed-0\.json is there already; pass replace=True"):
        record(trained_with="another loop")
    assert path.read_bytes() == before
    record(trained_with="another loop", replace=True)
    assert read_record(path).trained_elsewhere == "another loop"


def test_the_record_of_a_run_is_never_replaced(record, tmp_path):
    path = record()[0]
    fields = json.loads(path.read_text()) | {"trained_elsewhere": None, "content": None}
    path.write_text(json.dumps(fields))
    before = path.read_bytes()
    for replace in (False, True):
        with pytest.raises(InputError, match="is the record of a run and is not replaced"):
            record(replace=replace)
    assert path.read_bytes() == before


def test_a_failing_policy_leaves_all_records_as_they_were(record, follower, tmp_path):
    def raises(observations):
        raise RuntimeError("the network is gone")

    bad = follower()
    bad.act = raises
    with pytest.raises(RuntimeError, match="the network is gone"):
        record(policies={0: follower(), 1: bad})
    assert not list((tmp_path / "runs").rglob("*.json"))
    path = record()[0]
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the network is gone"):
        record(policies={0: follower(), 1: bad}, replace=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": {}}, "no policies to record"),
        ({"policies": {"0": None}}, "'0' is no training seed"),
        ({"policies": {-1: None}}, "-1 is no training seed"),
        ({"policies": {0: None}}, "a NoneType, has no reset"),
        ({"method": "focal"}, "'focal' is the name of a registered method"),
        ({"method": "focal[beta=2.0]"}, "is the name of a registered method"),
        ({"method": "../mine"}, r"method '\.\./mine': a name that cannot be a folder's"),
        ({"trained_with": " "}, "trained_with: say it in a line of 1 to 500 characters"),
        ({"trained_with": "x" * 501}, "trained_with: say it in a line"),
        ({"configuration": {"network": object()}}, "configuration must be what JSON can hold"),
        ({"configuration": {"rate": float("nan")}}, "configuration must be what JSON can hold"),
        ({"privileges": ["behavior"]}, "unknown privilege 'behavior'; did you mean 'behaviour'"),
        ({"suite": "shift-matrix", "preset": "quick"}, "suite 'shift-matrix' has several datasets; pass dataset="),
        ({"dataset": "expert"}, "unknown dataset of suite 'tiny' 'expert'"),
        ({"backbone": "td3bc"}, "unknown backbone of suite 'tiny' 'td3bc'"),
        ({"family": "point-wind"}, "unknown family of suite 'tiny'"),
        ({"preset": "slow"}, "unknown preset of suite 'tiny'"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(record, no_data, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        record(**changes)
    assert not no_data.exists()
    assert not (tmp_path / "runs").exists()


def test_a_record_that_is_written_again_has_the_fields_that_it_had(record, tmp_path):
    """Those that came after the first records are there if they are set: `job` in a run's, the other in these."""
    recorded = read_record(record()[0])
    write_record(tmp_path / "ran", recorded.model_copy(update={"trained_elsewhere": None}), None)
    path = recorded.cell.record_path(tmp_path / "ran")
    assert set(Record.model_fields) - set(json.loads(path.read_text())) == {"trained_elsewhere", "job", "refereed"}
    assert read_record(path).trained_elsewhere is None


def test_records_without_the_field_are_read_and_their_hashes_hold(record):
    path = record()[0]
    fields = json.loads(path.read_text())
    older = {name: value for name, value in fields.items() if name not in ("trained_elsewhere", "content")}
    canonical = json.dumps(older, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(older | {"content": hashlib.sha256(canonical.encode()).hexdigest()}))
    assert read_record(path).trained_elsewhere is None
    forged = fields | {"trained_elsewhere": None}
    path.write_text(json.dumps(forged))
    with pytest.raises(InputError, match="was changed after it was written"):
        read_record(path)


def test_a_statement_of_several_lines_is_no_record():
    field = Record.model_fields["trained_elsewhere"]
    assert field.default is None
    with pytest.raises(ValueError, match="say it in a line"):
        Record.model_validate({"trained_elsewhere": "one\ntwo"})
