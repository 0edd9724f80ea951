"""Jobs that are left to a queue: files that say so, for workers, for later runs and for ``status``.

Nobody need be alive for a job that waits in a queue, so no lease holds it. Instead a file beside the job's, its *mark*,
names the submission that the job is in and its number there: from before it is submitted until its worker has ended,
or somebody has taken the job back. A worker that the mark does not name does nothing, so that what was submitted twice
is done once.

``<results>/.jobs/.slurm/<submission>/`` holds the list of a submission's marks, and what its workers print.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omrl_bench.files import write_atomically
from omrl_bench.runner.job import Job, clear, job_path, log_path, record_of
from omrl_bench.runner.records import JOBS, Cell

LIST = "jobs.json"


@dataclass(frozen=True)
class Submission:
    """A job in a queue.

    Attributes:
        mark: The file that says so.
        file: The job's file.
        folder: Of the submission; its name is the job's name in the queue, which no other has.
        index: The job's number there.
    """

    mark: Path
    file: Path
    folder: Path
    index: int

    @property
    def name(self) -> str:
        """Name of the submission."""
        return self.folder.name

    @property
    def key(self) -> tuple[str, int]:
        """Name and number."""
        return self.name, self.index

    @property
    def holder(self) -> str:
        """Who has the job, and which file to delete if that is wrong."""
        return f"Slurm, as {self.name} (if it is gone, delete {self.mark})"

    @property
    def log(self) -> Path:
        """What the worker prints; the queue makes the file, where the worker starts."""
        return self.folder / f"{self.index}.log"

    def take_back(self) -> None:
        """Let the worker do nothing if it starts after all."""
        self.mark.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)

    def settle(self) -> None:
        """The worker has ended: its log goes to where every job's is."""
        if self.log.exists():
            self.log.replace(log_path(self.file))
        self.mark.unlink(missing_ok=True)


def submission_of(results: Path, cell: Cell) -> Submission | None:
    """The submission that a cell's job is in, or that of other seeds which may train with it."""
    return _read(results, _mark(results, cell))


def submit_marks(jobs: Sequence[Job], name: str) -> list[Submission]:
    """Say that jobs, of one results folder, are in a submission that is about to be made."""
    results = jobs[0].results
    made = []
    for index, job in enumerate(jobs):
        submission = Submission(_mark(results, job.cells[0]), job_path(job), _folder(results) / name, index)
        content = {"name": name, "index": index, "file": submission.file.name}
        write_atomically(submission.mark, json.dumps(content).encode("ascii"))
        made.append(submission)
    marks = [each.mark.relative_to(results).as_posix() for each in made]
    write_atomically(_folder(results) / name / LIST, json.dumps(marks, indent=0).encode("ascii"))  # last, see sweep
    return made


def submitted(listing: Path, index: int) -> Submission | None:
    """The job of that number in the list of a submission, unless it was taken back."""
    results = listing.absolute().parents[3]
    found = _read(results, results / _marks(listing)[index])
    return found if found and found.key == (listing.parent.name, index) else None


def conclude(submission: Submission, job: Job) -> None:
    """Clear up, as the worker's last act: of a job that went well nothing stays but its records."""
    records = [record_of(job, cell) for cell in job.cells]
    if all(record is not None and record.status == "complete" for record in records):
        submission.log.unlink(missing_ok=True)
        clear(job)
    submission.settle()


def sweep_submissions(results: Path) -> None:
    """Remove the folders of submissions of which no job is left."""
    for listing in _folder(results).glob(f"*/{LIST}"):
        try:
            found = [_read(results, results / name) for name in _marks(listing)]
        except (OSError, ValueError):  # another run removes it
            continue
        if all(each is None or each.folder != listing.parent for each in found):
            shutil.rmtree(listing.parent, ignore_errors=True)


def _folder(results: Path) -> Path:
    return results / JOBS / ".slurm"


def _mark(results: Path, cell: Cell) -> Path:
    return cell.jobs_folder(results) / f"seeds-{cell.group()[1]}.queued"


def _marks(listing: Path) -> list[str]:
    names: list[str] = json.loads(listing.read_text(encoding="ascii"))
    return names


def _read(results: Path, mark: Path) -> Submission | None:
    try:
        fields = json.loads(mark.read_text(encoding="ascii"))
        return Submission(mark, mark.with_name(fields["file"]), _folder(results) / fields["name"], fields["index"])
    except (FileNotFoundError, ValueError, KeyError):  # gone, or damaged
        return None
