"""What `save` left: regular files in its own folder, not too many and not too large, copied without following links."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from omrl_bench.protocols.rollout import PolicyError

MOST_BYTES = 1 << 30
MOST_FILES = 1000
LONGEST_NAME = 200  # bytes


def collect(saved: Path, folder: Path, method: str) -> None:
    """Copy what a method saved into a new folder.

    Raises:
        PolicyError: if there is a link or something else than files and folders, or too much.
    """
    folder.mkdir()
    total = 0
    for number, path in enumerate(_entries(saved, method)):
        status = path.lstat()
        where = path.relative_to(saved)
        if len(os.fsencode(path.name)) > LONGEST_NAME or number >= MOST_FILES:
            raise PolicyError(f"{method}: save wrote more than {MOST_FILES} files, or longer names than {LONGEST_NAME}")
        if stat.S_ISDIR(status.st_mode):
            (folder / where).mkdir()
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            kind = "a link" if stat.S_ISLNK(status.st_mode) or status.st_nlink != 1 else "something that is no file"
            raise PolicyError(f"{method}: save left {kind}, {where}; expected regular files in its folder")
        total += status.st_size
        if total > MOST_BYTES:
            raise PolicyError(f"{method}: save wrote more than {MOST_BYTES >> 20} MiB")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as source, (folder / where).open("xb") as copy:
            shutil.copyfileobj(source, copy)


def _entries(folder: Path, method: str) -> Iterator[Path]:
    """All that is below a folder, folders before what is in them; links are not followed."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise PolicyError(f"{method}: save left a folder that cannot be read: {error.strerror}") from error
    for path in paths:
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _entries(path, method)
