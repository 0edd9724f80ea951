"""Faults, many of them, and what they leave of a results folder: the table of docs/reliability.md.

    python tools/fault_campaign.py                        # everything; minutes of one core
    python tools/fault_campaign.py --kills 6 --trials 1   # a few of each

A small suite on point-goal (a control, a built-in method, an adapter; two seeds each) is run by the real command line
and disturbed: processes are killed, the disk is full, files are damaged. After every fault the folder is examined, and
then the same command goes on until all is done. Nothing complete may be lost, done twice or half-written, and the end
must equal an undisturbed run: every cube bit for bit, every field of the records that is no circumstance. What goes
wrong is printed below the table, and the exit code is 1.

Most runs are forks of this process, which has imported everything: a run costs a second in place of ten, and the kills
meet the work and not the imports. Every twentieth kill, and the undisturbed run, are of commands of their own. Moments
are drawn from the seed, but a machine is never twice as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
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
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omrl_bench.processes import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded, as in a worker's own process

import psutil
import torch

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
time_limit = 45
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
FEW = ("Clone", "focal")  # seeds one after the other, and together
BAD = ("Raises", "Killed", "Exits", "NotANumber", "Hangs")
#: What a record says of when and where it was made.
CIRCUMSTANCES = {
    *("fit_seconds", "evaluate_seconds", "update_milliseconds", "peak_memory_mib", "created", "job", "content", "git"),
}
#: What a run imports on its way.
IMPORTED = (
    *("runner.run", "runner.worker", "runner.plan", "runner.references", "cli.display", "protocols.suite"),
    *("baselines.focal", "baselines.controls", "baselines.iql", "baselines.conditioned", "stats.disentanglement"),
)
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
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
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


class Campaign:
    """A suite, its data and an undisturbed run of it.

    Args:
        folder: For everything; made empty.
        data: Minari's root folder with the data of point-goal, to be copied; None builds them.
        rng: Draws moments and victims.
        forks: Whether all runs are forks.
        out: Is told what is going on.
    """

    def __init__(
        self, folder: Path, data: Path | None, rng: random.Random, forks: bool, out: Callable[[str], object]
    ) -> None:
        self.folder, self.rng, self.forks, self.out = folder, rng, forks, out
        self.results, self.data, self.rows = folder / "results", folder / "data", list[Row]()
        (folder / "faults.toml").write_text(SUITE)
        (folder / "adapters.py").write_text(ADAPTERS)
        os.environ["MINARI_DATASETS_PATH"] = str(self.data)
        if data is None:
            build = Run(["data", "build", "point-goal", "--quality", "mixed"], folder / "build.txt", own=True)
            if build.wait():
                raise SystemExit(build.text)
        else:
            shutil.copytree(data / "omrl/point-goal/mixed-v1", self.data / "omrl/point-goal/mixed-v1")
            shutil.copy(data / "omrl/point-goal/namespace_metadata.json", self.data / "omrl/point-goal")
            shutil.copy(data / "omrl" / "namespace_metadata.json", self.data / "omrl")
        self._count = 0
        started = time.monotonic()
        undisturbed = self.start(GOOD, own=True)
        if undisturbed.wait():
            raise SystemExit(undisturbed.text)
        out(f"undisturbed: {time.monotonic() - started:.0f} s as commands of their own")
        self.reference = {record.cell: numbers(self.results, record) for record in self._records([])}
        assert len(self.reference) == 2 * len(GOOD)
        self.files = len(list(self.results.rglob("*")))
        self.seconds = 1.0
        self.clear()
        started = time.monotonic()
        row = Row("nothing")
        self.finish(row)
        self.seconds = time.monotonic() - started
        self.clear()
        out(f"             {self.seconds:.0f} s as forks; {'; '.join(what for _, what in row.problems) or 'the same'}")

    def clear(self) -> None:
        shutil.rmtree(self.results, ignore_errors=True)

    def row(self, name: str) -> Row:
        """A new row of the table."""
        self.rows.append(Row(name))
        return self.rows[-1]

    def cells_of(self, methods: Sequence[str]) -> list[Cell]:
        """The cells of some methods."""
        return [cell for cell in self.reference if cell.method in methods]

    def start(
        self,
        methods: Sequence[str],
        own: bool = False,
        preset: str = "quick",
        begin: Callable[[], object] = lambda: None,
    ) -> Run:
        """Start the command that makes the records of some methods."""
        self._count += 1
        names = [name if name.islower() else f"{self.folder / 'adapters.py'}:{name}" for name in methods]
        chosen = [f"--method={name}" for name in names]
        fixed = ["run", "--suite", str(self.folder / "faults.toml"), "--preset", preset, "--out", str(self.results)]
        return Run(
            [*fixed, "--no-report", "--jobs=1", *chosen],
            self.folder / f"output-{self._count}.txt",
            own and not self.forks,
            begin,
        )

    def moment(self, run: Run) -> bool:
        """Wait until a random moment, or just after a random change of the folder; say whether the run goes on."""
        if self.rng.random() < 0.5:
            end = time.monotonic() + self.rng.uniform(0, 1.1 * self.seconds)
            while time.monotonic() < end and run.poll() is None:
                time.sleep(0.005)
        else:
            seen: set[Path] = set(self.results.rglob("*"))
            left = self.rng.randint(1, self.files)
            while left > 0 and run.poll() is None:
                now = set(self.results.rglob("*"))
                left -= len(now - seen)
                seen |= now
                time.sleep(0.002)
        return run.poll() is None

    def complete(self, row: Row, before: Sequence[Cell] = ()) -> list[Cell]:
        """Examine the folder, and return the cells that are complete; those before must be among them."""
        problems = row.problems
        found = []
        for record in self._records(problems):
            if record.cell not in self.reference or record.status != "complete":
                continue
            found.append(record.cell)
            try:
                its = numbers(self.results, record)
            except RecordError as error:
                problems.append(("half-written", str(error)))
                continue
            if its != self.reference[record.cell]:
                changed = [name for name in its[0] if its[0][name] != self.reference[record.cell][0].get(name)]
                problems.append(("different", f"{record.cell.method} {record.cell.seed}: {changed or 'cube'}"))
        problems += [("lost", f"{cell.method} seed {cell.seed}") for cell in before if cell not in found]
        return found

    def _records(self, problems: list[tuple[str, str]]) -> Iterator[Record]:
        for path in record_files(self.results, lambda error: problems.append(("half-written", str(error)))):
            try:
                yield read_record_of(self.results, path)
            except RecordError as error:
                problems.append(("half-written", str(error)))

    def end(self, row: Row, run: Run) -> int:
        """Wait for a run, and take note of its exit code and of words that are not for people."""
        code = run.wait()
        row.codes[code] += 1
        if any(word in run.text for word in ("Traceback", "unexpected ")):
            row.problems.append(("not said in a line", run.text[-2000:]))
        return code

    def finish(self, row: Row, methods: Sequence[str] = GOOD) -> None:
        """Repeat the command undisturbed; the end must equal the undisturbed run's."""
        run = self.start(methods)
        if run.wait():
            row.problems.append(("lost", f"the last run ended with {run.poll()}: {run.text[-2000:]}"))
        found = self.complete(row, self.cells_of(methods))
        left = [path for path in self.results.rglob("*") if path.suffix in (".tmp", ".run")]
        row.problems += [("half-written", f"{path} is left") for path in left]
        row.problems += [("done twice", str(cell)) for cell in {cell for cell in found if found.count(cell) > 1}]


