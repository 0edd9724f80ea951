"""Suites that differ in their protocol train once."""

import json
from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.data.manifest import freeze
from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import iterate_records

ONE_SHOT = (("given-context", "one-shot"), ('["high", "low"]', "[]"), ('["high"]', "[]"), ('"tiny"', '"other"'))
TRAINS_ONCE = """
from pathlib import Path

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy

HERE = Path(__file__).parent


class Policy(MetaPolicy):
    def reset(self, lanes):
        pass

    def condition(self, context):
        pass

    def act(self, observations, explore=False):
        if (HERE / "no simulator").exists():
            raise RuntimeError("no simulator today")
        return np.zeros((len(observations), 2), np.float32)


class Once(Algorithm):
    def fit(self, data, budget, seeds, log):
        with (HERE / "trained").open("x") as file:
            file.write("once")

    def policy(self, seed):
        return Policy()

    def save(self, folder):
        pass

    def load(self, folder):
        pass
"""
METHODS = '["focal", "borel", "random"]'


def cubes(results):
    return {
        (record.cell.suite, record.cell.method, record.cell.seed): read_cube(record.cell.cube_path(results)).returns
        for record in iterate_records(results)
    }


def records(results, suite):
    return [record for record in iterate_records(results) if record.cell.suite == suite]


@pytest.fixture
def both(tiny):
    methods = ('["random", "focal"]', METHODS)
    return tiny(methods), tiny(methods, *ONE_SHOT, name="other.toml")


def test_a_second_suite_reuses_the_training_and_measures_the_same(both, cli, inline, tmp_path):
    given, other = both
    assert cli("run", "--suite", given, "--out", tmp_path / "runs").code == 0
    assert cli("run", "--suite", other, "--out", tmp_path / "runs").code == 0
    assert cli("run", "--suite", other, "--out", tmp_path / "fresh").code == 0
    fresh, reused = cubes(tmp_path / "fresh"), cubes(tmp_path / "runs")
    assert len(fresh) == 6
    for key, returns in fresh.items():
        np.testing.assert_array_equal(reused[key], returns)
    first = {(r.cell.method, r.cell.seed): r for r in records(tmp_path / "runs", "tiny")}
    for record in records(tmp_path / "runs", "other"):
        trained = first[record.cell.method, record.cell.seed]
        assert record.trained_for == "tiny, quick"
        assert record.curve == ()  # it was measured under another protocol
        assert record.fit_seconds == trained.fit_seconds
        assert record.update_milliseconds == trained.update_milliseconds
        assert record.parameters == trained.parameters
    assert all(record.trained_for is None for record in records(tmp_path / "fresh", "other"))


def test_suites_of_other_tasks_train_nothing_of_their_own(tiny, cli, inline, tmp_path):
    """Extrapolation and training tasks by `extends`: the weights are those of the suite that is extended."""
    runs = tmp_path / "runs"
    tiny(('["point-goal"]', '["point-sparse"]'), ('"low"]', '"random"]'))
    assert cli("run", "--suite", tmp_path / "tiny.toml", "--method", "focal", "--out", runs).code == 0
    kept = {path: path.read_bytes() for path in runs.glob(".trained/*/*/*/*")}
    for split in ("extrapolation", "train"):
        path = tmp_path / f"tiny-{split}.toml"
        path.write_text(
            f'name = "tiny-{split}"\nversion = 0\ntitle = "Others"\nextends = "tiny.toml"\n'
            f'[protocol]\nkind = "given-context"\ndraws = 2\nsplit = "{split}"\n'
        )
        done = cli("run", "--suite", path, "--method", "focal", "--out", runs)
        assert done.code == 0, done
        found = records(runs, f"tiny-{split}")
        assert [record.trained_for for record in found] == ["tiny, quick"] * 2
        tasks = {tuple(read_cube(record.cell.cube_path(runs)).tasks) for record in found}
        assert tasks == {tuple(get_family("point-sparse").tasks().ids(split))}
    assert {path: path.read_bytes() for path in runs.glob(".trained/*/*/*/*")} == kept != {}


