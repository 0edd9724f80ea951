"""What is measured of a trained seed: returns under the suite's protocol, its representation, traces for pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.data.contexts import ContextSet, gather, source_dataset
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import read_contexts, read_episodes
from omrl_bench.envs.families import Family
from omrl_bench.protocols import given_context, self_collected
from omrl_bench.protocols.rollout import Rollout
from omrl_bench.protocols.suite import Preset, Protocol
from omrl_bench.runner.records import Cube
from omrl_bench.runner.traces import Traces
from omrl_bench.stats.representation import attention_by_reward, measures

Attention = Callable[[Transitions], np.ndarray | None]  # a context -> weights of its transitions, (lanes, n)

VALIDATION_DRAWS = 2
TRACED_DRAWS = 5  # contexts of each task whose embeddings are kept


class Evaluation:
    """The tasks, contexts and lanes of one suite and family; the same for every method.

    Args:
        family: The family.
        protocol: How methods are evaluated.
        preset: Which context qualities are given.
        privileges: What the method declared.
        threads: Simulator threads.
    """

    def __init__(
        self, family: Family, protocol: Protocol, preset: Preset, privileges: frozenset[str], threads: int
    ) -> None:
        self.family, self.protocol = family, protocol
        self.conditions = protocol.conditions(preset.qualities)
        self.privileges, self.threads = privileges, threads
        self.manifest, self.table = read_manifest(family), family.tasks()
        self.trained_tasks = (
            self.table.training_subset(preset.train_tasks) if preset.train_tasks else self.table.ids("train")
        )
        evaluated = self.trained_tasks if protocol.split == "train" else self.table.ids(protocol.split)
        self.tasks: np.ndarray = evaluated
        self.datasets: dict[str, Episodes] = {}
        self.context_sets: dict[str, ContextSet] = {}

    def episodes(self, quality: str) -> Episodes:
        """A dataset, read once."""
        if quality not in self.datasets:
            self.datasets[quality] = read_episodes(self.family, quality)[0]
        return self.datasets[quality]

    def validate(self, policy: Callable[[], MetaPolicy], seed: int) -> float:
        """Mean score on the validation tasks: with contexts of the first quality, or in the last episode."""
        tasks = self.table.ids("validation")
        given = self.protocol.kind == "given-context"
        conditions = self.conditions[:1] if given else self.conditions
        returns = self._returns(policy, seed, tasks, conditions, VALIDATION_DRAWS)
        return float(self._cube(conditions[-1:], tasks, returns[-1:]).scores().mean())

    def cube(self, policy: Callable[[], MetaPolicy], seed: int) -> Cube:
        """Returns on the protocol's tasks, for every condition."""
        returns = self._returns(policy, seed, self.tasks, self.conditions, self.protocol.draws)
        return self._cube(self.conditions, self.tasks, returns)

    def representation(self, policy: Callable[[], MetaPolicy], attention: Attention) -> dict[str, dict[str, float]]:
        """Measures of what a policy believes of the tasks it is given contexts of, by context quality; {} for none."""
        if self.protocol.kind != "given-context":
            return {}
        draws, found = self.protocol.draws, {}
        for quality in self.conditions:
            z = self._embed(policy(), self.tasks, quality, draws)
            if z is None:
                return {}
            train = None if quality == "cross" else self._embed(policy(), self.trained_tasks, quality, draws)
            of_train = None if train is None else (train, np.repeat(self.trained_tasks, draws))
            values = measures(z, np.repeat(self.tasks, draws), of_train, self.table.descriptors)
            context = self.context(self.tasks, quality, draws)
            weights = attention(context)
            if weights is not None:
                values["attention"] = attention_by_reward(weights, context.rewards, context.valid)
            found[quality] = {name: round(value, 4) for name, value in values.items() if np.isfinite(value)}
        return found

    def traces(self, policy: Callable[[], MetaPolicy], attention: Attention, seed: int) -> Traces | None:
        """Embeddings and attention of some contexts, paths of one draw of each task in a point family; None for none.

        Args:
            policy: Makes the trained policy.
            attention: What the method says of a context's transitions.
            seed: The trained seed.
        """
        embeddings, paths, weights = None, None, None
        if self.protocol.kind == "given-context":
            each = [self._embed(policy(), self.tasks, quality, TRACED_DRAWS) for quality in self.conditions]
            shape = (len(self.tasks), TRACED_DRAWS, -1)
            embeddings = np.stack([z.reshape(shape) for z in each if z is not None]) if each[0] is not None else None
            weights = self._attention(attention)
        if self.family.is_point:
            seen: list[list[Transitions]] = []
            self._returns(policy, seed, self.tasks, self.conditions, 1, seen)
            paths = np.stack([np.concatenate([s.next_observations[:, :, :2] for s in steps], axis=1) for steps in seen])
        if embeddings is None and paths is None and weights is None:
            return None
        traces = {"embeddings": embeddings, "paths": paths, "attention": weights}
        return Traces(conditions=self.conditions, tasks=self.tasks, **traces)

    def _cube(self, conditions: tuple[str, ...], tasks: np.ndarray, returns: np.ndarray) -> Cube:
        """Returns with the tasks' reference returns."""
        random, expert = np.array(self.manifest.random)[tasks], np.array(self.manifest.expert)[tasks]
        return Cube(qualities=conditions, tasks=tasks, returns=returns, random=random, expert=expert)

    def _returns(
        self,
        policy: Callable[[], MetaPolicy],
        seed: int,
        tasks: np.ndarray,
        conditions: tuple[str, ...],
        draws: int,
        seen: list[list[Transitions]] | None = None,
    ) -> np.ndarray:
        """The suite's protocol: (conditions, tasks, draws); each condition's steps are added to ``seen``."""
        descriptors = self.descriptors(tasks, draws)
        rollout = Rollout(self.family, tasks, draws, seed, self.threads, descriptors)
        if self.protocol.kind != "given-context":
            told = descriptors is not None
            return self_collected.evaluate(policy(), rollout, conditions, told, seen)
        returns = []
        for quality in conditions:  # a policy of its own for each: none depends on what came before it
            steps: list[Transitions] | None = None if seen is None else []
            returns.append(given_context.evaluate(policy(), rollout, self.context(tasks, quality, draws), steps))
            if seen is not None and steps is not None:
                seen.append(steps)
        return np.stack(returns)

    def _attention(self, attention: Attention) -> np.ndarray | None:
        """Rewards and weights of one context of each task, (conditions, tasks, n, 2), NaN past a context's end."""
        found = []
        for quality in self.conditions:
            context = self.context(self.tasks, quality, 1)
            weights = attention(context)
            if weights is None:
                return None
            pairs = np.stack([context.rewards, weights], axis=-1)
            found.append(np.where(context.valid[..., None], pairs, np.nan))
        return np.stack(found)

    def _embed(self, policy: MetaPolicy, tasks: np.ndarray, quality: str, draws: int) -> np.ndarray | None:
        """Representation of every context draw of some tasks, (tasks * draws, size); None if the method has none."""
        policy.reset(len(tasks) * draws)
        policy.condition(self.context(tasks, quality, draws))
        z = policy.representation()
        return None if z is None or z.shape[1] == 0 else z

    def descriptors(self, tasks: np.ndarray, draws: int) -> np.ndarray | None:
        """True parameters of every lane's task, (lanes, descriptor size), for a method with the privilege."""
        if "descriptors" not in self.privileges:
            return None
        return self.table.descriptors[np.repeat(tasks, draws)].astype(np.float32)

    def context(self, tasks: np.ndarray, quality: str, draws: int) -> Transitions:
        """The first context draws of each task, one per lane."""
        dataset = source_dataset(quality)
        if dataset not in self.context_sets:
            self.context_sets[dataset] = read_contexts(self.family, dataset)
        unit = self.protocol.unit
        drawn = self.context_sets[dataset].draws[quality, unit][tasks, :draws]
        descriptors = self.descriptors(tasks, draws)
        return gather(self.episodes(dataset), drawn.reshape(-1, *drawn.shape[2:]), descriptors, unit)
