"""omrl_bench.evaluate: any object that acts, under every protocol, with the numbers of the harness."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import omrl_bench
from omrl_bench.api import MetaPolicy
from omrl_bench.data.datasets import Datasets
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.evaluation import Evaluation

FAMILY = get_family("point-goal")


def cube_of(suite, policy, seed, privileges=frozenset()):
    """The harness's own cube, of a policy that keeps the contract."""
    definition = load_suite(suite)
    qualities = definition.preset("quick")[1].qualities
    evaluation = Evaluation(Datasets(FAMILY, privileges), definition.protocol, qualities, 0, 1)
    return evaluation.cube(policy, seed).stored()


def test_every_protocol_gives_the_numbers_of_the_harness(data, suite, follower):
    class Contracted(follower, MetaPolicy):
        pass

    frame = omrl_bench.evaluate(follower(), suite, "point-goal", seed=3)
    cube = cube_of(suite, Contracted, seed=3)
    rows = frame.set_index(["condition", "task", "draw"])
    scores = cube.scores()
    assert len(frame) == cube.returns.size
    for i, condition in enumerate(cube.conditions):
        for j, task in enumerate(cube.tasks):
            for k in range(2):
                row = rows.loc[(condition, task, k)]
                assert (row["return"], row["score"]) == (cube.returns[i, j, k], scores[i, j, k])
    assert list(frame) == ["suite", "preset", "family", "seed", "condition", "task", "draw", "return", "score"]
    for column, value in (("suite", "tiny"), ("preset", "quick"), ("family", "point-goal"), ("seed", 3)):
        assert set(frame[column]) == {value}


def test_a_shipped_suite_is_known_by_name_and_a_given_context_helps(data, follower):
    frame = omrl_bench.evaluate(follower(), "shift", "point-goal", "quick")
    means = frame.groupby("condition")["score"].mean()
    assert list(means.index) == ["high", "low"]
    assert means["high"] > means["low"] + 50
    assert set(frame["draw"]) == {0}  # `quick` evaluates one draw


def test_an_object_a_class_and_a_factory_are_the_same_policy(data, tiny, follower):
    class Callable(follower):  # as a network of torch is
        def __call__(self):
            raise AssertionError("it acts, so it is no factory")

    each = [follower(), follower, partial(follower), Callable()]
    frames = [omrl_bench.evaluate(policy, tiny(), "point-goal") for policy in each]
    for frame in frames[1:]:
        assert frame.equals(frames[0])


def test_optional_hooks_are_called_where_they_are_there(data, tiny, follower):
    class Watching(follower):
        def observe(self, transitions):
            self.called.append("observe")

        def end_episode(self):
            self.called.append("end_episode")

    suite = tiny(
        ('kind = "given-context"\n', 'kind = "explore"\nepisodes = 1\n'), ('qualities = ["high", "low"]\n', "")
    )
    policy = Watching()
    omrl_bench.evaluate(policy, suite, "point-goal")
    steps = FAMILY.horizon
    explored = ["explore", "observe"] * steps + ["end_episode"]
    executed = ["act", "observe"] * steps + ["end_episode"]
    assert policy.called == ["reset", *explored, "reset", "condition", *executed]


def test_descriptors_are_in_the_context_of_those_who_say_so(data, tiny, follower):
    policy = follower()
    omrl_bench.evaluate(policy, tiny(), "point-goal")
    assert policy.context.descriptors is None
    omrl_bench.evaluate(policy, tiny(), "point-goal", privileges=["descriptors"])
    told = FAMILY.tasks().descriptors[np.repeat(FAMILY.tasks().ids("test"), 2)]
    # in an order of their own
    np.testing.assert_allclose(np.unique(policy.context.descriptors, axis=0), np.unique(told, axis=0), rtol=1e-6)
    assert len(policy.context.descriptors) == len(told)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_another_split_can_be_evaluated(data, tiny, follower, split):
    frame = omrl_bench.evaluate(follower(), tiny(), "point-goal", split=split)
    assert np.array_equal(np.unique(frame["task"]), FAMILY.tasks().ids(split))


