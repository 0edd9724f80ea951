"""Papers beside our records: the files that come with the package, the page, and orderings with known answers."""

import csv
import itertools
import math
from dataclasses import replace
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from omrl_bench.conditions import names
from omrl_bench.envs.families import FAMILIES
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite, suite_names
from omrl_bench.registry import methods
from omrl_bench.report.papers.claims import orderings_frame, summary
from omrl_bench.report.papers.mapping import (
    FULL_BUDGET,
    VARIANTS,
    Published,
    Target,
    all_targets,
    load_paper,
    locate,
    paper_names,
    parse_paper,
    published,
)
from omrl_bench.report.papers.orderings import claimed_level, independent, orderings, welch
from omrl_bench.report.papers.pages import compare_with, numbers_frame, page, write
from omrl_bench.report.papers.samples import Sample, samples
from omrl_bench.report.reading.frames import load, read
from omrl_bench.report.tables.captions import MISSING, sizes_text
from omrl_bench.runner.records import write_record
from omrl_bench.runner.settings import split_reference
from omrl_bench.stats.panels import Key, Panel
from omrl_bench.stats.representation import measures
from omrl_bench.stats.summary import summarise
from omrl_bench.stats.verdicts import holm

from .conftest import make_cube, make_record

PAPERS = ("ccm", "focalpp", "gentle", "hs-omrl", "r2pgo")


