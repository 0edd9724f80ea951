"""A worker's process, watched from beside it.

Nothing but the standard library is imported here: Ray sends this module to its nodes by value, because an import there
would also look into the folder that the driver was started in.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

GRACE = 5.0  # seconds between asking a worker to end and killing it
POLL = 0.2  # seconds between looks at a worker on a node
TAIL = 64 * 1024  # bytes of a log that come back from a node
REFUSED = 78  # exit code of a worker that must not run there, EX_CONFIG of sysexits.h
_INSTALLED = f"""
import sys
try:
    from omrl_bench.cli.main import main
except ImportError as error:
    print("omrl-bench cannot be imported there:", error)
    sys.exit({REFUSED})
main()
"""

Files = dict[str, bytes]  # content by path below a folder


def end(process: subprocess.Popen[bytes]) -> None:
    """End a worker and all that it started: ask, then kill."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def how(code: int, over_its_time: bool, limit: float) -> str:
    """How a worker ended, in words."""
    if over_its_time:
        return f"exceeded the time limit of {limit} s"
    if code < 0:
        return f"the worker was ended by signal {signal.Signals(-code).name}"
    return f"the worker ended with exit code {code}"


class Mailbox:
    """What nodes have said since the driver last asked, by the token of the job.

    ``node`` is the name of the node that has it, ``progress`` the worker's last report, and all else files.
    """

    def __init__(self) -> None:
        self._news: dict[str, Files] = {}

    def post(self, token: str, files: Files) -> None:
        """Say something."""
        self._news.setdefault(token, {}).update(files)

    def take(self) -> dict[str, Files]:
        """Ask."""
        news, self._news = self._news, {}
        return news


def run_there(
    mailbox: Any, token: str, files: Files, job: str, package: str, limit: float, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run a job in a folder of its own on this machine, and leave nothing behind.

    Args:
        mailbox: Ray's handle of a :class:`Mailbox`, for what is new: the worker's reports, files of finished seeds.
        token: The job's.
        files: What the job needs, see :mod:`omrl_bench.runner.parcel`.
        job: Path of its file among them.
        package: Hash of the driver's package.
        limit: Seconds that it may take, the building of data that are missing here aside.
        environment: Of its process, beside what is there.

    Returns:
        ``node``: name of this machine; ``code``: the worker's exit code; ``over``: whether it took too long;
        ``files``: what it left that was not there before; ``log``: the end of its log.
    """

    def post(news: Files) -> None:
        mailbox.post.remote(token, news)

    node = socket.gethostname()
    post({"node": node.encode()})
    with _folder_with(files) as folder:
        file = folder / job
        with file.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _INSTALLED, "worker", str(file), "--package", package],
                stdin=subprocess.PIPE,  # never written to: it closes when this process ends, however it ends
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        try:  # a cancelled task gets a KeyboardInterrupt, but not inside of Popen.wait
            over = _watch(process, file, folder / "results", limit, post)
        finally:
            end(process)
        return {
            "node": node,
            "code": process.returncode,
            "over": over,
            "files": _new(folder / "results", files),
            "log": file.with_suffix(".log").read_bytes()[-TAIL:],
        }


def _watch(
    process: subprocess.Popen[bytes], file: Path, results: Path, limit: float, post: Callable[[Files], object]
) -> bool:
    """Tell what a worker says until it has ended; end it if it takes too long, and return whether it did."""
    started, said, seen = time.monotonic(), b"", dict[Path, int]()
    while process.poll() is None:
        with suppress(FileNotFoundError):  # replaced just now
            says = file.with_suffix(".progress").read_bytes()
            if says != said:
                said = says
                post({"progress": says})
            if b'"stage":"data"' in says:
                started = time.monotonic()
        with suppress(FileNotFoundError):
            for record in results.glob("[!.]*/**/seed-*.json"):
                written = record.stat().st_mtime_ns
                if seen.get(record) != written:
                    post({path.relative_to(results).as_posix(): path.read_bytes() for path in _of_seed(record)})
                    seen[record] = written
        if time.monotonic() - started > limit:
            return True
        time.sleep(POLL)
    return False


def _of_seed(record: Path) -> Iterator[Path]:
    """A record and what lies beside it of its seed: cube and traces."""
    return record.parent.glob(f"{record.stem}.*")


@contextmanager
def _folder_with(files: Files) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="omrl-bench-"))
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new(results: Path, known: Files) -> Files:
    """All finished files of a results folder that were not there before."""
    names = (path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file())
    new = (name for name in names if not name.endswith(".tmp") and f"{results.name}/{name}" not in known)
    return {name: (results / name).read_bytes() for name in new}
