"""What is measured of a trained seed: returns under the suite's protocol, its representation, traces for pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.conditions import Condition, names
from omrl_bench.data.contexts import of_training_tasks
from omrl_bench.data.datasets import Datasets
from omrl_bench.data.manifest import read_manifest
from omrl_bench.errors import InputError
from omrl_bench.protocols.protocol import Protocol
from omrl_bench.protocols.rollout import Episode, PolicyError, Rollout
from omrl_bench.referee import independence
from omrl_bench.referee.lanes import Order, drawn, reordered, taken
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.traces import Traces
from omrl_bench.stats.representation import attention_by_reward, measures

Attention = Callable[[Transitions], np.ndarray | None]  # a context -> weights of its transitions, (lanes, n)

VALIDATION_DRAWS = 2
TRACED_DRAWS = 5  # contexts of each task whose embeddings are kept


class Measured(NamedTuple):
    """What is measured of a trained seed.

    Attributes:
        cube: Returns.
        representation: See :meth:`Evaluation.representation`.
        traces: For pictures, if the seed is the one that they show.
    """

    cube: Cube
    representation: dict[str, dict[str, float]]
    traces: Traces | None


class Evaluation:
    """The tasks, contexts and lanes of one suite and family; the same for every method.

    Args:
        datasets: The family's, as the method may see them.
        protocol: How methods are evaluated.
        qualities: Of the contexts given, if the protocol gives any.
        train_tasks: How many of the training tasks the method learns from, a fixed subset; 0 for all.
        threads: Simulator threads.
        order: Of the lanes, as policies are shown them.
    """

    def __init__(
        self,
        datasets: Datasets,
        protocol: Protocol,
        qualities: Sequence[str],
        train_tasks: int,
        threads: int,
        order: Order = drawn,
    ) -> None:
        self.datasets, self.protocol, self.threads, self.order = datasets, protocol, threads, order
        self.family = datasets.family
        self.conditions = protocol.conditions(qualities)
        self.manifest, self.table = read_manifest(self.family), self.family.tasks()
        self.trained_tasks = self.table.training_subset(train_tasks) if train_tasks else self.table.ids("train")
        self.tasks = self.tasks_of(protocol.split)

    def measured(self, policy: Callable[[], MetaPolicy], attention: Attention, seed: int, pictured: bool) -> Measured:
        """Everything that the records of a seed hold; traces only if it is pictured. Raises what :meth:`cube` does."""
        cube = self.cube(policy, seed)
        traces = self.traces(policy, attention, seed) if pictured else None
        return Measured(cube, self.representation(policy, attention), traces)

    def check_independence(
        self, policy: Callable[[], MetaPolicy], seed: int, cube: Cube, rng: np.random.Generator
    ) -> None:
        """Play a sample of the lanes again, alone and in another order, and compare with what they earned among all.

        Args:
            policy: Makes the policy of the seed.
            seed: The trained seed.
            cube: What :meth:`cube` measured of it.
            rng: Draws the sample, which the method must not foresee.

        Raises:
            PolicyError: if the lanes depend on each other.
        """
        rows = np.sort(rng.choice(len(self.tasks), min(independence.TASKS, len(self.tasks)), replace=False))
        tasks, given = self.tasks[rows], self._given()
        conditions = [given[rng.integers(len(given))]] if given else self.protocol.validated(self.conditions)
        played = self._play(policy, seed, tasks, conditions, 1, lambda *of: rng.permutation(of[-1]))
        alone = self._cube(conditions, tasks, played)
        measured = [self.conditions.index(condition) for condition in conditions]
        among = cube.scores()[measured][:, rows, 0]
        problem = independence.problem(alone.scores()[:, :, 0], among)
        if problem:
            raise PolicyError(problem)

    def validate(self, policy: Callable[[], MetaPolicy], seed: int) -> float:
        """Mean score on the validation tasks, a point of the learning curve."""
        tasks, conditions = self.table.ids("validation"), self.protocol.validated(self.conditions)
        played = self._play(policy, seed, tasks, conditions, VALIDATION_DRAWS)
        return float(self._cube(conditions[-1:], tasks, played[-1:]).scores().mean())

    def cube(self, policy: Callable[[], MetaPolicy], seed: int, split: str | None = None) -> Cube:
        """Returns for every condition, on the protocol's tasks or those of another split.

        Raises:
            InputError: if there is no such split, it has no tasks, or the simulator returns what is no number.
            PolicyError: see :meth:`omrl_bench.protocols.rollout.Rollout.episode`.
        """
        tasks = self.tasks if split is None else self.tasks_of(split)
        cube = self._cube(self.conditions, tasks, self._play(policy, seed, tasks, self.conditions, self.protocol.draws))
        if not np.isfinite(cube.returns).all():
            raise InputError("the simulator returned NaN or infinity")
        return cube

    def tasks_of(self, split: str) -> np.ndarray:
        """Ids of the tasks of a split, (tasks,); of the training tasks, those that the method learns from.

        Raises:
            InputError: if there is no such split, or it has no tasks.
        """
        tasks = self.trained_tasks if split == "train" else self.table.ids(split)
        if not len(tasks):
            raise InputError(f"family {self.family.name!r} has no {split} tasks")
        return tasks

    def representation(self, policy: Callable[[], MetaPolicy], attention: Attention) -> dict[str, dict[str, float]]:
        """Measures of what a policy believes of the tasks it is given contexts of, by condition; {} for none."""
        draws, found = self.protocol.draws, {}
        shown, asked = reordered(policy, self.order, self.family.name, 0), self._asked(attention)
        for condition in self._given():
            z = self._embed(shown(), self.tasks, condition, draws)
            if z is None:
                return {}
            trained = of_training_tasks(condition.quality)
            train = self._embed(shown(), self.trained_tasks, condition, draws) if trained else None
            of_train = None if train is None else (train, np.repeat(self.trained_tasks, draws))
            values = measures(z, np.repeat(self.tasks, draws), of_train, self.table.descriptors)
            context = self.context(self.tasks, condition, draws)
            weights = asked(context)
            if weights is not None:
                values["attention"] = attention_by_reward(weights, context.rewards, context.valid)
            found[condition.name] = {name: round(value, 4) for name, value in values.items() if np.isfinite(value)}
        return found

    def traces(self, policy: Callable[[], MetaPolicy], attention: Attention, seed: int) -> Traces | None:
        """Embeddings and attention of some contexts, paths of one draw of each task in a point family; None for none.

        Args:
            policy: Makes the trained policy.
            attention: What the method says of a context's transitions.
            seed: The trained seed.
        """
        paths = None
        if self.family.is_point:
            played = self._play(policy, seed, self.tasks, self.conditions, 1)
            paths = np.stack([episode.transitions.next_observations[:, :, :2] for episode in played])
        traces = {"embeddings": self._embeddings(policy), "paths": paths, "attention": self._attention(attention)}
        if all(value is None for value in traces.values()):
            return None
        return Traces(conditions=names(self.conditions), tasks=self.tasks, **traces)

    def context(self, tasks: np.ndarray, condition: Condition, draws: int) -> Transitions:
        """The first context draws of each task under a condition, one per lane."""
        ((quality, unit),) = self.protocol.context_sets([condition.quality])
        return self.datasets.context(tasks, quality, draws, unit)

    def _play(
        self,
        policy: Callable[[], MetaPolicy],
        seed: int,
        tasks: np.ndarray,
        conditions: Sequence[Condition],
        draws: int,
        order: Order | None = None,
    ) -> list[Episode]:
        """The suite's protocol, an episode for each condition."""
        descriptors = self.datasets.descriptors(tasks, draws)
        rollout = Rollout(self.family, tasks, draws, seed, self.threads, descriptors, self.datasets.rho)
        shown = reordered(policy, order or self.order, self.family.name, seed)
        return self.protocol.evaluate(shown, rollout, conditions, lambda each: self.context(tasks, each, draws))

    def _cube(self, conditions: Sequence[Condition], tasks: np.ndarray, played: Sequence[Episode]) -> Cube:
        """Returns with the tasks' reference returns."""
        random, expert = np.array(self.manifest.random)[tasks], np.array(self.manifest.expert)[tasks]
        returns = np.stack([episode.returns for episode in played])
        return Cube(conditions=names(conditions), tasks=tasks, returns=returns, random=random, expert=expert)

    def _given(self) -> tuple[Condition, ...]:
        """The conditions, if all of them are contexts that methods are given."""
        return self.conditions if all(condition.given for condition in self.conditions) else ()

    def _embeddings(self, policy: Callable[[], MetaPolicy]) -> np.ndarray | None:
        """Representations of some contexts, (conditions, tasks, draws, size); None if there are none."""
        shown = reordered(policy, self.order, self.family.name, 0)
        each = [self._embed(shown(), self.tasks, condition, TRACED_DRAWS) for condition in self._given()]
        if not each or each[0] is None:
            return None
        return np.stack([z.reshape(len(self.tasks), TRACED_DRAWS, -1) for z in each if z is not None])

    def _attention(self, attention: Attention) -> np.ndarray | None:
        """Rewards and weights of one context of each task, (conditions, tasks, n, 2), NaN past a context's end."""
        found, asked = [], self._asked(attention)
        for condition in self._given():
            context = self.context(self.tasks, condition, 1)
            weights = asked(context)
            if weights is None:
                return None
            pairs = np.stack([context.rewards, weights], axis=-1)
            found.append(np.where(context.valid[..., None], pairs, np.nan))
        return np.stack(found) if found else None

    def _asked(self, attention: Attention) -> Attention:
        """The same, shown the lanes in an order of their own."""

        def ask(context: Transitions) -> np.ndarray | None:
            order = self.order(self.family.name, 0, 0, len(context.valid))
            weights = attention(taken(context, order))
            return None if weights is None else weights[np.argsort(order)]

        return ask

    def _embed(self, policy: MetaPolicy, tasks: np.ndarray, condition: Condition, draws: int) -> np.ndarray | None:
        """Representation of every context draw of some tasks, (tasks * draws, size); None if the method has none."""
        policy.reset(len(tasks) * draws)
        policy.condition(self.context(tasks, condition, draws))
        z = policy.representation()
        return None if z is None or z.shape[1] == 0 else z
