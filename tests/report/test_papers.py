"""Papers beside our records: the files that come with the package."""

import csv
import itertools
import math
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from omrl_bench.conditions import names
from omrl_bench.envs.families import FAMILIES
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite, suite_names
from omrl_bench.registry import methods
from omrl_bench.report.papers.mapping import (
    FULL_BUDGET,
    VARIANTS,
    Target,
    load_paper,
    locate,
    paper_names,
    parse_paper,
    published,
)
from omrl_bench.runner.settings import split_reference
from omrl_bench.stats.representation import measures

PAPERS = ("ccm", "focalpp", "gentle", "hs-omrl", "r2pgo")


def all_rows():
    text = resources.files("omrl_bench.protocols").joinpath("papers/published.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


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