def numbers(results: Path, record: Record) -> Numbers:
    """What must be the same whatever happened: a record without its circumstances, and the hash of its cube."""
    cube = read_cube(record.cell.cube_path(results), record.cube)
    return record.model_dump(mode="json", exclude=CIRCUMSTANCES), cube.content_hash()


def kills(campaign: Campaign, count: int) -> None:
    """Kill -9 of the runner, of a worker, of both at once; the same command goes on, and is killed again."""
    rows = {victim: campaign.row(f"kill -9 of {victim}") for victim in ("the runner", "a worker", "both")}
    before: list[Cell] = []
    while (done := sum(row.faults for row in rows.values())) < count:
        victim = campaign.rng.choice(list(rows))
        row = rows[victim]
        run = campaign.start(FEW, own=done % 20 == 19)
        alive = campaign.moment(run)
        workers = run.workers()
        if alive and (workers or victim == "the runner"):
            row.faults += 1
            for process in [*workers] if victim != "the runner" else []:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if victim != "a worker":
                os.kill(run.pid, signal.SIGKILL)
            if victim == "a worker" or campaign.rng.random() < 0.5:  # else the next run meets the orphan
                psutil.wait_procs(workers, 30)
            code = campaign.end(row, run)
            if victim == "a worker" and code == 1 and "SIGKILL" not in run.text:
                row.problems.append(("not said in a line", run.text))
            campaign.out(f"kill {done + 1} of {victim}: {len(before)} complete before")
        else:
            run.wait()
        before = campaign.complete(row, before)
        if len(before) == len(campaign.cells_of(FEW)):
            campaign.finish(row, FEW)
            before = []
            campaign.clear()
    campaign.finish(row, FEW)
    campaign.clear()


