"""What `submit check` finds, one thing that is wrong at a time; and that it never runs what it is given."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner.cubes import read_cube
from omrl_bench.submissions import checking
from omrl_bench.submissions.changes import changes
from omrl_bench.submissions.checking import check
from omrl_bench.submissions.declaration import STATEMENTS
from omrl_bench.submissions.files import MOST_FILES, source_digest
from omrl_bench.submissions.text import report_text

from .conftest import EXAMPLE, SEED_0, declare, forge, forge_cube

CUBE_0 = SEED_0.with_suffix(".npz")
PLACE = SEED_0.relative_to("records").as_posix()


def declaring(*replacements):
    return lambda folder: declare(folder, *replacements)


def forging(**fields):
    return lambda folder: forge(folder / SEED_0, **fields)


def beside(name, content=b""):
    def add(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return add


def change_source(folder, seal=True):
    """Code that would make other records; whoever cheats also gives its digest."""
    path = folder / "source" / "prototypes.py"
    before = source_digest(folder)
    path.write_text(path.read_text().replace("TEMPERATURE = 0.03", "TEMPERATURE = 0.02"))
    if seal:
        declare(folder, (before, source_digest(folder)))


def cube_with(**change):
    def forged(folder):
        cube = read_cube(folder / CUBE_0)
        forge_cube(folder / SEED_0, **{name: function(getattr(cube, name)) for name, function in change.items()})

    return forged


def without_seed(folder):
    for ending in (".json", ".npz"):
        (folder / SEED_0).with_suffix(ending).unlink()


def explained(folder):
    without_seed(folder)
    path = folder / "submission.toml"
    path.write_text(path.read_text() + '\n[[absent]]\nfamily = "point-goal"\nseeds = [0]\nwhy = "the power went"\n')


def absent_but_there(folder):
    path = folder / "submission.toml"
    path.write_text(path.read_text() + '\n[[absent]]\nfamily = "point-goal"\nseeds = [0]\nwhy = "the power went"\n')


def link(folder):
    (folder / SEED_0).unlink()
    (folder / SEED_0).symlink_to("/etc/passwd")


def many(folder):
    for number in range(MOST_FILES):
        (folder / "source" / f"{number}.txt").touch()


KINDS = {
    # files
    "link": (link, "seed-0.json: it is a link; a submission has regular files only"),
    "pipe": (lambda folder: os.mkfifo(folder / "source" / "pipe"), "source/pipe: it is a pipe; a submission has"),
    "linked-folder": (lambda folder: (folder / "source" / "up").symlink_to("/"), "source/up: it is a link"),
    "hidden": (beside("source/.git/config"), "source/.git/config: its name is hidden"),
    "letters": (beside("source/a\u202eb.py"), "its name is hidden, or not printable ASCII"),
    "large": (beside("weights.txt", bytes(2**22 + 1)), "weights.txt: it is larger than 4 MiB"),
    "many": (many, "too many or too large files; a submission has at most 3,000 files"),
    "other-folder": (beside("weights/a.csv"), "weights/a.csv: no folder of a submission, which are records/ and"),
    "other-file": (beside("setup.py"), "setup.py: beside submission.toml lie README.md"),
    "equivalences": (beside("records/equivalences.toml"), "records/equivalences.toml: neither a record nor a cube"),
    # the declaration
    "no-declaration": (
        lambda folder: (folder / "submission.toml").unlink(),
        "submission.toml: cannot be read: No such",
    ),
    "no-toml": (beside("submission.toml", b"name = "), "submission.toml: not valid TOML"),
    "no-text": (beside("submission.toml", b"\xff\xfe"), "submission.toml: not UTF-8 text"),
    "giant-declaration": (
        beside("submission.toml", b"#" * 2**17),
        "submission.toml: cannot be read: it is larger than",
    ),
    "unknown-key": (declaring(("paper =", 'badge = "verified"\npaper =')), "unknown key 'badge'"),
    "name-built-in": (
        declaring(('name = "Prototypes"', 'name = "FOCAL"')),
        "'FOCAL' is the name of a registered method",
    ),
    "name-path": (declaring(('name = "Prototypes"', 'name = "../up"')), "key 'name': String should match pattern"),
    "name-other": (declaring(('name = "Prototypes"', 'name = "Other"')), "it must be that of the class in code.entry"),
    "version": (declaring(("version = 1", "version = 0")), "key 'version': Input should be greater than or equal to 1"),
    "address": (
        declaring(('paper = ""', 'paper = "javascript:alert(1)"')),
        "key 'paper': an address begins with https",
    ),
    "unfilled": (declaring(('licence = "MIT"', 'licence = "FILL IN: which"')), "key 'licence': still to be filled in"),
    "lines": (declaring(('licence = "MIT"', 'licence = "a\\nb"')), "key 'licence': say it in a line"),
    "ruleset": (declaring(('ruleset = "fixed"', 'ruleset = "any"')), "key 'ruleset': Input should be 'fixed', 'tuned'"),
    "privilege": (declaring(("[privileges]", '[privileges]\ntest_tasks = "x"')), "unknown 'test_tasks'; there are"),
    "commit": (declaring(('commit = ""', 'commit = "main"')), "key 'code.commit': String should match pattern"),
    "nowhere": (declaring(('sha256 = "', 'sha256 = "" #')), "key 'code': give the sha256 of the folder source/"),
    "ledger-missing": (declaring(('"ledger.csv"', '"other.csv"')), "effort.ledger: there is no file other.csv"),
    "ledger-unnamed": (declaring(('"ledger.csv"', '""')), "key 'ledger': tuning used episodes, so name the file"),
    "hours": (
        declaring(("hours = 0.1", "hours = -1")),
        "key 'effort.hours': Input should be greater than or equal to 0",
    ),
    "statement": (
        declaring(("all_seeds = true", "all_seeds = false")),
        "key 'statements.all_seeds': set it to true if",
    ),
    "statement-missing": (declaring(("all_seeds = true", "")), "key 'statements': it has exactly"),
    "suite": (declaring(('suite = "shift"', 'suite = "mine"')), "suite 'mine' does not come with the package"),
    "preset": (declaring(('preset = "quick"', 'preset = "huge"')), "suite 'shift' has no preset 'huge'"),
    "families": (declaring(('"cheetah-vel", ', '"moon", ')), "families that the preset does not have: moon"),
    # the grid
    "cell-missing": (without_seed, "point-goal: seeds 0 are not there; run the rest of the preset, or explain it"),
    "cell-unexplained": (absent_but_there, "point-goal: seed 0 is declared absent, but it is there"),
    "cell-other-seed": (
        declaring(("seeds = [0, 1, 2]", "seeds = [1, 2]")),
        "its family or seed is not of the declared",
    ),
    "cell-other-preset": (
        declaring(('preset = "quick"', 'preset = "standard"')),
        "its preset is 'quick', the declared",
    ),
    "cube-alone": (lambda folder: (folder / SEED_0).unlink(), "a cube without a record that can be used"),
    # records
    "edited": (lambda folder: (folder / SEED_0).write_text("{}"), "it is not a record: truncated, or something else"),
    "failed": (forging(status="failed", error="no"), "it is of a failure; leave it out, and say why under [[absent]]"),
    "unhashed": (forging(metrics={}), "it has no content hash, no hash of its cube, or no means"),
    "data": (forging(dataset_status="unknown"), "it was trained on data of status 'unknown'"),
    "undeclared-privilege": (
        forging(privileges=["descriptors"]),
        "its privileges are descriptors, the declared ones none",
    ),
    "elsewhere": (forging(trained_elsewhere="by hand"), "effort.checkpoint is 'last', and the record says otherwise"),
    "tomorrow": (forging(created="2099-01-01T00:00:00Z"), "it was made at 2099-01-01T00:00:00Z, which is yet to come"),
    "suite-hash": (
        declaring(('suite = "6b1b6eef4498a666"', f'suite = "{"0" * 16}"')),
        "its suite hash is '6b1b6eef4498",
    ),
    "no-hashes": (
        declaring(("[hashes.point-goal]", "[hashes.point-wind]")),
        "no key 'hashes.point-goal'; omrl-bench submit",
    ),
    "numbers-by-hand": (
        forging(metrics={"high": {"score": 99.0, "mean_return": -1.0}}),
        "it disagrees with its record",
    ),
    # the source
    "source-changed": (lambda folder: change_source(folder, seal=False), "the folder source/ has sha256"),
    "source-of-others": (
        change_source,
        "it was not made by the source in source/ with the configuration that it names",
    ),
    "source-gone": (lambda folder: shutil.rmtree(folder / "source"), "code.sha256: there is no folder source/"),
    "entry-point": (declaring(('"prototypes.py:', '"other.py:')), "code.entry_point: there is no file source/other.py"),
    "entry-point-up": (declaring(('"prototypes.py:', '"../../../a.py:')), "there is no file source/../../../a.py"),
    "configuration": (forging(configuration={"temperature": 0.5}), "it was not made by the source in source/"),
    # cubes
    "expert": (cube_with(expert=lambda values: values - 10), "other reference returns of the expert policy than this"),
    "random": (cube_with(random=lambda values: values - 10), "other reference returns of the random policy than this"),
    "tasks": (cube_with(tasks=lambda ids: ids - ids.min()), "it has tasks that are not among those of its hash"),
    "draws": (cube_with(returns=lambda values: values.repeat(2, axis=2)), "2 draws; the suite has 1"),
    "conditions": (
        cube_with(conditions=lambda names: ("high", "best")),
        "conditions high, best; the suite has high, low",
    ),
    "absurd": (cube_with(returns=lambda values: values - 1e9), "has scores beyond 1,000,000, which no policy earns"),
}


def test_the_example_can_be_merged(submission):
    found = check(submission)
    assert found.problems == ()
    assert found.notes == ("preset 'quick' is for trying things out: no claim should rest on it",)
    assert len(found.cubes) == 6 and found.declaration.name == "Prototypes"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_said(submission, kind):
    damage, reason = KINDS[kind]
    damage(submission)
    found = check(submission)
    assert any(reason in problem for problem in found.problems), found.problems
    assert all(problem.isprintable() and len(problem) < 600 for problem in found.problems)


def test_no_code_of_a_submission_is_run(submission, tmp_path):
    before = source_digest(submission)
    path = submission / "source" / "prototypes.py"
    path.write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n" + path.read_text())
    declare(submission, (before, source_digest(submission)))
    assert any("not made by the source" in problem for problem in check(submission).problems)
    assert not (tmp_path / "was-run").exists()


def test_a_cell_that_is_explained_may_be_absent(submission):
    explained(submission)
    found = check(submission)
    assert found.problems == ()
    assert "absent: point-goal, seeds 0: the power went" in found.notes


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(InputError, match="is not a folder of a submission; omrl-bench submit new makes one"):
        check(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(EXAMPLE)
    with pytest.raises(InputError, match="is not a folder of a submission"):
        check(tmp_path / "link")


def test_copies_of_another_row_are_noted(submission, tmp_path):
    """Other people's numbers under one's own name, with a little noise so that no hash is the same."""
    other = Path(shutil.copytree(submission / "records", tmp_path / "results"))
    method = other / "shift/quick/point-goal/mixed/Prototypes"
    for path in sorted(method.rglob("seed-*.json")):
        noise = np.random.default_rng(0).normal(0, 1e-3, read_cube(path.with_suffix(".npz")).returns.shape)
        forge_cube(path, returns=(read_cube(path.with_suffix(".npz")).returns + noise).astype(np.float32))
        cell = dict(check(submission).cubes[0][0].cell) | {"family": "point-goal", "method": "theirs"}
        forge(path, cell=cell | {"seed": int(path.stem[5:])})
    method.rename(method.with_name("theirs"))
    notes = check(submission, {"the others": other}).notes
    assert any("point-goal: 100% of the returns of a seed are those of theirs in the others" in note for note in notes)
    assert any("cheetah-vel: 100% of the returns of a seed are those of Prototypes" in note for note in notes)


def test_what_a_maintainer_should_look_at(submission):
    cube = read_cube(submission / CUBE_0)
    way = (cube.expert - cube.random)[None, :, None]
    forge_cube(submission / SEED_0, returns=(cube.random[None, :, None] + 1.3 * way).repeat(2, axis=0))
    second = submission / SEED_0.with_name("seed-1.json")
    second.with_suffix(".npz").write_bytes((submission / CUBE_0).read_bytes())
    forge_cube(second)
    declare(submission, ('extra_data = "none"', 'extra_data = "videos"'), ("hours = 0.1", "hours = 0.0"))
    notes = check(submission).notes
    for said in (
        "point-goal, seed 0: mean score 130.0 under 'high': above every expert's 100",
        "point-goal, seed 1: the returns of seed 0, to the bit",
        "extra data: videos",
        "0 hours are declared; the records' clocks say",
    ):
        assert any(said in note for note in notes), said


def test_changes_since_an_earlier_version(submission, tmp_path):
    assert changes(check(submission), EXAMPLE) == ["nothing has changed"]
    declare(submission, ("version = 1", "version = 2"), ('licence = "MIT"', 'licence = "BSD"'))
    cube = read_cube(submission / CUBE_0)
    forge_cube(submission / SEED_0, returns=cube.returns - 1)
    lines = changes(check(submission), EXAMPLE)
    assert lines[:2] == ["version: 1 before, 2 now", "licence: MIT before, BSD now"]
    assert [line.partition(":")[0] for line in lines[2:]] == ["point-goal, high", "point-goal, low"]


def test_the_comment_is_text_whatever_a_submission_says(submission):
    declare(submission, ('extra_data = "none"', 'extra_data = "```<img src=x>@team"'))
    found = check(submission)
    text = report_text(found, ["| a |"])
    _, _, rest = text.partition("```text\n")
    inside, fence, after = rest.partition("\n```\n")
    assert "<img" in inside and fence and "<img" not in after and "`" not in inside
    assert report_text(checking.Checked(None, ("x",) * 100), []).count("\nx") == 60


def test_every_statement_is_asked_for():
    text = (EXAMPLE / "submission.toml").read_text()
    assert all(f"{name} = true # {sentence}" in text for name, sentence in STATEMENTS.items())