def all_rows():
    text = resources.files("omrl_bench.protocols").joinpath("papers/published.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


# --- what comes with the package ---


def test_every_paper_is_there_and_named_as_its_file():
    assert tuple(paper_names()) == PAPERS
    assert [load_paper(name).name for name in PAPERS] == list(PAPERS)
    assert {row["paper"] for row in all_rows()} == set(PAPERS) - {"ccm"}  # which prints no table


def test_the_numbers_are_all_there():
    counts = pd.DataFrame(all_rows()).groupby(["paper", "table"]).size()
    tables = {"hs-omrl": {"Table 1": 24, "Table 3": 40, "Section 5.3": 4}, "r2pgo": {"Table 1": 57}}
    tables |= {"gentle": {"Table 1": 88, "Table 2": 44, "Table 3": 12}}
    tables |= {"focalpp": dict(zip((f"Table {n}" for n in range(1, 7)), (12, 8, 18, 10, 21, 12), strict=True))}
    assert {paper: counts[paper].to_dict() for paper in tables} == tables


@pytest.mark.parametrize("name", PAPERS)
def test_every_number_is_in_exactly_one_cell_of_one_table(name):
    paper, rows = load_paper(name), published(name)
    labels = [table.label for table in paper.tables]
    assert len(set(labels)) == len(labels) and set(labels) == {row.table for row in rows}
    for table in paper.tables:
        of_table = [row for row in rows if row.table == table.label]
        fields = (*table.parts, *table.rows, *table.columns)
        cells = [tuple(getattr(row, field) for field in fields) for row in of_table]
        assert len(set(cells)) == len(cells) == len(set(of_table))
        # a field that is no row or column has one value, or a reader would not know which
        for field in {"env", "split", "condition", "algorithm"} - set(fields):
            assert len({getattr(row, field) for row in of_table}) == 1, (table.label, field)


@pytest.mark.parametrize("name", PAPERS)
def test_every_mapping_is_used_and_names_what_exists(name):
    paper, rows = load_paper(name), published(name)
    assert {row.env for row in rows} == set(paper.environments)
    assert {row.algorithm for row in rows} == set(paper.algorithms) and set(paper.own) <= set(paper.algorithms)
    assert sorted({(row.split, row.condition) for row in rows}) == sorted((c.split, c.name) for c in paper.conditions)
    assert {e.family for e in paper.environments.values() if e.family} <= set(FAMILIES)
    used = [a.method for a in paper.algorithms.values() if a.method]
    used += [split_reference(method)[0] for figure in paper.figures for method in figure.methods]
    assert set(used) <= set(methods())
    assert {e.variant for e in paper.environments.values() if e.variant} <= set(FAMILIES)
    assert {family for figure in paper.figures for family in figure.families} <= set(FAMILIES)
    for condition in (each for each in paper.conditions if not each.absent):
        assert condition.suite in suite_names()
        suite = load_suite(condition.suite)
        assert condition.dataset in suite.datasets
        assert condition.condition in names(suite.protocol.conditions(suite.preset("standard")[1].qualities))
        assert suite.protocol.split == condition.split
    for figure in paper.figures:
        if figure.suite:
            suite = load_suite(figure.suite)
            assert figure.condition in names(suite.protocol.conditions(suite.preset("standard")[1].qualities))
            assert set(figure.presets) <= set(suite.presets)


def budget(suite, preset, *but):
    return suite.presets[preset].model_dump(exclude={"seeds", "methods", "families", "family_updates", *but})


def test_what_stands_beside_a_preset_has_its_budget():
    """Presets of `FULL_BUDGET`, `VARIANTS` beside them, and those of a figure that compares numbers of tasks."""
    for suite in map(load_suite, suite_names()):
        for name in {*FULL_BUDGET, VARIANTS} & set(suite.presets):
            assert budget(suite, name) == budget(suite, "standard")
        for family in suite.families_of(VARIANTS) if VARIANTS in suite.presets else ():
            ours = FAMILIES[family].variant_of
            assert suite.presets[VARIANTS].of(family).updates == suite.presets["standard"].of(ours).updates
    for figure in (figure for name in PAPERS for figure in load_paper(name).figures):
        for preset in figure.presets:
            suite = load_suite(figure.suite)
            assert budget(suite, preset, "train_tasks") == budget(suite, "standard", "train_tasks")
            assert suite.presets[preset].family_updates == suite.presets["standard"].family_updates


def test_measures_are_those_that_records_hold():
    random = np.random.default_rng(0)
    known = measures(random.normal(size=(6, 2)), np.repeat([0, 1], 3), None, np.eye(2))
    named = {c.measure for name in PAPERS for c in load_paper(name).conditions if c.measure}
    assert named == {"rms", "separation"} and named <= set(known)


@pytest.mark.parametrize("name", PAPERS)
def test_within_a_comparison_no_two_algorithms_are_the_same_method(name):
    paper = load_paper(name)
    key = lambda row: (row.table, row.env, row.split, row.condition)  # noqa: E731
    located = locate(paper, published(name), "standard")
    for _, group in itertools.groupby(sorted(located, key=key), key):
        places = [located[row] for row in group if isinstance(located[row], Target)]
        assert len(set(places)) == len(places)


def test_numbers_are_printed_as_in_the_paper():
    rows = {(r.table, r.env, r.algorithm, r.split, r.condition): r for r in published("gentle")}
    row = rows["Table 1", "Point-Robot", "GENTLE", "test", "one-shot"]
    assert (row.text, row.value, row.spread) == ("-17.02 ± 2.60", -17.02, 2.6)
    (dash,) = [
        r for r in published("focalpp") if r.condition == "training random, testing expert" and r.algorithm == "FOCAL"
    ]
    assert dash.text == "" and math.isnan(dash.value) and math.isnan(dash.spread)


def test_places():
    located = locate(load_paper("gentle"), published("gentle"), "standard")
    place = {(r.table, r.env, r.split, r.condition, r.algorithm): found for r, found in located.items()}
    assert place["Table 1", "Ant-Dir", "train", "given-context", "BOReL"] == Target(
        "limited-train", "standard", "expert", "td3bc", "ant-dir", "expert", "borel", ""
    )
    assert place["Table 3", "Ant-Dir", "test", "mixed encoder data", "FOCAL"] == Target(
        "limited-encoder", "standard", "expert+mixed", "td3bc", "ant-dir", "episode-2", "focal", ""
    )
    assert place["Table 1", "Walker-Params", "train", "one-shot", "FOCAL"] == Target(
        "limited-one-shot-train", "standard", "expert", "td3bc", "walker-params", "episode-2", "focal", ""
    )


def test_what_has_no_place_says_why():
    paper = load_paper("gentle")
    lost = paper.environments | {"Ant-Dir": paper.environments["Ant-Dir"].model_copy(update={"family": "ant-mass"})}
    located = locate(paper.model_copy(update={"environments": lost}), published("gentle"), "standard")
    found = {place for row, place in located.items() if row.env == "Ant-Dir" and row.table == "Table 1"}
    assert "Ant-Dir: family ant-mass is not in suite limited-train" in found


def test_unknown_papers_and_bad_files():
    with pytest.raises(InputError, match="unknown paper 'gentel'; did you mean 'gentle'"):
        load_paper("gentel")
    text = resources.files("omrl_bench.protocols").joinpath("papers/r2pgo.toml").read_text()
    for old, new, message in (
        ('family = "cheetah-vel"', "", "environments.Half-Cheetah-Vel.*either 'family'"),
        ('family = "cheetah-vel"', 'family = "cheetah-vel"\nabsent = "no"', "either 'family'"),
        ('rows = ["env", "algorithm"]', 'rows = ["environment"]', "tables.0.rows"),
        ('method = "csro"', 'methods = "csro"', "algorithms.CSRO"),
        ('venue = "2024"', "venue = 2024]", "not valid TOML"),
    ):
        assert old in text
        with pytest.raises(InputError, match=f"mine.toml: .*{message}"):
            parse_paper(text.replace(old, new), "mine.toml")


# --- orderings with known answers ---


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


# --- the page, on records ---


def test_without_records_there_is_a_page_of_published_numbers(tmp_path):
    for name in PAPERS:
        comparison = compare_with(name, tmp_path / "nowhere", "standard")
        text = page(comparison)
        assert comparison.found == {} and comparison.notes == []
        for row in published(name):
            assert row.text in text
        if name == "ccm":
            assert "No complete records of suite explore, preset standard, for rv, dp, ccm-rv, ccm-dp." in text
            assert [path.name for path in write(comparison, tmp_path / "out")] == ["ccm.md"]
        else:
            assert {verdicts(row) for row in comparison.orderings} == {("no records", "no records")}
            assert "0 of the claims can be checked in our records." in text
            frame = numbers_frame(comparison)
            assert len(frame) == len(published(name)) and (frame["missing"] != "").all() and frame["ours"].isna().all()


def test_our_numbers_are_those_of_the_score_table(filled):
    comparison = compare_with("hs-omrl", filled.path, "standard")
    expected = summarise(load(filled.path)[0]).set_index(["condition", "method"])
    frame = numbers_frame(comparison).query("our_family == 'point-goal' and our_method == 'focal'")
    assert list(frame["our_condition"]) == ["low", "high"]
    for _, row in frame.iterrows():
        of_table = expected.loc[(row["our_condition"], "focal")]
        assert (row["ours"], row["ours_low"], row["ours_high"]) == tuple(
            of_table[["score_mean", "score_mean_low", "score_mean_high"]]
        )
        assert row["our_return"] == pytest.approx(of_table["return_mean"])
        assert (row["n_seeds"], row["n_tasks"], row["n_draws"]) == (3, 4, 2)
        assert "Horizon 60" in row["differs"] and row["missing"] == ""


def test_the_page_shows_both_and_says_what_is_missing(filled):
    comparison = compare_with("hs-omrl", filled.path, "standard")
    lines = page(comparison).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| HS-OMRL-SCL ")]
    estimate = comparison.found[Target("shift", "standard", "mixed", "iql", "point-goal", "low", "hs-scl", "")].estimate
    assert cells[0][:2] == ["HS-OMRL-SCL", "-60.6 ± 9.8"] and cells[0][2].startswith(f"{estimate:.1f} [")
    assert cells[0][3:] == [MISSING, "309.5 ± 63.4", MISSING, MISSING, "160.4 ± 58.2", MISSING, MISSING]
    text = "\n".join(lines)
    assert "walker-params (focal, focalpp-series, corro-cvae" in text  # complete records that are missing
    assert f"condition low: n = {sizes_text((3, 4, 2))}" in text
    assert "hs-hp), point-goal (focalpp-series, corro-cvae, hs-hg, hs-hp)" in text


def test_orderings_and_their_summary(filled):
    comparison = compare_with("hs-omrl", filled.path, "standard")
    frame = orderings_frame(comparison.orderings)
    seen = frame[frame["new_verdict"] != "no records"].set_index(["table", "higher", "lower"])
    assert len(seen) == 12 and set(seen["env"]) == {"PointRobotGoal"}
    for question in ("these_verdict", "new_verdict"):
        assert seen.loc[("Table 1", "HS-OMRL-HP+HG", "FOCAL"), question] == "reversed"
        assert seen.loc[("Table 1", "HS-OMRL-HP+HG", "Offline PEARL"), question] == "survives"
        assert seen.loc[("Table 1", "HS-OMRL-HP+HG", "HS-OMRL-SCL"), question] == "equivalent"
    row = seen.loc[("Table 1", "HS-OMRL-HP+HG", "FOCAL")]
    assert (row["published_difference"], row["claim"]) == (35.5, "claimed")
    assert row["published_p"] < 0.05 and row["these_detectable"] > 0
    claims = frame[frame["claim"] == "claimed"]
    sentences = summary(comparison.paper, comparison.orderings)
    assert sentences[0].startswith(f"{len(claims)} (37 independent) published orderings are claims: ")
    assert "5 seeds is p < 0.056, assuming that the spread is a standard deviation" in sentences[0]
    checked = claims[claims["new_verdict"] != "no records"]
    assert sentences[1].startswith(f"{len(checked)} (") and "of the claims can be checked" in sentences[1]
    counts = checked["new_verdict"].value_counts()
    assert sentences[3].startswith(f"On new tasks: {counts['survives']} ") and "surviving, " in sentences[3]
    assert "place the paper's own algorithm above another" in sentences[4]
    shown = page(comparison).replace("\\<", "<").splitlines()
    assert set(shown) >= {f"- {sentence}" for sentence in sentences}
    row = next(line for line in shown if "HS-OMRL-HP+HG \\> FOCAL " in line)
    assert row.count("reversed [") == 2 and row.count(", finds ") == 2


def test_incomplete_sets_of_seeds_are_used_and_noted(filled):
    filled.put("point-goal", "hs-scl", 2, preset="standard", error="ValueError: <b>|x|")
    filled.put("point-goal", "unicorn", 2, preset="standard", error="not of this paper")
    comparison = compare_with("hs-omrl", filled.path, "standard")
    place = Target("shift", "standard", "mixed", "iql", "point-goal", "low", "hs-scl", "")
    assert comparison.found[place].panel.seeds == (0, 1)
    text = page(comparison)
    assert r"point-goal / hs-scl: seed 2 failed: ValueError: \<b\>\|x\|" in text and "<b>" not in text
    assert "not of this paper" not in text
    assert f"{sizes_text((3, 4, 2))} or {sizes_text((2, 4, 2))}" in text


def test_other_presets_datasets_and_backbones_are_left_out(filled):
    for fields in ({"preset": "quick"}, {"dataset": "expert"}, {"backbone": "brac"}, {"suite": "mine"}):
        filled.put("point-goal", "hs-hg", 0, (99, 99), **{"preset": "standard"} | fields)
    assert "hs-hg" not in {place.method for place in compare_with("hs-omrl", filled.path, "standard").found}
    quick = compare_with("hs-omrl", filled.path, "quick")
    assert {place.method for place in quick.found} == {"hs-hg"}
    with pytest.raises(InputError, match="unknown preset of suite 'shift' 'standrad'; did you mean 'standard'"):
        compare_with("hs-omrl", filled.path, "standrad")


def test_a_record_unlike_the_others_is_left_out(filled):
    filled.put("point-goal", "hs-scl", 2, (94, 59), tasks=3, preset="standard")
    comparison = compare_with("hs-omrl", filled.path, "standard")
    place = Target("shift", "standard", "mixed", "iql", "point-goal", "low", "hs-scl", "")
    assert comparison.found[place].panel.seeds == (0, 1)
    assert "point-goal / hs-scl: seed 2 left out: its cube has other tasks" in page(comparison)


def test_figures_show_the_nearest_suite(store):
    for method, level in (("r2pgo", 80), ("r2pgo-noapg", 40)):
        for seed in range(2):
            store.put("point-goal", method, seed, (level, 5), preset="standard")
    comparison = compare_with("r2pgo", store.path, "standard")
    estimates = {place.method: sample.estimate for place, sample in comparison.found.items()}
    assert set(estimates) == {"r2pgo", "r2pgo-noapg"}  # figure 3 is beside contexts of high return
    lines = page(comparison).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("- Figure 3: "))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 : start + 7]]
    assert rows[0][:2] == ["method", "point-goal"]
    assert [row[0] for row in rows[2:]] == ["r2pgo", "r2pgo-norctr", "r2pgo-noapg"]
    for row in rows[2:]:
        shown = f"{estimates[row[0]]:.1f} [" if row[0] in estimates else MISSING
        assert row[1].startswith(shown) and set(row[2:]) == {MISSING}
    assert "No complete records of suite zero-shot, preset standard, for r2pgo, borel," in "\n".join(lines)  # figure 2


