"""``omrl-bench reproduce``: how to make a record again, and whether it comes out the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.cli.execution import ExecutorOption, show_run
from omrl_bench.cli.show import say

if TYPE_CHECKING:
    from omrl_bench.runner.cubes import Cube
    from omrl_bench.runner.executors import Executor
    from omrl_bench.runner.plan import Selection
    from omrl_bench.runner.records import Record
    from omrl_bench.runner.reproduce import Agreement, HashCheck, Step


def reproduce(
    record: Annotated[Path, typer.Argument(help="A record's JSON file.")],
    run: Annotated[bool, typer.Option("--run", help="Repeat it here and compare the numbers.")] = False,
    out: Annotated[Path, typer.Option(help="Results folder of the repetition.")] = Path("reproduced"),
    suite: Annotated[
        str | None, typer.Option(help="The record's suite file, if the suite does not come with the package.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The record's method, path/to/file.py:Class, if it is not registered.")
    ] = None,
    executor: ExecutorOption = "local",
) -> None:
    """Print the commands that make a record again, and what has changed since; with --run, repeat and compare it.

    Exit code 1 if --run gets other numbers than the record's, by more than rounding.

    Examples:
      omrl-bench reproduce results/shift/standard/point-goal/mixed/focal/iql/seed-0.json

      omrl-bench reproduce results/shift/standard/point-goal/mixed/focal/iql/seed-0.json --run --out again

      omrl-bench reproduce seed-0.json --suite my_suite.toml --method my_method.py:MyMethod --run
    """
    from omrl_bench.runner.executors import make_executor
    from omrl_bench.runner.records import read_record
    from omrl_bench.runner.reproduce import check_out, equivalences_of, hash_checks, read_original, select_again, steps

    where = make_executor(executor, 1)
    found = read_record(record)
    selection = select_again(found, suite, method)
    checks = hash_checks(found, selection, equivalences_of(record, found))
    say(f"{found.cell.record_path(Path()).as_posix()}, made {found.created}")
    _print_checks(checks)
    _print_steps(steps(found, out, suite, method))
    if not run:
        return
    original = read_original(record, found)
    check_out(record, found, out)
    changed = [check.name for check in checks if not check.same]
    if changed:
        say(f"\nchanged since: {', '.join(changed)}; if the numbers differ, this may be why")
    repeated = _repeat(found, select_again(found, suite, method, found.device), out, where)
    say(f"\nrecords: {out / found.cell.folder()}")
    _conclude(found, original, repeated)


def _print_checks(checks: list[HashCheck]) -> None:
    say("\nIs what it was made from the same now?")
    for check in checks:
        verdict = check.meaning or "same" if check.same else f"changed: {check.meaning}"
        say(f"  {check.name:<10} {verdict}")


def _print_steps(steps: list[Step]) -> None:
    say("\nTo make it again:")
    for step in steps:
        if step.note:
            say(f"  # {step.note}")
        if step.command:
            say(f"  {step.command}")


def _repeat(record: Record, selection: Selection, out: Path, executor: Executor) -> dict[int, Cube]:
    """Run the cells that were trained together: their cubes by seed."""
    from omrl_bench.runner.cubes import read_cube
    from omrl_bench.runner.records import read_record

    cubes = {}
    show_run(selection, out, "all", executor)
    for seed in selection.seeds:
        cell = record.cell.model_copy(update={"seed": seed})
        again = read_record(cell.record_path(out))
        if again.status != "complete":
            say(f"\nthe repetition failed: {again.error}")
            raise typer.Exit(1)
        cubes[seed] = read_cube(cell.cube_path(out), again.cube)
    return cubes


def _conclude(record: Record, original: Cube, repeated: dict[int, Cube]) -> None:
    from omrl_bench.runner.reproduce import ROUNDING, compare

    agreement = compare(original, repeated, record.cell.seed)
    if agreement is None:
        say("different: the repetition measured other conditions or tasks than the record; they do not compare")
        raise typer.Exit(1)
    count, most = original.returns.size, f"{agreement.return_difference:.2g}"
    points = f"{agreement.score_difference:.2g} points of score"
    if agreement.identical:
        say(f"identical: all {count} returns of the repetition have the record's bits")
    elif agreement.agrees:
        say(f"equal within rounding: of {count} returns none differs by more than {most} ({points})")
    else:
        say(f"different: of {count} returns one differs by {most} ({points}); {ROUNDING} points would be rounding")
        _print_scores(agreement, len(repeated))
        raise typer.Exit(1)


def _print_scores(agreement: Agreement, seeds: int) -> None:
    """The mean score of every condition, and how much it varies between seeds."""
    for condition, (recorded, repeated, spread) in agreement.scores.items():
        scale = f"; standard deviation over {seeds} seeds {spread:.2f}" if seeds > 1 else "; one seed, so no scale"
        say(f"  {condition}: score {recorded:.2f} then, {repeated:.2f} now, by {repeated - recorded:+.2f}{scale}")
