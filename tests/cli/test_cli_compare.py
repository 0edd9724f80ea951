"""``compare``: two methods of a results folder, in numbers and words."""

import numpy as np
import pytest

from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.records import Cell, Hashes, Record, write_record
from omrl_bench.stats.comparison import compare


def put(
    path,
    method,
    level,
    seed,
    family="point-goal",
    conditions=("high", "low"),
    error=None,
    tasks=6,
    data="canonical",
    **names,
):
    """Write a record and a cube of scores around a level; tasks' effects are common."""
    names = {"suite": "shift", "preset": "quick", "dataset": "mixed", "backbone": "iql"} | names
    record = Record(
        cell=Cell(family=family, method=method, seed=seed, **names),
        status="failed" if error else "complete",
        error=error,
        hashes=Hashes(suite="s", family="f", dataset="d", contexts="c", method=method, tasks="t"),
        dataset_status=data,
        privileges=(),
        configuration={},
        trained_together=(seed,),
        family_version="v1",
        created="2026-01-01T00:00:00Z",
    )
    rng = np.random.default_rng([seed, len(method)])
    scores = level + np.linspace(-10, 10, tasks)[:, None] + rng.normal(0, 2, (len(conditions), tasks, 3))
    cube = Cube(
        conditions=conditions,
        tasks=np.arange(40, 40 + tasks),
        returns=(-300 + 2.5 * scores).astype(np.float32),
        random=np.full(tasks, -300.0),
        expert=np.full(tasks, -50.0),
    )
    write_record(path, record, None if error else cube)


@pytest.fixture
def results(tmp_path):
    """Two families; `focal` beats `pearl` by 30 points."""
    for family in ("point-goal", "cheetah-vel"):
        for seed in range(4):
            put(tmp_path / "results", "focal", 80, seed, family)
            put(tmp_path / "results", "pearl", 50, seed, family)
    return tmp_path / "results"


def rows_of(out):
    """Words of the two lines of each row: (family, A, ...), (condition, B, ...)."""
    lines = [line.split() for line in out.splitlines()]
    starts = [index for index, line in enumerate(lines) if line and line[0] in ("high", "low")]
    return [(lines[index - 1], lines[index]) for index in starts]


def test_compare(cli, results):
    outcome = cli("compare", "focal", "pearl", "--results", results)
    assert outcome.code == 0 and outcome.err == ""
    names = [(first[0], second[0]) for first, second in rows_of(outcome.out)]
    families = ("cheetah-vel", "point-goal", "all")
    assert names == [(family, condition) for family in families for condition in ("high", "low")]
    for question in ("these", "new"):
        assert f"On {question} tasks: of 6 rows, focal is better than pearl in 6." in outcome.words
    assert "note:" not in outcome.out


def test_numbers_are_those_of_the_statistics(cli, results):
    from omrl_bench.report.reading.frames import collect

    (found,) = collect(results)
    row = compare(found.frame, "focal", "pearl").query("family == 'point-goal' and condition == 'low'").iloc[0]
    out = cli("compare", "focal", "pearl", "--results", results, "--family", "point-goal").out
    lines = out.splitlines()
    (number,) = [index for index, line in enumerate(lines) if line.split()[:1] == ["low"]]
    assert f"{row['difference']:+.1f}" in lines[number - 1] and f"{row['improvement']:.2f}" in lines[number - 1]
    for question in ("these", "new"):
        assert f"[{row[f'{question}_low']:+.1f}, {row[f'{question}_high']:+.1f}]" in lines[number - 1]
        assert f"finds {row[f'{question}_detectable']:.1f}" in lines[number + 1]
    assert lines[number].count("better") == 2 and "4 x 6" in lines[number]


