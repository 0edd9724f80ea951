"""Which methods and backbones exist, without importing any of them until they are used.

Built-in ones are found by scanning the files of ``baselines/`` for a literal ``METHODS = {"name": "Class"}`` (or
``BACKBONES``); other packages register theirs under the entry-point group ``omrl_bench.algorithms``
(``name = "module:Class"``); a file of one's own is named as ``path/to/file.py:Class``, see
:mod:`omrl_bench.registry.adapters`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module, metadata, resources
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omrl_bench.errors import InputError, unknown_name
from omrl_bench.fingerprint import hash_text, normalise_source
from omrl_bench.named import import_named, import_subclass
from omrl_bench.registry.adapters import Place, import_file, outermost_package, place_of
from omrl_bench.registry.declarations import declared
from omrl_bench.registry.imports import closure, file_of, imports_of, modules_behind, read_source
from omrl_bench.registry.names import check_method_name

if TYPE_CHECKING:
    from omrl_bench.api import Algorithm

BASELINES = "omrl_bench.baselines"
PROTOCOLS = "omrl_bench.protocols"  # the package, and the entry-point group
ENTRY_POINTS = "omrl_bench.algorithms"


def methods() -> dict[str, str]:
    """All registered methods: name -> ``module:Class``. A built-in method wins over an entry point of its name.

    Raises:
        InputError: if a file of ``baselines/`` registers its methods in a way that cannot be read without running it.
    """
    own = built_in()
    wrong = unusable_methods()
    points = metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point.value for point in points if point.name not in wrong} | own


def built_in() -> dict[str, str]:
    """The benchmark's own methods: name -> ``module:Class``."""
    return declared("METHODS", _folder(), BASELINES)


