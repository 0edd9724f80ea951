"""The shortest way in: load data, make a policy of them, evaluate it, print its scores."""

from types import SimpleNamespace

import numpy as np

import omrl_bench

data = omrl_bench.load("point-goal", "mixed")
mean = data["actions"].mean(axis=0)  # the same action everywhere, whatever the context says
policy = SimpleNamespace(
    reset=lambda lanes: None,
    condition=lambda context: None,
    act=lambda observations: np.tile(mean, (len(observations), 1)),
)
scores = omrl_bench.evaluate(policy, "shift", "point-goal")
print(scores.groupby("condition")["score"].agg(["mean", "min", "max"]))
