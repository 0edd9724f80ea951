"""The campaign of faults: a few of them, and that it would see what it looks for."""

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.records import Cell, Hashes, Record, write_record

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fault_campaign.py"


@pytest.fixture(scope="module")
def tool():
    """The tool's module."""
    before = dict(os.environ)
    sys.path.insert(0, str(TOOL.parent))
    spec = importlib.util.spec_from_file_location("fault_campaign", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(TOOL.parent))
    os.environ.clear()
    os.environ.update(before)
    return module


@pytest.fixture(scope="module")
def runs(tool):
    """The other half of it."""
    return sys.modules["fault_runs"]


@pytest.mark.slow
def test_a_few_faults(tmp_path):
    """Kills of runner and worker, two runs, damaged files: nothing is lost."""
    command = [sys.executable, TOOL, "--forks", "--kills", "4", "--trials", "1", "--rows", "kill,jobs,weights,two"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    head, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert (
        head == "| fault | injected | exit codes | lost | done twice | half-written | different | not said in a line |"
    )
    assert len(rows) == 6 and all(row.endswith("| 0 | 0 | 0 | 0 | 0 |") for row in rows)
    kills = [int(row.split("|")[2]) for row in rows[:3]]
    assert sum(kills) == 4 and all(row.startswith("| kill -9 of ") for row in rows[:3])


def write(results, value, seed=0, status="complete"):
    record = Record(
        cell=Cell(suite="s", family="f", dataset="d", backbone="b", preset="p", method="Clone", seed=seed),
        status=status,
        hashes=Hashes(suite="s", family="f", dataset="d", contexts="c", method="m"),
        dataset_status="canonical",
        privileges=(),
        configuration={},
        trained_together=(0,),
        created="2026-01-01T00:00:00+00:00",
    )
    cube = Cube(
        conditions=("high",),
        tasks=np.array([30]),
        returns=np.full((1, 1, 2), value, np.float32),
        random=np.array([-2.0], np.float32),
        expert=np.array([-1.0], np.float32),
    )
    write_record(results, record, cube)
    return record.cell


@pytest.fixture
def campaign(runs, tmp_path):
    """A campaign whose undisturbed run has two cells, which are there."""
    made = object.__new__(runs.Campaign)
    made.results, made.rng = tmp_path, random.Random(0)
    cells = [write(tmp_path, float(seed), seed) for seed in (0, 1)]
    made.reference = {record.cell: runs.numbers(tmp_path, record) for record in made._records([])}
    assert list(made.reference) == cells
    return made


def examined(campaign, runs):
    row = runs.Row("x")
    campaign.complete(row, list(campaign.reference))
    return [kind for kind, _ in row.problems]


def test_nothing_is_said_of_what_is_right(campaign, runs):
    assert examined(campaign, runs) == []


def test_what_it_sees(campaign, runs):
    first, second = campaign.reference
    cube = second.cube_path(campaign.results)
    content = cube.read_bytes()
    cube.write_bytes(content[:-9])
    assert examined(campaign, runs) == ["half-written"]
    cube.write_bytes(content)
    write(campaign.results, 5.0, 1)
    assert examined(campaign, runs) == ["different"]
    write(campaign.results, 1.0, 1)
    assert examined(campaign, runs) == []
    record = first.record_path(campaign.results)
    text = record.read_text()
    record.write_text(text[:-30])
    assert sorted(examined(campaign, runs)) == ["half-written", "lost"]
    record.unlink()
    assert examined(campaign, runs) == ["lost"]
    record.with_name("seed-7.json").write_text(text)
    assert sorted(examined(campaign, runs)) == ["half-written", "lost"]  # a copy


@pytest.mark.parametrize("name", ["truncate", "overwrite", "swap"])
def test_damages_change_files(campaign, tool, name, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"0123456789")
    other.write_bytes(b"abc")
    getattr(tool, name)(campaign, one, [one, other])
    assert one.read_bytes() != b"0123456789"
