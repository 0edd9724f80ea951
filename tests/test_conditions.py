"""Conditions and their names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omrl_bench.conditions import CONTEXT, EPISODE, EXECUTE, EXPLORE, Condition, names
from omrl_bench.data.contexts import SOURCES
from omrl_bench.protocols.suite import load_suite, suite_names


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("episode-3", Condition(EPISODE, 3)),
        ("explore-12", Condition(EXPLORE, 12)),
        ("execute", Condition(EXECUTE)),
        ("execute-4", Condition(EXECUTE, 4)),
        ("high", Condition(CONTEXT, quality="high")),
        ("fine-tune-2", Condition("fine-tune", 2)),
        ("episode-0", Condition(CONTEXT, quality="episode-0")),  # they are counted from 1
    ],
)
def test_a_name_says_what_the_condition_is(name, condition):
    assert Condition.parse(name) == condition
    assert condition.name == name
    assert condition.given == (condition.kind == CONTEXT)


@given(st.sampled_from([EPISODE, EXPLORE, "search"]), st.integers(1, 10**6))
def test_numbered_conditions_are_read_as_they_are_written(kind, number):
    assert Condition.parse(Condition(kind, number).name) == Condition(kind, number)


def test_the_conditions_of_all_suites_are_read_as_they_are_written():
    for suite in map(load_suite, suite_names()):
        for preset in suite.presets.values():
            conditions = suite.protocol.conditions(preset.qualities)
            assert tuple(map(Condition.parse, names(conditions))) == conditions
            assert suite.protocol.gives_contexts or not any(condition.given for condition in conditions)


def test_every_context_quality_is_the_name_of_a_condition():
    for quality in SOURCES:
        assert Condition.parse(quality) == Condition.context(quality)
