"""``omrl-bench tune``: pick hyper-parameters by the rule of ruleset ``tuned``, and keep the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.cli.execution import ExecutorOption, JobsOption, show_run

if TYPE_CHECKING:
    from omrl_bench.runner.plan import Selection


def tune(
    file: Annotated[Path, typer.Argument(help="What is tuned, in which space, within how many episodes (TOML).")],
    out: Annotated[Path, typer.Option(help="Folder of the ledger, the scores and the records.")] = Path("tuned"),
    executor: ExecutorOption = "local",
    jobs: JobsOption = None,
) -> None:
    """Tune by the rule: three studies of five quasi-random points, picked per family on validation tasks.

    The median of the three studies is the score. The same command resumes an interrupted run. docs/submitting.md says
    what the file holds.

    Example:
      omrl-bench tune focal.toml --out tuned/focal
    """
    from omrl_bench.runner.executors import make_executor
    from omrl_bench.runner.tuning import LEDGER, SCORES, read_tuning
    from omrl_bench.runner.tuning import tune as do_studies

    tuning = read_tuning(file)
    where = make_executor(executor, jobs)

    def run(selection: Selection, results: Path) -> tuple[str, ...]:
        return show_run(selection, results, "stale", where).errors

    for each in do_studies(tuning, out, run):
        if each.family == "all":
            said = ", the median: the row's score" if each.median else ""
            typer.echo(f"study {each.study}: {each.score:.1f} after {each.episodes:,} episodes{said}")
    typer.echo(f"{out / LEDGER}: every point; {out / SCORES}: what was picked, and its score on each family")
