"""The worker: trains and evaluates the cells of one job and leaves their records behind."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch

from omrl_bench.api import STAGES, Algorithm, Budget, Setup, Stage
from omrl_bench.configuration import as_json
from omrl_bench.data.datasets import Datasets
from omrl_bench.envs.families import Family, get_family
from omrl_bench.protocols.suite import dataset_parts
from omrl_bench.registry import load_class
from omrl_bench.runner import trained
from omrl_bench.runner.circumstances import circumstances, now
from omrl_bench.runner.evaluation import Evaluation, Measured
from omrl_bench.runner.job import Job, Progress, failed_record, read_job, write_progress
from omrl_bench.runner.records import CurvePoint, Record, write_failure, write_record
from omrl_bench.runner.traces import write_traces
from omrl_bench.runner.trained import Training

REPORT_EVERY = 0.5  # seconds


def main(job_file: Path) -> None:
    """Run a job; afterwards every cell has a record, complete or failed."""
    watch_parent()
    run_job(read_job(job_file), partial(write_progress, job_file))


def watch_parent() -> None:
    """End this process when the runner, which holds the other end of our standard input, is gone."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread inside it blocks the interpreter's exit
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_job(job: Job, report: Callable[[Progress], None]) -> None:
    """Train and evaluate, and report progress; an exception becomes the error of the records that are not written."""
    torch.set_num_threads(1)  # so that numbers do not depend on how many workers run; the simulator's never do
    measured: dict[int, Measured] = {}
    try:
        # torch's default device costs time at every call, so that the usual one is not set
        with torch.device(job.device) if job.device != "cpu" else nullcontext():
            _Run(job, report, measured).work()
    except Exception as error:
        traceback.print_exc()
        for index, seed in enumerate(job.seeds):
            if seed not in measured:
                write_failure(job.results, failed_record(job, index, describe(error)))


def describe(error: Exception) -> str:
    """One line that says what went wrong, and where in the method if it was raised there."""
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
    """

    def __init__(self, job: Job, tell: Callable[[Progress], None], measured: dict[int, Measured]) -> None:
        self.job, self.tell, self.measured = job, tell, measured
        self.family: Family = get_family(job.cells[0].family)
        self.curves: dict[int, list[CurvePoint]] = {seed: [] for seed in job.seeds}
        self.progress = dict.fromkeys(job.seeds, 0.0)  # share of each seed's training
        self.policy_from = dict.fromkeys(job.seeds, 0.0)  # where the policy's part of it begins
        self.trained: set[int] = set()  # seeds whose policy has had its last update, as far as the method says
        self.last_report = 0.0
        self.spent: dict[str, tuple[float, int]] = {}  # processor seconds and calls of log, by stage
        self.resumed = 0.0
        self.started, self.evaluating = time.perf_counter(), 0.0
        self.cls = load_class(job.target)
        self.privileges = self.cls.requires.privileges
        self.datasets = Datasets(self.family, self.privileges, job.context_rho)
        qualities, train_tasks = job.preset.qualities, job.preset.train_tasks
        self.evaluation = Evaluation(self.datasets, job.protocol, qualities, train_tasks, job.threads)
        self.algorithm = self.new_algorithm()
        self.configuration = as_json(self.algorithm.configuration())

    def new_algorithm(self) -> Algorithm:
        """The method, not trained."""
        job = self.job
        setup = Setup(job.cells[0].preset, job.cells[0].backbone, job.settings, job.device)
        return self.cls(self.family.space(), setup)

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
                self.algorithm.load(folder)
                return training
            except Exception:  # damaged, or another user's and not readable
                traceback.print_exc()
                self.algorithm = self.new_algorithm()
        return self.fit()

    def fit(self) -> Training:
        """Train all seeds, and keep that."""
        job = self.job
        self.started = time.perf_counter()
        budget = Budget(job.preset.updates, job.preset.encoder_updates)
        policy, representation = dataset_parts(job.cells[0].dataset)
        data = self.datasets.training(policy, representation, job.preset.train_tasks)
        self.resumed = time.process_time()
        self.algorithm.fit(data, budget, job.seeds, self.log)
        training = self.training_so_far()
        trained.keep(job, self.algorithm, training)
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
            parameters=self.algorithm.parameter_count(),
            fit_seconds=round(time.perf_counter() - self.started - self.evaluating, 2),
            update_milliseconds={
                stage: round(1000 * seconds / calls, 3) for stage, (seconds, calls) in self.spent.items()
            },
            peak_memory_mib=circumstances()["peak_memory_mib"],
        )

    def log(self, stage: Stage, step: int, total: int, seeds: Sequence[int] | None = None) -> None:
        """Report progress; at some steps of stage `policy`, take a point of the learning curve.

        A method that trains one seed after the other says so by ``seeds``: when it goes on with the next one, the one
        before is evaluated, so that an interruption does not cost it.
        """
        if stage not in STAGES:
            raise ValueError(f"log was called with stage {stage!r}; there are {', '.join(STAGES)}")
        points = self.job.preset.evaluations
        seconds, calls = self.spent.get(stage, (0.0, 0))
        self.spent[stage] = seconds + time.process_time() - self.resumed, calls + 1
        these = self.job.seeds if seeds is None else tuple(seeds)
        for seed in these:
            if self.measured.pop(seed, None) is not None:  # it is trained on, after all
                self.trained.discard(seed)
                self.job.cells[self.job.seeds.index(seed)].record_path(self.job.results).unlink(missing_ok=True)
        for seed in sorted(self.trained - set(these) - set(self.measured)):
            self.measure(seed, self.training_so_far())
        if stage == "policy" and points and step * points // total > (step - 1) * points // total:
            for seed in these:
                score = self.evaluation.validate(partial(self.algorithm.policy, seed), seed)
                self.curves[seed].append(CurvePoint(step=step, score=round(score, 2)))
        self.note_progress(stage, step / total, these)
        self.resumed = time.process_time()  # the learning curve is not the method's time

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
        policy = partial(self.algorithm.policy, seed)
        attention = partial(self.algorithm.attention_weights, seed)
        pictured = seed == self.job.preset.seeds[0]  # pictures need one seed
        found = self.evaluation.measured(policy, attention, seed, pictured)
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
            configuration=self.configuration,
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