def test_a_figure_may_compare_presets(store):
    fields = {"suite": "limited", "dataset": "expert", "backbone": "td3bc"}
    levels = {"standard": 70, "standard-8": 50, "standard-4": 20}
    for preset, level in levels.items():
        for seed in range(2):
            curve = {"curve": ({"step": 1000, "score": 5.0}, {"step": 2000, "score": 9.0})}
            record = make_record("ant-dir", "gentle", seed, preset=preset, costs=curve, **fields)
            cube = make_cube((level,), seed).model_copy(update={"conditions": ("expert",)})
            write_record(store.path, record, cube)
    comparison = compare_with("gentle", store.path, "standard")
    lines = page(comparison).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("- Figure 4: "))
    head, _, row = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 : start + 5])
    presets = ("standard", "standard-8", "standard-6", "standard-4")
    assert head == ["method", *(f"ant-dir, preset {preset}" for preset in presets)]
    estimates = {place.preset: sample.estimate for place, sample in comparison.found.items()}
    assert row[0] == "gentle" and set(estimates) == set(levels)
    for preset, cell in zip(presets, row[1:], strict=True):
        assert cell.startswith(f"{estimates[preset]:.1f} [") if preset in levels else cell == MISSING
    lacking = f"No complete records of suite limited-train, presets {', '.join(presets)}, for gentle."
    assert lacking in lines
    assert set(comparison.curves) == {"Figure 3"}  # the same rows' learning curves are not figure 4
    quick = page(compare_with("gentle", store.path, "quick"))
    assert "ant-dir, preset" not in quick and "limited-train, presets" not in quick


