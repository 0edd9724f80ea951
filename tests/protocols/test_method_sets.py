"""Named sets of methods: what they hold, where they may be written, what is said of one that does not exist."""

import pytest

from omrl_bench import registry
from omrl_bench.errors import InputError
from omrl_bench.protocols.method_sets import expanded, method_sets
from omrl_bench.protocols.suite import load_suite, suite_names
from omrl_bench.runner.plan import select

from .test_suite import message, parse


@pytest.mark.parametrize("name", method_sets())
def test_a_set_holds_registered_methods_once(name):
    members = expanded([f"@{name}"])
    assert len(set(members)) == len(members) > 1
    assert set(members) <= set(registry.methods())


def test_the_papers_and_the_controls_are_all_methods_but_unicorn():
    hard = expanded(["@focalpp-hard"])
    rows = "nearest-task context-bc unicorn-sup er-trl idaq-focal idaq-csro idaq-unicorn dora contextual-bcq mbml spc"
    sequences = "prompt-dt prompt-dt-expert meta-dt ad dpt dpt-expert ic-iql ic-td3bc"
    later = {*rows.split(), *sequences.split()}
    others = {"unicorn", "ccm-rv-explore-noreg", "sweep", "uniform", *hard, *later}
    known = {name for name, target in registry.methods().items() if name not in others}
    assert set(expanded(["@controls", "@papers"])) == known


def test_what_is_in_several_sets_comes_once_in_the_order_of_writing():
    assert expanded(["oracle", "@bounds", "focal"]) == ("oracle", "random", "task-blind", "focal")
    assert expanded(["@bounds", "@controls"]) == ("random", "task-blind", "oracle", "behaviour", "supervised")
    assert expanded(["focal", "focal"]) == ("focal", "focal")  # whoever forbids that can say so
    assert expanded([]) == ()


def test_a_suite_may_name_sets():
    suite = parse(
        ('["focal", "pearl"]', '["@bounds", "focal"]'),
        ("[presets.standard]", "[presets.standard]\nmethods = ['@borel']"),
    )
    assert suite.methods == ("random", "task-blind", "oracle", "focal")
    assert suite.methods_of("standard") == ("borel", "borel-oracle")


def test_a_set_that_does_not_exist():
    with pytest.raises(InputError, match="unknown method set '@papres'; did you mean '@papers'"):
        expanded(["focal", "@papres"])
    assert (
        message(('["focal", "pearl"]', '["@papres"]'))
        == "key 'methods': unknown method set '@papres'; did you mean '@papers'?"
    )
    assert message(('["focal", "pearl"]', '["@papers", "@papers"]')) == "key 'methods': '@papers' is given twice"
    with pytest.raises(InputError, match="unknown method set '@gentel'; did you mean '@gentle'"):
        select(load_suite("shift"), methods=["@gentel"])


def test_a_command_may_name_sets():
    found = select(load_suite("shift"), methods=["@gentle", "focal"], families=["point-goal"])
    assert [method.name for method in found.methods] == [*expanded(["@gentle"]), "focal"]


def test_the_file_of_sets_is_no_suite():
    assert "method_sets" not in suite_names()
