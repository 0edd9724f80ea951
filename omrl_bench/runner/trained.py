"""What training left behind, kept beside the records, so that suites which differ in their protocol train once.

``<results>/.trained/<method>/<key>/seeds-<...>/`` holds what :meth:`omrl_bench.api.Algorithm.save` wrote and
``training.json``. The key is a hash of all that training depends on, so that nothing there is ever out of date. Records
do not need the folder: it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from omrl_bench.files import beside, put_in_place
from omrl_bench.fingerprint import hash_text
from omrl_bench.frozen import Frozen
from omrl_bench.referee.method import Method
from omrl_bench.runner.job import Job
from omrl_bench.runner.records import CurvePoint

FILE = "training.json"
FOLDER = ".trained"  # in the results folder


class Training(Frozen):
    """What a record says of a training."""

    suite: str  # of the run that trained, with its preset
    suite_hash: str
    method: str = ""  # that was trained; those of other names that are trained as it is find it too
    seeds: tuple[int, ...]  # trained together
    curves: dict[int, tuple[CurvePoint, ...]]  # by seed, under the protocol of that suite
    parameters: int
    fit_seconds: float
    update_milliseconds: dict[str, float]
    peak_memory_mib: float
    key: str = ""  # of what it is a training, see trained_key; "" in those of earlier versions, which have no files
    files: dict[str, str] = {}  # sha256 of each, by path in the folder


def trained_key(job: Job) -> str:
    """Hash of what the weights of a seed depend on; not of how they are evaluated, nor of how the policy explores."""
    preset, hashes = job.preset, job.hashes
    budget = f"{preset.updates} {preset.encoder_updates} {preset.train_tasks} {job.device}"
    if job.context_rho is not None:
        budget += f" rho {job.context_rho}"
    return hash_text(hashes.family, hashes.dataset, job.trainer[1], job.cells[0].dataset, budget)


def keep(job: Job, method: Method, training: Training) -> None:
    """Save a trained method: all of it or nothing is there afterwards. Where nothing can be written, it is not kept."""

    def fill(folder: Path) -> None:
        method.keep(folder)
        named = training.model_copy(update={"key": trained_key(job), "files": _hashes(folder)})
        (folder / FILE).write_text(named.model_dump_json(indent=1), encoding="utf-8")
        _make_readable(folder)

    _put(_folder(job) / f"seeds-{'-'.join(map(str, training.seeds))}", fill)


def packed(job: Job) -> dict[str, bytes]:
    """The files of a kept training that a job would load, by their path below the results folder."""
    found = None if job.train_again else find(job)
    files = (path for path in found[0].rglob("*") if path.is_file()) if found else ()
    return {path.relative_to(job.results).as_posix(): path.read_bytes() for path in files}


def unpack(results: Path, files: Mapping[str, bytes]) -> None:
    """Keep a training that was made elsewhere, from what :func:`packed` returned, or would have."""
    folders = {name.rpartition(f"/{FILE}")[0] for name in files if name.endswith(f"/{FILE}")}
    for kept in folders:
        inside = {name[len(kept) + 1 :]: content for name, content in files.items() if name.startswith(f"{kept}/")}

        def fill(folder: Path, inside: Mapping[str, bytes] = inside) -> None:
            for name, content in inside.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)

        _put(results / kept, fill)


def _put(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder, filled, or leave what is there."""
    unfinished, aside = beside(folder), beside(folder)
    try:
        unfinished.mkdir(parents=True)
        fill(unfinished)
        put_in_place(unfinished, folder, aside)
    except OSError as error:
        print(f"the training is not kept: {error}")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def sweep_unfinished(job: Job) -> None:
    """Remove what killed workers left half-saved; another suite's worker that is just saving there keeps nothing."""
    for folder in _folder(job).glob(".seeds-*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)


def _make_readable(folder: Path) -> None:
    """Let others read what was saved as far as the umask does: safetensors writes for the owner only."""
    of_files, of_folders = (path.stat().st_mode & 0o777 for path in (folder / FILE, folder))
    for path in folder.rglob("*"):
        path.chmod(of_folders if path.is_dir() else of_files)


def find(job: Job) -> tuple[Path, Training] | None:
    """Return a kept training that covers the job's seeds, and where it is; one that was changed is none."""
    for file in sorted(_folder(job).glob(f"seeds-*/{FILE}")):
        try:
            training = Training.model_validate_json(file.read_bytes())
            intact = not training.key or (training.key, training.files) == (trained_key(job), _hashes(file.parent))
        except (OSError, ValidationError):
            continue  # of another version of this project, damaged, or another user's
        if intact and set(job.seeds) <= set(training.seeds):
            return file.parent, training
    return None


def _hashes(folder: Path) -> dict[str, str]:
    """The sha256 of the files of a training, by their path; weights are worth nothing if they are another's."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / FILE)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _folder(job: Job) -> Path:
    return job.results / FOLDER / job.trainer[0] / trained_key(job)
