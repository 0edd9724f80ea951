"""Imports point down the floors that docs/architecture.md draws, and light modules import nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (  # from the ground up; members of a floor do not import each other
    {"errors", "conditions", "frozen", "vocabulary", "__version__"},
    {"stats", "api", "files", "fingerprint", "locks", "processes", "named", "configuration"},
    {"registry"},
    {"envs"},
    {"data"},
    {"protocols", "baselines"},
    {"referee"},
    {"runner", "testing"},
    {"submissions"},
    {"report"},
    {"cards"},
    {"calls"},
    {"cli"},
    {"__main__"},
)
LEVELS = {name: level for level, names in enumerate(FLOORS) for name in names}
FILES = [file for folder in ("omrl_bench", "baselines", "protocols") for file in (ROOT / folder).rglob("*.py")]


def part(file):
    """The part of the project that a file belongs to."""
    first, *rest = file.relative_to(ROOT).parts
    return rest[0].removesuffix(".py") if first == "omrl_bench" else first


def imported(tree):
    """Parts that a module imports, wherever in it; not what it needs for types only."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "omrl_bench":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("omrl_bench."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("omrl_bench."))


@pytest.mark.parametrize(
    "file", [f for f in FILES if part(f) != "__init__"], ids=lambda f: f.relative_to(ROOT).as_posix()
)
def test_imports_point_down(file):
    own = part(file)
    for other in imported(ast.parse(file.read_text())):
        assert other == own or LEVELS[other] < LEVELS[own], f"{own} imports {other}"


def test_every_part_has_its_floor():
    assert {part(file) for file in FILES} - {"__init__"} <= set(LEVELS)


@pytest.mark.parametrize(
    "module", ["omrl_bench", "omrl_bench.cli.main", "omrl_bench.api", "omrl_bench.protocols.suite"]
)
def test_light_modules_import_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "mujoco", "pandas", "matplotlib", "minari", "gymnasium", "scipy"} & set(done.stdout.split())
