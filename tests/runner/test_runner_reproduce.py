"""omrl-bench reproduce: the commands work, the numbers come out the same, and it is noticed where they do not."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.cli.run import parse_seeds
from omrl_bench.errors import InputError
from omrl_bench.runner.circumstances import circumstances
from omrl_bench.runner.cubes import Cube, Metric, read_cube
from omrl_bench.runner.records import Cell, Hashes, Record, read_record, write_record
from omrl_bench.runner.reproduce import compare, read_original, seed_text, steps


@pytest.fixture
def path(results):
    """Path of a record in the undisturbed run: path("focal", 1)."""
    return lambda method, seed=0: results / f"tiny/quick/point-goal/mixed/{method}/iql/seed-{seed}.json"


@pytest.fixture
def held_file(undisturbed):
    return undisturbed[0].parent / "held" / "held.py"


@pytest.fixture
def reproduce(cli, inline, tiny, tmp_path):
    """Run the command on a record, into an empty folder unless another is named."""

    def run(record, *options, out=None, suite=None):
        return cli("reproduce", record, "--suite", suite or tiny(), "--out", out or tmp_path / "again", *options)

    return run


def change(path, change_returns=None, **fields):
    """Write a record again, as omrl-bench would have, with other returns or fields."""
    record, cube = read_record(path), read_cube(path.with_suffix(".npz"))
    if change_returns:
        cube = cube.model_copy(update={"returns": change_returns(cube.returns)})
        means = zip(cube.conditions, cube.scores().mean(axis=(1, 2)), cube.returns.mean(axis=(1, 2)), strict=True)
        fields["metrics"] = {name: Metric(score=score, mean_return=mean) for name, score, mean in means}
    hashes = record.hashes.model_copy(update=fields.pop("hashes", {}))
    write_record(path.parents[6], record.model_copy(update={"hashes": hashes, **fields}), cube)


def test_a_repetition_gives_the_same_bits(reproduce, path, tmp_path):
    method = "focal"
    outcome = reproduce(path(method, 1), "--run")
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[-1] == "identical: all 400 returns of the repetition have the record's bits"
    assert [line.split() for line in outcome.out.splitlines() if line.endswith(" same")] == [
        [name, "same"] for name in Hashes.model_fields
    ]
    for seed in (0, 1):  # they were trained together, so they are again
        there = tmp_path / "again" / path(method, seed).relative_to(path(method).parents[6])
        again = read_cube(there.with_suffix(".npz"))
        assert again.content_hash() == read_cube(path(method, seed).with_suffix(".npz")).content_hash()
        assert read_record(there).trained_together == (0, 1)


def test_the_printed_command_does_it_too(reproduce, cli, path, held_file, tmp_path):
    adapter = f"{held_file}:Held"
    outcome = reproduce(path("Held"), "--method", adapter)
    assert outcome.code == 0, outcome
    assert not (tmp_path / "again").exists()  # without --run, nothing is
    (line,) = [line.strip() for line in outcome.out.splitlines() if line.startswith("  omrl-bench run ")]
    assert line.endswith(f"--method {adapter} --family point-goal --seeds 0-1 --out {tmp_path / 'again'} --rerun all")
    assert cli(*shlex.split(line)[1:]).code == 0
    cell = path("Held").relative_to(path("Held").parents[6]).with_suffix(".npz")
    assert (
        read_cube(tmp_path / "again" / cell).content_hash()
        == read_cube(path("Held").with_suffix(".npz")).content_hash()
    )


def test_the_other_datasets_of_the_suite_are_left_out(reproduce, path, tiny):
    suite = tiny(('["mixed"]', '["mixed", "expert"]'), ('["iql"]', '["iql", "td3bc"]'))
    outcome = reproduce(path("random"), "--run", suite=suite)
    assert outcome.code == 0 and "building" not in outcome.out and "identical: " in outcome.out
    assert "# seeds 0-1 trained together; it also runs expert, td3bc of the suite, which" in outcome.out


def test_returns_that_were_changed_with_their_hashes(reproduce, path):
    change(path("random"), lambda returns: returns - np.array([3, 0], np.float32)[:, None, None])
    outcome = reproduce(path("random"), "--run")
    assert outcome.code == 1
    cube, other = (read_cube(path("random", seed).with_suffix(".npz")) for seed in (0, 1))
    gain = float((300 / (cube.expert - cube.random)).mean())
    found = re.search(
        r"high: score (\S+) then, (\S+) now, by (\S+); standard deviation over 2 seeds (\S+)", outcome.out
    )
    then, now, difference, spread = map(float, found.groups())
    assert then == pytest.approx(cube.scores()[0].mean(), abs=0.006) and difference == pytest.approx(gain, abs=0.006)
    assert now == pytest.approx(then + gain, abs=0.02)
    # of two numbers it is their distance / sqrt(2)
    assert spread == pytest.approx(abs(then + gain - float(other.scores()[0].mean())) / 2**0.5, abs=0.02)
    assert "different: of 400 returns one differs by 3 (" in outcome.out
    assert re.search(r"low: score (\S+) then, \1 now, by \+0.00;", outcome.out)


def test_returns_that_differ_by_rounding(reproduce, path):
    change(path("random"), lambda returns: returns * np.float32(1 + 1e-6))
    outcome = reproduce(path("random"), "--run")
    assert outcome.code == 0
    largest = np.abs(read_cube(path("random").with_suffix(".npz")).returns).max()
    stated = float(re.search(r"of 400 returns none differs by more than (\S+) \(", outcome.out).group(1))
    assert stated == pytest.approx(1e-6 * largest, rel=0.2) and "equal within rounding" in outcome.out


def test_a_cube_that_was_changed_alone(reproduce, path, tmp_path):
    cube_path = path("random").with_suffix(".npz")
    with np.load(cube_path) as file:
        arrays = dict(file)
    np.savez(cube_path, **arrays | {"returns": arrays["returns"] + np.float32(1)})
    outcome = reproduce(path("random"), "--run")
    assert outcome.code == 2 and not (tmp_path / "again").exists()
    assert f"{cube_path} is not the cube that its record was written with" in outcome.err
    fields = json.loads(path("random").read_text()) | {
        "cube": None,
        "content": None,
    }  # the first records have no hashes
    path("random").write_text(json.dumps(fields))
    outcome = reproduce(path("random"), "--run")
    assert outcome.code == 2 and f"{cube_path} disagrees with its record on the mean of 'high'" in outcome.err


MEANINGS = {
    "suite": "its version, protocol or budget is another",
    "family": "the MDPs, their training tasks or their simulation are others",
    "dataset": "the training data are other bytes",
    "contexts": "other episodes are given as contexts",
    "method": "the source of the method or of its backbone is another; its hyper-parameters are the same",
    "tasks": "other tasks are evaluated, or their reference returns are others",
}


@pytest.mark.parametrize(
    "names", [{"suite", "dataset", "method"}, {"family", "contexts", "tasks"}], ids=["of-training", "of-data"]
)
def test_hashes_that_have_changed(reproduce, path, names):
    change(path("random"), hashes=dict.fromkeys(names, "0123456789abcdef"))
    outcome = reproduce(path("random"))
    assert outcome.code == 0
    states = dict(line.split(maxsplit=1) for line in outcome.out.splitlines() if re.search("  (same|changed: )", line))
    assert states.keys() == MEANINGS.keys()
    for name, state in states.items():
        assert state.startswith(f"changed: {MEANINGS[name]}") if name in names else state == "same"


def test_a_repetition_of_what_has_changed_says_so_first(reproduce, path):
    configuration = read_record(path("focal")).configuration
    changed = configuration | {"latent": 3, "gone": 1, "backbone": configuration["backbone"] | {"batch": 1}}
    change(path("focal"), hashes={"method": "0" * 16, "suite": "1" * 16}, configuration=changed)
    outcome = reproduce(path("focal"), "--run")
    assert outcome.code == 0 and outcome.out.rstrip().endswith("have the record's bits")
    latent, batch = configuration["latent"], configuration["backbone"]["batch"]
    assert (
        f"changed: its hyper-parameters are others: latent was 3, is {latent}, backbone.batch was 1, is {batch}, "
        "gone was 1, is not there\n"
    ) in outcome.out
    said, started = (outcome.out.index(text) for text in ("changed since: suite, method; if", "start  point-goal"))
    assert said < started


def test_what_else_must_be_passed(cli, path, tiny, tmp_path, held_file):
    def refused(*arguments):
        outcome = cli("reproduce", *arguments)
        assert outcome.code == 2 and outcome.out == "" and outcome.err.count("\n") == 1
        return outcome.err

    assert "suite 'tiny' does not come with the package; pass the file" in refused(path("focal"))
    assert "--suite FILE" in refused(path("focal"))
    suite = tiny()
    assert "--method path/to/file.py:Held\n" in refused(path("Held"), "--suite", suite)
    other = tiny(('"tiny"', '"other"'), name="other.toml")
    assert "it is suite 'other', the record is of 'tiny'" in refused(path("focal"), "--suite", other)
    adapter = ("--method", f"{held_file}:Quick")
    assert "the record is of class 'Held'" in refused(path("Held"), "--suite", suite, *adapter)
    for old, new, words in (
        ('["mixed"]', '["expert"]', "unknown dataset of suite 'tiny' 'mixed'"),
        ('["iql"]', '["td3bc"]', "unknown backbone of suite 'tiny' 'iql'"),
        ("presets.quick", "presets.quicker", "unknown preset of suite 'tiny' 'quick'"),
        ('["point-goal"]', '["point-wind"]', "unknown family of suite 'tiny' 'point-goal'"),
    ):
        changes = [(old, new), *([('"quick"', '"quicker"')] if "quicker" in new else [])]
        assert words in refused(path("focal"), "--suite", tiny(*changes))
    assert "cannot be read" in refused(tmp_path / "none.json")


def test_no_record_is_ever_overwritten(reproduce, path, results, tmp_path):
    def snapshot():
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in results.rglob("seed-*")}

    before = snapshot()
    for out in (results, results / "deeper" / "again", results / ".." / results.name):
        outcome = reproduce(path("random"), "--run", out=out)
        assert outcome.code == 2 and "that is in the results folder of the record itself" in outcome.err
    copy = tmp_path / "copy.json"
    shutil.copy(path("random"), copy)
    shutil.copy(path("random").with_suffix(".npz"), copy.with_suffix(".npz"))
    outcome = reproduce(copy, "--run", out=results)
    assert outcome.code == 2 and "seed-0.json is there already" in outcome.err
    assert snapshot() == before


def test_a_record_of_a_failure(reproduce, path, tmp_path):
    change(path("random"), status="failed", error="ValueError: oh")
    assert reproduce(path("random")).code == 0
    outcome = reproduce(path("random"), "--run")
    assert outcome.code == 2 and "is the record of a failure: there are no numbers to compare with" in outcome.err
    assert not (tmp_path / "again").exists()


def test_a_repetition_that_fails(reproduce, path, tmp_path):
    adapter = tmp_path / "held.py"
    adapter.write_text(
        "from omrl_bench.api import Algorithm\nclass Held(Algorithm):\n"
        "    def fit(self, *arguments):\n        raise RuntimeError('the matrix is singular')\n"
        "    policy = save = load = None\n"
    )
    outcome = reproduce(path("Held"), "--run", "--method", f"{adapter}:Held")
    assert outcome.code == 1
    assert "the repetition failed: RuntimeError: the matrix is singular (held.py:4)" in outcome.out


RECORD = Record(
    cell=Cell(suite="smoke", family="point-goal", dataset="mixed", method="m", backbone="iql", preset="quick", seed=4),
    status="complete",
    hashes=Hashes(suite="", family="", dataset="", contexts="", method=""),
    dataset_status="canonical",
    privileges=(),
    configuration={},
    trained_together=(4, 7),
    versions=circumstances()["versions"],
    git={"commit": "04a168c0d859", "dirty": False},
    created="2026-01-01T00:00:00Z",
)
RUN = "omrl-bench run --suite smoke --preset quick --method m --family point-goal --seeds 4,7 --out 'a b' --rerun all"


def commands(**fields):
    found = steps(RECORD.model_copy(update=fields), Path("a b"))
    return [step.command for step in found if step.command], " | ".join(step.note for step in found)


def test_the_commands():
    assert commands()[0] == ["git checkout 04a168c0d859", RUN]
    assert "as committed" in commands()[1] and "not the very code" in commands(git=RECORD.git | {"dirty": True})[1]
    here = RECORD.versions
    older = here | {"torch": "2.0.1+cpu", "numpy": "1.9", "omrl-bench": "0.0.9", "python": "3.9.1"}
    found, notes = commands(versions=older)
    assert found == ["git checkout 04a168c0d859", "pip install numpy==1.9 torch==2.0.1", RUN]
    assert f"torch {here['torch']}, the record's 2.0.1+cpu" in notes and "it was made with Python 3.9.1" in notes
    found, notes = commands(versions=older, git={})
    assert found[0] == "pip install omrl-bench==0.0.9 numpy==1.9 torch==2.0.1" and "names no commit" in notes
    assert commands(device="cuda:1")[0][-1].endswith("--out 'a b' --device cuda:1 --rerun all")
    assert "weights were trained for limited, quick" in commands(trained_for="limited, quick")[1]


def test_nothing_of_a_record_gets_into_a_shell():
    evil = "1; rm -rf ~ #"
    found, notes = commands(
        git={"commit": evil},
        versions=RECORD.versions
        | {
            "gymnasium": f"1.0+\n{evil}",
            "python": f"3\n{evil}",
            "torch": evil,
            "numpy": f"2$({evil})",
            evil: "1.0",
            "mujoco": "--pre",
        },
        cell=RECORD.cell.model_copy(update={"method": evil}),
        device=evil,
        machine={"processor": f"Abacus\n{evil}"},
        trained_for=f"x\r\n{evil}",
    )
    run = RUN.replace("--method m", f"--method '{evil}'").replace("--rerun", f"--device '{evil}' --rerun")
    assert found == ["pip install gymnasium==1.0", run]
    assert not set(notes) & set("\r\n")
    assert f"it was made on Abacus {evil}; another processor may round otherwise" in notes


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True).map(tuple))
def test_seeds_are_written_as_they_are_read(seeds):
    assert parse_seeds(seed_text(seeds)) == seeds


def test_runs_of_seeds_are_short():
    assert [seed_text(seeds) for seeds in ((0, 1, 2), (3,), (0, 2), (2, 1), (0, 10**12))] == [
        *("0-2", "3", "0,2", "2,1", "0,1000000000000"),
    ]


def cube(returns, tasks=(3, 4), conditions=("high",)):
    floor, ceiling = np.full(len(tasks), -100, np.float32), np.full(len(tasks), 100, np.float32)
    array = np.array(returns, np.float32)
    return Cube(conditions=conditions, tasks=np.array(tasks), returns=array, random=floor, expert=ceiling)


def test_comparison_by_hand():
    original = cube([[[0, 20], [40, 60]]])  # scores 50 60 70 80, mean 65
    again = compare(original, {0: cube([[[0, 20], [40, 70]]]), 1: cube([[[0, 0], [0, 0]]])}, 0)
    assert not again.identical and not again.agrees
    assert (again.return_difference, again.score_difference) == (10, 5)
    (then, now, spread) = again.scores["high"]
    assert (then, now) == (65, 66.25) and spread == pytest.approx(16.25 / 2**0.5)
    assert compare(original, {0: original}, 0).identical and np.isnan(
        compare(original, {0: original}, 0).scores["high"][2]
    )
    # a return of 0.02 is 0.01 points here
    assert compare(original, {0: cube([[[0, 20], [40, 60.0199]]])}, 0).agrees
    assert not compare(original, {0: cube([[[0, 20], [40, 60.0202]]])}, 0).agrees
    assert not compare(original, {0: cube([[[0, 20], [40, np.nan]]])}, 0).agrees


def test_the_same_returns_against_other_references_do_not_agree():
    original = cube([[[0, 20], [40, 60]]])
    other = original.model_copy(update={"expert": original.expert * 2})
    again = compare(original, {0: other}, 0)
    assert again.return_difference == 0 and not again.agrees


@pytest.mark.parametrize(
    "other",
    [
        cube([[[0, 20], [40, 60]]], conditions=("low",)),
        cube([[[0, 20], [40, 60]]], tasks=(3, 5)),
        cube([[[0, 20, 1], [40, 60, 1]]]),
        cube([[[0, 20]]], tasks=(3,)),
    ],
)
def test_what_does_not_compare(other):
    assert compare(cube([[[0, 20], [40, 60]]]), {0: other}, 0) is None


@pytest.mark.parametrize("off", [{"score": 65.1}, {"mean_return": 30.1}, {"score": float("nan")}])
def test_metrics_that_are_not_those_of_the_cube(tmp_path, off):
    metric = Metric(score=65, mean_return=30)
    record = RECORD.model_copy(update={"metrics": {"high": metric}})
    write_record(tmp_path, record, cube([[[0, 20], [40, 60]]]))
    path = record.cell.record_path(tmp_path)
    assert read_original(path, record).returns.shape == (1, 2, 2)
    wrong = record.model_copy(update={"metrics": {"high": metric.model_copy(update=off)}})
    with pytest.raises(InputError, match="disagrees with its record on the mean of 'high'"):
        read_original(path, wrong)
