"""Hashes that are declared equal: what follows from a declaration, which files are refused, and who honours it."""

import json
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.errors import InputError
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.equivalences import (
    FILE,
    Declaration,
    Equivalences,
    HashName,
    parse_equivalences,
    read_equivalences,
)
from omrl_bench.runner.records import Hashes, read_record, write_record

GOOD = """
[[equal]]
field = "method"
old = "0123456789abcdef"
new = "fedcba9876543210"
commit = "1234567"
why = "tidied up"
evidence = ["tiny/quick/point-goal/mixed/focal/iql, seeds 0-1: the same bits"]
"""
OLD = "0123456789abcdef"


def declare(field, old, new, why="tidied up"):
    return Declaration(field=field, old=old, new=new, commit="1234567", why=why, evidence=("a cell",))


def digest(number):
    return f"{number:016x}"


def append(results, field, old, new, why="tidied up"):
    """Add a declaration to a results folder, as a person would."""
    text = GOOD.replace('"method"', f'"{field}"').replace(OLD, old).replace("fedcba9876543210", new)
    with (results / FILE).open("a") as file:
        file.write(text.replace("tidied up", why))


def test_fields_are_those_of_the_hashes():
    assert get_args(HashName) == tuple(Hashes.model_fields)


def test_a_folder_without_the_file_declares_nothing(tmp_path):
    equal = read_equivalences(tmp_path)
    assert equal == Equivalences() and equal.same("method", OLD, OLD) and not equal.same("method", OLD, digest(1))


def test_a_declaration_holds_both_ways_for_its_field_only():
    equal = Equivalences((declare("method", digest(1), digest(2)),))
    assert equal.same("method", digest(1), digest(2)) and equal.same("method", digest(2), digest(1))
    assert not equal.same("suite", digest(1), digest(2))
    assert not equal.same("method", digest(1), digest(3))
    with pytest.raises(ValueError, match="are not declared equal"):
        equal.why("suite", digest(1), digest(2))


pairs = st.lists(st.tuples(st.sampled_from(get_args(HashName)), st.integers(0, 7), st.integers(0, 7)), max_size=12)


@given(pairs)
def test_equality_is_what_chains_of_declarations_reach(found):
    """Brute force: walk over the declarations until nothing new is reached."""
    declarations = tuple(declare(field, digest(a), digest(b)) for field, a, b in found if a != b)
    equal = Equivalences(declarations)
    for field in get_args(HashName):
        for first in range(8):
            reached = {digest(first)}
            for _ in declarations:
                for each in declarations:
                    if each.field == field and reached & {each.old, each.new}:
                        reached |= {each.old, each.new}
            assert {digest(other) for other in range(8) if equal.same(field, digest(first), digest(other))} == reached
            assert equal.representative(field, digest(first)) in reached


@given(pairs, st.lists(st.integers(0, 7), min_size=12, max_size=12))
def test_hashes_are_of_one_version_if_each_of_them_is(found, values):
    equal = Equivalences(tuple(declare(field, digest(a), digest(b)) for field, a, b in found if a != b))
    first, second = (
        dict(zip(Hashes.model_fields, map(digest, half), strict=True)) for half in (values[:6], values[6:])
    )
    expected = all(equal.same(name, first[name], second[name]) for name in Hashes.model_fields)
    assert (equal.of(Hashes(**first)) == equal.of(Hashes(**second))) == expected


def test_the_reasons_of_a_chain_are_those_of_the_shortest():
    chain = [declare("method", digest(a), digest(b), f"{a} to {b}") for a, b in pairwise((1, 2, 3, 4))]
    equal = Equivalences((*chain, declare("method", digest(4), digest(2), "2 from 4")))
    assert equal.why("method", digest(1), digest(4)) == "1 to 2; 2 from 4"
    assert equal.why("method", digest(3), digest(1)) == "2 to 3; 1 to 2"


