"""Records and cubes on disk."""

import hashlib
import json
import os
import shutil
import stat

import numpy as np
import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner.cubes import Cube, read_cube
from omrl_bench.runner.records import Cell, Hashes, Record, iterate_records, read_record, write_atomically, write_record


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
        conditions=("high", "low"),
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
    found = read_record(path)
    assert list(iterate_records(tmp_path)) == [found]
    assert found.model_copy(update={"cube": None, "content": None}) == record
    again = read_cube(path.with_suffix(".npz"), found.cube)
    assert again.conditions == cube.conditions
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
    with pytest.raises(InputError, match=r"seed-0\.json is not a record: truncated, or something else"):
        read_record(path)


def test_a_record_with_a_field_too_many_is_refused(tmp_path, record):
    path = tmp_path / "seed-0.json"
    path.write_text(json.dumps(json.loads(record.model_dump_json()) | {"surprise": 1}))
    with pytest.raises(InputError, match="is not a record of schema 1: surprise: Extra inputs are not permitted"):
        read_record(path)


@pytest.mark.parametrize("version", [2, "1", "<b>" * 1000, None, [1]], ids=lambda v: repr(v)[:8])
def test_a_record_of_another_schema_is_refused(tmp_path, record, version):
    path = tmp_path / "seed-0.json"
    path.write_text(json.dumps(json.loads(record.model_dump_json()) | {"schema_version": version}))
    with pytest.raises(InputError, match=r"is of schema .{1,20}, not 1: another omrl-bench wrote it"):
        read_record(path)


def hashed(tmp_path, record, cube):
    write_record(tmp_path, record, cube)
    path = record.cell.record_path(tmp_path)
    return path, json.loads(path.read_text())


@pytest.mark.parametrize(
    "change",
    [
        {"status": "failed"},
        {"dataset_status": "equivalent"},
        {"privileges": []},
        {"metrics": {"high": {"score": 99.0, "mean_return": -1.0}}},
        {"cube": None},
        {"cube": "0" * 64},
        {"content": "0" * 64},
        {"trained_for": "shift, standard"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_record_changed_by_hand_is_refused(tmp_path, record, cube, change):
    path, fields = hashed(tmp_path, record, cube)
    path.write_text(json.dumps(fields | change))
    with pytest.raises(InputError, match=r"seed-4\.json was changed after it was written: its content hash disagrees"):
        read_record(path)


def test_every_single_field_is_part_of_the_content_hash(tmp_path, record, cube):
    path, fields = hashed(tmp_path, record, cube)
    for name in set(fields) - {"content", "schema_version"}:
        path.write_text(json.dumps({key: value for key, value in fields.items() if key != name}))
        with pytest.raises(InputError, match=r"was changed|is not a record of schema 1"):
            read_record(path)


def test_layout_and_order_of_a_file_are_no_content(tmp_path, record, cube):
    path, fields = hashed(tmp_path, record, cube)
    before = read_record(path)
    path.write_text(json.dumps(dict(reversed(fields.items())), indent=7))
    assert read_record(path) == before


def test_the_content_hash_is_sha256_of_canonical_json(tmp_path, record, cube):
    _, fields = hashed(tmp_path, record, cube)
    content = fields.pop("content")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert content == hashlib.sha256(text.encode()).hexdigest()


def test_records_of_the_time_before_hashes_are_read(tmp_path, record, cube):
    path, fields = hashed(tmp_path, record, cube)
    del fields["content"], fields["cube"]
    path.write_text(json.dumps(fields))
    assert read_record(path) == record
    assert (record.content, record.cube) == (None, None)
    read_cube(path.with_suffix(".npz"), record.cube)


def test_a_record_written_again_has_the_hash_of_what_it_says(tmp_path, record, cube):
    path, _ = hashed(tmp_path, record, cube)
    first = read_record(path)
    write_record(tmp_path, first.model_copy(update={"error": "x"}), None)
    second = read_record(path)
    assert second.error == "x" and second.cube == first.cube and second.content != first.content


def test_a_cube_of_another_record_is_refused(tmp_path, record, cube):
    path, fields = hashed(tmp_path, record, cube)
    other = record.model_copy(update={"cell": record.cell.model_copy(update={"seed": 5})})
    returns = cube.returns.copy()
    returns[1, 2, 3] = np.nextafter(returns[1, 2, 3], np.float32(0))  # the least that can be changed
    write_record(tmp_path, other, cube.model_copy(update={"returns": returns}))
    path.with_suffix(".npz").write_bytes(other.cell.cube_path(tmp_path).read_bytes())
    with pytest.raises(InputError, match=r"seed-4\.npz is not the cube that its record was written with"):
        read_cube(path.with_suffix(".npz"), fields["cube"])
    read_cube(path.with_suffix(".npz"))  # by itself it is a cube


@pytest.mark.parametrize("name", ["conditions", "tasks", "returns", "random", "expert"])
def test_the_cubes_hash_is_of_all_its_arrays(cube, name):
    value = cube.conditions[::-1] if name == "conditions" else getattr(cube, name) + 1
    assert cube.model_copy(update={name: value}).content_hash() != cube.content_hash()


def test_the_cubes_hash_does_not_depend_on_the_compression(tmp_path, record, cube):
    path, fields = hashed(tmp_path, record, cube)
    arrays = dict(np.load(path.with_suffix(".npz")))
    np.savez(path.with_suffix(".npz"), **dict(reversed(arrays.items())))
    read_cube(path.with_suffix(".npz"), fields["cube"])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "a..b", "a\0b", "a\nb", "\x1b[31m", "a\u202eb", "\ud800", "/etc"]
)
@pytest.mark.parametrize("field", ["suite", "family", "dataset", "method", "backbone", "preset"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, record, name, field):
    fields = json.loads(record.model_dump_json())
    fields["cell"][field] = name
    path = tmp_path / "seed-4.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=rf"seed-4\.json is not a record of schema 1: cell\.{field}: .+"):
        read_record(path)


def test_names_may_look_like_markup(record):
    for name in ("<script>alert(1)</script>".replace("/", ""), "a|b_c%$x^2$", "expert+mixed", "v1.2", "Übung"):
        Cell(**dict(record.cell) | {"method": name})


def test_a_negative_seed_is_refused(record):
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Cell(**dict(record.cell) | {"seed": -1})


def test_wherever_a_file_is_damaged_it_is_named(tmp_path, record, cube):
    """Every third byte of a cube's and a record's file, one after the other: what is read is right, or refused."""
    path, fields = hashed(tmp_path, record, cube.model_copy(update={"returns": cube.returns[:, :, :1]}))
    expected = read_record(path)
    for file, read in ((path.with_suffix(".npz"), lambda file: read_cube(file, fields["cube"])), (path, read_record)):
        whole = file.read_bytes()
        refused = 0
        for place in range(0, len(whole), 3):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x09]) + whole[place + 1 :])
            try:
                found = read(file)
            except InputError as error:
                assert str(error).startswith(f"{file} ") and "\n" not in str(error)
                refused += 1
            else:
                assert found == expected if file == path else found.content_hash() == fields["cube"]
        assert refused > len(whole) / 6
        file.write_bytes(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"returns": np.zeros((2, 3), np.float32)},
        {"returns": np.zeros((3, 3, 5), np.float32)},
        {"returns": np.zeros((2, 3, 0), np.float32)},
        {"returns": np.zeros((2, 3, 5), np.complex64)},
        {"returns": np.full((2, 3, 5), "x")},
        {"returns": np.full((2, 3, 5), None)},  # a pickle
        {"random": np.zeros(1, np.float32)},
        {"expert": np.zeros((3, 1), np.float32)},
        {"tasks": np.array([7.5, 8, 9])},
        {"tasks": np.array([7, 7, 9])},
        {"conditions": np.array(["high", "high"])},
        {"conditions": np.array("hi")},
        {"conditions": np.array(["high", "\x1b[31m"])},
    ],
)
def test_arrays_that_do_not_belong_together_are_no_cube(tmp_path, record, cube, change):
    path, _ = hashed(tmp_path, record, cube)
    file = path.with_suffix(".npz")
    np.savez(file, **dict(np.load(file)) | change)
    with pytest.raises(InputError, match=r"seed-4\.npz is missing or damaged: .+"):
        read_cube(file)