def disk_full(campaign: Campaign, trials: int) -> None:
    """A file system, or else a size of files, that has no room left at some point of a run."""
    campaign.results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(campaign.results)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    row = campaign.row("disk full (a tmpfs)" if mounted else "disk full (RLIMIT_FSIZE)")
    ballast, before = campaign.results / "ballast", list[Cell]()
    try:
        for _ in range(trials):
            room, begin = int(2 ** campaign.rng.uniform(6, 17)), lambda: None
            if mounted:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
                os.truncate(ballast, max(0, ballast.stat().st_size - room))
            else:
                begin = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # noqa: B023, E731
            campaign.end(row, campaign.start(GOOD, begin=begin))
            row.faults += 1
            ballast.unlink(missing_ok=True)
            before = campaign.complete(row, before)
            campaign.out(f"disk full with room for {room} bytes: {len(before)} complete")
            if len(before) == len(campaign.reference):
                shutil.rmtree(campaign.results / "faults")
                before = []
        campaign.finish(row)
    finally:
        if mounted:
            subprocess.run(["umount", str(campaign.results)], check=True)
    campaign.clear()


def read_only(campaign: Campaign, trials: int) -> None:
    """Folders that nobody may write to, from a moment on; root, who may always, gives that up."""
    row, before = campaign.row("folder becomes read-only"), list[Cell]()
    for _ in range(trials):
        campaign.results.mkdir(exist_ok=True)
        run = campaign.start(GOOD, begin=drop_capabilities)
        campaign.moment(run)
        set_modes(campaign.results, 0o555)
        row.faults += 1
        campaign.end(row, run)
        set_modes(campaign.results, 0o755)
        before = campaign.complete(row, before)
        campaign.out(f"read-only: {len(before)} complete")
    campaign.finish(row)
    campaign.clear()


def drop_capabilities() -> None:
    """Be root without his rights, by capset(2): what a file's mode says holds."""
    if os.geteuid() == 0:
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
            raise OSError(ctypes.get_errno(), "capset")


def set_modes(results: Path, mode: int) -> None:
    for folder, _, _ in os.walk(results):
        Path(folder).chmod(mode)


def clock(campaign: Campaign, trials: int) -> None:
    """Every file is ten years older or younger all of a sudden, records, jobs and locks, in a run and between runs."""
    row, before = campaign.row("clock moved, back or on"), list[Cell]()
    for _ in range(trials):
        run = campaign.start(GOOD)
        while campaign.moment(run):
            row.faults += 1
            moved = time.time() + campaign.rng.choice((-YEARS, YEARS))
            for path in [*campaign.results.rglob("*")]:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path, (moved, moved))
            if campaign.rng.random() < 0.3:
                os.kill(run.pid, signal.SIGKILL)
        campaign.end(row, run)
        before = campaign.complete(row, before)
        campaign.out(f"clock: {len(before)} complete")
    campaign.finish(row)
    campaign.clear()


