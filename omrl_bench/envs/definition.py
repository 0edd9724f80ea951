"""Which source files say what a family's MDPs are: its fingerprint covers these."""

from __future__ import annotations

from importlib import util
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.fingerprint import normalise_source
from omrl_bench.registry.imports import imports_of, read_source

#: Modules of this package that every law imports and that hold no formula.
_NO_FORMULAS = {"omrl_bench.envs.families", "omrl_bench.envs.law"}


def law_sources(module: str) -> list[str]:
    """Return the normalised sources that a law depends on: its module's first, then those of what it imports.

    Only modules of the law's own package, and laws and physics of :mod:`omrl_bench.envs`, count; a library's version is
    no part of a definition.

    Args:
        module: Name of the law's module. It is not imported, only the package that it is in.

    Raises:
        InputError: if there is no such module, it is no Python file, or it cannot be told what it imports.
    """
    top = module.partition(".")[0]
    own = "omrl_bench.envs" if top == "omrl_bench" else top
    waiting, sources = [module], {}
    while waiting:
        name = waiting.pop(0)
        file = _file(name)
        if file is None:
            raise InputError(f"module {name} cannot be found, or is no Python file; a law is a module of your package")
        sources[name] = normalise_source(read_source(file))
        for each in imports_of(file, name):
            if each.module is None:
                raise InputError(
                    f"{file}:{each.line} imports a module whose name is computed; write an import statement"
                )
            named = (each.module, *(f"{each.module}.{part}" for part in each.names))
            followed = [other for other in named if _inside(other, own) and _file(other) is not None]
            waiting += [other for other in followed if other not in {*sources, *waiting, *_NO_FORMULAS}]
    return list(sources.values())


def _inside(module: str, own: str) -> bool:
    return module == own or module.startswith((f"{own}.", "omrl_bench.envs."))


def _file(module: str) -> Path | None:
    """The file of a module; None if there is none, as of a name that is a class or a library's extension."""
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
