"""Adapters in files of one's own, with what lies beside them: imported without a trace, and covered by the hash."""

import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from omrl_bench import registry
from omrl_bench.errors import InputError
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import iterate_records

METHOD = """
from omrl_bench.api import Algorithm


class Mine(Algorithm):
    fit = policy = save = load = lambda *_: None
    found = staticmethod(lambda: {})
"""


@pytest.fixture
def write(tmp_path):
    """Write files: write({name: text})."""

    def files(named):
        for name, text in named.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return files


@pytest.fixture
def load(tmp_path):
    """Load class Mine of a file: load("mine.py")."""
    return lambda name="mine.py": registry.load_class(registry.resolve_method(f"{tmp_path / name}:Mine")[1])


@pytest.fixture
def digest(tmp_path):
    return lambda name="mine.py", backbone="iql": registry.source_hash(f"{tmp_path / name}:Mine", backbone)


def adapter(statement, expression):
    """Source of an adapter that imports something; Mine.found() gives the value of an expression."""
    return f"{statement}\n{METHOD.replace('{}', expression)}"


IMPORTS = [
    ("import helper", "helper.value"),
    ("import helper as h", "h.value"),
    ("from helper import value", "value"),
    ("from helper import *", "value"),
    ("from . import helper", "helper.value"),
    ("from .helper import value", "value"),
    ("from middle import helper", "helper.value"),
    ("import middle", "middle.helper.value"),
    ("import pack.part", "pack.part.value"),
    ("import pack.part as p", "p.value"),
    ("from pack import part", "part.value"),
    ("from pack.part import value", "value"),
    ("import pack", "pack.shown"),
    ("from pack.deep.end import value", "value"),
    ("from pack.deep import end", "end.value"),
    ("from loose.end import value", "value"),
    ("import loose.end", "loose.end.value"),
    ("import numpy, helper", "helper.value"),
]


@pytest.fixture
def beside(write):
    """Write what lies beside an adapter; every value is the same number: beside(number, folder)."""

    def files(number, folder="."):
        value = f"value = {number}\n"
        write(
            {
                f"{folder}/helper.py": value,
                f"{folder}/middle.py": "import helper\n",
                f"{folder}/pack/__init__.py": "from .part import value as shown\n",
                f"{folder}/pack/part.py": "import helper\nvalue = helper.value\n",
                f"{folder}/pack/deep/__init__.py": "",
                f"{folder}/pack/deep/end.py": "from ..part import value\n",
                f"{folder}/loose/end.py": "from helper import value\n",
            }
        )

    return files


@pytest.mark.parametrize(("statement", "expression"), IMPORTS)
def test_what_lies_beside_can_be_imported_and_counts(write, beside, load, digest, statement, expression):
    write({"mine.py": adapter(statement, expression)})
    beside(1)
    path, modules = list(sys.path), set(sys.modules)
    assert load().found() == 1
    first = digest()
    beside(2)
    assert load().found() == 2  # what has changed is imported again
    assert digest() != first
    beside("1  # a remark")
    assert digest() == first
    assert sys.path == path
    new = {name for name in set(sys.modules) - modules if not name.startswith("omrl_bench_adapter_")}
    assert not {name.partition(".")[0] for name in new} & {"helper", "middle", "pack", "loose", "mine"}


@pytest.mark.parametrize(("statement", "expression"), IMPORTS)
def test_imports_inside_functions_too(write, beside, load, digest, statement, expression):
    if statement.endswith("*"):
        return  # which Python does not allow there
    write(
        {
            "mine.py": METHOD.replace("lambda: {}", "lambda: found()")
            + f"\ndef found():\n    {statement}\n    return {expression}\n"
        }
    )
    beside(1)
    assert load().found() == 1
    first = digest()
    beside(2)
    assert digest() != first and load().found() == 2


TWICE = """
import helper


def found():
    import later

    return helper.value, later.value
"""


