"""Faults, many of them, and what they leave of a results folder: the table of docs/reliability.md.

    python tools/fault_campaign.py                        # everything; minutes of one core
    python tools/fault_campaign.py --kills 6 --trials 1   # a few of each

A small suite on point-goal (a control, a built-in method, an adapter; two seeds each) is run by the real command line
and disturbed: processes are killed, the disk is full, files are damaged. After every fault the folder is examined, and
then the same command goes on until all is done. Nothing complete may be lost, done twice or half-written, and the end
must equal an undisturbed run: every cube bit for bit, every field of the records that is no circumstance. What goes
wrong is printed below the table, and the exit code is 1.

Most runs are forks of this process, which has imported everything: a run costs a second in place of ten, and the kills
meet the work and not the imports. Every tenth kill, and the undisturbed run, are of commands of their own. The moments
are drawn from the seed, but a machine is never twice as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omrl_bench.processes import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded, as in a worker's own process

import psutil
import torch

import omrl_bench.runner.worker
from omrl_bench.cli.main import main as command_line
from omrl_bench.errors import RecordError
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.executors import local
from omrl_bench.runner.records import Cell, Record, read_record_of, record_files

SUITE = """
name = "faults"
version = 0
title = "A suite for faults"
families = ["point-goal"]
datasets = ["mixed"]
methods = ["random"]
backbones = ["iql"]
default_preset = "quick"

[protocol]
kind = "given-context"
draws = 1

[presets.quick]
seeds = [0, 1]
qualities = ["high"]
updates = 4
encoder_updates = 4
evaluations = 1
time_limit = 60
job_seconds = 5

[presets.hung]
extends = "quick"
time_limit = 15
"""

ADAPTERS = '''
import json
import os
import signal
import time

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy


class Linear(MetaPolicy):
    def __init__(self, weights, limit):
        self.weights, self.limit = weights, limit

    def reset(self, lanes):
        self.goals = np.zeros((lanes, 2))

    def condition(self, context):
        self.goals = context.observations[:, -1].astype(float)

    def act(self, observations, explore=False):
        inputs = np.concatenate([observations, self.goals], axis=1)
        return np.clip(inputs @ self.weights, -self.limit, self.limit).astype(np.float32)


class Clone(Algorithm):
    """Regression of actions on (s, last state of the episode), one seed after the other."""

    def fit(self, data, budget, seeds, log):
        self.weights = {}
        for seed in seeds:
            rng = np.random.default_rng(seed)
            self.weights[seed] = rng.normal(0, 0.1, (4, 2))
            for step in range(20):
                episodes = data.sample_episodes([rng], data.sample_tasks([rng], 8))[0]
                rows = data.sample_within([rng], episodes[None], 8)[0]
                goals = data.next_observations[data.episode_offsets[episodes + 1] - 1]
                goals = np.repeat(goals[:, None], 8, axis=1)
                inputs = np.concatenate([data.observations[rows], goals], axis=2).reshape(-1, 4)
                error = inputs @ self.weights[seed] - data.actions[rows].reshape(-1, 2)
                self.weights[seed] -= 0.1 * inputs.T @ error / len(inputs)
                log("policy", step + 1, 20, seeds=[seed])

    def policy(self, seed):
        return Linear(self.weights[seed], self.space.action_limit)

    def save(self, folder):
        text = json.dumps({seed: weights.tolist() for seed, weights in self.weights.items()})
        (folder / "weights.json").write_text(text)

    def load(self, folder):
        text = (folder / "weights.json").read_text()
        self.weights = {int(seed): np.array(weights) for seed, weights in json.loads(text).items()}


class Other(Clone):
    """The same with other numbers: its weights can be loaded by mistake."""

    def fit(self, data, budget, seeds, log):
        super().fit(data, budget, [seed + 100 for seed in seeds], lambda *given, **named: None)
        self.weights = {seed - 100: weights for seed, weights in self.weights.items()}
        log("policy", 1, 1)


class Raises(Clone):
    def fit(self, data, budget, seeds, log):
        raise RuntimeError("the matrix is singular")


class Killed(Clone):
    def fit(self, data, budget, seeds, log):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(Clone):
    def fit(self, data, budget, seeds, log):
        os._exit(3)


class Nan(Linear):
    def act(self, observations, explore=False):
        return super().act(observations) * np.nan


class NotANumber(Clone):
    def policy(self, seed):
        return Nan(self.weights[seed], self.space.action_limit)


class Hangs(Clone):
    def fit(self, data, budget, seeds, log):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
'''
GOOD = ("random", "focal", "Clone", "Other")
BAD = ("Raises", "Killed", "Exits", "NotANumber", "Hangs")
#: What a record says of when and where it was made.
CIRCUMSTANCES = {
    *("fit_seconds", "evaluate_seconds", "update_milliseconds", "peak_memory_mib", "created", "job", "content"),
}
NOBODY = 65534
YEARS = 10 * 365 * 24 * 3600.0
Numbers = tuple[dict[str, Any], str]


class Forked:
    """What :class:`omrl_bench.runner.executors.local.Local` needs of Popen; the worker is a fork of the runner."""

    _held: list[int] = []  # the runner's ends of the pipes: a worker must not hold those of others

    def __init__(self, command: Sequence[str], *, stdout: Any, **_: object) -> None:
        sys.stdout.flush()
        theirs, ours = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            for end in (ours, *self._held):
                os.close(end)
            os.setsid()
            os.dup2(theirs, 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(1, 2)
            call("worker", command[-1])
        os.close(theirs)
        self._held.append(ours)

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 600.0) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.01)
        return code


def call(*arguments: str) -> None:
    """Be the command, and end."""
    code = 1
    try:
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115, PTH123
        sys.argv = ["omrl-bench", *arguments]
        command_line()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


class Run:
    """A command that was started.

    Args:
        arguments: Of the command.
        output: File for what it says.
        own: Whether it is a process of its own, and not a fork.
        begin: Called in a fork before it begins.
    """

    def __init__(
        self, arguments: Sequence[str], output: Path, own: bool = False, begin: Callable[[], object] = lambda: None
    ) -> None:
        self.output, self.process = output, None
        with output.open("wb") as file:
            if own:
                command = [sys.executable, "-m", "omrl_bench", *arguments]
                streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
                self.process = subprocess.Popen(command, start_new_session=True, **streams)
                self.pid = self.process.pid
                return
            sys.stdout.flush()
            self.pid = os.fork()
            if self.pid == 0:
                os.setsid()
                for number in (1, 2):
                    os.dup2(file.fileno(), number)
                local.subprocess = SimpleNamespace(  # type: ignore[assignment]
                    Popen=Forked, PIPE=None, STDOUT=None, TimeoutExpired=subprocess.TimeoutExpired
                )
                begin()
                call(*arguments)
        self.code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.process is not None:
            return self.process.poll()
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self) -> int:
        """Wait until it has ended."""
        while (code := self.poll()) is None:
            time.sleep(0.01)
        return code

    def workers(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children()
        return []

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")


@dataclass
class Row:
    """What came of one kind of fault."""

    name: str
    faults: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)  # kind, what

    def line(self) -> str:
        ended = ", ".join(f"{count} x {code}" for code, count in sorted(self.codes.items()))
        counts = [str(sum(kind == each for kind, _ in self.problems)) for each in KINDS]
        return f"| {' | '.join((self.name, str(self.faults), ended, *counts))} |"


KINDS = ("lost", "done twice", "half-written", "different", "not said in a line")
