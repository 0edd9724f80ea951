"""Locks between processes, of one machine or of several that share a folder.

A lock is a file that says who holds it, and that its holder touches every few seconds. Nothing but the exclusive
creation of a file is asked of the file system. The lock of a process that is gone is taken over: at once if it was one
of this machine, else after :data:`LEASE` seconds without a touch, by the clock of the one who waits.

A lock keeps work from being done twice. Nothing may break if it is done twice nevertheless, because a suspended machine
can lose its lock: whatever is written under one is put in place in one step.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from omrl_bench.errors import InputError

LEASE = 60.0  # seconds; every version of the package must have the same
POLL = 0.5  # seconds


class Lock:
    """A lock, not held at first.

    Args:
        path: Its file; the folder is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lease = SoftFileLease(path, lease_duration=LEASE)

    def take(self) -> bool:
        """Take the lock if it is free, and say whether; to wait, call it again and again.

        Raises:
            InputError: if the file cannot be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lease.acquire(blocking=False)
        except (Timeout, LeaseSettingsMismatch):
            return False
        except OSError as error:
            raise InputError(f"cannot make the lock file {self.path}: {error.strerror}") from error
        return True

    def release(self) -> None:
        """Let others have it."""
        self._lease.release()

    @property
    def holder(self) -> str:
        """Who holds it, and which file to delete if that is wrong."""
        return f"{self.owner or 'another process'} (if it is gone, delete {self.path})"

    @property
    def owner(self) -> str:
        """The process that holds it, and its machine; "" if the file does not say."""
        owner = self._lease.owner
        return f"process {owner.pid} on {owner.hostname.partition('?')[0]}" if owner else ""

    @property
    def is_held(self) -> bool:
        """Whether somebody seems to hold it; unlike :meth:`take` this changes nothing.

        The lock of a process of another machine that is gone seems to be held for :data:`LEASE` seconds.
        """
        try:
            untouched = time.time() - self.path.stat().st_mtime
        except OSError:
            return False
        owner = self._lease.owner
        if owner and owner.hostname.partition("?")[0] == socket.gethostname() and not psutil.pid_exists(owner.pid):
            return False
        return untouched < LEASE


@contextmanager
def waited_for(lock: Lock, say: Callable[[str], object]) -> Iterator[None]:
    """Hold a lock; while another holds it, wait, and say once whom for.

    Raises:
        InputError: as :meth:`Lock.take`.
    """
    said = False
    while not lock.take():
        if not said:
            say(lock.holder)
            said = True
        time.sleep(POLL)
    try:
        yield
    finally:
        lock.release()


class Claims:
    """What one run has claimed, of things that others may claim too: one lock for any number of them.

    A claim is a file with the name of the run, and holds as long as the run's lock does. A context manager: what is
    claimed when it ends is free again.

    Args:
        folder: Where the locks of the runs are.

    Raises:
        InputError: if nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, secrets.token_hex(8)
        self._lock = self._lock_of(self._name)
        self._others: dict[str, Lock] = {}
        self._claimed: set[Path] = set()
        self._nameless: set[Path] = set()
        self._lock.take()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have everything."""
        for path in list(self._claimed):
            self.release(path)
        self._lock.release()
        with suppress(InputError):
            for file in self._folder.glob("*.run"):  # of runs that were killed
                other = self._other(file.stem)
                if other.take():
                    other.release()

    def claim(self, path: Path) -> bool:
        """Make a claim unless another run has made it, and say whether; to wait, call it again and again.

        Raises:
            InputError: if the file cannot be made.
        """
        if path in self._claimed:
            return True
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
                    file.write(self._name)
                    self._claimed.add(path)
                    return True
                if not self._is_abandoned(path):
                    break
        except OSError as error:
            raise InputError(f"cannot make the file {path}: {error.strerror}") from error
        return False

    def release(self, path: Path) -> None:
        """Let others have it; if its file cannot be removed, they have it when this run has ended."""
        self._claimed.discard(path)
        with suppress(OSError):
            if _name_in(path) == self._name:
                path.unlink(missing_ok=True)

    def holder(self, path: Path) -> str:
        """Who has a claim that another run has made, see :attr:`Lock.holder`."""
        name = _name_in(path)
        return self._other(name).holder if name else "another run"

    def _is_abandoned(self, path: Path) -> bool:
        """Remove a claim if its run is gone, and say whether."""
        name = _name_in(path)
        if name == "":  # it is just being made, or its run was killed in that moment
            known = path in self._nameless
            self._nameless.add(path)
            if known:
                path.unlink(missing_ok=True)
            return known
        if name is None:  # it is free now
            return True
        lock = self._other(name)
        if not lock.take():
            return False
        if _name_in(path) == name:  # nobody else removes a claim of this run now
            path.unlink(missing_ok=True)
        lock.release()
        return True

    def _other(self, name: str) -> Lock:
        return self._others.setdefault(name, self._lock_of(name))

    def _lock_of(self, name: str) -> Lock:
        return Lock(self._folder / f"{name}.run")


def claimed_by(folder: Path, claim: Path) -> str:
    """Who has made a claim, "" if nobody has whose run is alive; nothing is changed.

    Args:
        folder: Where the locks of the runs are.
        claim: Its file.
    """
    name = _name_in(claim)
    lock = Lock(folder / f"{name}.run")
    return (lock.owner or "another run") if name and lock.is_held else ""


def _name_in(claim: Path) -> str | None:
    """The run that a claim is of; "" if it does not say, or is damaged; None if there is no such claim."""
    try:
        name = claim.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    return name if name.isalnum() and name.isascii() else ""
