"""What a method leaves: output, weights, links, processes; and ends that nobody asked for."""

import time

import psutil
import pytest

from omrl_bench.protocols.rollout import PolicyError
from omrl_bench.referee.process import MOST_OUTPUT, MethodError


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A file that is none of the method's."""
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "precious"
    file.write_text("precious")
    monkeypatch.setenv("OMRL_TEST_OUTSIDE", str(file))
    return file


@pytest.fixture
def trained(cheat, judge):
    def make(name):
        made = judge(cheat("leaves", name))
        made.fit(seeds=(0,))
        return made

    return make


def test_of_much_output_the_first_of_it_is_kept(trained):
    printed = b"".join(trained("Chatty").method.printed)
    assert printed.startswith(b"first words\nxxx")
    assert printed.endswith(b"[the method printed more than 1000000 bytes: the rest is left out]\n")
    assert MOST_OUTPUT < len(printed) < MOST_OUTPUT + 100


def test_a_process_that_was_detached_ends_with_the_method(trained):
    made = trained("Detached")
    pid = int(b"".join(made.method.printed).split(b"left ")[1].split()[0])
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ThroughLink", "ThroughLink: save left a link, training.json; expected regular files in its folder"),
        ("HardLink", "HardLink: save left a link, training.json"),
        ("LinkedFolder", "LinkedFolder: save left a link, more"),
        ("Pipe", "Pipe: save left something that is no file, pipe"),
        ("ManyFiles", "ManyFiles: save wrote more than 1000 files"),
        ("Heavy", "Heavy: save wrote more than 1024 MiB"),
    ],
)
def test_weights_that_are_none(name, words, trained, outside):
    with pytest.raises(PolicyError, match=words):
        trained(name)
    assert outside.read_text() == "precious" and outside.stat().st_nlink <= 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Exits", "the method's process ended with exit code 0, in fit"),
        ("Quits", "^the method ended its process, with 'I am done' .leaves.py:"),
        ("Ends", "the process that the method's processes are forked from has ended"),
    ],
)
def test_ends_that_nobody_asked_for(name, words, trained):
    with pytest.raises(MethodError, match=words):
        trained(name).cube(0)


def test_nothing_is_left_when_a_method_is_done(cheat, judge):
    made = judge(cheat("honest", "Honest"))
    made.fit(seeds=(0,))
    policy = made.method.policy(0)
    policy.reset(3)
    warden = psutil.Process(made.method._warden._process.pid)
    assert len(warden.children()) == 1  # the policy's; the one that trained has ended
    del policy
    assert warden.children() == []
    folders = made.method._folder, made.method._warden.folder
    made.method.__exit__()
    assert not warden.is_running() and not any(folder.exists() for folder in folders)


def test_processes_end_with_the_referee(cheat):
    """The socket closes when the referee is killed, and with it goes everything."""
    made = cheat("honest", "Honest")
    warden = psutil.Process(made._warden._process.pid)
    children = warden.children()
    assert len(children) == 1
    made._warden._channel.close()
    gone, alive = psutil.wait_procs([*children], timeout=20)
    assert alive == [] and len(gone) == 1
    warden.wait(20)
    assert not made._warden.folder.exists()


def test_each_policy_has_a_process_of_its_own_where_nothing_has_run(cheat, judge):
    made = judge(cheat("honest", "Honest"))
    made.fit(seeds=(0,))
    first, second = (made.method.policy(0) for _ in range(2))
    assert first._process.pid != second._process.pid
