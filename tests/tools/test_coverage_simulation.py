"""The simulation of coverage and power: its models have the truths that it says, docs/statistics.md has its tables."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("coverage_simulation", ROOT / "tools" / "coverage_simulation.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_expected_scores_of_tasks_are_the_means_of_many_runs(tool):
    """Also where scores are bent: saturation moves them, rounding does not."""
    for model in tool.MODELS:
        rng = np.random.default_rng(0)
        of_tasks = model.tasks(rng, 2, 1, 12)
        scores = model.scores(rng, of_tasks, 20_000)
        error = scores.std() / np.sqrt(20_000)
        np.testing.assert_allclose(scores.mean(axis=2), model.expected(of_tasks)[:, :, 0], atol=8 * error)


def test_models_have_their_standard_deviations(tool):
    rng = np.random.default_rng(1)
    for law in (tool.normal, tool.heavy, tool.skewed, tool.either):
        values = law(rng, (400_000,))
        assert abs(values.mean()) < 0.01 and values.std() == pytest.approx(1, abs=0.15 if law is tool.heavy else 0.01)
    assert abs(tool.collapsing(rng, (400_000,)).mean()) < 0.05


@pytest.mark.parametrize("index", [0, 7, -1], ids=["normal", "saturated", "collapse"])
def test_everything_is_measured(tool, index):
    measured = tool.coverage(tool.MODELS[index], 5, 20, repeats=300, few=3, contests=10)
    assert len(measured) == len(tool.ESTIMATES)
    assert all(0 <= value <= 1 for value in measured)
    if tool.MODELS[index] is not tool.COLLAPSE:
        assert all(0.9 <= value <= 0.995 for value in measured[:3])
    else:
        assert measured[0] < 0.85


def test_what_is_detectable_is_found_in_four_of_five(tool):
    detectable, found, equal, apart = tool.power(tool.MODELS[0], 10, 20, repeats=1500)[:4]
    assert 3 < detectable < 9 and found == pytest.approx(0.8, abs=0.06)
    assert apart <= 0.07 and apart <= equal
    paired, coverage, width = tool.pairing_rule(0.8, 5, 150)
    assert paired > 0.7 and coverage > 0.9 and width < 0.8


def test_the_documentation_has_a_row_for_every_model_and_interval(tool):
    text = (ROOT / "docs" / "statistics.md").read_text()
    for name in (*tool.ESTIMATES, *(model.name for model in tool.MODELS)):
        assert re.search(rf"^\| {re.escape(name)} \|( *[0-9.()]+( \([0-9.]+\))? \|)+$", text, re.MULTILINE), name
