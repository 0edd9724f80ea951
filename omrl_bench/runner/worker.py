"""The worker: trains and evaluates the cells of one job and leaves their records behind."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
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
from omrl_bench.runner.evaluation import Evaluation
from omrl_bench.runner.job import Job, Progress, failed_record, read_job, write_progress
from omrl_bench.runner.records import Cube, CurvePoint, Record, write_record
from omrl_bench.runner.traces import Traces, write_traces
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
    """Train and evaluate, and report progress; an exception becomes the error of the job's records."""
    torch.set_num_threads(1)  # so that numbers do not depend on how many workers run; the simulator's never do
    try:
        # torch's default device costs time at every call, so that the usual one is not set
        with torch.device(job.device) if job.device != "cpu" else nullcontext():
            outcomes = _Run(job, report).outcomes()
    except Exception as error:
        traceback.print_exc()
        outcomes = [(failed_record(job, index, describe(error)), None, None) for index in range(len(job.cells))]
    for record, cube, traces in outcomes:
        write_traces(job.results, record.cell, traces)
        write_record(job.results, record, cube)


def describe(error: Exception) -> str:
    """One line that says what went wrong, and where in the method if it was raised there."""
    message = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{where}"[:600]


class _Run:
    """One job's data, method and progress."""

    def __init__(self, job: Job, tell: Callable[[Progress], None]) -> None:
        self.job, self.tell = job, tell
        self.family: Family = get_family(job.cells[0].family)
        self.curves: dict[int, list[CurvePoint]] = {seed: [] for seed in job.seeds}
        self.policy_from = 0.0
        self.last_report = 0.0
        self.spent: dict[str, tuple[float, int]] = {}  # processor seconds and calls of log, by stage
        self.resumed = 0.0
        cls = load_class(job.target)
        self.privileges = cls.requires.privileges
        self.datasets = Datasets(self.family, self.privileges, job.context_rho)
        qualities, train_tasks = job.preset.qualities, job.preset.train_tasks
        self.evaluation = Evaluation(self.datasets, job.protocol, qualities, train_tasks, job.threads)
        setup = Setup(job.cells[0].preset, job.cells[0].backbone, job.settings, job.device)
        self.algorithm: Algorithm = cls(self.family.space(), setup)
        self.configuration = as_json(self.algorithm.configuration())

    def outcomes(self) -> list[tuple[Record, Cube | None, Traces | None]]:
        """Train, evaluate every seed, and return its record, cube and traces."""
        job = self.job
        training = self.trained()
        started = time.perf_counter()
        measured = []
        for index, seed in enumerate(job.seeds):
            self.report("evaluation", index / len(job.seeds))
            policy = partial(self.algorithm.policy, seed)
            attention = partial(self.algorithm.attention_weights, seed)
            pictured = seed == job.preset.seeds[0]  # pictures need one seed
            measured.append(self.evaluation.measured(policy, attention, seed, pictured))
        seconds = time.perf_counter() - started
        return [
            (self.record(index, cube, training, seconds, representation), cube, traces)
            for index, (cube, representation, traces) in enumerate(measured)
        ]

    def trained(self) -> Training:
        """Load a kept training, or fit and keep it."""
        job = self.job
        # the behaviour policies come with the training data, not with what is saved
        again = job.train_again or "behaviour" in self.privileges
        kept = None if again else trained.find(job)
        if kept is not None:
            folder, training = kept
            self.algorithm.load(folder)
            return training
        started = time.perf_counter()
        budget = Budget(job.preset.updates, job.preset.encoder_updates)
        policy, representation = dataset_parts(job.cells[0].dataset)
        data = self.datasets.training(policy, representation, job.preset.train_tasks)
        self.resumed = time.process_time()
        self.algorithm.fit(data, budget, job.seeds, self.log)
        training = Training(
            suite=f"{job.cells[0].suite}, {job.cells[0].preset}",
            suite_hash=job.hashes.suite,
            seeds=job.seeds,
            curves={seed: tuple(points) for seed, points in self.curves.items()},
            parameters=self.algorithm.parameter_count(),
            fit_seconds=round(time.perf_counter() - started, 2),
            update_milliseconds={
                stage: round(1000 * seconds / calls, 3) for stage, (seconds, calls) in self.spent.items()
            },
            peak_memory_mib=circumstances()["peak_memory_mib"],
        )
        trained.keep(job, self.algorithm, training)
        return training

    def log(self, stage: Stage, step: int, total: int, seeds: Sequence[int] | None = None) -> None:
        """Report progress; at some steps of stage `policy`, take a point of the learning curve."""
        if stage not in STAGES:
            raise ValueError(f"log was called with stage {stage!r}; there are {', '.join(STAGES)}")
        points = self.job.preset.evaluations
        seconds, calls = self.spent.get(stage, (0.0, 0))
        self.spent[stage] = seconds + time.process_time() - self.resumed, calls + 1
        if stage == "policy" and points and step * points // total > (step - 1) * points // total:
            for seed in self.job.seeds if seeds is None else seeds:
                score = self.evaluation.validate(partial(self.algorithm.policy, seed), seed)
                self.curves[seed].append(CurvePoint(step=step, score=round(score, 2)))
        self.report(stage, step / total)
        self.resumed = time.process_time()  # the learning curve is not the method's time

    def report(self, stage: str, fraction: float) -> None:
        """Tell the runner, not too often."""
        if time.monotonic() - self.last_report < REPORT_EVERY:
            return
        self.last_report = time.monotonic()
        if stage == "representation":
            self.policy_from = 0.3  # rough shares of a job's time; a method without an encoder stage starts at 0
        share = {"representation": (0.0, 0.3), "policy": (self.policy_from, 0.9), "evaluation": (0.9, 1.0)}
        low, high = share.get(stage, (0.0, 0.9))
        self.tell(Progress(stage=stage, fraction=low + (high - low) * fraction))

    def record(
        self,
        index: int,
        cube: Cube,
        training: Training,
        evaluate_seconds: float,
        representation: dict[str, dict[str, float]],
    ) -> Record:
        """The record of one complete cell."""
        job = self.job
        same_suite = training.suite_hash == job.hashes.suite
        return Record(
            cell=job.cells[index],
            family_version=self.family.version,
            status="complete",
            hashes=job.hashes,
            equivalent_to=job.equivalent_to,
            dataset_status=job.dataset_status,
            privileges=tuple(sorted(self.privileges)),
            configuration=self.configuration,
            trained_together=training.seeds,
            trained_for=None if same_suite else training.suite,
            metrics=cube.metrics(),
            representation=representation,
            curve=training.curves[job.cells[index].seed] if same_suite else (),
            parameters=training.parameters,
            fit_seconds=training.fit_seconds,
            evaluate_seconds=round(evaluate_seconds, 2),
            update_milliseconds=training.update_milliseconds,
            device=job.device,
            created=now(),
            **circumstances() | {"peak_memory_mib": training.peak_memory_mib},
        )
