"""The two stages: what each trains, and the embeddings between them."""

import numpy as np
import pytest
import torch

import omrl_bench.baselines.two_stage as two_stage
from omrl_bench.api import Budget
from omrl_bench.baselines.borel import Borel
from omrl_bench.baselines.focal import Focal
from omrl_bench.baselines.hs_omrl import HardSampling
from omrl_bench.baselines.iql import IQL
from omrl_bench.baselines.networks import take_seed
from omrl_bench.baselines.training import Batches, Scale, seed_generators
from omrl_bench.data.meta_dataset import MetaDataset


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, after):
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("cls", [Focal, HardSampling])
def test_each_stage_trains_its_own_networks(make, data_for, cls):
    method, fresh, at = make(cls), make(cls), {}
    fresh.build((0, 1), Scale.of(data_for(cls), fresh.space))

    def log(stage, step, total):
        at[stage, step] = state(method.backbone), state(method.encoder)

    method.fit(data_for(cls), Budget(updates=4, encoder_updates=3), (0, 1), log)
    assert len(at) == 7
    first_encoder = at["representation", 1][1]
    assert changed(state(fresh.encoder), first_encoder) == set(first_encoder)
    for step in (1, 2, 3):
        assert changed(state(fresh.backbone), at["representation", step][0]) == set()
    last_encoder = at["representation", 3][1]
    assert changed(first_encoder, last_encoder) == set(last_encoder)
    for step in (1, 2, 3, 4):
        assert changed(last_encoder, at["policy", step][1]) == set()
    backbone = at["policy", 4][0]
    assert changed(state(fresh.backbone), backbone) == set(backbone)


def test_without_encoder_updates_the_encoder_stays_as_built(fit, make, data_for):
    fresh = make(Focal)
    fresh.build((0, 1), Scale.of(data_for(Focal), fresh.space))
    method = fit(Focal, seeds=(0, 1), updates=1, encoder_updates=0)
    assert changed(state(fresh.encoder), state(method.encoder)) == set()


@pytest.mark.parametrize("cls", [Focal, HardSampling])
@pytest.mark.parametrize("chunk", [7, 300, 1000])
def test_embeddings_are_those_of_each_whole_episode_alone(family, ragged, make, monkeypatch, cls, chunk):
    """With episodes of different lengths, and chunks that divide their number or not."""
    monkeypatch.setattr(two_stage, "EMBEDDING_CHUNK", chunk)
    seeds, data, method = (0, 1), MetaDataset(family, ragged), make(cls)
    method.build(seeds, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(seeds, "data"))
    embeddings = method.embed_episodes(batches)
    assert embeddings.shape == (2, 300, method.z_size)
    assert not embeddings.requires_grad
    for r in range(2):
        encoder = take_seed(method.encoder, r)
        for episode in range(0, 300, 23):
            rows = slice(data.episode_offsets[episode], data.episode_offsets[episode + 1])
            z = encoder(batches.features[None, None, rows])[0, 0]
            torch.testing.assert_close(embeddings[r, episode], z, rtol=1e-4, atol=1e-5)


def test_policy_infers_what_training_embedded(fit, data_for):
    """A logged training episode, given as context, has the embedding that the backbone was trained on."""
    method, data = fit(HardSampling, seeds=(0, 1), updates=1, encoder_updates=2), data_for(HardSampling)
    batches = Batches(data, method.scale, method.space, seed_generators((0, 1), "data"))
    embeddings = method.embed_episodes(batches)
    rows = np.arange(4 * 60, 6 * 60).reshape(2, 60)  # episodes 4 and 5

    class Context:
        observations, actions = data.observations[rows], data.actions[rows]
        rewards, next_observations = data.rewards[rows], data.next_observations[rows]
        valid = np.ones((2, 60), bool)

    for index in range(2):
        torch.testing.assert_close(method.inference(index)(Context), embeddings[index, 4:6], rtol=1e-4, atol=1e-5)


def test_representation_loss_is_of_seeds_that_do_not_mix(make, data_for):
    """The gradient of one seed's encoder is the same with other seeds beside it."""
    for cls in (Focal, HardSampling):
        gradients = []
        for seeds in ((2, 4), (4,)):
            method, data = make(cls), data_for(cls)
            method.build(seeds, Scale.of(data, method.space))
            batches = Batches(data, method.scale, method.space, seed_generators(seeds, "data"))
            method.representation_loss(batches).backward()
            gradients.append([parameter.grad for parameter in method.encoder.parameters()])
        for together, alone in zip(*gradients, strict=True):
            assert alone.abs().max() > 0
            torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("cls", [Focal, HardSampling, Borel])
def test_backbone_and_policy_see_z_in_standard_units(fit, monkeypatch, contexts, cls):
    seen, (context, observations) = [], contexts
    plain = IQL.update
    monkeypatch.setattr(
        IQL, "update", lambda self, opt, batch, z, *rest: (seen.append(z), plain(self, opt, batch, z, *rest))
    )
    method = fit(cls, seeds=(0, 1), updates=40, encoder_updates=20)
    z = torch.cat(seen, dim=1)
    torch.testing.assert_close(z.mean(dim=1), torch.zeros(2, method.z_size), atol=0.15, rtol=0)
    torch.testing.assert_close(z.std(dim=1), torch.ones(2, method.z_size), atol=0.15, rtol=0)
    policy = method.policy(1)
    policy.reset(8)
    policy.condition(context)
    raw = torch.as_tensor(policy.representation())
    units = (raw - method.standard.mean[1]) / method.standard.deviation[1]
    states = method.scale.observations(observations)[None]
    expected = method.backbone.actor(1)(states, units[None])[0] * method.space.action_limit
    np.testing.assert_allclose(policy.act(observations), expected.detach(), atol=1e-6)
    assert raw.std(dim=0).min() < 0.5  # which is not so without them
