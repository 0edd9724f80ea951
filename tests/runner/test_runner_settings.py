"""Changed hyper-parameters: how they are written, what is refused, and that their records are rows of their own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.errors import InputError
from omrl_bench.runner.records import Cell, iterate_records, read_record
from omrl_bench.runner.settings import fit_settings, flatten, method_name, parse_settings, split_reference

WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
VALUES = st.one_of(st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
DEFAULTS = {"beta": 1.0, "latent": 5, "whole": False, "form": "mean", "unset": None, "backbone": {"width": 256}}
#: An adapter with hyper-parameters, which refuses one value.
ADAPTER = """

class Mine(Quick):
    def __init__(self, space, setup):
        super().__init__(space, setup)
        self.rate = setup.settings.get("rate", 0.1)
        if self.rate < 0:
            raise ValueError("a rate is positive")

    def configuration(self):
        return {"rate": self.rate}
"""


@given(st.dictionaries(WORDS, st.one_of(VALUES, WORDS), max_size=4))
def test_a_name_says_all_that_was_set(settings):
    settings = {key: value for key, value in settings.items() if value not in ("true", "false", "inf", "nan")}
    assert split_reference(method_name("focal", settings)) == ("focal", settings)
    name = method_name("focal", settings)
    assert Cell(suite="s", family="f", dataset="d", method=name, backbone="b", preset="p", seed=0).method == name


def test_the_order_of_settings_makes_no_other_name():
    assert method_name("m", {"b": 1, "a": True}) == method_name("m", {"a": True, "b": 1}) == "m[a=true,b=1]"


def test_a_file_may_have_brackets_in_its_path():
    assert split_reference("my [old] files/a.py:Mine") == ("my [old] files/a.py:Mine", {})
    assert split_reference("my [old] files/a.py:Mine[rate=2]") == ("my [old] files/a.py:Mine", {"rate": 2})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("-1e-3", -0.001),
        ("true", True),
        ("mean", "mean"),
        ('"mean"', "mean"),
        ("td3.bc", "td3.bc"),
    ],
)
def test_values(text, value):
    (found,) = parse_settings([f"key={text}"]).values()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["beta"], "write it as key=value"),
        (["=2"], "write it as key=value"),
        (["a b=2"], "write it as key=value"),
        (["beta=1", "beta=2"], "setting 'beta' is given twice"),
        *(([f"beta={value}"], "a number, true, false or a word") for value in (
            "", "[1, 2]", "{a = 1}", "nan", "inf", "2020-01-01", "a/b", "..", "a,b", "a b", '"2"', "1\n2",
        )),
    ],
)  # fmt: skip
def test_what_is_no_setting(texts, words):
    with pytest.raises(InputError, match="setting") as refused:
        parse_settings(texts)
    assert words in str(refused.value)


def test_settings_take_the_type_of_what_they_replace():
    changed = {"beta": 2, "latent": 6, "whole": True, "form": "max", "unset": 3, "backbone.width": 64}
    fitting = fit_settings("m", changed, DEFAULTS)
    assert fitting == changed and isinstance(fitting["beta"], float) and isinstance(fitting["latent"], int)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"bata": 2.0}, "unknown hyper-parameter of method 'm' 'bata'; did you mean 'beta'?"),
        ({"backbone.with": 2}, "unknown hyper-parameter of method 'm' 'backbone.with'; did you mean 'backbone.width'?"),
        ({"beta": "high"}, "setting beta=high of method 'm': its own is 1.0, of type float, not str"),
        ({"latent": 2.5}, "setting latent=2.5 of method 'm': its own is 5, of type int, not float"),
        ({"latent": True}, "setting latent=True of method 'm': its own is 5, of type int, not bool"),
        ({"beta": True}, "setting beta=True of method 'm': its own is 1.0, of type float, not bool"),
        ({"whole": 1}, "setting whole=1 of method 'm': its own is False, of type bool, not int"),
    ],
)
def test_what_a_method_does_not_have(settings, line):
    with pytest.raises(InputError) as refused:
        fit_settings("m", settings, DEFAULTS)
    assert str(refused.value) == line


def test_a_name_that_is_too_long_for_a_folder():
    with pytest.raises(InputError, match="longer than 200 bytes; set less at a time"):
        method_name("focal", {f"key{number}": number for number in range(40)})
    with pytest.raises(InputError, match="longer than 200 bytes; rename it"):
        method_name("é" * 101, {})  # two bytes each
    assert method_name("é" * 100, {}) == "é" * 100


@pytest.fixture
def mine(tmp_path, held):
    """A file of one's own with a hyper-parameter."""
    file = held.file.with_name("mine.py")
    source = held.file.read_text().replace("class Held(Quick)", "class Unused(Quick)")
    file.write_text(source + ADAPTER)
    return f"{file}:Mine"


@pytest.fixture
def refused(cli, tmp_path):
    """Run a command that must be refused before anything is built or trained: its one line."""

    def check(*arguments):
        outcome = cli(*arguments, "--out", tmp_path / "runs")
        assert outcome.code == 2 and outcome.out == "" and outcome.err.count("\n") == 1, outcome
        assert not (tmp_path / "runs").exists()
        return outcome.err.removeprefix("error: ").strip()

    return check


