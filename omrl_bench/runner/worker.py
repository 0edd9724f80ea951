"""The worker: trains and evaluates the cells of one job and leaves their records behind."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from omrl_bench.api import STAGES, Budget, Setup, Stage, TaskSpace
from omrl_bench.data.datasets import Datasets
from omrl_bench.envs.families import Family, get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import dataset_parts
from omrl_bench.referee.method import Hosted, InProcess, Method
from omrl_bench.referee.process import MethodEndedError, MethodError
from omrl_bench.referee.warden import become_subreaper, end_everything
from omrl_bench.runner import trained
from omrl_bench.runner.circumstances import circumstances, now
from omrl_bench.runner.evaluation import Evaluation, Measured
from omrl_bench.runner.executors.child import REFUSED
from omrl_bench.runner.job import Job, Progress, failed_record, log_path, read_job, write_progress
from omrl_bench.runner.parcel import settle
from omrl_bench.runner.records import CurvePoint, Record, write_failure, write_record
from omrl_bench.runner.states import method_hash
from omrl_bench.runner.submissions import conclude, submitted
from omrl_bench.runner.traces import write_traces
from omrl_bench.runner.tracking import LiveCurves
from omrl_bench.runner.trained import Training

REPORT_EVERY = 0.5  # seconds


def main(job_file: Path, package: str | None = None) -> None:
    """Run a job; afterwards every cell has a record, complete or failed.

    Args:
        job_file: Its file.
        package: Hash of the package that planned it, if that was on a machine that shares no folder with this one.
    """
    watch_parent()
    report = _reporting(job_file)
    try:
        job = settle(job_file, package, report) if package else read_job(job_file)
    except InputError as error:
        print(error)
        sys.exit(REFUSED)
    with _nothing_left_behind():
        run_job(job, report, log=None if package else log_path(job_file))  # on a node it lies in a folder that goes


def main_submitted(listing: Path, index: int) -> None:
    """Run the job of that number in the list of a submission, unless it was taken back; nobody holds our input."""
    submission = submitted(listing, index)
    if submission is None:
        print("nothing to do: the job was taken back, or is in another submission")
        return
    job = read_job(submission.file)
    with _nothing_left_behind():
        run_job(job, _reporting(submission.file), unchanged=True, log=log_path(submission.file))
    conclude(submission, job)


@contextmanager
def _nothing_left_behind() -> Iterator[None]:
    """End what a method has started, also if it ends the process which looks after its processes."""
    become_subreaper()
    try:
        yield
    finally:
        end_everything(set())


def _reporting(job_file: Path) -> Callable[[Progress], None]:
    """Writes reports of a job's progress, which say where it runs."""
    where = f"process {os.getpid()} on {platform.node()}"
    return lambda progress: write_progress(job_file, progress.model_copy(update={"where": where}))


