"""A training loop of one's own, whose policies become rows of the tables, marked as trained elsewhere."""

from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPRegressor

import omrl_bench
from omrl_bench.report.build import build

FAMILY, SUITE = "point-goal", "shift"
LIMIT = 0.1  # of an action


class GoalPolicy:
    """Knows where the context ended, and asks a network what was done on the way there."""

    def __init__(self, network):
        self.network = network

    def reset(self, lanes):
        self.goals = np.zeros((lanes, 2))

    def condition(self, context):
        self.goals = context.next_observations[np.arange(len(self.goals)), context.valid.sum(axis=1) - 1]

    def act(self, observations):
        return LIMIT * self.network.predict(np.concatenate([observations, self.goals], axis=1))


def train(seed, updates=1000):
    data, rng = omrl_bench.load(FAMILY, "mixed"), np.random.default_rng(seed)
    ends = data["next_observations"][data["terminated"] | data["truncated"]]  # of each episode
    inputs = np.concatenate([data["observations"], ends[data["episodes"]]], axis=1)
    network = MLPRegressor(hidden_layer_sizes=64, learning_rate_init=3e-3, random_state=seed)
    for _ in range(updates):
        rows = rng.integers(len(inputs), size=200)
        network.partial_fit(inputs[rows], data["actions"][rows] / LIMIT)
    return GoalPolicy(network)


if __name__ == "__main__":
    policies = {seed: train(seed) for seed in (0, 1)}
    validation = omrl_bench.evaluate(policies[0], SUITE, FAMILY, split="validation")  # tune on this, never on the test
    print(validation.groupby("condition")["score"].mean())
    omrl_bench.record(policies, "goal-network", SUITE, FAMILY, trained_with="examples/train_elsewhere.py, 1000 updates")
    print(*build(Path("runs"), Path("runs/report"), SUITE), sep="\n")  # or: omrl-bench report --results runs
