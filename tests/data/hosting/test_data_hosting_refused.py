"""What is not pulled: damaged and missing files, full disks, wrong sources, wrong revisions, wrong data."""

import hashlib
import json
import subprocess
import sys

import pytest

from omrl_bench.data import hosting
from omrl_bench.data.store import read_episodes, write_dataset

MIXED = "omrl/point-goal/mixed-v1"
HDF5 = f"{MIXED}/data/main_data.hdf5"
WAYS = ("hub", "web", "file")


def edit_index(files, change):
    """The files with a changed index."""
    index = json.loads(files["index.json"])
    change(index)
    return files | {"index.json": json.dumps(index).encode()}


def replace_file(files, name, content):
    """The files with another one, and an index that says so."""

    def change(index):
        sha256 = hashlib.sha256(content).hexdigest()
        index["datasets"][MIXED]["files"][name] = {"sha256": sha256, "size": len(content)}

    return edit_index(files | {f"{MIXED}/{name}": content}, change)


# --- damaged


@pytest.mark.parametrize("way", ["hub", "web"])
def test_a_file_that_was_damaged_on_its_way_is_asked_for_again(way, serve, hosted, pull, server, complete):
    server.damaged["packed.safetensors"] = 1
    assert pull(serve(way, hosted)).code == 0
    assert complete()


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_file(way, serve, hosted, pull, listed, root):
    name = f"{MIXED}/packed.safetensors"
    bad = hosted[name][:-1] + bytes([hosted[name][-1] ^ 1])
    expected, found = (hashlib.sha256(content).hexdigest() for content in (hosted[name], bad))
    done = pull(serve(way, hosted | {name: bad}))
    assert done.code == 2
    assert f"{name} is damaged: its sha256 is {found}, the index says {expected}" in done.err
    assert listed() == []
    assert not list((root / "omrl/point-goal/.pulling-mixed-v1").glob("packed*"))


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_another_size_is_not_even_read(way, serve, hosted, pull, server):
    size = len(hosted[HDF5])
    done = pull(serve(way, hosted | {HDF5: hosted[HDF5][:-5]}))
    assert done.code == 2
    assert f"{HDF5} has {size - 5} bytes, the index says {size}" in done.err


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_file(way, serve, hosted, pull):
    done = pull(serve(way, {name: content for name, content in hosted.items() if name != HDF5}))
    assert done.code == 2
    assert f"has no {HDF5}" in done.err


def test_a_full_disk(serve, hosted, pull, root, monkeypatch, server):
    monkeypatch.setattr(hosting.shutil, "disk_usage", lambda path: Full())
    done = pull(serve("web", hosted))
    size = sum(len(content) for name, content in hosted.items() if name != "index.json")
    assert done.code == 2
    assert f"{root / MIXED} needs {size:,} more bytes, and its disk has 1,000" in done.err
    assert server.asked == ["index.json"]


class Full:
    free = 1000


LIMITED = """
import resource, sys
from omrl_bench.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.argv[0] = "omrl-bench"
main()
"""


def test_a_disk_that_fills_up_on_the_way(serve, hosted, pull, root, complete, server):
    """The real thing, by a limit on the size of files."""
    source = serve("web", hosted)
    arguments = ["data", "pull", "point-goal", "--quality", "mixed", "--source", source]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert f"could not write {root / MIXED}: File too large" in done.stderr
    assert not (root / MIXED).exists()
    assert pull(source).code == 0
    assert complete()
    assert "bytes=100000-" in {ranges for _, _, ranges, _ in server.requests}


