"""Declarations are checked by one function, whoever asks: a plan, a run, a check of an adapter, a table."""

from pathlib import Path

import pytest

from omrl_bench.api import Setup
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite
from omrl_bench.referee import method
from omrl_bench.referee.process import MethodError
from omrl_bench.registry import built_in, load_class, resolve_method
from omrl_bench.registry.names import check_method_name
from omrl_bench.runner.plan import select
from omrl_bench.runner.settings import configuration_of
from omrl_bench.testing import AdapterError, check_adapter

FILE = Path(__file__).parent / "adapters" / "wrong_declarations.py"
WRONG = {
    "PrivilegesAsText": "PrivilegesAsText.requires.privileges is a str; expected a set of names",
    "NumberAsPrivilege": "NumberAsPrivilege.requires: unknown privilege '<a int>'",
    "UnknownPrivilege": "UnknownPrivilege.requires: unknown privilege 'descriptor'; did you mean 'descriptors'?",
    "NoRequirements": "NoRequirements.requires is a dict; expected an omrl_bench.api.Requirements",
    "ContextAsText": "ContextAsText.requires.context is neither True nor False",
    "GiantConfiguration": r"GiantConfiguration.configuration\(\) takes 2200001\d bytes as JSON; at most 16384",
    "LargeConfiguration": r"LargeConfiguration.configuration\(\) takes 2001\d bytes as JSON; at most 16384",
    "DeepConfiguration": r"DeepConfiguration.configuration\(\) is nested more than 20 times",
    "NoConfiguration": "configuration",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_plan_says_what_is_wrong(name):
    with pytest.raises(InputError, match=WRONG[name]):
        configuration_of(f"{FILE}:{name}", get_family("point-goal"), Setup())


@pytest.mark.parametrize("name", WRONG)
def test_a_check_of_the_adapter_says_the_same(name):
    with pytest.raises(AdapterError, match=WRONG[name]):
        check_adapter(load_class(f"{FILE}:{name}"))


def test_an_import_that_is_never_done_has_a_limit(monkeypatch):
    monkeypatch.setattr(method, "MAKES", 3.0)
    target = f"{FILE.parent / 'sleeping.py'}:Cheat"
    with pytest.raises(InputError, match=r"Cheat cannot say its configuration\(\): Cheat: not done with make"):
        configuration_of(target, get_family("point-goal"), Setup())
    with pytest.raises(MethodError, match="Cheat: not done with make after 3 s"):
        method.Hosted(target, get_family("point-goal").space(), Setup())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f\N{CYRILLIC SMALL LETTER O}cal", r"has the character '.' \(CYRILLIC SMALL LETTER O\), which may be taken"),
        ("random ", "a name has no spaces at its ends"),
        ("random\n", "a name has no spaces at its ends and no control characters"),
        ("", "a name has no spaces"),
        ("Focal", "looks like the benchmark's own 'focal'"),
        ("foca1", "looks like the benchmark's own 'focal'"),
        ("hs_hard", "looks like the benchmark's own 'hs-hard'"),
        ("f\N{LATIN SMALL LETTER O WITH DIAERESIS}cal", "looks like the benchmark's own 'focal'"),
        ("\N{FULLWIDTH LATIN SMALL LETTER F}ocal2", "FULLWIDTH LATIN SMALL LETTER F"),
        ("f\N{LATIN SMALL LETTER DOTLESS I}ne", "LATIN SMALL LETTER DOTLESS I"),
        ("zero\N{ZERO WIDTH SPACE}width", "control characters"),
        ("@papers", "names that begin with @ are sets of methods"),
        ("Mu\N{COMBINING DIAERESIS}ller", "COMBINING DIAERESIS"),
    ],
)
def test_names_that_may_be_taken_for_others(name, words):
    with pytest.raises(InputError, match=words):
        check_method_name(name, ["focal", "random", "hs-hard"])


@pytest.mark.parametrize("name", ["Mine", "focal", "focal2", "M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller", "a b"])
def test_other_names_are_fine(name):
    check_method_name(name, built_in())


def test_an_adapter_class_is_named_as_any_method(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("")
    for name in ("F\N{CYRILLIC SMALL LETTER O}cal", "Focal", "FOCAL", "focal"):
        with pytest.raises(InputError, match=r"has the character|looks like|has the name of"):
            resolve_method(f"{file}:{name}")


def test_long_names_and_equal_names_are_said_before_anything_runs(tmp_path):
    suite = load_suite("smoke")
    honest = (FILE.parent / "honest.py").read_text()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(honest.replace("Honest", "Mine"))
    with pytest.raises(InputError, match="two methods are called 'Mine', and so is the folder of their records"):
        select(suite, methods=[f"{tmp_path / folder / 'mine.py'}:Mine" for folder in ("a", "b")])
    long = "M" * 300
    (tmp_path / "long.py").write_text(honest.replace("Honest", long))
    with pytest.raises(InputError, match="the name is longer than 200 bytes; rename it"):
        select(suite, methods=[f"{tmp_path / 'long.py'}:{long}"])


def test_the_documentation_has_the_limits_of_the_code():
    from omrl_bench.referee import declared, independence, process, warden, weights

    text = " ".join((Path(__file__).parents[2] / "docs" / "referee.md").read_text().split())
    assert f"importing and constructing {method.MAKES:.0f} s" in text
    assert f"configuration {declared.MOST_CONFIGURATION} bytes" in text
    assert f"output {process.MOST_OUTPUT} bytes" in text and f"an answer {process.MOST_RETURNED >> 20} MiB" in text
    assert f"weights {weights.MOST_BYTES >> 20} MiB in {weights.MOST_FILES} files" in text
    assert f"a file {warden.LONGEST_FILE >> 20} MiB" in text
    assert f"at most {independence.TASKS} tasks" in text and f"fewer than {independence.FEWEST} tasks" in text
    assert "a paired t test at 1e-6" in text and independence.CHANCE == 1e-6
