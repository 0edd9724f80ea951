"""``omrl-bench smoke --family``: check a family in seconds, before data are made of it."""

from __future__ import annotations

import typer

from omrl_bench.errors import InputError


def check_named_family(name: str) -> None:
    """Check a family and say what it passed.

    Raises:
        InputError: what is wrong, in words.
    """
    from omrl_bench.data.family_checks import FamilyError, check_family
    from omrl_bench.envs.families import families, get_family

    wrong = families()[1]
    if name in wrong:  # a package's family may be behind a built-in one of its name
        raise wrong[name]
    try:
        check_family(get_family(name), lambda text: typer.echo(f"ok  {text}"))
    except FamilyError as problem:
        raise InputError(f"{name}: {problem}") from problem
    typer.echo(f"{name}: all checks passed")
