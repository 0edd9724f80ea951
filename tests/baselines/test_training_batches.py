"""Normalised data and what is drawn from it."""

import numpy as np
import pytest
import torch

from omrl_bench.baselines.policies import ContextPolicy, Prior
from omrl_bench.baselines.training import Batches, Scale, load_tensors, save_tensors, seed_generators
from omrl_bench.data.contexts import gather
from omrl_bench.data.meta_dataset import MetaDataset

SEEDS = (4, 0, 9)


@pytest.fixture
def data(family, ragged):
    return MetaDataset(family, ragged)


@pytest.fixture
def scale(data, space):
    return Scale.of(data, space)


@pytest.fixture
def batches(data, scale, space):
    return Batches(data, scale, space, seed_generators(SEEDS, "data"))


def spy(monkeypatch, data, name):
    """Keep what a sampling method of the data returns."""
    kept, real = [], getattr(data, name)
    monkeypatch.setattr(data, name, lambda *args, **kwargs: kept.append(real(*args, **kwargs)) or kept[-1])
    return kept


def features_of(data, rows, limit=0.1):
    """Context features (s, a, r, s') by their definition, in double precision."""
    mean, std = data.observations.astype(float).mean(axis=0), data.observations.astype(float).std(axis=0) + 1e-3
    rewards = data.rewards.astype(float)
    return np.concatenate(
        [
            (data.observations[rows] - mean) / std,
            data.actions[rows] / limit,
            ((rewards[rows] - rewards.mean()) / (rewards.std() + 1e-6))[..., None],
            (data.next_observations[rows] - mean) / std,
        ],
        axis=-1,
    )


def test_features_are_standardised(data, batches):
    np.testing.assert_allclose(batches.features.numpy(), features_of(data, slice(None)), atol=1e-4)
    assert batches.features[:, :2].mean(dim=0).abs().max() < 1e-3
    np.testing.assert_allclose(batches.features[:, :2].std(dim=0), 1, atol=0.01)
    assert batches.features[:, 2:4].abs().max() <= 1 + 1e-6


def test_scale_survives_saving(scale, tmp_path):
    save_tensors(tmp_path, [1, 2], scale.state())
    seeds, tensors = load_tensors(tmp_path)
    restored = Scale.from_state(tensors)
    assert seeds == [1, 2]
    assert torch.equal(restored.observation_mean, scale.observation_mean)
    assert torch.equal(restored.observation_std, scale.observation_std)
    assert (restored.reward_mean, restored.reward_std) == (scale.reward_mean, scale.reward_std)
    assert restored.learning_reward_std == scale.learning_reward_std
    assert restored.action_limit == scale.action_limit


def test_transitions_are_rows_of_their_tasks_in_order(data, batches, monkeypatch):
    rows = spy(monkeypatch, data, "sample_rows")
    tasks = np.array([[3, 0], [7, 7], [29, 1]])
    drawn = batches.rows(tasks, 50)
    batch = batches.transitions(drawn)
    taken = rows[0].reshape(3, 100)
    np.testing.assert_array_equal(drawn, taken)
    np.testing.assert_array_equal(np.searchsorted(data.task_offsets, taken, "right") - 1, tasks.repeat(50, axis=1))
    features = features_of(data, taken)
    np.testing.assert_allclose(batch.observations.numpy(), features[..., :2], atol=1e-4)
    np.testing.assert_allclose(batch.actions.numpy(), features[..., 2:4], atol=1e-4)
    np.testing.assert_allclose(batch.next_observations.numpy(), features[..., 5:], atol=1e-4)
    deviation = data.rewards.astype(float).std()
    np.testing.assert_allclose(batch.rewards.numpy(), data.rewards[taken] / deviation, atol=1e-4)  # not centred
    np.testing.assert_array_equal(batch.terminated.numpy(), data.terminated[taken])
    assert 0 < batch.terminated.sum() < 300 * 0.2


RHO = -0.4  # some of the rewards are above, most are not


