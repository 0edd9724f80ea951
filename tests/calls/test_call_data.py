"""omrl_bench.load, make and contexts hand out what the harness itself uses."""

import numpy as np
import pytest

import omrl_bench
from omrl_bench.data.contexts import gather
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.store import read_contexts, read_episodes
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError

FAMILY = get_family("point-goal")


def test_load_has_the_rows_that_methods_train_on_and_no_others(data):
    arrays, trained_on = omrl_bench.load("point-goal", "mixed"), MetaDataset.load("point-goal", "mixed")
    for name in ("observations", "actions", "rewards", "next_observations", "terminated"):
        assert arrays[name].tobytes() == getattr(trained_on, name).tobytes()
    assert {len(array) for array in arrays.values()} == {len(trained_on.rewards)}
    assert np.array_equal(np.unique(arrays["tasks"]), FAMILY.tasks().ids("train"))
    assert "descriptors" not in arrays


def test_load_marks_episodes_and_their_tasks(data):
    arrays, episodes = omrl_bench.load("point-goal", "mixed"), read_episodes(FAMILY, "mixed")[0]
    of_training = np.flatnonzero(np.isin(episodes.tasks, FAMILY.tasks().ids("train")))
    rows = {name: [] for name in ("tasks", "episodes", "truncated")}
    for number, episode in enumerate(of_training):  # by hand
        steps = episodes.offsets[episode + 1] - episodes.offsets[episode]
        rows["tasks"] += [episodes.tasks[episode]] * steps
        rows["episodes"] += [number] * steps
        rows["truncated"] += [False] * (steps - 1) + [not episodes.terminated[episodes.offsets[episode + 1] - 1]]
    for name, expected in rows.items():
        assert arrays[name].tolist() == expected
    goes_on = ~(arrays["terminated"] | arrays["truncated"])[:-1]
    assert np.array_equal(arrays["next_observations"][:-1][goes_on], arrays["observations"][1:][goes_on])


def test_load_takes_the_subset_of_tasks_that_suites_take_and_descriptors_if_asked(data):
    arrays = omrl_bench.load("point-goal", "mixed", train_tasks=5, descriptors=True)
    tasks = FAMILY.tasks().training_subset(5)
    assert np.array_equal(np.unique(arrays["tasks"]), tasks)
    np.testing.assert_allclose(arrays["descriptors"], FAMILY.tasks().descriptors[arrays["tasks"]], rtol=1e-6)


def test_what_is_missing_is_built_once_and_said_on_standard_error(no_data, capsys):
    first = omrl_bench.load("point-sparse", "random")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "omrl-bench: building omrl/point-sparse/random-v1\n")
    again = omrl_bench.load("point-sparse", "random")
    assert capsys.readouterr().err == ""
    assert np.array_equal(first["rewards"], again["rewards"])


@pytest.mark.parametrize("unit", ["episode", "transitions", "segment"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_contexts_are_those_of_the_evaluation(data, unit, split):
    context, tasks = omrl_bench.contexts("point-goal", "low", split, draws=3, unit=unit)
    ids = FAMILY.tasks().ids(split)
    assert tasks.tolist() == [task for task in ids for _ in range(3)]
    draws = read_contexts(FAMILY, "mixed").draws["low", unit]
    lanes = np.stack([draws[task, draw] for task in ids for draw in range(3)])
    expected = gather(read_episodes(FAMILY, "mixed")[0], lanes, unit=unit)
    for name, array in vars(expected).items():
        assert np.array_equal(getattr(context, name), array)
    assert context.descriptors is None


def test_contexts_have_descriptors_if_asked(data):
    context, tasks = omrl_bench.contexts("point-goal", "high", descriptors=True)
    np.testing.assert_allclose(context.descriptors, FAMILY.tasks().descriptors[tasks], rtol=1e-6)
    assert len(tasks) == 10 * len(FAMILY.tasks().ids("test"))


def test_the_environment_has_the_numbers_of_the_batched_one():
    env = omrl_bench.make("point-goal", task=4)
    assert env.unwrapped.task == 4
    batched = BatchedEnv(FAMILY, 1)
    assert np.array_equal(env.reset(seed=7)[0], batched.reset([4], [7])[0])
    truncated = False
    for step in range(FAMILY.horizon):
        assert not truncated
        action = np.array([0.1, -0.05 * (step % 2)])
        observation, reward, _, truncated, _ = env.step(action)
        expected = batched.step(action[None])
        assert np.array_equal(observation, expected[0][0])
        assert reward == expected[1][0]
    assert truncated


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: omrl_bench.load("point-gaol"), "unknown family 'point-gaol'; did you mean 'point-goal'"),
        (lambda: omrl_bench.load("point-goal", "mixd"), "unknown quality 'mixd'; did you mean 'mixed'"),
        (lambda: omrl_bench.load("point-goal", "cross"), "unknown quality 'cross'"),  # contexts only
        (lambda: omrl_bench.load("point-goal", train_tasks=-1), "train_tasks is -1"),
        (lambda: omrl_bench.make("point-gaol"), "unknown family"),
        (lambda: omrl_bench.make("point-goal", 10_000), "task 10000 does not exist"),
        (lambda: omrl_bench.make("point-goal", render_mode="rgb_array"), "no render mode"),
        (lambda: omrl_bench.contexts("point-goal", "hihg"), "unknown context quality 'hihg'; did you mean 'high'"),
        (lambda: omrl_bench.contexts("point-goal", "high", "tset"), "unknown split 'tset'; did you mean 'test'"),
        (lambda: omrl_bench.contexts("point-goal", "high", unit="step"), "unknown context unit"),
        (lambda: omrl_bench.contexts("point-goal", "high", draws=21), "21 draws asked for; there are 1 to 20"),
        (lambda: omrl_bench.contexts("point-goal", "high", draws=0), "0 draws"),
        (lambda: omrl_bench.contexts("cheetah-dir", "high", "extrapolation"), "has no extrapolation tasks"),
    ],
)
def test_wrong_input_is_one_sentence_and_builds_nothing(no_data, call, message):
    with pytest.raises(InputError, match=message):
        call()
    assert not no_data.exists()


def test_too_many_training_tasks_are_refused(data):
    with pytest.raises(InputError, match="1000 training tasks asked for; the table has"):
        omrl_bench.load("point-goal", "mixed", train_tasks=1000)
