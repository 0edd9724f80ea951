"""What training left behind, kept beside the records, so that suites which differ in their protocol train once.

``<results>/.trained/<method>/<key>/seeds-<...>/`` holds what :meth:`omrl_bench.api.Algorithm.save` wrote and
``training.json``. The key is a hash of all that training depends on, so that nothing there is ever out of date. Records
do not need the folder: it may be deleted at any time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import ValidationError

from omrl_bench.api import Algorithm
from omrl_bench.files import beside, put_in_place
from omrl_bench.fingerprint import hash_text
from omrl_bench.frozen import Frozen
from omrl_bench.runner.job import Job
from omrl_bench.runner.records import CurvePoint

FILE = "training.json"


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


def trained_key(job: Job) -> str:
    """Hash of what the weights of a seed depend on; not of how they are evaluated, nor of how the policy explores."""
    preset, hashes = job.preset, job.hashes
    budget = f"{preset.updates} {preset.encoder_updates} {preset.train_tasks} {job.device}"
    if job.context_rho is not None:
        budget += f" rho {job.context_rho}"
    return hash_text(hashes.family, hashes.dataset, job.trainer[1], job.cells[0].dataset, budget)


def keep(job: Job, algorithm: Algorithm, training: Training) -> None:
    """Save a trained method: all of it or nothing is there afterwards. Where nothing can be written, it is not kept."""
    folder = _folder(job) / f"seeds-{'-'.join(map(str, training.seeds))}"
    unfinished, aside = beside(folder), beside(folder)
    try:
        unfinished.mkdir(parents=True)
        algorithm.save(unfinished)
        (unfinished / FILE).write_text(training.model_dump_json(indent=1), encoding="utf-8")
        _make_readable(unfinished)
        put_in_place(unfinished, folder, aside)
    except OSError as error:
        print(f"the training is not kept: {error}")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _make_readable(folder: Path) -> None:
    """Let others read what was saved as far as the umask does: safetensors writes for the owner only."""
    of_files, of_folders = (path.stat().st_mode & 0o777 for path in (folder / FILE, folder))
    for path in folder.rglob("*"):
        path.chmod(of_folders if path.is_dir() else of_files)


def find(job: Job) -> tuple[Path, Training] | None:
    """Return a kept training that covers the job's seeds, and where it is."""
    for file in sorted(_folder(job).glob(f"seeds-*/{FILE}")):
        try:
            training = Training.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            continue  # of another version of this project
        if set(job.seeds) <= set(training.seeds):
            return file.parent, training
    return None


def _folder(job: Job) -> Path:
    return job.results / ".trained" / job.trainer[0] / trained_key(job)
