"""Building data wherever one is: linked folders, others who build the same, signals, and no screen."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from omrl_bench.cli.main import main
from omrl_bench.data import manifest
from omrl_bench.data.build import Collected
from omrl_bench.data.manifest import build_dataset, ensure_dataset
from omrl_bench.data.store import dataset_folder, read_episodes, read_receipt, write_dataset
from omrl_bench.errors import InputError


@pytest.fixture
def quick(monkeypatch, small):
    """Let what is built be the small dataset: the number of times that it was simulated."""
    calls = []
    monkeypatch.setattr(manifest, "collect", lambda *_, **__: calls.append(1) or Collected(small, 0))
    return calls


@pytest.fixture
def linked(written, tmp_path):
    """A dataset that is a link to a folder on another disk: the link, and where it leads."""
    disk = tmp_path / "disk" / "somewhere"
    disk.parent.mkdir()
    written.rename(disk)
    written.symlink_to(disk)
    return written, disk


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_linked_dataset_is_replaced_where_it_is(point, linked, make_ragged):
    link, disk = linked
    ragged = make_ragged(point)
    write_dataset(point, "mixed", ragged, (0.0, 1.0))
    assert link.is_symlink() and link.resolve() == disk
    assert read_episodes(point, "mixed")[0].content_hash() == ragged.content_hash()
    assert names(link.parent) == {"mixed-v1", "namespace_metadata.json"}
    assert names(disk.parent) == {"somewhere"}


def test_a_link_that_leads_nowhere_is_said_before_anything_is_simulated(point, linked, quick):
    link, disk = linked
    disk.rename(disk.with_name("unmounted"))
    for again in (False, True):
        with pytest.raises(InputError, match=rf"{link} is a link to {disk}, which is not there; mount its disk"):
            build_dataset(point, "mixed", 1, again=again)
    assert quick == [] and link.is_symlink() and names(disk.parent) == {"unmounted"}


def test_what_cannot_be_written_is_said_before_anything_is_simulated(point, root, quick):
    (root / "omrl").mkdir(parents=True)
    (root / "omrl" / "point-goal").write_text("a file is in the way")
    with pytest.raises(InputError, match="cannot write to the data folder"):
        build_dataset(point, "mixed", 1)
    assert quick == []


def test_two_who_need_the_same_dataset_build_it_once(point, small, root, monkeypatch):
    calls, said = [], {"first": [], "second": []}
    building = threading.Event()

    def collect(*_, **__):
        calls.append(1)
        building.set()
        deadline = time.monotonic() + 60
        while len(said["second"]) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        return Collected(small, 0)

    monkeypatch.setattr(manifest, "collect", collect)
    monkeypatch.setattr("omrl_bench.locks.POLL", 0.02)
    first = threading.Thread(target=lambda: ensure_dataset(point, "mixed", 1, said["first"].append))
    first.start()
    assert building.wait(60)
    ensure_dataset(point, "mixed", 1, said["second"].append)
    first.join(60)
    assert len(calls) == 1
    assert said["first"] == ["building omrl/point-goal/mixed-v1"]
    assert said["second"][0] == "building omrl/point-goal/mixed-v1"
    assert said["second"][1].startswith(f"waiting for omrl/point-goal/mixed-v1: process {os.getpid()} on ")
    assert read_receipt(point, "mixed").content == small.content_hash()
    assert names(dataset_folder(point, "mixed").parent) == {"mixed-v1", "namespace_metadata.json"}


def test_a_long_folder_for_temporary_files_is_no_trouble(written, tmp_path, monkeypatch, capsys):
    """Sockets have paths of 107 letters at most; nothing here is one."""
    long = tmp_path / ("t" * 108)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sys, "argv", ["omrl-bench", "data", "build", "point-goal", "--quality", "mixed"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert not ending.value.code, capsys.readouterr().err


#: The command, with datasets whose simulation does not end.
ENDLESS = """
import sys, time
import omrl_bench.data.build as build
import omrl_bench.data.manifest as manifest
from omrl_bench.cli.main import main

def collect(family, quality, *_, progress=None, **__):
    while True:
        progress(0.5)
        time.sleep(0.05)

if __name__ == "__main__":
    main()
else:
    manifest.collect = collect  # in the processes that build
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_end_leaves_nothing_behind(root, tmp_path, number):
    """Neither processes nor half of a dataset, with TMPDIR too long for a socket and a random.py in the folder."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    long = tmp_path / ("t" * 108)
    (tmp_path / "work").mkdir()
    long.mkdir()
    (tmp_path / "work" / "random.py").write_text("raise SystemExit('imported from the working folder')")
    command = [sys.executable, tmp_path / "endless.py", "data", "build", "point-goal"]
    environment = os.environ | {"MINARI_DATASETS_PATH": str(root), "TMPDIR": str(long)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path / "work",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder, deadline = root / "omrl" / "point-goal", time.monotonic() + 90
    while not (folder.exists() and list(folder.glob(".lock-*"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing is built"
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        130,
        "interrupted; finished datasets are kept, the same command goes on from here\n",
    )
    _, alive = psutil.wait_procs(children, 20)
    assert not alive
    assert names(folder) == {"namespace_metadata.json"}


def test_data_without_a_screen_need_no_graphics_library(root, tmp_path):
    """MUJOCO_GL names one that is not there; the renderer says so when something is drawn."""
    code = (
        "import os, sys, types; sys.modules['OpenGL'] = types.ModuleType('OpenGL')\n"
        "sys.modules['mujoco.osmesa'] = broken = types.ModuleType('mujoco.osmesa')\n"
        "broken.__getattr__ = lambda name: (_ for _ in ()).throw(OSError('no libOSMesa'))\n"
        "from omrl_bench.envs.families import get_family\n"
        "get_family('cheetah-vel').make_law(); import minari\n"
        "print(os.environ['MUJOCO_GL'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"MUJOCO_GL": "osmesa"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "osmesa\n"), done.stderr
