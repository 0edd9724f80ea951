"""`smoke`: good adapters pass every check, bad ones are told what is wrong, in words."""

import os
import subprocess
import sys

import pytest

from omrl_bench.registry import load_class
from omrl_bench.testing import AdapterError, check_adapter

GOOD = """
import json
import os
import random

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy, Requirements


class Policy(MetaPolicy):
    def __init__(self, gain, limit):
        self.gain, self.limit = gain, limit

    def reset(self, lanes):
        self.target = np.zeros((lanes, 2), np.float32)

    def condition(self, context):
        self.target = context.observations[:, -1]

    def act(self, observations, explore=False):
        return np.clip(self.gain * (self.target - observations), -self.limit, self.limit).astype(np.float32)


class Good(Algorithm):
    policy_class = Policy

    def fit(self, data, budget, seeds, log):
        self.gains = {seed: float(np.random.default_rng(seed).uniform(0.01, 0.05)) for seed in seeds}

    def policy(self, seed):
        return self.policy_class(self.gains[seed], self.space.action_limit)

    def save(self, folder):
        (folder / "gains.json").write_text(json.dumps(self.gains))

    def load(self, folder):
        self.gains = {int(seed): gain for seed, gain in json.loads((folder / "gains.json").read_text()).items()}
"""

#: What is wrong, by the name of the adapter: code, and the words that say it.
BAD = {
    "Raises": (
        "def fit(self, data, budget, seeds, log):\n        raise RuntimeError('singular')",
        "fit raised RuntimeError: singular",
    ),
    "GlobalNumpy": (
        "def fit(self, data, budget, seeds, log):\n        super().fit(data, budget, seeds, log)\n"
        "        np.random.rand()",
        "fit used the global generator of `np.random`; use a generator of your own, per seed",
    ),
    "GlobalRandom": (
        "def fit(self, data, budget, seeds, log):\n        super().fit(data, budget, seeds, log)\n"
        "        random.random()",
        "fit used the global generator of `random`",
    ),
    "GlobalTorch": (
        "def fit(self, data, budget, seeds, log):\n        super().fit(data, budget, seeds, log)\n"
        "        import torch\n        torch.rand(1)",
        "fit used the global generator of `torch`",
    ),
    "Unseeded": (
        "def fit(self, data, budget, seeds, log):\n"
        "        self.gains = {seed: float(np.random.default_rng().uniform(0.01, 0.05)) for seed in seeds}",
        "two fits with the same seed act differently",
    ),
    "NoPolicy": ("def policy(self, seed):\n        return {}[seed]", "policy(3) raised KeyError: 3"),
    "SavesNothing": ("def save(self, folder):\n        pass", "load raised FileNotFoundError"),
    "SavesWrong": (
        "def load(self, folder):\n        super().load(folder)\n"
        "        self.gains = {seed: gain / 2 for seed, gain in self.gains.items()}",
        "the policy of seed 3 acts differently after save and load",
    ),
    "LoadsOneSeed": (
        "def load(self, folder):\n        super().load(folder)\n        del self.gains[7]",
        "policy(7) after load raised KeyError: 7",
    ),
    "Greedy": (
        "requires = Requirements(privileges=frozenset({'test-tasks'}))",
        "unknown privilege 'test-tasks'; known: behaviour, descriptors",
    ),
    "Vague": ("requires = {'descriptors'}", "requires is a set; expected an omrl_bench.api.Requirements"),
    "Thief": (
        "def fit(self, data, budget, seeds, log):\n        data.descriptors",
        "fit raised PrivilegeError: the method reads 'descriptors' without declaring it",
    ),
}

BAD_POLICIES = {
    "Shape": ("return super().act(observations)[:, :1]", "act returned shape (6, 1) for 6 lanes; expected (6, 2)"),
    "OneLane": ("return super().act(observations)[:1]", "act returned shape (1, 2) for 6 lanes; expected (6, 2)"),
    "List": ("return super().act(observations).tolist()", "act returned a list; return a NumPy array of shape (6, 2)"),
    "Nan": ("return super().act(observations) * np.nan", "act returned NaN or infinity"),
    "Large": (
        "return super().act(observations) * 0 + 0.25",
        "an action is 2.5 times the limit space.action_limit = 0.1; the environment would clip it",
    ),
    "Noisy": (
        "return super().act(observations) * np.random.default_rng().uniform(0.1, 1)",
        "after reset, the same policy in the same context acts differently: reset must forget all",
    ),
    "Remembers": (
        "self.count = getattr(self, 'count', 0) + 1\n        return super().act(observations) / self.count",
        "after reset, the same policy in the same context acts differently: reset must forget all",
    ),
    "GlobalInAct": ("np.random.rand()\n        return super().act(observations)", "act used the global generator"),
}

