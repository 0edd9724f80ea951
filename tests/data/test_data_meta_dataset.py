"""MetaDataset: the training tasks' rows and nothing else; sampling that hits what it is asked for."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from omrl_bench.api import Behaviour
from omrl_bench.data.build import collect
from omrl_bench.data.contexts import sparse_view
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.sampling import PrivilegeError
from omrl_bench.data.store import read_episodes
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError

FROZEN_SUBSET = [8, 9, 12, 28]  # of four training tasks of thirty
ROW_ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminated")


@pytest.fixture(scope="module")
def ragged(point, make_ragged):
    return make_ragged(point)


@pytest.fixture(scope="module")
def data(point, ragged):
    return MetaDataset(point, ragged)


def generators(seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def check_brute_force(data, episodes, tasks):
    """Compare with a loop over tasks and episodes."""
    kept, rows, task_rows, task_episodes, episode_rows = [], [], [0], [0], [0]
    for task in tasks:
        for e in np.flatnonzero(episodes.tasks == task):
            kept.append(e)
            rows.extend(range(episodes.offsets[e], episodes.offsets[e + 1]))
            episode_rows.append(len(rows))
        task_rows.append(len(rows))
        task_episodes.append(len(kept))
    for name in ROW_ARRAYS:
        expected = getattr(episodes, name)[rows]
        assert getattr(data, name).dtype == expected.dtype
        np.testing.assert_array_equal(getattr(data, name), expected)
    np.testing.assert_array_equal(data.tasks, tasks)
    np.testing.assert_array_equal(data.task_offsets, task_rows)
    np.testing.assert_array_equal(data.task_episodes, task_episodes)
    np.testing.assert_array_equal(data.episode_offsets, episode_rows)


@pytest.mark.parametrize("count", [0, 1, 10, 30])
def test_arrays_equal_a_brute_force_selection(point, make_ragged, count):
    tasks = point.tasks().training_subset(count) if count else point.tasks().ids("train")
    for seed in range(3):
        ragged = make_ragged(point, seed)
        check_brute_force(MetaDataset(point, ragged, train_tasks=count), ragged, tasks)


def test_the_representation_learns_from_other_data_of_the_same_tasks(point, make_ragged):
    policy, other = make_ragged(point, 0), make_ragged(point, 1)
    data = MetaDataset(point, policy, train_tasks=10, representation_data=other)
    tasks = point.tasks().training_subset(10)
    check_brute_force(data, policy, tasks)
    check_brute_force(data.representation_data, other, tasks)
    assert data.representation_data.representation_data is data.representation_data
    alone = MetaDataset(point, policy)
    assert alone.representation_data is alone


def test_training_subsets_are_nested_and_fixed(point):
    table = point.tasks()
    subsets = [table.training_subset(count) for count in range(31)]
    for smaller, larger in itertools.pairwise(subsets):
        assert set(smaller) < set(larger) <= set(table.ids("train"))
    assert subsets[4].tolist() == sorted(subsets[4])
    assert subsets[4].tolist() == FROZEN_SUBSET
    with pytest.raises(InputError, match="31 training tasks asked for; the table has 30"):
        table.training_subset(31)


def test_tasks_need_not_be_one_block(cheetah, make_ragged):
    """A table in which the splits alternate."""

    class Alternating:
        splits = ("train", "test") * 35
        descriptors = np.arange(70.0)[:, None]

        def __len__(self):
            return 70

        def ids(self, *splits):
            return np.array([i for i, s in enumerate(self.splits) if not splits or s in splits])

    class Family:
        observation_size, action_size, action_limit = 2, 1, 1.0

        def tasks(self):
            return Alternating()

    ragged = make_ragged(Family())
    check_brute_force(MetaDataset(Family(), ragged), ragged, np.arange(0, 70, 2))


def test_training_tasks_only_by_default(point, data):
    np.testing.assert_array_equal(data.tasks, point.tasks().ids("train"))
    assert set(data.observations[:, 0]) == set(range(30))


def test_real_dataset_through_load(point, small, written):
    loaded = MetaDataset.load("point-goal", "mixed")
    check_brute_force(loaded, small, point.tasks().ids("train"))
    check_brute_force(loaded, read_episodes(point, "mixed")[0], point.tasks().ids("train"))


def test_load_explains_what_is_missing(root):
    with pytest.raises(InputError, match=r"omrl/point-goal/mixed-v1 is not in .*omrl-bench data build point-goal"):
        MetaDataset.load("point-goal", "mixed")
    with pytest.raises(InputError, match="did you mean 'point-goal'"):
        MetaDataset.load("point-gaol", "mixed")


# --- sampling; in ragged data an observation tells its task and its episode


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
    tasks=st.integers(1, 30),
    count=st.integers(1, 40),
)
def test_samples_are_of_the_tasks_and_episodes_asked_for(data, seeds, tasks, count):
    rngs = generators(seeds)
    chosen = data.sample_tasks(rngs, tasks)
    assert chosen.shape == (len(seeds), tasks)
    assert all(len(set(row)) == tasks and set(row) <= set(range(30)) for row in chosen.tolist())

    rows = data.sample_rows(rngs, chosen, count)
    assert rows.shape == (len(seeds), tasks, count)
    np.testing.assert_array_equal(data.observations[rows, 0], np.repeat(data.tasks[chosen][..., None], count, -1))

    episodes = data.sample_episodes(rngs, chosen)
    assert episodes.shape == chosen.shape
    np.testing.assert_array_equal(data.observations[data.episode_offsets[episodes], 0], data.tasks[chosen])

    for consecutive in (False, True):
        within = data.sample_within(rngs, episodes, count, consecutive)
        assert within.shape == (len(seeds), tasks, count)
        first = data.observations[data.episode_offsets[episodes], 1]
        np.testing.assert_array_equal(data.observations[within, 1], np.repeat(first[..., None], count, -1))
    lengths = np.diff(data.episode_offsets)[episodes]
    steps = np.diff(within, axis=-1)
    fits = lengths >= count
    assert (steps[fits] == 1).all()
    np.testing.assert_array_equal(within[~fits][:, 0], data.episode_offsets[episodes][~fits])
    last = data.episode_offsets[episodes + 1][~fits] - 1
    expected = np.minimum(within[~fits][:, :1] + np.arange(count), last[:, None])
    np.testing.assert_array_equal(within[~fits], expected)  # a short episode repeats its last row


@settings(max_examples=20, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=3), count=st.integers(1, 5))
def test_episodes_may_have_any_shape_after_the_seed(data, shape, count):
    rngs, shape = generators(range(2)), (2, *shape)
    tasks = np.random.default_rng(0).integers(30, size=shape)
    episodes = data.sample_episodes(rngs, tasks)
    assert episodes.shape == shape
    within = data.sample_within(rngs, episodes, count, consecutive=True)
    assert within.shape == (*shape, count)
    np.testing.assert_array_equal(data.observations[within, 0], np.repeat(tasks[..., None], count, -1))


def draw_all(data, seeds):
    rngs = generators(seeds)
    tasks = data.sample_tasks(rngs, 5)
    rows = data.sample_rows(rngs, tasks, 7)
    episodes = data.sample_episodes(rngs, tasks)
    within = data.sample_within(rngs, episodes, 4)
    segment = data.sample_within(rngs, episodes, 4, consecutive=True)
    return [tasks, rows, episodes, within, segment]


def test_a_seeds_draws_do_not_depend_on_the_seeds_beside_it(data):
    together = draw_all(data, [11, 3, 8])
    for position, seed in enumerate([11, 3, 8]):
        for many, alone in zip(together, draw_all(data, [seed]), strict=True):
            np.testing.assert_array_equal(many[position], alone[0])
    for one in together:
        assert not np.array_equal(one[0], one[1])


def p_value(sampled, low, high):
    counts = np.bincount(np.ravel(sampled) - low, minlength=high - low)
    assert len(counts) == high - low
    return chisquare(counts).pvalue


@pytest.mark.parametrize("task", [0, 17, 29])
def test_rows_of_a_task_are_equally_likely(data, task):
    rows = data.sample_rows(generators([1, 2]), np.full((2, 3), task), 2000)
    assert p_value(rows, *data.task_offsets[task : task + 2]) > 1e-3


def test_tasks_are_equally_likely(data):
    rngs = generators(range(50))
    assert p_value(np.stack([data.sample_tasks(rngs, 7) for _ in range(20)]), 0, 30) > 1e-3


def test_episodes_of_a_task_are_equally_likely_whatever_their_length(data):
    counts = np.diff(data.task_episodes)
    task = int(np.argmax(counts))
    assert counts[task] == 4
    episodes = data.sample_episodes(generators([4]), np.full((1, 4000), task))
    assert p_value(episodes, *data.task_episodes[task : task + 2]) > 1e-3


def test_segments_begin_anywhere_they_fit(data):
    episode = int(np.argmax(np.diff(data.episode_offsets)))
    start, stop = data.episode_offsets[episode : episode + 2]
    assert stop - start == 6
    segments = data.sample_within(generators([5]), np.full((1, 3000), episode), 4, consecutive=True)
    assert p_value(segments[..., 0], start, start + 3) > 1e-3
    within = data.sample_within(generators([5]), np.full((1, 3000), episode), 4)
    assert p_value(within, start, stop) > 1e-3


def test_a_sample_never_reaches_the_next_task(point, make_ragged, monkeypatch):
    """Even where the generator gives the largest number below 1."""
    data = MetaDataset(point, make_ragged(point, length=(1, 3)))

    class Highest:
        def random(self, shape):
            return np.full(shape, np.nextafter(1.0, 0.0))

    tasks = np.arange(30)[None]
    np.testing.assert_array_equal(data.sample_rows([Highest()], tasks, 1)[0, :, 0], data.task_offsets[1:] - 1)
    np.testing.assert_array_equal(data.sample_episodes([Highest()], tasks)[0], data.task_episodes[1:] - 1)


def test_more_different_tasks_than_there_are_is_an_error(data):
    with pytest.raises(ValueError, match="30"):
        data.sample_tasks(generators([0]), 31)


# --- privileges


def test_privileges_are_enforced_in_words(data):
    with pytest.raises(PrivilegeError) as caught:
        _ = data.descriptors
    assert str(caught.value) == (
        "the method reads 'descriptors' without declaring it; "
        "set requires = Requirements(privileges=frozenset({'descriptors'}))"
    )
    with pytest.raises(PrivilegeError, match=r"reads 'behaviour' .*frozenset\(\{'behaviour'\}\)"):
        _ = data.behaviour


def test_one_privilege_does_not_give_the_other(point, ragged):
    with pytest.raises(PrivilegeError):
        _ = MetaDataset(point, ragged, frozenset({"behaviour"})).descriptors
    with pytest.raises(PrivilegeError):
        _ = MetaDataset(point, ragged, frozenset({"descriptors"})).behaviour


def test_declared_privileges_give_what_they_say(point, ragged):
    data = MetaDataset(point, ragged, frozenset({"descriptors", "behaviour"}))
    np.testing.assert_array_equal(data.descriptors, point.tasks().descriptors[:30])
    behaviour: Behaviour = data.behaviour
    rng = np.random.default_rng(0)
    behaviour.reset(np.full(30, 9), rng)
    actions = behaviour.act(np.zeros((30, 2)), data.descriptors, rng, deterministic=True)
    np.testing.assert_allclose(actions, np.clip(data.descriptors, -0.1, 0.1))


def test_the_data_say_who_acted(point, ragged):
    data = MetaDataset(point, ragged)
    np.testing.assert_array_equal(data.behaviours, ragged.behaviours[np.isin(ragged.tasks, data.tasks)])
    assert len(data.behaviours) == len(data.episode_offsets) - 1


@pytest.mark.parametrize("name", ["point-goal", "point-hard", "cheetah-vel"])
def test_expert_labels_are_what_the_expert_does_in_each_state(name):
    """The privilege `behaviour`, asked for one row after the other."""
    family = get_family(name)
    episodes = collect(family, "mixed", threads=1, episodes=1).episodes
    data = MetaDataset(family, episodes, frozenset({"expert_labels", "behaviour", "descriptors"}))
    rows = np.random.default_rng(0).integers(len(data.rewards), size=(4, 5))
    found = data.expert_actions(rows)
    assert found.shape == (4, 5, family.action_size) and found.dtype == np.float32
    actor, rng = data.behaviour, np.random.default_rng(1)
    for where, row in np.ndenumerate(rows):
        task = np.searchsorted(data.task_offsets, row, side="right") - 1
        actor.reset(np.array([9]), rng)
        expected = actor.act(data.observations[[row]], data.descriptors[[task]], rng, deterministic=True)
        np.testing.assert_allclose(found[where], expected[0], atol=1e-5)
    with pytest.raises(PrivilegeError, match="reads 'expert_labels'"):
        MetaDataset(family, episodes, frozenset({"behaviour"})).expert_actions(rows)


# --- rewards of other tasks


@pytest.fixture(scope="module", params=["point-square", "cheetah-vel", "ant-dir"])
def relabelling(request):
    """Uniform actions in a family whose initial states differ; ant's episodes end early."""
    family = get_family(request.param)
    episodes = collect(family, "random", threads=1, episodes=1).episodes
    return family, episodes, MetaDataset(family, episodes, frozenset({"reward_function"}))


