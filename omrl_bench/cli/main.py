"""The application and how its errors end."""

from __future__ import annotations

import io
import os
import sys
import traceback

import typer

from omrl_bench import __version__
from omrl_bench.cli import (
    compare,
    data,
    listing,
    paper,
    report,
    reproduce,
    results,
    run,
    show,
    smoke,
    status,
    submit,
    tune,
    validate,
    worker,
)
from omrl_bench.errors import InputError

app = typer.Typer(
    name="omrl-bench",
    help="The benchmark suite and leaderboard harness for offline meta-reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("smoke")(smoke.smoke)
app.command("list")(listing.list_names)
app.command("compare")(compare.compare)
app.command("validate")(validate.validate)
app.command("reproduce")(reproduce.reproduce)
app.command("paper")(paper.paper)
app.command("tune")(tune.tune)
app.add_typer(show.app, name="show")
app.add_typer(data.app, name="data")
app.add_typer(results.app, name="results")
app.add_typer(submit.app, name="submit")
app.command("worker", hidden=True)(worker.worker)
app.command("smoke-worker", hidden=True)(smoke.smoke_worker)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"omrl-bench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Keep the options that come before the verb; --debug is read by main()."""


def main() -> None:
    """Run the application: exit code 2 for bad input, 1 for failed cells or an unexpected error."""
    debug = "--debug" in sys.argv
    _settle()
    try:
        app()
    except InputError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        sys.exit(2)
    except BrokenPipeError:  # | head
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(f"unexpected {type(error).__name__}: {error}" + ("" if debug else "; omrl-bench --debug shows where"))
        sys.exit(1)


def _settle() -> None:
    """Make this process independent of where it was started: nothing that is printed or drawn may end it."""
    if sys.platform == "win32":
        _complain("Windows is not supported; use its Subsystem for Linux (WSL)")
        sys.exit(2)
    os.environ["MPLBACKEND"] = "agg"  # a notebook's backend may not be installed here; there is no screen either way
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # not every terminal has every sign, nor every path's name any


def _complain(message: str) -> None:
    color = False if os.environ.get("NO_COLOR") else None  # None: where there is a terminal
    typer.echo(typer.style("error: ", fg="red", bold=True) + message, err=True, color=color)