def test_an_unwritable_root(serve, hosted, pull, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file" / "datasets"))
    done = pull(serve("file", hosted))
    assert done.code == 2
    assert "Not a directory" in done.err


def test_a_failed_rename_keeps_the_dataset_that_was_there(point, other, root, serve, hosted, pull, monkeypatch, listed):
    write_dataset(point, "mixed", other, (0.0, 1.0))
    rename = hosting.Path.rename

    def fail(self, target):
        if self.name == ".pulling-mixed-v1":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(hosting.Path, "rename", fail)
        assert pull(serve("web", hosted)).code == 2
    assert read_episodes(point, "mixed")[0].content_hash() == other.content_hash()
    assert listed() == [MIXED]


# --- refused


def test_wrong_revision(serve, hosted, pull, server):
    serve("hub", hosted)
    done = pull("hf://omrl/data@" + "0" * 40)
    assert done.code == 2
    assert f"hf://omrl/data@{'0' * 40} at {server.url}: the repository has no such commit" in done.err


@pytest.mark.parametrize("revision", ["@main", "@v1.0", "@0123abc", "@", ""])
def test_a_revision_that_may_move(revision, serve, hosted, pull, server):
    serve("hub", hosted)
    done = pull(f"hf://omrl/data{revision}")
    assert done.code == 2
    assert "write hf://omrl/data@COMMIT" in done.err
    assert f"{server.url}/datasets/omrl/data/commits/main" in done.err
    assert server.requests == []


def test_a_repository_that_does_not_exist(pull, root, server):
    done = pull("hf://omrl/nothing@" + "0" * 40)
    assert done.code == 2
    assert "hf://omrl/nothing" in done.err
    assert "404" in done.err


@pytest.mark.parametrize(
    "source", ["mirror", "ftp://host/x", "file://host/x", "file:x", "hf://name@x", "https://", "/x"]
)
def test_no_source(source, root, pull):
    done = pull(source)
    assert done.code == 2
    assert f"{source!r} is no source of datasets" in done.err
    assert "known: file:///FOLDER" in done.err


@pytest.mark.parametrize("way", ["hub", "web"])
def test_an_unreachable_host(way, serve, hosted, pull, server, monkeypatch):
    source = serve(way, hosted)
    server.close()
    slept = []
    monkeypatch.setattr(hosting, "WAITS", (1.0, 2.0, 4.0))
    monkeypatch.setattr(hosting.time, "sleep", slept.append)
    done = pull(source)
    assert done.code == 2
    assert f"{server.url}" in done.err
    assert "cannot be reached" in done.err
    assert "Connection refused" in done.err
    assert "4 attempts" in done.err
    assert done.err.count("\n") == 1
    assert slept == [1.0, 2.0, 4.0]


def test_a_host_without_an_address(root, pull):
    done = pull("http://no-such-host.invalid/data")
    assert done.code == 2
    assert "http://no-such-host.invalid/data cannot be reached" in done.err


@pytest.mark.parametrize("way", ["hub", "web"])
@pytest.mark.parametrize("name", ["index.json", "packed.safetensors"])
def test_a_server_that_fails_twice(way, name, serve, hosted, pull, server, complete):
    server.failures[name] = [500, 503]
    assert pull(serve(way, hosted)).code == 0
    assert complete()


@pytest.mark.parametrize("way", ["hub", "web"])
def test_a_server_that_always_fails(way, serve, hosted, pull, server):
    server.failures["index.json"] = [502] * 9
    done = pull(serve(way, hosted))
    assert done.code == 2
    assert "502" in done.err
    assert len(server.failures["index.json"]) == 9 - 4


@pytest.mark.parametrize(("way", "login"), [("hub", True), ("web", False)])
def test_a_server_that_refuses(way, login, serve, hosted, pull, server):
    server.failures["index.json"] = [403] * 9
    done = pull(serve(way, hosted))
    assert done.code == 2
    assert "refuses index.json (403" in done.err
    assert ("hf auth login" in done.err) == login
    assert len(server.failures["index.json"]) == 8  # another try would not help


def test_the_token_goes_to_the_hub_and_to_nobody_else(serve, hosted, pull, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert pull(serve("hub", hosted)).code == 0
    tokens = {("large" if "/large/" in path else "hub", token) for _, path, _, token in server.requests}
    assert tokens == {("hub", "hf_reader"), ("large", "")}


def test_offline_by_the_environment(serve, hosted, pull, server, monkeypatch):
    source = serve("hub", hosted)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = pull(source)
    assert done.code == 2
    assert "HF_HUB_OFFLINE" in done.err
    assert server.requests == []


# --- wrong


@pytest.mark.parametrize(
    "name", ["../evil", "data/../../evil", "/tmp/evil", "..", "a//b", ".hidden", "a\\b", "C:evil", ""]
)
def test_an_index_that_points_outside(name, serve, hosted, pull, root):
    def change(index):
        files = index["datasets"][MIXED]["files"]
        files[name] = files["receipt.json"]

    done = pull(serve("web", edit_index(hosted, change)))
    assert done.code == 2
    assert "index.json is not an index that omrl-bench" in done.err
    assert not root.exists()


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b"[]", b'{"schema": 2, "datasets": {}}', b"\xff", b'{"schema": 1, "x": 1}']
)
def test_something_else_than_an_index(text, serve, hosted, pull):
    done = pull(serve("file", hosted | {"index.json": text}))
    assert done.code == 2
    assert "index.json is not an index that omrl-bench" in done.err


