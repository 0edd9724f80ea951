"""A training loop of one's own, whose policies become rows of the tables, marked as trained elsewhere."""

from pathlib import Path

import torch

import omrl_bench
from omrl_bench.report.build import build

FAMILY, SUITE = "point-goal", "shift"


class GoalPolicy:
    """Knows where the context ended, and asks a network what was done on the way there."""

    def __init__(self, network):
        self.network = network

    def reset(self, lanes):
        self.goals = torch.zeros(lanes, 2)

    def condition(self, context):
        ends = torch.from_numpy(context.valid.sum(axis=1) - 1)
        self.goals = torch.from_numpy(context.next_observations)[torch.arange(len(ends)), ends]

    @torch.no_grad()
    def act(self, observations):
        return self.network(torch.cat([torch.from_numpy(observations), self.goals], dim=1)).numpy()


def train(seed, updates=400):
    data = {name: torch.from_numpy(array) for name, array in omrl_bench.load(FAMILY, "mixed").items()}
    ends = data["next_observations"][data["terminated"] | data["truncated"]]  # of each episode
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(updates):
        rows = torch.randint(len(data["rewards"]), (512,))
        inputs = torch.cat([data["observations"][rows], ends[data["episodes"][rows]]], dim=1)
        optimiser.zero_grad()
        (network(inputs) - data["actions"][rows]).abs().mean().backward()
        optimiser.step()
    return GoalPolicy(network)


if __name__ == "__main__":
    policies = {seed: train(seed) for seed in (0, 1)}
    validation = omrl_bench.evaluate(policies[0], SUITE, FAMILY, split="validation")  # tune on this, never on the test
    print(validation.groupby("condition")["score"].mean())
    omrl_bench.record(policies, "goal-network", SUITE, FAMILY, trained_with="examples/train_elsewhere.py, 400 updates")
    print(*build(Path("runs"), Path("runs/report"), SUITE), sep="\n")  # or: omrl-bench report --results runs
