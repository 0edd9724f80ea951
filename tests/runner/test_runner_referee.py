"""Runs of honest methods and of cheats, side by side; and runs in the scorer's own process."""

from pathlib import Path

import pytest

from omrl_bench.errors import RecordError
from omrl_bench.report.reading.accepted import check_accepted
from omrl_bench.report.reading.frames import collect
from omrl_bench.runner.records import iterate_records

CHEATS = Path(__file__).parents[1] / "referee" / "adapters"


@pytest.fixture(scope="module")
def run(omrl, tmp_path_factory, tiny_text):
    """One run of an honest method and of three that are not: the records by method, and how the command ended."""
    folder = tmp_path_factory.mktemp("cheats")
    (folder / "tiny.toml").write_text(tiny_text)
    (folder / "writer.py").write_text((CHEATS / "patched_writer.py").read_text().replace("Cheat", "PatchedWriter"))
    (folder / "honest.py").write_text((CHEATS / "honest.py").read_text())
    adapters = ("honest.py:Honest", "writer.py:PatchedWriter")
    methods = [f"--method={folder / each}" for each in adapters]
    methods += [f"--method={CHEATS / 'leaves.py'}:Ends", f"--method={CHEATS / 'wrong_values.py'}:FloatCount"]
    outcome = omrl(
        "run", "--suite", folder / "tiny.toml", *methods, "--seeds", 0, "--out", folder / "runs", "--jobs", 1
    )
    return {record.cell.method: record for record in iterate_records(folder / "runs")}, outcome, folder / "runs"


def test_a_cheat_costs_its_own_cells_only(run):
    records, outcome, _ = run
    assert outcome.code == 1
    assert {name: record.status for name, record in records.items()} == {
        "Honest": "complete",
        "PatchedWriter": "complete",
        "Ends": "failed",
        "FloatCount": "failed",
    }
    assert records["PatchedWriter"].metrics == records["Honest"].metrics
    assert all(record.refereed for record in records.values() if record.status == "complete")
    assert "the process that the method's processes are forked from has ended" in records["Ends"].error
    assert "FloatCount: parameter_count returned a float; expected an int" in records["FloatCount"].error


def test_the_tables_are_whole(run):
    (found,) = collect(run[2])
    assert set(found.frame["method"]) == {"Honest", "PatchedWriter"}


def test_a_run_in_the_scorers_own_process_is_for_no_table(cli, tiny, tmp_path):
    (tmp_path / "mine.py").write_text((CHEATS / "honest.py").read_text().replace("Honest", "Mine"))
    out, row = tmp_path / "runs", ("--method", f"{tmp_path / 'mine.py'}:Mine")
    outcome = cli("run", "--suite", tiny(), *row, "--seeds", 0, "--executor", "inline", "--no-report", "--out", out)
    assert outcome.code == 0
    (record,) = iterate_records(out)
    assert record.refereed is False
    warned = []
    assert collect(out, warn=warned.append) == []
    assert len(warned) == 1 and "ran in the scorer's own process (inline): no table takes it" in warned[0]
    shown = cli("status", "--suite", tiny(), *row, "--seeds", 0, "--out", out)
    assert "0 complete, 0 missing, 0 failed, 1 stale" in shown.out
    assert "its method ran in the scorer's own process (inline)" in shown.words


def test_a_record_with_a_name_that_looks_like_anothers_is_for_no_table(cli, tiny, tmp_path):
    (tmp_path / "mine.py").write_text((CHEATS / "honest.py").read_text().replace("Honest", "Mine"))
    out, row = tmp_path / "runs", ("--method", f"{tmp_path / 'mine.py'}:Mine")
    cli("run", "--suite", tiny(), *row, "--seeds", 0, "--executor", "inline", "--no-report", "--out", out)
    (record,) = iterate_records(out)
    accepted = record.model_copy(update={"refereed": True})
    check_accepted(Path("x"), accepted)
    cell = record.cell.model_copy(update={"method": "f\N{CYRILLIC SMALL LETTER O}cal[beta=2.0]"})
    with pytest.raises(RecordError, match=r"has a name that no table takes: .*CYRILLIC SMALL LETTER O"):
        check_accepted(Path("x"), accepted.model_copy(update={"cell": cell}))
