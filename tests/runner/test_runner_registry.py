"""Finding methods and backbones, loading them, and the hash of their source."""

import ast
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from omrl_bench import registry
from omrl_bench.errors import InputError

BUILT_IN = {"random", "behaviour", "task-blind", "oracle", "focal", "pearl", "hs-scl", "hs-hard"}

ADAPTER = '''
"""An adapter."""
from omrl_bench.api import Algorithm


class Whole(Algorithm):
    """A method."""

    def fit(self, data, budget, seeds, log):
        """Train."""

    def policy(self, seed):
        """Nothing."""

    def save(self, folder):
        """Nothing."""

    def load(self, folder):
        """Nothing."""


class Half(Algorithm):
    def fit(self, data, budget, seeds, log):
        pass

    def policy(self, seed):
        pass


class Unrelated:
    pass


NUMBER = 3
'''


@pytest.fixture
def adapter(tmp_path):
    def write(text=ADAPTER, name="adapter.py"):
        (tmp_path / name).write_text(text)
        return f"{tmp_path / name}"

    return write


def load(reference):
    return registry.load_class(registry.resolve_method(reference)[1])


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_built_in_methods_are_found():
    assert set(registry.methods()) >= BUILT_IN
    assert registry.methods()["focal"] == "omrl_bench.baselines.focal:Focal"
    assert registry.backbones()["iql"].startswith("omrl_bench.baselines.iql:")


def test_every_method_of_the_suites_exists():
    from omrl_bench.protocols.suite import load_suite, suite_names

    for name in suite_names():
        suite = load_suite(name)
        assert set(suite.methods) <= set(registry.methods())
        assert set(suite.backbones) <= set(registry.backbones())


def test_every_built_in_method_loads_under_its_own_name():
    for name in BUILT_IN:
        resolved, target = registry.resolve_method(name)
        assert resolved == name
        assert registry.load_class(target).__module__.startswith("omrl_bench.baselines.")


def test_finding_methods_imports_nothing_heavy():
    code = """
import json, sys
from omrl_bench import registry
names = sorted(registry.methods()) + sorted(registry.backbones())
registry.resolve_method("focal")
heavy = {"torch", "mujoco", "pandas", "matplotlib", "minari", "gymnasium"}
print(json.dumps([names, sorted(heavy & set(sys.modules)), [m for m in sys.modules if "baselines." in m]]))
"""
    names, heavy, baselines = python(code)
    assert set(names) >= BUILT_IN | {"iql"}
    assert heavy == [] and baselines == []


@pytest.fixture
def plugin(tmp_path, adapter):
    """A folder with an installed plug-in: methods `plugged`, `broken` and (against the built-in one) `focal`."""
    folder = tmp_path / "site"
    info = folder / "omrl_plug-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "omrl_plug.py").write_text(ADAPTER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: omrl-plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[omrl_bench.algorithms]\nplugged = omrl_plug:Whole\nbroken = omrl_absent:Whole\nfocal = omrl_plug:Whole\n"
    )
    return folder


def test_plug_ins_are_found_and_a_built_in_method_wins(plugin):
    code = """
import json
from omrl_bench import registry
cls = registry.load_class(registry.resolve_method("plugged")[1])
print(json.dumps([registry.methods(), cls.__module__, registry.source_hash(registry.methods()["plugged"], "iql")]))
"""
    found, module, digest = python(code, PYTHONPATH=str(plugin))
    assert found["plugged"] == "omrl_plug:Whole" and module == "omrl_plug"
    assert found["focal"] == "omrl_bench.baselines.focal:Focal"
    assert len(digest) == 16


def test_plug_ins_can_be_listed_run_and_suggested(plugin, cli, monkeypatch, tiny, tmp_path):
    monkeypatch.syspath_prepend(str(plugin))
    monkeypatch.setenv("PYTHONPATH", str(plugin))  # for the processes of methods
    assert "omrl_plug:Whole" in cli("list", "methods").words
    common = ("run", "--suite", tiny(), "--out", tmp_path / "runs", "--dry-run")
    assert "2 missing" in cli(*common, "--method", "plugged").words
    assert "did you mean 'plugged'" in cli(*common, "--method", "pluged").err


def test_a_broken_plug_in_is_bad_input_when_it_is_used_and_not_before(plugin, cli, monkeypatch, tiny, tmp_path):
    monkeypatch.syspath_prepend(str(plugin))
    monkeypatch.setenv("PYTHONPATH", str(plugin))  # for the processes of methods
    common = ("run", "--suite", tiny(), "--out", tmp_path / "runs", "--dry-run")
    assert cli("list", "methods").code == 0
    assert cli(*common, "--method", "random").code == 0
    outcome = cli(*common, "--method", "broken")
    assert outcome.code == 2
    assert "omrl_absent cannot be imported: ModuleNotFoundError" in outcome.err and outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "nearest"), [("focl", "focal"), ("Pearl", "pearl"), ("hs_hard", "hs-hard"), ("oracel", "oracle")]
)
def test_unknown_method_names_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"unknown method '{name}'; did you mean .*'{nearest}'"):
        registry.resolve_method(name)


