"""What the fault campaign is made of: commands that can be killed, and a folder that is examined after every fault."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
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

ADAPTERS = Path(__file__).with_name("fault_adapters.py")
GOOD = ("random", "focal", "Clone", "Other")
FEW = ("Clone", "focal")  # seeds one after the other, and together
BAD = ("Raises", "Killed", "Exits", "NotANumber", "Hangs")
#: What a record says of when and where it was made.
CIRCUMSTANCES = {
    *("fit_seconds", "evaluate_seconds", "update_milliseconds", "peak_memory_mib", "created", "job", "content", "git"),
    "trained_together",  # of seeds that are trained one after the other, those that are left train alone
}
#: What a run imports on its way.
IMPORTED = (
    *("runner.run", "runner.worker", "runner.plan", "runner.references", "cli.display", "protocols.suite"),
    *("baselines.focal", "baselines.controls", "baselines.iql", "baselines.conditioned", "stats.disentanglement"),
)
YEARS = 10 * 365 * 24 * 3600.0
Numbers = tuple[dict[str, Any], str]


def prepare() -> None:
    """Import what forks need, in one thread."""
    torch.set_num_threads(1)
    for name in ("torch._dynamo", *(f"omrl_bench.{name}" for name in IMPORTED)):  # the first optimiser imports dynamo
        import_module(name)


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
        shutil.copy(ADAPTERS, folder / "adapters.py")
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

    def _files(self) -> set[Path]:
        """All files and folders, while others make and remove some."""
        return {Path(folder, name) for folder, inside, files in os.walk(self.results) for name in (*inside, *files)}

    def moment(self, run: Run) -> bool:
        """Wait until a random moment, or just after a random change of the folder; say whether the run goes on."""
        if self.rng.random() < 0.5:
            end = time.monotonic() + self.rng.uniform(0, 1.1 * self.seconds)
            while time.monotonic() < end and run.poll() is None:
                time.sleep(0.005)
        else:
            seen: set[Path] = self._files()
            left = self.rng.randint(1, self.files)
            while left > 0 and run.poll() is None:
                now = self._files()
                left -= len(now - seen)
                seen |= now
                time.sleep(0.01)
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
