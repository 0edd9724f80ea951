"""omrl-bench validate: every problem of a suite file, one line each; what a suite would cost."""

import dataclasses
from importlib import resources

import pytest

from omrl_bench.protocols.suite import suite_names
from omrl_bench.runner.validation import check_suite


@pytest.fixture
def problems(cli, tmp_path):
    """Validate a file that has problems: them, without the file's name. Nothing is written."""

    def run(path):
        outcome = cli("validate", path)
        assert outcome.code == 2 and outcome.out == "", outcome
        lines = outcome.err.splitlines()
        assert all(line.startswith(f"{path}: ") for line in lines) and len(set(lines)) == len(lines)
        assert list((tmp_path / "work").iterdir()) == [] and not (tmp_path / "minari").exists()
        return [line.removeprefix(f"{path}: ") for line in lines]

    return run


@pytest.mark.parametrize("name", suite_names())
def test_the_shipped_suites_are_valid(name):
    suite, found = check_suite(name)
    assert found == [] and suite.name == name


def test_a_valid_file_and_what_it_costs(cli, tiny, monkeypatch):
    monkeypatch.setattr("omrl_bench.cli.validate.processors", lambda: 2)
    replacements = [
        ('["random"]', '["random", "focal", "pearl"]'),
        ('["point-goal"]', '["point-goal", "point-wind"]'),
        ('["mixed"]', '["mixed", "expert+random"]'),
        ('["iql"]', '["iql", "td3bc"]'),
        ("seeds = [0, 1]", "seeds = [4, 5, 7]"),
        ("job_seconds = 5", "job_seconds = 30"),
    ]
    path = tiny(*replacements)
    path.write_text(
        path.read_text()
        + '[presets."long [b]"]\nseeds = [0, 1]\nqualities = ["cross"]\nupdates = 12345\nencoder_updates = 7\n'
        + 'evaluations = 0\ntime_limit = 9\njob_seconds = 7201\nmethods = ["random"]\nfamilies = ["point-square"]\n'
        + "train_tasks = 3\n"
    )
    outcome = cli("validate", path)
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.splitlines()[0] == f"{path}: valid"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in outcome.out.splitlines() if "│" in line]
    assert rows == [
        ["families", "point-goal, point-wind", "point-square"],
        ["methods", "3", "1"],
        ["training tasks", "all", "3"],
        ["seeds", "4,5,7", "0-1"],
        ["draws", "2", "2"],
        ["conditions", "high, low", "cross"],
        ["encoder updates", "4", "7"],
        ["policy updates", "4", "12,345"],
        ["cells", "72", "8"],  # 2 families x 2 datasets x 3 methods x 2 backbones x 3 seeds; 1 x 2 x 1 x 2 x 2
        ["jobs", "24", "4"],
        ["estimated time", "6.0 min", "4.0 h"],  # two at a time
    ]
    assert "quick (default)" in outcome.words and "long [b]" in outcome.words


