"""The plan and the progress of a run: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from omrl_bench.conditions import names
from omrl_bench.runner.executors import Watcher

if TYPE_CHECKING:
    from omrl_bench.runner.job import Job
    from omrl_bench.runner.run import Plan

PLAIN_EVERY = 30.0  # seconds between progress lines where there is no terminal


def print_plan(plan: Plan, notes: Sequence[str] = ()) -> None:
    """Print the cells by method and family, what will be done, and some notes on it."""
    console, selection = Console(), plan.selection
    console.print(f"suite {selection.suite.name}, preset {selection.preset_name}", markup=False, highlight=False)
    table = Table("method")
    for family in selection.families:
        table.add_column(family)
    for method in selection.methods:
        row = []
        for family in selection.families:
            states = Counter(p.state for p in plan.cells if p.cell.method == method.name and p.cell.family == family)
            row.append(", ".join(f"{count} {state}" for state, count in states.items()))
        table.add_row(escape(method.name), *row)
    console.print(table)
    for planned in plan.cells:
        if planned.reason:
            cell = planned.cell
            text = f"{planned.state}: {cell.family} / {cell.method} seed {cell.seed}: {planned.reason}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    cells = sum(len(job.cells) for job in plan.jobs)
    conditions = names(selection.protocol.conditions(selection.preset.qualities))
    budget = f"{selection.preset.updates_text()} updates, {selection.protocol.kind}: {', '.join(conditions)}"
    console.print(f"{len(plan.cells)} cells, {cells} to run in {len(plan.jobs)} jobs, {plan.slots} at a time; {budget}")
    if plan.jobs:
        console.print(f"estimated time: {_minutes(plan.seconds)} or less (from a measurement on 2 cores)")
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def watching(notes: Sequence[str] = ()) -> Iterator[Watcher]:
    """Show a run while the context is open: what is built, the plan with some notes, the progress."""
    console = Console()
    if not console.is_terminal:
        yield _PlainWatcher(console, notes)
        return
    watcher = _LiveWatcher(console, notes)
    try:
        yield watcher
    finally:
        watcher.stop()


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
        self.fractions: dict[str, float] = {}  # by the jobs' tokens: labels say nothing of datasets and backbones

    def note(self) -> str:
        done = sum(self.fractions.values()) / max(self.total, 1)
        elapsed = time.monotonic() - self.started
        left = f", {_minutes(elapsed * (1 - done) / done)} left" if 0.02 < done < 1 else ""
        finished = sum(fraction >= 1 for fraction in self.fractions.values())
        return f"{finished}/{self.total} jobs{left}"


class _LineWatcher(Watcher):
    """What is told in lines, whatever the screen."""

    def __init__(self, console: Console, notes: Sequence[str]) -> None:
        self._console, self._notes = console, notes

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def preparing(self, text: str) -> None:
        self._say(f"data: {text}")

    def planned(self, plan: Plan) -> None:
        print_plan(plan, self._notes)
        self._remaining = _Remaining(plan)

    def waiting(self, text: str) -> None:
        self._say(text)

    def elsewhere(self, job: Job, error: str | None) -> None:
        self._remaining.fractions[job.token] = 1.0
        outcome = f"failed {job.label}, in another run: {error}" if error else f"done   {job.label}, by another run"
        self._say(f"{outcome}; {self._remaining.note()}")


class _LiveWatcher(_LineWatcher):
    def __init__(self, console: Console, notes: Sequence[str]) -> None:
        super().__init__(console, notes)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console)
        self._bars: dict[str, TaskID] = {}

    def stop(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        self._all = self._progress.add_task("all", total=max(len(plan.jobs), 1), note="")
        self._progress.start()

    def started(self, job: Job) -> None:
        self._bars[job.token] = self._progress.add_task(escape(job.label), total=1.0, note="starting")

    def progressed(self, job: Job, stage: str, fraction: float) -> None:
        self._remaining.fractions[job.token] = fraction
        self._progress.update(self._bars[job.token], completed=fraction, note=stage)
        self._show_all()

    def elsewhere(self, job: Job, error: str | None) -> None:
        super().elsewhere(job, error)
        self._show_all()

    def _show_all(self) -> None:
        self._progress.update(self._all, completed=sum(self._remaining.fractions.values()), note=self._remaining.note())

    def finished(self, job: Job, seconds: float, error: str | None) -> None:
        self.progressed(job, f"[red]failed[/]: {escape(error)}" if error else "done", 1.0)
        self._progress.stop_task(self._bars[job.token])


class _PlainWatcher(_LineWatcher):
    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        self._last = time.monotonic()

    def started(self, job: Job) -> None:
        self._say(f"start  {job.label}")

    def progressed(self, job: Job, stage: str, fraction: float) -> None:
        self._remaining.fractions[job.token] = fraction
        if time.monotonic() - self._last > PLAIN_EVERY:
            self._last = time.monotonic()
            self._say(f"       {job.label}: {stage} {fraction:.0%}; {self._remaining.note()}")

    def finished(self, job: Job, seconds: float, error: str | None) -> None:
        self._remaining.fractions[job.token] = 1.0
        outcome = f"failed {job.label}: {error}" if error else f"done   {job.label} in {seconds:.0f} s"
        self._say(f"{outcome}; {self._remaining.note()}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
