"""Protocols in which a method is given nothing and collects its context itself.

A lane stays in one task. It starts from the method's prior; a method with the privilege ``descriptors`` is told them in
an empty context. While it acts, the method may update its belief (``observe``). After each episode it is given
everything its lane has seen so far as a context, so that methods without a running belief adapt between episodes, as
in the papers' online evaluations (R2PGO, table 1; GENTLE, table 1).

* `zero-shot`: episodes 1..K; the return of each. In the first one, only a belief that is updated while acting helps.
* `one-shot`: one episode from the prior, then one with the inferred belief: the first two of `zero-shot`.
* `explore`: K episodes in which the policy is asked to explore, then one in which it executes (CCM; CSRO's non-prior
  collection of contexts is K = 1).
"""

from __future__ import annotations

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions

from .rollout import Rollout


def evaluate(
    policy: MetaPolicy,
    rollout: Rollout,
    conditions: tuple[str, ...],
    told: bool = False,
    steps: list[list[Transitions]] | None = None,
) -> np.ndarray:
    """Return the undiscounted returns, (conditions, tasks, draws) float64.

    Args:
        policy: The policy of one trained seed.
        rollout: The lanes.
        conditions: One per episode: ``explore-1``, ... where the policy is to explore; other names elsewhere.
        told: Whether the method has the privilege ``descriptors``.
        steps: A list that each episode's transitions are added to, step by step.

    Raises:
        PolicyError: see :meth:`omrl_bench.protocols.rollout.Rollout.episode`.
    """
    policy.reset(rollout.lanes)
    seen: list[Transitions] = []
    if told:
        policy.condition(rollout.collected(seen))
    returns = []
    for number, name in enumerate(conditions):
        before = len(seen)
        returns.append(rollout.episode(policy, number, explore=name.startswith("explore"), seen=seen))
        if steps is not None:
            steps.append(seen[before:])
        if number + 1 < len(conditions):
            policy.condition(rollout.collected(seen))
    return np.stack(returns)