def test_folders_are_read_together(tmp_path):
    for number, name in enumerate(("own", "reference")):
        (tmp_path / name).mkdir()
        append(tmp_path / name, "method", digest(number), digest(number + 1))
    assert not read_equivalences(tmp_path / "own").same("method", digest(0), digest(2))
    assert read_equivalences(tmp_path / "own", tmp_path / "reference").same("method", digest(0), digest(2))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('why = "tidied up"\n', "", "key 'equal.0.why': Field required"),
        ('why = "tidied up"', 'why = " "', "key 'equal.0.why': String should have at least 1 character"),
        ('commit = "1234567"', 'commit = "HEAD"', "key 'equal.0.commit': String should match pattern"),
        ('["tiny', '["", "tiny', "key 'equal.0.evidence.0': String should have at least 1 character"),
        (GOOD[GOOD.index("evidence") :], "evidence = []", "key 'equal.0.evidence': Tuple should have at least 1 item"),
        (GOOD[GOOD.index("evidence") :], "", "key 'equal.0.evidence': Field required"),
        ('"method"', '"methods"', "key 'equal.0.field': Input should be 'suite', 'family'"),
        ("fedcba9876543210", "fedcba", "key 'equal.0.new': String should match pattern"),
        ("fedcba9876543210", OLD, "key 'equal.0': old and new are the same hash"),
        ("why", "reason", "key 'equal.0.why': Field required"),
        ("commit", 'by = "me"\ncommit', "unknown key 'equal.0.by'"),
        ("[[equal]]", "[[equals]]", "unknown key 'equals'"),
        ("[[equal]]", "[equal]", "key 'equal': Input should be a valid tuple"),
        ("[[equal]]", "[[equal", "not valid TOML"),
    ],
)
def test_damaged_files(tmp_path, old, new, problem):
    assert old in GOOD
    (tmp_path / FILE).write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_equivalences(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / FILE}: {problem}") and "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / FILE).write_bytes(GOOD.encode() + b"# \xff")
    with pytest.raises(InputError, match=r"equivalences\.toml: not UTF-8 text"):
        read_equivalences(tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(InputError, match=r"equivalences\.toml cannot be read: it is a folder, not a regular file"):
        read_equivalences(tmp_path)


def test_an_empty_file_declares_nothing():
    assert parse_equivalences("", "nowhere") == ()


FOCAL = "tiny/quick/point-goal/mixed/focal/iql"


@pytest.fixture
def older(results):
    """The undisturbed run with records of focal that older code made: their old hashes, and what they are now."""
    now = {}
    for seed in (0, 1):
        record = read_record(results / FOCAL / f"seed-{seed}.json")
        now = record.hashes.model_dump()
        hashes = record.hashes.model_copy(update={"method": digest(1), "suite": digest(2)})
        cube = read_cube(record.cell.cube_path(results))
        write_record(results, record.model_copy(update={"hashes": hashes}), cube)
    return results, now


def status(cli, tiny, results):
    outcome = cli("status", "--suite", tiny(), "--out", results)
    return outcome.out.splitlines()[-1] if outcome.code == 0 else outcome.err


def test_status_and_run_take_declared_cells_for_complete(cli, tiny, older):
    """Field by field; then through a chain; and the records stay as they are."""
    results, now = older
    before = {path: path.read_bytes() for path in results.rglob("seed-*")}
    assert "changed since: suite, method" in cli("status", "--suite", tiny(), "--out", results).words
    assert status(cli, tiny, results) == "2 complete, 0 missing, 0 failed, 2 stale"
    append(results, "method", digest(1), now["method"])
    words = cli("status", "--suite", tiny(), "--out", results).words
    assert "changed since: suite" in words and "suite, method" not in words
    append(results, "suite", digest(2), digest(3))
    assert status(cli, tiny, results) == "2 complete, 0 missing, 0 failed, 2 stale"
    append(results, "suite", now["suite"], digest(3))
    assert status(cli, tiny, results) == "4 complete, 0 missing, 0 failed, 0 stale"
    assert "4 cells, 0 to run" in cli("run", "--suite", tiny(), "--out", results, "--dry-run").words
    assert {path: path.read_bytes() for path in results.rglob("seed-*")} == before


def test_what_is_declared_of_another_field_changes_nothing(cli, tiny, older):
    results, now = older
    append(results, "suite", digest(1), now["method"])
    append(results, "method", digest(2), now["suite"])
    assert status(cli, tiny, results) == "2 complete, 0 missing, 0 failed, 2 stale"


def test_a_record_on_equivalent_data_counts_by_what_they_are_equivalent_to(cli, tiny, older):
    """Its own hashes are of another processor; those it names are of older code, and declared equal."""
    results, now = older
    record = read_record(results / FOCAL / "seed-0.json")
    cube = read_cube(record.cell.cube_path(results))
    elsewhere = record.hashes.model_copy(update={"dataset": digest(9)})
    fields = {"hashes": elsewhere, "equivalent_to": record.hashes, "dataset_status": "equivalent"}
    write_record(results, record.model_copy(update=fields), cube)
    append(results, "method", digest(1), now["method"])
    append(results, "suite", digest(2), now["suite"])
    assert status(cli, tiny, results) == "4 complete, 0 missing, 0 failed, 0 stale"


def test_a_declaration_does_not_make_a_damaged_record_complete(cli, tiny, older):
    results, now = older
    append(results, "method", digest(1), now["method"])
    append(results, "suite", digest(2), now["suite"])
    (results / FOCAL / "seed-0.npz").unlink()
    assert status(cli, tiny, results) == "3 complete, 0 missing, 1 failed, 0 stale"


@pytest.mark.parametrize("command", ["status", "run", "report", "site", "compare", "reproduce"])
def test_every_command_names_what_is_wrong_with_the_file(cli, tiny, results, command):
    (results / FILE).write_text(GOOD.replace('field = "method"', 'field = "way"'))
    arguments = {
        "status": ("status", "--suite", tiny(), "--out", results),
        "run": ("run", "--suite", tiny(), "--out", results, "--dry-run"),
        "report": ("report", "--results", results),
        "site": ("report", "--results", results, "--site"),
        "compare": ("compare", "focal", "random", "--results", results),
        "reproduce": ("reproduce", results / FOCAL / "seed-0.json", "--suite", tiny()),
    }
    outcome = cli(*arguments[command])
    assert outcome.code == 2 and outcome.err.count("\n") == 1, outcome
    assert f"{results / FILE}: key 'equal.0.field': Input should be" in outcome.err


def test_reproduce_says_that_a_hash_is_declared_equal(cli, tiny, older):
    results, now = older
    append(results, "method", digest(1), now["method"], "one update step in place of five")
    outcome = cli("reproduce", results / FOCAL / "seed-0.json", "--suite", tiny())
    lines = [line.split(maxsplit=1) for line in outcome.out.splitlines() if line.startswith("  ")]
    found = dict(line for line in lines if line[0] in Hashes.model_fields)
    assert found["method"] == "declared equal in equivalences.toml: one update step in place of five"
    assert found["suite"].startswith("changed: its version, protocol or budget is another")
    assert found["family"] == found["dataset"] == found["contexts"] == "same"


def test_reproduce_repeats_a_declared_record(cli, inline, tiny, older, tmp_path):
    results, now = older
    append(results, "method", digest(1), now["method"])
    append(results, "suite", digest(2), now["suite"])
    outcome = cli("reproduce", results / FOCAL / "seed-0.json", "--suite", tiny(), "--out", tmp_path / "again", "--run")
    assert outcome.code == 0, outcome
    assert "changed since" not in outcome.out and "identical: all " in outcome.out


def test_a_record_outside_of_a_results_folder_has_no_declarations(cli, tiny, older, tmp_path):
    results, now = older
    append(results, "method", digest(1), now["method"])
    alone = tmp_path / "alone.json"
    alone.write_bytes((results / FOCAL / "seed-0.json").read_bytes())
    assert "declared equal" not in cli("reproduce", alone, "--suite", tiny()).out


def test_the_example_of_the_documentation_is_read():
    import omrl_bench.runner.equivalences as module

    text = module.__doc__.split("::\n")[1].split("Being equal")[0]
    (found,) = parse_equivalences("\n".join(line[4:] for line in text.splitlines()), "docstring")
    assert found.field == "method" and json.loads(found.model_dump_json())["commit"] == "1234567"


def test_rows_that_were_trained_elsewhere_stay_complete_too(cli, tiny, older):
    results, now = older
    record = read_record(results / FOCAL / "seed-0.json")
    cube = read_cube(record.cell.cube_path(results))
    cell = record.cell.model_copy(update={"method": "theirs"})
    write_record(results, record.model_copy(update={"cell": cell, "trained_elsewhere": "by them"}), cube)
    assert "changed since: suite; trained elsewhere" in cli("status", "--suite", tiny(), "--out", results).words
    append(results, "suite", digest(2), now["suite"])
    assert "changed since: suite; trained" not in (words := cli("status", "--suite", tiny(), "--out", results).words)
    assert "trained elsewhere, self-reported: by them" in words
