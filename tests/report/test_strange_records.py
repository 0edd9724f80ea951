"""Records of strangers, a kind each: a line says what is wrong with it, and the others' numbers stay as they were.

Every kind is one record of a real set, mutated as somebody might who wants the report to stop, hang, grow or lie.
Whoever forges fields also makes the hashes fit, unless the kind is about these.
"""

import io
import json
import os
import socket
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import get_family
from omrl_bench.report.reading.frames import collect, load
from omrl_bench.runner.cubes import Cube, read_cube
from omrl_bench.runner.records import _content_hash, write_record
from omrl_bench.runner.states import evaluated_hash

from .conftest import QUALITIES, make_record

FAMILY = get_family("point-goal")
MANIFEST = read_manifest(FAMILY)
TASKS = FAMILY.tasks().ids("test")[:6]
HASHES = {"tasks": evaluated_hash(FAMILY, "test")}
MOST_SECONDS, MOST_BYTES = 5.0, 100 * 2**20
GIANT = 50 * 2**20  # bytes that a bomb unpacks to


def honest(results, method, seed, level=60):
    """A record that anybody would believe: of true tasks, with true reference returns and its own means."""
    random, expert = (np.array(values)[TASKS].astype(np.float32) for values in (MANIFEST.random, MANIFEST.expert))
    share = np.random.default_rng([seed, level]).normal(level, 5, (2, len(TASKS), 2)) / 100
    returns = random[:, None] + share * (expert - random)[:, None]
    cube = Cube(conditions=QUALITIES, tasks=TASKS, returns=returns, random=random, expert=expert).stored()
    record = make_record("point-goal", method, seed, hashes=HASHES, costs={"metrics": cube.metrics()})
    write_record(results, record, cube)
    return record.cell.record_path(results)


def forge(path, **fields):
    """Change fields, those of a table as ``table__field``, and make the content hash fit."""
    content = json.loads(path.read_text())
    for name, value in fields.items():
        *tables, last = name.split("__")
        target = content
        for table in tables:
            target = target[table]
        target[last] = value
    content["content"] = _content_hash(content)
    path.write_text(json.dumps(content))


def forging(**fields):
    return lambda path: forge(path, **fields)


def cube_of(**arrays):
    """Change arrays of the cube as a forger does: all hashes and means fit."""

    def change(path):
        file = path.with_suffix(".npz")
        cube = read_cube(file).model_copy(update=arrays)
        file.write_bytes(cube.file_content())
        with np.errstate(all="ignore"):
            stated = {name: metric.model_dump() for name, metric in cube.metrics().items()}
        forge(path, cube=cube.stored().content_hash(), metrics=stated)

    return change


def array_of(**arrays):
    """Change arrays of the cube's file, whatever they are."""

    def change(path):
        file = path.with_suffix(".npz")
        kept = dict(np.load(file)) | arrays
        np.savez(file, **{name: value for name, value in kept.items() if value is not None})

    return change


def in_place(make, ending=".json"):
    """Put something else where the record or cube was."""

    def change(path):
        file = path.with_suffix(ending)
        file.unlink()
        make(file)

    return change


def listening(file):
    """A socket; its path may be at most some hundred characters long."""
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(file.parent)
        try:
            server.bind(file.name)
        finally:
            os.chdir(before)


def sparse(file):
    with file.open("wb") as handle:
        handle.truncate(2**40)


def bomb(method, size=GIANT, lie=False):
    def make(file):
        with zipfile.ZipFile(file, "w", method) as packed:
            packed.writestr("returns.npy", bytes(size))
        if lie:  # that it unpacks to 10 bytes
            content = file.read_bytes()
            file.write_bytes(content.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little")))

    return make


def many_members(file):
    with zipfile.ZipFile(file, "w") as packed:
        for number in range(3000):
            packed.writestr(f"{number}.npy", b"")


def header(text):
    """A cube whose returns have a header of somebody's own."""

    def change(path):
        file = path.with_suffix(".npz")
        with zipfile.ZipFile(file) as packed:
            content = {name: packed.read(name) for name in packed.namelist()}
        line = text.encode() + b"\n"
        content["returns.npy"] = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
        with zipfile.ZipFile(file, "w") as packed:
            for name, value in content.items():
                packed.writestr(name, value)

    return change


def text(content):
    return in_place(lambda file: file.write_bytes(content if isinstance(content, bytes) else content.encode()))


def link_to(target, ending=".json"):
    return in_place(lambda file: file.symlink_to(target), ending)


def copy_of_seed_0(path):
    path.write_bytes(path.with_name("seed-0.json").read_bytes())


def edited(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"metrics": {}}))