def test_helpers_of_one_name_do_not_mix(write, load):
    """Nor do adapters of one name, loaded in turns and asked afterwards, in functions too."""
    for folder in ("a", "b"):
        value = f"value = '{folder}'\n"
        adapter = METHOD.replace("lambda: {}", "lambda: found()") + TWICE
        write({f"{folder}/mine.py": adapter, f"{folder}/helper.py": value, f"{folder}/later.py": value})
    first, second = load("a/mine.py"), load("b/mine.py")
    assert first is not second and first.__module__ != second.__module__
    for folder, cls in (("b", second), ("a", first), ("b", second)):
        assert cls.found() == (folder, folder)
    assert load("a/mine.py") is first  # nothing has changed: the same class


def test_adapters_of_one_folder_share_what_lies_beside(write, load):
    for name in ("one", "two"):
        write({f"{name}.py": adapter("import helper", "helper")})
    write({"helper.py": "value = 1\n"})
    first, second = load("one.py"), load("two.py")
    assert first is not second and first.found() is second.found()


def test_nobody_else_sees_what_lies_beside(write, beside, load):
    write({"mine.py": adapter("import helper", "helper")})
    beside(1)
    assert load().found().value == 1
    with pytest.raises(ModuleNotFoundError, match="No module named 'helper'"):
        __import__("helper")


def test_the_standard_library_and_omrl_bench_are_never_shadowed(write, load, digest):
    text = "import random, omrl_bench.api, json as j, helper"
    write({"mine.py": adapter(text, "(random, j, omrl_bench.api, helper)"), "helper.py": "import json\n"})
    before = digest()
    write(
        {"random.py": "1 / 0", "json/__init__.py": "1 / 0", "omrl_bench/__init__.py": "", "omrl_bench/api.py": "1 / 0"}
    )
    import random

    import omrl_bench.api

    found = load().found()
    assert found[:3] == (random, json, omrl_bench.api) and found[3].json is json
    assert digest() == before


def test_a_file_beside_goes_before_an_installed_package_of_its_name(write, load, digest):
    write(
        {
            "mine.py": adapter("import tabulate, rich", "(tabulate, rich)"),
            "tabulate.py": "here = 1\n",
            "rich/notes.txt": "",
        }
    )
    tabulate, rich = load().found()
    assert tabulate.here == 1
    assert rich is __import__("rich")  # a folder without Python files is no module
    before = digest()
    write(
        {"tabulate.py": "here = 2\n", "rich/table.py": "1 / 0\n"}
    )  # nor is one without __init__.py, where there is one
    assert digest() != before
    assert load().found()[1] is rich


def test_the_contract_is_the_same_class_for_everybody(write, load):
    from omrl_bench.api import Algorithm

    write(
        {"mine.py": adapter("import helper", "helper.Algorithm"), "helper.py": "from omrl_bench.api import Algorithm\n"}
    )
    assert load().found() is Algorithm
    assert sum(name.endswith("omrl_bench.api") for name in sys.modules) == 1


def test_an_adapter_in_a_package(write, load, digest):
    """Relative imports work, upwards too; its packages run; absolute ones start from beside the outermost."""
    write(
        {
            "outer/__init__.py": "ran = True\n",
            "outer/shared.py": "value = 1\n",
            "outer/inner/__init__.py": "",
            "outer/inner/part.py": "from outer.shared import value\n",
            "outer/inner/mine.py": adapter(
                "from .. import shared, ran\nfrom . import part\nimport outer.shared, neighbour",
                "(shared.value, part.value, outer.shared is shared, neighbour.value, ran)",
            ),
            "outer/data/unread.py": "value = 1\n",  # nothing imports it, but it is of the package
            "neighbour.py": "value = 1\n",
        }
    )
    assert load("outer/inner/mine.py").found() == (1, 1, True, 1, True)
    for changed in (
        "outer/shared.py",
        "outer/__init__.py",
        "outer/inner/__init__.py",
        "outer/inner/part.py",
        "outer/data/unread.py",
        "neighbour.py",
    ):
        before = digest("outer/inner/mine.py")
        write({changed: "value = ran = 2\n"})
        assert digest("outer/inner/mine.py") != before, changed