def watch_parent() -> None:
    """End this process when the runner, which holds the other end of our standard input, is gone."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread inside it blocks the interpreter's exit
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_job(
    job: Job,
    report: Callable[[Progress], None],
    in_process: bool = False,
    unchanged: bool = False,
    log: Path | None = None,
) -> None:
    """Train and evaluate, and report progress; an exception becomes the error of the records that are not written.

    Args:
        job: The job.
        report: Called with its progress.
        in_process: Whether the method runs in this process, for a debugger, rather than in its own.
        unchanged: Make sure that the method is what it was when the job was planned, which may be days ago.
        log: Where what is printed will be read, if anywhere.
    """
    measured: dict[int, Measured] = {}
    try:
        if unchanged:
            _check_method(job)
        make = _in_this_process if in_process else Hosted
        setup = Setup(job.cells[0].preset, job.cells[0].backbone, job.settings, job.device)
        space = get_family(job.cells[0].family).space()
        with _device(job) if in_process else nullcontext(), make(job.target, space, setup) as method:
            _Run(job, report, measured, method).work()
    except Exception as error:
        if not isinstance(error, MethodError):  # the method's process has printed where
            traceback.print_exc()
        text = describe(error)
        if isinstance(error, MethodEndedError) and log is not None:
            text += f"; its output is in {log}"
        for index, seed in enumerate(job.seeds):
            if seed not in measured:
                write_failure(job.results, failed_record(job, index, text))


def _check_method(job: Job) -> None:
    cell = job.cells[0]
    setup = Setup(cell.preset, cell.backbone, job.settings)
    if method_hash(job.target, cell.family, setup) != job.hashes.method:
        raise InputError("the method was changed while its job waited; the same command runs it as it is now")


def describe(error: Exception) -> str:
    """One line that says what went wrong, and where in the method if it was raised there."""
    if isinstance(error, MethodError):
        return str(error)[:600]
    message = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{where}"[:600]


class _Run:
    """One job's data, method and progress.

    Args:
        job: The job.
        tell: Called with its progress.
        measured: Is given what was measured of each seed, as soon as its record is written.
        method: The method.
    """

    def __init__(
        self, job: Job, tell: Callable[[Progress], None], measured: dict[int, Measured], method: Method
    ) -> None:
        self.job, self.tell, self.measured, self.method = job, tell, measured, method
        self.family: Family = get_family(job.cells[0].family)
        self.curves: dict[int, list[CurvePoint]] = {seed: [] for seed in job.seeds}
        self.progress = dict.fromkeys(job.seeds, 0.0)  # share of each seed's training
        self.policy_from = dict.fromkeys(job.seeds, 0.0)  # where the policy's part of it begins
        self.trained: set[int] = set()  # seeds whose policy has had its last update, as far as the method says
        self.last_report = 0.0
        self.spent: dict[str, tuple[float, int]] = {}  # processor seconds and calls of log, by stage
        self.resumed = 0.0
        self.started, self.evaluating = time.perf_counter(), 0.0
        self.privileges = method.declared.privileges
        self.datasets = Datasets(self.family, self.privileges, job.context_rho)
        qualities, train_tasks = job.preset.qualities, job.preset.train_tasks
        self.evaluation = Evaluation(self.datasets, job.protocol, qualities, train_tasks, job.threads)
        self.live: LiveCurves | None = None  # while it trains

    def work(self) -> None:
        """Train, evaluate every seed, and write its record."""
        training = self.training()
        for index, seed in enumerate(self.job.seeds):
            if seed not in self.measured:
                self.report("evaluation", 0.9 + 0.1 * index / len(self.job.seeds))
                self.measure(seed, training)
        for seed in self.job.seeds:  # again, with the costs of all of them together
            self.write(seed, training)

    def training(self) -> Training:
        """Load a kept training, or fit and keep it."""
        # the behaviour policies come with the training data, not with what is saved
        again = self.job.train_again or "behaviour" in self.privileges
        kept = None if again else trained.find(self.job)
        if kept is not None:
            folder, training = kept
            try:
                self.method.load(folder)
                return training
            except Exception:  # damaged, or another user's and not readable
                traceback.print_exc()
        return self.fit()

    def fit(self) -> Training:
        """Train all seeds, and keep that."""
        job = self.job
        self.started = time.perf_counter()
        budget = Budget(job.preset.updates, job.preset.encoder_updates)
        policy, representation = dataset_parts(job.cells[0].dataset)
        data = self.datasets.training(policy, representation, job.preset.train_tasks)
        self.live = LiveCurves(job, self.method.declared.configuration)
        self.resumed = self.method.processor_seconds()
        try:
            self.method.fit(data, budget, job.seeds, self.log, job.preset.evaluations)
        finally:
            self.live.finish()
        training = self.training_so_far()
        self.method.save()
        trained.keep(job, self.method, training)
        return training

    def training_so_far(self) -> Training:
        """What a record says of the training, when some or all of the seeds are trained."""
        job = self.job
        return Training(
            suite=f"{job.cells[0].suite}, {job.cells[0].preset}",
            suite_hash=job.hashes.suite,
            method=job.cells[0].method,
            seeds=job.seeds,
            curves={seed: tuple(points) for seed, points in self.curves.items()},
            parameters=self.method.parameter_count(),
            fit_seconds=round(time.perf_counter() - self.started - self.evaluating, 2),
            update_milliseconds={
                stage: round(1000 * seconds / calls, 3) for stage, (seconds, calls) in self.spent.items()
            },
            peak_memory_mib=self.method.peak_memory_mib(),
        )

    def log(self, stage: Stage, step: int, total: int, seeds: Sequence[int] | None, calls: int) -> None:
        """Report progress; at some steps of stage `policy`, take a point of the learning curve.

        A method that trains one seed after the other says so by ``seeds``: when it goes on with the next one, the one
        before is evaluated, so that an interruption does not cost it. The last one of ``calls`` is reported.
        """
        if stage not in STAGES:
            raise ValueError(f"log was called with stage {stage!r}; there are {', '.join(STAGES)}")
        points = self.job.preset.evaluations
        seconds, made = self.spent.get(stage, (0.0, 0))
        seconds, made = seconds + self.method.processor_seconds() - self.resumed, made + calls
        self.spent[stage] = seconds, made
        these = self.job.seeds if seeds is None else tuple(seeds)
        for seed in these:
            if self.measured.pop(seed, None) is not None:  # it is trained on, after all
                self.trained.discard(seed)
                self.job.cells[self.job.seeds.index(seed)].record_path(self.job.results).unlink(missing_ok=True)
        for seed in sorted(self.trained - set(these) - set(self.measured)):
            self.measure(seed, self.training_so_far())
        scores: dict[int, float] = {}
        if stage == "policy" and points and step * points // total > (step - 1) * points // total:
            for seed in these:
                scores[seed] = round(self.evaluation.validate(partial(self.method.policy, seed), seed), 2)
                self.curves[seed].append(CurvePoint(step=step, score=scores[seed]))
        if self.live is not None:
            self.live.show(stage, step, total, these, 1000 * seconds / max(1, made), scores)
        self.note_progress(stage, step / total, these)
        self.resumed = self.method.processor_seconds()  # the learning curve is not the method's time

    def note_progress(self, stage: Stage, fraction: float, seeds: Iterable[int]) -> None:
        """Note how far some seeds are, and report how far the job is."""
        for seed in seeds:
            if stage == "representation":
                self.policy_from[seed] = 1 / 3  # roughly; a method without such a stage begins at 0
                self.progress[seed] = fraction / 3
            else:
                start = self.policy_from[seed]
                self.progress[seed] = start + (1 - start) * fraction
                if fraction >= 1:
                    self.trained.add(seed)
        self.report(stage, 0.9 * sum(self.progress.values()) / len(self.progress))

    def report(self, stage: str, fraction: float) -> None:
        """Tell the runner, not too often."""
        if time.monotonic() - self.last_report < REPORT_EVERY:
            return
        self.last_report = time.monotonic()
        self.tell(Progress(stage=stage, fraction=fraction))

    def measure(self, seed: int, training: Training) -> None:
        """Evaluate a seed and write its record."""
        started = time.perf_counter()
        policy = partial(self.method.policy, seed)
        attention = partial(self.method.attention, seed)
        pictured = seed == self.job.preset.seeds[0]  # pictures need one seed
        found = self.evaluation.measured(policy, attention, seed, pictured)
        if not self.measured:  # before anything of the job counts
            self.evaluation.check_independence(policy, seed, found.cube, np.random.default_rng())
        self.evaluating += time.perf_counter() - started
        write_traces(self.job.results, self.job.cells[self.job.seeds.index(seed)], found.traces)
        self.measured[seed] = found
        self.write(seed, training)

    def write(self, seed: int, training: Training) -> None:
        """Write the record of a seed that was evaluated."""
        job, found = self.job, self.measured[seed]
        another = training.method not in ("", job.cells[0].method)
        ours = training.suite_hash == job.hashes.suite and not another
        record = Record(
            cell=job.cells[job.seeds.index(seed)],
            family_version=self.family.version,
            status="complete",
            hashes=job.hashes,
            equivalent_to=job.equivalent_to,
            dataset_status=job.dataset_status,
            privileges=tuple(sorted(self.privileges)),
            configuration=self.method.declared.configuration,
            refereed=self.method.refereed,
            trained_together=training.seeds,
            trained_for=None if ours else training.suite + f", {training.method}" * another,
            metrics=found.cube.metrics(),
            representation=found.representation,
            curve=training.curves[seed] if ours else (),
            parameters=training.parameters,
            fit_seconds=training.fit_seconds,
            evaluate_seconds=round(self.evaluating, 2),
            update_milliseconds=training.update_milliseconds,
            device=job.device,
            created=now(),
            job=job.token,
            **circumstances() | {"peak_memory_mib": training.peak_memory_mib},
        )
        write_record(job.results, record, found.cube)


def _in_this_process(target: str, space: TaskSpace, setup: Setup) -> InProcess:
    import torch

    torch.set_num_threads(1)  # so that numbers do not depend on how many workers run; the simulator's never do
    return InProcess(target, space, setup)


def _device(job: Job) -> AbstractContextManager[object]:
    """The job's device as torch's default; the usual one is not set, as a default costs time at every call."""
    if job.device == "cpu":
        return nullcontext()
    import torch

    return torch.device(job.device)
