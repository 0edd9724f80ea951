"""Files of one's own that hold a method: importing them, with what lies beside them.

A file ``folder/mine.py`` may ``import helper`` if there is a ``folder/helper.py`` or a package ``folder/helper/``, as
if Python had been started on it. Its folder never gets on ``sys.path``: the modules live in a package of their own,
named after the folder, so that files of the same name in two folders do not meet, and nobody else sees what lies beside
an adapter. A file in a package (a folder with ``__init__.py``) is imported as part of that package, and what lies
beside the outermost package can be imported.

A file beside goes before an installed package of its name, but never before the standard library or omrl_bench.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from threading import RLock
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from omrl_bench.errors import InputError
from omrl_bench.fingerprint import hash_text
from omrl_bench.registry.imports import file_of

_PREFIX = "omrl_bench_adapter_"
_LOADING = RLock()  # what threads share is sys.modules: one at a time looks what has changed there, and imports


class Place(NamedTuple):
    """Where a file is in the world of imports.

    Attributes:
        root: The folder that its absolute imports are looked up in.
        package: Name of the package that stands for this folder.
        module: Full name of the file's module, which begins with that of the package.
    """

    root: Path
    package: str
    module: str

    def locate(self, module: str) -> Path | None:
        """Return the source file of a module as the file's imports name it; None if it is not beside the file."""
        if module == self.package or module.startswith(f"{self.package}."):
            return file_of(self.root, module[len(self.package) + 1 :])
        return file_of(self.root, module) if _is_beside(self.root, module) else None


def outermost_package(file: Path) -> Path | None:
    """Return the folder of the outermost package that a file is in; None if it is in none."""
    found = None
    for folder in file.parents:
        if not (folder / "__init__.py").is_file():
            break
        found = folder
    return found


def place_of(file: Path) -> Place:
    """Return the place of a file; its path is absolute."""
    top = outermost_package(file)
    root = file.parent if top is None else top.parent
    parts = (file.parent if file.stem == "__init__" else file.with_suffix("")).relative_to(root).parts
    package = f"{_PREFIX}{hash_text(str(root))}"
    return Place(root, package, ".".join([package, *parts]))


def import_file(file: Path) -> ModuleType:
    """Import a file and what it imports from beside it, anew if any of that has changed since the last time.

    Raises:
        InputError: if it imports a neighbour as if it were in no package.
        Exception: whatever the file raises.
    """
    with _LOADING:
        return _import_file(file, place_of(file))


def _import_file(file: Path, place: Place) -> ModuleType:
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    names = [name for name in sys.modules if f"{name}.".startswith(f"{place.package}.")]
    if any(_has_changed(sys.modules[name]) for name in names):
        for name in names:
            del sys.modules[name]
    if place.package not in sys.modules:
        spec = ModuleSpec(place.package, None, is_package=True)
        spec.submodule_search_locations = [str(place.root)]
        sys.modules[place.package] = module_from_spec(spec)
    try:
        return import_module(place.module)
    except ModuleNotFoundError as error:
        if place.root != file.parent and error.name and file_of(file.parent, error.name):
            raise InputError(
                f"{file} imports {error.name!r}, which lies beside it in a package (the folder has an __init__.py); "
                f"write: from . import {error.name}"
            ) from error
        raise


def _is_beside(root: Path, module: str) -> bool:
    """Whether an absolute import of a module means a file in this folder."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "omrl_bench":
        return False
    if file_of(root, top):
        return True
    if not (root / top).is_dir():
        return False
    spec = find_spec(top)  # a folder without __init__.py comes last, as everywhere in Python
    return spec is None or spec.origin is None


def _import(
    place: tuple[Path, str],
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """What an import statement in one of these files calls: :func:`__import__` that knows what lies beside."""
    root, package = place
    if level or not _is_beside(root, name):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    if fromlist:
        return builtins.__import__(f"{package}.{name}", globals, locals, fromlist)
    import_module(f"{package}.{name}")
    return sys.modules[f"{package}.{name.partition('.')[0]}"]


class _Loader(SourceFileLoader):
    """Runs a file so that it can import what lies beside; without compiled files, which may be outdated."""

    ran: bytes | None = None

    def get_code(self, fullname: str) -> CodeType:
        self.ran = self.get_data(self.path)
        code: CodeType = self.source_to_code(self.ran, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        (root,) = sys.modules[package].__path__
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": partial(_import, (Path(root), package))}
        super().exec_module(module)


class _Finder:
    """Finds the modules of the packages that stand for folders, and no others."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Say where a module is."""
        if not name.startswith(_PREFIX) or not path:
            return None
        folder, last = Path(path[0]), name.rpartition(".")[2]
        file = file_of(folder, last)
        if file is not None:
            return spec_from_file_location(name, file, loader=_Loader(name, str(file)))
        if not (folder / last).is_dir():
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder / last)]
        return spec


def _has_changed(module: ModuleType) -> bool:
    """Whether a module's file is another than the one that was run."""
    loader = getattr(module.__spec__, "loader", None)
    if not isinstance(loader, _Loader) or loader.ran is None:  # None: another thread is just importing it
        return False
    try:
        return loader.get_data(loader.path) != loader.ran
    except OSError:
        return True
