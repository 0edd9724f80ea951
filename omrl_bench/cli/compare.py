"""``omrl-bench compare``: one method against another, in words and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omrl_bench.cli.show import say

if TYPE_CHECKING:
    import pandas as pd

    from omrl_bench.report.reading.results import Results


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A method.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The method that it is compared with.")] = "task-blind",
    results: Annotated[Path, typer.Option(help="Results folder to read.")] = Path("runs"),
    suite: Annotated[str | None, typer.Option(help="Only this suite.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family (repeatable).")] = None,
) -> None:
    """Compare two methods: difference of their scores, probability that A beats B, and whether that is decided.

    Paired over tasks and seeds; verdicts are corrected for the number of rows (Holm). docs/statistics.md explains it.
    Against task-blind, the difference is what adaptation gains.

    Examples:
      omrl-bench compare focal --results results

      omrl-bench compare hs-hard focal --results results

      omrl-bench compare hs-hard focal --results results --suite shift --preset standard --family point-goal
    """
    from omrl_bench.errors import InputError, no_results_folder, unknown_name
    from omrl_bench.report.reading.frames import collect

    if not results.is_dir():
        raise no_results_folder(results)
    if first == second:
        raise InputError(f"{first!r} cannot be compared with itself; name two methods")
    found = [each for each in collect(results, suite, preset) if len(each.frame)]
    if not found:
        raise InputError(f"no complete records in {results}{_of(suite, preset)}; omrl-bench run makes them")
    _check(family or (), "family", found)
    for method in (first, second):
        if not any(method in set(each.frame["method"]) for each in found):
            known = {name for each in found for name in each.frame["method"].unique()}
            raise unknown_name("method", method, known)
    shown = [_print(each, first, second, tuple(family or ())) for each in found]
    if not any(shown):
        raise InputError(f"{first} and {second} have no family and condition in common")


def conclusion(table: pd.DataFrame, first: str, second: str) -> str:
    """Say in one sentence in how many rows the first method is better, worse, or undecided."""
    verdicts = table["verdict"].value_counts()
    parts = [
        f"{text} in {verdicts[verdict]}"
        for verdict, text in (("better", f"better than {second}"), ("worse", f"worse than {second}"))
        if verdict in verdicts
    ]
    if not parts:
        return f"Between {first} and {second} nothing is decided in any of the {len(table)} rows."
    undecided = f"; undecided in {verdicts['undecided']}" if "undecided" in verdicts else ""
    return f"Of {len(table)} rows, {first} is {' and '.join(parts)}{undecided}."


def missing_cells(frame: pd.DataFrame, methods: tuple[str, str], families: tuple[str, ...]) -> list[str]:
    """Say what one of two methods lacks: whole conditions of families, and seeds that the other has."""
    notes = []
    present = {
        key: set(rows["seed"])
        for key, rows in frame.groupby(["family", "condition", "method"], observed=True, sort=True)
    }
    for family in families:
        conditions = sorted({condition for of, condition, _ in present if of == family})
        for method, other in (methods, methods[::-1]):
            lacking = [name for name in conditions if (family, name, method) not in present]
            if lacking == conditions:
                notes.append(f"{family} / {method}: no results; the family is left out, and so is the mean over all")
            elif lacking:
                notes.append(f"{family} / {method}: no results with {', '.join(lacking)}; left out")
            # the seeds differ in the same way in most conditions
            seeds = dict.fromkeys(
                tuple(sorted(present[family, name, other] - present[family, name, method]))
                for name in conditions
                if (family, name, method) in present and (family, name, other) in present
            )
            for absent in filter(None, seeds):
                names = ", ".join(map(str, absent))
                notes.append(f"{family} / {method}: without seeds {names} of {other}; seeds are not paired there")
    return notes


def _print(results: Results, first: str, second: str, chosen: tuple[str, ...]) -> bool:
    """Print what one set of records says; whether it says anything."""
    from rich.console import Console

    from omrl_bench.errors import InputError
    from omrl_bench.report.reading.results import NO_RESULTS
    from omrl_bench.stats.comparison import compare as compare_frame

    frame = results.frame
    if chosen:
        frame = frame[frame["family"].isin(chosen)]
    families = tuple(sorted(set(frame["family"])))
    # of the other methods only the families matter: a mean over some of them would not be one over all
    pair = frame[frame["method"].isin([first, second])]
    common = _conditions(pair, first) & _conditions(pair, second)
    where = f"{results.suite} / {results.preset} / {results.dataset} / {results.backbone}"
    if not common:
        say(f"{where}: {first} and {second} have no family and condition in common here")
        return False
    try:
        table = compare_frame(pair, first, second)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    if len(set(pair["family"])) < len(families):
        table = table[table["family"] != "all"]
    say(f"{where}: {first} compared with {second}")
    Console().print(_view(table, tuple(dict.fromkeys(frame["condition"]))))
    say(conclusion(table, first, second))
    if (table[["n_seeds", "n_tasks"]] == 1).any(axis=None):
        say("With a single seed or task nothing is ever decided.")
    say(
        "Difference: of mean scores, [low, high] the 95 % interval of the two-way bootstrap, paired. "
        "P(A > B): probability that a run of A beats a run of B on a task. "
        "Verdict: at 5 %, corrected over all rows of the table (Holm). n: seeds x tasks."
    )
    for lacking in missing_cells(frame, (first, second), families):
        say(f"note: {lacking}")
    for note in results.notes:
        # about one of the methods, or about a whole family: its versions, and what its data are
        of_either = note.method in (first, second) and note.reason != NO_RESULTS
        if of_either or (not note.method and note.family in families):
            say(f"note: {note}")
    return True


def _view(table: pd.DataFrame, conditions: tuple[str, ...]) -> Any:
    """The rows as a table, ``all`` last, conditions in the order of the records."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    view = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for name in ("family", "condition"):
        view.add_column(name, overflow="fold")
    # on a narrow screen names are broken, but half of a number would be worse than none
    for name, width in (("A", 5), ("B", 5), ("difference", 14), ("P(A > B)", 12), ("A is", 9), ("n", 6)):
        view.add_column(name, justify="left" if name == "A is" else "right", no_wrap=True, min_width=width)
    order = {condition: number for number, condition in enumerate(conditions)}
    rows = sorted(table.to_dict("records"), key=lambda r: (r["family"] == "all", r["family"], order[r["condition"]]))
    for row, before in zip(rows, [None, *rows], strict=False):
        if before and before["family"] != row["family"]:
            view.add_section()
        cells = (
            row["family"],
            row["condition"],
            f"{row['score_first']:.1f}",
            f"{row['score_second']:.1f}",
            _with_interval(row, "difference", "+.1f"),
            _with_interval(row, "improvement", ".2f"),
            row["verdict"],
            f"{row['n_seeds']} x {row['n_tasks']}",
        )
        view.add_row(*(Text(str(cell)) for cell in cells))
    return view


def _with_interval(row: dict[str, Any], name: str, form: str) -> str:
    return f"{row[name]:{form}}\n[{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"


def _conditions(frame: pd.DataFrame, method: str) -> set[tuple[str, str]]:
    rows = frame.loc[frame["method"] == method, ["family", "condition"]].drop_duplicates()
    return set(rows.itertuples(index=False, name=None))


def _check(names: tuple[str, ...] | list[str], kind: str, found: list[Results]) -> None:
    from omrl_bench.errors import unknown_name

    known = {str(name) for each in found for name in each.frame[kind].unique()}
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)


def _of(suite: str | None, preset: str | None) -> str:
    parts = [f"{kind} {name}" for kind, name in (("suite", suite), ("preset", preset)) if name]
    return f" of {', '.join(parts)}" if parts else ""
