"""A job on a machine that shares no folder with this one: what it takes along, how it settles in, what it brings back.

There, ``results/`` has the job's file and a kept training that would do, and ``method/`` the source of a method in a
file of one's own. The package and installed methods must be installed there, and are compared with those here; data are
built or pulled there, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from omrl_bench.api import Setup
from omrl_bench.errors import InputError
from omrl_bench.files import write_atomically
from omrl_bench.fingerprint import package_hash
from omrl_bench.registry import files_beside
from omrl_bench.runner import trained
from omrl_bench.runner.job import Job, Progress, job_path, read_job
from omrl_bench.runner.plan import data_status, datasets_behind, prepare_datasets
from omrl_bench.runner.records import Record, write_failure
from omrl_bench.runner.states import hashes_of, method_hash
from omrl_bench.runner.traces import traces_path

RESULTS, METHOD = "results", "method"  # folders of a parcel


def pack(job: Job) -> tuple[dict[str, bytes], str]:
    """Return the files that a job takes along, by their path, and which of them is the job's.

    Raises:
        InputError: if it cannot be told which files a method of one's own needs.
    """
    files = {f"{RESULTS}/{name}": content for name, content in trained.packed(job).items()}
    file, _, name = job.target.rpartition(":")
    if file.endswith(".py"):
        beside = files_beside(Path(file))
        files |= {f"{METHOD}/{path}": source.read_bytes() for path, source in beside.items()}
        own = next(path for path, source in beside.items() if source == Path(file))
        job = job.model_copy(update={"target": f"{METHOD}/{own}:{name}"})
    path = f"{RESULTS}/{job_path(job).relative_to(job.results).as_posix()}"
    return files | {path: job.file_content()}, path


def settle(job_file: Path, package: str, report: Callable[[Progress], None]) -> Job:
    """Make a job that was unpacked here one of this machine: with paths, data and hashes of its own.

    Args:
        job_file: Its file.
        package: Hash of the package that planned it.
        report: Told that data are being built, in stage ``data``.

    Raises:
        InputError: if the package, the method, or the family is another one here, or the data cannot be had.
    """
    if package_hash() != package:
        raise InputError("omrl-bench is another version there, or another state of the source; install the same one")
    try:
        job = read_job(job_file)
    except ValidationError as error:  # such as a protocol of a package that is not there
        raise InputError(f"{job_file.name}: {error.errors()[0]['msg']}") from error
    if job.target.startswith(f"{METHOD}/"):
        job = job.model_copy(update={"target": str(job.results.parent / job.target)})
    cell, qualities = job.cells[0], job.preset.qualities
    needed = datasets_behind([cell.family], [cell.dataset], qualities)
    statuses = prepare_datasets(needed, job.threads, lambda text: report(Progress(stage="data", fraction=0)))
    setup = Setup(cell.preset, cell.backbone, job.settings)
    method = method_hash(job.target, cell.family, setup)
    local, canonical = hashes_of(job.hashes.suite, cell.family, cell.dataset, job.protocol, qualities, method)
    planned = job.equivalent_to or job.hashes
    if canonical != planned:
        other = [name for name, value in planned.model_dump().items() if getattr(canonical, name) != value]
        raise InputError(f"{cell.family} / {cell.method}: another {', '.join(other)} there; install the same packages")
    its = {
        "hashes": local,
        "equivalent_to": canonical if canonical != local else None,
        "dataset_status": data_status(statuses, cell, qualities),
    }
    return job.model_copy(update=its)


def bring_back(job: Job, files: Mapping[str, bytes]) -> None:
    """Write what a job has left elsewhere into its results folder, each cube before its record.

    Args:
        job: The job, as it is here.
        files: By their path below the results folder there; what is no record of the job, nor beside one, nor a kept
            training, is left out.
    """
    trained.unpack(job.results, {name: content for name, content in files.items() if name.startswith(trained.FOLDER)})
    for cell in job.cells:
        content = files.get(cell.record_path(Path()).as_posix())
        if content is None:
            continue
        record = Record.model_validate_json(content)
        if record.status == "failed":
            write_failure(job.results, record)
            continue
        for path in (cell.cube_path(Path()), traces_path(Path(), cell)):
            if path.as_posix() in files:
                write_atomically(job.results / path, files[path.as_posix()])
            else:
                (job.results / path).unlink(missing_ok=True)
        write_atomically(cell.record_path(job.results), content)
