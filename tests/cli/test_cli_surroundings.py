"""The command line wherever it is started: other screens, other homes, other platforms."""

import io
import os
import pwd
import subprocess
import sys

import pytest

from omrl_bench.cli import main as command_line
from omrl_bench.runner.circumstances import git_state


def run(*arguments, code="", **environment):
    """The command in a process of its own, after some code."""
    program = f"{code}\nfrom omrl_bench.cli.main import main\nmain()"
    kept = {name: value for name, value in os.environ.items() if environment.get(name, "") is not None}
    given = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=kept | given, capture_output=True, timeout=120)


@pytest.mark.parametrize("arguments", [("list", "suites"), ("show", "suite", "shift")])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_that_cannot_show_every_sign(arguments, encoding):
    done = run(*arguments, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"shift" in done.stdout.decode(encoding).encode()


def test_a_notebooks_backend_is_not_ours(cli, monkeypatch):
    """It may not be installed, and importing Matplotlib would fail, in workers too, which inherit the environment."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    assert cli("list", "suites").code == 0
    assert os.environ["MPLBACKEND"] == "agg"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("setting", "coloured"), [(None, True), ("", True), ("1", False)])
def test_errors_have_colours_unless_no_color_is_set(monkeypatch, setting, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if setting is not None:
        monkeypatch.setenv("NO_COLOR", setting)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "argv", ["omrl-bench", "show", "suite", "shfit"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert ("\x1b[" in screen.getvalue()) == coloured
    assert "unknown suite 'shfit'" in screen.getvalue()


def test_without_a_home_the_data_need_a_folder(cli, monkeypatch):
    """As in a container that runs as a number without a name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("MINARI_DATASETS_PATH")

    def nobody(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for command in (("list",), ("build", "point-goal", "--quality", "mixed")):
        outcome = cli("data", *command)
        assert (outcome.code, outcome.err) == (
            2,
            "error: there is no home folder for datasets: set MINARI_DATASETS_PATH to a folder\n",
        )
    monkeypatch.setenv("MINARI_DATASETS_PATH", "here")
    assert cli("data", "list").code == 0


def test_an_unsupported_platform_is_said(cli, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    outcome = cli("list", "suites")
    assert (outcome.code, outcome.err) == (
        2,
        "error: Windows is not supported; use its Subsystem for Linux (WSL)\n",
    )


def test_nothing_is_locked_or_forked_by_what_not_every_platform_has(tmp_path):
    """Neither fcntl nor fork: a lock is taken, a process started."""
    code = (
        "import os, sys; sys.modules['fcntl'] = None; del os.fork\n"
        "from pathlib import Path; import warnings; warnings.simplefilter('ignore')\n"
        "from omrl_bench.runner.run import check_folder; from omrl_bench.processes import start\n"
        "check_folder(Path(sys.argv.pop(1)))\n"
        "process = start(print); process.join(); assert process.exitcode == 0"
    )
    done = run(str(tmp_path / "runs"), "list", "suites", code=code)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").iterdir()) == []


def git(folder, *arguments, **environment):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repositories(tmp_path):
    """Two repositories of one commit each: paths."""
    found = []
    for name in ("ours", "another"):
        folder = tmp_path / name
        folder.mkdir()
        git(folder, "init", "--quiet")
        (folder / "omrl_bench").write_text(name)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", name)
        found.append(folder)
    return found


def test_a_record_names_the_commit_of_its_own_checkout(repositories, monkeypatch):
    """As in a hook of another repository, whose variables git would obey."""
    ours, another = repositories
    monkeypatch.setenv("GIT_DIR", str(another / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(another))
    monkeypatch.setenv("GIT_INDEX_FILE", str(another / ".git" / "index"))
    assert git_state(ours) == {"commit": git(ours, "rev-parse", "HEAD"), "dirty": False}
    (ours / "omrl_bench").write_text("changed")
    assert git_state(ours)["dirty"] is True


def test_a_checkout_of_another_owner_is_named_too(repositories, monkeypatch):
    ours, _ = repositories
    expected, real = git(ours, "rev-parse", "HEAD"), subprocess.run

    def of_another(command, **options):  # as git's own tests have it
        return real(command, **options | {"env": options["env"] | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}})

    monkeypatch.setattr(subprocess, "run", of_another)
    with pytest.raises(subprocess.CalledProcessError):
        git(ours, "rev-parse", "HEAD")
    assert git_state(ours)["commit"] == expected


def test_why_a_commit_is_not_known_is_recorded(tmp_path, repositories, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert git_state(tmp_path / "empty") == {}
    git(tmp_path / "empty", "init", "--quiet")
    assert set(git_state(tmp_path / "empty")) == {"unknown"}  # no commit
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(repositories[0])["unknown"].startswith("git cannot be run: ")
