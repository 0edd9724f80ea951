"""Published orderings and our verdicts on them, with known answers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from omrl_bench.errors import InputError
from omrl_bench.report.papers.mapping import (
    Published,
    Target,
    load_paper,
)
from omrl_bench.report.papers.orderings import claimed_level, independent, orderings, welch
from omrl_bench.report.papers.samples import Sample
from omrl_bench.stats.panels import Key, Panel
from omrl_bench.stats.verdicts import holm


def rows_of(*numbers, table="Table 1", env="E"):
    return [Published(table, env, "test", "c", algorithm, mean, std) for algorithm, mean, std in numbers]


def place(row):
    return Target("shift", "quick", "mixed", "iql", row.env, row.condition, row.algorithm, "")


def sample(level, seeds=5, tasks=6, noise=1.0, effect=10.0):
    tasks_effect = np.random.default_rng(1).normal(0, effect, (1, tasks))
    values = level + tasks_effect + np.random.default_rng(int(level)).normal(0, noise, (seeds, tasks))
    key = Key("shift", "quick", "mixed", "iql", "E", "c", f"level {level}")
    return Sample(key, Panel("E", values, values, tuple(range(seeds)), tuple(range(tasks)), 2), False, 0, 0, 0)


PAPER = load_paper("hs-omrl")  # five seeds


def judged(rows, levels, **size):
    located = {row: place(row) for row in rows}
    found = {place(row): sample(levels[row.algorithm], **size) for row in rows if row.algorithm in levels}
    return orderings(PAPER, located, found), found


def verdicts(row):
    return row.verdict("these"), row.verdict("new")


def test_claims_and_verdicts():
    rows = rows_of(("A", "10", "3"), ("B", "4", "4"), ("C", "5.5", "1"), ("D", "1", ""), ("E", "30", "1"))
    result, found = judged(rows, {"A": 80, "B": 50, "C": 49.9, "E": 80.5})
    seen = {(r.higher.algorithm, r.lower.algorithm): (r.claim, *verdicts(r)) for r in result}
    assert seen == {
        ("A", "B"): ("claimed", "survives", "survives"),  # 6 > 5 = root of 9 + 16
        ("A", "C"): ("claimed", "survives", "survives"),
        ("C", "B"): ("within noise", "not tested", "not tested"),
        ("E", "A"): ("claimed", "equivalent", "equivalent"),
        ("E", "B"): ("claimed", "survives", "survives"),
        ("E", "C"): ("claimed", "survives", "survives"),
        **{(name, "D"): ("no spread", "no records", "no records") for name in "ABCE"},
    }
    first = result[0]
    a, b = (found[place(row)].panel.scores for row in rows[:2])
    assert first.difference == pytest.approx(a.mean() - b.mean())
    welchs = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    assert (first.these.low, first.these.high) == pytest.approx(tuple(welchs.confidence_interval()))
    assert first.these.p_value == pytest.approx(welchs.pvalue)
    assert first.new.high - first.new.low < 5  # the tasks' effect of 10 is on both sides
    assert (first.n_seeds, first.n_tasks) == (5, 6)
    untested = next(row for row in result if row.claim == "within noise")
    assert math.isnan(untested.new.p_value) and untested.new.low < untested.difference < untested.new.high
    assert (result[3].n_seeds, math.isnan(result[3].difference)) == (5, False)


def test_a_reversed_ordering_keeps_the_published_order():
    (row,), _ = judged(rows_of(("A", "-50", "1"), ("B", "-20", "1")), {"A": 70, "B": 30})
    assert row.higher.algorithm == "B" and verdicts(row) == ("reversed", "reversed") and row.new.high < 0


def test_one_seed_or_task_leaves_questions_undecided():
    rows = rows_of(("A", "2", "1"), ("B", "0", "1"))
    (row,), _ = judged(rows, {"A": 80, "B": 20}, seeds=1)
    assert verdicts(row) == ("undecided", "undecided")
    (row,), _ = judged(rows, {"A": 80, "B": 20}, tasks=1)
    assert verdicts(row) == ("survives", "undecided")


def test_seeds_are_paired_where_the_rule_says_so():
    rows = rows_of(("A", "2", "1"), ("B", "0", "1"))
    found = {place(row): replace(sample(level), paired=True) for row, level in zip(rows, (80, 78), strict=True)}
    (row,) = orderings(PAPER, {row: place(row) for row in rows}, found)
    difference = found[place(rows[0])].panel.scores - found[place(rows[1])].panel.scores
    paired = stats.ttest_1samp(difference.mean(axis=1), 0).confidence_interval()
    assert (row.these.low, row.these.high) == pytest.approx(tuple(paired))


def test_the_published_test_is_welchs():
    a, b = np.array([[1.0, 4, 2, 7, 3], [9.0, 5, 6, 8, 4]])
    higher, lower = (rows_of((n, str(x.mean()), str(x.std(ddof=1))))[0] for n, x in (("B", b), ("A", a)))
    assert welch(higher, lower, 5) == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue)
    assert math.isnan(welch(higher, lower, 0)) and math.isnan(welch(higher, rows_of(("C", "1", ""))[0], 5))
    level, edge = claimed_level(5), rows_of(("A", str(math.sqrt(2)), "1"), ("B", "0", "1"))
    assert welch(*edge, 5) == pytest.approx(level) == pytest.approx(0.0558, abs=1e-4)
    assert [round(claimed_level(seeds), 3) for seeds in (3, 8)] == [0.158, 0.013]
    result, _ = judged(rows_of(("A", "9", "1"), ("B", "5", "1"), ("C", "4.9", "1"), ("D", "0", "1")), {})
    claims = [row for row in result if row.claim == "claimed"]
    np.testing.assert_allclose([row.published_holm for row in claims], holm(np.array([r.published_p for r in claims])))
    assert len(claims) == 5 and math.isnan(next(r for r in result if r.claim == "within noise").published_holm)


def test_dependent_claims_are_fewer_independent_contrasts():
    """Of k algorithms at most k - 1 in each environment and condition; a chain, a cycle, two parts."""
    levels = [(name, str(10 * n), "1") for n, name in enumerate("ABCD")]
    everything, _ = judged([*rows_of(*levels), *rows_of(*levels[:2], env="F")], {})
    assert len(everything) == 7 and independent(everything) == 4
    pairs = {(r.higher.algorithm, r.lower.algorithm): r for r in everything if r.higher.env == "E"}
    assert independent([pairs["B", "A"], pairs["C", "B"], pairs["C", "A"]]) == 2
    assert independent([pairs["B", "A"], pairs["D", "C"]]) == 2
    assert independent([]) == 0


def test_a_difference_that_is_the_spread_is_within_noise():
    result, _ = judged(rows_of(("A", "7", "3"), ("B", "2", "4")), {})
    assert [row.claim for row in result] == ["within noise"]


def test_equal_means_and_dashes_order_nothing():
    assert judged(rows_of(("A", "0.5", ""), ("B", "0.50", ""), ("C", "", "")), {})[0] == []


def test_repeated_numbers_count_once_and_others_again():
    first, again = rows_of(("A", "2", "1"), ("B", "0", "1")), rows_of(("A", "2", "1"), ("B", "0", "1"), table="Table 5")
    corrected = rows_of(("A", "3", "1"), ("B", "0", "1"), table="Table 4")
    result, _ = judged([*first, *again, *corrected], {})
    assert [row.higher.table for row in result] == ["Table 1", "Table 4"]
    other = rows_of(("A", "2", "1"), ("B", "0", "1"), env="F")
    assert len(judged([*first, *other], {})[0]) == 2


def test_verdicts_are_corrected_over_the_claims_of_an_environment_and_condition():
    size = {"noise": 12.0, "seeds": 3, "tasks": 4}
    names = [chr(ord("A") + n) for n in range(8)]
    levels = {name: 50 + 4 * n for n, name in enumerate(names)}
    rows = rows_of(*((name, str(n), "2") for n, name in enumerate(names)))  # three steps apart: claimed
    result, _ = judged(rows, levels, **size)
    claims = [row for row in result if row.claim == "claimed"]
    assert 0 < len(claims) < len(result)
    for question in ("these", "new"):
        judgements = [getattr(row, question) for row in claims]
        adjusted = holm(np.array([each.p_value for each in judgements]))
        np.testing.assert_allclose([each.p_holm for each in judgements], adjusted)
        decided = [row.verdict(question) in ("survives", "reversed") for row in claims]
        assert decided == [p < 0.05 for p in adjusted]
        assert sum(decided) < sum(each.p_value < 0.05 for each in judgements)  # the correction counts
    elsewhere = rows_of(("A", "0", "1"), ("H", "9", "1"), table="Table 2", env="F")
    together, _ = judged([*rows, *elsewhere], levels, **size)
    assert together[-1].higher.env == "F"
    assert [verdicts(row) for row in together[:-1]] == [verdicts(row) for row in result]
    assert together[-1].new.p_holm == together[-1].new.p_value
    another_table = rows_of(("A", "0.1", "1"), ("H", "9.1", "1"), table="Table 2")
    same_question, _ = judged([*rows, *another_table], levels, **size)
    p_values = np.array([row.new.p_value for row in same_question if row.claim == "claimed"])
    found = [row.new.p_holm for row in same_question if row.claim == "claimed"]
    assert len(p_values) == len(claims) + 1
    np.testing.assert_allclose(found, holm(p_values))


def test_other_tasks_do_not_compare():
    rows = rows_of(("A", "2", "1"), ("B", "0", "1"))
    found = {place(rows[0]): sample(80), place(rows[1]): sample(20, tasks=5)}
    with pytest.raises(InputError, match=r"cannot compare with 'level 20': .*the tasks are not the same"):
        orderings(PAPER, {row: place(row) for row in rows}, found)
