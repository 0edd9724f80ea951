"""Rolls the behaviour policies out into datasets."""

from __future__ import annotations

import zlib

import numpy as np

from omrl_bench.api import Behaviour
from omrl_bench.data.behaviour import BEHAVIOURS, EXPERT, RANDOM, UniformActor, make_actor
from omrl_bench.data.store import QUALITIES, Episodes
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family
from omrl_bench.errors import unknown_name

EPISODES_PER_TASK = 45


def collect(family: Family, quality: str, threads: int, episodes: int = EPISODES_PER_TASK) -> Episodes:
    """Roll out one dataset: the given number of episodes of every task in the table, in one batched simulation.

    Raises:
        InputError: if there is no such quality, or the family has no behaviour policies.
    """
    if quality not in QUALITIES:
        raise unknown_name("quality", quality, QUALITIES)
    tasks = np.repeat(family.tasks().ids(), episodes)
    number = np.tile(np.arange(episodes), len(family.tasks()))
    behaviours = {
        "mixed": number % BEHAVIOURS,
        "expert": np.full_like(number, EXPERT),
        "random": np.full_like(number, RANDOM),
    }[quality]
    actor = UniformActor(family) if quality == "random" else make_actor(family)
    entropy = [zlib.crc32(f"{family.name} {family.version} {quality}".encode())]
    seeds = np.random.SeedSequence(entropy).generate_state(len(tasks)).astype(np.int64)
    return roll_out(family, actor, tasks, behaviours, seeds, np.random.default_rng(entropy), threads)


def roll_out(
    family: Family,
    actor: Behaviour,
    tasks: np.ndarray,
    behaviours: np.ndarray,
    seeds: np.ndarray,
    rng: np.random.Generator,
    threads: int,
    deterministic: bool = False,
) -> Episodes:
    """Run one episode per lane and keep every transition up to its end.

    Args:
        family: The family.
        actor: Who acts.
        tasks: (lanes,) task ids, ascending.
        behaviours: (lanes,) behaviour of each lane.
        seeds: (lanes,) environment seeds.
        rng: Source of the sampled actions.
        threads: Simulator threads.
        deterministic: Whether the actor takes its mean action.
    """
    lanes = len(tasks)
    shape = (lanes, family.horizon)
    observations = np.empty((lanes, family.horizon + 1, family.observation_size), np.float32)
    actions = np.empty((*shape, family.action_size), np.float32)
    rewards = np.empty(shape, np.float32)
    terminated = np.zeros(shape, bool)
    descriptors = family.tasks().descriptors[tasks]
    env = BatchedEnv(family, lanes, threads)
    current = env.reset(tasks, seeds)
    actor.reset(behaviours, rng)
    observations[:, 0] = current
    for step in range(family.horizon):
        # the float32 action is what is stored, so it is also what is applied
        actions[:, step] = actor.act(current, descriptors, rng, deterministic)
        current, rewards[:, step], terminated[:, step], _ = env.step(actions[:, step])
        observations[:, step + 1] = current
    ended = terminated.any(axis=1)
    lengths = np.where(ended, terminated.argmax(axis=1) + 1, family.horizon)
    kept = np.arange(family.horizon) < lengths[:, None]
    return Episodes(
        observations=observations[:, :-1][kept],
        actions=actions[kept],
        rewards=rewards[kept],
        next_observations=observations[:, 1:][kept],
        terminated=terminated[kept],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        tasks=tasks.astype(np.int64),
        behaviours=behaviours.astype(np.int64),
        seeds=seeds,
    )
