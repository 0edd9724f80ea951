"""How many published numbers have a counterpart that can be run: held, so that no change of a suite loses one."""

from collections import Counter

import pytest

import omrl_bench.report.papers.coverage as of_paper
from omrl_bench.report.papers.coverage import coverage, sentences
from omrl_bench.report.papers.mapping import Environment, load_paper, locate, locate_variants, paper_names, published

#: Numbers of the tables with a counterpart, all numbers, those with a second one in the environment as published, and
#: figures with a counterpart, all figures.
COVERED = {
    "ccm": (0, 0, 0, 3, 3),
    "focalpp": (79, 79, 20, 0, 1),
    "gentle": (144, 144, 24, 3, 3),
    "hs-omrl": (68, 68, 32, 0, 1),
    "r2pgo": (57, 57, 0, 2, 2),
}


@pytest.mark.parametrize("preset", ["standard", "reference"])
@pytest.mark.parametrize("name", paper_names())
def test_the_published_numbers_that_have_a_counterpart(name, preset):
    found = coverage(name, preset)
    of_tables = [sum(counts.values()) for counts in (found.covered, found.numbers, found.as_published)]
    assert (*of_tables, sum(found.figures.values()), len(found.figures)) == COVERED[name]
    assert not found.lacking
    assert found.numbers == Counter(row.table for row in published(name) if row.mean)  # a dash is no number


def test_what_has_another_budget_is_no_counterpart():
    found = coverage("gentle", "quick")
    assert found.figures == {"Figure 3": True, "Figure 4": False, "Figure 4, dotted line": False}
    assert not found.as_published and sum(found.covered.values()) == 144


def changed(monkeypatch, **parts):
    """FOCAL++ with other parts."""
    paper = load_paper("focalpp").model_copy(update=parts)
    monkeypatch.setattr(of_paper, "load_paper", lambda name: paper)
    return coverage("focalpp", "standard")


def test_what_has_none_is_counted_with_its_reason(monkeypatch):
    paper = load_paper("focalpp")
    wind = Environment(absent="there is no wind")
    found = changed(monkeypatch, environments=paper.environments | {"Point-Robot-Wind": wind})
    assert (found.covered["Table 1"], found.numbers["Table 1"]) == (6, 12)
    assert found.lacking["Table 1", "Point-Robot-Wind: there is no wind"] == 6
    lines = sentences(found)
    assert lines[0] == "focalpp: 59 of 79 published numbers have a counterpart (preset standard)"
    assert "  Table 1: 6 of 12" in lines and "    6 without: Point-Robot-Wind: there is no wind" in lines


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"condition": "best"}, "suite shift, preset standard, has no condition best"),
        ({"dataset": "expert"}, "suite shift has no dataset expert"),
        ({"method_suffix": "-soft"}, "no method focal-soft is registered"),
    ],
)
def test_a_counterpart_is_one_that_can_be_run(monkeypatch, part, reason):
    """Names in a mapping alone are none."""
    first, *others = load_paper("focalpp").conditions
    assert first.name == "given-context"
    found = changed(monkeypatch, conditions=(first.model_copy(update=part), *others))
    assert found.lacking["Table 1", reason] in (2, 12)
    assert found.covered.get("Table 1", 0) == 0


def test_an_environment_may_need_a_suite_of_its_own():
    paper = load_paper("focalpp")
    located = locate(paper, published("focalpp"), "standard")
    suites = {row.env: place.suite for row, place in located.items() if row.table == "Table 5"}
    assert suites == {
        "Sparse-Point-Robot": "shift",
        "Point-Robot-Wind": "shift",
        "Sparse-Cheetah-Vel": "shift-sparse",
        "Sparse-Ant-Fwd-Back": "shift-sparse",
    }
    hard = {place.method for row, place in located.items() if row.condition == "Hard-update"}
    assert hard == {f"focalpp-{name}-hard" for name in ("contrastive", "batch", "sequence", "parallel", "series")}


def test_the_second_counterpart_differs_in_its_family_and_preset_only():
    paper = load_paper("hs-omrl")
    located = locate(paper, published("hs-omrl"), "standard")
    second = locate_variants(paper, located)
    families = {(located[row].family, place.family) for row, place in second.items()}
    assert families == {("point-goal", "point-goal-h200"), ("ant-dir", "ant-dir-speed")}
    for row, place in second.items():
        assert place.preset == "variants"
        assert place._replace(family=located[row].family, preset="standard") == located[row]
