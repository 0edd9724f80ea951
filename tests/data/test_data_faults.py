"""Damaged, foreign and half-written datasets: an error in words, and nothing half-written left behind."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import minari
import pytest
from minari.dataset._storages.hdf5_storage import HDF5Storage

from omrl_bench.data import store
from omrl_bench.data.store import (
    Receipt,
    check_minari_file,
    dataset_folder,
    read_contexts,
    read_episodes,
    read_receipt,
    write_dataset,
    writing,
)
from omrl_bench.errors import InputError

AGAIN = "omrl-bench data build point-goal --quality mixed --force"


def read_error(family):
    with pytest.raises(InputError) as caught:
        read_episodes(family, "mixed")
    return str(caught.value)


def edit_receipt(folder, **fields):
    file = folder / "receipt.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


# --- reading


def test_missing_dataset(point, root):
    message = read_error(point)
    assert f"omrl/point-goal/mixed-v1 is not in {root}" in message
    assert message.endswith("omrl-bench data build point-goal --quality mixed")


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("data/main_data.hdf5", check_minari_file),
        ("packed.safetensors", read_episodes),
        ("contexts.safetensors", read_contexts),
    ],
)
@pytest.mark.parametrize("fault", ["truncated", "one bit", "removed"])
def test_damaged_files(point, written, file, read, fault):
    read(point, "mixed")
    path = written / file
    content = bytearray(path.read_bytes())
    if fault == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "one bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(InputError) as caught:
        read(point, "mixed")
    assert f"{path} is missing, truncated or changed since it was built" in str(caught.value)
    assert AGAIN in str(caught.value)


def test_contexts_of_a_missing_foreign_or_other_dataset(point, written):
    with pytest.raises(InputError, match="omrl/point-goal/cross-v1 is not in"):
        read_contexts(point, "cross")
    with pytest.raises(InputError, match="from another definition of point-goal"):
        read_contexts(replace(point, horizon=61), "mixed")
    (written / "receipt.json").unlink()
    with pytest.raises(InputError, match="was not built by omrl-bench"):
        read_contexts(point, "mixed")


def test_dataset_without_a_receipt_is_foreign(point, written):
    (written / "receipt.json").unlink()
    message = read_error(point)
    assert f"{written} was not built by omrl-bench (no receipt.json); move it away" in message


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"family": "point-goal"}'])
def test_damaged_receipt(point, written, content):
    (written / "receipt.json").write_text(content)
    message = read_error(point)
    assert f"{written / 'receipt.json'} is damaged" in message
    assert AGAIN in message


def test_receipt_with_an_unknown_field_is_damaged(point, written):
    edit_receipt(written, more=1)
    assert "receipt.json is damaged" in read_error(point)


def test_receipt_that_is_not_text_is_damaged(point, written):
    (written / "receipt.json").write_bytes(b"\xff\xfe\x00\x80")
    assert "receipt.json is damaged" in read_error(point)


def test_file_in_place_of_the_dataset(point, root):
    dataset_folder(point, "mixed").parent.mkdir(parents=True)
    dataset_folder(point, "mixed").write_text("a note")
    assert str(dataset_folder(point, "mixed")) in read_error(point)


def test_dataset_of_another_definition_of_the_family(point, written):
    other = replace(point, horizon=61)
    message = read_error(other)
    assert f"{written} was built by omrl-bench" in message
    assert f"from another definition of point-goal ({point.fingerprint()}, now {other.fingerprint()})" in message
    assert AGAIN in message
    edit_receipt(written, family_fingerprint="0123456789abcdef")
    assert f"(0123456789abcdef, now {point.fingerprint()})" in read_error(point)


def test_dataset_of_another_quality_under_this_name(point, written):
    shutil.copytree(written, dataset_folder(point, "expert"))
    with pytest.raises(InputError):
        read_episodes(point, "expert")


# --- writing


def test_unwritable_root(point, small, tmp_path, monkeypatch):
    """Below a regular file nobody can write, root neither."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "datasets"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    with pytest.raises(InputError, match=f"cannot write to the data folder {folder}: Not a directory"):
        write_dataset(point, "mixed", small, (0.0, 1.0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_root_without_permission(point, small, root):
    root.mkdir(mode=0o555)
    with pytest.raises(InputError, match=f"cannot write to the data folder {root}: Permission denied"):
        write_dataset(point, "mixed", small, (0.0, 1.0))


def no_space(*arguments, **keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_for_contexts(path, arrays, write=store._write_arrays):
    return no_space() if path.name == "contexts.safetensors" else write(path, arrays)


#: Where the disk may fill up: in Minari's file, in its metadata, in our copy, in the context sets, in the receipt.
CRASHES = {
    "episodes": (HDF5Storage, "update_episodes"),
    "metadata": (HDF5Storage, "update_episode_metadata"),
    "packed": (store, "_write_arrays"),
    "contexts": (store, "_write_arrays"),
    "receipt": (Receipt, "model_dump_json"),
}


def fail_to_write(point, episodes, monkeypatch, crash, error=no_space):
    error = no_space_for_contexts if crash == "contexts" else error
    with monkeypatch.context() as patch:
        patch.setattr(*CRASHES[crash], error)
        write_dataset(point, "mixed", episodes, (0.0, 1.0))


def listed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Minari warns of folders that are no datasets
        return list(minari.list_local_datasets())


@pytest.mark.parametrize("crash", CRASHES)
def test_a_full_disk_leaves_nothing(point, make_ragged, root, monkeypatch, crash):
    with pytest.raises(InputError, match=r"could not write .*mixed-v1: No space left on device"):
        fail_to_write(point, make_ragged(point, episodes=(1, 1)), monkeypatch, crash)
    assert listed() == []
    assert [f.name for f in (root / "omrl" / "point-goal").iterdir()] == ["namespace_metadata.json"]
    assert "is not in" in read_error(point)
    receipt = write_dataset(
        point, "mixed", make_ragged(point, episodes=(1, 1)), (0.0, 1.0)
    )  # and nothing is in the way
    assert read_receipt(point, "mixed") == receipt


@pytest.mark.parametrize("crash", CRASHES)
def test_a_full_disk_keeps_the_dataset_that_was_there(point, small, make_ragged, written, monkeypatch, crash):
    with pytest.raises(InputError):
        fail_to_write(point, make_ragged(point, episodes=(1, 1)), monkeypatch, crash)
    assert read_episodes(point, "mixed")[0].content_hash() == small.content_hash()
    assert listed() == ["omrl/point-goal/mixed-v1"]
    assert [f.name for f in written.parent.iterdir() if f.is_dir()] == ["mixed-v1"]


def test_nothing_half_written_is_visible(point, small, make_ragged, written, monkeypatch):
    """Seen from another program while the new dataset is being written."""
    seen = []
    write_arrays = store._write_arrays

    def look(path, arrays):
        seen.append((listed(), read_episodes(point, "mixed")[0].content_hash()))
        return write_arrays(path, arrays)

    monkeypatch.setattr(store, "_write_arrays", look)
    write_dataset(point, "mixed", make_ragged(point, episodes=(1, 1)), (0.0, 1.0))
    assert seen == [(["omrl/point-goal/mixed-v1"], small.content_hash())] * 2


def test_an_interrupt_leaves_nothing(point, make_ragged, root, monkeypatch):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_to_write(point, make_ragged(point, episodes=(1, 1)), monkeypatch, "packed", interrupt)
    assert [f.name for f in (root / "omrl" / "point-goal").iterdir()] == ["namespace_metadata.json"]


def test_a_failed_rename_keeps_the_dataset_that_was_there(point, small, make_ragged, written, monkeypatch):
    rename = store.Path.rename
    failed = []

    def fail_once(self, target):
        """Fail to put the new folder in place; putting the old one back may work."""
        if store.Path(target) == written and not failed:
            failed.append(self)
            no_space()
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(store.Path, "rename", fail_once)
        with pytest.raises(InputError):
            write_dataset(point, "mixed", make_ragged(point, episodes=(1, 1)), (0.0, 1.0))
    assert failed
    assert read_episodes(point, "mixed")[0].content_hash() == small.content_hash()


def test_a_foreign_dataset_is_not_overwritten(point, make_ragged, written):
    (written / "receipt.json").unlink()
    before = (written / "data" / "main_data.hdf5").read_bytes()
    with pytest.raises(InputError, match="was not built by omrl-bench"):
        write_dataset(point, "mixed", make_ragged(point, episodes=(1, 1)), (0.0, 1.0))
    assert (written / "data" / "main_data.hdf5").read_bytes() == before


LIMITED = """
import resource, sys
from omrl_bench.data import store
from omrl_bench.data.build import collect
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError

family = get_family("point-goal")
episodes = collect(family, "mixed", threads=1, episodes=2).episodes
try:
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if sys.argv[2] == "packed":
        store._write_minari = lambda folder, *rest: (folder.mkdir(), (folder / "main_data.hdf5").touch())
    store.write_dataset(family, "mixed", episodes, (0.0, 1.0))
except InputError as error:
    print("InputError", error)
"""


@pytest.mark.parametrize(("limit", "part"), [(1_000_000, "hdf5"), (50_000, "packed")])
def test_files_that_really_cannot_grow_are_an_input_error_and_leave_nothing(root, limit, part):
    """The real thing, by a limit on the size of files."""
    root.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), part], capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )  # fmt: skip
    folder = root / "omrl" / "point-goal"
    left = sorted(f.name for f in folder.iterdir()) if folder.exists() else []
    assert (done.returncode, done.stdout.split(" ")[0]) == (0, "InputError"), done.stderr[-300:]
    assert [name for name in left if name != "namespace_metadata.json"] == []


def test_what_a_killed_builder_left_is_swept_away(point, root):
    """By the next one who builds this dataset: until then, its builder may be on another machine."""
    place = root / "omrl" / "point-goal"
    left, other = place / ".mixed-v1.0123.tmp", place / ".expert-v1.0123.tmp"
    for folder in (left, other):
        (folder / "data").mkdir(parents=True)
    with writing(point, "mixed"):
        assert not left.exists() and other.exists()
