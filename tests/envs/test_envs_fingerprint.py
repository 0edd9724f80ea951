"""Fingerprints change with meaning, and with nothing else."""

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest

import omrl_bench.fingerprint
from omrl_bench.envs import definition, families
from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.fingerprint import hash_text, normalise_source

SOURCE = '''\
"""Module."""
import math


class Circle:
    """A circle."""

    def area(self, r):
        """Area."""
        return math.pi * r**2  # formula
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # formula", ""),
        ("# formula", "# another word"),
        ('"""Module."""\n', ""),
        ('"""Module."""', "'''Other.\n\nLines.'''"),
        ('    """A circle."""\n\n', ""),
        ('"""Area."""', 'r"""Surface."""'),
        ("math.pi * r**2", "(math.pi\n            * (r ** 2))"),
        ("import math\n", "\n\nimport math\n\n# note\n"),
    ],
)
def test_normalised_source_ignores_comments_docstrings_and_layout(old, new):
    assert old in SOURCE
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    assert normalise_source(changed) == normalise_source(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r**2", "r**3"),
        ("math.pi * r", "math.pi + r"),
        ("def area", "def surface"),
        ("import math", "import math as math"),
        ("return math", "math"),
        ('"""Area."""', '"""Area."""\n        "statement"\n        r += 1'),
        ("r**2", "r**2.0"),
        ("math.pi * r**2", "'docstring no more'"),
    ],
)
def test_normalised_source_keeps_meaning(old, new):
    assert old in SOURCE
    assert normalise_source(SOURCE.replace(old, new)) != normalise_source(SOURCE)


def test_a_body_that_is_only_a_docstring_is_an_empty_one():
    assert normalise_source('def f():\n    """Nothing."""') == normalise_source("def f(): pass")
    assert normalise_source('class A:\n    """Nothing."""') == normalise_source("class A: pass")


def test_a_string_that_is_no_docstring_counts():
    assert normalise_source("x = 'a'") != normalise_source("x = 'b'")
    assert normalise_source("def f():\n    return 'a'") != normalise_source("def f():\n    return 'b'")


def test_hash_text_keeps_texts_apart():
    assert hash_text("ab", "c") != hash_text("a", "bc")
    assert hash_text("a", "b") != hash_text("b", "a")
    assert hash_text("a") == hash_text("a")
    assert len(hash_text("a")) == 16


def other_python():
    """An interpreter of another minor version from 3.11 on, if this machine has one that works."""
    names = [f"python3.{minor}" for minor in range(11, 16) if minor != sys.version_info.minor]
    installed = [path for name in names if (path := shutil.which(name))]
    managed = [str(p) for n in names for p in sorted((Path.home() / ".pyenv" / "versions").glob(f"*/bin/{n}"))]
    for path in managed + installed:
        if subprocess.run([path, "-I", "-c", "import ast"], capture_output=True, timeout=30).returncode == 0:
            return path
    return None


QUOTES = "x = f\"{folder / 'receipt.json'} is damaged; {again}\""


def test_normalised_source_is_the_same_in_every_python():
    python = other_python()
    if not python:
        pytest.skip("no other Python on this machine")
    file = Path(omrl_bench.fingerprint.__file__)
    code = f"exec(open({str(file)!r}).read()); print(hash_text(normalise_source({QUOTES!r})))"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == hash_text(normalise_source(QUOTES))


# --- the fingerprints of families

#: Records and built datasets name these: a change makes all of them those of other families.
FROZEN = {
    "point-goal": "9c25a715e0fd7f6b",
    "point-square": "da37efd8871dab1c",
    "point-sparse": "1b4cfd0c201eabce",
    "point-wind": "c373605173be0c52",
    "point-hard": "d61a739ce6bb0a08",
    "cheetah-vel": "70e952f2f11a5bb3",
    "cheetah-dir": "3ff0696c8dd14038",
    "ant-dir": "48b375dae822fdbe",
    "ant-fwd-back": "e69096355c5e7cbe",
    "ant-goal": "93b7037a122a54dd",
    "walker-params": "c2b632e2c338446b",
    "hopper-params": "d5035a6ca5129487",
    "cheetah-mass": "c8933fdae2283806",
    "ant-mass": "f7344be35186c701",
    "cheetah-vel-sparse": "f0709f07a0a93d5f",
    "walker-vel-sparse": "f65e43d034d026db",
    "point-goal-h10": "24326e1ab262fc1e",
    "point-goal-h200": "c167b4effa50c44a",
    "point-wind-h25": "abb7fc4216ca5480",
    "cheetah-vel-wide": "c7cce2058f9f69c0",
    "ant-dir-speed": "07cbcff66b7f7782",
}


def test_fingerprints_are_those_of_the_records():
    assert fingerprints() == FROZEN


@pytest.fixture
def envs_copy(tmp_path, monkeypatch):
    """A copy of the package folder that the families read from now on."""
    copy = tmp_path / "envs"
    shutil.copytree(str(resources.files("omrl_bench.envs")), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(families, "resources", SimpleNamespace(files=lambda package: copy))
    original = definition._file

    def file(module):
        found = original(module)
        return found and copy / found.name

    monkeypatch.setattr(definition, "_file", file)
    families._read_task_table.cache_clear()
    yield copy
    families._read_task_table.cache_clear()


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    families._read_task_table.cache_clear()


def fingerprints():
    return {name: family.fingerprint() for name, family in FAMILIES.items()}


def changed(before):
    return sorted(name for name, value in fingerprints().items() if value != before[name])


def test_fingerprints_differ_between_families_and_stay():
    once = fingerprints()
    assert len(set(once.values())) == len(once)
    assert fingerprints() == once


@pytest.fixture
def originals():
    return fingerprints()


def test_a_copy_has_the_same_fingerprint(originals, envs_copy):
    assert changed(originals) == []


def test_comments_and_docstrings_do_not_change_a_fingerprint(envs_copy):
    before = fingerprints()
    edit(envs_copy / "point.py", '"""The state."""', '"""Where the robot is."""  # a comment')
    edit(envs_copy / "cheetah.py", "FRAME_SKIP = 5", "FRAME_SKIP   =  5  # five")
    edit(envs_copy / "assets" / "README.md", "Frozen", "Fixed")
    assert changed(before) == []


POINTS = [name for name in FAMILIES if name.startswith("point")]
CHEETAHS = [name for name in FAMILIES if name.startswith("cheetah")]
ANTS = [name for name in FAMILIES if name.startswith("ant")]
WALKERS = [name for name in FAMILIES if name.startswith(("walker", "hopper"))]
CIRCLE = ["point-goal", "point-goal-h10", "point-goal-h200"]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("point.py", "states + actions", "states + 2 * actions", POINTS),
        ("cheetah.py", "CONTROL_COST = 0.05", "CONTROL_COST = 0.1", CHEETAHS),
        ("ant.py", "ALIVE = 1.0", "ALIVE = 2.0", ANTS),
        ("walker.py", "TIMESTEP = 0.004", "TIMESTEP = 0.002", WALKERS),
        ("assets/half_cheetah.xml", 'timestep="0.01"', 'timestep="0.02"', CHEETAHS),
        ("assets/ant.xml", 'timestep="0.01"', 'timestep="0.02"', ANTS),
        ("assets/hopper.xml", 'timestep="0.002"', 'timestep="0.02"', ["hopper-params"]),
        ("assets/walker2d.xml", 'timestep="0.002"', 'timestep="0.02"', ["walker-params", "walker-vel-sparse"]),
        ("tasks/point-goal-v1.csv", "0,train,0,0.962062", "0,train,0,0.962063", CIRCLE),
        ("tasks/point-wind-v1.csv", "0,train", "0,test", ["point-wind", "point-wind-h25"]),
        ("tasks/cheetah-vel-v1.csv", "0,train", "0,test", ["cheetah-vel", "cheetah-vel-sparse"]),
        ("tasks/cheetah-vel-wide-v1.csv", "0,train", "0,test", ["cheetah-vel-wide"]),
        ("tasks/ant-dir-v1.csv", "0,train", "0,test", ["ant-dir", "ant-dir-speed"]),
    ],
)
def test_meaning_changes_the_fingerprint_of_the_families_it_concerns(envs_copy, file, old, new, expected):
    before = fingerprints()
    edit(envs_copy / file, old, new)
    assert changed(before) == sorted(expected)


def test_the_family_entry_changes_the_fingerprint():
    family = get_family("point-goal")
    assert replace(family, horizon=61).fingerprint() != family.fingerprint()
    assert replace(family, action_limit=0.2).fingerprint() != family.fingerprint()
    labels = {"variant_of": "ant-dir", "controller": "a:B", "policies": "ant-dir", "goals": None, "source": "hf://a/b"}
    assert replace(family, **labels).fingerprint() == family.fingerprint()  # no MDP


def test_the_physics_change_the_fingerprint_of_mujoco_families(envs_copy):
    before = fingerprints()
    edit(envs_copy / "mujoco_physics.py", "self.data.qacc_warmstart[:] = 0", "self.data.qacc_warmstart[:] = 1")
    assert changed(before) == sorted(CHEETAHS + ANTS + WALKERS)
