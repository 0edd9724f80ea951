"""Bad input on the command line: one clear line, exit code 2, nothing written."""

import subprocess
import sys

import pytest

from omrl_bench.cli.run import parse_seeds
from omrl_bench.errors import InputError, unknown_name

ADAPTER = """
from omrl_bench.api import Algorithm


class Half(Algorithm):
    def fit(self, data, budget, seeds, log):
        pass


class Unrelated:
    pass
"""

GAOL = "unknown family 'point-gaol'; did you mean 'point-goal' or 'point-goal-h10' or 'point-goal-h200'?"


@pytest.fixture
def refused(cli, tmp_path, monkeypatch):
    """Run a command that must be refused: its one line, without `error: `."""

    def check(*arguments):
        outcome = cli(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
        assert "Traceback" not in outcome.err and outcome.out == ""
        assert list((tmp_path / "work").iterdir()) == [] and not (tmp_path / "minari").exists()
        return outcome.err.removeprefix("error: ").strip()

    return check


@pytest.mark.parametrize("verb", ["run", "status"])
def test_unknown_suite(refused, verb):
    assert (
        refused(verb, "--suite", "shfit")
        == "unknown suite 'shfit'; did you mean 'shift' or 'shift-ood' or 'shift-train'?"
    )


@pytest.mark.parametrize("verb", ["run", "status"])
def test_unknown_preset(refused, verb):
    line = refused(verb, "--suite", "shift", "--preset", "standart")
    assert line == "unknown preset of suite 'shift' 'standart'; did you mean 'standard'?"


@pytest.mark.parametrize("command", [("report",), ("report", "--site"), ("paper", "ccm"), ("compare", "a", "b")])
def test_a_file_for_a_results_folder(refused, tmp_path, command):
    (tmp_path / "file.json").write_text("{}")
    line = refused(*command, "--results", tmp_path / "file.json")
    assert line.endswith("file.json is not a folder of results; --results names one")


def test_unknown_family(refused, tiny):
    assert refused("run", "--suite", "shift", "--family", "point-gaol") == GAOL
    assert refused("run", "--suite", tiny(), "--family", "cheetah-vel") == (
        "unknown family of suite 'tiny' 'cheetah-vel'; known: point-goal"
    )


def test_unknown_method(refused):
    assert "unknown method 'focl'; did you mean 'focal'" in refused("run", "--suite", "shift", "--method", "focl")
    assert "unknown method 'oracel'; did you mean 'oracle'" in refused("smoke", "oracel")
    assert "unknown method 'zzzzzz'; known: ad, behaviour, borel" in refused(
        "run", "--suite", "shift", "--method", "zzzzzz"
    )


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('["point-goal"]', '["point-gaol"]', GAOL),
        ('["random"]', '["randon"]', "unknown method 'randon'; did you mean 'random' or 'ad'?"),
        ('["iql"]', '["iqk"]', "unknown backbone 'iqk'; did you mean 'iql'?"),
    ],
)
def test_unknown_names_in_a_suite_file(refused, tiny, old, new, line):
    assert refused("run", "--dry-run", "--suite", tiny((old, new))) == line
    assert refused("status", "--suite", tiny((old, new))) == line


def test_missing_suite_file(refused, tmp_path):
    path = tmp_path / "absent.toml"
    assert refused("run", "--suite", path) == f"suite file {path} does not exist"


@pytest.mark.parametrize("verb", ["run", "status"])
def test_malformed_toml(refused, tiny, verb):
    path = tiny(("version = 0", "version ="))
    line = refused(verb, "--suite", path)
    assert line.startswith(f"{path}: not valid TOML: ") and "line 3" in line


def test_unknown_key(refused, tiny):
    path = tiny(("title", "subtitle = 'x'\ntitle"))
    assert refused("run", "--suite", path) == f"{path}: unknown key 'subtitle'; did you mean 'title'?"
    path = tiny(("evaluations = 2", "evaluations = 2\nevalautions = 2"))
    line = refused("run", "--suite", path)
    assert line.startswith(f"{path}: unknown key 'presets.quick.evalautions'; did you mean 'evaluations' or ")
    path = tiny(("draws = 2", "draw = 2"))
    assert refused("run", "--suite", path) == f"{path}: unknown key 'protocol.draw'; did you mean 'draws'?"


def test_wrong_type(refused, tiny):
    path = tiny(("updates = 4\nencoder", "updates = 'many'\nencoder"))
    assert refused("run", "--suite", path).startswith(f"{path}: key 'presets.quick.updates': ")
    path = tiny(('families = ["point-goal"]', 'families = "point-goal"'))
    assert refused("run", "--suite", path).startswith(f"{path}: key 'families': ")


def test_seeds_of_a_suite_file(refused, tiny):
    path = tiny(("[0, 1]", "[0, 1, 0]"))
    line = refused("run", "--suite", path)
    assert line.startswith(f"{path}: key 'presets.quick.seeds': ") and "seed 0 is given twice" in line
    path = tiny(("[0, 1]", "[0, -1]"))
    assert "seed -1 is negative" in refused("run", "--suite", path)


@pytest.mark.parametrize("quality", ["cross", "low", "exprt"])
def test_dataset_quality_that_cannot_be_trained_on(refused, tiny, quality):
    path = tiny(('["mixed"]', f'["{quality}"]'))
    assert refused("status", "--suite", path).startswith(f"{path}: key 'datasets.0': ")


