"""How the source of built-in and installed methods is followed; what it does not tell is an error, never silence."""

import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from omrl_bench import registry
from omrl_bench.errors import InputError

MODULE = 'METHODS = {"mine": "Mine"}\n'


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of baselines/."""
    folder = tmp_path_factory.mktemp("copy") / "baselines"
    ignore = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(str(resources.files("omrl_bench.baselines")), folder, ignore=ignore))


@pytest.fixture
def folder(copy, monkeypatch):
    """The copy, which the registry takes for the real one; what a test adds to it or changes is undone."""
    monkeypatch.setattr(registry, "_folder", lambda: copy)
    before = {path: path.read_bytes() for path in copy.rglob("*.py")}
    yield copy
    for path in set(copy.rglob("*.py")) - set(before):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


@pytest.fixture
def put(folder):
    """Write a file of baselines/: put("sub/part.py", text)."""

    def write(name, text):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return write


def digest(name="mine"):
    return registry.source_hash(registry.methods()[name], "iql")


def test_a_copy_has_the_hashes_of_the_original(put):
    """The hash depends on the source and on nothing else, such as the folder."""
    copy = {name: registry.source_hash(target, "td3bc") for name, target in registry.methods().items()}
    code = """
import json
from omrl_bench import registry
print(json.dumps({name: registry.source_hash(target, "td3bc") for name, target in registry.methods().items()}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert copy == json.loads(done.stdout) and len(set(copy.values())) == len(copy)


@pytest.mark.parametrize(
    "statement",
    [
        "from .helper import f",
        "from . import helper",
        "from . import iql, helper as h",
        "from .helper import *",
        "from omrl_bench.baselines.helper import f",
        "from omrl_bench.baselines import helper",
        "import omrl_bench.baselines.helper",
        "import omrl_bench.baselines.iql, omrl_bench.baselines.helper as h",
        "def f():\n    from . import helper",
        "from .middle import g",
        "import importlib\nhelper = importlib.import_module('.helper', __package__)",
        "from importlib import import_module\nhelper = import_module('omrl_bench.baselines.helper')",
        "helper = __import__('omrl_bench.baselines.helper')",
    ],
)
def test_every_form_of_import_is_followed(put, statement):
    put("middle.py", "from . import helper\n")
    put("helper.py", "f = 1\n")
    put("mine.py", f"{MODULE}{statement}\n")
    before = digest()
    put("helper.py", "f = 1  # a remark\n")
    assert digest() == before
    put("helper.py", "f = 2\n")
    assert digest() != before


@pytest.mark.parametrize("changed", ["sub/__init__.py", "sub/mod.py", "sub/other.py", "top.py"])
@pytest.mark.parametrize(
    "statement", ["from .sub.mod import y", "from .sub import mod", "import omrl_bench.baselines.sub.mod"]
)
def test_modules_of_packages_and_what_they_import_upwards(put, statement, changed):
    """A package's own file runs, too; ``..`` leads from a package to its neighbours."""
    put("top.py", "t = 1\n")
    put("sub/__init__.py", '"""A package."""\n')
    put("sub/other.py", "from .. import top\n")
    put("sub/mod.py", "from . import other\ny = 1\n")
    put("mine.py", f"{MODULE}{statement}\n")
    before = digest()
    put(changed, f"{'' if changed == 'top.py' else 'from .. import top'}\nt = 2\n")
    assert digest() != before


def test_methods_in_packages_are_found(put):
    put("sub/__init__.py", "")
    put("sub/mod.py", MODULE)
    assert registry.methods()["mine"] == "omrl_bench.baselines.sub.mod:Mine" and digest()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('METHODS: dict[str, str] = {"mine": "Mine"}', None),
        ('from typing import Final\nMETHODS: Final = {"mine": "Mine"}', None),
        ('METHODS = {"mine": "Mine"}\nprint(METHODS["mine"], len(METHODS))', None),
        ('METHODS = {"mine": "Mine"} | {"other": "Other"}', 1),
        ('METHODS = dict(mine="Mine")', 1),
        ('METHODS = {"mine": "Mi" + "ne"}', 1),
        ('METHODS = {"mine": Mine}', 1),
        ('METHODS = {"mine": "Mine", "mine": "Other"}', 1),
        ('METHODS = {**BASE, "mine": "Mine"}', 1),
        ('METHODS = {f"mine-{n}": "Mine" for n in range(3)}', 1),
        ('METHODS = {"mine": "Mine"}\nMETHODS = {"other": "Other"}', 2),
        ('METHODS = {"mine": "Mine"}\nMETHODS |= {"other": "Other"}', 2),
        ('METHODS = {"mine": "Mine"}\nMETHODS["other"] = "Other"', 2),
        ('METHODS = {"mine": "Mine"}\ndel METHODS["mine"]', 2),
        ('METHODS = {"mine": "Mine"}\nMETHODS.update(other="Other")', 2),
        ('METHODS = {"mine": "Mine"}\nfor METHODS["other"] in ("Other",):\n    pass', 2),
        ('METHODS: dict[str, str]\nMETHODS = {"mine": "Mine"}', 1),
        ('if True:\n    METHODS = {"mine": "Mine"}', 2),
        ("from .focal import METHODS", 1),
        ("from .focal import METHODS as OTHERS", None),
        ("from .focal import OTHERS as METHODS", 1),
        ('METHODS, OTHERS = {"mine": "Mine"}, {}', 1),
    ],
)
def test_methods_that_the_scan_would_miss(put, folder, text, line):
    put("mine.py", f"{text}\n")
    if line is None:
        assert ("mine" in registry.methods()) == ("mine" in text)
        return
    with pytest.raises(InputError) as error:
        registry.methods()
    assert str(error.value).startswith(
        f"{folder / 'mine.py'}:{line}: METHODS is read without running the file: make it"
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("variable", "name"), [("METHODS", "focal"), ("BACKBONES", "iql")])
def test_two_files_that_register_one_name(put, folder, variable, name):
    put("mine.py", f'{variable} = {{"{name}": "Mine"}}\n')
    with pytest.raises(InputError, match=rf"mine\.py and {name}\.py both have '{name}' in {variable}; rename one"):
        getattr(registry, variable.lower())()