def test_all_files_that_are_no_records_are_told(tmp_path, record, cube):
    path, _ = hashed(tmp_path, record, cube)
    (tmp_path / "seed-0.json").write_text("")
    (tmp_path / "seed-1.json").symlink_to("nowhere")
    shutil.copytree(tmp_path / "tiny", tmp_path / "tiny" / "copy")
    (tmp_path / ".trained").mkdir()
    (tmp_path / ".trained" / "seed-9.json").write_text("")  # none of ours
    errors = []
    assert [found.cell for found in iterate_records(tmp_path, errors.append)] == [record.cell]
    assert [(error.path.relative_to(tmp_path).as_posix(), error.reason) for error in errors] == [
        ("seed-0.json", "is not a record: truncated, or something else"),
        ("seed-1.json", "cannot be read: No such file or directory"),
        (
            "tiny/copy/quick/point-goal/mixed/m/iql/seed-4.json",
            "is the record of tiny/quick/point-goal/mixed/m/iql/seed-4.json: a copy",
        ),
    ]
    with pytest.raises(InputError, match=r"seed-0\.json is not a record"):
        list(iterate_records(tmp_path))
    assert path.exists()


def test_folders_that_are_links_are_read(tmp_path, record, cube):
    """Results of which a part lies on another disk; a link to a folder above it has no end."""
    results, disk = tmp_path / "results", tmp_path / "disk"
    hashed(results, record, cube)
    (results / "tiny").rename(disk)
    (results / "tiny").symlink_to(disk)
    (disk / "quick" / "again").symlink_to(disk)
    (results / "self").symlink_to(results)
    (results / "nowhere").symlink_to(tmp_path / "absent")
    errors = []
    assert [found.cell for found in iterate_records(results, errors.append)] == [record.cell]
    assert all(error.reason.endswith("a copy") for error in errors)


def test_a_folder_that_cannot_be_read_is_told(tmp_path, record, cube, monkeypatch):
    hashed(tmp_path, record, cube)
    real = os.scandir

    def closed(folder):
        if str(folder).endswith("mixed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", closed)
    errors = []
    assert list(iterate_records(tmp_path, errors.append)) == []
    assert [str(error) for error in errors] == [
        f"{tmp_path / 'tiny/quick/point-goal/mixed'} cannot be read: Permission denied"
    ]
    assert list(iterate_records(tmp_path / "nowhere")) == []


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
