"""What files say that they hold, in a literal at their top level, read without running them."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.registry.imports import parse, read_source


def declared(variable: str, folder: Path, package: str) -> dict[str, str]:
    """Read ``VARIABLE = {"name": "Class"}`` in all Python files of a package: name -> ``module:Class``.

    Args:
        variable: Name of the variable, e.g. ``METHODS``; a file need not have it.
        folder: The package's folder.
        package: The package's name.

    Raises:
        InputError: if a file fills the variable in any other way than by one literal, or two files have the same name.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).parts):
        source = read_source(file)
        if variable not in source:
            continue
        module = ".".join([package, *file.relative_to(folder).with_suffix("").parts])
        for name, cls in _literal(source, variable, str(file)).items():
            if name in found:
                other = found[name].partition(":")[0].rpartition(".")[2]
                raise InputError(f"{file} and {other}.py both have {name!r} in {variable}; rename one")
            found[name] = f"{module}:{cls}"
    return found


@lru_cache(maxsize=256)  # listing methods reads the same few files again and again
def _literal(source: str, variable: str, where: str) -> dict[str, str]:
    tree = parse(source, where)
    names: dict[str, str] = {}
    understood: list[ast.AST] = []
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and not understood:
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            literal = _strings(statement.value)
            if isinstance(target, ast.Name) and target.id == variable and literal is not None:
                names = literal
                understood.append(target)
    for node in ast.walk(tree):
        if node not in understood and _fills(node, variable):
            line = getattr(node, "lineno", 1)
            raise InputError(
                f"{where}:{line}: {variable} is read without running the file: make it one literal dictionary at the "
                f'top level of the file, {variable} = {{"name": "Class"}}, with each name once'
            )
    return names


def _strings(node: ast.expr | None) -> dict[str, str] | None:
    """A literal dictionary of strings without repeated names, or None if a node is none."""
    if not isinstance(node, ast.Dict):
        return None
    pairs = [tuple(getattr(n, "value", None) for n in pair) for pair in zip(node.keys, node.values, strict=True)]
    found = {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, str)}
    return found if len(found) == len(pairs) else None


def _fills(node: ast.AST, variable: str) -> bool:
    """Whether a node changes a variable, or may."""
    if isinstance(node, ast.alias):
        return (node.asname or node.name) == variable
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name):
        changes = isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load)  # METHODS.update(...), too
        return node.value.id == variable and changes
    return isinstance(node, ast.Name) and node.id == variable and not isinstance(node.ctx, ast.Load)
