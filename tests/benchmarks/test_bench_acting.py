"""What a step of acting costs a sequence model, relative to FOCAL, with 200 lanes at the sizes of cheetah-vel."""

import statistics
import time

import numpy as np
import pytest
import torch

from omrl_bench.api import Setup, Transitions
from omrl_bench.baselines.training import Scale
from omrl_bench.envs.families import get_family
from omrl_bench.registry import load_class, methods

LANES, ROUNDS, AT_MOST = 200, 7, 5.0
SEQUENCE_MODELS = ("prompt-dt", "meta-dt", "ad", "dpt", "ic-iql", "ic-td3bc")


def steps(context):
    """A context as what is observed step by step."""
    arrays = {name: value for name, value in vars(context).items() if value is not None}
    return [
        Transitions(**{name: value[:, t : t + 1] for name, value in arrays.items()})
        for t in range(context.valid.shape[1])
    ]


def acting(name):
    """A closure that acts for one episode, with networks of `standard` that nobody has trained: times do not differ."""
    space, rng = get_family("cheetah-vel").space(), np.random.default_rng(0)
    method = load_class(methods()[name])(space, Setup("standard"))
    size = space.observation_size
    method.build([0], Scale(torch.zeros(size), torch.ones(size), 0.0, 1.0, 1.0, space.action_limit))

    def normal(*shape):
        return rng.standard_normal((LANES, space.horizon, *shape)).astype(np.float32)

    flags = np.zeros((LANES, space.horizon), bool)
    context = Transitions(normal(size), normal(space.action_size), normal(), normal(size), flags, ~flags)
    policy, happened = method.policy(0), steps(context)
    policy.reset(LANES)
    policy.condition(context)

    def episode():
        for step in happened:
            policy.act(step.observations[:, 0])
            policy.observe(step)
        policy.end_episode()

    return episode


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_a_step_of_a_sequence_model_against_one_of_focal(benchmark, name):
    """Processor time, in turns."""
    episodes = [acting("focal"), acting(name)]
    if benchmark.disabled:
        episodes[1]()
        benchmark(lambda: None)
        return
    seconds = [[], []]
    for _ in range(ROUNDS + 1):
        for episode, measured in zip(episodes, seconds, strict=True):
            started = time.process_time()
            episode()
            measured.append(time.process_time() - started)
    focal, ours = (statistics.median(measured[1:]) for measured in seconds)  # the first round warms up
    benchmark.extra_info["ratio"] = ours / focal
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n  {name}: {ours / focal:.2f} times as long as focal (at most {AT_MOST})")
    assert ours / focal <= AT_MOST