def test_context_unit_that_does_not_exist(refused, tiny):
    path = tiny(("draws = 2", 'draws = 2\nunit = "steps"'))
    assert refused("status", "--suite", path).startswith(f"{path}: key 'protocol.unit': ")


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ("0,0", "seed 0 is given twice"),
        ("0-2,1", "seed 1 is given twice"),
        ("-1", "seed -1 is negative"),
        ("0,-3", "seed -3 is negative"),
        ("one", "'one': write numbers and ranges, e.g. 0-4 or 0,3,7"),
        ("0-x", "write numbers and ranges"),
        ("1.5", "write numbers and ranges"),
        ("0,,1", "write numbers and ranges"),
        ("1-", "write numbers and ranges"),
        ("", "write numbers and ranges"),
        ("4-2", "'4-2': the range 4-2 is empty"),
        pytest.param(
            "0,4-2",
            "the range 4-2 is empty",
        ),
    ],
)
def test_seeds(refused, seeds, words):
    line = refused("run", "--suite", "shift", f"--seeds={seeds}", "--method", "random", "--dry-run")
    assert line.startswith("--seeds") and words in line


@pytest.mark.parametrize(
    ("text", "seeds"),
    [(None, ()), ("3", (3,)), ("0-4", (0, 1, 2, 3, 4)), ("0,3,7", (0, 3, 7)), (" 1 , 5-6 ", (1, 5, 6)), ("2-2", (2,))],
)
def test_seeds_that_are_right(text, seeds):
    assert parse_seeds(text) == seeds


def test_adapters(refused, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER)
    run = ("run", "--suite", "shift", "--family", "point-goal", "--dry-run", "--method")
    absent = tmp_path / "absent.py"
    assert refused(*run, f"{absent}:Mine") == f"adapter file {absent} does not exist"
    assert refused(*run, file) == f"adapter '{file}': write it as path/to/file.py:Class"
    assert refused(*run, f"{file}:Hlaf") == f"unknown name in {file} 'Hlaf'; did you mean 'Half'?"
    assert refused(*run, f"{file}:Unrelated") == f"{file}:Unrelated is not a subclass of omrl_bench.api.Algorithm"
    assert refused(*run, f"{file}:Half") == f"{file}:Half lacks the methods load, policy, save"
    file.write_text("import torhc\n" + ADAPTER)
    assert refused(*run, f"{file}:Half") == (f"{file} cannot be imported: ModuleNotFoundError: No module named 'torhc'")


def test_an_adapter_of_a_module_is_unknown_with_a_hint(refused):
    assert "unknown method 'mine:Method'" in refused("run", "--suite", "shift", "--method", "mine:Method")


def test_unknown_family_and_quality_of_data(refused):
    assert refused("data", "build", "point-gaol") == GAOL
    assert refused("data", "build", "--quality", "expret") == "unknown quality 'expret'; did you mean 'expert'?"
    assert refused("data", "verify", "chetah-vel").startswith("unknown family 'chetah-vel'; did you mean 'cheetah-vel'")


def test_smoke_needs_one_method(refused, tmp_path):
    line = "name one method: a registered name, or path/to/file.py:Class"
    assert refused("smoke") == line
    assert refused("smoke", "focal", "--method", "a.py:B") == line


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--suite"),
        ("run", "--suite", "shift", "--jobs", "0"),
        ("run", "--suite", "shift", "--rerun", "some"),
        ("run", "--suite", "shift", "--sedes", "3"),
        ("smoke", "focal", "--time-limit", "0"),
        ("list", "suite"),
        ("lsit",),
    ],
    ids=" ".join,
)
def test_wrong_usage(cli, tmp_path, arguments):
    outcome = cli(*arguments)
    assert outcome.code == 2 and "Error" in outcome.err and outcome.out == ""
    assert "Traceback" not in outcome.err
    assert list((tmp_path / "work").iterdir()) == []


def test_option_with_a_typo_is_suggested(cli):
    assert "--seeds" in cli("run", "--suite", "shift", "--sedes", "3").err


def test_debug_shows_the_traceback():
    command = [sys.executable, "-m", "omrl_bench", "--debug", "status", "--suite", "shfit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "unknown suite 'shfit'; did you mean 'shift' or 'shift-ood' or 'shift-train'?" in done.stderr
    assert "protocols/suite.py" in done.stderr


def test_without_debug_there_is_none_and_errors_go_to_standard_error():
    command = [sys.executable, "-m", "omrl_bench", "status", "--suite", "shfit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown suite 'shfit'; did you mean 'shift' or 'shift-ood' or 'shift-train'?\n"


def test_an_unexpected_error_is_one_sentence_and_how_to_see_more(cli, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("omrl_bench.protocols.suite.load_suite", fail)
    outcome = cli("status", "--suite", "shift")
    assert outcome.code == 1
    assert outcome.err == "error: unexpected ZeroDivisionError: division by zero; omrl-bench --debug shows where\n"


def test_did_you_mean():
    assert str(unknown_name("suite", "sift", ["shift", "ood"])) == "unknown suite 'sift'; did you mean 'shift'?"
    assert str(unknown_name("suite", "x", ["shift", "ood"])) == "unknown suite 'x'; known: ood, shift"
    assert str(unknown_name("suite", "x", [])) == "unknown suite 'x'; known: none"
    assert isinstance(unknown_name("suite", "x", []), InputError)
