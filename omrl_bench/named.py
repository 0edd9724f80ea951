"""Importing what a text names, ``module:Class``: of this package, of an installed one, or of somebody's file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from omrl_bench.errors import InputError, unknown_name


def import_named(reference: str, what: str = "", load: Callable[[str], ModuleType] = import_module) -> Any:
    """Return what ``module:name`` is.

    Args:
        reference: The module and the name.
        what: What is imported, to begin an error with, e.g. ``executor 'slurm'``.
        load: Imports a module by what stands before the colon.

    Raises:
        InputError: if the module cannot be imported, whatever it raises, or has no such name, with the nearest names.
    """
    module_name, _, name = reference.rpartition(":")
    prefix = f"{what}: " if what else ""
    try:
        module = load(module_name)
        found = getattr(module, name, None)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
    except (Exception, SystemExit) as error:  # it may be somebody's code
        raise InputError(f"{prefix}{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    if found is None:
        public = [n for n, v in vars(module).items() if not n.startswith("_") and not isinstance(v, ModuleType)]
        raise InputError(f"{prefix}{unknown_name(f'name in {module_name}', name, public)}")
    return found


def import_subclass(
    reference: str, base: type[Any], what: str = "", load: Callable[[str], ModuleType] = import_module
) -> type[Any]:
    """Return the class that ``module:name`` is, once it is known to be a complete subclass; else as above.

    Raises:
        InputError: if it cannot be imported, is no subclass of ``base``, or lacks methods.
    """
    found = import_named(reference, what, load)
    prefix = f"{what}: " if what else ""
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{prefix}{reference} is not a subclass of {base.__module__}.{base.__name__}")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{prefix}{reference} lacks the method{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    return found
