"""A method of one's own beside reference rows: shown, marked, neither run nor copied."""

import csv
from pathlib import Path

import pytest

from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner import references
from omrl_bench.runner.plan import select
from omrl_bench.runner.records import read_record, write_record
from omrl_bench.runner.references import reference_notes, shipped_records

FOLDER = "tiny/quick/point-goal/mixed"
ALONE = "the tables show the rows of --out alone"


@pytest.fixture
def mine(tmp_path, held):
    """A method of one's own."""
    file = tmp_path / "mine.py"
    file.write_text(held.file.read_text().replace("class Quick(", "class Mine(").replace("(Quick)", "(Mine)"))
    return f"{file}:Mine"


@pytest.fixture
def run(invoke, inline, tiny, datasets, tmp_path, monkeypatch):
    """Run the tiny suite in this process, with the report at the end."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    return lambda *arguments: invoke("run", "--suite", tiny(), "--out", tmp_path / "runs", *arguments)


def rows_of(text):
    """Names in the second column of the printed table."""
    return [line.split("│")[2].strip() for line in text.splitlines() if line.count("│") > 3]


def scores(folder):
    with (folder / "report" / "tiny-quick" / "score.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["family"] == "point-goal"]
    return {(row["method"], row["condition"]): row["score_mean"] for row in rows}


def test_a_method_of_ones_own_stands_beside_the_reference_rows(run, mine, undisturbed, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in undisturbed[0].rglob("*")}
    outcome = run("--method", mine, "--against", undisturbed[0])
    assert outcome.code == 0, outcome
    assert "2 cells, 2 to run in 1 jobs" in outcome.out
    said = f"reference rows from {undisturbed[0]}: Held, focal, random\n"
    assert outcome.out.index("estimated time") < outcome.out.index(said) < outcome.out.index("start ")
    assert sorted(rows_of(outcome.out)) == ["Held ‡", "Mine", "focal ‡", "random ‡"]
    assert "‡ reference rows, from records of another folder: random, Held, focal" in outcome.words
    runs = tmp_path / "runs"
    assert {p.parent.parent.name for p in runs.rglob("seed-*")} - {"Mine"} == set()
    assert {p: p.stat().st_mtime_ns for p in undisturbed[0].rglob("*")} == before

    report = runs / "report" / "tiny-quick"
    found, expected = scores(runs), scores(undisturbed[0])
    assert {key[0] for key in found} == {"Mine", "Held", "focal", "random"}
    assert {key: found[key] for key in expected} == expected
    text = (report / "score.md").read_text()
    assert "| focal ‡" in text and "| Mine " in text and "‡ reference row" in text
    assert r"focal$^\ddagger$ &" in (report / "score.tex").read_text()
    assert (
        "focal ‡" in (report / "score.svg").read_text()
        and "‡ reference row, run elsewhere." in (report / "score.svg").read_text()
    )


@pytest.mark.slow
def test_own_records_win(run, undisturbed):
    outcome = run("--method", "focal", "--seeds", "0", "--against", undisturbed[0])
    assert sorted(rows_of(outcome.out)) == ["Held ‡", "focal", "random ‡"]
    assert "Other numbers: point-goal / focal 1 × 100 × 2" in outcome.words  # noqa: RUF001  (not the references' two seeds)


@pytest.mark.slow
def test_a_changed_setting_stands_beside_the_shipped_rows(run, monkeypatch, undisturbed):
    monkeypatch.setattr("omrl_bench.runner.references.shipped_records", lambda: undisturbed[0])
    outcome = run("--method", "focal", "--set", "latent=3")
    assert sorted(rows_of(outcome.out)) == ["Held ‡", "focal ‡", "focal[latent=3]", "random ‡"]


def test_the_benchmarks_own_methods_are_shown_alone(run, monkeypatch):
    monkeypatch.setattr(references, "shipped_records", lambda: pytest.fail("nobody asked for reference rows"))
    outcome = run("--method", "random")
    assert outcome.code == 0 and rows_of(outcome.out) == ["random"] and "reference" not in outcome.out


def test_no_report(run, mine, monkeypatch, tmp_path):
    monkeypatch.setattr(references, "shipped_records", lambda: pytest.fail("there is nothing to compare with"))
    outcome = run("--method", mine, "--no-report")
    assert outcome.code == 0 and rows_of(outcome.out) == []
    assert len(list((tmp_path / "runs").rglob("seed-?.json"))) == 2 and not (tmp_path / "runs" / "report").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_it_says_before_training_that_there_are_none(run, mine, monkeypatch, dry):
    monkeypatch.setattr(references, "shipped_records", lambda: None)
    outcome = run("--method", mine, *dry)
    line = f"no reference records come with an installed package: {ALONE}; --against FOLDER names some"
    assert outcome.code == 0 and line in outcome.out
    if not dry:
        assert outcome.out.index(line) < outcome.out.index("start ") and rows_of(outcome.out) == ["Mine"]


def test_what_is_no_results_folder(run, mine, tmp_path):
    outcome = run("--method", mine, "--against", tmp_path / "none")
    assert outcome.code == 2 and outcome.err.endswith("none is not a folder of results; --against names one\n")
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def selection(tiny, datasets, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    return lambda *changes, **options: select(load_suite(str(tiny(*changes))), **options)


def test_a_preset_without_reference_rows(selection, undisturbed):
    none = f"{undisturbed[0]} has no records of suite 'tiny', preset 'brief' (it has those of preset quick): {ALONE}"
    assert reference_notes(selection(preset="brief"), undisturbed[0]) == [none]
    other = selection(('name = "tiny"', 'name = "other"'))
    none = f"{undisturbed[0]} has no records of suite 'other', preset 'quick': {ALONE}"
    assert reference_notes(other, undisturbed[0]) == [none]


def test_a_family_without_reference_rows(selection, undisturbed):
    notes = reference_notes(selection(('["point-goal"]', '["point-goal", "point-wind"]')), undisturbed[0])
    assert notes == [
        f"reference rows from {undisturbed[0]}: Held, focal, random",
        f"reference rows for point-wind in {undisturbed[0]}: none",
    ]


def test_rows_of_another_version_of_the_suite_or_family_do_not_compare(selection, results):
    none = f"reference rows for point-goal in {results}: none but of another version of the suite or family"
    assert reference_notes(selection(("draws = 2", "draws = 3")), results) == [none]
    for path in (results / FOLDER / "random").rglob("seed-?.json"):
        record = read_record(path)
        hashes = record.hashes.model_copy(update={"family": "0" * 16})
        write_record(results, record.model_copy(update={"hashes": hashes}), None)
    assert reference_notes(selection(), results) == [f"reference rows from {results}: Held, focal"]


def test_hashes_that_are_declared_equal_compare(selection, results):
    changed = selection(("draws = 2", "draws = 3"))
    old = read_record(results / FOLDER / "random/iql/seed-0.json").hashes.suite
    new = changed.suite.fingerprint("quick", "point-goal")
    (results / "equivalences.toml").write_text(
        f'[[equal]]\nfield = "suite"\nold = "{old}"\nnew = "{new}"\ncommit = "1234567"\n'
        'why = "for this test"\nevidence = ["none"]\n'
    )
    assert reference_notes(changed, results) == [f"reference rows from {results}: Held, focal, random"]


def test_damaged_and_failed_reference_records_are_passed_over(selection, results):
    for path in (results / FOLDER / "random").rglob("seed-?.json"):
        path.write_text("{")
    for path in (results / FOLDER / "focal").rglob("seed-?.json"):
        write_record(results, read_record(path).model_copy(update={"status": "failed", "error": "no"}), None)
    assert reference_notes(selection(), results) == [f"reference rows from {results}: Held"]


def test_the_reference_records_are_those_of_the_checkout(monkeypatch, tmp_path):
    folder = shipped_records()
    assert folder == Path(__file__).parents[2] / "results" and folder.is_dir()
    monkeypatch.setattr(references, "ROOT", tmp_path)  # an installed package: beside others, without a project file
    (tmp_path / "results").mkdir()
    assert shipped_records() is None
