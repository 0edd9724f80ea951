"""Pulling from all three kinds of sources, interrupted and resumed."""

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import minari
import pytest

from omrl_bench.data import sources
from omrl_bench.data.store import read_episodes, write_dataset, writing

MIXED = "omrl/point-goal/mixed-v1"
HDF5 = f"{MIXED}/data/main_data.hdf5"
WAYS = ("hub", "web", "file")


# --- what arrives


@pytest.mark.parametrize("way", WAYS)
def test_pull(way, serve, hosted, pull, complete, point, built_here):
    done = pull(serve(way, hosted))
    size = sum(len(content) for name, content in hosted.items() if name != "index.json")
    assert done.code == 0, done.err
    assert done.out == f"{MIXED}: pulling {size / 2**20:.1f} MiB\n{MIXED}: pulled, canonical\n"
    assert complete()
    assert read_episodes(point, "mixed")[0].content_hash() == built_here[1].datasets["mixed"].content


def test_minari_reads_what_arrives(serve, hosted, pull, root, built_here):
    assert pull(serve("hub", hosted)).code == 0
    dataset = minari.load_dataset(MIXED)
    entry = built_here[1].datasets["mixed"]
    assert (dataset.total_episodes, dataset.total_steps) == (sum(entry.episodes), entry.transitions)
    command = [str(sys.executable), "-m", "minari.cli", "list", "local"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "200"})
    assert "omrl/point-goal/mixed" in shown.stdout, shown.stderr


def test_the_source_may_come_from_the_environment(serve, hosted, invoke, monkeypatch, complete):
    monkeypatch.setenv("OMRL_BENCH_DATA_SOURCE", serve("file", hosted))
    assert invoke("data", "pull", "point-goal", "--quality", "mixed").code == 0
    assert complete()


def test_without_a_source(root, invoke):
    done = invoke("data", "pull", "point-goal")
    assert done.code == 2
    assert "no source to pull from" in done.err
    assert "OMRL_BENCH_DATA_SOURCE" in done.err
    assert "omrl-bench data build" in done.err


def test_what_is_canonical_already_needs_no_source(local, invoke, server):
    done = invoke("data", "pull", "point-goal", "--quality", "mixed", "--source", f"{server.url}/static")
    assert (done.code, done.out) == (0, f"{MIXED}: already there, canonical\n")
    assert invoke("data", "pull", "point-goal", "--quality", "mixed").code == 0
    assert server.requests == []


def test_an_older_dataset_is_replaced(point, other, root, hosted, serve, pull, complete):
    write_dataset(point, "mixed", other, (0.0, 1.0))
    assert pull(serve("web", hosted)).code == 0
    assert complete()


def test_a_foreign_dataset_is_not_replaced(point, other, root, hosted, serve, pull, server):
    write_dataset(point, "mixed", other, (0.0, 1.0))
    (root / MIXED / "receipt.json").unlink()
    done = pull(serve("web", hosted))
    assert done.code == 2
    assert f"{root / MIXED} was not built by omrl-bench" in done.err
    assert (root / MIXED / "packed.safetensors").exists()


def test_what_a_source_lacks_is_named_and_the_rest_arrives(serve, hosted, invoke, complete):
    source = serve("web", hosted)
    done = invoke("data", "pull", "point-goal", "--quality", "mixed", "--quality", "random", "--source", source)
    assert done.code == 2
    assert f"{source} does not have omrl/point-goal/random-v1" in done.err
    assert complete()


# --- interrupted


@pytest.mark.parametrize("way", ["hub", "web"])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(way, serve, hosted, pull, server, complete):
    server.cuts["main_data.hdf5"] = [100_000, 70_001, 1, 0, 0]
    done = pull(serve(way, hosted))
    assert done.code == 0, done.err
    assert complete()
    assert server.sent["main_data.hdf5"] == len(hosted[HDF5])  # no byte twice
    ranges = [r for _, path, r, _ in server.requests if path.endswith("main_data.hdf5") and "resolve" not in path]
    assert ranges == [None, "bytes=100000-", "bytes=170001-", *["bytes=170002-"] * 3]


