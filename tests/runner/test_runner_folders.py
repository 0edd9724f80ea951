"""Results folders and data folders that are not as they should be: one clear line, exit code 2, nothing lost."""

import json
import os
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from omrl_bench.data.episodes import Episodes
from omrl_bench.data.store import file_hash, part_hashes
from omrl_bench.envs.families import get_family
from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import read_record, write_record


def check_refused(outcome, *words):
    """Exit code 2 and one line with these words."""
    assert outcome.code == 2
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert str(word) in outcome.err
    assert "start" not in outcome.out


@pytest.fixture
def minari(datasets, tmp_path, monkeypatch):
    """A copy of the data folder, to be damaged; the folder of its only dataset."""
    # links are cheap; whoever changes a file puts a new one in its place
    root = tmp_path / "minari"
    shutil.copytree(datasets, root, copy_function=os.link)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return root / "omrl" / "point-goal" / "mixed-v1"


@pytest.fixture
def run(cli, tiny, tmp_path, minari, monkeypatch):
    def execute(*arguments):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(minari.parents[2]))
        suite = tiny()
        return cli("run", "--suite", suite, "--method", "random", "--out", tmp_path / "runs", *arguments)

    return execute


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


def test_results_folder_below_a_file(cli, tiny, tmp_path):
    (tmp_path / "file").write_text("precious")
    check_refused(cli("run", "--suite", tiny(), "--out", tmp_path / "file" / "runs"), tmp_path / "file", "not writable")
    check_refused(cli("run", "--suite", tiny(), "--out", tmp_path / "file"), tmp_path / "file", "not writable")
    check_refused(cli("status", "--suite", tiny(), "--out", tmp_path / "file"), "is not a folder of results")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_results_folder_without_permission(cli, tiny, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    check_refused(cli("run", "--suite", tiny(), "--out", tmp_path / "closed"), "not writable: Permission denied")


def test_data_folder_below_a_file(cli, tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file" / "minari"))
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs")
    check_refused(outcome, "cannot write to the data folder", tmp_path / "file" / "minari")


@pytest.mark.parametrize("name", ["data/main_data.hdf5", "packed.safetensors"])
def test_truncated_dataset(run, minari, name):
    path = minari / name
    whole = path.read_bytes()
    replace(path, whole[: len(whole) // 2])
    check_refused(run(), path, "truncated or changed", "omrl-bench data build point-goal --quality mixed --force")


@pytest.mark.parametrize("name", ["data/main_data.hdf5", "packed.safetensors"])
def test_dataset_with_a_file_missing(run, minari, name):
    (minari / name).unlink()
    check_refused(run(), minari / name, "missing")


def test_one_changed_byte_is_noticed(run, minari):
    path = minari / "packed.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    replace(path, bytes(content))
    check_refused(run(), path, "changed since it was built")


def test_foreign_dataset(run, minari):
    """Somebody else's Minari dataset of that name is not read, and not overwritten."""
    (minari / "receipt.json").unlink()
    check_refused(run(), minari, "was not built by omrl-bench", "move it away")
    assert (minari / "data" / "main_data.hdf5").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2", b'{"family": "point-goal"}'])
def test_garbled_receipt(run, minari, content):
    replace(minari / "receipt.json", content)
    check_refused(run(), minari / "receipt.json", "damaged", "--force")


def test_receipt_that_is_no_text(run, minari):
    replace(minari / "receipt.json", b"\xff\xfe")
    check_refused(run(), minari / "receipt.json", "damaged")


def test_dataset_of_another_definition_of_the_family(run, minari):
    receipt = json.loads((minari / "receipt.json").read_text()) | {"family_fingerprint": "0123456789abcdef"}
    replace(minari / "receipt.json", json.dumps(receipt).encode())
    check_refused(run(), minari, "another definition of point-goal", "0123456789abcdef")


def rewrite(minari, change):
    """Change a dataset's arrays and make its receipt consistent with them."""
    arrays = load_file(minari / "packed.safetensors")
    change(arrays)
    packed = minari / "packed.safetensors"
    packed.unlink()
    save_file(arrays, packed)
    receipt, episodes = json.loads((minari / "receipt.json").read_text()), Episodes(**arrays)
    parts = part_hashes(get_family("point-goal"), episodes)
    receipt |= {"packed": file_hash(packed), "content": episodes.content_hash(), "parts": parts}
    replace(minari / "receipt.json", json.dumps(receipt).encode())


def test_dataset_whose_content_differs_from_its_manifest(run, minari, tmp_path):
    def worsen(arrays):
        arrays["rewards"][arrays["offsets"][45 * 7] : arrays["offsets"][45 * 8]] -= 1  # task 7

    rewrite(minari, worsen)
    check_refused(run(), minari, "differs from its manifest", "task 7's mean return", "--force")
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_dataset_with_an_episode_less_differs_from_its_manifest(run, minari):
    def shorten(arrays):
        for name in ("tasks", "behaviours", "seeds"):
            arrays[name] = arrays[name][:-1].copy()
        arrays["offsets"] = arrays["offsets"][:-1].copy()

    rewrite(minari, shorten)
    check_refused(run(), "differs from its manifest", "has 19 episodes, the canonical dataset 20")


def nudge(arrays):
    arrays["rewards"] *= 1 + 1e-6


def test_dataset_that_rounds_differently_is_equivalent(cli, tiny, minari, results, monkeypatch):
    """As from another processor: other bytes, the same returns. It trains, and canonical records stay complete."""
    from omrl_bench.protocols.suite import load_suite
    from omrl_bench.runner.plan import inspect_cells, make_jobs, prepare_data, select

    rewrite(minari, nudge)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(minari.parents[2]))
    selection = select(load_suite(str(tiny())), methods=["random"])
    statuses = prepare_data(selection, 1, pytest.fail)
    assert statuses == {("point-goal", "mixed"): "equivalent"}
    cells = inspect_cells(selection, results)
    assert [planned.state for planned in cells] == ["complete", "complete"]
    (job,) = make_jobs(selection, cells, "all", statuses, results, 1)
    assert job.dataset_status == "equivalent"
    receipt = json.loads((minari / "receipt.json").read_text())
    assert job.hashes.dataset == receipt["parts"]["train"]


def test_records_on_equivalent_data_are_up_to_date_where_the_data_are_canonical(
    cli, run, tiny, datasets, minari, results, tmp_path, monkeypatch
):
    rewrite(minari, nudge)
    assert run().code == 0
    (path, other) = sorted((tmp_path / "runs").rglob("seed-*.json"))
    record, canonical = read_record(path), read_record(results / path.relative_to(tmp_path / "runs"))
    assert record.equivalent_to == canonical.hashes and record.hashes.dataset != canonical.hashes.dataset
    assert canonical.equivalent_to is None

    arguments = ("status", "--suite", tiny(), "--method", "random", "--out", tmp_path / "runs")
    for root in (datasets, tmp_path / "none"):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
        assert "2 complete, 0 missing, 0 failed, 0 stale" in cli(*arguments).out

    changed = record.equivalent_to.model_copy(update={"method": "of another version"})
    write_record(
        tmp_path / "runs", record.model_copy(update={"equivalent_to": changed}), read_cube(path.with_suffix(".npz"))
    )
    assert "changed since: method" in cli(*arguments).words
    record = read_record(other)
    write_record(
        tmp_path / "runs", record.model_copy(update={"equivalent_to": None}), read_cube(other.with_suffix(".npz"))
    )
    assert "changed since: dataset" in cli(*arguments).words  # nothing says what its data were equivalent to


def test_missing_dataset_is_built_first_and_said(cli, tiny, tmp_path, monkeypatch):
    """The real build is exercised by the fixture; here, that run asks for it, and for nothing else."""
    import omrl_bench.data.manifest as manifest

    asked = []

    def build(family, quality, threads, **_):
        asked.append((family, quality))
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "build_dataset", build)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs")
    assert asked == [(get_family("point-goal"), "mixed")]
    assert "data: building omrl/point-goal/mixed-v1" in outcome.out
    assert outcome.code == 130
