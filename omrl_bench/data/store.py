"""Datasets on disk: Minari HDF5 files with a packed copy and a receipt beside them.

``$MINARI_DATASETS_PATH/omrl/<family>/<quality>-v1/`` holds

    data/main_data.hdf5, data/metadata.json   the Minari dataset, what others read
    packed.safetensors                        the same arrays, contiguous, what we read
    contexts.safetensors                      the context sets that are drawn from it (:mod:`.contexts`)
    receipt.json                              hashes of all three, and who built them
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import numpy as np

from omrl_bench.data.contexts import ContextSet, draw_contexts
from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.families import BUILT_IN, Family
from omrl_bench.envs.simulator import import_mujoco
from omrl_bench.errors import InputError
from omrl_bench.files import beside, put_in_place
from omrl_bench.frozen import Frozen
from omrl_bench.locks import Lock, waited_for


class Receipt(Frozen):
    """What the builder says it wrote."""

    family: str
    family_fingerprint: str
    quality: str
    built_by: str
    content: str  # Episodes.content_hash
    parts: dict[str, str]  # the same of the episodes of each split's tasks
    hdf5: str  # sha256 of data/main_data.hdf5
    packed: str  # sha256 of packed.safetensors
    contexts: str  # sha256 of contexts.safetensors
    dropped: int  # episodes that were not stored because the simulation became unstable


def data_root() -> Path:
    """Minari's root folder: ``$MINARI_DATASETS_PATH`` or ``~/.minari/datasets``.

    Raises:
        InputError: if neither is there.
    """
    named = os.environ.get("MINARI_DATASETS_PATH")
    if named:
        return Path(named)
    try:
        return Path.home() / ".minari" / "datasets"
    except RuntimeError as error:
        raise InputError("there is no home folder for datasets: set MINARI_DATASETS_PATH to a folder") from error


def dataset_id(family: Family, quality: str) -> str:
    """Minari's id of a dataset, e.g. ``omrl/point-goal/mixed-v1``."""
    return f"omrl/{family.name}/{quality}-{family.version}"


def dataset_folder(family: Family, quality: str) -> Path:
    """Where a dataset is, or would be."""
    return data_root() / dataset_id(family, quality)


def _prepared_place(folder: Path) -> Path:
    """Return where the folder of a dataset is written: where it is, or where it leads if it is a link.

    Raises:
        InputError: if it leads nowhere, or to what omrl-bench did not build, or cannot be written.
    """
    root = data_root()
    place = folder.resolve() if folder.is_symlink() else folder
    if folder.is_symlink() and not place.exists():
        raise InputError(f"{folder} is a link to {place}, which is not there; mount its disk, or remove the link")
    if place.exists() and not (place / "receipt.json").is_file():
        raise InputError(f"{folder} was not built by omrl-bench (no receipt.json); move it away")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for namespace in (root / "omrl", folder.parent):  # or Minari does not look into them
            if not (namespace / "namespace_metadata.json").exists():
                (namespace / "namespace_metadata.json").write_text("{}")
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"cannot write to the data folder {root}: {error.strerror}") from error
    return place