def test_a_method_may_have_the_name_of_a_backbone(put):
    put("mine.py", 'METHODS = {"iql": "Mine"}\n')
    assert registry.methods()["iql"] == "omrl_bench.baselines.mine:Mine"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("helper = import_module(f'.{name}', __package__)", "imports a module whose name is computed"),
        ("helper = import_module('.helper', 'omrl' + '_bench.baselines')", "imports a module whose name is computed"),
        ("helper = importlib.import_module(name)", "imports a module whose name is computed"),
        ("helper = __import__(name)", "imports a module whose name is computed"),
        ("from . import *", "imports * from the package omrl_bench.baselines, and from there any module"),
        ("from .sub import *", "imports * from the package omrl_bench.baselines.sub, and from there any module"),
        ("from . import sub", "imports the package omrl_bench.baselines.sub, and from there any module"),
        ("from omrl_bench import baselines", "imports the package omrl_bench.baselines, and from there any module"),
        ("import omrl_bench.baselines", "imports the package omrl_bench.baselines, and from there any module"),
    ],
)
def test_imports_that_cannot_be_followed(put, folder, statement, message):
    put("sub/__init__.py", "")
    put("sub/mod.py", "")
    put("mine.py", f"{MODULE}from .helper import f\n")
    put("helper.py", f"\n{statement}\n")
    with pytest.raises(InputError) as error:
        digest()
    assert str(error.value).startswith(f"{folder / 'helper.py'}:2 {message}")
    assert registry.source_hash(registry.methods()["focal"], "iql")  # it costs the methods that import it


def test_a_package_that_imports_its_modules_itself(put):
    put("sub/__init__.py", "from . import mod\n")
    put("sub/mod.py", "y = 1\n")
    put("mine.py", f"{MODULE}from . import sub\n")
    before = digest()
    put("sub/mod.py", "y = 2\n")
    assert digest() != before


@pytest.mark.parametrize(
    ("text", "message"), [("def f(:\n", r"mine\.py:1 is no Python"), ("\0", r"mine\.py.* is no Python")]
)
def test_a_file_that_is_no_python(put, text, message):
    put("mine.py", f"{text}METHODS = 3\n")
    with pytest.raises(InputError, match=message):
        registry.methods()


def test_a_file_that_is_no_text(folder):
    (folder / "mine.py").write_bytes(b"# \xff\n")
    with pytest.raises(InputError, match=r"mine\.py is no text in the encoding that it declares \(UTF-8 if none\): "):
        registry.methods()


def test_every_file_of_baselines_can_be_followed_and_every_class_is_there():
    """What the registry says of the files that ship is what they hold when they run."""
    from importlib import import_module

    for kind in ("METHODS", "BACKBONES"):
        for name, target in getattr(registry, kind.lower())().items():
            module = import_module(target.partition(":")[0])
            assert getattr(module, kind)[name] == target.partition(":")[2]
            assert getattr(module, target.partition(":")[2]).__name__ == target.partition(":")[2]
    for target in registry.methods().values():
        for backbone in registry.backbones():
            registry.source_hash(target, backbone)


