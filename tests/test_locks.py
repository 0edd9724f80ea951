"""Locks: for one at a time, free when their holder is gone, and of one who is alive for as long as it takes."""

import os
import subprocess
import sys
import time

import pytest

from omrl_bench import locks
from omrl_bench.errors import InputError
from omrl_bench.locks import Claims, Lock, waited_for

#: Takes a lock, says so, and keeps it until it is killed; as on a host of another name if one is given.
HOLDER = """
import socket, sys, time
from pathlib import Path

if sys.argv[2]:
    socket.gethostname = lambda: sys.argv[2]
from omrl_bench import locks

locks.LEASE = 2.0
if sys.argv[3] == "lock":
    held = locks.Lock(Path(sys.argv[1]))
    assert held.take()
else:
    held = locks.Claims(Path(sys.argv[1]).parent / "runs")
    assert held.claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(90)
"""


@pytest.fixture
def hold(monkeypatch):
    """Let another process take a lock or make a claim: hold(path, host, what) -> the process."""
    monkeypatch.setattr(locks, "LEASE", 2.0)
    started = []

    def start(path, host="", what="lock"):
        command = [sys.executable, "-c", HOLDER, str(path), host, what]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def kill(process):
    process.kill()
    process.wait()


def taken_after(lock, seconds):
    """Seconds until a lock can be taken; None if that is too long."""
    started = time.monotonic()
    while not lock.take():
        if time.monotonic() - started > seconds:
            return None
        time.sleep(0.05)
    return time.monotonic() - started


def test_a_lock_is_for_one(tmp_path):
    first, second = Lock(tmp_path / "new" / "lock"), Lock(tmp_path / "new" / "lock")
    assert first.take() and not second.take()
    assert f"process {os.getpid()} on " in second.holder and f"delete {tmp_path / 'new' / 'lock'}" in second.holder
    first.release()
    assert second.take() and not first.take()
    second.release()
    assert list((tmp_path / "new").iterdir()) == []


def test_the_lock_of_a_killed_process_of_this_machine_is_free_at_once(tmp_path, hold):
    process, lock = hold(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert not lock.take() and f"process {process.pid} on " in lock.holder
    kill(process)
    assert lock.take()


def test_a_process_of_another_host_is_judged_by_its_touches_not_by_its_number(tmp_path, hold):
    """There is no such process here: it may be alive nevertheless."""
    process, lock = hold(tmp_path / "lock", "elsewhere"), Lock(tmp_path / "lock")
    assert "on elsewhere" in lock.holder
    assert taken_after(lock, 2.5 * locks.LEASE) is None
    kill(process)
    waited = taken_after(lock, 60)
    assert waited is not None and waited > 0.3 * locks.LEASE


def test_who_waits_says_once_whom_for(tmp_path, hold, monkeypatch):
    monkeypatch.setattr(locks, "POLL", 0.01)
    process, said = hold(tmp_path / "lock"), []

    def say(holder):
        said.append(holder)
        kill(process)

    with waited_for(Lock(tmp_path / "lock"), say):
        assert not Lock(tmp_path / "lock").take()
    assert len(said) == 1 and f"process {process.pid} on " in said[0]
    assert Lock(tmp_path / "lock").take()


def test_where_no_lock_can_be_made_that_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot make the lock file .*lock: (File exists|Not a directory)"):
        Lock(tmp_path / "file" / "lock").take()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot make the lock file .*folder: Is a directory"):
        Lock(tmp_path / "folder").take()


def test_a_claim_is_for_one(tmp_path):
    with Claims(tmp_path / "runs") as first, Claims(tmp_path / "runs") as second:
        assert first.claim(tmp_path / "a" / "x") and first.claim(tmp_path / "y") and second.claim(tmp_path / "z")
        assert not second.claim(tmp_path / "a" / "x") and not first.claim(tmp_path / "z")
        assert f"process {os.getpid()} on " in second.holder(tmp_path / "y")
        first.release(tmp_path / "y")
        assert second.claim(tmp_path / "y")
        second.release(tmp_path / "a" / "x")  # not its own
        assert not second.claim(tmp_path / "a" / "x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_claims_of_a_killed_run_are_free(tmp_path, hold):
    process = hold(tmp_path / "x", what="claim")
    with Claims(tmp_path / "runs") as claims:
        assert not claims.claim(tmp_path / "x") and f"process {process.pid} on " in claims.holder(tmp_path / "x")
        kill(process)
        assert claims.claim(tmp_path / "x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_that_was_killed_before_it_could_write_its_name_is_gone(tmp_path):
    (tmp_path / "x").touch()
    with Claims(tmp_path / "runs") as claims:
        assert not claims.claim(tmp_path / "x")  # it may be just writing
        assert claims.claim(tmp_path / "x")
