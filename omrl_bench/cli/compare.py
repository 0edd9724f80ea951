"""``omrl-bench compare``: one method against another, in words and numbers."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omrl_bench.cli.show import say

if TYPE_CHECKING:
    import pandas as pd

    from omrl_bench.report.reading.results import Results


_QUESTIONS = {"these": "On these tasks", "new": "On new tasks"}


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A method.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The method that it is compared with.")] = "task-blind",
    results: Annotated[Path, typer.Option(help="Results folder to read.")] = Path("runs"),
    suite: Annotated[str | None, typer.Option(help="Only this suite.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family (repeatable).")] = None,
) -> None:
    """Compare two methods: is A better, worse or equivalent, on these tasks and on new ones, and how often does it win?

    Verdicts are corrected for the number of rows (Holm). docs/statistics.md explains it. Against task-blind, the
    difference is what adaptation gains.

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


def conclusion(table: pd.DataFrame, first: str, second: str, question: str) -> str:
    """Say in one sentence in how many rows the first method is better, worse, equivalent, or none of these.

    Args:
        table: From :func:`omrl_bench.stats.comparison.compare`.
        first: The first method.
        second: The second.
        question: ``these`` or ``new``.
    """
    verdicts = table[f"{question}_verdict"].value_counts()
    words = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}
    parts = [f"{text} {second} in {verdicts[verdict]}" for verdict, text in words.items() if verdict in verdicts]
    where = _QUESTIONS[question]
    if not parts:
        return f"{where}: between {first} and {second} nothing is decided in any of the {len(table)} rows."
    undecided = f"; undecided in {verdicts['undecided']}" if "undecided" in verdicts else ""
    return f"{where}: of {len(table)} rows, {first} is {' and '.join(parts)}{undecided}."


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
                notes.append(f"{family} / {method}: without seeds {names} of {other}")
    return notes


def _print(results: Results, first: str, second: str, chosen: tuple[str, ...]) -> bool:
    """Print what one set of records says; whether it says anything."""
    from rich.console import Console

    from omrl_bench.errors import InputError
    from omrl_bench.report.reading.results import NO_RESULTS
    from omrl_bench.stats.comparison import compare as compare_frame
    from omrl_bench.stats.verdicts import MARGIN

    frame = results.frame
    if chosen:
        frame = frame[frame["family"].isin(chosen)]
    families = tuple(sorted(set(frame["family"])))
    pair = frame[frame["method"].isin([first, second])]
    common = _conditions(pair, first) & _conditions(pair, second)
    where = f"{results.suite} / {results.preset} / {results.dataset} / {results.backbone}"
    if not common:
        say(f"{where}: {first} and {second} have no family and condition in common here")
        return False
    try:
        # other methods have their say in whether seeds are paired, and in what families there are
        table = compare_frame(frame, first, second)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    say(f"{where}: {first} compared with {second}")
    Console().print(_view(table, tuple(dict.fromkeys(frame["condition"]))))
    for question in _QUESTIONS:
        say(conclusion(table, first, second, question))
    if (table[["n_seeds", "n_tasks"]] == 1).any(axis=None):
        say("With a single seed nothing is ever decided, and with a single task nothing on new tasks.")
    say(
        "A - B: difference of mean scores. [low, high]: its 95 % interval. On these tasks: only training runs vary. On "
        "new tasks: tasks vary too. Verdict on A: at 5 %, corrected over all rows of the table (Holm); equivalent: the "
        f"difference is less than {MARGIN:g} points. finds: the smallest difference that so many seeds and tasks would "
        "find with 80 % power, not corrected. P(A > B): probability that a run of A beats a run of B on a task. "
        "n: seeds x tasks."
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
    view.add_column("family\ncondition", overflow="fold")
    # on a narrow screen names are broken, but half of a number would be worse than none
    columns = (("A\nB", 5), ("A - B\nn", 7), ("on these tasks\nA is", 15), ("on new tasks\nA is", 15), ("P(A > B)", 12))
    for name, width in columns:
        view.add_column(name, justify="right", no_wrap=True, min_width=width)
    order = {condition: number for number, condition in enumerate(conditions)}
    rows = sorted(table.to_dict("records"), key=lambda r: (r["family"] == "all", r["family"], order[r["condition"]]))
    for row, before in zip(rows, [None, *rows], strict=False):
        if before and before["family"] != row["family"]:
            view.add_section()
        cells = (
            f"{row['family']}\n{row['condition']}",
            f"{row['score_first']:.1f}\n{row['score_second']:.1f}",
            f"{row['difference']:+.1f}\n{row['n_seeds']} x {row['n_tasks']}",
            *(_judged(row, question) for question in _QUESTIONS),
            f"{row['improvement']:.2f}\n{_interval(row, 'improvement', '.2f')}",
        )
        view.add_row(*(Text(str(cell)) for cell in cells))
    return view


def _judged(row: dict[str, Any], question: str) -> str:
    """Interval, verdict, and what could be found."""
    verdict = row[f"{question}_verdict"]
    if isnan(row[f"{question}_low"]):  # of a single seed
        return f"-\n{verdict}"
    return f"{_interval(row, question, '+.1f')}\n{verdict}\nfinds {row[f'{question}_detectable']:.1f}"


def _interval(row: dict[str, Any], name: str, form: str) -> str:
    return f"[{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"


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
