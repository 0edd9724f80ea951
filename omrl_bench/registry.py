"""Which methods and backbones exist, without importing any of them until they are used.

Built-in ones are found by scanning the files of ``baselines/`` for a literal ``METHODS = {"name": "Class"}`` (or
``BACKBONES``); other packages register theirs under the entry-point group ``omrl_bench.algorithms``
(``name = "module:Class"``); a file of one's own is named as ``path/to/file.py:Class``.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from functools import lru_cache
from importlib import import_module, metadata, resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omrl_bench.errors import InputError, unknown_name
from omrl_bench.fingerprint import hash_text, normalise_source

if TYPE_CHECKING:
    from omrl_bench.api import Algorithm
    from omrl_bench.protocols.protocol import Protocol

BASELINES = "omrl_bench.baselines"
PROTOCOLS = "omrl_bench.protocols"  # the package, and the entry-point group
ENTRY_POINTS = "omrl_bench.algorithms"


def methods() -> dict[str, str]:
    """All registered methods: name -> ``module:Class``. A built-in method wins over an entry point of its name."""
    found = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    return found | _scan("METHODS")


def backbones() -> dict[str, str]:
    """All backbones: name -> ``module:Class``."""
    return _scan("BACKBONES")


def protocols() -> dict[str, str]:
    """All kinds of protocols: name -> ``module:Class``. A built-in one wins over an entry point of its name."""
    found = {point.name: point.value for point in metadata.entry_points(group=PROTOCOLS)}
    return found | _scan("PROTOCOLS", PROTOCOLS)


def load_protocol(kind: str) -> type[Protocol]:
    """Import the class of a kind of protocol.

    Raises:
        InputError: if there is no such kind, with the nearest names, or it cannot be imported.
    """
    known = protocols()
    if kind not in known:
        raise unknown_name("protocol", kind, known)
    module, _, name = known[kind].partition(":")
    try:
        cls: type[Protocol] = getattr(import_module(module), name)
    except Exception as error:  # it may be somebody's code
        raise InputError(f"protocol {kind!r}: {module} cannot be imported: {error}") from error
    return cls


def load_backbone(name: str) -> type[Any]:
    """Import a backbone's class.

    Raises:
        InputError: if there is no such backbone, with the nearest names.
    """
    known = backbones()
    if name not in known:
        raise unknown_name("backbone", name, known)
    module_name, _, cls = known[name].rpartition(":")
    return getattr(import_module(module_name), cls)


def resolve_method(reference: str) -> tuple[str, str]:
    """Return the name and the target (``module:Class`` or ``file.py:Class``) of a method reference.

    Args:
        reference: A registered name, or ``path/to/file.py:Class``; the latter's name is the class's.

    Raises:
        InputError: if there is no such method, with the nearest names, or no such file.
    """
    if ".py:" in reference or reference.endswith(".py"):
        path, _, name = reference.rpartition(":")
        if not name or not path:
            raise InputError(f"adapter {reference!r}: write it as path/to/file.py:Class")
        if not Path(path).is_file():
            raise InputError(f"adapter file {path} does not exist")
        if name in methods():
            raise InputError(f"adapter class {name!r} has the name of a registered method; rename it")
        return name, f"{Path(path).resolve()}:{name}"
    known = methods()
    if reference not in known:
        raise unknown_name("method", reference, known)
    return reference, known[reference]


def load_class(target: str) -> type[Algorithm]:
    """Import a method's class.

    Raises:
        InputError: if the file cannot be imported, has no such class, or the class is no :class:`Algorithm`.
    """
    from omrl_bench.api import Algorithm

    module_name, _, name = target.rpartition(":")
    try:
        module = _import_file(Path(module_name)) if module_name.endswith(".py") else import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        classes = [n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__]
        raise unknown_name(f"class in {module_name}", name, classes)
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise InputError(f"{target} is not a subclass of omrl_bench.api.Algorithm")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{target} lacks the method{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    return found


def source_hash(target: str, backbone: str) -> str:
    """Hash of the source of a method: its file, the files of ``baselines/`` it imports, and its backbone's.

    Comments, docstrings and layout do not count, nor do names and presets: a record's configuration holds the
    hyper-parameters that were used.
    """
    module_name, _, name = target.rpartition(":")
    if module_name.endswith(".py"):
        path = Path(module_name)
    else:
        spec = importlib.util.find_spec(module_name)
        if spec is None or spec.origin is None:
            raise InputError(f"{module_name} cannot be found")
        path = Path(spec.origin)
    if not module_name.startswith(f"{BASELINES}."):
        return hash_text(name, normalise_source(path.read_text(encoding="utf-8")))
    waiting = {path.stem, backbones()[backbone].split(":")[0].rpartition(".")[2]}
    sources: dict[str, str] = {}
    while waiting:
        sibling = waiting.pop()
        file = path.parent / f"{sibling}.py"
        sources[sibling] = _normalised(file)
        waiting |= _siblings(file) - set(sources)
    return hash_text(name, *(f"{sibling}\n{source}" for sibling, source in sorted(sources.items())))


def _siblings(file: Path) -> set[str]:
    """Modules of the same folder that a file imports (``from .name import ...``)."""
    return _imported_siblings(file.read_text(encoding="utf-8"))


@lru_cache(maxsize=256)  # planning a suite asks for the same few files for every cell; so below
def _imported_siblings(source: str) -> set[str]:
    nodes = ast.walk(ast.parse(source))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module}


def _normalised(path: Path) -> str:
    return normalise_source(path.read_text(encoding="utf-8"), leave_out=frozenset({"METHODS", "BACKBONES", "PRESETS"}))


def _scan(variable: str, package: str = BASELINES) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(resources.files(package).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".py"):
            names = _literal(file.read_text(encoding="utf-8"), variable)
            found |= {name: f"{package}.{file.name.removesuffix('.py')}:{cls}" for name, cls in names.items()}
    return found


@lru_cache(maxsize=256)
def _literal(source: str, variable: str) -> dict[str, str]:
    """The dictionary that a module assigns to a variable, without running the module."""
    names: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [variable]:
            names |= ast.literal_eval(node.value)
    return names


def _import_file(path: Path) -> ModuleType:
    name = f"omrl_bench_adapter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
