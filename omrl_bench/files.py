"""Writing files and folders, beside others who do."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from omrl_bench.errors import InputError


def read_regular(path: Path, most: int) -> bytes:
    """Read a whole file, which must be a regular one of at most so many bytes.

    A folder of strangers may have a pipe or a device under any name: nothing of it is waited for, or read without end.

    Raises:
        OSError: if it cannot be read, is no regular file, or is larger; ``strerror`` says so.
    """
    _check_regular(path.stat(), path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check_regular(os.fstat(file.fileno()), path)  # it may be another by now
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return content


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {file_kind(status.st_mode)}, not a regular file", str(path))


def file_kind(mode: int) -> str:
    """What a file is that is no regular one, in words."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for test, name in kinds if test(mode)), "a device")


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part of it.

    Args:
        path: The file; its folder is made if it is not there.
        content: What it will hold.
        durable: Also when the power fails, which takes a disk milliseconds; False where nobody would miss the file.

    Raises:
        InputError: if the folder cannot be written to.
    """
    try:
        temporary = beside(path)
        try:
            with _open_new(temporary) as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def beside(path: Path) -> Path:
    """A hidden name beside a path that nobody else takes: process ids repeat from host to host."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")


def sweep(folder: Path, stems: Iterable[str]) -> None:
    """Remove what killed processes left of files ``<stem>.<anything>``; nobody may be writing one of them."""
    prefixes = tuple(f".{stem}." for stem in stems)
    with suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if name.startswith(prefixes) and name.endswith(".tmp"):
                (folder / name).unlink(missing_ok=True)


def put_in_place(finished: Path, folder: Path, aside: Path) -> None:
    """Rename a finished folder into place, so that others see the old one, now ``aside``, or the new one."""
    try:
        if folder.exists():
            folder.rename(aside)
        finished.rename(folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise


def _open_new(path: Path) -> BinaryIO:
    """Open a file that is not there, and make its folder if need be: most are there, and looking takes time."""
    try:
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
