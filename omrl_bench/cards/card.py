"""The data card of a family in numbers: what its datasets hold, how good they are, and where they are weak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from omrl_bench.cards.leak import Leak, measure_leak
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import Manifest, Status
from omrl_bench.envs.families import BUILT_IN, Family, get_family
from omrl_bench.vocabulary import SPLITS

#: Quantiles (per cent) over tasks of a task's mean return, and over all episodes' returns.
TASK_QUANTILES = (0, 10, 50, 90, 100)
EPISODE_QUANTILES = (10, 50, 90)
#: A task whose expert gains less than this share of the family's median gain over the random policy is listed.
WEAK = 0.5
#: Datasets that methods are trained on by default, and so are searched for leaks.
SEARCHED = ("mixed", "expert")


@dataclass(frozen=True)
class Local:
    """A dataset of this machine, as read.

    Attributes:
        episodes: Its episodes.
        content: Content hash.
        contexts: Hash of each context set that it serves, by ``<quality>.<unit>`` and split.
        dropped: Episodes that were not stored because the simulation became unstable.
        size: Bytes of all its files.
        status: How it compares with the manifest.
    """

    episodes: Episodes
    content: str
    contexts: Mapping[str, Mapping[str, str]]
    dropped: int
    size: int
    status: Status


@dataclass(frozen=True)
class DatasetCard:
    """One dataset in numbers; see :class:`Local` for what is not explained here.

    Attributes:
        quality: Quality.
        episodes: Number of episodes.
        tasks: Number of tasks that have any.
        transitions: Number of transitions.
        mean_return: Over all episodes.
        mean_length: Steps of an episode.
        task_quantiles: :data:`TASK_QUANTILES` over tasks of the task's mean return.
        episode_quantiles: :data:`EPISODE_QUANTILES` over all episodes' returns.
    """

    quality: str
    episodes: int
    tasks: int
    transitions: int
    mean_return: float
    mean_length: float
    task_quantiles: tuple[float, ...]
    episode_quantiles: tuple[float, ...]
    dropped: int
    size: int
    content: str
    status: Status
    contexts: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Card:
    """A family's data in numbers.

    Attributes:
        family: The family.
        splits: Number of tasks of each split.
        train_is_test: Whether the test tasks are the training tasks again.
        learner: What trained the behaviour policies, ``SAC`` or ``PPO``; None if they are scripted.
        random: Mean reference return of the random policy.
        expert: Mean reference return of the expert.
        weak: (task, share of the median gain) of tasks whose expert is weak, see :func:`weak_tasks`.
        datasets: One entry per dataset.
        leaks: How well the task can be told from (s, a), for datasets in :data:`SEARCHED`.
        taken: Minari ids of the datasets that were collected elsewhere, by quality.
    """

    family: Family
    splits: Mapping[str, int]
    train_is_test: bool
    learner: str | None
    random: float
    expert: float
    weak: tuple[tuple[int, float], ...]
    datasets: tuple[DatasetCard, ...]
    leaks: Mapping[str, Leak]
    taken: Mapping[str, str] = field(default_factory=dict)

    @property
    def made_by(self) -> str:
        """Who acted, in a sentence."""
        if self.learner is None:
            module = self.family.controller.split(":")[0]
            return f"scripted controllers at ten skills from 0 to 1, {module.replace('.', '/')}.py"
        whose = self.family.policies or self.family.name
        return (
            f"ten checkpoints, from the first to the expert, of one {self.learner} agent that is told the descriptor"
            f"{'' if whose == self.family.name else f' ({whose}: same robot)'}"
        ) + (
            f"; settings: CONFIGS in omrl_bench/data/train_behaviour.py; curve in results/behaviour/{whose}.csv"
            if get_family(whose).home == BUILT_IN
            else f"; policies of package {self.family.home}"
        )


def make_card(family: Family, manifest: Manifest, datasets: Mapping[str, Local], learner: str | None) -> Card:
    """Measure the datasets of a family; the same datasets give the same card.

    Args:
        family: The family.
        manifest: Its manifest.
        datasets: By quality.
        learner: See :class:`Card`.
    """
    table = family.tasks()
    random, expert = manifest.reference()
    return Card(
        family=family,
        splits={split: len(table.ids(split)) for split in SPLITS},
        train_is_test=table.train_is_test,
        learner=learner,
        random=random,
        expert=expert,
        weak=weak_tasks(manifest.random, manifest.expert),
        datasets=tuple(_measure(quality, local) for quality, local in datasets.items()),
        leaks={
            quality: measure_leak(local.episodes, table.ids("train"))
            for quality, local in datasets.items()
            if quality in SEARCHED
        },
        taken={quality: entry.source for quality, entry in manifest.datasets.items() if entry.source},
    )


def is_scripted(family: Family) -> bool:
    """Whether the family's behaviour policies are scripted controllers."""
    return bool(family.controller)


def weak_tasks(random: tuple[float, ...], expert: tuple[float, ...]) -> tuple[tuple[int, float], ...]:
    """Tasks whose expert is below half of the family's median, and what share of the median each has.

    The measure is the gain, expert return minus the random policy's mean over all tasks: the task's own difference
    would call a task weak in which random actions happen to do well.
    """
    gain = np.array(expert) - np.mean(random)
    median = float(np.median(gain))
    return tuple((int(task), float(gain[task] / median)) for task in np.flatnonzero(gain < WEAK * median))


def _measure(quality: str, local: Local) -> DatasetCard:
    episodes = local.episodes
    returns = episodes.returns()
    counts = np.bincount(episodes.tasks)
    means = (np.bincount(episodes.tasks, returns) / np.maximum(counts, 1))[counts > 0]
    return DatasetCard(
        quality=quality,
        episodes=len(returns),
        tasks=len(means),
        transitions=len(episodes.rewards),
        mean_return=float(returns.mean()),
        mean_length=float(np.diff(episodes.offsets).mean()),
        task_quantiles=tuple(np.percentile(means, TASK_QUANTILES).tolist()),
        episode_quantiles=tuple(np.percentile(returns, EPISODE_QUANTILES).tolist()),
        dropped=local.dropped,
        size=local.size,
        content=local.content,
        status=local.status,
        contexts=local.contexts,
    )