@pytest.mark.parametrize("way", ["hub", "web"])
def test_a_later_command_goes_on_where_an_earlier_one_stopped(way, serve, hosted, pull, server, complete, listed, root):
    server.cuts["main_data.hdf5"] = [100_000, 0, 0, 0]
    source = serve(way, hosted)
    done = pull(source)
    assert done.code == 2
    assert "the connection ended after 100000 of" in done.words or "peer closed connection" in done.words
    assert "4 attempts" in done.err
    assert listed() == []
    assert not (root / MIXED).exists()
    first = dict(server.sent)
    assert pull(source).code == 0
    assert complete()
    assert server.sent["main_data.hdf5"] == len(hosted[HDF5])
    finished = {name for name in first if name not in ("index.json", "main_data.hdf5")}
    assert {name: server.sent[name] for name in finished} == {name: first[name] for name in finished}


def test_a_server_without_ranges_sends_it_all_again(serve, hosted, pull, server, complete):
    server.ranges = False
    server.cuts["main_data.hdf5"] = [100_000]
    assert pull(serve("web", hosted)).code == 0
    assert complete()
    assert server.sent["main_data.hdf5"] == len(hosted[HDF5]) + 100_000


def test_a_server_that_always_stops_at_the_same_place_is_given_up(serve, hosted, pull, server):
    server.ranges = False
    server.cuts["main_data.hdf5"] = [1000] * 20
    assert pull(serve("web", hosted)).code == 2
    assert len(server.cuts["main_data.hdf5"]) == 20 - 4


def test_a_killed_process(serve, hosted, pull, server, complete, root, listed):
    """The real command, killed in the middle of the large file."""
    server.cuts["main_data.hdf5"] = [100_000]
    server.stall = threading.Event()
    command = [sys.executable, "-m", "omrl_bench", "data", "pull", "point-goal", "--quality", "mixed"]
    source = serve("hub", hosted)
    process = subprocess.Popen([*command, "--source", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    part = root / "omrl/point-goal/.pulling-mixed-v1/data/main_data.hdf5.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 80_000):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.stall.set()
    kept = part.stat().st_size
    assert listed() == []
    assert pull(source).code == 0
    assert complete()
    assert server.sent["main_data.hdf5"] == 100_000 + len(hosted[HDF5]) - kept


@pytest.mark.parametrize("way", ["hub", "web"])
def test_a_server_that_falls_silent(way, serve, hosted, pull, server, complete, monkeypatch):
    monkeypatch.setattr(sources, "TIMEOUT", 0.5)
    server.cuts["main_data.hdf5"] = [100_000]
    server.stall = threading.Event()
    done = pull(serve(way, hosted))
    server.stall.set()
    assert done.code == 0, done.err
    assert complete()
    assert server.sent["main_data.hdf5"] == len(hosted[HDF5])


def test_two_at_once(serve, hosted, pull, complete, point, monkeypatch):
    """The second waits until the first is done, and says so."""
    held, done_with = threading.Event(), threading.Event()

    def hold():
        with writing(point, "mixed"):
            held.set()
            done_with.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    monkeypatch.setattr("omrl_bench.locks.time", SimpleNamespace(sleep=lambda seconds: done_with.set()))
    done = pull(serve("file", hosted))
    holder.join()
    assert done.code == 0, done.err
    assert f"waiting for omrl/point-goal/mixed-v1: process {os.getpid()} on " in done.out
    assert complete()


def test_parts_of_another_revision_are_no_part_of_it(serve, hosted, pull, root, complete):
    folder = root / "omrl/point-goal/.pulling-mixed-v1"
    (folder / "data").mkdir(parents=True)
    (folder / "data/main_data.hdf5.part").write_bytes(b"other" * 1000)
    (folder / "packed.safetensors").write_bytes(b"other")
    (folder / "notes.txt").write_text("of a file that is gone")
    assert pull(serve("web", hosted)).code == 0
    assert complete()
