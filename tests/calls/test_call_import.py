"""Importing the package takes no time, and type checkers know the calls."""

import ast
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import omrl_bench

CALLS = ("contexts", "evaluate", "load", "make", "record")
ROOT = Path(omrl_bench.__file__).parents[1]


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_import_loads_nothing_heavy_and_takes_no_time():
    code = """
import sys, time, json
before, started = set(sys.modules), time.perf_counter()
import omrl_bench
dir(omrl_bench)
print(json.dumps([time.perf_counter() - started, sorted(set(sys.modules) - before)]))
"""
    seconds, loaded = zip(*(python(code) for _ in range(3)), strict=True)
    heavy = {"numpy", "torch", "mujoco", "pandas", "gymnasium", "pydantic", "minari", "scipy", "h5py", "typer"}
    assert not heavy & {module.split(".")[0] for module in loaded[0]}
    assert [module for module in loaded[0] if module.startswith("omrl_bench")] == ["omrl_bench"]
    assert min(seconds) < 0.1


@pytest.mark.parametrize("call", ["load", "make", "contexts"])
def test_what_needs_no_frame_and_no_network_imports_neither(call):
    code = f"""
import sys, json
import omrl_bench
omrl_bench.{call}
print(json.dumps([module for module in ("torch", "pandas", "matplotlib", "minari") if module in sys.modules]))
"""
    assert python(code) == []


def test_the_calls_are_listed_and_others_are_attribute_errors():
    assert set(CALLS) <= set(dir(omrl_bench))
    assert set(omrl_bench.__all__) == {*CALLS, "__version__"}
    with pytest.raises(AttributeError, match="module 'omrl_bench' has no attribute 'lod'"):
        _ = omrl_bench.lod
    with pytest.raises(ImportError, match="lod"):
        from omrl_bench import lod  # noqa: F401


@pytest.mark.parametrize("call", CALLS)
def test_every_call_says_what_it_takes_returns_and_refuses(call):
    document = inspect.getdoc(getattr(omrl_bench, call))
    for part in ("Args:", "Raises:\n    InputError", *(["Returns:"] if call != "make" else [])):
        assert part in document
    for name in inspect.signature(getattr(omrl_bench, call)).parameters:
        assert f"\n    {name}: " in document


def test_type_checkers_see_the_very_same_functions():
    """What is imported for them only is what the names mean at run time."""
    (block,) = [
        node
        for node in ast.parse(Path(omrl_bench.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {call: getattr(omrl_bench, call).__module__ for call in CALLS}


@pytest.mark.slow
def test_a_typed_script_is_checked(tmp_path):
    from mypy import api

    script = tmp_path / "script.py"
    script.write_text(
        """
import numpy as np
import omrl_bench
from omrl_bench.api import Transitions

class Mine:
    def reset(self, lanes: int) -> None: ...
    def condition(self, context: Transitions) -> None: ...
    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        return observations

omrl_bench.evaluate(Mine(), "shift", "point-goal")
omrl_bench.record({0: Mine, 1: Mine()}, "mine", "shift", "point-goal", trained_with="a loop")
reveal_type(omrl_bench.load("point-goal")["observations"])
reveal_type(omrl_bench.contexts("point-goal", "high").tasks)
omrl_bench.evaluate(object(), "shift", "point-goal")
omrl_bench.load("point-goal")["states"]
omrl_bench.lod
"""
    )
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"]
    out, _, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), str(script)])
    told = [line for line in out.splitlines() if ": error: " in line or "Revealed" in line]
    lines = [line for line in told if Path(line.partition(":")[0]).name == script.name]
    expected = ("ndarray", "ndarray", "object", '"states"', 'no attribute "lod"')
    assert len(lines) == len(expected), out
    for line, part in zip(lines, expected, strict=True):
        assert part in line
