"""The programs in examples/ run as they are, on real data."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from omrl_bench.registry import load_class
from omrl_bench.runner.records import iterate_records
from omrl_bench.testing import check_adapter

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script, folder):
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_five_lines_print_a_score_for_each_condition(data, tmp_path):
    script = EXAMPLES / "five_lines.py"
    statements = [
        node for node in ast.parse(script.read_text()).body if not isinstance(node, ast.ImportFrom | ast.Import)
    ]
    assert len(statements) == 1 + 5  # the docstring, and five
    printed = run(script, tmp_path)
    for condition in ("high", "low"):
        (mean, low, high) = map(float, re.search(rf"^{condition} +(\S+) +(\S+) +(\S+)$", printed, re.M).groups())
        assert low < mean < high < 50
    assert not list(tmp_path.iterdir())


def test_the_plain_adapter_is_fit_to_run_and_runs(data, tiny, invoke, tmp_path):
    reference = f"{EXAMPLES / 'goal_clone.py'}:GoalClone"
    check_adapter(load_class(reference))
    ran = invoke("run", "--suite", tiny(), "--method", reference, "--out", tmp_path / "runs")
    assert ran.code == 0, ran.words
    records = list(iterate_records(tmp_path / "runs"))
    assert [record.status for record in records] == ["complete"] * 2
    for record in records:
        assert record.metrics["high"].score > 80 > 0 > record.metrics["low"].score


def test_policies_trained_elsewhere_become_rows(data, tmp_path):
    printed = run(EXAMPLES / "train_elsewhere.py", tmp_path)
    records = list(iterate_records(tmp_path / "runs"))
    assert [record.cell.method for record in records] == ["goal-network"] * 2
    for record in records:
        assert record.metrics["high"].score > 80
        assert record.trained_elsewhere == "examples/train_elsewhere.py, 1000 updates"
    assert "runs/report/shift-quick/score.md" in printed
    assert "trained elsewhere, self-reported" in (tmp_path / "runs/report/shift-quick/score.md").read_text()


def test_the_notebook_runs_cell_by_cell(data):
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = {}
    for cell in cells:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)  # stripped
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    means = names["scores"].groupby("condition")["score"].mean()
    assert means["high"] > 80 > 0 > means["low"]


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
def test_examples_are_short(file):
    text = file.read_text()
    lines = text.splitlines()
    if file.suffix == ".ipynb":
        lines = [line for cell in json.loads(text)["cells"] for line in "".join(cell["source"]).splitlines()]
    assert sum(bool(line.strip()) for line in lines) <= 42
    assert os.linesep.join(lines)
