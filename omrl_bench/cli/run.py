"""``omrl-bench run``: plan, data, training, evaluation, table."""

from __future__ import annotations

import enum
import os
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from omrl_bench.errors import InputError

if TYPE_CHECKING:
    from omrl_bench.runner.plan import Rerun, Selection

INTERRUPTED = 130
MOST_SEEDS = 1000


class RerunChoice(enum.StrEnum):
    """Each choice includes the ones before it."""

    missing = "missing"
    failed = "failed"
    stale = "stale"
    all = "all"


def run(
    suite: Annotated[str, typer.Option(help="Suite: a name (omrl-bench list suites) or a TOML file of your own.")],
    preset: Annotated[str | None, typer.Option(help="Budget: quick, standard, ... (default: the suite's).")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method (repeatable).")] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="A method of your own, path/to/file.py:Class, beside the others.")
    ] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family (repeatable).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, e.g. 0-4 or 0,3,7 (default: the preset's).")] = None,
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("runs"),
    rerun: Annotated[
        RerunChoice,
        typer.Option(help="Cells to run: missing; failed (and missing); stale (and those); all."),
    ] = RerunChoice.stale,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers at a time (default: one per core).")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")] = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Run a suite: build missing data, train and evaluate what is missing, print the table.

    Complete cells are kept, so the same command resumes an interrupted run.

    Examples:
      omrl-bench run --suite shift

      omrl-bench run --suite shift --preset standard --method focal --family cheetah-vel --seeds 0-4

      omrl-bench run --suite shift --adapter my_method.py:MyMethod --dry-run
    """
    from omrl_bench.cli.display import print_plan
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.plan import select, unknown_statuses
    from omrl_bench.runner.run import locked, make_plan

    definition = load_suite(suite)
    chosen = [*(method or definition.methods_of(preset)), *(adapter or [])]
    selection = select(definition, preset, family or (), chosen, parse_seeds(seeds), device)
    slots = jobs or os.cpu_count() or 1
    if dry_run:
        print_plan(make_plan(selection, out, _rerun(rerun), slots, unknown_statuses(selection)), selection)
        return
    with locked(out):
        errors = run_selection(selection, out, _rerun(rerun), slots)
        _conclude(out, selection, errors)


def run_selection(selection: Selection, out: Path, rerun: Rerun, slots: int) -> list[str]:
    """Build missing data and run what is left of a selection; return the errors of the jobs that failed.

    The caller holds the results folder, see :func:`omrl_bench.runner.run.locked`.
    """
    from omrl_bench.cli.display import make_watcher, print_plan
    from omrl_bench.runner.executor import run_jobs
    from omrl_bench.runner.plan import prepare_data
    from omrl_bench.runner.run import make_plan

    signal.signal(signal.SIGTERM, _interrupt)
    statuses = prepare_data(selection, os.cpu_count() or 1, lambda text: typer.echo(f"data: {text}"))
    plan = make_plan(selection, out, rerun, slots, statuses)
    print_plan(plan, selection)
    try:
        with make_watcher(plan) as watcher:
            return run_jobs(plan.jobs, plan.slots, watcher)
    except KeyboardInterrupt:
        typer.echo("interrupted; finished cells are kept, the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None


def parse_seeds(text: str | None) -> tuple[int, ...]:
    """Parse ``0-4`` or ``0,3,7`` into seeds; none given is an empty tuple.

    Raises:
        InputError: if the text is neither.
    """
    if text is None:
        return ()
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            found = range(int(first), int(last) + 1) if dash and first else [int(part)]
        except ValueError as error:
            raise InputError(f"--seeds {text!r}: write numbers and ranges, e.g. 0-4 or 0,3,7") from error
        if len(found) > MOST_SEEDS:
            raise InputError(f"--seeds {text!r}: {len(found)} seeds; at most {MOST_SEEDS}")
        if not found:
            raise InputError(f"--seeds {text!r}: the range {part.strip()} is empty")
        seeds += found
    return tuple(seeds)


def _rerun(choice: RerunChoice) -> Rerun:
    from omrl_bench.runner.plan import Rerun

    return get_args(Rerun)[list(RerunChoice).index(choice)]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _conclude(out: Path, selection: Selection, errors: list[str]) -> None:
    from omrl_bench.report.build import build
    from omrl_bench.report.tables.terminal import print_scores

    if print_scores(out, selection.suite.name, selection.preset_name):
        written = build(out, out / "report", selection.suite.name, selection.preset_name)
        typer.echo(f"\nrecords: {out / selection.suite.name}   tables and figure: {written[0].parent}")
    if errors:
        typer.echo(f"\n{len(errors)} failed; the same command tries them again:", err=True)
        for error in errors:
            typer.echo(f"  {error}", err=True)
        raise typer.Exit(1)
