"""Records and cubes on disk."""

import json
import os
import stat

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner.records import (
    Cell,
    Cube,
    Hashes,
    Record,
    iterate_records,
    read_cube,
    read_record,
    write_atomically,
    write_record,
)


@pytest.fixture
def record():
    return Record(
        cell=Cell(
            suite="tiny", family="point-goal", dataset="mixed", method="m", backbone="iql", preset="quick", seed=4
        ),
        status="complete",
        hashes=Hashes(suite="s", family="f", dataset="d", contexts="c", method="m"),
        dataset_status="canonical",
        privileges=("descriptors",),
        configuration={"width": 64},
        trained_together=(4,),
        created="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def cube():
    returns = np.random.default_rng(0).normal(-100, 20, (2, 3, 5)).astype(np.float32)
    return Cube(
        qualities=("high", "low"),
        tasks=np.array([7, 8, 9]),
        returns=returns,
        random=np.full(3, -200.0),
        expert=np.full(3, -50.0),
    )


def test_written_content_is_read_back(tmp_path):
    path = tmp_path / "new" / "folder" / "file.json"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.replace"])
def test_failed_write_keeps_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, function):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(function, fail)
    with pytest.raises(InputError, match=r"cannot write .*file\.json: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_interrupted_write_keeps_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_content_is_on_the_disk_before_the_file_gets_its_name(tmp_path, monkeypatch):
    events = []
    path = tmp_path / "file.json"
    real = os.fsync

    def spy(descriptor):
        events.append((path.exists(), os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(path, b"12345")
    assert events == [(False, 5)]


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/record\.json: \w+"):
        write_atomically(tmp_path / "file" / "record.json", b"")


def test_files_follow_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_record_and_cube_survive_the_round_trip(tmp_path, record, cube):
    write_record(tmp_path, record, cube)
    path = tmp_path / "tiny/quick/point-goal/mixed/m/iql/seed-4.json"
    assert read_record(path) == record
    assert list(iterate_records(tmp_path)) == [record]
    again = read_cube(path.with_suffix(".npz"))
    assert again.qualities == cube.qualities
    for name in ("tasks", "returns", "random", "expert"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cube, name))
    assert again.returns.dtype == np.float32


def test_scores_are_the_share_of_the_way_from_random_to_expert(cube):
    scores = cube.scores()
    for q, t, d in np.ndindex(2, 3, 5):
        expected = 100 * (cube.returns[q, t, d] + 200) / 150
        assert scores[q, t, d] == pytest.approx(expected)


def test_a_record_is_never_complete_without_its_cube(tmp_path, record, cube, monkeypatch):
    real, written = os.fsync, []

    def second_fails(descriptor):
        if written:
            raise OSError(28, "No space left on device")
        written.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(InputError):
        write_record(tmp_path, record, cube)
    assert record.cell.cube_path(tmp_path).exists()
    assert not record.cell.record_path(tmp_path).exists()


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff\xfe\x00", b"[]", b"{}", b'{"cell": 3}', None], ids=lambda c: repr(c)[:12]
)
def test_garbage_is_no_record(tmp_path, record, content):
    path = tmp_path / "seed-0.json"
    if content is None:  # cut in the middle
        whole = record.model_dump_json().encode()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"seed-0\.json is not a record of schema 1"):
        read_record(path)


def test_a_record_with_a_field_too_many_is_refused(tmp_path, record):
    path = tmp_path / "seed-0.json"
    path.write_text(json.dumps(json.loads(record.model_dump_json()) | {"surprise": 1}))
    with pytest.raises(InputError, match="is not a record"):
        read_record(path)


def test_a_record_of_another_schema_is_refused(tmp_path, record):
    path = tmp_path / "seed-0.json"
    path.write_text(json.dumps(json.loads(record.model_dump_json()) | {"schema_version": 2}))
    with pytest.raises(InputError, match="is not a record of schema 1"):
        read_record(path)


def test_missing_cube_is_named(tmp_path):
    with pytest.raises(InputError, match=r"seed-0\.npz is missing or damaged"):
        read_cube(tmp_path / "seed-0.npz")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: b"no archive at all", id="garbage"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(
            lambda whole: whole[: len(whole) // 2],
            id="truncated",
        ),
    ],
)
def test_damaged_cube_is_named(tmp_path, record, cube, damage):
    write_record(tmp_path, record, cube)
    path = record.cell.cube_path(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"seed-4\.npz is missing or damaged"):
        read_cube(path)
