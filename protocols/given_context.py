"""Protocol `given-context`: each lane gets one logged context of its task, then acts for one episode."""

from __future__ import annotations

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.envs.families import Family

from .rollout import Rollout


def evaluate(
    policy: MetaPolicy,
    family: Family,
    tasks: np.ndarray,
    context: Transitions,
    draws: int,
    seed: int,
    threads: int,
) -> np.ndarray:
    """Return the undiscounted return of every lane, (tasks, draws) float64.

    All lanes run in one batched simulation: lane ``i * draws + j`` is draw j of task i.

    Args:
        policy: The policy of one trained seed.
        family: The family.
        tasks: (tasks,) task ids.
        context: One context per lane.
        draws: Context draws per task.
        seed: The training seed, which the environment seeds depend on.
        threads: Simulator threads.

    Raises:
        PolicyError: if an action has the wrong shape or is not finite, or makes the simulation unstable.
    """
    rollout = Rollout(family, tasks, draws, seed, threads, context.descriptors)
    policy.reset(rollout.lanes)
    policy.condition(context)
    return rollout.episode(policy)