HANGS = """

class Hangs(Good):
    def fit(self, data, budget, seeds, log):
        import time

        time.sleep(90)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    text = GOOD
    for name, (code, _) in BAD.items():
        text += f"\n\nclass {name}(Good):\n    {code}\n"
    for name, (code, _) in BAD_POLICIES.items():
        act = f"def act(self, observations, explore=False):\n        {code}"
        text += (
            f"\n\nclass {name}Policy(Policy):\n    {act}\n\n\nclass {name}(Good):\n    policy_class = {name}Policy\n"
        )
    path = tmp_path_factory.mktemp("smoke") / "mine.py"
    path.write_text(text + HANGS)
    return path


def smoke(*arguments):
    command = [sys.executable, "-m", "omrl_bench", "smoke", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_a_good_adapter_passes_every_check(file):
    done = smoke(f"{file}:Good")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("ok")] == [
        "ok  declares what it needs",
        "ok  trains on the training tasks, without global random state",
        "ok  acts: right shape, finite, within the limits",
        "ok  forgets on reset",
        "ok  lanes do not depend on each other",
        "ok  same seed, same actions",
        "ok  save and load give the same actions",
    ]
    assert done.stdout.splitlines()[-1] == "Good: all checks passed"


def test_a_hanging_adapter_is_given_up(file):
    done = smoke("--method", f"{file}:Hangs", "--time-limit", 8)
    assert done.returncode == 2
    assert done.stderr == ("error: Hangs: not done after 8 s with 20 updates; does it end when its budget is spent?\n")


@pytest.mark.parametrize("name", [*BAD, *BAD_POLICIES])
def test_bad_adapters_are_told_what_is_wrong(file, name):
    words = (BAD | BAD_POLICIES)[name][1]
    with pytest.raises(AdapterError) as caught:
        check_adapter(load_class(f"{file}:{name}"))
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "code"), [("Shape", 2), ("Absent", 2)])
def test_bad_adapters_end_with_one_line_and_code_2(file, cli, name, code, monkeypatch):
    """Through the command that `smoke` starts as a process of its own."""
    outcome = cli("smoke-worker", f"{file}:{name}")
    assert outcome.code == code
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and name in outcome.err


def test_unknown_backbone(file, cli):
    outcome = cli("smoke-worker", f"{file}:Good", "--backbone", "iqk")
    assert outcome.code == 2 and outcome.err == "error: unknown backbone 'iqk'; did you mean 'iql'?\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("os.kill(os.getpid(), 9)", "ended by signal 9", id="killed"),
        pytest.param(
            "os._exit(0)",
            "",
            id="exit-0",
        ),
        pytest.param(
            "os._exit(5)",
            "",
            id="exit-5",
        ),
    ],
)
def test_an_adapter_that_ends_its_process_fails(file, cli, tmp_path, monkeypatch, code, words):
    """With a worker process that does not import what this test has no use for."""
    real = subprocess.run

    def run(command, **options):
        assert "smoke-worker" in command
        return real([sys.executable, "-S", "-c", f"import os; {code}"], **options)

    monkeypatch.setattr(subprocess, "run", run)
    outcome = cli("smoke", "--method", f"{file}:Good")
    assert outcome.code == 2
    assert "Good: " in outcome.err and words in outcome.err and "passed" not in outcome.out


def test_an_adapter_that_calls_sys_exit_is_told(file, tmp_path):
    path = tmp_path / "leaves.py"
    leave = "\n\nclass Leaves(Good):\n    def fit(self, data, budget, seeds, log):\n        raise SystemExit\n"
    path.write_text(GOOD + leave)
    with pytest.raises(AdapterError):
        check_adapter(load_class(f"{path}:Leaves"))


def test_a_built_in_control_passes():
    passed = []
    check_adapter(load_class("omrl_bench.baselines.controls:Random"), passed=passed.append)
    assert len(passed) == 7


def test_smoke_needs_no_data_on_disk(file, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "nothing"))
    check_adapter(load_class(f"{file}:Good"))
    assert os.listdir(tmp_path) == []  # noqa: PTH208  (a name is enough)