def unusable_methods() -> dict[str, str]:
    """Entry points of methods that are not used, by name, and why."""
    own, wrong = built_in(), {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.name in own:
            wrong[point.name] = f"the benchmark has a method of this name: {point.value} is left out"
            continue
        try:
            check_method_name(point.name, own)
        except InputError as error:
            wrong[point.name] = str(error)
    return wrong


def is_built_in(method: str) -> bool:
    """Whether a method, named without settings, is one of the package's own."""
    return method in declared("METHODS", _folder(), BASELINES)


def backbones() -> dict[str, str]:
    """All backbones: name -> ``module:Class``."""
    return declared("BACKBONES", _folder(), BASELINES)


def protocols() -> dict[str, str]:
    """All kinds of protocols: name -> ``module:Class``. A built-in one wins over an entry point of its name."""
    found = {point.name: point.value for point in metadata.entry_points(group=PROTOCOLS)}
    return found | declared("PROTOCOLS", Path(str(resources.files(PROTOCOLS))), PROTOCOLS)


def load_backbone(name: str) -> type[Any]:
    """Import a backbone's class.

    Raises:
        InputError: if there is no such backbone, with the nearest names, or it cannot be imported.
    """
    known = backbones()
    if name not in known:
        raise unknown_name("backbone", name, known)
    cls: type[Any] = import_named(known[name], f"backbone {name!r}")
    return cls


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
        if "." in Path(path).stem:
            raise InputError(f"adapter file {path}: Python cannot import a file whose name has a dot in it; rename it")
        if name in methods():
            raise InputError(f"adapter class {name!r} has the name of a registered method; rename it")
        file = Path(path).resolve()
        own = _own_module(file)
        if own is None:
            check_method_name(name, built_in())
        return name, f"{own or file}:{name}"
    known = methods()
    if reference not in known:
        wrong = unusable_methods()
        raise InputError(wrong[reference]) if reference in wrong else unknown_name("method", reference, known)
    points = {point.value for point in metadata.entry_points(group=ENTRY_POINTS, name=reference)}
    if len(points) > 1 and known[reference] in points:
        raise InputError(
            f"method {reference!r} is registered by several installed packages: {', '.join(sorted(points))}"
        )
    return reference, known[reference]


def load_class(target: str) -> type[Algorithm]:
    """Import a method's class.

    Raises:
        InputError: if the file cannot be imported, has no such class, or the class is no :class:`Algorithm`.
    """
    from omrl_bench.api import Algorithm

    def load(module: str) -> ModuleType:
        return import_file(Path(module)) if module.endswith(".py") else import_module(module)

    return import_subclass(target, Algorithm, load=load)


def source_hash(target: str, backbone: str) -> str:
    """Hash of the source that a method's numbers depend on.

    Of a built-in method, its file, the files of ``baselines/`` that it imports, directly or not, and its backbone's.
    Of a file of one's own, the file, what it imports from beside it, and every file of the outermost package that it is
    in, if it is in one. Of an installed method, every file of the top-level package (or the module) that it is in. The
    last two take in the files of ``baselines/`` that they import.

    Comments, docstrings and layout do not count; in ``baselines/``, nor do names and presets: a record's configuration
    holds the hyper-parameters that were used.

    Raises:
        InputError: if a file cannot be read, or it cannot be told what it imports.
    """
    module_name, _, name = target.rpartition(":")
    if module_name.startswith(f"{BASELINES}."):
        return hash_text(name, *_baselines_sources([module_name], backbone, f"{BASELINES}."))
    if module_name.endswith(".py"):
        file = Path(module_name)
        place, files = _behind(file)
        files.pop(file, None)
        ours = [module for module in files.values() if _is_ours(module)]
        beside = {path.relative_to(place.root).as_posix(): path for path in files if not _is_ours(files[path])}
        sources = [_normalised(file), *(f"{path}\n{_normalised(beside[path])}" for path in sorted(beside))]
    else:
        top = _top_level(module_name)
        of_package, ours = _installed(top, _stamps(top))
        sources = [module_name, *of_package] if top.is_dir() else [*of_package]
    return hash_text(name, *sources, *(_baselines_sources(ours, backbone) if ours else ()))


def files_beside(file: Path) -> dict[str, Path]:
    """The files that a method in a file of one's own needs, by their path below the folder of its absolute imports.

    They are that file and those whose source :func:`source_hash` takes in, but for ``baselines/``, and the
    ``__init__.py`` of their packages.

    Raises:
        InputError: as :func:`source_hash`.
    """
    place, found = _behind(file)
    files = [file, *(path for path, module in found.items() if not _is_ours(module))]
    parents = {parent for path in files for parent in path.parents if parent.is_relative_to(place.root)}
    files += [init for parent in parents - {place.root} if (init := parent / "__init__.py").is_file()]
    return {path.relative_to(place.root).as_posix(): path for path in files}


def _behind(file: Path) -> tuple[Place, dict[Path, str]]:
    """The place of a file of one's own, and the files whose source its numbers depend on, with their modules."""
    place, package = place_of(file), outermost_package(file)
    files = closure([place.module], lambda module: place.locate(module) or _locate(module))
    return place, dict.fromkeys(sorted(package.rglob("*.py")) if package else (), "") | files


def _baselines_sources(modules: Iterable[str], backbone: str, drop: str = "") -> list[str]:
    """Names, less a prefix, and sources of all files of ``baselines/`` behind some modules and a backbone."""
    found = closure([*modules, backbones()[backbone].partition(":")[0]], _locate)
    leave_out = frozenset({"METHODS", "BACKBONES", "PRESETS"})
    sources = {
        module.removeprefix(drop): normalise_source(read_source(file), leave_out) for file, module in found.items()
    }
    return [f"{module}\n{source}" for module, source in sorted(sources.items())]


def _is_ours(module: str) -> bool:
    return module == BASELINES or module.startswith(f"{BASELINES}.")


def _locate(module: str) -> Path | None:
    """File of a module of ``baselines/``."""
    return file_of(_folder(), module[len(BASELINES) + 1 :]) if _is_ours(module) else None


@lru_cache(maxsize=1)
def _folder() -> Path:
    return Path(str(resources.files(BASELINES)))


def _own_module(file: Path) -> str | None:
    """Name of a module of this package, if the file is one: it must not be imported under a second name."""
    for name in (BASELINES, "omrl_bench"):
        folder = Path(str(resources.files(name))).resolve()
        if file.is_relative_to(folder):
            return ".".join([name, *file.relative_to(folder).with_suffix("").parts])
    return None


def _top_level(module: str) -> Path:
    """The folder of the outermost package that an installed module is in, or its file if it is in none.

    Raises:
        InputError: if it is not installed.
    """
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        # finding a module runs what it is in: namespace packages, if we get that far
        spec = find_spec(".".join(parts[:count]))
        if spec is None:
            break
        if spec.origin is not None and spec.has_location:
            return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
    raise InputError(f"{module} cannot be found")


_Stamps = tuple[tuple[str, int, int], ...]  # path below the top, time of change, size


def _stamps(top: Path) -> _Stamps:
    """The Python files of a package, or the file of a module, and what changes when they do."""
    files = sorted(top.rglob("*.py")) if top.is_dir() else [top]
    found = ((file, file.stat()) for file in files if file.is_file())
    return tuple((os.path.relpath(file, top), status.st_mtime_ns, status.st_size) for file, status in found)


@lru_cache(maxsize=16)  # a package may have thousands of files, and a plan asks once for every cell
def _installed(top: Path, stamps: _Stamps) -> tuple[list[str], list[str]]:
    """Sources of an installed package or module, and the modules of ``baselines/`` that it imports."""
    files = {name: top if name == "." else top / name for name, _, _ in stamps}
    sources = [_normalised(file) if name == "." else f"{name}\n{_normalised(file)}" for name, file in files.items()]
    return sources, sorted({module for file in files.values() for module in _baselines_in(file)})


def _baselines_in(file: Path) -> Iterator[str]:
    """Modules of ``baselines/`` that a file of an installed package imports."""
    try:
        found = imports_of(file, "")
    except InputError:  # such as a template: it is no module
        return
    for each in found:
        if each.module:
            yield from filter(_is_ours, modules_behind(file, each, _locate))


def _normalised(file: Path) -> str:
    """Normalised source of a file; of a file that is no Python, its bytes as text."""
    try:
        return normalise_source(read_source(file))
    except (InputError, SyntaxError, ValueError):
        return file.read_bytes().decode("ascii", errors="backslashreplace")