def test_the_file_of_a_package_itself(write, load, digest):
    write({"pack/__init__.py": adapter("from . import part", "part.value"), "pack/part.py": "value = 1\n"})
    assert load("pack/__init__.py").found() == 1
    before = digest("pack/__init__.py")
    write({"pack/part.py": "value = 2\n"})
    assert digest("pack/__init__.py") != before


def test_a_neighbour_in_a_package_that_is_imported_as_if_in_none(write, load):
    write({"pack/__init__.py": "", "pack/mine.py": adapter("import helper", "1"), "pack/helper.py": ""})
    with pytest.raises(
        InputError, match=r"mine\.py imports 'helper', which lies beside it in a package .* from \. import"
    ):
        load("pack/mine.py")


def test_an_adapter_that_imports_itself_and_a_circle(write, load, digest):
    write({"mine.py": adapter("import helper", "helper.mine.Mine"), "helper.py": "import mine\n"})
    assert load().found() is load()
    assert digest()


def test_a_helper_that_fails_is_tried_again(write, load):
    write({"mine.py": adapter("import helper", "helper.value"), "helper.py": "import fine\n1 / 0\n", "fine.py": ""})
    for _ in range(2):
        with pytest.raises(InputError, match=r"mine\.py cannot be imported: ZeroDivisionError"):
            load()
    write({"helper.py": "value = 3\n"})
    assert load().found() == 3


def test_what_was_deleted_is_missed(write, load, tmp_path):
    write({"mine.py": adapter("import helper", "helper.value"), "helper.py": "value = 1\n"})
    load()
    (tmp_path / "helper.py").unlink()
    with pytest.raises(InputError, match="ModuleNotFoundError: No module named 'helper'"):
        load()


def test_files_beside_are_left_as_they_are(write, load, tmp_path):
    """No compiled files: they would be taken for those of the next version, written within the same second."""
    write({"mine.py": adapter("import helper", "helper.value"), "helper.py": "value = 1\n"})
    before = sorted(tmp_path.rglob("*"))
    load()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_helper_defines_can_be_pickled(write, load):
    write({"mine.py": adapter("import helper", "helper.Thing"), "helper.py": "class Thing:\n    pass\n"})
    thing = load().found()
    assert type(pickle.loads(pickle.dumps(thing()))) is thing


def test_loading_in_threads(write, load):
    for folder in ("a", "b"):
        write(
            {
                f"{folder}/mine.py": adapter("import helper", "helper.value"),
                f"{folder}/helper.py": f"value = '{folder}'",
            }
        )
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda folder: load(f"{folder}/mine.py").found(), "ab" * 20))
    assert found == ["a", "b"] * 20


@pytest.mark.parametrize("name", ["my-method.py", "2nd.py"])
def test_file_names_that_no_import_statement_could_name(write, load, digest, name):
    write({name: adapter("import helper", "helper.value"), "helper.py": "value = 1\n"})
    assert load(name).found() == 1 and digest(name)


def test_a_file_name_with_a_dot(write, tmp_path):
    write({"my.method.py": METHOD})
    with pytest.raises(InputError, match=r"adapter file .*my\.method\.py: Python cannot import a file .* rename it"):
        registry.resolve_method(f"{tmp_path / 'my.method.py'}:Mine")


def test_the_hash_of_a_file_alone_is_that_of_its_text(write, digest):
    """So that records of adapters that import nothing from beside stay what they were."""
    from omrl_bench.fingerprint import hash_text, normalise_source

    write({"mine.py": METHOD, "unused.py": ""})
    assert digest() == hash_text("Mine", normalise_source(METHOD))