def test_a_method_that_is_trained_as_another_takes_its_weights(tiny, cli, inline, tmp_path):
    """In either order; the curve, which is of the other's policy, is not taken along."""
    suite, runs = tiny(), tmp_path / "runs"
    for first, second in (("focal", "idaq-focal"), ("idaq-focal", "focal")):
        here = runs / first
        for method in (first, second):
            assert cli("run", "--suite", suite, "--method", method, "--seeds", "0", "--out", here).code == 0
        found = {record.cell.method: record for record in iterate_records(here)}
        assert len(list(here.glob(".trained/*/*/seeds-*"))) == len(list(here.glob(".trained/focal/*/seeds-0"))) == 1
        assert found[first].trained_for is None and found[first].curve
        assert found[second].trained_for == f"tiny, quick, {first}" and found[second].curve == ()
        assert found[second].fit_seconds == found[first].fit_seconds
        assert found[second].metrics == found[first].metrics  # the contexts are given


@pytest.mark.slow
def test_more_seeds_find_the_training_of_the_first_five(tiny, cli, inline, tmp_path):
    """More seeds than train together are jobs of the same seeds as in the preset that has fewer."""
    presets = (
        '[presets.standard]\nextends = "quick"\nseeds = [0, 1, 2, 3, 4]\n'
        '[presets.reference]\nextends = "quick"\nseeds = [0, 1, 2, 3, 4, 5]\n'
    )
    suite, runs = tiny(("[presets.quick]", f"{presets}[presets.quick]")), tmp_path / "runs"
    for preset in ("standard", "reference"):
        assert cli("run", "--suite", suite, "--preset", preset, "--method", "focal", "--out", runs).code == 0
    found = {(record.cell.preset, record.cell.seed): record for record in iterate_records(runs)}
    assert found["reference", 4].trained_together == (0, 1, 2, 3, 4) and found["reference", 5].trained_together == (5,)
    assert len(list(runs.glob(".trained/focal/*/seeds-*"))) == 2
    assert found["reference", 0].fit_seconds == found["standard", 0].fit_seconds
    assert found["reference", 0].metrics == found["standard", 0].metrics


def test_an_evaluation_that_failed_does_not_cost_the_training(tiny, cli, inline, tmp_path):
    suite, adapter = tiny(), tmp_path / "once.py"
    adapter.write_text(TRAINS_ONCE)
    command = "run", "--suite", suite, "--method", "random", "--method", f"{adapter}:Once", "--out", tmp_path / "runs"
    (tmp_path / "no simulator").touch()
    cli(*command)
    found = [record for record in records(tmp_path / "runs", "tiny") if record.cell.method == "Once"]
    assert [record.status for record in found] == ["failed", "failed"]
    (tmp_path / "no simulator").unlink()
    done = cli(*command)
    assert done.code == 0, done
    found = [record for record in records(tmp_path / "runs", "tiny") if record.cell.method == "Once"]
    assert [record.status for record in found] == ["complete", "complete"]
    assert (tmp_path / "trained").read_text() == "once"