def other_cube(path):
    path.with_suffix(".npz").write_bytes(path.with_name("seed-0.npz").read_bytes())


def forged_returns(which):
    def change(path):
        cube = read_cube(path.with_suffix(".npz"))
        cube_of(**{which: getattr(cube, which) - 5})(path)

    return change


def whole(value):
    return np.full((2, len(TASKS), 2), value, np.float32)


NO_RECORD = "it is not a record: truncated, or something else"
FIELD = "it is not a record of schema 1: "
DAMAGED = "it is missing or damaged: "
KINDS = {
    # what lies in the place of a record
    "record-pipe": (in_place(os.mkfifo), "it cannot be read: it is a pipe, not a regular file"),
    "record-socket": (in_place(listening), "it cannot be read: it is a socket, not a regular file"),
    "record-folder": (in_place(os.mkdir), "it cannot be read: it is a folder, not a regular file"),
    "record-device": (link_to("/dev/zero"), "it cannot be read: it is a device, not a regular file"),
    "record-link-to-itself": (link_to("seed-1.json"), "it cannot be read: Too many levels of symbolic links"),
    "record-link-to-nowhere": (link_to("nowhere"), "it cannot be read: No such file or directory"),
    "record-link-to-a-system-file": (link_to("/etc/passwd"), NO_RECORD),
    "record-terabyte": (in_place(sparse), "it cannot be read: it is larger than 262,144 bytes"),
    "record-long-field": (forging(error="x" * 2**18), "it cannot be read: it is larger than 262,144 bytes"),
    "record-many-fields": (forging(machine={str(n): n for n in range(20_000)}), "it cannot be read: it is larger than"),
    "record-empty": (text(""), NO_RECORD),
    "record-truncated": (lambda path: path.write_bytes(path.read_bytes()[:300]), NO_RECORD),
    "record-binary": (text(bytes(range(256))), NO_RECORD),
    "record-utf-16": (lambda path: path.write_bytes(path.read_text().encode("utf-16")), NO_RECORD),
    "record-deep": (text('{"schema_version": 1, "cell": ' + "[" * 100_000), NO_RECORD),
    "record-list": (text("[1, 2]"), NO_RECORD),
    "record-long-number": (text('{"schema_version": ' + "9" * 100_000 + "}"), NO_RECORD),
    "record-edited": (edited, "it was changed after it was written: its content hash disagrees"),
    "record-copied": (copy_of_seed_0, "it is the record of shift/quick/point-goal/mixed/stranger/iql/seed-0.json: a"),
    # fields
    "schema-newer": (forging(schema_version=2), "it is of schema 2, not 1: another omrl-bench wrote it"),
    "schema-text": (forging(schema_version="<script>" * 9), "it is of schema '<script>"),
    "field-too-many": (forging(surprise=1), FIELD + "surprise: Extra inputs are not permitted"),
    "status": (forging(status="best"), FIELD + "status: "),
    "date-none": (forging(created="yesterday"), FIELD + "created: "),
    "date-null": (forging(created=None), FIELD + "created: "),
    "date-year": (forging(created="9999-01-01T00:00:00+00:00"), FIELD + "created: "),
    "date-without-zone": (forging(created="2026-01-01T00:00:00"), FIELD + "created: "),
    "version-none": (forging(versions={"torch": "latest"}), FIELD + "versions: "),
    "version-nested": (forging(versions={"torch": {"a": 1}}), FIELD + "versions.torch: "),
    "version-name": (forging(versions={"<b>": "1.0"}), FIELD + "versions: "),
    "version-long": (forging(versions={"torch": "1" * 99}), FIELD + "versions: "),
    "commit-command": (forging(git={"commit": "HEAD; rm -rf /", "dirty": False}), FIELD + "git: "),
    "commit-surrogate": (forging(git={"commit": "\ud800"}), FIELD + "git: "),
    "dirty-word": (forging(git={"commit": "0" * 40, "dirty": "no"}), FIELD + "git: "),
    "git-surprise": (forging(git={"verified": True}), FIELD + "git: "),
    "seconds-negative": (forging(fit_seconds=-1.0), FIELD + "fit_seconds: "),
    "seconds-infinite": (forging(evaluate_seconds=float("inf")), FIELD + "evaluate_seconds: "),
    "memory-not-a-number": (forging(peak_memory_mib=float("nan")), FIELD + "peak_memory_mib: "),
    "parameters-negative": (forging(parameters=-5), FIELD + "parameters: "),
    "parameters-absurd": (forging(parameters=10**30), FIELD + "parameters: "),
    "update-negative": (forging(update_milliseconds={"policy": -1.0}), FIELD + "update_milliseconds.policy: "),
    "curve-not-a-number": (forging(curve=[{"step": 1, "score": float("nan")}]), FIELD + "curve.0.score: "),
    "curve-step": (forging(curve=[{"step": -1, "score": 1.0}]), FIELD + "curve.0.step: "),
    "representation-infinite": (
        forging(representation={"high": {"dimensions": float("inf")}}),
        FIELD + "representation.high.dimensions: ",
    ),
    "privilege-long": (forging(privileges=["x" * 1000]), FIELD + "privileges.0: "),
    "privilege-control": (forging(privileges=["\x1b[31m"]), FIELD + "privileges.0: "),
    "device-lines": (forging(device="cpu\nverified"), FIELD + "device: "),
    "statement-long": (forging(trained_elsewhere="x" * 501), FIELD + "trained_elsewhere: "),
    "machine-nested": (forging(machine={"a": {"b": 1}}), FIELD + "machine: "),
    "configuration-no-text": (forging(configuration={"a": "\ud800"}), FIELD + "configuration: "),
    "seed-negative": (forging(cell__seed=-1), FIELD + "cell.seed: "),
    "seed-fraction": (forging(cell__seed=1.5), FIELD + "cell.seed: "),
    "seed-absurd": (forging(cell__seed=10**30), FIELD + "cell.seed: "),
    "together-crowd": (forging(trained_together=list(range(2000))), FIELD + "trained_together: "),
    "family-elsewhere": (forging(cell__family="../../up"), FIELD + "cell.family: "),
    "method-long": (forging(cell__method="m" * 300), FIELD + "cell.method: "),
    "method-lines": (forging(cell__method="a\nb"), FIELD + "cell.method: "),
    "method-other": (
        forging(cell__method="focal"),
        "it is the record of shift/quick/point-goal/mixed/focal/iql/seed-1",
    ),
    "family-version": (forging(family_version="latest"), FIELD + "family_version: "),
    "hash-long": (forging(hashes__tasks="0" * 10_000), FIELD + "hashes.tasks: "),
    "hashes-none": (forging(hashes=None), FIELD + "hashes: "),
    "metrics-better": (
        forging(metrics={"high": {"score": 99.0, "mean_return": -1.0}}),
        "it disagrees with its record on the mean of 'high'",
    ),
    "metrics-of-nothing": (
        forging(metrics={"expert": {"score": 99.0, "mean_return": -1.0}}),
        "it disagrees with its record on the mean of 'expert'",
    ),
    "metrics-infinite": (
        forging(metrics={"high": {"score": float("inf"), "mean_return": 1.0}}),
        "it disagrees with its record on the mean of 'high'",
    ),
    # what lies in the place of a cube
    "cube-pipe": (in_place(os.mkfifo, ".npz"), DAMAGED + "it is a pipe, not a regular file"),
    "cube-folder": (in_place(os.mkdir, ".npz"), DAMAGED + "it is a folder, not a regular file"),
    "cube-device": (link_to("/dev/zero", ".npz"), DAMAGED + "it is a device, not a regular file"),
    "cube-link-to-itself": (link_to("seed-1.npz", ".npz"), DAMAGED + "Too many levels of symbolic links"),
    "cube-missing": (lambda path: path.with_suffix(".npz").unlink(), DAMAGED + "No such file or directory"),
    "cube-terabyte": (in_place(sparse, ".npz"), DAMAGED + "it is larger than 4,194,304 bytes"),
    "cube-no-zip": (in_place(lambda file: file.write_text("no"), ".npz"), DAMAGED + "File is not a zip file"),
    "cube-bomb": (in_place(bomb(zipfile.ZIP_DEFLATED), ".npz"), DAMAGED + "its arrays have more than 16,777,216 bytes"),
    "cube-bomb-that-lies": (in_place(bomb(zipfile.ZIP_DEFLATED, lie=True), ".npz"), DAMAGED),
    "cube-bomb-bzip2": (in_place(bomb(zipfile.ZIP_BZIP2), ".npz"), DAMAGED + "an array is compressed in a way"),
    "cube-bomb-lzma": (in_place(bomb(zipfile.ZIP_LZMA), ".npz"), DAMAGED + "an array is compressed in a way"),
    "cube-many-arrays": (in_place(many_members, ".npz"), DAMAGED + "it has 3000 arrays, not 5"),
    "cube-array-missing": (array_of(random=None), DAMAGED + "'random'"),
    "cube-pickle": (array_of(returns=np.full((2, 6, 2), None)), DAMAGED),
    "cube-complex": (array_of(returns=whole(1) * 1j), DAMAGED + "an array has the wrong type"),
    "cube-flat": (array_of(returns=np.zeros(24, np.float32)), DAMAGED + "returns of shape (24,)"),
    "cube-giant-shape": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }"), DAMAGED),
    "cube-negative-shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 6, -2), }"),
        DAMAGED + "an array has a strange",
    ),
    "cube-header-of-code": (header("__import__('os').abort()"), DAMAGED),
    "cube-header-deep": (header("(" * 9000), DAMAGED),
    "cube-tasks-negative": (array_of(tasks=TASKS - 1000), DAMAGED + "a task is none of 0 to 1,000,000"),
    "cube-tasks-absurd": (array_of(tasks=TASKS * 10**15), DAMAGED + "a task is none of 0 to 1,000,000"),
    "cube-task-twice": (array_of(tasks=TASKS * 0), DAMAGED + "a condition or task is there twice"),
    "cube-condition-twice": (
        array_of(conditions=np.array(["high"] * 2)),
        DAMAGED + "a condition or task is there twice",
    ),
    "cube-condition-long": (array_of(conditions=np.array(["x" * 10**5, "low"])), DAMAGED + "a condition has no"),
    "cube-condition-bytes": (array_of(conditions=np.array([b"high", b"low"])), DAMAGED + "the conditions are no list"),
    "cube-not-a-number": (array_of(returns=whole(np.nan)), "it is not the cube that its record was written with"),
    "cube-of-another": (other_cube, "it is not the cube that its record was written with: its hash disagrees"),
    # forged numbers
    "returns-infinite": (cube_of(returns=whole(np.inf)), "it has returns or scores that are not finite"),
    "returns-absurd": (cube_of(returns=whole(1e30)), "it has scores beyond 1,000,000, which no policy earns"),
    "returns-of-one-draw": (cube_of(returns=whole(-30)[..., :1]), "it has other draws than most of its family"),
    "expert-as-random": (
        lambda path: cube_of(expert=read_cube(path.with_suffix(".npz")).random)(path),
        "it has returns or scores that are not finite",
    ),
    "expert-worse": (forged_returns("expert"), "it has other reference returns of the expert policy than this package"),
    "random-worse": (forged_returns("random"), "it has other reference returns of the random policy than this package"),
    "tasks-of-training": (
        cube_of(tasks=FAMILY.tasks().ids("train")[:6]),
        "it has tasks that are not among those of its hash",
    ),
    "conditions-of-its-own": (cube_of(conditions=("high", "best")), "it has other conditions than most of its method"),
}