def padded(data, rewards, episodes):
    lengths = np.diff(data.episode_offsets)[episodes]
    table = np.zeros((len(episodes), lengths.max()), np.float32)
    for row, episode in enumerate(episodes):
        table[row, : lengths[row]] = rewards[data.episode_offsets[episode] :][: lengths[row]]
    return table


def test_relabelling_with_the_own_task_gives_the_stored_rewards(relabelling):
    _, _, data = relabelling
    episodes = np.array([4, 0, 29, 4])
    found = data.relabelled_rewards(episodes, episodes)  # one episode per task: they have the same numbers
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, padded(data, data.rewards, episodes), rtol=1e-6, atol=1e-6)


def test_relabelling_is_what_the_environment_of_the_other_task_pays(relabelling):
    family, collected, data = relabelling
    episodes, tasks = np.array([3, 3, 11]), np.array([8, 20, 0])
    kept = np.isin(collected.tasks, data.tasks)
    env = BatchedEnv(family, 3)
    env.reset(data.tasks[tasks], collected.seeds[kept][episodes])
    rewards = np.zeros((3, family.horizon))
    lengths = np.diff(data.episode_offsets)[episodes]
    for step in range(lengths.max()):
        rows = np.minimum(data.episode_offsets[episodes] + step, data.episode_offsets[episodes + 1] - 1)
        rewards[:, step] = np.where(step < lengths, env.step(data.actions[rows])[1], 0)
    found = data.relabelled_rewards(episodes, tasks)
    np.testing.assert_allclose(found, rewards[:, : lengths.max()], rtol=1e-6, atol=1e-6)
    assert (found[0] != found[1]).any()
    assert data.relabelled_rewards(np.array([], int), np.array([], int)).size == 0


def test_relabelled_rewards_look_as_contexts_do(relabelling):
    family, episodes, data = relabelling
    sparse = MetaDataset(family, episodes, frozenset({"reward_function"}), rho=-0.3)
    chosen = np.arange(5)
    np.testing.assert_allclose(
        sparse.relabelled_rewards(chosen, chosen), padded(sparse, sparse.context_rewards, chosen), rtol=1e-5, atol=1e-5
    )
    assert (sparse.context_rewards == sparse_view(data.rewards, -0.3)).all()


def test_relabelling_is_a_privilege_and_needs_common_dynamics(point, ragged):
    one = np.array([0])
    with pytest.raises(PrivilegeError, match="reads 'reward_function'"):
        MetaDataset(point, ragged, frozenset({"descriptors"})).relabelled_rewards(one, one)
    wind = MetaDataset(get_family("point-wind"), ragged, frozenset({"reward_function"}))
    with pytest.raises(InputError, match="point-wind cannot be relabelled: its tasks differ in dynamics"):
        wind.relabelled_rewards(one, one)
