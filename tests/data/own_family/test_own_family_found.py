"""Families of packages are found by their entry points; one that is broken or clashes is said, and harms no other."""

import json
import subprocess
import sys
from importlib import resources

import gymnasium
import numpy as np
import pytest
from safetensors.numpy import save_file

from omrl_bench.data.behaviour import make_actor, read_checkpoints
from omrl_bench.data.family_checks import FamilyError, check_family
from omrl_bench.envs import families as families_module
from omrl_bench.envs.definition import law_sources
from omrl_bench.envs.families import FAMILIES, families, get_family
from omrl_bench.envs.single import register
from omrl_bench.errors import InputError
from omrl_bench.fingerprint import normalise_source


def test_a_package_brings_a_family(package):
    names = package("a")
    family = get_family(names.family)
    assert family.name == names.family and family.is_point
    assert len(family.tasks()) == 13 and len(family.tasks().ids("test")) == 3
    found, wrong = families()
    assert list(found) == [*FAMILIES, names.family] and wrong == {}


def test_without_packages_there_are_the_built_in_families():
    assert families() == (FAMILIES, {})


def test_an_environment_of_it_in_a_new_process(package):
    names = package("b")
    code = f"""
import gymnasium, json, omrl_bench.envs
env = gymnasium.make({names.env_id!r}, task=3)
observation, info = env.reset(seed=0)
print(json.dumps([info["task"], env.spec.max_episode_steps, env.unwrapped.descriptor.tolist()]))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3, 12, get_family(names.family).tasks().descriptors[3].tolist()]


def test_its_rewards_are_its_laws(package):
    names = package("c")
    register()
    env = gymnasium.make(names.env_id, task=1)
    env.reset(seed=0)
    reward = env.step(np.array([0.1, 0.0], np.float32))[1]
    x, y = env.unwrapped.descriptor
    assert reward == pytest.approx(np.exp(-4 * np.hypot(0.1 - x, y)), rel=1e-6)


def test_an_unknown_family_is_told_the_nearest_of_a_package(package):
    package("d")
    with pytest.raises(InputError, match=r"unknown family 'ring-gaold'; did you mean 'ring-goald'"):
        get_family("ring-gaold")


def test_a_built_in_family_wins_over_a_packages_and_that_is_said(package, invoke):
    names = package("e", [("__init__.py", 'name="NAME"', 'name="point-goal"')], "point-goal = omrl_bench_ringe:FAMILY")
    assert get_family("point-goal") is FAMILIES["point-goal"]
    assert "of package omrl-bench-ringe has a built-in one's name" in str(families()[1]["point-goal"])
    assert (
        "another: family 'point-goal' (omrl/RingGoale-v0) of package omrl-bench-ringe"
        in invoke("list", "families").words
    )
    outcome = invoke("smoke", "--family", "point-goal")
    assert outcome.code == 2 and "has a built-in one's name" in outcome.err
    assert names.family not in families()[0]


def test_the_id_of_a_built_in_family_is_taken(package):
    names = package("f", [("__init__.py", "omrl/ID-v0", "omrl/PointGoal-v1")])
    with pytest.raises(InputError, match="has a built-in one's name"):
        get_family(names.family)


def test_two_packages_with_one_name(package):
    package("g", entry="ring = omrl_bench_ringg:FAMILY")
    package("h", entry="ring = omrl_bench_ringh:FAMILY")
    with pytest.raises(
        InputError, match=r"package omrl-bench-ring[gh] and package omrl-bench-ring[gh] both bring a family 'ring'"
    ):
        get_family("ring")


@pytest.mark.parametrize(
    ("number", "changes", "entry", "words"),
    [
        ("i", [("__init__.py", "FAMILY =", "1 / 0\nFAMILY =")], None, "ZeroDivisionError: division by zero"),
        ("j", (), "ring-goalj = omrl_absent:FAMILY", "omrl_absent cannot be imported: ModuleNotFoundError"),
        ("k", (), "ring-goalk = omrl_bench_ringk:goals", "is no omrl_bench.envs.families.Family"),
        (
            "l",
            (),
            "ringl = omrl_bench_ringl:FAMILY",
            "calls its family 'ring-goall' in code, but 'ringl' as entry point",
        ),
        ("m", [("table", "split", "kind")], None, "task table ring-goalm-v0.csv has no column 'split'"),
    ],
)
def test_a_broken_family_is_bad_input_when_it_is_used_and_not_before(package, invoke, number, changes, entry, words):
    names = package(number, changes, entry)
    name = (entry or names.family).split(" ")[0]
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        get_family(name).tasks()
    listed = invoke("list", "families")
    assert listed.code == 0 and words in listed.words and "omrl/PointGoal-v1" in listed.words
    register()  # of all others
    outcome = invoke("smoke", "--family", name)
    assert outcome.code == 2 and words in outcome.err and outcome.err.count("\n") == 1


# --- the fingerprint


def test_the_fingerprint_covers_the_law_what_it_imports_and_the_tasks(tmp_path, package):
    names = package("n")
    folder = tmp_path / "site" / names.package

    def fingerprint():
        families_module._read_task_table.cache_clear()
        return get_family(names.family).fingerprint()

    before, seen = fingerprint(), set()
    for file, old, new, counts in (
        ("law.py", "closeness(next_states, descriptors)", "2 * closeness(next_states, descriptors)", True),
        ("rewards.py", "-4", "-5", True),
        (f"tasks/{names.family}-v0.csv", "0,train,0.5", "0,train,0.6", True),
        ("rewards.py", "What the law imports", "What it imports", False),
        ("behaviour.py", "PointActor", "PointSquareActor", False),
    ):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        assert (fingerprint() != before) == counts, file
        seen.add(fingerprint())
        (folder / file).write_text(text)
    assert fingerprint() == before and len(seen) == 4


def test_the_laws_of_this_package_that_a_law_builds_on_count_too(package):
    names = package("o")
    sources = law_sources(f"{names.package}.law")
    assert len(sources) == 3  # law, omrl_bench.envs.point, rewards
    point = resources.files("omrl_bench.envs").joinpath("point.py").read_text(encoding="utf-8")
    assert normalise_source(point) in sources


def test_a_law_that_is_not_there(package):
    names = package("p", [("__init__.py", "PACKAGE.law:Ring", "PACKAGE.lore:Ring")])
    family = get_family(names.family)
    with pytest.raises(InputError, match=r"module omrl_bench_ringp\.lore cannot be found"):
        family.fingerprint()
    with pytest.raises(InputError, match=r"omrl_bench_ringp\.lore cannot be imported: ModuleNotFoundError"):
        family.make_law()


# --- what a family takes from others


def test_a_law_of_this_package_with_tasks_of_ones_own(package):
    change = ("__init__.py", 'law="PACKAGE.law:Ring"', 'law="omrl_bench.envs.point:PointGoal", package="PACKAGE"')
    family = get_family(package("q", [change]).family)
    assert len(family.tasks()) == 13 and type(family.make_law()).__name__ == "PointGoal"
    assert family.fingerprint() != FAMILIES["point-goal"].fingerprint()


def test_tasks_of_a_built_in_family_with_a_law_of_ones_own(package):
    names = package("r", [("__init__.py", "goals=goals", 'goals=goals, task_table="point-goal"')])
    assert get_family(names.family).tasks().text == FAMILIES["point-goal"].tasks().text


@pytest.mark.parametrize("owner", ["", "ring-goalt"])
def test_checkpoints_of_ones_own_and_of_another_package(package, tmp_path, owner):
    lender = package("t")
    borrower = package("u", [("__init__.py", 'controller="PACKAGE.behaviour:Walker"', f'policies="{owner}"')])
    names = lender if owner else borrower
    folder = tmp_path / "site" / names.package / "policies" / names.family
    folder.mkdir(parents=True)
    layers = {"hidden0": (8, 4), "hidden1": (8, 8), "mean": (2, 8)}
    for k in range(10):
        rng = np.random.default_rng(k)
        tensors = {f"{name}.weight": rng.normal(size=shape) for name, shape in layers.items()}
        tensors |= {f"{name}.bias": rng.normal(size=shape[0]) for name, shape in layers.items()}
        save_file(tensors | {"log_std": np.zeros(2)}, folder / f"{k}.safetensors")
    family = get_family(borrower.family)
    weights = read_checkpoints(family)
    assert len(weights) == 10 and weights[3]["mean.weight"].shape == (2, 8)
    actor, rng = make_actor(family), np.random.default_rng(0)
    actor.reset(np.arange(10), rng)
    assert actor.act(np.zeros((10, 2)), np.ones((10, 2)), rng).shape == (10, 2)


ROBOT = """
from pathlib import Path