def test_curves_of_the_paper_are_drawn_from_our_learning_curves(store, tmp_path):
    for method, last in (("r2pgo", 80.0), ("r2pgo-noapg", 40.0), ("focal", 9.0)):
        curve = ({"step": 1000, "score": 5.0}, {"step": 2000, "score": last})
        for seed in range(2):
            store.put("point-goal", method, seed, preset="standard", costs={"curve": curve})
    comparison = compare_with("r2pgo", store.path, "standard")
    assert set(comparison.curves) == {"Figure 3"}  # none of suite zero-shot, for figure 2
    assert set(comparison.curves["Figure 3"].frame["method"]) == {"r2pgo", "r2pgo-noapg"}
    names = {path.name for path in write(comparison, tmp_path)}
    pictures = {f"r2pgo-figure-3.{ending}" for ending in ("svg", "pdf", "png")}
    assert {name for name in names if "figure" in name} == pictures
    assert "](r2pgo-figure-3.svg)" in (tmp_path / "r2pgo.md").read_text()
    assert "r2pgo-noapg" in (tmp_path / "r2pgo-figure-3.svg").read_text()


def test_measures_of_the_representation(store):
    values = {"focal": (0.2, 0.3, 0.4), "focalpp-series": (0.6, 0.7, 0.8)}
    for method, of_method in values.items():
        for seed, value in enumerate(of_method):
            measured = {"high": {"separation": value}, "low": {"separation": 9.0}}
            store.put("point-sparse", method, seed, preset="standard", costs={"representation": measured})
    store.put("point-sparse", "focal", 3, preset="standard")  # an older record without measures
    comparison = compare_with("focalpp", store.path, "standard")
    found = {place.method: sample for place, sample in comparison.found.items() if place.measure == "separation"}
    assert {method: tuple(sample.panel.scores[:, 0]) for method, sample in found.items()} == values
    assert not [place for place in comparison.found if place.measure == "rms"]
    (row,) = [r for r in comparison.orderings if r.higher.condition == "ESR" and r.n_seeds]
    assert row.new is None and row.verdict("new") == "not tested"
    assert (row.higher.algorithm, row.n_seeds, row.n_tasks) == ("FOCAL++", 3, 0)
    assert row.difference == pytest.approx(0.4)
    text = page(comparison)
    assert "0.700 [" in text and "|  0.400 |" in text
    assert "3 seeds; the interval covers seeds only" in text


