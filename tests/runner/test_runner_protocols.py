"""Real runs of suites whose methods collect their contexts themselves."""

import numpy as np
import pytest

from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import iterate_records

#: random: no belief; focal: between episodes; borel: while it acts; csro: random actions first; oracle: told the task.
METHODS = ("random", "focal", "borel", "csro", "ccm-rv-explore", "oracle", "behaviour", "r2pgo")
KINDS = {
    "one-shot": ('"one-shot"', ("episode-1", "episode-2")),
    "zero-shot": ('"zero-shot"\nepisodes = 3', ("episode-1", "episode-2", "episode-3")),
    "explore": ('"explore"\nepisodes = 1', ("explore-1", "execute-1")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_method_leaves_complete_records(kind, cli, inline, tiny, tmp_path):
    text, conditions = KINDS[kind]
    suite = tiny(
        ('"given-context"', text),
        ('["high", "low"]', "[]"),
        ('["high"]', "[]"),
        ('["random", "focal"]', str(list(METHODS)).replace("'", '"')),
    )
    done = cli("run", "--suite", suite, "--out", tmp_path / "runs")
    assert done.code == 0, done
    records = list(iterate_records(tmp_path / "runs"))
    assert {record.cell.method for record in records} == set(METHODS)
    for record in records:
        assert record.status == "complete", record.error
        assert tuple(record.metrics) == conditions
        cube = read_cube(record.cell.cube_path(tmp_path / "runs"))
        assert cube.conditions == conditions
        assert cube.returns.shape == (len(conditions), 100, 2)
        assert len(record.curve) == (0 if record.cell.method in ("random", "behaviour") else 2)
        scores = {name: metric.score for name, metric in record.metrics.items()}
        if record.cell.method == "behaviour":  # it is told the task from the first episode on
            assert scores[conditions[0]] > 20
        assert np.isfinite(list(scores.values())).all()


@pytest.mark.slow
def test_few_tasks_and_other_data_for_the_representation(cli, inline, tiny, tmp_path):
    """Every kind of representation training; those that have none before the policy take no notice."""
    methods = ("focal", "gentle", "corro-cvae", "borel-oracle", "r2pgo", "ccm-rv-explore", "csro", "pearl", "oracle")
    text = str(list(methods)).replace("'", '"')
    few = ("evaluations = 2", "evaluations = 2\ntrain_tasks = 4")
    both = tiny(('["random", "focal"]', text), ('["mixed"]', '["mixed", "mixed+random"]'), few)
    done = cli("run", "--suite", both, "--seeds", "0", "--out", tmp_path / "runs")
    assert done.code == 0, done
    records = {(r.cell.method, r.cell.dataset): r for r in iterate_records(tmp_path / "runs")}
    assert len(records) == 2 * len(methods)
    assert {r.status for r in records.values()} == {"complete"}
    for method in methods:
        one, other = records[method, "mixed"], records[method, "mixed+random"]
        assert one.hashes.dataset != other.hashes.dataset
        assert one.hashes.method == other.hashes.method
        assert (one.metrics == other.metrics) == (method in ("pearl", "oracle"))


def test_a_family_trains_for_its_own_number_of_updates(cli, inline, tiny, tmp_path):
    own = ("updates = 4\nencoder", "family_updates = { point-goal = 6 }\nupdates = 4\nencoder")
    planned = cli("run", "--suite", tiny(own), "--out", tmp_path / "runs", "--dry-run")
    assert "4 (point-goal: 6) updates" in planned.words
    assert cli("run", "--suite", tiny(own), "--method", "focal", "--out", tmp_path / "runs").code == 0
    for record in iterate_records(tmp_path / "runs"):
        assert [point.step for point in record.curve] == [3, 6]
    assert "2 complete" in cli("status", "--suite", tiny(own), "--out", tmp_path / "runs").out
