"""Which records a table takes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from omrl_bench.errors import InputError, RecordError
from omrl_bench.registry import built_in
from omrl_bench.registry.names import check_method_name
from omrl_bench.runner.records import Record


def check_accepted(path: Path, record: Record) -> None:
    """Make sure that a record may stand in a table.

    Raises:
        RecordError: if its method ran in the scorer's own process, or has a name that may be taken for another's.
    """
    if record.refereed is False:
        raise RecordError(path, "is of a method that ran in the scorer's own process (inline): no table takes it")
    problem = _problem(record.cell.method.partition("[")[0])
    if problem:
        raise RecordError(path, f"has a name that no table takes: {problem}")


@lru_cache(maxsize=1024)  # a folder has thousands of records of a few methods
def _problem(name: str) -> str:
    try:
        check_method_name(name, built_in())
    except InputError as error:
        return str(error)
    return ""
