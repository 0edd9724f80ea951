"""omrl-bench show: a suite in words, a record readably; damaged files end in one line."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.cli.show import BARS, curve_text
from omrl_bench.runner.cubes import Cube, Metric
from omrl_bench.runner.records import Cell, CurvePoint, Hashes, Record, write_record

CELL = Cell(suite="mine", family="point-goal", dataset="mixed", method="m", backbone="iql", preset="quick", seed=4)


@pytest.fixture
def record():
    return Record(
        cell=CELL,
        status="complete",
        hashes=Hashes(suite="aaaa", family="bbbb", dataset="cccc", contexts="dddd", method="eeee", tasks="tttt"),
        equivalent_to=Hashes(suite="aaaa", family="bbbb", dataset="ffff", contexts="gggg", method="eeee", tasks="tttt"),
        dataset_status="equivalent",
        privileges=("behaviour", "descriptors"),
        configuration={"width": 64, "backbone": {"expectile": 0.7}},
        trained_together=(3, 4, 5),
        trained_for="other, quick",
        metrics={"high": Metric(score=91.234, mean_return=-8.765), "low": Metric(score=-3.2, mean_return=-70.0)},
        representation={"high": {"probe": 0.75}},
        curve=tuple(CurvePoint(step=100 * n, score=s) for n, s in ((1, 10.0), (2, 80.0), (3, 45.0))),
        parameters=12345,
        fit_seconds=61.5,
        evaluate_seconds=2.5,
        update_milliseconds={"policy": 15.585},
        device="cuda",
        peak_memory_mib=441.5,
        machine={"processor": "Abacus 9", "cores": 3},
        versions={"torch": "2.13.0+cpu"},
        git={"commit": "04a168c0d859", "dirty": True},
        created="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def cube():
    returns = np.random.default_rng(0).normal(-100, 20, (2, 3, 5)).astype(np.float32)
    tasks = np.array([7, 8, 9])
    return Cube(
        conditions=("high", "low"), tasks=tasks, returns=returns, random=np.full(3, -200.0), expert=np.full(3, -50.0)
    )


@pytest.fixture
def path(record, cube, tmp_path):
    write_record(tmp_path / "runs", record, cube)
    return CELL.record_path(tmp_path / "runs")


def test_a_suite(cli):
    outcome = cli("show", "suite", "shift")
    assert outcome.code == 0 and outcome.err == ""
    for words in (
        "suite shift, version 1: Context distribution shift",
        "data: mixed (ten behaviours, from the first to the expert); offline-RL learner: iql.",
        "Evaluated on the test tasks, protocol given-context: a method is given one whole logged episode of the task",
        "Draws of each task and condition: 1 (quick), 2 (standard, reference, variants).",
        "high (mixed data, returns from rank 90 to 100 %), low (mixed data, returns from rank 0 to 10 %)",
        "random (random data)",
        "│ oracle † │ descriptors: the true task parameters, in training and in every context │ all │",
        "│ focal │ │ all │",
        "│ csro │ │ standard, reference, variants │",
        "omrl-bench run --suite shift --preset quick",
    ):
        assert words in outcome.words, words


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one-shot", ["collects one episode from its prior", "the episodes: episode-1, episode-2."]),
        ('zero-shot"\nepisodes = 3\n#', ["acts for 3 episodes, its belief", "episode-1, episode-2, episode-3."]),
        ('explore"\nepisodes = 2\n#', ["explores for 2 episodes; after 2 it acts", "explore-1, explore-2, execute-2."]),
    ],
)
def test_a_suite_of_each_protocol(cli, tiny, kind, words):
    path = tiny(("given-context", kind), ('["high", "low"]', "[]"), ('["mixed"]', '["expert+mixed", "random"]'))
    outcome = cli("show", "suite", path)
    assert outcome.code == 0, outcome
    for text in (
        *words,
        "Draws of each task and condition: 2.",
        "a training per quality of data: expert+mixed (the policy on expert data, its representation on mixed data), "
        "random (uniform actions)",
        f"omrl-bench run --suite {path} --preset quick",
    ):
        assert text in outcome.words


def test_an_unknown_suite(cli):
    assert (
        cli("show", "suite", "shfit").err
        == "error: unknown suite 'shfit'; did you mean 'shift' or 'shift-ood' or 'shift-train'?\n"
    )


def test_a_record(cli, path):
    outcome = cli("show", "record", path)
    assert outcome.code == 0 and outcome.err == ""
    for line in (
        "mine / quick / point-goal / mixed / m / iql / seed 4: complete",
        "made 2026-01-01T00:00:00+00:00, weights trained for other, quick",
        "privileges: behaviour, descriptors",
        "hyper-parameters: width 64, backbone.expectile 0.7",
        "parameters: 12,345 per seed",
        "seeds together: 3-5",
        "times: training 61.5 s for 3 seeds together, evaluation 2.5 s, policy update 15.585 ms",
        "memory: 441.5 MiB at most",
        "device: cuda",
        "machine: processor Abacus 9, cores 3",
        "versions: torch 2.13.0+cpu",
        "commit: 04a168c0d859, with changes that were not committed",
        "family version: v0",
        "data: equivalent",
        "hashes: suite aaaa, family bbbb, dataset cccc, contexts dddd, method eeee, tasks tttt",
        "equivalent to: suite aaaa, family bbbb, dataset ffff, contexts gggg, method eeee, tasks tttt",
        "cube: returns of 2 conditions x 3 tasks x 5 draws; its hash agrees",
        "representation: high.probe 0.75",  # a field that has no line of its own
        "learning curve (score on validation tasks): ▁█▅ 10.0 at step 100, 45.0 at step 300; from 10.0 to 80.0",
    ):
        assert line in (" ".join(text.split()) for text in outcome.out.splitlines()), line
    assert "│ high │ 91.23 │ -8.77 │" in outcome.words and "│ low │ -3.20 │ -70.00 │" in outcome.words


def test_every_field_of_a_record_is_shown(cli, path):
    words = cli("show", "record", path).words
    fields = json.loads(path.read_text())
    unseen = {"schema_version", "status", "cell", "error", "metrics", "curve", "git", "cube"}  # seen in other words

    def leaves(value):
        nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return [value] if nested is None else [leaf for each in nested for leaf in leaves(each)]

    together = [3, 4, 5]
    assert fields["trained_together"] == together
    for name in fields.keys() - unseen - {"trained_together"}:
        for leaf in leaves(fields[name]):
            assert str(leaf) in words or f"{leaf:,}" in words, name


def test_the_place_in_a_results_folder(cli, path, tmp_path):
    whole = cli("show", "record", path).out
    cell = path.relative_to(tmp_path / "runs")
    for arguments in ([tmp_path / "runs", cell], [tmp_path / "runs", cell.with_suffix("")], [path.with_suffix("")]):
        assert cli("show", "record", *arguments).out == whole
    outcome = cli("show", "record", tmp_path / "runs")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"is a folder; name a record in it, e.g. {path}" in outcome.err


def test_a_failed_record(cli, record, tmp_path):
    failed = record.model_copy(
        update={"status": "failed", "error": "ValueError: [/x]\x1b[31m red\u202e", "metrics": {}}
    )
    write_record(tmp_path, failed, None)
    outcome = cli("show", "record", CELL.record_path(tmp_path))
    assert outcome.code == 0
    assert "seed 4: failed" in outcome.out and "error: ValueError: [/x]?[31m red?\n" in outcome.out
    assert "condition" not in outcome.out and re.search("cube: +none", outcome.out)


def test_names_that_look_like_markup_or_control_the_terminal(cli, record, cube, tmp_path):
    """Markup is shown as it is written; a record with control characters is none."""
    metrics = {"[bold]hi": Metric(score=91.234, mean_return=-8.765)}
    write_record(tmp_path, record.model_copy(update={"metrics": metrics}), cube)
    outcome = cli("show", "record", CELL.record_path(tmp_path))
    assert outcome.code == 0 and "[bold]hi" in outcome.out
    write_record(
        tmp_path,
        record.model_copy(update={"metrics": {"\x1bhi": metrics["[bold]hi"]}, "machine": {"\x1b[2J": ["\r\x00"]}}),
        cube,
    )
    outcome = cli("show", "record", CELL.record_path(tmp_path))
    assert outcome.code == 2 and "is not a record" in outcome.err
    assert not set(outcome.out + outcome.err) & set("\x1b\r\x00")


@pytest.mark.parametrize("git", [{}, {"dirty": []}, {"commit": None, "dirty": "no"}])
def test_a_record_that_says_little(cli, git, tmp_path):
    """What it leaves out is shown so; what is no state of a repository makes it no record, in one line."""
    little = {"schema_version": 1, "cell": CELL.model_dump(), "status": "complete", "hashes": dict.fromkeys(
        ("suite", "family", "dataset", "contexts", "method"), ""), "dataset_status": "", "privileges": [],
        "configuration": {}, "trained_together": [0, 10**12], "git": git,
        "created": "2026-11-21T00:00:00Z"}  # fmt: skip
    path = tmp_path / "little.json"
    path.write_text(json.dumps(little))
    outcome = cli("show", "record", path)
    if git:
        assert (outcome.code, outcome.err.count("\n")) == (2, 1) and "git: " in outcome.err
        return
    assert outcome.code == 0 and "seed 4: complete" in outcome.out and "0,1000000000000" in outcome.out
    assert "it is missing or damaged" in outcome.words  # the cube


def damaged(path):
    text = path.read_bytes()
    yield b""
    yield from (text[:cut] for cut in range(1, len(text) - 2, 307))
    yield text.replace(b'"seed": 4', b'"seed": "four"')
    yield text.replace(b'"seed": 4', b'"seed": 5')  # its content hash disagrees
    yield text.replace(b'"schema_version": 1', b'"schema_version": 2')
    yield text.replace(b'"status"', b'"state"')
    yield text.replace(b'"mine"', b'"../../mine"')
    yield text.replace(b"complete", b"\xff\xfe")
    yield from (
        b"[]",
        b"null",
        b"3",
        b'{"schema_version": 1}',
        b"[" * 100_000,
        b"\x00" * 1000,
        b'{"schema_version": NaN}',
    )


def test_damaged_files_end_in_one_line(cli, path, tmp_path):
    file = tmp_path / "damaged.json"
    for content in damaged(path):
        assert content != path.read_bytes()
        file.write_bytes(content)
        outcome = cli("show", "record", file)
        assert (outcome.code, outcome.out) == (2, ""), content
        assert outcome.err.startswith(f"error: {file} ") and outcome.err.count("\n") == 1
    for missing in (tmp_path / "no" / "such.json", tmp_path / "no" / "such", file / "below.json"):
        outcome = cli("show", "record", missing)
        assert outcome.code == 2 and outcome.err.count("\n") == 1


def test_a_cube_that_is_damaged_or_another_one(cli, path, cube, record, tmp_path):
    cube_path = path.with_suffix(".npz")
    whole = cube_path.read_bytes()
    cube_path.write_bytes(whole[: len(whole) // 2])
    assert "it is missing or damaged" in cli("show", "record", path).words
    write_record(tmp_path / "other", record, cube.model_copy(update={"returns": cube.returns + 1}))
    cube_path.write_bytes(CELL.cube_path(tmp_path / "other").read_bytes())
    assert "is not the cube that its record was written with" in cli("show", "record", path).words


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_bars_of_a_curve_are_in_the_order_of_its_scores(scores):
    text = curve_text([CurvePoint.model_construct(step=n, score=score) for n, score in enumerate(scores)])
    heights = [BARS.index(bar) for bar in text.split("  ")[0]]
    assert len(heights) == len(scores)
    for (_, lower), (_, higher) in pairwise(sorted(zip(scores, heights, strict=True))):
        assert lower <= higher
    if max(scores) > min(scores):
        assert heights[scores.index(min(scores))] == 0 and heights[scores.index(max(scores))] == len(BARS) - 1


def test_a_curve_with_a_number_that_is_none():
    points = [
        CurvePoint.model_construct(step=n, score=score)
        for n, score in enumerate((0.0, float("nan"), 1.0, float("inf")))
    ]
    assert curve_text(points).startswith("▁?█?  0.0 at step 0, inf at step 3; from 0.0 to 1.0")
