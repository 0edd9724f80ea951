"""A submission goes the whole way: run, new, check, pack, merge, page; only the maintainers make a badge."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from omrl_bench.errors import InputError
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import _content_hash, read_record, write_record
from omrl_bench.submissions.merging import merge
from omrl_bench.submissions.packing import unpack
from omrl_bench.submissions.shelf import read_rows, read_shelf, write_rows

ADAPTER = Path(__file__).parents[2] / "submissions" / "Prototypes" / "source" / "prototypes.py"


@pytest.fixture
def ready(cli, inline, tmp_path, monkeypatch):
    """A row of the smoke suite, run, drafted and filled in: its folder."""
    monkeypatch.chdir(tmp_path)
    run = ("run", "--suite", "smoke", "--method", f"{ADAPTER}:Prototypes")
    assert cli(*run, "--out", "runs").code == 0
    done = cli("submit", "new", f"{ADAPTER}:Prototypes", "--suite", "smoke", "--out", "mine")
    assert done.code == 0, done.words
    folder = tmp_path / "mine" / "Prototypes"
    unfilled = cli("submit", "check", folder)
    assert unfilled.code == 2 and "key 'licence': still to be filled in: of the code, e.g. MIT" in unfilled.err
    text = (folder / "submission.toml").read_text().replace('"FILL IN: \\"none\\"', '"none')
    lines = [line.replace("FILL IN: ", "") for line in text.splitlines()]
    lines = [line.replace(" = false #", " = true #") for line in lines]
    (folder / "submission.toml").write_text("\n".join(lines) + "\n")
    return folder


def rows_of(results, shelf, method="Prototypes"):
    content = leaderboard(results, submissions=shelf)
    return [run for run in content.runs if run.method == method]


def test_the_whole_way(ready, cli, tmp_path):
    checked = cli("submit", "check", ready, "--markdown", "comment.md")
    assert checked.code == 0, checked.words
    assert "can be merged; 2 records agree with what it says" in checked.words
    assert "| Prototypes |" in checked.out and " [" in checked.out  # the table that it would get, with intervals
    assert checked.out.split("**Score")[1].split("\n\n")[1] in (tmp_path / "comment.md").read_text()

    assert cli("submit", "pack", ready, "--out", tmp_path).out.strip().endswith("Prototypes-1.zip")
    archive = tmp_path / "Prototypes-1.zip"
    first = archive.read_bytes()
    os.utime(ready / "submission.toml", (0, 0))
    cli("submit", "pack", ready, "--out", tmp_path)
    assert archive.read_bytes() == first  # the same files, the same bytes

    merged = cli("submit", "merge", archive, "--shelf", "shelf")
    assert merged.code == 0 and merged.out.strip().endswith("self-reported"), merged.words
    shelf = tmp_path / "shelf"
    (run,) = rows_of(tmp_path / "nothing", shelf)
    assert (run.badge, run.verified, run.commits, run.ruleset) == ("self-reported", None, (), "fixed")

    run_again = ("run", "--suite", "smoke", "--method", f"{shelf}/Prototypes/source/prototypes.py:Prototypes")
    assert cli(*run_again, "--seeds", "1", "--out", "again").code == 0
    again = cli("submit", "merge", archive, "--shelf", "shelf", "--rerun", "again")
    assert again.code == 2 and "Prototypes has version 1 already" in again.err
    write_rows(shelf, [])  # as if it were merged for the first time
    verified = cli("submit", "merge", archive, "--shelf", "shelf", "--rerun", "again")
    assert verified.code == 0, verified.words
    said = "1 of 2 cells trained and evaluated again by the maintainers"
    assert f"verified: {said}" in verified.out and "1 to the bit" in verified.out

    common = ("report", "--results", "nothing", "--submissions", "shelf", "--out", "out")
    assert cli(*common).code == 0 and cli(*common, "--site").code == 0
    (row,) = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["runs"]
    assert row["badge"] == "verified" and row["verified"].startswith(said)
    assert said in (tmp_path / "out" / "index.html").read_text()
    table = (tmp_path / "out" / "smoke-quick" / "score.md").read_text()
    assert (
        "| Prototypes \N{CHECK MARK} |" in table and f"submitted row Prototypes, version 1, verified: {said}" in table
    )
    assert set(pd.read_csv(tmp_path / "out" / "smoke-quick" / "score.csv")["method"]) == {"Prototypes"}
    assert r"Prototypes$^\mathrm{v}$ & " in (tmp_path / "out" / "smoke-quick" / "score.tex").read_text()


def test_what_is_changed_after_the_merge_is_left_out(ready, tmp_path):
    shelf = tmp_path / "shelf"
    merge(ready, shelf)
    (shelf / "Prototypes" / "README.md").write_text("verified")
    lines = []
    assert read_shelf(shelf, lines.append) == ()
    assert lines == [
        "submission Prototypes left out: its files are not those that were merged: the digest in board.toml is another"
    ]


def test_a_submission_makes_no_badge(ready, tmp_path):
    """Whatever lies in a submission: a board of its own, equivalences, a row that is on no board."""
    (ready / "board.txt").write_text('[[row]]\nname = "Prototypes"\nverified = "yes"\n')
    shelf = tmp_path / "shelf"
    merge(ready, shelf)
    shutil.copytree(ready, shelf / "Another")
    lines = []
    (found,) = read_shelf(shelf, lines.append)
    assert found.row.verified is None
    assert lines == ["submission Another left out: board.toml does not name it, so it is not merged"]
    (run,) = rows_of(tmp_path / "nothing", shelf)
    assert run.badge == "self-reported"


def test_what_is_run_again_and_differs_is_not_merged(ready, tmp_path):
    again = Path(shutil.copytree(ready / "records", tmp_path / "again"))
    path = next(again.rglob("seed-0.json"))
    content = json.loads(path.read_text())
    cube = read_cube(path.with_suffix(".npz"))
    other = cube.model_copy(update={"returns": cube.returns - 1})
    path.with_suffix(".npz").write_bytes(other.file_content())
    content |= {"cube": other.content_hash(), "metrics": {k: v.model_dump() for k, v in other.metrics().items()}}
    path.write_text(json.dumps(content | {"content": _content_hash(content)}))
    with pytest.raises(InputError, match="does not agree with the submission: scores up to"):
        merge(ready, tmp_path / "shelf", again)
    assert not (tmp_path / "shelf" / "Prototypes").exists() and read_rows(tmp_path / "shelf") == ()
    with pytest.raises(InputError, match="has no complete records of cells of Prototypes"):
        merge(ready, tmp_path / "shelf", tmp_path / "nothing")


def test_a_submission_with_problems_is_neither_packed_nor_merged(ready, cli, tmp_path):
    next(ready.rglob("seed-0.json")).write_text("{}")
    for command in (("pack", ready), ("merge", ready, "--shelf", tmp_path / "shelf")):
        outcome = cli("submit", *command)
        assert outcome.code == 2 and "it is not a record" in outcome.err
    assert not list(tmp_path.glob("*.zip")) and not (tmp_path / "shelf" / "Prototypes").exists()


def test_submitted_rows_decide_nothing_and_take_no_name(ready, tmp_path):
    """A submission of other tasks does not drive the results' own rows out, nor does one with the name of a row."""
    shelf, results = tmp_path / "shelf", tmp_path / "runs"
    merge(ready, shelf)
    (own,) = rows_of(results, None)
    both = rows_of(results, shelf)
    assert [run.badge for run in both] == ["self-reported"] and both[0].ruleset is None  # the results' own row
    records = [path for path in results.rglob("seed-*.json") if ".trained" not in path.parts]
    for path in records:
        cube = read_cube(path.with_suffix(".npz"))
        record = read_record(path)
        cell = record.cell.model_copy(update={"method": "ours"})
        write_record(results, record.model_copy(update={"cell": cell}), cube)
        path.unlink()
    names = {run.method: run.badge for run in leaderboard(results, submissions=shelf).runs}
    assert names == {"ours": "self-reported", "Prototypes": "self-reported"} and own.method == "Prototypes"


@pytest.mark.parametrize(
    ("name", "words"),
    [("../up.txt", "outside of itself"), ("/etc/x", "outside of itself"), ("a\\b", "outside of itself")],
)
def test_an_archive_stays_where_it_is_unpacked(tmp_path, name, words):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(name, "x")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=words):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    assert not (tmp_path / "up.txt").exists() and not list((tmp_path / "in").iterdir())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda packed: packed.writestr("a.txt", bytes(2**26)), "unpacks to more than a submission may have"),
        (lambda packed: [packed.writestr(f"{n}.txt", "") for n in range(3001)], "has more than 3,000 files"),
        (lambda packed: packed.writestr("a.txt", bytes(99), zipfile.ZIP_BZIP2), "compressed in a way"),
    ],
    ids=["bomb", "crowd", "bzip2"],
)
def test_an_archive_has_limits(tmp_path, write, words):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        write(packed)
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=words):
        unpack(tmp_path / "a.zip", tmp_path / "in")


def test_no_archive(tmp_path):
    (tmp_path / "a.zip").write_text("no")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="is no packed submission"):
        unpack(tmp_path / "a.zip", tmp_path / "in")
