"""Which source files say what a family's MDPs are: its fingerprint covers these."""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib import util
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.fingerprint import normalise_source

#: Modules of this package that every law imports and that hold no formula.
_NO_FORMULAS = {"omrl_bench.envs.families", "omrl_bench.envs.law"}


def law_sources(module: str) -> list[str]:
    """Return the normalised sources that a law depends on: its module's first, then those of what it imports.

    Only modules of the law's own package, and laws and physics of :mod:`omrl_bench.envs`, count; a library's version is
    no part of a definition.

    Args:
        module: Name of the law's module. It is not imported, only the package that it is in.

    Raises:
        InputError: if there is no such module, or it is no Python file.
    """
    own = module.partition(".")[0].replace("omrl_bench", "omrl_bench.envs")
    waiting, sources = [module], {}
    while waiting:
        name = waiting.pop(0)
        file = _file(name)
        if file is None:
            raise InputError(f"module {name} cannot be found, or is no Python file; a law is a module of your package")
        text = file.read_text(encoding="utf-8")
        sources[name] = normalise_source(text)
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        named = [other for other in _imported(text, package) if _inside(other, own) and _file(other) is not None]
        waiting += [other for other in named if other not in {*sources, *waiting, *_NO_FORMULAS}]
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


@lru_cache(maxsize=256)  # planning a suite asks for the same few files for every cell
def _imported(source: str, package: str) -> tuple[str, ...]:
    """What a module imports, in order: modules, and names that may be modules."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = util.resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            found += [str(base), *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(found))
