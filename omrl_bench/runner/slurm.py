"""Slurm's commands: ``sbatch``, ``squeue`` and ``scancel``, each with a time limit, and what Slurm says in words.

The accounting (``sacct``) is not asked: many clusters have none, and where it is busy it hangs.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.runner.submissions import Submission

COMMANDS = ("sbatch", "squeue", "scancel")
PATIENCE = 120.0  # seconds; a controller that is restarted takes a while
_OVER = {"COMPLETED", "FAILED", "REVOKED"}  # states of tasks that have ended, beside those of _ENDINGS
_FORMAT = "%j|%F_%K|%K|%T|%N|%r"  # name, id, number in the array, state, node, reason


@dataclass(frozen=True)
class Task:
    """What Slurm says of one job of an array.

    Attributes:
        id: As ``scancel`` takes it.
        state: In capital letters, such as PENDING.
        node: Where it runs, or ran.
        reason: Why it waits.
    """

    id: str
    state: str
    node: str
    reason: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended and will not be started again."""
        return self.state in _OVER or any(self.state == ending.state for ending in _ENDINGS)

    @property
    def words(self) -> str:
        """What it does, for people."""
        where = f" on {self.node}" if self.node else f": {self.reason}" if self.reason not in ("", "None") else ""
        return f"Slurm job {self.id}, {self.state.lower()}{where}"


@dataclass(frozen=True)
class Ending:
    """How a worker came to its end.

    Attributes:
        state: Slurm's word for it.
        printed: What Slurm writes into the worker's output.
        words: For people.
        again: Whether another try may go better.
    """

    state: str
    printed: str
    words: str
    again: bool = False


LOST = Ending("", "", "Slurm lost it: it is not in the queue and left no record", again=True)
_ENDINGS = (  # what is printed for the last is a part of what is printed for others
    Ending("TIMEOUT", "DUE TO TIME LIMIT", "Slurm ended it at its time limit; --slurm-option time=... sets another"),
    Ending("DEADLINE", "DUE TO DEADLINE", "Slurm ended it at its deadline"),
    Ending("OUT_OF_MEMORY", "oom_kill", "it needed more memory than it had; --slurm-option mem=... asks for more"),
    Ending("NODE_FAIL", "DUE TO NODE FAILURE", "its node failed", again=True),
    Ending("BOOT_FAIL", "DUE TO BOOT FAILURE", "its node did not start", again=True),
    Ending("PREEMPTED", "DUE TO PREEMPTION", "Slurm gave its place to another job", again=True),
    Ending("CANCELLED", "CANCELLED AT", "it was cancelled in Slurm"),
)


class Queue:
    """What Slurm says of submissions, asked now and then."""

    EVERY = 15.0  # seconds; asking a controller for thousands of jobs costs it time

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._asked = 0.0
        self._tasks: dict[tuple[str, int], Task] | None = {}

    def look(self, names: Iterable[str], at_once: bool = False) -> dict[tuple[str, int], Task] | None:
        """Return tasks by submission and number, those that ended in the last minutes too; None if Slurm is silent.

        Args:
            names: Of the submissions.
            at_once: Ask now, even if the last answer is young.
        """
        wanted = set(names)
        young = wanted <= self._names and time.monotonic() - self._asked < self.EVERY
        if wanted and (at_once or not young):
            self._names |= wanted
            self._tasks = _squeue(self._names)
            self._asked = time.monotonic()
        return self._tasks

    def may_have(self, submission: Submission) -> bool:
        """Whether a job is waiting or running; yes if Slurm does not say."""
        tasks = self.look([submission.name])
        if tasks is None:
            return True
        task = tasks.get(submission.key)
        return task is not None and not task.is_over


def check_commands() -> None:
    """Raise InputError if this machine has no Slurm."""
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise InputError(f"executor 'slurm': there is no {command} here; run it where Slurm's commands are")


def sbatch(arguments: Sequence[str]) -> str:
    """Submit, and return the job's id.

    Raises:
        InputError: with sbatch's own message, if it refuses.
    """
    done = _call(["sbatch", "--parsable", *arguments])
    if done is None:
        raise InputError(f"sbatch did not answer within {PATIENCE:.0f} s; the same command tries again")
    if done.returncode:
        lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        raise InputError(f"sbatch refused the jobs: {'; '.join(line for line in lines if line)}")
    return done.stdout.strip().partition(";")[0]  # the name of a cluster may follow


def scancel(ids: Sequence[str]) -> None:
    """Cancel; who wants to know looks whether they are gone."""
    for first in range(0, len(ids), 500):
        _call(["scancel", *ids[first : first + 500]])


def ending_of(task: Task | None, log: Path) -> Ending:
    """How a worker came to its end, from what Slurm says of it; if it has forgotten, from the worker's output."""
    exit_words = ""
    for line in reversed(last_lines(log, 20)):
        code = re.fullmatch(r"the worker ended with exit code (\d+)", line)
        if code:
            exit_words = _exit_words(int(code[1]))
        elif task is None:
            for ending in _ENDINGS:
                if ending.printed in line:
                    return ending
    if task is not None:
        for ending in _ENDINGS:
            if ending.state == task.state:
                return ending
    if exit_words:
        return Ending("FAILED", "", exit_words)
    return LOST if task is None else Ending(task.state, "", f"it ended in Slurm: {task.state.lower()}, {task.reason}")


def last_lines(log: Path, number: int) -> list[str]:
    """The end of what a worker has printed; nothing if there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 200 * number))
            return file.read().decode(errors="replace").splitlines()[-number:]
    except OSError:
        return []


def _exit_words(code: int) -> str:
    if code > 128:  # as the shell says it
        try:
            return f"the worker was ended by signal {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"the worker ended with exit code {code}"


def _squeue(names: Iterable[str]) -> dict[tuple[str, int], Task] | None:
    options = ["--noheader", "--array", "--states=all", f"--name={','.join(sorted(names))}", f"--format={_FORMAT}"]
    done = _call(["squeue", *options])
    if done is None or done.returncode:
        return None
    found = {}
    for line in done.stdout.splitlines():
        name, identity, index, state, node, reason = line.split("|", 5)
        if index.isdecimal():
            found[name, int(index)] = Task(identity, state, node, reason)
    return found


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm; None if it is not here, or says nothing for too long."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            start_new_session=True,  # Ctrl-C is not for it
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
