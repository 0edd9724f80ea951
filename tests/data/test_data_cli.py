"""`omrl-bench data`: what it prints, and how it exits."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.cli.main import main
from omrl_bench.data import manifest, parallel
from omrl_bench.data.build import Collected
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.parallel import build_datasets
from omrl_bench.data.store import read_episodes
from omrl_bench.envs.families import FAMILIES
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import CONTEXT_ONLY, QUALITIES

DATASETS = (*QUALITIES, *CONTEXT_ONLY)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The real command in a process of its own, once; its root folder and what it printed."""
    folder = tmp_path_factory.mktemp("cli")
    root = folder / "datasets"
    done = subprocess.run(
        [sys.executable, "-m", "omrl_bench", "data", "build", "point-goal", "--quality", "mixed"],
        cwd=folder,
        env=os.environ | {"MINARI_DATASETS_PATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return root, done.stdout


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments, root=None):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["omrl-bench", *arguments])
            patch.setenv("COLUMNS", "200")
            if root is not None:
                patch.setenv("MINARI_DATASETS_PATH", str(root))
            with pytest.raises(SystemExit) as exit_:
                main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, printed.out, printed.err

    return run


def test_build_builds_the_canonical_dataset(built, point, canonical, monkeypatch):
    root, printed = built
    first, *rest = printed.splitlines()
    assert first == f"datasets to build: 1, about 0.1 GiB, in {root}"
    assert rest in ([f"omrl/point-goal/mixed-v1: built, {status}"] for status in ("canonical", "equivalent"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    assert read_episodes(point, "mixed")[0].content_hash() == canonical["mixed"].content_hash()


def test_build_keeps_what_is_there(built, command):
    root, _ = built
    before = (root / "omrl/point-goal/mixed-v1/receipt.json").stat()
    code, out, _ = command("data", "build", "point-goal", "--quality", "mixed", root=root)
    assert (code, out) == (0, "omrl/point-goal/mixed-v1: already there\n")
    after = (root / "omrl/point-goal/mixed-v1/receipt.json").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_build_with_force_builds_again(written, command, small, point, monkeypatch):
    other = dict(small.arrays())
    other["rewards"] = other["rewards"] + 1
    monkeypatch.setattr(manifest, "collect", lambda *_, **__: Collected(type(small)(**other), 0))
    code, out, err = command("data", "build", "point-goal", "--quality", "mixed", "--force")
    assert (code, out.splitlines()[1:]) == (2, ["omrl/point-goal/mixed-v1: built, wrong"])
    assert "omrl/point-goal/mixed-v1 is not the benchmark's: task 0 has 2 episodes" in " ".join(err.split())
    assert read_episodes(point, "mixed")[0].content_hash() != small.content_hash()


def test_verify_says_canonical(built, command):
    root, _ = built
    code, out, _ = command("data", "verify", "point-goal", root=root)
    mixed, *others = out.splitlines()
    assert code == 0
    assert mixed.startswith(("omrl/point-goal/mixed-v1: canonical (", "omrl/point-goal/mixed-v1: equivalent ("))
    qualities = ("expert", "medium", "random", "cross")
    assert others == [f"omrl/point-goal/{quality}-v1: not built" for quality in qualities]


def test_verify_of_a_wrong_dataset_exits_with_2(written, tmp_path):
    """In a process of its own, as a script would call it."""
    done = subprocess.run(
        [sys.executable, "-m", "omrl_bench", "data", "verify", "point-goal", "--quality", "mixed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "omrl/point-goal/mixed-v1: wrong (task 0 has 2 episodes, the canonical dataset 45)" in done.stdout
    assert "error: wrong: omrl/point-goal/mixed-v1; omrl-bench data build" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("fault", ["truncated", "foreign", "receipt"])
def test_verify_of_a_damaged_dataset_exits_with_2_and_says_why(written, command, fault):
    if fault == "truncated":
        with (written / "data" / "main_data.hdf5").open("r+b") as file:
            file.truncate(1000)
    elif fault == "foreign":
        (written / "receipt.json").unlink()
    else:
        (written / "receipt.json").write_text("{")
    code, out, err = command("data", "verify", "point-goal", "--quality", "mixed")
    said = {"truncated": "truncated or changed", "foreign": "not built by omrl-bench", "receipt": "is damaged"}
    assert code == 2
    assert "omrl/point-goal/mixed-v1: wrong (" in out
    assert said[fault] in out
    assert "wrong: omrl/point-goal/mixed-v1" in err


def test_verify_of_nothing_is_no_error(root, command):
    code, out, _ = command("data", "verify")
    assert code == 0
    families = [name for name, family in FAMILIES.items() if not family.variant_of]
    assert out == "".join(f"omrl/{name}/{quality}-v1: not built\n" for name in families for quality in DATASETS)


def test_list_names_every_dataset_and_which_are_here(written, root, command, point):
    code, out, _ = command("data", "list")
    assert code == 0
    assert str(root) in out
    rows = {}
    for line in out.splitlines():
        cells = [cell.strip() for cell in line.strip("│┃ ").split("│")]
        if cells[0].startswith("omrl/"):
            rows[cells[0]] = cells[1:]
    assert list(rows) == [f"omrl/{name}/{quality}-v1" for name in FAMILIES for quality in DATASETS]
    assert rows["omrl/point-goal/mixed-v1"][:2] == ["3550", "213000"]
    assert rows["omrl/point-goal/mixed-v1"][3] == "7 MiB"
    mean = np.mean(read_manifest(point).datasets["random"].return_mean)
    assert rows["omrl/point-goal/random-v1"][2:4] == [f"{mean:.1f}", "no"]
    entry = read_manifest(point).datasets["cross"]  # the mean is over the tasks that have episodes
    assert rows["omrl/point-goal/cross-v1"] == ["2200", "132000", f"{np.mean(entry.return_mean[30:]):.1f}", "no"]
    assert rows["omrl/cheetah-vel/expert-v1"][:2] == ["4350", "870000"]
    assert [name for name, cells in rows.items() if cells[3] not in ("no", "not yet")] == ["omrl/point-goal/mixed-v1"]


@pytest.mark.parametrize("verb", ["build", "verify"])
def test_unknown_names_exit_with_2_and_the_nearest_name(root, command, verb):
    code, _, err = command("data", verb, "point-gaol")
    assert code == 2
    assert err.startswith("error: unknown family 'point-gaol'; did you mean 'point-goal'")
    code, _, err = command("data", verb, "point-goal", "--quality", "expret")
    assert (code, err) == (2, "error: unknown quality 'expret'; did you mean 'expert'?\n")
    assert not root.exists()


def test_build_into_an_unwritable_root_exits_with_2(tmp_path, command):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "datasets"
    code, _, err = command("data", "build", "point-goal", "--quality", "random", root=target)
    assert code == 2
    assert f"cannot write to the data folder {target}: Not a directory" in err


def test_build_does_not_call_a_foreign_folder_there(written, command):
    (written / "receipt.json").unlink()
    code, out, err = command("data", "build", "point-goal", "--quality", "mixed")
    assert "not built by omrl-bench" in out + err
    assert code == 2


def test_build_of_a_family_without_a_manifest_exits_with_2_before_anything_is_built(root, command, monkeypatch):
    monkeypatch.setitem(
        FAMILIES, "point-new", replace(FAMILIES["point-goal"], name="point-new", task_table="point-goal")
    )
    code, out, err = command("data", "build", "point-goal", "point-new", "--quality", "random")
    assert (code, out) == (2, "")
    assert "family 'point-new' has no manifest point-new-v1.json yet" in err
    assert not root.exists()


# --- several at once, one process each


def test_several_datasets_are_the_same_as_built_alone_and_an_error_costs_only_its_own(root, canonical, point):
    (root / "omrl").mkdir(parents=True)
    (root / "omrl" / "point-sparse").write_text("a file is in the way")
    good, bad, seen = ("point-goal", "medium"), ("point-sparse", "random"), []
    finished = dict(build_datasets([bad, good], 2, lambda item, fraction: seen.append((item, fraction))))
    assert set(finished) == {bad, good}
    assert finished[good] is None
    assert isinstance(finished[bad], InputError)
    assert f"cannot write to the data folder {root}" in str(finished[bad])
    assert read_episodes(point, "medium")[0].content_hash() == canonical["medium"].content_hash()
    fractions = [fraction for item, fraction in seen if item == good]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] <= 1


def test_one_dataset_is_built_in_this_process_with_all_the_threads(monkeypatch):
    calls = []

    def build(family, quality, threads, progress, say, again):
        calls.append((family.name, quality, threads))
        progress(0.5)
        raise InputError("no")

    monkeypatch.setattr(parallel, "build_dataset", build)
    seen = []
    ((item, error),) = build_datasets([("point-goal", "cross")], 7, lambda *arguments: seen.append(arguments))
    assert (item, str(error)) == (("point-goal", "cross"), "no")
    assert calls == [("point-goal", "cross", 7)]
    assert seen == [(("point-goal", "cross"), 0.5)]