@pytest.fixture
def installed(tmp_path):
    """Write installed files and ask for hashes in a process of its own: installed({path: text})(target) -> hash."""

    def write(files):
        for name, text in files.items():
            file = tmp_path / "site" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode("latin-1"))

        def ask(target):
            code = f"from omrl_bench import registry; print(registry.source_hash({target!r}, 'iql'))"
            environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
            return done.stdout.strip() or done.stderr.splitlines()[-1]

        return ask

    return write


def test_the_hash_of_an_installed_method_covers_its_whole_package(installed):
    files = {"pack/__init__.py": "", "pack/mine.py": "x = 1\n", "pack/deep/other.py": "y = 1\n", "alone.py": "z = 1\n"}
    ask = installed(files)
    found = [ask(target) for target in ("pack.mine:Mine", "pack.mine:Other", "pack.deep.other:Mine", "alone:Mine")]
    for file, text in (("pack/deep/other.py", "y = 2\n"), ("pack/__init__.py", "w = 1\n"), ("pack/deep/new.py", "")):
        installed({file: text})
        found.append(ask("pack.mine:Mine"))
    assert len(set(found)) == len(found) and all(len(digest) == 16 for digest in found)
    installed({"alone.py": "z = 3\n", "pack/mine.py": "x = 1  # a remark\n"})
    assert ask("pack.mine:Mine") == found[-1]


def test_the_hash_of_an_installed_method_stops_at_the_namespace(installed):
    ask = installed({"company/pack/__init__.py": "", "company/pack/mine.py": "x = 1\n"})
    first = ask("company.pack.mine:Mine")
    installed({"company/other/__init__.py": "y = 1\n"})
    assert ask("company.pack.mine:Mine") == first
    installed({"company/pack/__init__.py": "y = 1\n"})
    assert ask("company.pack.mine:Mine") != first


def test_an_installed_package_may_hold_what_is_no_python(installed):
    """And what an adapter file must not do: its whole package counts anyway."""
    files = {
        "pack/__init__.py": "",
        "pack/mine.py": "import_module(name)\n",
        "pack/template.py": "def {{ name }}(:\n",
        "pack/latin.py": "# \xff\n",
    }
    ask = installed(files)
    found = [ask("pack.mine:Mine")]
    for name in ("pack/template.py", "pack/latin.py"):
        installed({name: f"{files[name]}# more"})
        found.append(ask("pack.mine:Mine"))
    assert len(set(found)) == 3 and all(len(digest) == 16 for digest in found)


def test_the_hash_of_an_installed_method_covers_what_it_takes_from_baselines(put, monkeypatch, tmp_path):
    (tmp_path / "site" / "packed").mkdir(parents=True)
    (tmp_path / "site" / "packed" / "__init__.py").write_text("")
    mine = tmp_path / "site" / "packed" / "mine.py"
    mine.write_text("from omrl_bench.baselines.two_stage import TwoStage\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = {backbone: registry.source_hash("packed.mine:Mine", backbone) for backbone in ("iql", "td3bc")}
    assert before["iql"] != before["td3bc"]
    put("two_stage.py", (registry._folder() / "two_stage.py").read_text() + "\nX = 1\n")
    assert registry.source_hash("packed.mine:Mine", "iql") != before["iql"]
    mine.write_text("import torch\n")
    assert len({registry.source_hash("packed.mine:Mine", backbone) for backbone in ("iql", "td3bc")}) == 1


def test_an_installed_module_that_is_not_there(installed):
    assert installed({})("absent.mine:Mine") == "omrl_bench.errors.InputError: absent.mine cannot be found"


def test_a_name_that_several_installed_packages_register(tmp_path):
    for number in (1, 2):
        info = tmp_path / f"omrl_plug{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: omrl-plug{number}\nVersion: 1.0\n")
        points = (f"plugged = plug{number}:Whole", f"focal = plug{number}:Whole", f"own{number} = plug:Whole")
        (info / "entry_points.txt").write_text("\n".join(["[omrl_bench.algorithms]", *points]))
    code = """
from omrl_bench import registry
print(registry.resolve_method("own1"), registry.resolve_method("focal"))
try:
    registry.resolve_method("plugged")
except registry.InputError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "('own1', 'plug:Whole') ('focal', 'omrl_bench.baselines.focal:Focal')",
        "method 'plugged' is registered by several installed packages: plug1:Whole, plug2:Whole",
    ], done.stderr


def test_a_file_of_the_package_itself_is_the_module_that_it_is():
    """It would run twice otherwise, and its relative imports with it."""
    path = Path(str(resources.files("omrl_bench.baselines"))) / "focal.py"
    assert registry.resolve_method(f"{path}:Focal") == ("Focal", "omrl_bench.baselines.focal:Focal")
    path = Path(str(resources.files("omrl_bench"))) / "api.py"
    assert registry.resolve_method(f"{path}:Algorithm") == ("Algorithm", "omrl_bench.api:Algorithm")
