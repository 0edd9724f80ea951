"""What the tests of the command line and of the runner share."""

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
methods = ["random", "focal"]
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
job_seconds = 100
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


@pytest.fixture(scope="session")
def outcome_class():
    """The class of what a command returns, for those that run one in a process of its own."""
    return Outcome


@pytest.fixture
def invoke(monkeypatch):
    """Run the command line in this process."""
    from omrl_bench.cli.main import main

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


@pytest.fixture(scope="session")
def tiny_text():
    """A suite that trains in seconds, as TOML."""
    return TINY


@pytest.fixture
def write_suite(tmp_path):
    """Write a suite's text to a file, with replacements (old, new): its path."""

    def write(text, replacements, name="tiny.toml"):
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
