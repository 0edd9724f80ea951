"""A submission as one file, the same bytes for the same files."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from omrl_bench.errors import InputError
from omrl_bench.files import read_regular, write_atomically
from omrl_bench.submissions.declaration import read_declaration
from omrl_bench.submissions.files import MOST_BYTES, MOST_FILES, MOST_OF_FILE, find_files, read_file

_DATE = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, out: Path) -> Path:
    """Write ``<out>/<name>-<version>.zip``; check the submission first, see :mod:`omrl_bench.submissions.checking`.

    Raises:
        InputError: if a file has no place in a submission, or the folder cannot be written to.
    """
    declaration = read_declaration(folder)
    files, problems = find_files(folder)
    if problems:
        raise InputError("; ".join(problems))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            member = zipfile.ZipInfo(path.as_posix(), _DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(member, read_file(folder, path))
    target = out / f"{declaration.name}-{declaration.version}.zip"
    write_atomically(target, buffer.getvalue())
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a packed submission to an empty folder; nothing is written outside of it.

    Raises:
        InputError: if it is no such archive, or holds more than a submission may.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_regular(archive, MOST_BYTES))) as packed:
            members = packed.infolist()
            if len(members) > MOST_FILES:
                raise InputError(f"{archive} has more than {MOST_FILES:,} files")
            left = MOST_BYTES
            for member in members:
                path = PurePosixPath(member.filename)
                if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in member.filename:
                    raise InputError(f"{archive} has a file outside of itself: {member.filename[:100]!r}")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"{archive} is compressed in a way that `submit pack` does not use")
                with packed.open(member) as file:
                    content = file.read(min(left, MOST_OF_FILE) + 1)
                left -= len(content)
                if left < 0 or len(content) > MOST_OF_FILE:
                    raise InputError(f"{archive} unpacks to more than a submission may have")
                target = folder.joinpath(*path.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as written:
                    written.write(content)
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{archive} is no packed submission: {error}"[:300]) from error
