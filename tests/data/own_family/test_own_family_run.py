"""A family of a package from end to end, through the command line: data, card, film, a suite, training, report."""

import json
import sys
from dataclasses import replace

import minari
import numpy as np

from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.parallel import build_datasets
from omrl_bench.data.store import read_episodes

SUITE = """
name = "rings"
version = 0
title = "A suite of one's own, with a family of one's own"
families = ["ring-goal"]
datasets = ["mixed"]
methods = ["random", "focal"]
backbones = ["iql"]
default_preset = "quick"

[protocol]
kind = "given-context"
draws = 2

[presets.quick]
seeds = [0]
qualities = ["high", "cross"]
updates = 4
encoder_updates = 4
evaluations = 1
time_limit = 120
job_seconds = 100
"""


def test_its_manifest_is_read_and_its_data_are_canonical(ring, invoke):
    manifest = read_manifest(ring)
    assert len(manifest.expert) == 13 and np.min(manifest.expert) > np.max(manifest.random)
    outcome = invoke("data", "verify", "ring-goal")
    assert outcome.code == 0 and outcome.out.count(": canonical (") == 5
    assert "omrl/ring-goal/mixed-v0" in invoke("data", "list").words
    assert "omrl/RingGoal-v0, 13 tasks, horizon 12" in invoke("list", "families").words


def test_data_are_built_in_processes_of_their_own(ring, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    wanted = [("ring-goal", "mixed"), ("ring-goal", "random")]
    assert dict(build_datasets(wanted, 2, lambda item, fraction: None)) == dict.fromkeys(wanted)
    for _, quality in wanted:
        assert read_episodes(ring, quality)[0].content_hash() == read_manifest(ring).datasets[quality].content


def test_its_data_are_pulled_from_the_place_that_it_names(ring, invoke, tmp_path, monkeypatch):
    place = (tmp_path / "mirror").as_uri()
    assert invoke("data", "push", "ring-goal", "--quality", "mixed", "--to", place).code == 0
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    outcome = invoke("data", "pull", "ring-goal", "--quality", "mixed")
    assert outcome.code == 2 and "no source to pull from" in outcome.err
    monkeypatch.setattr("omrl_bench.cli.hosting.chosen", lambda *_: [(replace(ring, source=place), "mixed")])
    assert "omrl/ring-goal/mixed-v0: pulled, canonical" in invoke("data", "pull", "ring-goal").out


def test_others_replay_its_episodes_with_minari_and_gymnasium(ring):
    loaded = minari.load_dataset("omrl/ring-goal/expert-v0")
    env = loaded.recover_environment()
    facts = next(iter(loaded.storage.get_episode_metadata([0])))
    env.reset(seed=facts["seed"], options={"task": int(facts["task_id"])})
    rewards = [env.step(action)[1] for action in loaded[0].actions]
    np.testing.assert_allclose(rewards, loaded[0].rewards, rtol=1e-5)


def test_its_data_card_and_film(ring, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = invoke("data", "show", "ring-goal", "--out", tmp_path / "cards")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "cards" / "ring-goal.md").read_text()
    assert "ten skills from 0 to 1, omrl_bench_ring/behaviour.py" in page.replace("\\", "")
    assert ring.fingerprint() in page and (tmp_path / "cards" / "ring-goal-rollouts.png").exists()
    assert invoke("data", "render", "ring-goal", "--task", "8").code == 0
    assert (tmp_path / "ring-goal-task8-expert.gif").exists()


def test_methods_are_trained_on_it_and_reported_even_where_its_package_is_not(
    ring, frozen, invoke, tmp_path, monkeypatch
):
    suite, out = tmp_path / "rings.toml", tmp_path / "runs"
    suite.write_text(SUITE)
    assert invoke("validate", suite).out.startswith(f"{suite}: valid")
    outcome = invoke("run", "--suite", suite, "--out", out)
    assert outcome.code == 0, outcome.err + outcome.out
    records = [json.loads(path.read_text()) for path in sorted(out.rglob("seed-*.json"))]
    assert {record["cell"]["method"] for record in records} == {"focal", "random"}
    assert all(record["status"] == "complete" and record["cell"]["family"] == "ring-goal" for record in records)
    assert invoke("report", "--results", out, "--out", tmp_path / "here").code == 0
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(frozen.site)])
    monkeypatch.delenv("PYTHONPATH")
    assert invoke("report", "--results", out, "--out", tmp_path / "elsewhere").code == 0
    for folder, paths in (("here", True), ("elsewhere", False)):  # pictures of paths show the goals
        assert [path for path in (tmp_path / folder).rglob("*.md") if "ring-goal" in path.read_text()]
        assert any((tmp_path / folder).rglob("*paths-focal*")) == paths


def test_a_suite_with_a_family_that_is_not_installed(ring, invoke, tmp_path):
    suite = tmp_path / "rings.toml"
    suite.write_text(SUITE.replace("ring-goal", "ring-gaol"))
    outcome = invoke("run", "--suite", suite, "--out", tmp_path / "runs")
    assert outcome.code == 2 and "did you mean 'ring-goal'" in outcome.err
