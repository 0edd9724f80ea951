"""``omrl-bench run``: plan, data, training, evaluation, table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.cli.execution import (
    AddressOption,
    DetachOption,
    ExecutorOption,
    GpusOption,
    JobsOption,
    LimitOption,
    SlurmOption,
    TrackOption,
    end_with,
    given,
    show_run,
)
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import Rerun

if TYPE_CHECKING:
    from omrl_bench.runner.plan import Selection

MOST_SEEDS = 1000
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Only this method: a registered name or path/to/file.py:Class, with settings as in "
        "focal\\[beta=2.0], or a set of methods, @papers (repeatable)."  # escaped: Rich reads brackets as markup
    ),
]


def run(
    suite: Annotated[str, typer.Option(help="Suite: a name (omrl-bench list suites) or a TOML file of your own.")],
    preset: Annotated[str | None, typer.Option(help="Budget: quick, standard, ... (default: the suite's).")] = None,
    method: MethodOption = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family (repeatable).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, e.g. 0-4 or 0,3,7 (default: the preset's).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a hyper-parameter, e.g. beta=2.0 or backbone.width=64 (repeatable). Each method becomes a row "
            "of its own name, focal\\[beta=2.0], so that its records mix with no others.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("runs"),
    against: Annotated[
        Path | None,
        typer.Option(
            help="Results folder whose rows stand beside yours in the tables (default: the reference records of the "
            "checkout, if you name a method of your own or change a setting)."
        ),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write and print no tables and figures.")] = False,
    rerun: Annotated[
        Rerun,
        typer.Option(help="Cells to run: missing; failed (and missing); stale (and those); all."),
    ] = "stale",
    executor: ExecutorOption = "local",
    jobs: JobsOption = None,
    address: AddressOption = None,
    gpus_per_job: GpusOption = None,
    slurm_option: SlurmOption = None,
    detach: DetachOption = False,
    limit_hours: LimitOption = None,
    track: TrackOption = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")] = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Run a suite: build missing data, train and evaluate what is missing, print the table.

    Complete cells are kept, so the same command resumes an interrupted run.

    Examples:
      omrl-bench run --suite shift

      omrl-bench run --suite shift --preset standard --method focal --family cheetah-vel --seeds 0-4

      omrl-bench run --suite shift --preset standard --method my_method.py:MyMethod

      omrl-bench run --suite shift --preset standard --method focal --set beta=2.0 --dry-run
    """
    from omrl_bench.cli.display import print_plan
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.executors import make_executor
    from omrl_bench.runner.limit import Limit
    from omrl_bench.runner.plan import select, unknown_statuses
    from omrl_bench.runner.references import reference_notes, shipped_records
    from omrl_bench.runner.run import make_plan
    from omrl_bench.runner.settings import parse_settings
    from omrl_bench.runner.trackers import find_tracker

    changed = parse_settings(settings or ())
    selection = select(load_suite(suite), preset, family or (), method or (), parse_seeds(seeds), device, changed)
    options = given(address=address, gpus_per_job=gpus_per_job, slurm_option=slurm_option, detach=detach)
    where = make_executor(executor, jobs, **options)
    named = bool(method or changed) and not all(each.built_in for each in selection.methods)
    reference = None if no_report else against or (shipped_records() if named else None)
    notes = reference_notes(selection, reference) if reference or (named and not no_report) else []
    if limit_hours is not None:
        Limit(limit_hours)  # a dry run says, too, what would be refused
    if track is not None:
        find_tracker(track)
    if dry_run:
        print_plan(make_plan(selection, out, rerun, where, unknown_statuses(selection)), notes)
        return
    outcome = show_run(selection, out, rerun, where, notes, limit_hours, track)
    if not no_report:
        _report(out, selection, reference)
    end_with(outcome.errors, len(outcome.left))


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


def _report(out: Path, selection: Selection, reference: Path | None) -> None:
    from omrl_bench.report.build import build_read
    from omrl_bench.report.reading.frames import collect
    from omrl_bench.report.tables.terminal import print_scores

    suite, preset = selection.suite.name, selection.preset_name
    found = [each for each in collect(out, suite, preset, reference=reference) if len(each.frame)]
    if found:
        print_scores(found)
        written = build_read(found, out / "report")
        typer.echo(f"\nrecords: {out / suite}   tables and figure: {written[0].parent}")
