"""The tool that declares hashes equal: what is evidence, what it refuses, and that its file does what it says."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite, parse_suite, suite_names
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.equivalences import FILE, Declaration, Equivalences, add_declarations, read_equivalences
from omrl_bench.runner.records import Cell, Hashes, Record, iterate_records, read_record, write_record

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "declare_equal.py"
OLD = {name: f"{number:016x}" for number, name in enumerate(Hashes.model_fields, 1)}
NEW = OLD | {"method": "f" * 16}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("declare_equal", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make(method="focal", seed=0, hashes=OLD, configuration=None, **fields):
    cell = Cell(
        suite="smoke", family="point-goal", dataset="mixed", method=method, backbone="iql", preset="quick", seed=seed
    )
    return Record(
        **{"status": "complete", "configuration": configuration or {"width": 8}} | fields,
        cell=cell,
        hashes=Hashes(**hashes),
        dataset_status="canonical",
        privileges=(),
        trained_together=(0, 1),
        created="2026-01-01T00:00:00Z",
        git={"commit": "a" * 40, "dirty": False},
    )


def make_cube(change=0.0, tasks=3):
    returns = np.arange(2 * tasks * 2, dtype=np.float32).reshape(2, tasks, 2)
    returns[0, 0, 0] += np.float32(change)
    return Cube(
        conditions=("high", "low"),
        tasks=np.arange(tasks),
        returns=returns,
        random=np.zeros(tasks, np.float32),
        expert=np.full(tasks, 9, np.float32),
    )


@pytest.fixture
def ran(tool, tmp_path):
    """What two runs of one suite come to: ran(*[(old record, its cube, new record, its cube)])."""

    def compare(*cells):
        for before, old_cube, after, new_cube in cells:
            write_record(tmp_path / "old", before, old_cube)
            write_record(tmp_path / "new", after, new_cube)
        return tool.compare_runs(tmp_path / "old", tmp_path / "new", ("smoke", "quick"))

    return compare


def both(seed=0, method="focal", old=OLD, new=NEW, change=0.0, **fields):
    return make(method, seed, old), make_cube(), make(method, seed, new, **fields), make_cube(change)


def declare(tool, twins, records, known=(), suites=None):
    """What is declared and what is left; the suite is the same in both checkouts, unless another is given."""
    same = {("smoke", "quick", "point-goal"): tool.SuiteHash(OLD["suite"], OLD["suite"], "")}
    support = tool.claims(twins, same if suites is None else suites)
    found = tool.declarations(support, records, Equivalences(tuple(known)), "1234567", "tidied up", "60 updates")
    left = tool.remaining(support, records, Equivalences((*known, *found)))
    return found, left


def test_cells_with_the_same_bits_are_the_evidence(tool, ran):
    found, left = declare(tool, ran(both(0), both(1)), [make(seed=5), make(seed=6)])
    assert found == [
        Declaration(
            field="method",
            old=OLD["method"],
            new=NEW["method"],
            commit="1234567",
            why="tidied up",
            evidence=("smoke/quick/point-goal/mixed/focal/iql, seeds 0-1, 60 updates: the same bits",),
        )
    ]
    assert left == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"change": 1e-6 * 9}, "seed 1: 1 of 12 returns differ, by up to 9"),
        ({"configuration": {"width": 9}}, "seed 1: its hyper-parameters are others"),
        ({"status": "failed", "error": "ValueError: no"}, "seed 1: failed: ValueError: no"),
    ],
)
def test_one_cell_that_differs_is_enough(tool, ran, fields, reason):
    twins = ran(both(0), both(1, **fields))
    found, left = declare(tool, twins, [make(seed=5)])
    assert found == [] and len(left) == 1
    assert left[0].startswith(f"stale: method {OLD['method']} of smoke/quick/point-goal/mixed/focal/iql, seeds 5: ")
    assert reason in left[0]


def test_a_cube_of_other_tasks(tool, ran):
    before, old, after, _ = both()
    found, left = declare(tool, ran((before, old, after, make_cube(tasks=4))), [make()])
    assert found == [] and "other conditions or tasks were measured" in left[0]


def test_a_cube_that_is_damaged(tool, ran, tmp_path):
    ran(both())
    (tmp_path / "new" / make().cell.folder() / "seed-0.npz").write_bytes(b"")
    found, left = declare(tool, tool.compare_runs(tmp_path / "old", tmp_path / "new", ("smoke", "quick")), [make()])
    assert found == [] and "seed-0.npz is missing or damaged" in left[0]


def test_a_record_with_other_hyper_parameters_is_not_equal(tool, ran):
    """Its hash says that it is of the same source and settings; what the record holds says otherwise."""
    found, left = declare(tool, ran(both()), [make(seed=7, configuration={"width": 9})])
    assert found == [] and left[0].endswith("seed 7: its hyper-parameters are others")


def test_hashes_that_no_record_has_are_not_declared(tool, ran):
    elsewhere = OLD | {"method": "e" * 16}
    found, left = declare(tool, ran(both()), [make(hashes=elsewhere)])
    assert found == []
    assert left == [
        f"stale: method {'e' * 16} of smoke/quick/point-goal/mixed/focal/iql, seeds 0: "
        "the older checkout does not have it, or did not run it"
    ]


def test_a_chain_of_earlier_declarations_is_gone_on_with(tool, ran):
    """The record is of a version before the older checkout, declared equal to it already."""
    first = Declaration(
        field="method", old="e" * 16, new=OLD["method"], commit="7654321", why="earlier", evidence=("a cell",)
    )
    records = [make(hashes=OLD | {"method": "e" * 16})]
    found, left = declare(tool, ran(both()), records, known=[first])
    assert [(each.old, each.new) for each in found] == [(OLD["method"], NEW["method"])] and left == []
    again, left = declare(tool, ran(both()), records, known=[first, *found])
    assert again == [] and left == []


def test_other_methods_are_judged_by_themselves(tool, ran):
    pearl = OLD | {"method": "b" * 16}
    twins = ran(both(), both(method="pearl", old=pearl, new=OLD | {"method": "c" * 16}, change=1))
    found, left = declare(tool, twins, [make(), make("pearl", hashes=pearl)])
    assert [each.old for each in found] == [OLD["method"]]
    assert len(left) == 1 and left[0].startswith(f"stale: method {'b' * 16} of ")


def test_every_hash_that_changed_is_declared_by_itself(tool, ran):
    new = {name: "f" * 15 + str(number) for number, name in enumerate(Hashes.model_fields)} | {"suite": OLD["suite"]}
    found, left = declare(tool, ran(both(new=new)), [make()], suites={})
    assert {(each.field, each.old, each.new) for each in found} == {
        (name, OLD[name], new[name]) for name in ("family", "dataset", "contexts", "method", "tasks")
    }
    assert len(left) == 1 and left[0].startswith(f"stale: suite {OLD['suite']}")  # nobody has read the suite


@pytest.mark.parametrize("difference", ["", "the checkouts read another draws from it"])
@pytest.mark.parametrize("change", [0.0, 1.0])
def test_a_suite_needs_the_same_keys_and_the_same_bits(tool, ran, difference, change):
    suites = {("smoke", "quick", "point-goal"): tool.SuiteHash(OLD["suite"], "d" * 16, difference)}
    found, left = declare(tool, ran(both(new=OLD, change=change)), [make()], suites=suites)
    if difference or change:
        assert found == [] and left[0].startswith(f"stale: suite {OLD['suite']}")
        assert ("1 of 12 returns differ" if change else difference) in left[0]
    else:
        assert [(each.field, each.old, each.new) for each in found] == [("suite", OLD["suite"], "d" * 16)]
        assert found[0].evidence == (
            "both checkouts read the same protocol and budget from the suite",
            "smoke/quick/point-goal/mixed/focal/iql, seeds 0, 60 updates: the same bits",
        )
        assert left == []


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ({"draws": 2}, {"draws": 2}, ""),
        ({"draws": 2}, {"draws": 2, "rho": {}, "told": False, "name": ""}, ""),
        ({"draws": 2, "episodes": 0}, {"draws": 2}, ""),
        ({"draws": 2}, {"draws": 3}, "the checkouts read another draws from it"),
        ({"draws": 2}, {"draws": 2, "told": True}, "the checkouts read another told from it"),
        ({"draws": 2, "episodes": 1}, {"draws": 2}, "the checkouts read another episodes from it"),
    ],
)
def test_keys_that_one_checkout_does_not_know_must_say_nothing(tool, monkeypatch, old, new, difference):
    answers = {"old": [["1" * 16, old]], "new": [["2" * 16, new]]}
    monkeypatch.setattr(tool, "_ask", lambda python, code, given: tool.json.dumps(answers[python]))
    found = tool.read_suites([make()], "old", "new")
    assert found == {("smoke", "quick", "point-goal"): tool.SuiteHash("1" * 16, "2" * 16, difference)}


def test_what_a_checkout_reads_from_its_suites(tool):
    asked = [
        make().model_copy(update={"cell": make().cell.model_copy(update={"suite": name})}) for name in suite_names()
    ]
    asked = [each for each in asked if "quick" in load_suite(each.cell.suite).presets]
    found = tool.read_suites(asked, sys.executable, sys.executable)
    for (suite, preset, family), hashes in found.items():
        assert hashes == (load_suite(suite).fingerprint(preset, family),) * 2 + ("",)
    assert len(found) > 5


def test_small_suites_are_suites_whatever_they_extend(tool):
    for name in suite_names():
        real = load_suite(name)
        for preset, budget in real.presets.items():
            families = real.families_of(preset)
            cells = [
                make(method).cell.model_copy(update={"suite": name, "preset": preset, "family": family})
                for method in real.methods_of(preset)[:2]
                for family in families[:1]
            ]
            small = parse_suite(tool.small_suite(name, preset, cells, 7, 3), name)
            assert (small.name, small.version, small.protocol) == (real.name, real.version, real.protocol)
            assert small.presets[preset].seeds == (0, 1, 2) and small.presets[preset].updates == 7
            assert small.presets[preset].encoder_updates == min(7, budget.encoder_updates)
            assert small.presets[preset].train_tasks == budget.train_tasks
            assert small.presets[preset].qualities == budget.qualities
            assert small.families == families[:1] and set(small.methods) == {cell.method for cell in cells}


def test_declarations_are_appended_and_read_back(tmp_path):
    first, second = (
        Declaration(
            field="method",
            old=f"{n:016x}",
            new="f" * 16,
            commit="1234567",
            why='a "word",\ta \\ and é\x7f',
            evidence=("a", "b\nc"),
        )
        for n in (1, 2)
    )
    (tmp_path / FILE).write_text("# written by a person\n")
    add_declarations(tmp_path, [first])
    before = (tmp_path / FILE).read_text()
    assert before.startswith("# written by a person\n\n[[equal]]\n")
    add_declarations(tmp_path, [second])
    assert (tmp_path / FILE).read_text().startswith(before)
    assert read_equivalences(tmp_path).declarations == (first, second)
    add_declarations(tmp_path / "empty", [first])
    assert read_equivalences(tmp_path / "empty").declarations == (first,)


def test_a_damaged_file_is_not_added_to(tmp_path):
    (tmp_path / FILE).write_text("[[equal]]\n")
    good = Declaration(field="method", old="1" * 16, new="2" * 16, commit="1234567", why="a", evidence=("b",))
    with pytest.raises(InputError, match=r"key 'equal\.0\.field': Field required"):
        add_declarations(tmp_path, [good])
    assert (tmp_path / FILE).read_text() == "[[equal]]\n"


@pytest.mark.parametrize("git", [{}, {"commit": "a" * 40, "dirty": True}])
def test_code_that_is_not_committed_has_no_commit(tool, git):
    record = make().model_copy(update={"git": git})
    with pytest.raises(InputError, match="commit it first, or name the commit by --commit"):
        tool._commit([tool.Twins(make(), record, "")])
    assert tool._commit([tool.Twins(record, make(), "")]) == "a" * 40


def run(*arguments, **environment):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)


def test_this_checkout_is_no_older_one(tmp_path):
    write_record(tmp_path, make(), make_cube())
    done = run(TOOL, sys.executable, "--results", tmp_path, "--why", "no reason")
    assert done.returncode == 2 and "runs this very checkout" in done.stderr and done.stderr.count("\n") == 1
    done = run(TOOL, tmp_path / "python", "--results", tmp_path, "--why", "no reason")
    assert done.returncode == 2 and "cannot be run: No such file" in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def before(tmp_path):
    """An older checkout, in which FOCAL is written otherwise and the random control does something else: its Python."""
    package = tmp_path / "before" / "omrl_bench"
    ignore = shutil.ignore_patterns("__pycache__", "policies")
    shutil.copytree(ROOT / "omrl_bench", package, ignore=ignore)
    for name in ("baselines", "protocols"):
        shutil.copytree(ROOT / name, package / name, ignore=ignore)
    with (package / "baselines" / "focal.py").open("a") as file:
        file.write("\nWRITTEN_OTHERWISE = True\n")
    with (package / "baselines" / "controls.py").open("a") as file:
        file.write("\n\n_policy = Random.policy\nRandom.policy = lambda self, seed: _policy(self, seed + 1)\n")
    python = tmp_path / "before" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{package.parent}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.slow
def test_two_checkouts_from_end_to_end(before, tmp_path):
    """Records of the older one: those of FOCAL become complete, those of the control, which changed, stay stale."""
    results = tmp_path / "results"
    common = (
        "-m",
        "omrl_bench",
        "run",
        "--suite",
        "smoke",
        "--method",
        "random",
        "--method",
        "focal",
        "--out",
        results,
    )
    made = subprocess.run([before, *map(str, common)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    files = {path: path.read_bytes() for path in results.rglob("seed-*")}
    plan = run(*common, "--dry-run")
    assert "4 stale" in " ".join(plan.stdout.split()) or "2 stale" in plan.stdout, plan
    options = ("--updates", 4, "--commit", "1234567", "--keep", tmp_path / "kept")
    done = run(TOOL, before, "--results", results, "--why", "a constant that nothing reads", *options)
    assert done.returncode == 1, done.stderr
    (declared,) = read_equivalences(results).declarations
    old, new = (
        read_record(folder / "smoke/quick/point-goal/mixed/focal/iql/seed-0.json").hashes.method
        for folder in (results, tmp_path / "kept" / "new")
    )
    assert (declared.field, declared.old, declared.new, declared.commit) == ("method", old, new, "1234567")
    assert declared.evidence == ("smoke/quick/point-goal/mixed/focal/iql, seeds 0-1, 4 updates: the same bits",)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("stale: ")]
    assert "mixed/random/iql, seeds 0-1: " in line and "returns differ, by up to" in line
    states = run("-m", "omrl_bench", *common[2:], "--dry-run").stdout
    assert "2 complete" in " ".join(states.split()) and "2 stale" in " ".join(states.split()), states
    assert {path: path.read_bytes() for path in results.rglob("seed-*")} == files
    again = run(TOOL, before, "--results", results, "--why", "again", *options, "--method", "focal")
    assert again.returncode == 0 and "0 declarations written" in again.stdout, again.stderr
    assert len(list(iterate_records(results))) == 4
