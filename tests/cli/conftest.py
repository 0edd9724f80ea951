"""The command line in this process, on empty folders; a small suite file; adapters good and bad."""

import pytest

TINY = """
name = "tiny"
version = 0
title = "A suite for tests"
families = ["point-goal"]
datasets = ["mixed"]
methods = ["random"]
backbones = ["iql"]
default_preset = "quick"

[protocol]
kind = "given-context"
draws = 2

[presets.quick]
seeds = [0, 1]
qualities = ["high", "low"]
updates = 4
encoder_updates = 4
evaluations = 2
time_limit = 120
job_seconds = 5
"""


@pytest.fixture
def cli(invoke, monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder, with an empty data folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return invoke


@pytest.fixture
def tiny(write_suite):
    """Write the small suite, with replacements: its path."""
    return lambda *replacements: write_suite(TINY, replacements)