def test_sparse_contexts_change_the_features_but_not_what_the_backbone_learns_from(family, ragged, space, data, scale):
    """Only the column r of a context: the view of FOCAL++, standardised over the training data."""
    sparse = MetaDataset(family, ragged, rho=RHO)
    sparse_scale = Scale.of(sparse, space)
    shown = np.where(data.rewards > RHO, (data.rewards.astype(float) - RHO) / 0.4, 0)
    assert 0.1 < (shown > 0).mean() < 0.9
    expected = features_of(data, slice(None))
    expected[:, 4] = (shown - shown.mean()) / (shown.std() + 1e-6)
    both = [Batches(d, s, space, seed_generators(SEEDS, "data")) for d, s in ((data, scale), (sparse, sparse_scale))]
    np.testing.assert_allclose(both[1].features.numpy(), expected, atol=1e-4)
    assert not np.allclose(both[1].features, both[0].features)
    dense_batch, sparse_batch = (batches.transitions(batches.rows(batches.tasks(16), 4)) for batches in both)
    for name, tensor in vars(dense_batch).items():
        assert torch.equal(getattr(sparse_batch, name), tensor), name
    # a context of the harness comes with its rewards already sparse: it is scaled as the training contexts are
    context = gather(ragged, np.arange(5), rho=RHO)
    rows = np.concatenate([np.arange(*ragged.offsets[[e, e + 1]]) for e in range(5)])
    told = ragged.rewards[rows].astype(float)
    told = (np.where(told > RHO, (told - RHO) / 0.4, 0) - shown.mean()) / (shown.std() + 1e-6)
    np.testing.assert_allclose(sparse_scale.features(context)[context.valid][:, 4], told, atol=1e-4)


def test_contexts_are_rows_of_their_episodes(data, batches, monkeypatch):
    rows = spy(monkeypatch, data, "sample_within")
    episodes = np.array([[[5, 6]], [[0, 5]], [[299, 17]]])
    context = batches.contexts(episodes, 12)
    assert context.shape == (3, 1, 2, 12, 7)
    numbers = np.searchsorted(data.episode_offsets, rows[0], "right") - 1
    np.testing.assert_array_equal(numbers, np.broadcast_to(episodes[..., None], numbers.shape))
    np.testing.assert_allclose(context.numpy(), features_of(data, rows[0]), atol=1e-4)


def test_segments_are_evenly_spaced_steps_of_one_stretch(family, space, episodes, monkeypatch):
    data = MetaDataset(family, episodes)
    batches = Batches(data, Scale.of(data, space), space, seed_generators((0,), "data"))
    rows = spy(monkeypatch, data, "sample_within")
    segments = batches.segments(np.array([[3, 8]]), 21, 5)
    first = rows[0][0, :, 0]
    assert ((first >= [180, 480]) & (first + 20 < [240, 540])).all()
    np.testing.assert_allclose(segments[0, 0].numpy(), features_of(data, first[0] + np.arange(0, 21, 5)), atol=1e-4)
    np.testing.assert_allclose(segments[0, 1].numpy(), features_of(data, first[1] + np.arange(0, 21, 5)), atol=1e-4)
    assert batches.segments(np.array([[3, 8]]), 4, 25).shape == (1, 2, 4, 7)  # no more steps than there are


def test_meta_batches_are_different_tasks_and_all_of_them_if_there_are_few(batches):
    for row in batches.tasks(16):
        assert len(set(row)) == 16
    for row in batches.tasks(100):
        assert sorted(row) == list(range(30))


def test_draws_of_a_seed_do_not_depend_on_the_other_seeds(data, scale, space):
    def draw(seeds):
        batches = Batches(data, scale, space, seed_generators(seeds, "data"))
        tasks = batches.tasks(16)
        episodes = data.sample_episodes(batches.rngs, tasks)
        batch = batches.transitions(batches.rows(tasks, 3))
        return [
            torch.from_numpy(tasks),
            batch.observations,
            batches.contexts(episodes, 4),
            batches.segments(episodes, 20, 4),
        ]

    together = draw(SEEDS)
    for index, seed in enumerate(SEEDS):
        for mine, alone in zip(together, draw((seed,)), strict=True):
            assert torch.equal(mine[index], alone[0])
    assert not torch.equal(together[1][0], together[1][1])


