"""Which files a module imports, told from its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from importlib.util import decode_source
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from omrl_bench.errors import InputError

_CALLS = ("import_module", "__import__")
_INIT = "__init__.py"


class Import(NamedTuple):
    """One import of a module.

    Attributes:
        line: Where it stands.
        module: Full name of what is imported or imported from; None if it is computed when the program runs.
        names: What is imported from it; ``*`` is everything, none is the module itself.
    """

    line: int
    module: str | None
    names: tuple[str, ...]


def file_of(folder: Path, module: str) -> Path | None:
    """Return the source file of a module by its dotted name below a folder, if there is one.

    A name may be that of a package, whose file is ``__init__.py``; an empty name is the folder itself.
    """
    *parents, last = module.split(".")
    files = (folder.joinpath(*parents, last, _INIT), *([folder.joinpath(*parents, f"{last}.py")] if last else []))
    return next((file for file in files if file.is_file()), None)


def read_source(file: Path) -> str:
    """Read a source file, in the encoding that it declares as Python has it: UTF-8 if none.

    Raises:
        InputError: if it cannot be read, or is no text of that encoding.
    """
    try:
        return decode_source(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, SyntaxError) as error:
        raise InputError(f"{file} is no text in the encoding that it declares (UTF-8 if none): {error}") from error


@lru_cache(maxsize=512)  # planning a suite asks for the same few files for every cell; so below
def parse(source: str, where: str) -> ast.Module:
    """Parse the text of a module; ``where`` names it in errors.

    Raises:
        InputError: if it is no Python.
    """
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise InputError(f"{where}:{error.lineno} is no Python: {error.msg}") from error
    except ValueError as error:  # null bytes
        raise InputError(f"{where} is no Python: {error}") from error


def imports_of(file: Path, module: str) -> tuple[Import, ...]:
    """All imports of a source file, those inside functions too.

    Args:
        file: The file.
        module: Its full name, which relative imports go from.

    Raises:
        InputError: if the file cannot be read, or is no Python.
    """
    package = module if file.name == _INIT else module.rpartition(".")[0]
    return _imports(read_source(file), str(file), package)


def closure(start: Iterable[str], locate: Callable[[str], Path | None]) -> dict[Path, str]:
    """Find the files of some modules, and of all that they import, directly or not.

    Args:
        start: Full names of modules.
        locate: Gives the file of a module by its full name; None for those that are not followed.

    Returns:
        The files, with the names of their modules; a package's ``__init__.py`` among them, unless it says nothing.

    Raises:
        InputError: if it cannot be told what a file imports, and what to write instead.
    """
    locate = cache(locate)  # most modules are imported by many
    found: dict[Path, str] = {}
    waiting = [name for module in start for name in _with_parents(module)]
    while waiting:
        module = waiting.pop()
        file = locate(module)
        if file is None or file in found:
            continue
        found[file] = module
        for each in imports_of(file, module):
            waiting += modules_behind(file, each, locate)
    return {file: module for file, module in found.items() if file.name != _INIT or _says_something(file)}


def modules_behind(file: Path, each: Import, locate: Callable[[str], Path | None]) -> list[str]:
    """Names of the modules that an import may run; some may turn out to be names inside a module.

    Args:
        file: The file that the import stands in.
        each: The import.
        locate: See :func:`closure`.

    Raises:
        InputError: if it cannot be told which these are.
    """
    if each.module is None:
        raise InputError(
            f"{file}:{each.line} imports a module whose name is computed, so that nobody can tell which source the "
            "numbers depend on; write an import statement (or install the method as a package: all of its files count)"
        )
    if not each.module:  # above everything: it fails when it runs
        return []
    imported = [f"{each.module}.{name}" for name in each.names] or [each.module]
    for module in [each.module] if each.names == ("*",) else imported:
        origin = locate(module)
        if origin is None or origin.name != _INIT:
            continue
        if each.names == ("*",) or (not _says_something(origin) and len(list(origin.parent.rglob("*.py"))) > 1):
            raise InputError(
                f"{file}:{each.line} imports {'* from ' * (each.names == ('*',))}the package {module}, and from there "
                "any module that others have imported; import modules by name"
            )
    return [*_with_parents(each.module), *imported]


def _with_parents(module: str) -> list[str]:
    """``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``: importing a module runs the packages that it is in."""
    return list(accumulate(module.split("."), "{}.{}".format))


def _says_something(file: Path) -> bool:
    """Whether a module does anything at all when it is imported."""
    return any(
        not isinstance(node, ast.Pass) and not _is_text(node) for node in parse(read_source(file), str(file)).body
    )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@lru_cache(maxsize=512)
def _imports(source: str, where: str, package: str) -> tuple[Import, ...]:
    return tuple(each for node in ast.walk(parse(source, where)) for each in _imports_at(node, package))


def _imports_at(node: ast.AST, package: str) -> Iterator[Import]:
    """Imports that one node of a syntax tree is."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(node.lineno, alias.name, ())
    elif isinstance(node, ast.ImportFrom):
        module = _absolute(node.module or "", node.level, package)
        yield Import(node.lineno, module, tuple(alias.name for alias in node.names))
    elif isinstance(node, ast.Call) and _name_of(node.func) in _CALLS:
        yield Import(node.lineno, _literal_module(node, package), ())


def _absolute(module: str, level: int, package: str) -> str:
    """Full name of a module; ``level`` is the number of dots before a relative one."""
    if not level:
        return module
    parts = package.split(".")[: len(package.split(".")) - (level - 1)]
    return ".".join([*parts, *filter(None, [module])])


def _literal_module(call: ast.Call, package: str) -> str | None:
    """The module that a call imports, if its name stands there."""
    if call.keywords or not call.args or not isinstance(call.args[0], ast.Constant):
        return None
    name = str(call.args[0].value)
    level = len(name) - len(name.lstrip("."))
    if level and [ast.unparse(argument) for argument in call.args[1:]] != ["__package__"]:
        return None
    return _absolute(name[level:], level, package)


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