@pytest.mark.parametrize("way", WAYS)
def test_no_index(way, serve, hosted, pull):
    done = pull(serve(way, {name: content for name, content in hosted.items() if name != "index.json"}))
    assert done.code == 2
    assert "has no index.json" in done.err


def edit_receipt(files, **fields):
    receipt = json.loads(files[f"{MIXED}/receipt.json"]) | fields
    return replace_file(files, "receipt.json", json.dumps(receipt).encode())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"family_fingerprint": "0123456789abcdef"}, "built by omrl-bench 9.9 from another definition of point-goal"),
        ({"quality": "expert"}, "built by omrl-bench 9.9 as point-goal, quality expert"),
        ({"shape": 3}, "built by omrl-bench 9.9 with a receipt that this version cannot read"),
    ],
)  # fmt: skip
def test_a_dataset_of_another_version(fields, words, serve, hosted, pull, server, listed):
    done = pull(serve("web", edit_receipt(hosted, built_by="omrl-bench 9.9", **fields)))
    assert done.code == 2
    assert words in done.err
    assert "main_data.hdf5" not in server.asked  # not downloaded for nothing
    assert listed() == []


def test_what_is_as_hosted_already_stays(point, other, hosted, serve, pull, root):
    """Not canonical, but what the source has."""
    write_dataset(point, "mixed", other, (0.0, 1.0))
    for path in (path for path in (root / MIXED).rglob("*") if path.is_file()):
        hosted = replace_file(hosted, path.relative_to(root / MIXED).as_posix(), path.read_bytes())
    done = pull(serve("web", hosted))
    assert (done.code, done.out) == (0, f"{MIXED}: already there, as hosted\n")
    assert read_episodes(point, "mixed")[0].content_hash() == other.content_hash()


def test_other_data_under_the_right_name(point, other, root, hosted, serve, pull, listed, monkeypatch, tmp_path):
    """With the right receipt for these bytes: only the manifest knows better."""
    folder = tmp_path / "other" / MIXED
    with monkeypatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "other"))
        write_dataset(point, "mixed", other, (0.0, 1.0))
    for path in (path for path in folder.rglob("*") if path.is_file()):
        hosted = replace_file(hosted, path.relative_to(folder).as_posix(), path.read_bytes())
    done = pull(serve("web", hosted))
    assert done.code == 2
    assert f"{MIXED} is wrong (task 0 has 1 episodes, the canonical dataset 2)" in done.err
    assert listed() == []
    assert not list((root / "omrl/point-goal").glob("*mixed*"))


@pytest.mark.parametrize("name", ["data/main_data.hdf5", "packed.safetensors", "contexts.safetensors"])
def test_files_that_are_not_the_receipts(name, serve, hosted, pull, listed):
    done = pull(serve("web", replace_file(hosted, name, b"something else")))
    assert done.code == 2
    assert "its files are not those of its receipt" in done.err
    assert listed() == []


def test_an_index_without_the_receipt(serve, hosted, pull, listed):
    source = serve("web", edit_index(hosted, lambda index: index["datasets"][MIXED]["files"].pop("receipt.json")))
    done = pull(source)
    assert done.code == 2
    assert "lists no receipt.json" in done.err
