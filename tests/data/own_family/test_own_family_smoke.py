"""`smoke --family`: a good family passes every check, and what is wrong with a bad one is said in words."""

import pytest

from omrl_bench.data.family_checks import FamilyError, check_family
from omrl_bench.envs.families import get_family

#: What is wrong: the file, what it is instead of what, and the words that say so.
BAD = {
    "shape": (
        "__init__.py",
        "observation_size=2",
        "observation_size=3",
        "an observation has shape (2,); the entry says",
    ),
    "id": ("__init__.py", "omrl/ID-v0", "ID-v0", "is not like 'omrl/PointGoal-v1'"),
    "varies-word": ("__init__.py", "goals=goals", "goals=goals, varies='goals'", "varies is 'goals'; it is one of"),
    "varies": ("__init__.py", "goals=goals", "goals=goals, varies='dynamics'", "but the same actions lead to the same"),
    "goals": ("__init__.py", "descriptors[:, None]", "descriptors", "goals have shape (13, 2); expected"),
    "validation": ("table", "validation", "train", "its task table has no validation tasks"),
    "near": ("table", "8,test,-0.374255,-0.331561", "8,test,0.5,0.0001", "task 8 (test) is nearly the training task 0"),
    "nan": ("table", "8,test,-0.374255", "8,test,nan", "its task table holds NaN"),
    "raises": ("law.py", "return closeness", "return {}[0] + closeness", "KeyError: 0 ("),
    "batch": (
        "law.py",
        "return closeness(",
        "return np.mean(states) + closeness(",
        "differs between one environment and",
    ),
    "reward-shape": ("law.py", "closeness(next_states, descriptors)", "1.0", "reward() returns shape () for 6 lanes"),
    "global": (
        "law.py",
        "class Ring(PointRobot):",
        "class Ring(PointRobot):\n    def initial_state(self, rng):\n        return np.random.rand(2)\n",
        "it uses the global generator of np.random",
    ),
    "unseeded": (
        "law.py",
        "class Ring(PointRobot):",
        "class Ring(PointRobot):\n    def initial_state(self, r):\n        return np.random.default_rng().random(2)\n",
        "the same seeds and actions do not give the same episodes twice",
    ),
    "terminal-start": (
        "law.py",
        "class Ring(PointRobot):",
        "class Ring(PointRobot):\n    def terminated(self, states):\n        return states[:, 0] < 1\n",
        "an episode begins in a terminal state",
    ),
    "one-reward": ("law.py", "next_states, descriptors)\n", "next_states, 0.5)\n", "earn the same in another task"),
    "hidden-dynamics": (
        "law.py",
        "class Ring(PointRobot):",
        "class Ring(PointRobot):\n    def move(self, s, a, d):\n        return s + a + 0.01 * d\n",
        "varies says reward, but the same actions lead elsewhere",
    ),
    "clock": (
        "law.py",
        "class Ring(PointRobot):",
        "class Ring(PointRobot):\n"
        "    def initial_state(self, rng):\n        return np.zeros(3)\n\n"
        "    def move(self, s, a, d):\n        return s + np.concatenate([a, np.ones((len(a), 1))], axis=1)\n\n"
        "    def observation(self, s):\n        return s[:, :2].copy()\n\n"
        "    def reward(self, s, a, n, d):\n        return closeness(n[:, :2], d)\n\n"
        "    def terminated(self, n):\n        return n[:, 2] >= 12\n\n\nclass Other(PointRobot):",
        "every episode terminates at its last step, 12: the horizon is a truncation",
    ),
    "unskilled": (
        "behaviour.py",
        '"""Walks to a guess of the goal."""',
        "def reset(self, behaviours, rng):\n        super().reset(9 - behaviours, rng)",
        "returns do not rise with the behaviour's skill, from 0 to 9",
    ),
    "too-far": (
        "behaviour.py",
        '"""Walks to a guess of the goal."""',
        "def act(self, *arguments):\n        return 3 * super().act(*arguments)",
        "behaviours act beyond 0.1: clip",
    ),
    "no-actor": (
        "__init__.py",
        "PACKAGE.behaviour:Walker",
        "PACKAGE.behaviour:Runner",
        "unknown name in omrl_bench_ringbad",
    ),
    "elsewhere": (
        "__init__.py",
        "action_limit=0.1",
        "action_limit=0.1 + __import__('os').getpid() * 1e-9",
        "in another process: the entry must be constant",
    ),
    "no-manifest": ("table", "0,train", "0,train", "has no manifest"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_families_are_told_what_is_wrong(package, fault):
    *change, words = BAD[fault]
    names = package(f"bad{list(BAD).index(fault)}", [tuple(change)])
    with pytest.raises(FamilyError) as caught:
        check_family(get_family(names.family))
    assert words in str(caught.value)


def test_a_family_that_other_processes_do_not_find(package, monkeypatch):
    names = package("lost")
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(FamilyError, match="another process does not find it; is its package installed"):
        check_family(get_family(names.family))


def test_a_good_family_passes(ring, invoke):
    outcome = invoke("smoke", "--family", "ring-goal")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line[:4] for line in lines[:-1]] == ["ok  "] * 9
    assert lines[-1] == "ring-goal: all checks passed"


def test_what_is_wrong_is_one_line_and_code_2(package, invoke):
    names = package("line", [("table", "validation", "train")])
    outcome = invoke("smoke", "--family", names.family)
    assert outcome.code == 2
    assert outcome.err == f"error: {names.family}: its task table has no validation tasks\n"
    assert invoke("smoke", "focal", "--family", names.family).code == 2


@pytest.mark.parametrize(
    "name", ["point-goal", "point-square", "point-sparse", "point-wind", "point-hard", "cheetah-vel-sparse"]
)
def test_built_in_families_pass(name):
    passed = []
    check_family(get_family(name), passed.append)
    assert len(passed) == 9
