"""Hosted datasets: the index of a source, and pulling from it.

A source has every dataset's files below the same relative path as ``$MINARI_DATASETS_PATH``, and ``index.json``
at its root, with the size and the sha256 of each.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, StringConstraints, ValidationError

from omrl_bench import __version__
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import Status, compare, verify_dataset
from omrl_bench.data.sources import Source, UnavailableError
from omrl_bench.data.store import Receipt, dataset_folder, dataset_id, file_hash, read_receipt, writing
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError
from omrl_bench.files import beside, put_in_place
from omrl_bench.frozen import Frozen

INDEX = "index.json"
RECEIPT = "receipt.json"
#: Seconds before another try; bytes that arrive start the count again.
WAITS = (1.0, 2.0, 4.0)

#: Told how many bytes have arrived; less than zero if they have to come again.
Advance = Callable[[int], None]


class HostedFile(Frozen):
    """One file of a dataset."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


#: A path below the dataset's folder. No part may begin with a dot: neither `..` nor a hidden file.
FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]


class HostedDataset(Frozen):
    """One dataset."""

    family_fingerprint: str
    files: dict[FileName, HostedFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


class Index(Frozen):
    """What a source has, by dataset id."""

    version: Literal[1] = Field(alias="schema")
    datasets: dict[str, HostedDataset] = {}


def read_index(source: Source) -> Index:
    """Read a source's index.

    Raises:
        MissingFileError: if it has none.
        InputError: if it cannot be reached, or its index cannot be trusted.
    """
    buffer = io.BytesIO()
    _transfer(source, INDEX, buffer, None, lambda count: None)
    try:
        return Index.model_validate_json(buffer.getvalue())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its beginning"
        raise InputError(
            f"{source}: {INDEX} is not an index that omrl-bench {__version__} reads (at {where}: {first['msg']})"
        ) from error


def is_canonical(family: Family, quality: str) -> bool:
    """Whether the dataset is here and the manifest's, so that no source has to be asked."""
    try:
        return verify_dataset(family, quality)[0] == "canonical"
    except InputError:
        return False


def is_here(family: Family, quality: str, hosted: HostedDataset) -> bool:
    """Whether the dataset is here with exactly the files that are hosted."""
    try:
        read_receipt(family, quality)
    except InputError:
        return False
    folder = dataset_folder(family, quality)
    return all(_is(folder / name, file) for name, file in hosted.files.items())


def pull_dataset(
    source: Source,
    hosted: HostedDataset,
    family: Family,
    quality: str,
    advance: Advance,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[Status, str]:
    """Download a dataset in place of an older one, if any; nothing half-written is ever visible.

    What arrived before an interrupt stays in a hidden folder, and the next call goes on from there.

    Args:
        source: Where the files are.
        hosted: What the source's index says of the dataset.
        family: The installed family; a dataset of another version is refused.
        quality: Quality of the dataset.
        advance: Told of the bytes that arrive.
        say: Told whom this waits for, if another process builds or pulls the dataset.

    Returns:
        The status by the manifest, ``canonical`` or ``equivalent``, and the reason.

    Raises:
        InputError: if the source cannot be reached, a file is not what the index says, the dataset is of another
            version or wrong, or the disk is full.
    """
    folder = dataset_folder(family, quality)
    if RECEIPT not in hosted.files:
        raise InputError(f"{source}: {INDEX} lists no {RECEIPT} of {dataset_id(family, quality)}")
    try:
        with writing(family, quality, say) as place:
            if is_here(family, quality, hosted):  # another process was faster
                return verify_dataset(family, quality)
            staging = _staged(place, hosted)
            for name in sorted(hosted.files, key=lambda name: (name != RECEIPT, name)):
                remote = f"{dataset_id(family, quality)}/{name}"
                _fetch(source, remote, staging / name, hosted.files[name], advance)
                if name == RECEIPT:  # before the large ones
                    _check_receipt(source, staging, family, quality)
            status, reason = _check_content(source, staging, hosted, family, quality)
            aside = beside(place)
            put_in_place(staging, place, aside)
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"could not write {folder}: {error.strerror or error}; what arrived is kept, the same command goes on"
        ) from error
    return status, reason


def _staged(place: Path, hosted: HostedDataset) -> Path:
    """A hidden folder beside the dataset's, without files that the index does not know."""
    staging = place.with_name(f".pulling-{place.name}")
    staging.mkdir(exist_ok=True)
    known = {staging / name for name in hosted.files}
    known |= {_part(path) for path in known}
    files = [path for path in staging.rglob("*") if not path.is_dir()]
    for path in set(files) - known:
        path.unlink()
    missing = hosted.size - sum(path.stat().st_size for path in files if path in known)
    free = shutil.disk_usage(staging).free
    if free < missing:
        raise InputError(f"{place} needs {missing:,} more bytes, and its disk has {free:,}; make room")
    return staging


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _is(path: Path, file: HostedFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_hash(path) == file.sha256


def _fetch(source: Source, remote: str, target: Path, file: HostedFile, advance: Advance) -> None:
    """Download one file, from where an earlier call stopped; a damaged one once more."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    if target.exists():
        target.replace(part)  # from here on, a finished file is a part with nothing missing
    for _ in range(2):
        with part.open("ab") as handle:
            advance(handle.tell())
            _transfer(source, remote, handle, file.size, advance)
            handle.flush()
            os.fsync(handle.fileno())
        found = file_hash(part)
        if found == file.sha256:
            part.replace(target)
            return
        advance(-part.stat().st_size)
        part.unlink()
    raise InputError(
        f"{source}: {remote} is damaged: its sha256 is {found}, the index says {file.sha256}; "
        "it was not kept; tell those who host it"
    )


def _transfer(source: Source, remote: str, handle: BinaryIO, size: int | None, advance: Advance) -> None:
    """Append what is missing of a file, with patience."""
    failures, most = 0, handle.seek(0, os.SEEK_END)
    while True:
        try:
            return _append(source, remote, handle, size, advance)
        except UnavailableError as error:
            have = handle.seek(0, os.SEEK_END)
            failures = 0 if have > most else failures
            most = max(most, have)
            if failures == len(WAITS):
                raise InputError(
                    f"{source} cannot be reached, or not read: {error} ({remote}, {len(WAITS) + 1} attempts); "
                    "later, the same command goes on from here; `omrl-bench data build` needs no network"
                ) from error
            time.sleep(WAITS[failures])
            failures += 1


def _append(source: Source, remote: str, handle: BinaryIO, size: int | None, advance: Advance) -> None:
    have = handle.seek(0, os.SEEK_END)
    if size is not None and have >= size:
        return
    with source.open(remote, have) as stream:
        if size is not None and stream.size not in (None, size):
            raise InputError(f"{source}: {remote} has {stream.size} bytes, the index says {size}")
        if stream.start not in (0, have):
            raise UnavailableError(f"asked for the bytes from {have} on, got those from {stream.start} on")
        if stream.start != have:
            handle.truncate(0)
            advance(-have)
            have = handle.seek(0)
        for chunk in stream.chunks:
            handle.write(chunk)
            advance(len(chunk))
            have += len(chunk)
            if size is not None and have > size:
                return  # the sha256 will not fit
    expected = stream.size if size is None else size
    if expected is not None and have < expected:
        raise UnavailableError(f"the connection ended after {have} of {expected} bytes")


def _check_receipt(source: Source, staging: Path, family: Family, quality: str) -> None:
    """Refuse a dataset that the installed version of the family could not use."""
    name = dataset_id(family, quality)
    text = (staging / RECEIPT).read_bytes()
    try:
        receipt = Receipt.model_validate_json(text)
        fingerprint, builder = receipt.family_fingerprint, receipt.built_by
        mine = (receipt.family, receipt.quality, fingerprint) == (family.name, quality, family.fingerprint())
        problem = f"from another definition of {family.name} ({fingerprint}, here {family.fingerprint()})"
        if (receipt.family, receipt.quality) != (family.name, quality):
            problem = f"as {receipt.family}, quality {receipt.quality}"
    except ValidationError:
        mine, builder, problem = False, _builder(text), "with a receipt that this version cannot read"
    if not mine:
        shutil.rmtree(staging)
        raise InputError(f"{source}: {name} was built by {builder} {problem}; this is omrl-bench {__version__}")


def _builder(receipt: bytes) -> str:
    """Who built a dataset, from a receipt of whatever version."""
    try:
        return str(json.loads(receipt)["built_by"])
    except (ValueError, KeyError, TypeError):
        return "an unknown program"


def _check_content(
    source: Source, staging: Path, hosted: HostedDataset, family: Family, quality: str
) -> tuple[Status, str]:
    """What `data verify` checks, before anything is in place."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    receipt = Receipt.model_validate_json((staging / RECEIPT).read_bytes())
    promised = {
        "data/main_data.hdf5": receipt.hdf5,
        "packed.safetensors": receipt.packed,
        "contexts.safetensors": receipt.contexts,
    }
    status: Status = "wrong"
    reason = "its files are not those of its receipt"
    if all(name in hosted.files and hosted.files[name].sha256 == sha256 for name, sha256 in promised.items()):
        try:
            status, reason = compare(Episodes(**load_file(staging / "packed.safetensors")), family, quality)
        except (SafetensorError, TypeError) as error:
            reason = f"its arrays are not a dataset's: {error}"
    if status == "wrong":
        shutil.rmtree(staging)
        raise InputError(
            f"{source}: {dataset_id(family, quality)} is wrong ({reason}); it was not kept; tell those who host it"
        )
    return status, reason
