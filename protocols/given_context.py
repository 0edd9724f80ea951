"""Protocol `given-context`: each lane gets one logged context of its task, then acts for one episode."""

from __future__ import annotations

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions

from .rollout import Rollout


def evaluate(
    policy: MetaPolicy, rollout: Rollout, context: Transitions, steps: list[Transitions] | None = None
) -> np.ndarray:
    """Return the undiscounted returns, (tasks, draws) float64.

    Args:
        policy: The policy of one trained seed.
        rollout: The lanes.
        context: One context per lane.
        steps: A list that every step's transitions are added to.

    Raises:
        PolicyError: see :meth:`omrl_bench.protocols.rollout.Rollout.episode`.
    """
    policy.reset(rollout.lanes)
    policy.condition(context)
    return rollout.episode(policy, seen=steps)
