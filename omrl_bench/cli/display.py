"""The plan and the progress of a run: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from omrl_bench.conditions import names
from omrl_bench.runner.executor import Watcher

if TYPE_CHECKING:
    from omrl_bench.runner.job import Job
    from omrl_bench.runner.plan import Selection
    from omrl_bench.runner.run import Plan

PLAIN_EVERY = 30.0  # seconds between progress lines where there is no terminal


def print_plan(plan: Plan, selection: Selection) -> None:
    """Print the cells by method and family, and what will be done."""
    console = Console()
    console.print(f"suite {selection.suite.name}, preset {selection.preset_name}", markup=False, highlight=False)
    table = Table("method")
    for family in selection.families:
        table.add_column(family)
    for method, _ in selection.methods:
        row = []
        for family in selection.families:
            states = Counter(p.state for p in plan.cells if p.cell.method == method and p.cell.family == family)
            row.append(", ".join(f"{count} {state}" for state, count in states.items()))
        table.add_row(method, *row)
    console.print(table)
    for planned in plan.cells:
        if planned.reason:
            cell = planned.cell
            text = f"{planned.state}: {cell.family} / {cell.method} seed {cell.seed}: {planned.reason}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    cells = sum(len(job.cells) for job in plan.jobs)
    conditions = names(selection.suite.protocol.conditions(selection.preset.qualities))
    budget = f"{selection.preset.updates_text()} updates, {selection.suite.protocol.kind}: {', '.join(conditions)}"
    console.print(f"{len(plan.cells)} cells, {cells} to run in {len(plan.jobs)} jobs, {plan.slots} at a time; {budget}")
    if plan.jobs:
        console.print(f"estimated time: {_minutes(plan.seconds)} or less (from a measurement on 2 cores)")


@contextmanager
def make_watcher(plan: Plan) -> Iterator[Watcher]:
    """Show the progress of a plan while the context is open."""
    console = Console()
    if not console.is_terminal:
        yield _PlainWatcher(plan, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield _LiveWatcher(plan, progress)


@contextmanager
def building() -> Iterator[Callable[[tuple[str, str], float], None]]:
    """Show how far datasets are simulated while the context is open; called with (family, quality) and fraction."""
    console = Console()
    if not console.is_terminal:
        yield lambda item, fraction: None  # each is announced when it is there
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as progress:
        bars: dict[tuple[str, str], TaskID] = {}

        def show(item: tuple[str, str], fraction: float) -> None:
            if item not in bars:
                bars[item] = progress.add_task("/".join(item), total=1.0)
            progress.update(bars[item], completed=fraction, visible=fraction < 1)

        yield show


class _Remaining:
    """Estimates the time left from the share of the plan that is done."""

    def __init__(self, plan: Plan) -> None:
        self.total, self.started = len(plan.jobs), time.monotonic()
        self.fractions: dict[str, float] = {}

    def note(self) -> str:
        done = sum(self.fractions.values()) / max(self.total, 1)
        elapsed = time.monotonic() - self.started
        left = f", {_minutes(elapsed * (1 - done) / done)} left" if 0.02 < done < 1 else ""
        finished = sum(fraction >= 1 for fraction in self.fractions.values())
        return f"{finished}/{self.total} jobs{left}"


class _LiveWatcher:
    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._progress, self._remaining = progress, _Remaining(plan)
        self._bars: dict[str, TaskID] = {}
        self._all = progress.add_task("all", total=max(len(plan.jobs), 1), note="")

    def started(self, job: Job) -> None:
        self._bars[job.label] = self._progress.add_task(job.label, total=1.0, note="starting")

    def progressed(self, job: Job, stage: str, fraction: float) -> None:
        self._remaining.fractions[job.label] = fraction
        self._progress.update(self._bars[job.label], completed=fraction, note=stage)
        self._progress.update(self._all, completed=sum(self._remaining.fractions.values()), note=self._remaining.note())

    def finished(self, job: Job, seconds: float, error: str | None) -> None:
        self.progressed(job, f"[red]failed[/]: {escape(error)}" if error else "done", 1.0)
        self._progress.stop_task(self._bars[job.label])


class _PlainWatcher:
    def __init__(self, plan: Plan, console: Console) -> None:
        self._console, self._remaining = console, _Remaining(plan)
        self._last = time.monotonic()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, job: Job) -> None:
        self._say(f"start  {job.label}")

    def progressed(self, job: Job, stage: str, fraction: float) -> None:
        self._remaining.fractions[job.label] = fraction
        if time.monotonic() - self._last > PLAIN_EVERY:
            self._last = time.monotonic()
            self._say(f"       {job.label}: {stage} {fraction:.0%}; {self._remaining.note()}")

    def finished(self, job: Job, seconds: float, error: str | None) -> None:
        self._remaining.fractions[job.label] = 1.0
        outcome = f"failed {job.label}: {error}" if error else f"done   {job.label} in {seconds:.0f} s"
        self._say(f"{outcome}; {self._remaining.note()}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