def test_generators_differ_by_seed_and_by_purpose():
    draws = [
        rng.random() for purpose in ("data", "noise", "encoder", "backbone") for rng in seed_generators(SEEDS, purpose)
    ]
    assert len(set(draws)) == len(draws)
    assert [rng.random() for rng in seed_generators(SEEDS, "data")] == draws[:3]


def test_whole_episodes_are_padded_behind_their_last_step(data, batches):
    episodes = np.array([[5, 0], [17, 299], [2, 2]])
    features, valid = batches.whole(episodes)
    lengths = np.diff(data.episode_offsets)[episodes]
    assert len(np.unique(lengths)) > 2
    assert features.shape == (3, 2, lengths.max(), 7)
    for where in np.ndindex(*episodes.shape):
        start, length = data.episode_offsets[episodes[where]], lengths[where]
        assert torch.equal(features[where][:length], batches.features[start : start + length])
        assert (features[where][length:] == batches.features[start + length - 1]).all()
        assert valid[where].tolist() == [True] * length + [False] * (lengths.max() - length)
    longer, marked = batches.whole(episodes, 70)
    assert longer.shape == (3, 2, 70, 7)
    assert torch.equal(longer[marked], features[valid])


@pytest.mark.parametrize("count", [1, 7, 300, 1000])
def test_every_episode_comes_once_in_order_padded_to_the_longest_of_all(data, batches, count):
    longest, seen, rows = int(np.diff(data.episode_offsets).max()), [], []
    for episodes, features, valid in batches.every_episode(count):
        assert features.shape == (len(episodes), longest, 7)
        assert len(episodes) <= count
        seen += episodes.tolist()
        rows.append(features[valid])
    assert seen == list(range(300))
    assert torch.equal(torch.cat(rows), batches.features)


def test_other_generators_draw_from_the_same_data_and_leave_the_first_alone(batches, data, scale, space):
    other = batches.drawn_by(seed_generators(SEEDS, "other"))
    alone = Batches(data, scale, space, seed_generators(SEEDS, "other"))
    np.testing.assert_array_equal(other.tasks(5), alone.tasks(5))
    assert other.features is batches.features
    untouched = Batches(data, scale, space, seed_generators(SEEDS, "data"))
    np.testing.assert_array_equal(batches.tasks(5), untouched.tasks(5))


def test_an_episode_is_drawn_of_each_task(data, batches):
    tasks = np.array([[3, 0, 29], [7, 7, 1], [2, 5, 5]])
    task_of = np.repeat(np.arange(30), np.diff(data.task_episodes))
    np.testing.assert_array_equal(task_of[batches.episodes(tasks)], tasks)


def test_a_transition_has_the_length_that_the_space_says(space, batches):
    assert batches.features.shape[1] == space.feature_size
    assert space.input_size == space.observation_size + space.action_size


def test_context_policy_scales_and_goes_back_to_the_prior(scale):
    prior = torch.tensor([0.5, -1.0])
    seen = []

    def actor(observations, z):
        seen.append((observations, z))
        return torch.tanh(observations + z)

    policy = ContextPolicy(actor, lambda context: context, Prior(prior[None], 0), scale)
    observations = np.array([[0.1, 0.2], [0.3, -0.4], [0.0, 1.0]], dtype=np.float32)
    policy.reset(3)
    before = policy.act(observations)
    state = scale.observations(observations).numpy()
    np.testing.assert_allclose(before, 0.1 * np.tanh(state + prior.numpy()), atol=1e-6)
    assert seen[0][0].shape == seen[0][1].shape == (1, 3, 2)
    policy.condition(torch.arange(6.0).reshape(3, 2))
    np.testing.assert_allclose(policy.act(observations), 0.1 * np.tanh(state + np.arange(6).reshape(3, 2)), atol=1e-6)
    policy.reset(3)
    np.testing.assert_array_equal(policy.act(observations), before)