def test_the_same_records_make_the_same_bytes(filled, tmp_path):
    contents = []
    for out in (tmp_path / "a", tmp_path / "b"):
        paths = write(compare_with("hs-omrl", filled.path, "standard"), out)
        contents.append({path.name: path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"hs-omrl.md", "hs-omrl.csv", "hs-omrl-orderings.csv"}
    assert b"\r" not in b"".join(contents[0].values())


def test_samples_reads_nothing_but_what_is_asked_for(filled):
    paper = load_paper("hs-omrl")
    targets = all_targets(paper, locate(paper, published("hs-omrl"), "standard"), "standard")
    wanted = ("standard", "focal", "low")
    chosen = [place for place in targets if (place.preset, place.method, place.condition) == wanted]
    found, _ = samples({("shift", "standard"): read(filled.path, "shift", "standard")}, chosen, "standard")
    assert list(found) == [Target("shift", "standard", "mixed", "iql", "point-goal", "low", "focal", "")]


def test_every_markdown_table_is_whole(filled):
    """Every line of a table has as many cells as its header, whatever its names hold."""
    for name in PAPERS:
        lines = page(compare_with(name, filled.path, "standard")).splitlines()
        for _, block in itertools.groupby(lines, lambda line: line.startswith("|")):
            widths = {line.replace(r"\|", "").count("|") for line in block if line.startswith("|")}
            assert len(widths) <= 1