def test_every_problem_is_told_at_once(problems, tiny):
    path = tiny(
        ("title", "titel"),
        ('["point-goal"]', '["point-gaol", "point-goal"]'),
        ('["random"]', '["randon"]'),
        ('["iql"]', '["iqk"]'),
        ("draws = 2", "draw = 2"),
        ("seeds = [0, 1]", 'seeds = [0, 0]\nmethods = ["focal", "oracel"]'),
        ("updates = 4\nevaluations = 2", "updates = 4\nevaluations = -2\ntrain_tasks = 31"),
        ("job_seconds", "job_secs"),
    )
    found = problems(path)
    for beginning in (
        "key 'title': Field required",
        "unknown key 'titel'; did you mean 'title'?",
        "unknown key 'protocol.draw'; did you mean 'draws'?",
        "key 'presets.quick.seeds': seed 0 is given twice",
        "key 'presets.quick.evaluations': ",
        "key 'presets.quick.job_seconds': Field required",
        "unknown key 'presets.quick.job_secs'; did you mean 'job_seconds'?",
        "key 'families': unknown family 'point-gaol'; did you mean 'point-goal'",
        "key 'methods': unknown method 'randon'; did you mean 'random' or 'ad'?",
        "key 'presets.quick.methods': unknown method 'oracel'; did you mean 'oracle'",
        "key 'backbones': unknown backbone 'iqk'; did you mean 'iql'?",
        "preset 'quick': 31 training tasks; family 'point-goal' has 30",
    ):
        assert sum(line.startswith(beginning) for line in found) == 1, (beginning, found)
    assert len(found) == 12


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("draws = 2", 'split = "extrapolation"', "family 'point-goal' has no extrapolation tasks"),
        (
            'draws = 2\n\n[presets.quick]\nseeds = [0, 1]\nqualities = ["high", "low"]',
            'split = "train"\n[presets.quick]\nseeds = [0, 1]\nqualities = ["cross"]',
            "contexts of quality 'cross' are of other tasks than those for training, but split is 'train'",
        ),
        ("encoder_updates = 4", "encoder_updates = 4\ntrain_tasks = 31", "preset 'quick': 31 training tasks"),
        ('["random"]', '["random", "mine.py:Mine"]', "key 'methods': adapter file mine.py does not exist"),
        ('["random"]', '["random.py"]', "key 'methods': adapter 'random.py': write it as path/to/file.py:Class"),
        ("[presets.quick]", "[presets.'a/b']\nseeds = 0\n[presets.quick]", "preset 'a/b': a name that cannot be a"),
        ('default_preset = "quick"', 'default_preset = "slow"', "default_preset 'slow' is no preset of the file"),
        ('families = ["point-goal"]', "families = 3", "key 'families': "),
        ("[presets.quick]", "presets = 3\n[elsewhere]", "key 'protocol.presets'"),
        ("[protocol]", "[[protocol]]", "key 'protocol': "),
    ],
)
def test_a_problem(problems, tiny, old, new, line):
    found = problems(tiny((old, new)))
    assert any(each.removeprefix("unknown ").startswith(line) for each in found), found


def test_a_family_without_data(problems, tiny, monkeypatch):
    from omrl_bench.envs.families import FAMILIES

    new = dataclasses.replace(FAMILIES["point-goal"], name="point-new", task_table="point-goal")
    monkeypatch.setitem(FAMILIES, "point-new", new)
    (line,) = problems(tiny(('["point-goal"]', '["point-new"]')))
    assert line.startswith("family 'point-new' has no manifest")


def test_data_and_contexts_that_a_manifest_lacks(problems, tiny, monkeypatch):
    from omrl_bench.envs.families import get_family
    from omrl_bench.runner import validation

    whole = validation.read_manifest(get_family("point-goal"))
    mixed = whole.datasets["mixed"]
    contexts = {name: value for name, value in mixed.contexts.items() if name != "high.segment"}
    part = whole.model_copy(update={"datasets": {"mixed": mixed.model_copy(update={"contexts": contexts})}})
    monkeypatch.setattr(validation, "read_manifest", lambda family: part)
    path = tiny(
        ('["mixed"]', '["mixed", "expert+mixed"]'),
        ("draws = 2", 'unit = "segment"'),
        ('["high", "low"]', '["high", "low", "random"]'),
    )
    assert problems(path) == [
        "family 'point-goal' has no expert data",
        "family 'point-goal' has no contexts of quality 'high' and unit 'segment'",
        "family 'point-goal' has no contexts of quality 'random' and unit 'segment'",
    ]


def test_the_name_of_a_shipped_suite(problems, cli, tiny, tmp_path):
    (line,) = problems(tiny(('"tiny"', '"shift"')))
    assert line.startswith("key 'name': suite 'shift' comes with the package and is another")
    copy = tmp_path / "copy.toml"
    copy.write_text(resources.files("omrl_bench.protocols").joinpath("shift.toml").read_text() + "# my own\n")
    assert cli("validate", copy).out.splitlines()[0] == f"{copy}: valid"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "does not exist"), (b"\xff\xfe", "not UTF-8 text"), (b"name =", "not valid TOML")],
)
def test_a_file_that_cannot_be_read(cli, tmp_path, content, words):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    outcome = cli("validate", path)
    assert outcome.code == 2 and outcome.out == "" and outcome.err.count("\n") == 1
    assert words in outcome.err


def test_a_file_that_begins_with_a_mark(cli, tiny):
    """As some editors write UTF-8."""
    path = tiny()
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert cli("validate", path).out.splitlines()[0] == f"{path}: valid"


def test_an_unknown_suite(cli):
    outcome = cli("validate", "shfit")
    assert (outcome.code, outcome.err) == (
        2,
        "error: unknown suite 'shfit'; did you mean 'shift' or 'shift-ood' or 'shift-train'?\n",
    )