import mujoco

from omrl_bench.envs.cheetah import CheetahVel
from omrl_bench.envs.mujoco_physics import load_model


class Ring(CheetahVel):
    def compile(self):
        return load_model(str(Path(__file__).parent / "assets" / self.family.assets[0]))
"""


def test_a_robot_with_a_model_file_of_ones_own(package, tmp_path):
    entry = {
        "observation_size=2": "observation_size=17",
        "action_size=2": "action_size=6",
        "goals=goals": "policies=''",
    }
    entry |= {"action_limit=0.1": "action_limit=1.0", 'controller="PACKAGE.behaviour:Walker"': 'assets=("mine.xml",)'}
    changes = [("__init__.py", old, new) for old, new in entry.items()]
    names = package("v", [*changes, ("__init__.py", '("goal_x", "goal_y")', '("goal_x",)'), ("law.py", None, ROBOT)])
    table = tmp_path / "site" / names.package / "tasks" / f"{names.family}-v0.csv"
    table.write_text("task,split,goal_x\n0,train,0.5\n1,train,1.5\n2,validation,1.0\n3,test,2.0\n")
    assets = tmp_path / "site" / names.package / "assets"
    assets.mkdir()
    text = resources.files("omrl_bench.envs").joinpath("assets", "half_cheetah.xml").read_text(encoding="utf-8")
    (assets / "mine.xml").write_text(text.replace('timestep="0.01"', 'timestep="0.02"'))
    family, passed = get_family(names.family), []
    assert family.make_law().dt == pytest.approx(0.1)
    with pytest.raises(FamilyError, match="has no behaviour policies yet"):
        check_family(family, passed.append)
    assert len(passed) == 4  # one environment and a batch of them agree
    before = family.fingerprint()
    (assets / "mine.xml").write_text(text)
    assert family.fingerprint() != before
