"""``omrl-bench smoke``: check a method in seconds, before it is given hours."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from omrl_bench.errors import InputError
from omrl_bench.processes import command

COMPLAINED = 2  # exit code of a check that says what is wrong
PASSED = 90  # no code that an adapter ends its process with by chance

Method = Annotated[str | None, typer.Argument(help="A registered name, or path/to/file.py:Class.")]
MethodOption = Annotated[str | None, typer.Option("--method", help="The same, as other verbs take it.")]
Family = Annotated[str | None, typer.Option(help="A family, a built-in one or that of an installed package.")]
Backbone = Annotated[str, typer.Option(help="Backbone to build it with.")]


def smoke(
    method: Method = None,
    option: MethodOption = None,
    family: Family = None,
    backbone: Backbone = "iql",
    time_limit: Annotated[int, typer.Option(min=1, help="Seconds after which the check gives up.")] = 60,
) -> None:
    """Check a method on a small real dataset: shapes, limits, saving, seeds, global random state. Or check a family.

    Exit code 2, and what is wrong in words, if it fails.

    Examples:
      omrl-bench smoke focal

      omrl-bench smoke my_method.py:MyMethod

      omrl-bench smoke --family point-goal
    """
    if family is not None:
        if method or option:
            raise InputError("check a method or a --family, not both at once")
        from omrl_bench.cli.family import check_named_family

        check_named_family(family)
        return
    from omrl_bench.registry import resolve_method

    if (method is None) == (option is None):
        raise InputError("name one method: a registered name, or path/to/file.py:Class")
    name, target = resolve_method(str(method or option))
    # in a process of its own, because an adapter may hang or crash
    worker = command("smoke-worker", target, "--backbone", backbone)
    try:
        code = subprocess.run(worker, timeout=time_limit, check=False).returncode
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{name}: not done after {time_limit} s with 20 updates; does it end when its budget is spent?"
        ) from error
    if code == COMPLAINED:
        raise typer.Exit(COMPLAINED)
    if code != PASSED:
        ending = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise InputError(f"{name}: the process {ending} before the checks were through")
    typer.echo(f"{name}: all checks passed")


def smoke_worker(target: str, backbone: Backbone = "iql") -> None:
    """Run the checks in this process."""
    import torch

    from omrl_bench.registry import backbones, load_class
    from omrl_bench.testing import AdapterError, check_adapter

    torch.set_num_threads(1)  # as in a run
    if backbone not in backbones():
        from omrl_bench.errors import unknown_name

        raise unknown_name("backbone", backbone, backbones())
    name = target.rpartition(":")[2]
    try:
        check_adapter(load_class(target), backbone, lambda text: typer.echo(f"ok  {text}"))
    except AdapterError as problem:
        raise InputError(f"{name}: {problem}") from problem
    raise typer.Exit(PASSED)