def truncate(campaign: Campaign, path: Path, others: Sequence[Path]) -> None:
    os.truncate(path, campaign.rng.randrange(max(1, path.stat().st_size)))


def overwrite(campaign: Campaign, path: Path, others: Sequence[Path]) -> None:
    content = bytearray(path.read_bytes() or b"x")
    content[campaign.rng.randrange(len(content))] ^= 1 << campaign.rng.randrange(8)
    path.write_bytes(content)


def swap(campaign: Campaign, path: Path, others: Sequence[Path]) -> None:
    others = [other for other in others if other != path]
    if others:
        other, content = campaign.rng.choice(others), path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


DAMAGES = (truncate, overwrite, swap)


def records_damaged(campaign: Campaign, trials: int) -> None:
    """Records and cubes of a finished run; the next run makes them again, from the weights that are kept."""
    row = campaign.row("records and cubes truncated, overwritten, swapped")
    campaign.finish(row)
    for _ in range(trials):
        for pattern in ("seed-?.json", "seed-?.npz"):
            files = sorted(path for path in campaign.results.rglob(pattern) if ".jobs" not in path.parts)
            campaign.rng.choice(DAMAGES)(campaign, campaign.rng.choice(files), files)
            row.faults += 1
        campaign.finish(row)
        campaign.out("records damaged")


def weights_damaged(campaign: Campaign, trials: int) -> None:
    """Weights that are kept, of records that are gone."""
    row = campaign.row("kept weights truncated, overwritten, swapped")
    campaign.finish(row)
    for _ in range(trials):
        damage = campaign.rng.choice(DAMAGES)
        pattern = campaign.rng.choice(("weights.*", "training.json"))
        files = sorted((campaign.results / ".trained").rglob(pattern))
        for path in campaign.rng.sample(files, min(2, len(files))):
            alike = [other for other in files if other.name == path.name]
            damage(campaign, path, alike)
            row.faults += 1
        for name in ("Clone", "Other", "focal"):
            shutil.rmtree(campaign.results / "faults" / "quick" / "point-goal" / "mixed" / name, ignore_errors=True)
        campaign.finish(row)
        campaign.out(f"weights: {damage.__name__} {pattern}")
    campaign.clear()


def jobs_damaged(campaign: Campaign, trials: int) -> None:
    """Job files, claims, locks and reports, while a run goes on and after it was killed."""
    row, before = campaign.row("files of a run truncated, overwritten, swapped"), list[Cell]()
    for _ in range(trials):
        run = campaign.start(GOOD)
        for _ in range(campaign.rng.randint(1, 4)):
            campaign.moment(run)
            files = sorted(path for path in (campaign.results / ".jobs").rglob("seed*") if path.is_file())
            for path in campaign.rng.sample(files, min(2, len(files))):
                with contextlib.suppress(FileNotFoundError):
                    campaign.rng.choice(DAMAGES)(campaign, path, files)
                    row.faults += 1
        if campaign.rng.random() < 0.5 and run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
        campaign.end(row, run)
        before = campaign.complete(row, before)
        campaign.out(f"files of a run: {len(before)} complete")
    time.sleep(1)  # orphans end by themselves
    campaign.finish(row)
    campaign.clear()