@pytest.mark.slow
def test_tasks_that_a_later_version_appends_are_evaluated_without_training_again(
    tiny, cli, inline, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    suite, adapter, point = tiny(), tmp_path / "once.py", get_family("point-goal")
    adapter.write_text(TRAINS_ONCE)
    command = "run", "--suite", suite, "--method", f"{adapter}:Once", "--out", tmp_path / "runs"
    assert cli(*command).code == 0
    package = tmp_path / "appended_point"
    for folder in ("tasks", "manifests"):
        (package / folder).mkdir(parents=True)
    (package / "__init__.py").touch()
    appended = f"{len(point.tasks())},test,2,0.6,0.8\n"
    (package / "tasks" / "point-goal-v2.csv").write_text(point.tasks().text.rstrip() + "\n" + appended)
    monkeypatch.syspath_prepend(tmp_path)
    later = replace(point, env_id="omrl/PointGoal-v2", package="appended_point")
    monkeypatch.setitem(FAMILIES, "point-goal", later)
    manifest = freeze(later, 1, lambda line: None)
    (package / "manifests" / "point-goal-v2.json").write_text(manifest)
    plan = cli("run", "--suite", suite, "--method", f"{adapter}:Once", "--out", tmp_path / "runs", "--dry-run")
    assert "changed since: contexts, tasks" in plan.words
    done = cli(*command)
    assert done.code == 0, done
    found = records(tmp_path / "runs", "tiny")
    assert [record.family_version for record in found] == ["v2", "v2"]
    assert {len(read_cube(record.cell.cube_path(tmp_path / "runs")).tasks) for record in found} == {101}
    assert (tmp_path / "trained").read_text() == "once"


def test_rerun_all_trains_again(tiny, cli, inline, tmp_path):
    suite = tiny()
    assert cli("run", "--suite", suite, "--method", "focal", "--out", tmp_path).code == 0
    before = cubes(tmp_path)
    (file,) = tmp_path.glob(".trained/focal/*/seeds-0-1/training.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"parameters": 1}))
    assert cli("run", "--suite", suite, "--method", "focal", "--out", tmp_path, "--rerun", "all").code == 0
    assert all(record.parameters > 1 for record in iterate_records(tmp_path))
    for key, returns in cubes(tmp_path).items():
        np.testing.assert_array_equal(returns, before[key])


def test_some_of_the_seeds_are_enough_others_train(tiny, cli, inline, tmp_path):
    suite, other = tiny(), tiny(*ONE_SHOT, name="other.toml")
    assert cli("run", "--suite", suite, "--method", "focal", "--out", tmp_path).code == 0
    assert cli("run", "--suite", other, "--method", "focal", "--seeds", "1", "--out", tmp_path).code == 0
    (record,) = records(tmp_path, "other")
    assert record.trained_for == "tiny, quick"
    assert record.trained_together == (0, 1)
    assert cli("run", "--suite", other, "--method", "focal", "--seeds", "1-2", "--out", tmp_path).code == 0
    two = next(record for record in records(tmp_path, "other") if record.cell.seed == 2)
    assert two.trained_for is None
    assert two.trained_together == (2,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [("\nupdates = 4\n", "\nupdates = 5\n"), ("encoder_updates = 4", "encoder_updates = 5"),
     ("evaluations = 2", "evaluations = 2\ntrain_tasks = 7"), ('["mixed"]', '["random"]'), ('["iql"]', '["td3bc"]')],
)  # fmt: skip
def test_what_training_depends_on_is_trained_again(change, tiny, cli, inline, tmp_path):
    suite, other = tiny(), tiny(*ONE_SHOT, change, name="other.toml")
    assert cli("run", "--suite", suite, "--method", "focal", "--out", tmp_path).code == 0
    assert cli("run", "--suite", other, "--method", "focal", "--out", tmp_path).code == 0
    assert {record.trained_for for record in records(tmp_path, "other")} == {None}


@pytest.mark.parametrize("content", ["", "{", "{}", '{"suite": 1}'])
def test_a_damaged_training_is_passed_over(content, tiny, cli, inline, tmp_path):
    suite = tiny()
    assert cli("run", "--suite", suite, "--method", "focal", "--seeds", "0", "--out", tmp_path).code == 0
    (file,) = tmp_path.glob(".trained/focal/*/seeds-0/training.json")
    file.write_text(content)
    (record,) = tmp_path.glob("tiny/quick/*/mixed/focal/iql/seed-0.json")
    record.unlink()
    assert cli("run", "--suite", suite, "--method", "focal", "--seeds", "0", "--out", tmp_path).code == 0
    assert json.loads(file.read_text())["seeds"] == [0]
    assert not list(tmp_path.glob(".trained/focal/*/.unfinished*"))


def test_behaviour_policies_come_with_the_data_and_not_from_what_was_kept(tiny, cli, inline, tmp_path):
    behaviour = ('["random", "focal"]', '["behaviour"]')
    given, other = tiny(behaviour), tiny(behaviour, *ONE_SHOT, name="other.toml")
    for suite in (given, other):
        done = cli("run", "--suite", suite, "--out", tmp_path)
        assert done.code == 0, done
    assert {record.trained_for for record in records(tmp_path, "other")} == {None}
