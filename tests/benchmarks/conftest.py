"""Ratios within one run: absolute times vary between machines, these should not.

`make bench` prints them and fails below the targets; `make test` runs each once, untimed.
"""

import statistics
import time

import pytest
import torch

ROUNDS = 7


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compare(benchmark, capsys):
    """Time two callables in turns; the first must be at least so many times as fast as the second."""

    def run(ours, reference, at_least):
        if benchmark.disabled:
            ours(), reference()
            benchmark(lambda: None)
            return
        times = {ours: [], reference: []}
        for _ in range(ROUNDS + 1):
            for call, measured in times.items():
                started = time.perf_counter()
                call()
                measured.append(time.perf_counter() - started)
        fast, slow = (statistics.median(measured[1:]) for measured in times.values())  # the first round warms up
        benchmark.extra_info["ratio"] = slow / fast
        benchmark.pedantic(ours, rounds=3)
        with capsys.disabled():
            print(f"\n  {benchmark.name}: {slow / fast:.2f} (at least {at_least})")
        assert slow / fast >= at_least

    return run