@contextmanager
def writing(family: Family, quality: str, say: Callable[[str], object] = lambda text: None) -> Iterator[Path]:
    """Be the only one who builds or pulls a dataset, and yield its place, which is not its folder if that is a link.

    While another process is at it, this one waits, and says so. What such processes left behind that were killed is
    swept away.

    Raises:
        InputError: if it cannot be written there.
    """
    place = _prepared_place(dataset_folder(family, quality))
    lock = Lock(place.with_name(f".lock-{place.name}"))
    with waited_for(lock, lambda holder: say(f"waiting for {dataset_id(family, quality)}: {holder} is at it")):
        for leftover in place.parent.glob(f".{escape(place.name)}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield place


def write_dataset(
    family: Family,
    quality: str,
    episodes: Episodes,
    reference: tuple[float, float],
    dropped: int = 0,
    source: str = "",
) -> Receipt:
    """Write a dataset in place of an older one, if any; nothing half-written is ever visible.

    Args:
        family: Family of the episodes.
        quality: Quality of the dataset, which the caller is the only one to be :func:`writing`.
        episodes: What to write.
        reference: Mean return over tasks of the random policy and of the expert (Minari's ``ref_min_score``, ...).
        dropped: How many episodes were left out because the simulation became unstable.
        source: Minari id of what was collected elsewhere; empty if the family's behaviour policies acted.

    Raises:
        InputError: if the root folder is not writable.
    """
    import_mujoco()
    import minari  # seconds

    from omrl_bench import __version__

    folder = _prepared_place(dataset_folder(family, quality))
    building, aside = beside(folder), beside(folder)
    try:
        building.mkdir()
        _reserve(building, estimated_size(family, len(episodes.tasks), len(episodes.rewards)))
        _write_minari(building / "data", family, quality, episodes, reference, source, minari.__version__)
        packed = _write_arrays(building / "packed.safetensors", episodes.arrays())
        draws = draw_contexts(family, quality, episodes)
        contexts = _write_arrays(building / "contexts.safetensors", draws.arrays())
        receipt = Receipt(
            family=family.name,
            family_fingerprint=family.fingerprint(),
            quality=quality,
            built_by=f"omrl-bench {__version__}",
            content=episodes.content_hash(),
            parts=part_hashes(family, episodes),
            hdf5=file_hash(building / "data" / "main_data.hdf5"),
            packed=packed,
            contexts=contexts,
            dropped=dropped,
        )
        (building / "receipt.json").write_text(receipt.model_dump_json(indent=1))
        put_in_place(building, folder, aside)
    except OSError as error:
        raise InputError(f"could not write {folder}: {error.strerror}; nothing was kept") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    return receipt


def part_hashes(family: Family, episodes: Episodes) -> dict[str, str]:
    """The content hash of the episodes of each split's tasks; of those splits that have any."""
    parts = {split: episodes.of_tasks(tasks) for split, tasks in family.tasks().by_split().items()}
    return {split: part.content_hash() for split, part in parts.items() if len(part.tasks)}


def read_receipt(family: Family, quality: str) -> Receipt:
    """Read a dataset's receipt.

    Raises:
        InputError: if there is no dataset, or it is not one of ours, or it is of another version of the family.
    """
    folder = dataset_folder(family, quality)
    build = f"omrl-bench data build {family.name} --quality {quality}"
    again = f"{build} --force"
    if not folder.exists():
        raise InputError(f"dataset {dataset_id(family, quality)} is not in {data_root()}; {build}")
    try:
        receipt = Receipt.model_validate_json((folder / "receipt.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{folder} was not built by omrl-bench (no receipt.json); move it away, then {build}"
        ) from error
    except ValueError as error:  # not JSON, not a receipt, not even text
        raise InputError(f"{folder / 'receipt.json'} is damaged; {again}") from error
    if (receipt.family, receipt.quality) != (family.name, quality):
        raise InputError(f"{folder} holds {receipt.family}, quality {receipt.quality}; {again}")
    if receipt.family_fingerprint != family.fingerprint():
        raise InputError(
            f"{folder} was built by {receipt.built_by} from another definition of {family.name} "
            f"({receipt.family_fingerprint}, now {family.fingerprint()}); {again}"
        )
    return receipt


def read_episodes(family: Family, quality: str) -> tuple[Episodes, Receipt]:
    """Read a dataset from its packed file, after checking that against the receipt.

    Raises:
        InputError: if it is missing, foreign, damaged, or of another version.
    """
    from safetensors.numpy import load_file

    receipt = read_receipt(family, quality)
    packed = dataset_folder(family, quality) / "packed.safetensors"
    _check(packed, receipt.packed, family, quality)
    return Episodes(**load_file(packed)), receipt


def check_minari_file(family: Family, quality: str) -> None:
    """Check the file that others read with Minari against the receipt.

    Raises:
        InputError: if it is missing, foreign, damaged, or of another version.
    """
    file = dataset_folder(family, quality) / "data" / "main_data.hdf5"
    _check(file, read_receipt(family, quality).hdf5, family, quality)


def read_contexts(family: Family, quality: str) -> ContextSet:
    """Read the context sets that a dataset serves, after checking the file against the receipt.

    Raises:
        InputError: if the dataset is missing, foreign, damaged, or of another version.
    """
    from safetensors.numpy import load_file

    receipt = read_receipt(family, quality)
    file = dataset_folder(family, quality) / "contexts.safetensors"
    _check(file, receipt.contexts, family, quality)
    return ContextSet.from_arrays(load_file(file))


def _check(file: Path, expected: str, family: Family, quality: str) -> None:
    if not file.exists() or file_hash(file) != expected:
        raise InputError(
            f"{file} is missing, truncated or changed since it was built; "
            f"omrl-bench data build {family.name} --quality {quality} --force"
        )


def estimated_size(family: Family, episodes: int, transitions: int) -> int:
    """Bytes that a dataset takes on disk, or a little more: both copies, and HDF5's overhead per episode."""
    floats = 3 * family.observation_size + 2 * family.action_size + 4
    return 20_000 * episodes + 4 * floats * transitions


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reserve(folder: Path, size: int) -> None:
    """Fail now, not while HDF5 writes: it answers a full disk with a segmentation fault."""
    path = folder / "reserved"
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path.unlink()


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write a safetensors file and return its sha256."""
    from safetensors.numpy import save

    # not save_file: its errors are no OSError, and its file is readable by the owner only
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    return file_hash(path)


def _write_minari(
    folder: Path,
    family: Family,
    quality: str,
    episodes: Episodes,
    reference: tuple[float, float],
    source: str,
    version: str,
) -> None:
    import gymnasium
    from gymnasium import spaces
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    from omrl_bench.envs.single import register

    register()
    limit = family.action_limit
    storage = MinariStorage.new(
        folder,
        observation_space=spaces.Box(-np.inf, np.inf, (family.observation_size,), np.float32),
        action_space=spaces.Box(-limit, limit, (family.action_size,), np.float32),
        env_spec=gymnasium.spec(family.env_id),
        data_format="hdf5",
        jpeg_encoding=False,
    )
    table = family.tasks()
    returns = episodes.returns()
    descriptors = [dict(zip(family.descriptor, row, strict=True)) for row in table.descriptors.tolist()]
    buffers, metadata = [], []
    for episode, (start, stop) in enumerate(zip(episodes.offsets[:-1], episodes.offsets[1:], strict=True)):
        rows = slice(start, stop)
        terminated = episodes.terminated[rows]
        truncated = np.zeros_like(terminated)
        truncated[-1] = not terminated[-1]
        observations = np.concatenate([episodes.observations[rows], episodes.next_observations[stop - 1 : stop]])
        buffers.append(
            EpisodeBuffer(
                id=episode,
                seed=int(episodes.seeds[episode]) if episodes.seeds[episode] >= 0 else None,
                observations=observations,
                actions=episodes.actions[rows],
                rewards=episodes.rewards[rows],
                terminations=terminated,
                truncations=truncated,
            )
        )
        task = int(episodes.tasks[episode])
        metadata.append(
            {
                "task_id": task,
                "split": table.splits[task],
                "behaviour": int(episodes.behaviours[episode]),
                "return": float(returns[episode]),
            }
            | ({} if episodes.told is None else {"told_task_id": int(episodes.told[episode])})
        )
    storage.update_metadata(
        {
            "dataset_id": dataset_id(family, quality),
            "minari_version": version,
            "author": {"The omrl-bench authors" if family.home == BUILT_IN else f"The authors of {family.home}"},
            "algorithm_name": f"taken from {source}" if source else f"omrl-bench behaviour policies, {quality}",
            "description": f"{family.name}, quality {quality}: all tasks of the frozen task table, see task_id",
            "ref_min_score": reference[0],
            "ref_max_score": reference[1],
            "num_episodes_average_score": len(returns),
            "task_table": json.dumps(descriptors),
        }
    )
    storage.update_episodes(buffers)
    storage.update_episode_metadata(metadata)