def test_no_number_is_cut_off_on_a_screen_of_80_columns(cli, results, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for seed in range(4):
        put(results, "focal", 90, seed, "cheetah-vel-sparse")
        put(results, "pearl", -120, seed, "cheetah-vel-sparse")
    out = cli("compare", "focal", "pearl", "--results", results).out
    table = out[: out.index("On these tasks: ")]
    assert "\N{HORIZONTAL ELLIPSIS}" not in table and max(map(len, table.splitlines())) <= 80
    assert table.count("]") == 3 * table.count("4 x ")


def test_data_that_do_not_compare_are_noted(cli, results):
    for seed in range(4):
        put(results, "focal", 80, seed, data="unknown")
    words = cli("compare", "focal", "pearl", "--results", results).words
    assert "note: point-goal: 4 of 8 records were trained on data of unknown status, of methods focal" in words
    assert "unknown status" not in cli("compare", "focal", "pearl", "--results", results, "--family", "cheetah-vel").out


def test_the_other_way_round(cli, results):
    assert cli("compare", "pearl", "focal", "--results", results).words.count("pearl is worse than focal in 6.") == 2


def test_equal_methods_are_equivalent(cli, results):
    for seed in range(4):
        put(results, "twins", 50, seed, "point-goal")  # a name as long as the other's: the same noise
    words = cli("compare", "twins", "pearl", "--results", results).words
    assert words.count("of 2 rows, twins is equivalent to pearl in 2.") == 2


def test_one_family(cli, results):
    out = cli("compare", "focal", "pearl", "--results", results, "--family", "point-goal").out
    assert "point-goal" in out and "cheetah-vel" not in out and "all  " not in out


def test_a_missing_family_is_noted_and_not_averaged_over(cli, results):
    for seed in range(4):
        put(results, "corro", 90, seed, "point-goal")
    outcome = cli("compare", "corro", "pearl", "--results", results)
    assert "On new tasks: of 2 rows, corro is better than pearl in 2." in outcome.words
    assert not any(line.startswith("all ") for line in outcome.out.splitlines())
    note = "note: cheetah-vel / corro: no results; the family is left out, and so is the mean over all"
    assert outcome.out.splitlines().count(note) == 1
    assert outcome.out.count("cheetah-vel / corro") == 1


def test_a_family_that_both_lack_leaves_no_mean_over_all(cli, results):
    for seed in range(4):
        put(results, "oracle", 95, seed, "ant-dir")
    outcome = cli("compare", "focal", "pearl", "--results", results)
    assert not any(line.startswith("all ") for line in outcome.out.splitlines())
    for method in ("focal", "pearl"):
        assert f"note: ant-dir / {method}: no results" in outcome.out


def test_missing_conditions_seeds_and_failures_are_noted(cli, results):
    for seed in range(4):
        conditions = ("high",) if seed < 3 else ()
        put(results, "corro", 90, seed, conditions=conditions, error=None if conditions else "ValueError: [bold]no")
    outcome = cli("compare", "corro", "pearl", "--results", results, "--family", "point-goal")
    assert "note: point-goal / corro: no results with low; left out" in outcome.out
    assert "note: point-goal / corro: without seeds 3 of pearl" in outcome.out
    assert "note: point-goal / corro: seed 3 failed: ValueError: [bold]no" in outcome.out


def test_a_single_seed_decides_nothing(cli, tmp_path):
    for method, level in (("focal", 80), ("pearl", 50)):
        put(tmp_path, method, level, 0)
    words = cli("compare", "focal", "pearl", "--results", tmp_path).words
    assert words.count("between focal and pearl nothing is decided in any of the 2 rows.") == 2
    assert "With a single seed nothing is ever decided, and with a single task nothing on new tasks." in words


def test_presets_are_kept_apart(cli, results):
    for seed in range(4):
        put(results, "focal", 20, seed, preset="paper")
        put(results, "pearl", 50, seed, preset="paper")
    both = cli("compare", "focal", "pearl", "--results", results).words
    assert (
        "shift / quick / mixed / iql: focal compared" in both and "shift / paper / mixed / iql: focal compared" in both
    )
    one = cli("compare", "focal", "pearl", "--results", results, "--preset", "paper").words
    assert "focal is worse than pearl in 2." in one and "quick" not in one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fokal", "pearl"), "unknown method 'fokal'; did you mean 'focal'?"),
        (("focal", "perl"), "unknown method 'perl'; did you mean 'pearl'?"),
        (("focal", "focal"), "'focal' cannot be compared with itself"),
        (("focal", "pearl", "--family", "point-gaol"), "unknown family 'point-gaol'; did you mean 'point-goal'?"),
        (("focal", "pearl", "--suite", "ood"), "no complete records in"),
        (("focal", "pearl", "--results", "nowhere"), "nowhere is not a folder of results"),
    ],
)
def test_bad_input(cli, results, arguments, message):
    given = arguments if "--results" in arguments else (*arguments, "--results", results)
    outcome = cli("compare", *given)
    assert outcome.code == 2
    assert message in outcome.words


def test_nothing_in_common_and_other_tasks(cli, results):
    for seed in range(4):
        put(results, "corro", 80, seed, "ant-dir")
        put(results, "gentle", 80, seed, "point-goal", tasks=4)
    outcome = cli("compare", "corro", "pearl", "--results", results)
    assert outcome.code == 2 and "corro and pearl have no family and condition in common" in outcome.words
    outcome = cli("compare", "gentle", "pearl", "--results", results)
    assert outcome.code == 2 and "unknown method 'gentle'" in outcome.words  # all of its records are left out


def test_one_method_is_compared_with_the_control_that_cannot_adapt(cli, results):
    put(results, "task-blind", 40, 0, "point-goal")
    put(results, "task-blind", 40, 1, "point-goal")
    named = cli("compare", "focal", "task-blind", "--results", results)
    alone = cli("compare", "focal", "--results", results)
    assert alone.code == named.code == 0
    assert alone.out == named.out
    assert "focal compared with task-blind" in alone.words