def test_a_key_that_a_method_does_not_have_ends_the_command(refused, tiny, mine):
    run = ("run", "--suite", tiny())
    assert "unknown hyper-parameter of method 'focal' 'latnt'; did you mean 'latent'?" in refused(
        *run, "--method", "focal", "--set", "latnt=3"
    )
    # without --method it is meant for all of the suite's
    assert refused(*run, "--set", "latent=3") == (
        "method 'random' has no hyper-parameter 'latent': its configuration() names none at all"
    )
    assert "'Mine' 'rte'; did you mean 'rate'?" in refused(*run, "--method", f"{mine}[rte=1]")
    assert "Mine cannot say its configuration(): ValueError: a rate is positive" in refused(
        *run, "--method", mine, "--set", "rate=-1"
    )
    assert "write it as key=value" in refused(*run, "--method", "focal", "--set", "latent")


def test_changed_methods_are_rows_of_their_own(cli, inline, tiny, results):
    """In the folder of the default's records, which stay complete and untouched; every key is in record and hash."""
    before = {p: p.stat().st_mtime_ns for p in results.rglob("seed-*")}
    command = ("run", "--suite", tiny(), "--method", "focal", "--out", results, "--no-report")
    outcome = cli(*command, "--set", "latent=3", "--set", "backbone.learning_rate=2e-3")
    assert outcome.code == 0, outcome
    assert {p: p.stat().st_mtime_ns for p in before} == before
    name = "focal[backbone.learning_rate=0.002,latent=3]"
    folder = results / "tiny/quick/point-goal/mixed"
    record, default = (read_record(folder / method / "iql/seed-1.json") for method in (name, "focal"))
    assert record.cell.method == name and record.hashes.method != default.hashes.method
    then, now = flatten(default.configuration), flatten(record.configuration)
    assert {key: value for key, value in now.items() if value != then[key]} == {
        "latent": 3,
        "backbone.learning_rate": 0.002,
    }
    assert record.parameters != default.parameters  # it was trained so
    reference = "focal[latent=3,backbone.learning_rate=0.002]"  # in any order
    shown = cli("status", "--suite", tiny(), "--method", "focal", "--method", reference, "--out", results)
    assert "4 complete, 0 missing, 0 failed, 0 stale" in shown.out and name in shown.words


def test_a_suite_may_hold_a_method_and_its_variation(cli, inline, tiny, mine, tmp_path):
    suite = tiny(('["random", "focal"]', json.dumps(["random", mine, f"{mine}[rate=0.3]"])))
    assert cli("validate", suite).code == 0
    assert cli("show", "suite", suite).code == 0
    outcome = cli("run", "--suite", suite, "--out", tmp_path / "runs")
    assert outcome.code == 0, outcome
    found = {r.cell.method: r.configuration for r in iterate_records(tmp_path / "runs") if r.cell.seed == 0}
    assert found == {"random": {}, "Mine": {"rate": 0.1}, "Mine[rate=0.3]": {"rate": 0.3}}
    again = cli("run", "--suite", suite, "--method", mine, "--set", "rate=0.3", "--out", tmp_path / "runs")
    assert "2 cells, 0 to run" in again.out


def test_a_suite_with_settings_that_do_not_exist(cli, tiny):
    suite = tiny(('["random", "focal"]', '["focal[latnt=3]", "random[a=1]", "focal[latent]"]'))
    outcome = cli("validate", suite)
    assert outcome.code == 2 and outcome.err.splitlines() == [
        f"{suite}: key 'methods': unknown hyper-parameter of method 'focal' 'latnt'; did you mean 'latent'?",
        f"{suite}: key 'methods': method 'random' has no hyper-parameter 'a': its configuration() names none at all",
        f"{suite}: key 'methods': setting 'latent': write it as key=value, e.g. beta=2.0 or backbone.width=64",
    ]


def test_a_record_with_settings_is_made_again(cli, inline, tiny, mine, tmp_path):
    common = ("--suite", tiny(), "--method", mine)
    assert cli("run", *common, "--set", "rate=0.3", "--out", tmp_path / "runs").code == 0
    record = tmp_path / "runs/tiny/quick/point-goal/mixed/Mine[rate=0.3]/iql/seed-0.json"
    outcome = cli("reproduce", record, *common, "--run", "--out", tmp_path / "again")
    assert outcome.code == 0, outcome
    assert f"--method '{mine}[rate=0.3]' --family point-goal" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("identical: all ")


def test_two_methods_of_one_name_would_share_a_folder(refused, tiny, mine, tmp_path):
    other = tmp_path / "other.py"
    other.write_text((tmp_path / "held" / "mine.py").read_text())
    line = refused("run", "--suite", tiny(), "--method", mine, "--method", f"{other}:Mine")
    assert line.startswith("two methods are called 'Mine', and so is the folder of their records: ")
