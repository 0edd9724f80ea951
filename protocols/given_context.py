"""Protocol `given-context`: each lane gets one logged episode of its task as context, then acts for one episode."""

from __future__ import annotations

import zlib

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family


class PolicyError(Exception):
    """A policy returned something that is no action."""


def lane_seeds(family: Family, tasks: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Environment seeds (tasks * draws,) of one training seed: the same for every method and context quality."""
    seeds = [
        np.random.SeedSequence([zlib.crc32(family.name.encode()), int(task), seed]).generate_state(draws)
        for task in tasks
    ]
    return np.concatenate(seeds)


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
    lanes = len(tasks) * draws
    env = BatchedEnv(family, lanes, threads)
    observations = env.reset(np.repeat(tasks, draws), lane_seeds(family, tasks, draws, seed))
    policy.reset(lanes)
    policy.condition(context)
    returns = np.zeros(lanes)
    running = np.ones(lanes, dtype=bool)
    for _ in range(family.horizon):
        # a lane that has ended is shown zeros: what its simulator goes on doing is nobody's business
        shown = np.where(running[:, None], observations, 0.0).astype(np.float32)
        actions = check_actions(policy.act(shown), running, family)
        following, rewards, terminated, _ = env.step(actions)
        if not np.isfinite(following[running]).all():
            raise PolicyError("the simulation became unstable (NaN) under the policy's actions")
        policy.observe(_one_step(observations, actions, rewards, following, terminated, running, context))
        returns[running] += rewards[running]
        running &= ~terminated
        observations = following
    policy.end_episode()
    return returns.reshape(len(tasks), draws)


def check_actions(actions: np.ndarray, running: np.ndarray, family: Family) -> np.ndarray:
    """Return the actions, clipped to the limits, or raise :class:`PolicyError` saying what is wrong with them.

    Args:
        actions: What the policy returned.
        running: (lanes,) bool; an ended lane's action does not matter and becomes 0.
        family: The family.
    """
    expected = (len(running), family.action_size)
    if not isinstance(actions, np.ndarray) or actions.shape != expected:
        got = f"shape {actions.shape}" if isinstance(actions, np.ndarray) else f"a {type(actions).__name__}"
        raise PolicyError(f"act returned {got}; expected a NumPy array of shape {expected} (lanes, action size)")
    wrong = running & ~np.isfinite(actions).all(axis=1)
    if wrong.any():
        raise PolicyError(f"act returned NaN or infinity in lane {int(wrong.argmax())}")
    limit = family.action_limit
    return np.where(running[:, None], np.clip(actions, -limit, limit), 0.0)


def _one_step(
    observations: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    following: np.ndarray,
    terminated: np.ndarray,
    running: np.ndarray,
    context: Transitions,
) -> Transitions:
    return Transitions(
        observations=np.where(running[:, None], observations, 0.0)[:, None].astype(np.float32),
        actions=actions[:, None].astype(np.float32),
        rewards=np.where(running, rewards, 0.0)[:, None].astype(np.float32),
        next_observations=np.where(running[:, None], following, 0.0)[:, None].astype(np.float32),
        terminated=(terminated & running)[:, None],
        valid=running[:, None].copy(),
        descriptors=context.descriptors,
    )