def data_damaged(campaign: Campaign, trials: int) -> None:
    """The data set's files: a run says so, or does not read what is damaged."""
    row = campaign.row("data sets truncated, overwritten, swapped")
    kept = campaign.folder / "kept"
    shutil.copytree(campaign.data, kept)
    for _ in range(trials):
        files = sorted(path for path in campaign.data.rglob("*") if path.is_file())
        damage, path = campaign.rng.choice(DAMAGES), campaign.rng.choice(files)
        damage(campaign, path, files)
        row.faults += 1
        code = campaign.end(row, campaign.start(GOOD))
        campaign.out(f"data: {damage.__name__} {path.name}: exit code {code}")
        campaign.complete(row)
        shutil.rmtree(campaign.data)
        shutil.copytree(kept, campaign.data)
        campaign.finish(row)
        campaign.clear()


def bad_methods(campaign: Campaign, trials: int) -> None:
    """Methods that hang, crash, raise or act in NaN, among good ones."""
    row = campaign.row("methods that hang, crash, raise, act in NaN")
    for _ in range(trials):
        mixed = campaign.rng.sample((*GOOD, *BAD), len(GOOD) + len(BAD))
        run = campaign.start(mixed, preset="hung")
        row.faults += len(BAD)
        if campaign.end(row, run) != 1 or f"\n{len(BAD)} failed; " not in run.text:
            row.problems.append(("not said in a line", run.text))
        found = Counter((record.status, record.cell.method) for record in campaign._records(row.problems))
        expected = {("complete", name): 2 for name in GOOD} | {("failed", name): 2 for name in BAD}
        row.problems += [("lost", f"{key}: {found[key]}") for key in expected if found[key] != 2]
        campaign.clear()


def two_runs(campaign: Campaign, trials: int) -> None:
    """Two runs on one folder, one of which may be killed: every job is done by one of them."""
    row = campaign.row("two runs at once, one of them killed at times")
    for number in range(trials):
        first = campaign.start(GOOD)
        time.sleep(campaign.rng.uniform(0, campaign.seconds / 2))
        second = campaign.start(GOOD)
        row.faults += 1
        if number % 2:
            campaign.moment(first)
            with contextlib.suppress(ProcessLookupError):
                os.kill(first.pid, signal.SIGKILL)
        codes = campaign.end(row, first), campaign.end(row, second)
        lines = Counter(line for run in (first, second) for line in run.text.splitlines() if line.startswith("start "))
        twice = [line for line, count in lines.items() if count > 1 and codes[0] == 0]
        row.problems += [("done twice", line) for line in twice]
        if codes[1]:
            row.problems.append(("lost", second.text[-2000:]))
        campaign.complete(row, list(campaign.reference))
        campaign.finish(row)
        campaign.clear()
        campaign.out(f"two runs: exit codes {codes}")


ROWS: dict[str, Callable[[Campaign, int], None]] = {
    "full": disk_full, "readonly": read_only, "clock": clock, "records": records_damaged, "weights": weights_damaged,
    "jobs": jobs_damaged, "data": data_damaged, "methods": bad_methods, "two": two_runs,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill in the first rows")
    parser.add_argument("--trials", type=int, default=6, help="of each other row")
    parser.add_argument("--rows", default="", help=f"only some of: kill, {', '.join(ROWS)}; separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="draws moments and victims")
    parser.add_argument(
        "--data", type=Path, help="Minari's root folder with the data of point-goal (else they are built)"
    )
    parser.add_argument("--forks", action="store_true", help="let no command be a process of its own")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in IMPORTED:
        import_module(f"omrl_bench.{name}")
    wanted = options.rows.split(",") if options.rows else ["kill", *ROWS]
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        Path(name).chmod(0o755)
        started = time.monotonic()

        def say(text: str) -> None:
            print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

        campaign = Campaign(Path(name), options.data, random.Random(options.seed), options.forks, say)
        for kind in wanted:
            if kind == "kill":
                kills(campaign, options.kills)
            else:
                ROWS[kind](campaign, options.trials)
    print(f"| fault | injected | exit codes | {' | '.join(KINDS)} |")
    print(f"|{'---|' * (3 + len(KINDS))}")
    for row in campaign.rows:
        print(row.line())
    problems = [f"{row.name}: {kind}: {what}" for row in campaign.rows for kind, what in row.problems]
    print("", *problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
