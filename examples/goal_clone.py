"""A method for `omrl-bench run`: least squares from (state, where the context ended) to the logged action.

omrl-bench smoke examples/goal_clone.py:GoalClone
omrl-bench run --suite shift --family point-goal --method examples/goal_clone.py:GoalClone
"""

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy


class GoalClone(Algorithm):
    def fit(self, data, budget, seeds, log):
        last = data.next_observations[data.episode_offsets[1:] - 1]  # of each episode
        inputs = features(data.observations, np.repeat(last, np.diff(data.episode_offsets), axis=0))
        weights = np.linalg.lstsq(inputs, data.actions, rcond=None)[0]
        self.weights = dict.fromkeys(seeds, weights)  # there is no randomness that a seed could change

    def policy(self, seed):
        return GoalPolicy(self.weights[seed], self.space.action_limit)

    def save(self, folder):
        np.savez(folder / "weights.npz", **{str(seed): weights for seed, weights in self.weights.items()})

    def load(self, folder):
        with np.load(folder / "weights.npz") as file:
            self.weights = {int(seed): file[seed] for seed in file.files}


class GoalPolicy(MetaPolicy):
    def __init__(self, weights, limit):
        self.weights, self.limit = weights, limit

    def reset(self, lanes):
        self.goals = np.zeros((lanes, 2))

    def condition(self, context):
        ends = context.valid.sum(axis=1) - 1
        self.goals = context.next_observations[np.arange(len(ends)), ends]

    def act(self, observations, explore=False):
        return np.clip(features(observations, self.goals) @ self.weights, -self.limit, self.limit)


def features(observations, goals):
    return np.concatenate([observations, goals, np.ones((len(observations), 1))], axis=1)
