"""The method's processes as the referee sees them: starting them, their output, their processor time, their end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from omrl_bench.errors import InputError
from omrl_bench.processes import ONE_THREAD, command
from omrl_bench.referee.frames import Channel, ClosedError, FrameError
from omrl_bench.referee.warden import FOLDER

MOST_OUTPUT = 1_000_000  # bytes of what a method prints that are kept
MOST_RETURNED = 1 << 27  # bytes of arrays in one answer
LASTS = 5.0  # seconds that a process has to end by itself once its socket is closed
_HIDDEN = ("MINARI_DATASETS_PATH",)  # a method is given its data


class MethodError(Exception):
    """The method raised something, or its process ended; the text says what and where."""


class MethodEndedError(MethodError):
    """The method's process ended."""


class MethodProcess:
    """One process of a method.

    Args:
        channel: To it.
        pid: Its id; None for one that was forked off another of the method's.
        started: Whose it is.
        method: Its name, for errors.
    """

    def __init__(self, channel: Channel, pid: int | None, started: Warden, method: str) -> None:
        self.channel, self.pid, self._warden, self._method = channel, pid, started, method

    def tell(self, call: str, arrays: dict[str, np.ndarray] | None = None, **fields: Any) -> None:
        """Ask for something that is not answered.

        Raises:
            MethodError: if the process has ended, or said before what went wrong.
        """
        try:
            self.channel.send({"call": call, **fields}, arrays)
        except ClosedError:
            self.hear(call)  # an error that it left
            raise self._death(call) from None

    def ask(
        self, call: str, arrays: dict[str, np.ndarray] | None = None, timeout: float | None = None, **fields: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Ask for something and wait for the answer.

        Raises:
            MethodError: if there is an error instead.
            InputError: if that is one of what the user wrote.
        """
        self.tell(call, arrays, **fields)
        message, found = self.hear(call, timeout)
        if message.get("call") != "ok":
            raise MethodError(f"{self._method}: {call} was answered with something else")
        return message, found

    def hear(self, what: str, timeout: float | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Wait for the next message; see :meth:`ask`."""
        try:
            message, arrays = self.channel.receive(timeout)
        except ClosedError:
            raise self._death(what) from None
        except FrameError as error:
            raise MethodError(f"{self._method}: {what} answered with {error}") from None
        except TimeoutError:
            raise MethodError(f"{self._method}: not done with {what} after {timeout:.0f} s") from None
        if message.get("call") == "error":
            raise _error(message)
        return message, arrays

    def fork(self, longest: int = MOST_RETURNED) -> MethodProcess | None:
        """A process that begins where this one is; None if it cannot be forked."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.channel.send({"call": "fork"})
            socket.send_fds(self.channel.connection, [b"f"], [theirs.fileno()])
            message, _ = self.hear("fork")
        if not message.get("forked"):
            ours.close()
            return None
        return MethodProcess(Channel(ours, longest), None, self._warden, self._method)

    def processor_seconds(self) -> float:
        """Processor time that this process has used."""
        assert self.pid is not None
        with contextlib.suppress(OSError):
            return time.clock_gettime((~self.pid << 3) | 2)  # Linux: the clock of a process
        import psutil

        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def peak_memory_mib(self) -> float:
        """The most memory that this process has had."""
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) / 1024, 1)
        import psutil

        return round(psutil.Process(self.pid).memory_info().rss / 2**20, 1)

    def close(self) -> None:
        """End it, and what it has left behind."""
        self.channel.close()
        self._warden.leave(self.pid)

    def _death(self, what: str) -> MethodEndedError:
        self.channel.close()
        code = self._warden.end(self.pid, LASTS)
        if code is not None and code < 0:
            how = f"was ended by signal {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}" if code is not None else "ended"
        return MethodEndedError(f"the method's process {how}, in {what}")


class Warden:
    """What the method's processes are forked from, see :mod:`omrl_bench.referee.warden`.

    Args:
        method: Name of the method, for errors.
        imports: A module that it imports, so that each process need not; nothing of somebody else's. Empty for none.
        output: Where to write what the method prints, at most :data:`MOST_OUTPUT` bytes; None for nowhere.

    Attributes:
        folder: A private folder, the working folder of the method's processes; it is removed in the end.
    """

    def __init__(self, method: str, imports: str, output: Callable[[bytes], object] | None) -> None:
        self._method, self._closed = method, False
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER))
        ours, theirs = socket.socketpair()
        arguments = (str(theirs.fileno()), imports)
        hidden = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
        with theirs:
            self._process = subprocess.Popen(
                command(*arguments, module="omrl_bench.referee.warden"),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=hidden | ONE_THREAD | {"PYTHONUNBUFFERED": "1"},
                cwd=self.folder,
                start_new_session=True,
            )
        self._channel, self._asked = Channel(ours, 0), False
        self._left: list[int | None] = []  # processes to end
        assert self._process.stdout is not None
        self._pump = threading.Thread(target=_pump, args=(self._process.stdout, output), daemon=True)
        self._pump.start()

    def start(self, longest: int = MOST_RETURNED) -> MethodProcess:
        """Start a process in which nothing of the method has run."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                message = self._ask({"call": "fork"}, theirs)
            except (ClosedError, OSError) as error:
                raise MethodError("the process that the method's processes are forked from has ended") from error
        return MethodProcess(Channel(ours, longest), message["pid"], self, self._method)

    def end(self, pid: int | None, patience: float) -> int | None:
        """End a process, and all that any has left behind; say its exit code if it ended by itself."""
        with contextlib.suppress(ClosedError, OSError):
            code: int | None = self._ask({"call": "end", "pid": pid or 0, "patience": patience})["code"]
            return code
        return None

    def leave(self, pid: int | None) -> None:
        """End a process; a collection of garbage may call this at any time, even while something else is asked."""
        self._left.append(pid)
        while self._left and not self._asked and not self._closed:
            self.end(self._left.pop(), 0.0)

    def _ask(self, message: dict[str, Any], passed: socket.socket | None = None) -> dict[str, Any]:
        self._asked = True
        try:
            self._channel.send(message)
            if passed:
                socket.send_fds(self._channel.connection, [b"f"], [passed.fileno()])
            return self._channel.receive()[0]
        finally:
            self._asked = False

    def close(self) -> None:
        """End all of them."""
        if self._closed:
            return
        self._closed = True
        self._channel.close()  # it kills its own group then
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * LASTS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # if it was killed itself, others are left
        self._process.wait()
        self._pump.join(LASTS)
        shutil.rmtree(self.folder, ignore_errors=True)


def to_stdout(content: bytes) -> None:
    """Write what a method prints to where this process prints."""
    sys.stdout.write(content.decode(errors="replace"))
    sys.stdout.flush()


def _pump(source: IO[bytes], write: Callable[[bytes], object] | None) -> None:
    """Read all that is printed; write the first of it."""
    left = MOST_OUTPUT
    with source:
        while content := os.read(source.fileno(), 1 << 16):
            if write is None or left < 0:
                continue
            write(content[:left])
            left -= len(content)
            if left < 0:
                write(f"\n[the method printed more than {MOST_OUTPUT} bytes: the rest is left out]\n".encode())


def _error(message: dict[str, Any]) -> Exception:
    """The exception for an error that the method's process reports."""
    kind, text, where = (str(message.get(name, ""))[:2000] for name in ("kind", "text", "where"))
    if message.get("input"):
        return InputError(text)
    return MethodError((f"{kind}: " if kind else "") + text + (f" ({where})" if where else ""))