def test_adapter_by_path(adapter):
    name, target = registry.resolve_method(f"{adapter()}:Whole")
    assert name == "Whole" and target == f"{adapter()}:Whole"
    assert load(target).__name__ == "Whole"


def test_relative_adapter_path_becomes_absolute(adapter, monkeypatch, tmp_path):
    adapter()
    monkeypatch.chdir(tmp_path)
    assert registry.resolve_method("adapter.py:Whole")[1] == f"{tmp_path / 'adapter.py'}:Whole"


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("", r"write it as path/to/file\.py:Class"),
        (":", r"write it as path/to/file\.py:Class"),
        (":Hole", r"unknown name in .*adapter\.py 'Hole'; did you mean 'Whole'"),
        (":Half", r"adapter\.py:Half lacks the methods load, save"),
        (":Unrelated", r"adapter\.py:Unrelated is not a subclass of omrl_bench\.api\.Algorithm"),
        (":NUMBER", r"adapter\.py:NUMBER is not a subclass of omrl_bench\.api\.Algorithm"),
    ],
)
def test_wrong_adapters(adapter, suffix, message):
    with pytest.raises(InputError, match=message):
        load(adapter() + suffix)


def test_adapter_without_a_file():
    with pytest.raises(InputError, match=r"adapter file no/such\.py does not exist"):
        registry.resolve_method("no/such.py:Whole")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        pytest.param(
            "raise SystemExit(0)",
            "SystemExit",
        ),
    ],
)
def test_adapter_that_cannot_be_imported(adapter, text, error):
    with pytest.raises(InputError, match=rf"adapter\.py cannot be imported: {error}"):
        load(f"{adapter(text)}:Whole")


def test_adapter_with_the_name_of_a_method(adapter, monkeypatch):
    monkeypatch.setattr(registry, "methods", lambda: {"Whole": "a:B"})
    with pytest.raises(InputError, match="has the name of a registered method"):
        registry.resolve_method(f"{adapter()}:Whole")


def test_adapters_of_one_file_name_do_not_mix(adapter, tmp_path):
    (tmp_path / "other").mkdir()
    first = load(f"{adapter()}:Whole")
    second = load(f"{adapter(ADAPTER + 'X = 1', 'other/adapter.py')}:Whole")
    assert first is not second


def test_dataclass_in_an_adapter_works(adapter):
    """Dataclasses with postponed annotations look their module up."""
    text = "from __future__ import annotations\nimport dataclasses\n" + ADAPTER
    text += "\n@dataclasses.dataclass\nclass Config:\n    width: dataclasses.InitVar[int] = 3\n"
    assert load(f"{adapter(text)}:Whole")


def test_hash_of_an_adapter_follows_meaning_only(adapter):
    def digest(text):
        return registry.source_hash(f"{adapter(text)}:Whole", "iql")

    original = digest(ADAPTER)
    assert digest("# a remark\n" + ADAPTER.replace('"""Train."""', '"""Train it."""\n        ')) == original
    assert digest(ADAPTER.replace("NUMBER = 3", "NUMBER = (3)")) == original
    assert digest(ADAPTER.replace("NUMBER = 3", "NUMBER = 4")) != original
    assert digest(ADAPTER.replace("self, seed", "self, seed=0")) != original


def test_hash_of_an_adapter_follows_its_presets(adapter):
    text = ADAPTER + "\nPRESETS = {'quick': {'rate': 0.1}}\n"
    before = registry.source_hash(f"{adapter(text)}:Whole", "iql")
    assert registry.source_hash(f"{adapter(text.replace('0.1', '0.2'))}:Whole", "iql") != before


def test_hash_of_a_method_follows_its_class():
    digests = {registry.source_hash(f"omrl_bench.baselines.controls:{name}", "iql") for name in ("Random", "Oracle")}
    assert len(digests) == 2


def relative_imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("omrl_bench.baselines"):
            found.add(node.module.rpartition(".")[2])
    return found


@pytest.mark.parametrize("method", ["random", "focal", "hs-hard"])
def test_hash_covers_everything_a_method_imports(method, monkeypatch, tmp_path):
    """Change any file of baselines/: the hash changes exactly if the method, or its backbone, imports it."""
    folder = Path(str(resources.files("omrl_bench.baselines")))
    target = registry.methods()[method]
    expected, frontier = set(), {target.split(":")[0].rpartition(".")[2], "iql"}
    while frontier:
        expected |= frontier
        frontier = {i for name in frontier for i in relative_imports(folder / f"{name}.py")} - expected
    expected.add("__init__")  # once it does something when it is imported
    before = registry.source_hash(target, "iql")
    real = Path.read_bytes
    for file in sorted(folder.glob("*.py")):

        def read(path, changed=file):
            source = real(path)
            return source + b"\nCHANGED = True\n" if path == changed else source

        monkeypatch.setattr(Path, "read_bytes", read)
        after = registry.source_hash(target, "iql")
        monkeypatch.setattr(Path, "read_bytes", real)
        assert (after != before) == (file.stem in expected), file.name
    assert len(expected) >= 3
