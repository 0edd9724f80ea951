"""--help, --version, list: they answer at once and need nothing."""

import json
import os
import re
import subprocess
import sys

import pytest

from omrl_bench import __version__

VERBS = [
    (),
    ("run",),
    ("status",),
    ("report",),
    ("compare",),
    ("paper",),
    ("validate",),
    ("show", "suite"),
    ("show", "record"),
    ("reproduce",),
    ("smoke",),
    ("list",),
    ("data",),
    ("data", "build"),
    ("data", "verify"),
    ("data", "list"),
    ("data", "train-behaviour"),
    ("data", "freeze"),
    ("results",),
    ("results", "merge"),
]
HEAVY = {"torch", "mujoco", "pandas", "matplotlib"}


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_of_every_verb(cli, verb, option):
    outcome = cli(*verb, option)
    assert outcome.code == 0 and outcome.err == ""
    assert re.search(rf"Usage: .*{' '.join(('omrl-bench', *verb))} ", outcome.words)
    if verb not in ((), ("data",), ("results",)):
        assert "Examples:" in outcome.out


def test_help_names_every_verb_and_hides_the_workers(cli):
    words = cli("--help").words
    for verb in ("run", "status", "report", "smoke", "list", "data"):
        assert f" {verb} " in words
    assert "worker" not in words


def commands(group):
    """All commands below a group."""
    for command in group.commands.values():
        yield from commands(command) if hasattr(command, "commands") else (command,)


def test_every_option_has_a_help_text(cli):
    import typer

    from omrl_bench.cli.main import app

    for command in commands(typer.main.get_command(app)):
        if command.hidden:
            continue
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"


def test_help_shows_brackets(cli):
    """Rich takes what stands in brackets for markup, unless it is escaped."""
    from rich.text import Text
    from typer.main import get_command

    from omrl_bench.cli.main import app

    for command in commands(get_command(app)):
        for text in (command.help, *(getattr(parameter, "help", None) for parameter in command.params)):
            assert Text.from_markup(text or "").plain == (text or "").replace("\\[", "["), command.name
    for verb, times in (("run", 2), ("status", 1)):
        assert cli(verb, "--help").out.count("focal[beta=2.0]") == times


def test_no_arguments_shows_the_help(cli):
    assert cli().out.strip() == cli("--help").out.strip()


def test_version(cli):
    outcome = cli("--version")
    assert (outcome.code, outcome.out) == (0, f"omrl-bench {__version__}\n")


def modules_after(tmp_path, *arguments):
    """Names of the modules that a command has imported when it ends."""
    code = """
import json, sys
from omrl_bench.cli.main import main
sys.argv = ["omrl-bench", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + json.dumps(sorted(sys.modules)))
"""
    environment = os.environ | {"MINARI_DATASETS_PATH": str(tmp_path)}
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("list", "methods")], ids=" ".join)
def test_help_and_list_import_nothing_heavy(tmp_path, arguments):
    assert modules_after(tmp_path, *arguments) & HEAVY == set()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("suites", ["shift", "Context distribution shift"]),
        ("families", ["point-goal", "omrl/PointGoal-v1", "140 tasks", "cheetah-vel", "horizon 200"]),
        ("methods", ["random", "behaviour", "task-blind", "oracle", "focal", "pearl", "hs-scl", "hs-hard"]),
        ("sets", ["@papers", "@focalpp-hard", "rv, ccm-rv, dp, ccm-dp, ccm-rv-explore"]),
        ("backbones", ["iql"]),
    ],
)
def test_list(cli, kind, names):
    outcome = cli("list", kind)
    assert outcome.code == 0 and outcome.err == ""
    for name in names:
        assert name in outcome.words


def test_list_of_data(cli):
    words = cli("data", "list").words
    for family in ("point-goal", "cheetah-vel"):
        for quality in ("mixed", "expert", "random"):
            assert f"omrl/{family}/{quality}-v1" in words
    assert " yes " not in words


def test_verify_of_data_that_is_not_there(cli):
    outcome = cli("data", "verify", "point-goal")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        f"omrl/point-goal/{q}-v1: not built" for q in ("mixed", "expert", "medium", "random", "cross")
    ]


def test_output_into_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m omrl_bench list methods | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
