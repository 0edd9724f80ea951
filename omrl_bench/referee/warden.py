"""The process that the method's processes are forked from: nothing of the method runs in it.

So each of them starts in a moment, knows nothing of the others, and ends with all that it started: what a method leaves
behind becomes a child of this process (Linux), and is killed. When the referee is gone, so is all of this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
from importlib import import_module
from pathlib import Path

from omrl_bench.referee.frames import Channel, ClosedError
from omrl_bench.referee.host import FROM_REFEREE, Host, received_socket
from omrl_bench.registry import backbones

LONGEST_FILE = 2 << 30  # bytes
FOLDER = "omrl-method-"  # how the private folder's name begins, where this process is started
_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve the referee on the socket that the first argument is; import the module first that the second names."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.argv[2]:
        import_module(sys.argv[2])
        backbones()  # is remembered
    try:
        Warden(Channel(connection, 0)).serve()
    except ClosedError:
        pass
    finally:
        end_everything(set())
        if Path.cwd().name.startswith(FOLDER):  # the referee may have been killed
            shutil.rmtree(Path.cwd(), ignore_errors=True)
        os.killpg(os.getpgrp(), signal.SIGKILL)


def become_subreaper() -> None:
    """Make this process the parent of what its descendants leave behind, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Warden:
    """Forks the method's processes and ends them.

    Args:
        channel: To the referee.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ended: dict[int, int] = {}  # exit codes, as subprocess has them
        self._running: set[int] = set()

    def serve(self) -> None:
        """Do what the referee asks."""
        while True:
            message, _ = self._channel.receive()
            if message["call"] == "fork":
                self._fork()
            elif message["call"] == "end":
                self._end(message["pid"], message["patience"])

    def _fork(self) -> None:
        connection = received_socket(self._channel.connection)
        pid = os.fork()
        if not pid:
            try:
                self._channel.close()
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                longest = LONGEST_FILE if hard == resource.RLIM_INFINITY else min(LONGEST_FILE, hard)
                resource.setrlimit(resource.RLIMIT_FSIZE, (longest, longest))
                Host(Channel(connection, FROM_REFEREE)).serve()
            finally:
                os._exit(1)
        connection.close()
        self._running.add(pid)
        self._channel.send({"call": "ok", "pid": pid})

    def _end(self, pid: int, patience: float) -> None:
        """Wait for a process, kill it and what is left of it, and say how it ended: None if it had to be killed."""
        code = None
        if pid in self._running:
            deadline = time.monotonic() + patience
            while (code := _exit_code(pid)) is None and time.monotonic() < deadline:
                select.select([], [], [], 0.01)
            self._running.discard(pid)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        end_everything(self._running)
        self._channel.send({"call": "ok", "code": code})


def end_everything(but: set[int]) -> None:
    """Kill all children but some, and theirs, as they become ours."""
    for _ in range(1000):
        left = [pid for pid in _children() if pid not in but]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    """Process ids of the children of this process, where the system says them."""
    try:
        return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()))
    except OSError:
        import psutil

        return [child.pid for child in psutil.Process().children()]


def _exit_code(pid: int) -> int | None:
    """The exit code of a child that has ended; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None
