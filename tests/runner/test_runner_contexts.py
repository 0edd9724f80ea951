"""Which contexts a job gets, by the suite's unit, and what of them is in a record's hash."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from omrl_bench.api import MetaPolicy, Setup
from omrl_bench.conditions import Condition
from omrl_bench.data.contexts import sparse_view
from omrl_bench.data.datasets import Datasets
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import file_hash, read_contexts, read_episodes
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.fingerprint import hash_text
from omrl_bench.protocols.suite import load_suite
from omrl_bench.referee.method import InProcess
from omrl_bench.runner.job import job_path, read_job, write_job
from omrl_bench.runner.plan import inspect_cells, make_jobs, needed_datasets, select
from omrl_bench.runner.states import expected_hashes
from omrl_bench.runner.worker import _Run
from omrl_bench.vocabulary import UNITS

POINT = get_family("point-goal")


@pytest.fixture
def selection(tiny):
    def make(unit="episode", qualities=("high", "low"), method="random"):
        return select(
            load_suite(
                str(
                    tiny(
                        ("draws = 2", f'draws = 2\nunit = "{unit}"'),
                        ('qualities = ["high", "low"]', f"qualities = {json.dumps(list(qualities))}"),
                    )
                )
            ),
            methods=[method],
        )

    return make


def as_worker(job):
    """What a worker makes of a job."""
    method = InProcess(job.target, POINT.space(), Setup())
    return _Run(job, lambda progress: None, {}, method)


@pytest.fixture
def run(selection, datasets, monkeypatch, tmp_path):
    """A job as the worker sees it, before anything is trained."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))

    def make(unit, method="random"):
        chosen = selection(unit, method=method)
        cells = inspect_cells(chosen, tmp_path / "runs")
        (job,) = make_jobs(chosen, cells, "stale", {("point-goal", "mixed"): "canonical"}, tmp_path / "runs", 1)
        return as_worker(job)

    return make


