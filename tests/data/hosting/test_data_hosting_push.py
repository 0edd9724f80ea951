"""Pushing to a repository and to a folder, and what may not be pushed."""

import json
import shutil

import pytest

from omrl_bench.data.store import file_hash, write_dataset

MIXED, RANDOM = "omrl/point-goal/mixed-v1", "omrl/point-goal/random-v1"


@pytest.fixture
def push(invoke):
    """Push datasets of point-goal, by the command line."""

    def run(to, *qualities):
        options = [word for quality in qualities for word in ("--quality", quality)]
        return invoke("data", "push", "point-goal", *options, "--to", to)

    return run


@pytest.fixture
def writer(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")


@pytest.mark.parametrize("way", ["hub", "file"])
def test_push_then_pull(way, local, push, invoke, server, writer, complete, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(local))
        done = push("hf://omrl/data" if way == "hub" else (tmp_path / "mirror").as_uri(), "mixed")
    assert done.code == 0, done.err
    command = done.out.splitlines()[-1].removeprefix("pushed; omrl-bench ").split()
    assert command[:3] == ["data", "pull", "--source"]
    if way == "hub":
        assert command[3] == f"hf://omrl/data@{server.heads['omrl/data']}"
    assert invoke(*command, "point-goal", "--quality", "mixed").code == 0
    assert complete()


@pytest.mark.parametrize("way", ["hub", "file"])
def test_a_second_push_keeps_what_is_there(way, local, push, server, writer, tmp_path):
    target = "hf://omrl/data" if way == "hub" else (tmp_path / "mirror").as_uri()
    assert push(target, "mixed").code == 0
    first = server.heads.get("omrl/data")
    assert push(target, "random").code == 0
    if way == "hub":
        files = server.commits["omrl/data", server.heads["omrl/data"]]
        assert len({commit for _, commit in server.commits}) == 3  # the empty one, and one for each push
        assert MIXED in server.commits["omrl/data", first]["index.json"].decode()
    else:
        mirror = tmp_path / "mirror"
        files = {path.relative_to(mirror).as_posix(): path.read_bytes() for path in mirror.rglob("*") if path.is_file()}
    index = json.loads(files["index.json"])
    assert (index["schema"], set(index["datasets"])) == (1, {MIXED, RANDOM})
    named = {f"{dataset}/{name}" for dataset, entry in index["datasets"].items() for name in entry["files"]}
    assert set(files) - {".gitattributes"} == named | {"index.json", "croissant.json"}
    assert {name: files[name] for name in named} == {name: (local / name).read_bytes() for name in named}


def test_a_source_describes_itself_to_machines(local, push, tmp_path):
    """Croissant metadata that the standard's own reader takes, and whose files and hashes are those that lie there."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="the extra `croissant` is not installed")
    mirror = tmp_path / "mirror"
    assert push(mirror.as_uri(), "mixed", "random").code == 0
    described = mlcroissant.Dataset(str(mirror / "croissant.json"))
    assert not described.metadata.issues.errors
    assert not described.metadata.issues.warnings
    listed = {each.content_url: each.sha256 for each in described.metadata.distribution}
    lying = {path.relative_to(mirror).as_posix(): path for path in mirror.glob("omrl/**/*") if path.is_file()}
    assert listed == {name: file_hash(path) for name, path in lying.items()}
    rows = [{name.rpartition("/")[2]: value for name, value in row.items()} for row in described.records("datasets")]
    assert [str(row["dataset"]) for row in rows] == [MIXED, RANDOM]
    assert [row["bytes"] for row in rows] == [
        sum(path.stat().st_size for name, path in lying.items() if name.startswith(dataset))
        for dataset in (MIXED, RANDOM)
    ]


def test_large_files_go_up_once(local, push, server, writer):
    assert push("hf://omrl/data", "mixed").code == 0
    uploads = [path for method, path, _, _ in server.requests if method == "PUT"]
    assert push("hf://omrl/other", "mixed").code == 0
    assert [path for method, path, _, _ in server.requests if method == "PUT"] == uploads
    assert uploads


def test_hidden_files_stay_at_home(local, push, monkeypatch, tmp_path, root):
    shutil.copytree(local, root)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    (root / MIXED / "data" / ".DS_Store").write_text("")
    assert push((tmp_path / "mirror").as_uri(), "mixed").code == 0
    assert not list((tmp_path / "mirror").rglob(".*"))


# --- refused


@pytest.mark.parametrize("token", ["hf_reader", "hf_unknown", None])
@pytest.mark.parametrize("exists", [True, False])
def test_push_without_rights(token, exists, local, push, server, monkeypatch):
    if exists:
        server.commit("omrl/data", {"README.md": b"hello"})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    before = dict(server.heads)
    done = push("hf://omrl/data", "mixed")
    assert done.code == 2
    assert "hf auth login" in done.err
    assert f"hf://omrl/data at {server.url}" in done.err
    assert {"hf_reader": "403", "hf_unknown": "401", None: "no token"}[token] in done.err
    assert server.heads == before


def test_push_to_an_unreachable_hub(local, push, server, writer):
    server.close()
    done = push("hf://omrl/data", "mixed")
    assert done.code == 2
    assert f"hf://omrl/data at {server.url} cannot be reached" in done.err


def test_push_while_somebody_else_pushes(local, push, server, writer):
    server.commit("omrl/data", {"README.md": b"hello"})
    server.during_upload = lambda: server.commit("omrl/data", {"README.md": b"theirs"})
    done = push("hf://omrl/data", "mixed")
    assert done.code == 2
    assert "somebody else pushed; push again" in done.err


def test_a_web_server_is_read_only(local, push):
    done = push("https://mirror.example.org/data", "mixed")
    assert done.code == 2
    assert "https://mirror.example.org/data is read-only" in done.err


def test_a_push_makes_its_own_revision(local, push, writer):
    done = push("hf://omrl/data@main", "mixed")
    assert done.code == 2
    assert "leave out @main" in done.err


def test_only_canonical_datasets(point, other, root, push, tmp_path):
    write_dataset(point, "mixed", other, (0.0, 1.0))
    done = push((tmp_path / "mirror").as_uri(), "mixed")
    assert done.code == 2
    assert f"{MIXED} is wrong (task 0 has 1 episodes" in done.err
    assert not (tmp_path / "mirror").exists()


def test_a_missing_dataset(root, push, tmp_path):
    done = push((tmp_path / "mirror").as_uri(), "mixed")
    assert done.code == 2
    assert "is not in" in done.err


def test_a_mirror_that_cannot_be_written(local, push, tmp_path):
    (tmp_path / "file").write_text("")
    done = push((tmp_path / "file" / "mirror").as_uri(), "mixed")
    assert done.code == 2
    assert "Not a directory" in done.err
