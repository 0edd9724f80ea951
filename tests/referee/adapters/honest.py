"""Walks to where its context ended: what each cheat here scores if its trick does not work."""

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy


class Walker(MetaPolicy):
    def __init__(self, limit):
        self.limit = limit

    def reset(self, lanes):
        self.goals = np.zeros((lanes, 2))

    def condition(self, context):
        last = context.valid.sum(axis=1) - 1
        self.goals = context.next_observations[np.arange(len(last)), last].astype(float)

    def act(self, observations, explore=False):
        return np.clip(self.goals - observations, -self.limit, self.limit).astype(np.float32)


class Honest(Algorithm):
    def fit(self, data, budget, seeds, log):
        for step in range(budget.updates):
            log("policy", step + 1, budget.updates)

    def policy(self, seed):
        return Walker(self.space.action_limit)

    def save(self, folder):
        (folder / "weights.txt").write_text("none")

    def load(self, folder):
        assert (folder / "weights.txt").read_text() == "none"
