"""Hashes of source files that ignore comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from importlib import resources
from pathlib import Path


def hash_text(*texts: str) -> str:
    """Return the first 16 hex digits of the sha256 of some texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode(errors="surrogateescape"))  # a path may have bytes that are no text
        digest.update(b"\0")
    return digest.hexdigest()[:16]


@lru_cache(maxsize=256)  # planning a suite asks for the same few files for every cell
def normalise_source(source: str, leave_out: frozenset[str] = frozenset()) -> str:
    """Return Python source without comments, docstrings and layout, so that only a change of meaning changes a hash.

    Args:
        source: The text of a module.
        leave_out: Names whose assignments, in the module or in a class, are left out too.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            node.body = [child for child in node.body if not _assigned(child) & leave_out] or [ast.Pass()]
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return _dump(tree)


def _dump(node: object) -> str:
    # ast.unparse and ast.dump are written differently by different versions of Python
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({', '.join(f'{name}={_dump(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    return repr(node)


def _assigned(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {node.target.id} if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else set()


@lru_cache(maxsize=1)
def package_hash() -> str:
    """Hash of the source files of this package, with those of ``baselines/`` and ``protocols/`` wherever they lie."""
    files = {}
    for name in ("", "baselines", "protocols"):
        folder = Path(str(resources.files(".".join(filter(None, (__package__, name))))))
        files.update({Path(name, file.relative_to(folder)).as_posix(): file for file in folder.rglob("*.py")})
    return hash_text(*(f"{name}\n{files[name].read_text(encoding='utf-8')}" for name in sorted(files)))
