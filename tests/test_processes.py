"""Processes: how many there may be, that they run this very package, and what they import."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from threadpoolctl import threadpool_info

from omrl_bench import __version__, processes
from omrl_bench.processes import command, process_pool, processors, start

PACKAGES = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]


@pytest.fixture
def hostile(tmp_path):
    """A working folder with another copy of the package, and files with the names of Python's own modules."""
    (tmp_path / "omrl_bench").mkdir()
    for name in ("omrl_bench/__init__", "random", "selectors", "tempfile", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')")
    return tmp_path


def run(arguments, folder, **environment):
    return subprocess.run(arguments, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_a_command_runs_this_package_wherever_it_is_started(hostile):
    assert "imported from" in run([sys.executable, "-m", "omrl_bench", "--version"], hostile).stderr  # the trap is one
    done = run(command("--version"), hostile)
    assert (done.returncode, done.stdout) == (0, f"omrl-bench {__version__}\n"), done.stderr


def test_a_command_runs_a_checkout_that_is_not_installed(hostile):
    """Without the finder of an editable installation, and although another copy is found first."""
    (python, *rest) = command("--version")
    done = run([python, "-S", *rest], hostile, PYTHONPATH=os.pathsep.join(PACKAGES))
    assert (done.returncode, done.stdout) == (0, f"omrl-bench {__version__}\n"), done.stderr
    for file in hostile.glob("*.py"):
        file.unlink()
    done = run([python, "-S", *rest], hostile, PYTHONPATH=os.pathsep.join([*PACKAGES, str(hostile)]))
    assert (done.returncode, done.stdout) == (0, f"omrl-bench {__version__}\n"), done.stderr


def test_a_process_imports_nothing_from_the_working_folder(hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    before = dict(os.environ)
    process = start(Path.touch, hostile / "called")
    process.join(60)
    assert process.exitcode == 0 and (hostile / "called").exists()
    assert dict(os.environ) == before


def test_the_processes_of_a_pool_keep_to_one_thread():
    """Also in what they load when they get their work, as they do: a new process has loaded nothing before."""
    with process_pool(1) as pool:
        for module in ("scipy.linalg", "sklearn.manifold"):
            pool.submit(exec, f"import {module}").result()
        numbers = pool.submit(threadpool_info).result()
    assert len(numbers) >= 2 and {each["num_threads"] for each in numbers} == {1}


def test_a_process_ends_with_the_one_that_started_it():
    code = (
        "import os, time; from omrl_bench.processes import start; process = start(time.sleep, 90); "
        "print(process.pid, flush=True); time.sleep(90)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(1)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it goes on without its parent"
        time.sleep(0.1)


def test_a_process_is_interrupted_by_a_request_to_end():
    process = start(time.sleep, 90)
    process.terminate()
    process.join(60)
    assert process.exitcode in (130, -signal.SIGTERM)  # the second before it could say otherwise


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with eight processors, whose groups are files: machine({file: content}, lines of /proc/self/cgroup)."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(processes, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(processes, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)

    def make(files, own):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            file = tmp_path / "groups" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    return make


def test_processors_are_those_of_the_affinity(machine, monkeypatch):
    assert processors() == 8  # no groups at all, as on macOS
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert processors() == 6


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"a/b/cpu.max": "300000 100000"}, "0::/a/b\n", 3),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, "0::/a/b\n", 1),  # of the group above
        ({"a/cpu.max": "50000 100000"}, "0::/a\n", 1),
        ({"cpu.max": "200000 100000"}, "0::/docker/0123\n", 2),  # seen from inside the container
        ({"a/cpu.max": "max 100000"}, "0::/a\n", 8),
        ({"other/cpu.max": "100000 100000"}, "0::/a\n", 8),
        ({"cpu,cpuacct/s/cpu.cfs_quota_us": "400000", "cpu,cpuacct/s/cpu.cfs_period_us": "100000"},
         "5:memory:/s\n4:cpu,cpuacct:/s\n", 4),
        ({"cpu/s/cpu.cfs_quota_us": "-1", "cpu/s/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/s\n", 8),
        ({"unified/u/cpu.max": "600000 100000"}, "4:cpuset:/\n0::/u\n", 6),
        ({"a/cpu.max": "nonsense"}, "0::/a\n", 8),
    ],
)  # fmt: skip
def test_processors_are_those_of_the_groups_quota(machine, files, own, expected):
    machine(files, own)
    assert processors() == expected


@pytest.mark.parametrize(("task", "expected"), [("3", 3), ("40", 8), ("", 8), ("0", 1)])
def test_processors_are_those_of_the_slurm_task(machine, monkeypatch, task, expected):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", task)
    assert processors() == expected
