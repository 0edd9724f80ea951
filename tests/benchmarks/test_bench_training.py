import numpy as np
import pytest
import torch

from omrl_bench.baselines.iql import IQL, IQLConfig
from omrl_bench.baselines.training import Batch, adam, seed_generators

BATCH = 256
UPDATES = 40
SEEDS = 5


def updater(seeds, width):
    """A closure that does some IQL updates of these seeds on fixed batches of the size of cheetah-vel's."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal((len(seeds), BATCH, *shape), dtype=np.float32))

    batch = Batch(normal(17), normal(6).tanh(), normal(), normal(17), torch.zeros(len(seeds), BATCH))
    z = normal(20)
    backbone = IQL(seed_generators(seeds, "bench"), 17, 6, 20, IQLConfig(width=width))
    optimiser = adam((backbone, 1e-3))

    def update():
        for _ in range(UPDATES):
            backbone.update(optimiser, batch, z)

    return update


@pytest.mark.usefixtures("one_thread")
def test_five_seeds_at_once_against_one_by_one(compare):
    """One update of R = 5 against five updates of R = 1; width 64, batch 256, one thread."""
    together = updater(range(SEEDS), width=64)
    alone = [updater([seed], width=64) for seed in range(SEEDS)]

    def one_by_one():
        for update in alone:
            update()

    compare(together, one_by_one, at_least=1.4)