@pytest.mark.parametrize("unit", UNITS)
def test_a_job_gets_the_first_draws_of_the_suites_unit(run, unit):
    job = run(unit)
    tasks, data = np.array([41, 35, 139]), read_episodes(POINT, "mixed")[0]
    context = job.evaluation.context(tasks, Condition.context("low"), 3)
    draws = read_contexts(POINT, "mixed").draws["low", unit]
    assert context.observations.shape == (9, 60, 2)
    assert context.valid.all()
    assert context.descriptors is None
    for lane in range(9):
        draw = draws[tasks[lane // 3], lane % 3]
        if unit == "transitions":
            rows = draw.tolist()
        else:
            rows = range(*draw) if unit == "segment" else range(data.offsets[draw], data.offsets[draw + 1])
        np.testing.assert_array_equal(context.observations[lane], data.observations[list(rows)])
        np.testing.assert_array_equal(context.rewards[lane], data.rewards[list(rows)])
        task = np.unique(data.tasks[np.searchsorted(data.offsets, list(rows), side="right") - 1])
        assert task.tolist() == [tasks[lane // 3]]


@pytest.mark.parametrize("unit", UNITS)
def test_a_privileged_method_gets_the_lanes_descriptors(run, unit):
    tasks = np.array([41, 35])
    context = run(unit, "oracle").evaluation.context(tasks, Condition.context("high"), 2)
    expected = POINT.tasks().descriptors[[41, 41, 35, 35]].astype(np.float32)
    np.testing.assert_array_equal(context.descriptors, expected)


@pytest.fixture
def sparse(tiny, datasets, monkeypatch, tmp_path):
    """A job of a suite whose contexts show sparse rewards, of a protocol."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))

    def make(*changes):
        rho = ("[protocol]", "[context_rho]\npoint-goal = -0.5\n\n[protocol]")
        chosen = select(load_suite(str(tiny(rho, *changes))), methods=["random"])
        cells = inspect_cells(chosen, tmp_path / "runs")
        (job,) = make_jobs(chosen, cells, "stale", {("point-goal", "mixed"): "canonical"}, tmp_path / "runs", 1)
        assert job.context_rho == -0.5
        write_job(job_path(job), job)
        return read_job(job_path(job))

    return make


def test_contexts_show_sparse_rewards_where_the_suite_says_so_and_the_policy_learns_from_dense_ones(sparse):
    job = as_worker(sparse())
    data, plain = job.datasets.training("mixed", "mixed"), Datasets(POINT).training("mixed", "mixed")
    np.testing.assert_array_equal(data.rewards, plain.rewards)
    np.testing.assert_array_equal(data.context_rewards, sparse_view(plain.rewards, -0.5))
    shown = job.evaluation.context(np.array([41, 35]), Condition.context("high"), 2).rewards
    dense = Datasets(POINT).context(np.array([41, 35]), "high", 2).rewards
    np.testing.assert_array_equal(shown, sparse_view(dense, -0.5))
    assert (shown == 0).any() and (shown > 0).any() and (dense < 0).all()


def test_what_a_method_collects_shows_sparse_rewards_and_its_returns_are_dense(sparse):
    changes = ('"given-context"', '"one-shot"'), ('["high", "low"]', "[]"), ('["high"]', "[]")
    seen = []

    class Still(MetaPolicy):
        def reset(self, lanes):
            pass

        def condition(self, context):
            seen.append(context)

        def act(self, observations, explore=False):
            return np.zeros((len(observations), 2), np.float32)

    cube = as_worker(sparse(*changes)).evaluation.cube(Still, 0)
    np.testing.assert_allclose(cube.returns, -60, rtol=1e-5)  # from the centre, every goal is at distance 1
    (context,) = seen
    assert context.valid.all() and not context.rewards.any()  # -1 is below the threshold


def contexts_hash(chosen):
    (hashes, *_) = expected_hashes(chosen, "point-goal", "mixed", chosen.methods[0], "iql")
    return hashes.contexts


def test_the_hash_is_of_the_sets_of_this_unit_and_these_qualities(selection, datasets, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    mixed = read_manifest(POINT).datasets["mixed"]
    for unit in UNITS:
        sets = [hash_text(mixed.contexts[f"{q}.{unit}"]["test"], mixed.parts["test"]) for q in ("high", "low")]
        assert contexts_hash(selection(unit)) == hash_text(*sets)
    assert len({contexts_hash(selection(unit)) for unit in UNITS}) == 3
    assert contexts_hash(selection(qualities=["high"])) != contexts_hash(selection())


def test_datasets_of_the_contexts_are_needed_too(selection):
    qualities = ("high", "cross", "expert", "random", "mixed")
    needed = needed_datasets(selection(qualities=qualities))
    assert needed == [(POINT, "mixed"), (POINT, "cross"), (POINT, "expert"), (POINT, "random")]


@pytest.fixture
def own(datasets, tmp_path, monkeypatch):
    """A copy of the mixed dataset whose bytes are not the canonical ones, nor its draws."""
    root = tmp_path / "own"
    shutil.copytree(datasets, root)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    folder = root / "omrl" / "point-goal" / "mixed-v1"
    arrays = load_file(folder / "contexts.safetensors")
    arrays["high.episode"][POINT.tasks().ids("test")[0], 0] += 1
    save_file(arrays, folder / "contexts.safetensors")
    receipt = json.loads((folder / "receipt.json").read_text())
    parts = receipt["parts"] | {"train": "other"}
    receipt |= {"content": "other", "parts": parts, "contexts": file_hash(folder / "contexts.safetensors")}
    (folder / "receipt.json").write_text(json.dumps(receipt))
    return folder


def test_draws_of_a_dataset_with_other_bytes_are_hashed_from_its_own_file(selection, own):
    manifest = read_manifest(POINT).datasets["mixed"]
    contexts, part = manifest.contexts, manifest.parts["test"]
    local = read_contexts(POINT, "mixed").hashes(POINT.tasks().by_split())
    assert [name for name in local if local[name] != contexts[name]] == ["high.episode"]
    assert [split for split, value in local["high.episode"].items() if value != contexts["high.episode"][split]] == [
        "test"
    ]
    mine, canonical = expected_hashes(selection(), "point-goal", "mixed", selection().methods[0], "iql")
    both = ((mine, local), (canonical, contexts))
    for hashes, of in both:
        assert hashes.contexts == hash_text(*(hash_text(of[f"{q}.episode"]["test"], part) for q in ("high", "low")))
    assert (mine.dataset, canonical.dataset) == ("other", manifest.parts["train"])
    assert mine.tasks == canonical.tasks


def test_a_damaged_file_of_contexts_is_an_input_error(selection, own):
    (own / "contexts.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"contexts\.safetensors is missing, truncated or changed"):
        expected_hashes(selection(), "point-goal", "mixed", selection().methods[0], "iql")