def test_the_hash_covers_what_an_adapter_takes_from_baselines(write, digest):
    write({"mine.py": METHOD, "helper.py": ""})
    alone = digest(), digest(backbone="td3bc")
    assert alone[0] == alone[1]  # it uses no backbone of ours
    write({"mine.py": f"import helper\n{METHOD}", "helper.py": "from omrl_bench.baselines.two_stage import TwoStage\n"})
    assert len({digest(), digest(backbone="td3bc"), *alone}) == 3


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import importlib\nhelper = importlib.import_module(NAME)", "2 imports a module whose name is computed"),
        ("from pack import *", "1 imports * from the package pack"),
        ("import empty", "1 imports the package empty, and from there any module"),
    ],
)
def test_imports_that_cannot_be_followed(write, beside, digest, tmp_path, statement, message):
    beside(1)
    write({"mine.py": "import helper\n", "helper.py": f"{statement}\n", "empty/__init__.py": "", "empty/part.py": ""})
    with pytest.raises(InputError) as error:
        digest()
    assert str(error.value).startswith(f"{tmp_path / 'helper.py'}:{message}")


def test_imports_of_what_is_installed_need_not_be_followed(write, digest):
    write({"mine.py": f"from numpy import *\nfrom importlib import import_module\nimport_module('torch')\n{METHOD}"})
    assert digest()


def test_an_empty_package_that_holds_data_only(write, digest):
    write({"mine.py": f"import data\n{METHOD}", "data/__init__.py": "", "data/weights.txt": "1"})
    assert digest()


WITH_HELPER = """
from helper import Zero


class Mine(Zero):
    def fit(self, data, budget, seeds, log):
        import later

        self.level = later.LEVEL

    def save(self, folder):
        super().save(folder)
        (folder / "level").write_text(str(self.level))

    def load(self, folder):
        super().load(folder)
        self.level = float((folder / "level").read_text())

    def action(self, lanes):
        return super().action(lanes) + self.level
"""


def test_a_run_of_adapters_with_helpers(write, cli, bad, tiny, tmp_path):
    """Two files of one name with helpers of one name: planned here, trained and evaluated by workers of their own."""
    bad("Zero")
    helper = (tmp_path / "bad.py").read_text()
    for level, (folder, name) in enumerate((("a", "Left"), ("b", "Right"))):
        text = WITH_HELPER.replace("Mine", name)
        write(
            {f"{folder}/mine.py": text, f"{folder}/helper.py": helper, f"{folder}/later.py": f"LEVEL = {level / 20}\n"}
        )
    methods = [f"--method={tmp_path / folder / 'mine.py'}:{name}" for folder, name in (("a", "Left"), ("b", "Right"))]
    common = ("--suite", tiny(), "--out", tmp_path / "runs", *methods)
    outcome = cli("run", *common, "--jobs", 2)
    assert outcome.code == 0, outcome
    records = {record.cell.method: record for record in iterate_records(tmp_path / "runs") if record.cell.seed == 0}
    left, right = (read_cube(records[name].cell.cube_path(tmp_path / "runs")) for name in ("Left", "Right"))
    assert (left.returns != right.returns).any()
    assert records["Left"].hashes.method != records["Right"].hashes.method
    assert "4 complete" in cli("status", *common).out
    write({"a/later.py": "LEVEL = 0.05\n"})
    status = cli("status", *common)
    assert "2 complete, 0 missing, 0 failed, 2 stale" in status.out and "changed since: method" in status.words


@pytest.mark.parametrize(
    ("encoding", "begin"),
    [("utf-8-sig", ""), ("latin-1", "# -*- coding: latin-1 -*-\n"), ("cp1252", "# coding=cp1252\n")],
)
def test_a_file_in_another_encoding_is_read_as_python_does(write, tmp_path, load, digest, encoding, begin):
    """A mark at the beginning, as some editors write it, or an encoding that is declared."""
    text = adapter("import helper", "helper.value")
    write({"mine.py": text, "helper.py": "value = 'é'\n"})
    expected = digest()
    (tmp_path / "mine.py").write_bytes(f"{begin}{text}".encode(encoding))
    (tmp_path / "helper.py").write_bytes(f"{begin}value = 'é'\n".encode(encoding))
    assert load().found() == "é"
    assert digest() == expected
