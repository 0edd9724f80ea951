"""The live curves of a job: what its method reports, and the points of the learning curve, as a tracker is shown them.

Nothing here changes a number, and nothing that goes wrong here ends a training: it is said in the job's log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omrl_bench.api import Stage
from omrl_bench.runner.job import Job
from omrl_bench.runner.trackers import PROJECT, TrackerRun, find_tracker

FOLDER = ".track"  # in the results folder
POINTS = 100  # of a stage, at most, beside those of the learning curve


class LiveCurves:
    """The curves of the seeds of a job that is being trained; none if it is not tracked.

    Args:
        job: The job.
        configuration: The method's hyper-parameters.
    """

    def __init__(self, job: Job, configuration: Mapping[str, Any]) -> None:
        self._runs: dict[int, TrackerRun] = {}
        self._updates = dict.fromkeys(job.seeds, 0)  # of both stages
        self._steps: dict[tuple[int, Stage], int] = {}
        if job.track is not None:
            for seed in job.seeds:
                with self._harmless(seed):
                    self._runs[seed] = _begin(job, seed, configuration)

    def show(
        self,
        stage: Stage,
        step: int,
        total: int,
        seeds: Sequence[int],
        milliseconds: float,
        scores: Mapping[int, float],
    ) -> None:
        """Show what a method reported.

        Args:
            stage: As :class:`omrl_bench.api.Log` has it.
            step: The same.
            total: The same.
            seeds: Those that it is about.
            milliseconds: Processor time of one update of this stage, of all seeds that train together.
            scores: On the validation tasks, by seed, if they were just evaluated.
        """
        for seed in seeds if self._runs else ():
            before = self._steps.get((seed, stage), 0)
            due = step * POINTS // total > before * POINTS // total or step < before  # reports may come in batches
            self._steps[seed, stage] = step
            self._updates[seed] += step - before if step > before else step  # a stage may begin again
            if seed in self._runs and (due or seed in scores):
                values = {f"{stage}/share": step / total, f"{stage}/update_milliseconds": milliseconds}
                if seed in scores:
                    values["validation/score"] = scores[seed]
                with self._harmless(seed):
                    self._runs[seed].log(values, step=self._updates[seed])

    def finish(self) -> None:
        """End the runs."""
        for seed, run in list(self._runs.items()):
            with self._harmless(seed):
                run.finish()
        self._runs.clear()

    @contextmanager
    def _harmless(self, seed: int) -> Iterator[None]:
        """Say what goes wrong with the curves of a seed, and leave them."""
        try:
            yield
        except Exception as error:
            print(f"the curves of seed {seed} are tracked no further: {type(error).__name__}: {error}", flush=True)
            self._runs.pop(seed, None)


def _begin(job: Job, seed: int, configuration: Mapping[str, Any]) -> TrackerRun:
    cell = job.cells[job.seeds.index(seed)]
    folder = job.results / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    budget = {"updates": job.preset.updates, "encoder_updates": job.preset.encoder_updates}
    return find_tracker(str(job.track)).init(
        project=PROJECT,
        name=f"{cell.family} / {cell.method} / seed {seed}",
        group=cell.folder().as_posix(),
        config=cell.model_dump() | budget | {"device": job.device, "configuration": dict(configuration)},
        dir=str(folder),
    )
