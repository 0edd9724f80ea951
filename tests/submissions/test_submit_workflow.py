"""What checks pull requests: it calls what there is, with the main branch's code, and cannot write."""

import re
from pathlib import Path

from typer.testing import CliRunner

from omrl_bench.cli.main import app

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"


def test_the_command_is_understood():
    (line,) = re.findall(r"omrl-bench submit check .*", (WORKFLOWS / "submission.yml").read_text())
    shown = CliRunner().invoke(app, ["submit", "check", "--help"], env={"COLUMNS": "200"}).output
    options = re.findall(r"--[a-z]+", line)
    assert options == ["--shelf", "--markdown"] and all(option in shown for option in options)


def test_who_may_do_what():
    check, comment = ((WORKFLOWS / f"submission{end}.yml").read_text() for end in ("", "-comment"))
    assert "permissions:\n  contents: read\n" in check and ": write" not in check
    assert "pull_request_target" not in check and "./proposed" not in check  # nothing of it is installed or run
    assert "ref: ${{ github.event.pull_request.base.sha }}" in check
    assert "pull-requests: write" in comment and "actions/checkout" not in comment
