"""What should act in the first episode of a method without a prior: z = 0, or training representations in turn?

    python tools/first_episode.py

Trains `focal` and `gentle` (1,500 and 4,000 updates, two seeds) on three point families and plays `one-shot` on the
validation tasks, ten times each; prints the mean scores of both episodes. A few minutes of one core per family; the
numbers are in docs/decisions.md.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from omrl_bench.api import Budget, MetaPolicy, Setup
from omrl_bench.baselines.policies import Prior
from omrl_bench.data.datasets import Datasets
from omrl_bench.data.manifest import ensure_dataset
from omrl_bench.envs.families import get_family
from omrl_bench.protocols.protocol import parse_protocol
from omrl_bench.registry import load_class, resolve_method
from omrl_bench.runner.evaluation import Evaluation

SEEDS = (0, 1)
#: Data, backbone and number of training tasks (0 for all) of each family: as in `limited-one-shot` and in `explore`.
CASES = {
    "point-square": ("expert", "td3bc", 10),
    "point-hard": ("mixed", "iql", 0),
    "point-sparse": ("mixed", "iql", 0),
}


def main() -> None:
    """Print a line for each family, method and prior."""
    torch.set_num_threads(1)
    for family in CASES:
        for method in ("focal", "gentle"):
            compare(family, method)


def compare(name: str, method: str) -> None:
    """Train a method once, play with both priors."""
    (quality, backbone, few), family = CASES[name], get_family(name)
    for needed in dict.fromkeys((quality, "mixed")):
        ensure_dataset(family, needed, 1, print)
    cls = load_class(resolve_method(method)[1])
    datasets, algorithm = Datasets(family, cls.requires.privileges), cls(family.space(), Setup("standard", backbone))
    data = datasets.training(quality, quality, few)
    algorithm.fit(data, Budget(updates=4000, encoder_updates=1500), SEEDS, lambda *step, **seeds: None)
    protocol = parse_protocol({"kind": "one-shot", "draws": 10})
    evaluation = Evaluation(datasets, protocol, (), few, 1)
    for prior in ("zero", "redrawn"):
        cubes = [evaluation.cube(partial(policy, algorithm, seed, prior), seed, "validation") for seed in SEEDS]
        first, second = ([cube.scores()[episode].mean() for cube in cubes] for episode in (0, 1))
        texts = (", ".join(f"{score:.1f}" for score in scores) for scores in (first, second))
        print(name, method, prior, *texts, sep=" | ", flush=True)


def policy(algorithm: Any, seed: int, prior: str) -> MetaPolicy:
    """The trained policy of a seed with one of both priors."""
    made: Any = algorithm.policy(seed)
    if prior == "zero":
        made._prior = Prior.zero(algorithm.z_size)
    policy: MetaPolicy = made
    return policy


if __name__ == "__main__":
    main()
