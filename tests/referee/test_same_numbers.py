"""In a process of its own a method does what it does in this one, to the bit; only the order of the lanes is new."""

import numpy as np
import pytest
import torch

from omrl_bench.api import Setup
from omrl_bench.envs.families import get_family
from omrl_bench.referee import lanes
from omrl_bench.referee.method import InProcess
from omrl_bench.registry import methods


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", sorted(methods()))
def test_numbers_equal_those_in_this_process(name, judge, hosted, one_thread):
    target, space = methods()[name], get_family("point-goal").space()
    here = judge(InProcess(target, space, Setup()), lanes.as_they_are)
    there = judge(hosted(target), lanes.as_they_are)
    assert there.method.declared == here.method.declared
    for judged in (here, there):
        judged.fit()
    assert there.curve == here.curve and len(here.curve) in (0, 4)
    for seed in (0, 3):
        np.testing.assert_array_equal(there.cube(seed), here.cube(seed))
    if name in ("focal", "focalpp-series"):  # which has attention weights
        assert there.representation(3) == here.representation(3)
