"""What each cheat of the corpus gets: its honest score, or a failure in a sentence that says what is wrong."""

from pathlib import Path

import pytest

from omrl_bench.api import Setup
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.rollout import PolicyError
from omrl_bench.referee.method import Hosted
from omrl_bench.referee.process import MethodError


@pytest.fixture(scope="module")
def honest(judge):
    """Scores of the honest method with good and with bad contexts."""
    target = f"{Path(__file__).parent / 'adapters' / 'honest.py'}:Honest"
    with Hosted(target, get_family("point-goal").space(), Setup()) as made:
        judged = judge(made, draws=4)
        judged.fit(seeds=(0,))
        scores = judged.scores(0)
        judged.check(0)
        return scores


@pytest.fixture
def judged(cheat, judge):
    """A method of the corpus, trained: judged("remembers")."""

    def make(*which, draws=4, **options):
        made = judge(cheat(*which), draws=draws, **options)
        made.fit(seeds=(0,))
        return made

    return make


def test_the_process_of_a_method_knows_nothing_of_scores(judged, honest):
    made = judged("modules")
    assert made.scores(0).tolist() == honest.tolist()
    known = set(b"".join(made.method.printed).decode().split())  # of all of its processes
    assert {"omrl_bench.api", "omrl_bench.referee.host", "numpy"} <= known
    assert not known & {f"omrl_bench.{name}" for name in ("envs", "protocols", "runner", "stats", "report", "calls")}
    assert not known & {"mujoco", "minari", "gymnasium", "torch"}


def test_the_honest_method_can_do_better_with_what_cheats_look_for(honest):
    good, bad = honest
    assert 50 < good < 99 and bad < good - 30


@pytest.mark.parametrize("name", ["log_self", "stack_frames", "patched_evaluator", "remembers"])
def test_nothing_is_found_and_nothing_carries_over(name, judged, honest):
    """The scorer is in another process, and every condition has a process of its own."""
    made = judged(name)
    assert made.scores(0).tolist() == honest.tolist()
    made.check(0)


@pytest.mark.parametrize("name", ["pools", "task_table"])
def test_the_place_of_a_lane_says_nothing(name, judged, honest):
    good, bad = judged(name).scores(0)
    assert good < honest[0] / 2 and bad < 10  # what walking to some other task's goal is worth


def test_an_order_that_was_computed_is_found_by_the_sampled_check(judged, honest):
    made = judged("lane_order", draws=2, split="test")
    assert made.scores(0)[1] > 99  # it is that of the second condition
    with pytest.raises(PolicyError, match=r"lanes depend on each other: 40 of them score "):
        for draw in range(5):  # either condition is sampled
            made.check(0, draw)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ComplexActions", r"act returned numbers of type complex64; expected real numbers, \(20, 2\)"),
        ("ListOfActions", r"ListOfActions: act returned a list; expected a NumPy array \(lanes, action size\)"),
        ("ObjectActions", r"ObjectActions: act returned an array of object; expected a NumPy array"),
        (
            "FewActions",
            r"act returned shape \(19, 2\); expected a NumPy array of shape \(20, 2\) \(lanes, ",
        ),
        ("GiantActions", r"GiantActions: act answered with arrays of 268435456 bytes; at most 134217728"),
    ],
)
def test_actions_that_are_none(name, words, judged):
    with pytest.raises((PolicyError, MethodError), match=words):
        judged("wrong_values", name).scores(0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FlatRepresentation", r"FlatRepresentation: representation returned shape \(40,\); expected .*\(40, size\)"),
        ("ShortRepresentation", r"representation returned shape \(39, 3\); expected .* of shape \(40, size\), or None"),
        ("TextRepresentation", r"TextRepresentation: representation returned a str; expected a NumPy array of real"),
        ("NanRepresentation", r"NanRepresentation: representation returned NaN or infinity; expected"),
        ("ComplexRepresentation", r"representation returned numbers of type complex128; expected"),
        ("WideRepresentation", r"representation returned 5000 numbers of a lane; at most 4096"),
        ("Attending", r"Attending: attention_weights returned shape \(3,\); expected a NumPy array of real, finite"),
    ],
)
def test_measured_values_that_are_none(name, words, judged):
    with pytest.raises(PolicyError, match=words):
        judged("wrong_values", name).representation(0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FloatCount", "FloatCount: parameter_count returned a float; expected an int, 0 for none"),
        ("NegativeCount", "NegativeCount: parameter_count returned -3; expected 0 to 1e\\+12"),
    ],
)
def test_counts_that_are_none(name, words, cheat):
    with pytest.raises(PolicyError, match=words):
        cheat("wrong_values", name).parameter_count()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Forged", "Forged: save was answered with something else"),
        ("Unknown", "Unknown: fit answered with something unknown"),
        ("Garbage", "Garbage: fit answered with a message of 4294967295 bytes; at most 1048576"),
        ("OtherSeeds", "log was called with seeds .17.; this job trains 0"),
        ("NoTotal", "log was called with step 1 of 0; expected integers, the second at least 1"),
    ],
)
def test_messages_of_its_own_making(name, words, judged):
    with pytest.raises((MethodError, PolicyError), match=words):
        judged("talks_back", name).scores(0)
