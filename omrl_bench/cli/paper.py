"""``omrl-bench paper``: a paper's tables with our numbers beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.cli.execution import ExecutorOption, JobsOption, end_with, show_run

if TYPE_CHECKING:
    from omrl_bench.runner.plan import Selection


def paper(
    name: Annotated[str, typer.Argument(help="Paper: hs-omrl, focalpp, gentle, r2pgo or ccm.")],
    results: Annotated[Path, typer.Option(help="Results folder to read.")] = Path("runs"),
    preset: Annotated[
        str,
        typer.Option(help="Budget of our runs; preset variants goes with standard and reference, not with quick."),
    ] = "standard",
    out: Annotated[Path | None, typer.Option(help="Folder to write to (default: RESULTS/report/papers).")] = None,
    run: Annotated[bool, typer.Option("--run", help="Run the cells that are missing first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what --run would run, and stop.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Print how many published numbers have a counterpart, and stop.")
    ] = False,
    executor: ExecutorOption = "local",
    jobs: JobsOption = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Write a paper's tables in its own layout, our numbers beside them, and which published orderings survive.

    Markdown for reading, CSV for all numbers. What we have no records of is shown as missing, with the reason.

    Examples:
      omrl-bench paper hs-omrl --results results

      omrl-bench paper gentle --preset quick --run

      omrl-bench paper focalpp --coverage
    """
    if coverage:
        from omrl_bench.report.papers import coverage as of_paper

        typer.echo("\n".join(of_paper.sentences(of_paper.coverage(name, preset))))
        return
    from omrl_bench.cli.display import print_plan
    from omrl_bench.errors import no_results_folder
    from omrl_bench.report.papers.claims import summary
    from omrl_bench.report.papers.pages import compare_with, write
    from omrl_bench.runner.executors import make_executor
    from omrl_bench.runner.plan import unknown_statuses
    from omrl_bench.runner.run import make_plan

    if results.exists() and not results.is_dir():
        raise no_results_folder(results)
    where = make_executor(executor, jobs)
    if dry_run:
        for selection in selections(name, preset, device):
            print_plan(make_plan(selection, results, "failed", where, unknown_statuses(selection)))
        return
    chosen = selections(name, preset, device) if run else []
    errors = [error for selection in chosen for error in show_run(selection, results, "failed", where).errors]
    comparison = compare_with(name, results, preset)
    for path in write(comparison, out or results / "report" / "papers"):
        typer.echo(path)
    for sentence in summary(comparison.paper, comparison.orderings):
        typer.echo(sentence)
    end_with(errors)


def selections(name: str, preset: str, device: str = "cpu") -> list[Selection]:
    """What a paper's page needs of each suite and preset: no other families, methods or datasets.

    Raises:
        InputError: if there is no such paper, preset or device.
    """
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.report.papers.mapping import all_targets, load_paper, locate, published
    from omrl_bench.runner.plan import select

    paper = load_paper(name)
    targets = all_targets(paper, locate(paper, published(name), preset), preset)
    chosen = []
    for suite, of in dict.fromkeys((target.suite, target.preset) for target in targets):
        here = [target for target in targets if (target.suite, target.preset) == (suite, of)]
        families, methods = [target.family for target in here], [target.method for target in here]
        datasets = {target.dataset for target in here}
        chosen.append(select(load_suite(suite), of, families, methods, device=device, datasets=datasets))
    return chosen
