"""What the tests of all backbones share: sizes, random tensors, and networks taken apart."""

import numpy as np
import torch

from omrl_bench.baselines.networks import SeedLinear
from omrl_bench.baselines.training import Batch, seed_generators

R, B, S, A, Z = 3, 9, 3, 2, 4  # seeds, transitions, lengths of s, a and z


def random(*shape, seed):
    """Standard normal numbers in double precision."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def random_batch():
    """Transitions, some of them terminal."""
    terminated = torch.from_numpy((np.random.default_rng(9).random((R, B)) < 0.4).astype(float))
    assert 0 < terminated.sum() < R * B
    return Batch(
        observations=random(R, B, S, seed=1),
        actions=random(R, B, A, seed=2).clamp(-1, 1),
        rewards=random(R, B, seed=3),
        next_observations=random(R, B, S, seed=4),
        terminated=terminated,
    )


def displaced(backbone, config):
    """A learner in double precision, far from its initial weights, whose targets are not the networks they follow."""
    model = backbone(seed_generators((0, 1, 2), "test"), S, A, Z, config).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(0.5 * random(*parameter.shape, seed=100 + number))
    return model


def network(module, index):
    """One network of a stack of them, as a function of vectors."""
    layers = [layer for layer in module.layers if isinstance(layer, SeedLinear)]

    def forward(*vectors):
        x = torch.cat(vectors)
        for number, layer in enumerate(layers):
            x = layer.weight[index].T @ x + layer.bias[index, 0]
            x = torch.relu(x) if number < len(layers) - 1 else x
        return x

    return forward