@pytest.fixture
def results(tmp_path):
    """A small set: two honest methods, and a stranger's of three seeds."""
    for method, level in (("focal", 60), ("oracle", 90), ("stranger", 70)):
        for seed in range(3):
            honest(tmp_path / "results", method, seed, level)
    return tmp_path / "results"


def damage(results, kind, seed=1, method="stranger"):
    path = results / f"shift/quick/point-goal/mixed/{method}/iql/seed-{seed}.json"
    KINDS[kind][0](path)
    return path


def lines_of(results):
    lines = []
    collect(results, warn=lines.append)
    return lines


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_a_strange_record_costs_itself_only(results, kind):
    before = load(results)[0]
    damage(results, kind)
    tracemalloc.start()
    started = time.process_time()
    (line,) = lines_of(results)
    spent, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert line.startswith("shift/quick/point-goal/mixed/stranger/iql/seed-1.")
    assert f" left out: {KINDS[kind][1]}" in line
    assert line.isprintable() and len(line) < 500
    assert spent < MOST_SECONDS and peak < MOST_BYTES
    frame, notes = load(results)
    rest = before[(before["method"] != "stranger") | (before["seed"] != 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, rest)
    assert "point-goal / stranger: 2 of 3 seeds (without 1)" in notes


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(KINDS) >= 60


def test_without_mutations_nothing_is_said(results):
    assert load(results)[1] == [] and lines_of(results) == []


@pytest.mark.slow
def test_all_kinds_at_once_leave_the_page_and_the_tables_of_the_others_whole(results, invoke, tmp_path):
    assert invoke("report", "--results", results, "--out", tmp_path / "before").code == 0
    for kind in KINDS:
        for seed in range(3):
            honest(results, f"x-{kind}", seed, 70)
        damage(results, kind, method=f"x-{kind}")
    lines = lines_of(results)
    assert len(lines) == len(KINDS)
    assert [kind for kind in KINDS if not any(f"/x-{kind}/" in line for line in lines)] == []
    for option in ((), ("--site",)):
        outcome = invoke("report", "--results", results, "--out", tmp_path / "out", *option)
        assert outcome.code == 0 and len(outcome.err.splitlines()) == len(KINDS)
    was, now = (pd.read_csv(tmp_path / name / "shift-quick" / "score.csv") for name in ("before", "out"))
    columns = ["family", "condition", "method", "n_seeds", "score_mean", "score_iqm", "return_mean"]
    others = now[~now["method"].str.startswith("x-")]
    pd.testing.assert_frame_equal(others[columns].reset_index(drop=True), was[columns])
    entries = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["entries"]
    assert len(entries) == 2 * (3 + len(KINDS))  # conditions x methods: no row is lost, of the strange ones a seed each


def test_an_unknown_family_is_named_and_its_rows_are_there(results):
    path = honest(results, "stranger", 0)
    cube, record = read_cube(path.with_suffix(".npz")), json.loads(path.read_text())
    other = make_record("moon-landing", "stranger", 0, hashes=record["hashes"], costs={"metrics": cube.metrics()})
    write_record(results, other, cube)
    frame, notes = load(results)
    assert set(frame["family"]) == {"point-goal", "moon-landing"}
    said = "moon-landing: not a family of this package: nothing here says whether its tasks and reference returns are"
    assert sum(note.startswith(said) for note in notes) == 1


def test_a_failure_says_at_most_a_line(results):
    record = make_record("point-goal", "stranger", 3, error="x" * 5000 + "\nTraceback")
    write_record(results, record, None)
    (note,) = [note for note in load(results)[1] if "failed" in note]
    assert len(note) < 400


def test_a_pipe_in_the_place_of_the_equivalences_is_named(results, invoke):
    os.mkfifo(results / "equivalences.toml")
    outcome = invoke("report", "--results", results)
    assert outcome.code == 2
    assert "equivalences.toml cannot be read: it is a pipe, not a regular file" in outcome.err


def test_names_that_a_spreadsheet_or_latex_would_run(results, invoke, tmp_path):
    names = [
        "=1+1",
        "+1",
        "-1",
        "@sum",
        "\uff1d1",
        "[bracket",
        "*star",
        "\\input{x}".replace("\\", "$"),
        "\u6a5f\u68b0",
    ]
    for name in names:
        honest(results, name, 0)
    out = tmp_path / "out"
    assert invoke("report", "--results", results, "--out", out).code == 0
    table = pd.read_csv(out / "shift-quick" / "score.csv")
    assert {"'=1+1", "'+1", "'-1", "*star", "$input{x}"} <= set(table["method"])
    assert {"'@sum", "'\uff1d1", "[bracket", "\u6a5f\u68b0"}.isdisjoint(
        table["method"]
    )  # no method may have such names
    for file in out.rglob("*.csv"):
        cells = [str(cell) for row in pd.read_csv(file, dtype=str).itertuples(index=False) for cell in row]
        assert not any(cell.startswith(("=", "+", "@", "\uff1d")) for cell in cells)
    latex = (out / "shift-quick" / "score.tex").read_text()
    starts = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(starts) == 2 + 3 + 5
    assert not any(line.startswith(("[", "*")) for line in starts)
    assert "{}*star & " in latex and r"\$input\{x\} & " in latex and latex.isascii()


def test_what_is_read_of_a_zip_is_what_it_holds():
    """The library that unpacks must not be more generous than the limit: 50 MiB, read for a byte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", bytes(GIANT))
    tracemalloc.start()
    with zipfile.ZipFile(buffer) as packed, packed.open("a") as member:
        assert member.read(1) == b"\0"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
