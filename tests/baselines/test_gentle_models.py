"""The models of the tasks: batched as one, each on its own task's data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omrl_bench.baselines.dynamics_ensemble import CHUNK, DynamicsEnsemble
from omrl_bench.baselines.gentle import Gentle
from omrl_bench.baselines.training import Batches, Scale, join_features, seed_generators, split_features

R, T, M, S, A = 2, 3, 4, 2, 2
SEEDS = (0, 1)


@pytest.fixture
def ensemble():
    return DynamicsEnsemble(seed_generators(SEEDS, "test"), T, M, S, A, width=8).double()


@pytest.fixture
def batches(make, data_for):
    data = data_for(Gentle)
    method = make(Gentle)
    scale = Scale.of(data, method.space)
    return Batches(data, scale, method.space, seed_generators(SEEDS, "data"))


def noise(*shape):
    return torch.as_tensor(np.random.default_rng(0).standard_normal(shape))


def member(ensemble, r, t, m, x):
    """One network on one input, in plain floats."""
    layers = [layer for layer in ensemble.networks if hasattr(layer, "weight")]
    index, values = (r * T + t) * M + m, x.tolist()
    for depth, layer in enumerate(layers):
        weight, bias = layer.weight[index].tolist(), layer.bias[index, 0].tolist()
        values = [sum(v * weight[i][o] for i, v in enumerate(values)) + bias[o] for o in range(len(bias))]
        if depth < len(layers) - 1:
            values = [max(v, 0.0) for v in values]
    return values


def test_batched_prediction_equals_member_by_member(ensemble):
    inputs = noise(R, T, M, 5, S + A)
    outputs = ensemble.members(inputs).detach().numpy()
    assert outputs.shape == (R, T, M, 5, 1 + S)
    for r, t, m, b in np.ndindex(R, T, M, 5):
        np.testing.assert_allclose(outputs[r, t, m, b], member(ensemble, r, t, m, inputs[r, t, m, b]))


def test_a_label_is_the_mean_of_the_tasks_members_however_many_inputs(ensemble):
    inputs = noise(R, T, CHUNK + 3, S + A)
    labels = ensemble(inputs).detach().numpy()
    assert labels.shape == (R, T, CHUNK + 3, 1 + S)
    for r, t, b in [(0, 0, 0), (1, 2, 7), (0, 1, CHUNK - 1), (1, 0, CHUNK), (1, 1, CHUNK + 2)]:
        each = [member(ensemble, r, t, m, inputs[r, t, b]) for m in range(M)]
        np.testing.assert_allclose(labels[r, t, b], np.mean(each, axis=0))


def test_loss_is_the_squared_error_of_reward_and_step(ensemble):
    transitions = noise(R, T, M, 3, 2 * S + A + 1)
    loss = ensemble.loss(transitions).tolist()
    for r in range(R):
        expected = 0.0
        for t, m, b in np.ndindex(T, M, 3):
            s, a, reward, following = np.split(transitions[r, t, m, b].numpy(), [S, S + A, S + A + 1])
            predicted = member(ensemble, r, t, m, torch.as_tensor(np.concatenate([s, a])))
            expected += sum((p - y) ** 2 for p, y in zip(predicted, [*reward, *(following - s)], strict=True)) / 3
        assert loss[r] == pytest.approx(expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(0, 3))
def test_split_and_join_are_inverse(s, a):
    features = noise(3, 5, 2 * s + a + 1)
    known, label = split_features(features, s)
    torch.testing.assert_close(join_features(known, label, s), features)
    torch.testing.assert_close(label[..., 1:], features[..., s + a + 1 :] - features[..., :s])


def test_models_of_a_task_see_only_its_transitions(batches):
    data, rows = batches.data, len(batches.data.rewards)
    batches.features = torch.arange(rows, dtype=torch.float32)[:, None].expand(-1, 2 * S + A + 1)
    ensemble = DynamicsEnsemble(batches.rngs, len(data.tasks), M, S, A, width=4)
    drawn = ensemble.draw(batches, 16)[..., 0].numpy()
    assert drawn.shape == (R, 30, M, 16)
    for t in range(30):
        assert (drawn[:, t] >= data.task_offsets[t]).all()
        assert (drawn[:, t] < data.task_offsets[t + 1]).all()
    first, second = drawn[0, 0, 0], drawn[0, 0, 1]
    assert not np.array_equal(first, second)  # every member draws for itself


def trained(batches, updates=60):
    batches.rngs = seed_generators(SEEDS, "again")
    ensemble = DynamicsEnsemble(seed_generators(SEEDS, "models"), 30, 2, S, A, width=8)
    calls = []
    ensemble.train_on(batches, updates, 32, 1e-2, lambda *call: calls.append(call))
    assert calls == [("representation", k + 1, updates) for k in range(updates)]
    return ensemble


def test_other_tasks_data_changes_nothing_in_a_tasks_models(batches):
    before = trained(batches, 2)
    start, stop = batches.data.task_offsets[7:9]
    batches.features = batches.features.clone()
    batches.features[start:stop] += 1
    after = trained(batches, 2)
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        same = (old == new).reshape(R, 30, 2, -1).all(dim=-1)
        assert same[:, [t for t in range(30) if t != 7]].all()
        assert not same[:, 7].any()


def test_models_learn_their_own_tasks_reward(batches):
    ensemble, data = trained(batches, 300), batches.data
    rows = data.sample_rows(batches.rngs, np.broadcast_to(np.arange(30), (R, 30)), 64)
    known, label = split_features(batches.features[torch.as_tensor(rows)], S)
    own = (ensemble(known) - label)[..., 0].square().mean()
    others = (ensemble(known.roll(1, dims=1)) - label.roll(1, dims=1))[..., 0].square().mean()
    assert own < 0.25
    assert others > 3 * own
