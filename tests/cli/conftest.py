"""The command line in this process, on empty folders; a small suite file; adapters good and bad."""

import contextlib
import io
import signal
import sys
from typing import NamedTuple

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


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def words(self):
        """Both outputs without line breaks (tables and paragraphs are wrapped)."""
        return " ".join(f"{self.out} {self.err}".split())


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder, with an empty data folder."""
    from omrl_bench.cli.main import main

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["omrl-bench", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
        return Outcome(code, out.getvalue(), err.getvalue())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def tiny(tmp_path):
    """Write the small suite, with replacements: its path."""

    def write(*replacements):
        text = TINY
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return path

    return write