def test_training_tasks_are_those_that_the_preset_trains_on(data, tiny, follower):
    suite = tiny(("updates = 4\nencoder", "train_tasks = 5\nupdates = 4\nencoder"))
    frame = omrl_bench.evaluate(follower(), suite, "point-goal", split="train")
    assert np.array_equal(np.unique(frame["task"]), FAMILY.tasks().training_subset(5))


def nothing(*_):
    pass


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (SimpleNamespace(reset=nothing, act=nothing), "a SimpleNamespace, has no condition; protocol given-context"),
        (SimpleNamespace(act=nothing), "has no reset, no condition; .* needs reset, condition, act and calls observe"),
        (None, "a NoneType, has no reset, no condition, no act"),
        (lambda seed: None, "<lambda> takes arguments .*pass the policy itself, or a factory without arguments"),
        (lambda: None, "a NoneType, has no reset"),
    ],
)
def test_what_a_policy_lacks_is_said_before_anything_is_built_or_simulated(no_data, tiny, policy, message):
    with pytest.raises(InputError, match=message):
        omrl_bench.evaluate(policy, tiny(), "point-goal")
    assert not no_data.exists()


def test_a_policy_that_cannot_explore_is_refused_where_it_is_asked_to(data, tiny, follower):
    class Plain(follower):
        def act(self, observations):
            return super().act(observations)

    frame = omrl_bench.evaluate(Plain(), tiny(), "point-goal")
    assert frame.equals(omrl_bench.evaluate(follower(), tiny(), "point-goal"))
    collected = ('qualities = ["high", "low"]\n', "")
    zero_shot = tiny(('kind = "given-context"\n', 'kind = "zero-shot"\nepisodes = 2\n'), collected)
    assert len(omrl_bench.evaluate(Plain(), zero_shot, "point-goal"))
    explore = tiny(('kind = "given-context"\n', 'kind = "explore"\nepisodes = 2\n'), collected)
    policy = Plain()
    with pytest.raises(InputError, match="asks a policy to explore, and act of this Plain takes no argument `explore`"):
        omrl_bench.evaluate(policy, explore, "point-goal")
    assert policy.called == []
    policy.act = lambda observations, **options: follower.act(policy, observations, **options)
    assert len(omrl_bench.evaluate(policy, explore, "point-goal"))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (lambda lanes: np.zeros((lanes, 3)), r"the policy of seed 0: act returned shape \(\d+, 3\)"),
        (lambda lanes: [0.0] * lanes, "act returned a list"),
        (lambda lanes: np.full((lanes, 2), np.nan), "act returned NaN or infinity in lane 0"),
    ],
)
def test_what_is_no_action_is_said(data, tiny, follower, actions, message):
    policy = follower()
    policy.act = lambda observations: actions(len(observations))
    with pytest.raises(InputError, match=message):
        omrl_bench.evaluate(policy, tiny(), "point-goal")


def test_an_error_of_the_policy_is_its_own(data, tiny, follower):
    policy = follower()
    policy.condition = lambda context: {}["goal"]
    with pytest.raises(KeyError, match="goal"):
        omrl_bench.evaluate(policy, tiny(), "point-goal")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "shfit"}, "unknown suite 'shfit'; did you mean 'shift'"),
        ({"suite": "shift", "family": "point-gaol"}, "unknown family 'point-gaol'; did you mean 'point-goal'"),
        ({"suite": "shift", "family": "point-square"}, "unknown family of suite 'shift' 'point-square'"),
        ({"suite": "shift", "preset": "quik"}, "unknown preset of suite 'shift' 'quik'; did you mean 'quick'"),
        (
            {"suite": "shift", "privileges": ["descriptor"]},
            "unknown privilege 'descriptor'; did you mean 'descriptors'",
        ),
        ({"suite": "shift", "privileges": "descriptors"}, "privileges are several names"),
        ({"suite": "shift", "split": "tset"}, "unknown split 'tset'; did you mean 'test'"),
        ({"suite": "shift", "seed": -1}, "seed -1 is negative"),
    ],
)
def test_wrong_names_are_one_sentence(data, follower, arguments, message):
    with pytest.raises(InputError, match=message):
        omrl_bench.evaluate(follower(), **{"family": "point-goal"} | arguments)
