"""How well the task can be told from (s, a) alone: what a method could read off a context without its rewards.

Behaviour that is told its task leaves traces of it in what it does, so that an accuracy above chance is no fault of a
dataset. A high one says that recognising the behaviour is a shortcut there, which fails when the context is another's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omrl_bench.data.episodes import Episodes
from omrl_bench.errors import InputError

HELD_OUT = 0.2
#: Transitions that the classifier sees and is judged on, at most: seconds on one core.
FIT_ROWS, HELD_OUT_ROWS = 20_000, 10_000
TREES = 60
#: A class that no leaf has seen must not forbid it for the whole episode.
LOWEST = 1e-3


@dataclass(frozen=True)
class Leak:
    """Held-out accuracy of a classifier of the task.

    Attributes:
        transition_accuracy: Share of held-out transitions whose task is told right.
        transitions: How many those are.
        episode_accuracy: ... of held-out episodes, by the sum of the log probabilities of their transitions.
        episodes: How many those are.
        tasks: Number of tasks to tell apart.
    """

    transition_accuracy: float
    transitions: int
    episode_accuracy: float
    episodes: int
    tasks: int

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.tasks

    def interval(self) -> tuple[float, float]:
        """95 % interval (Wilson's) of the accuracy per episode; transitions of an episode are no independent draws."""
        z, n, share = 1.96, self.episodes, self.episode_accuracy
        centre = share + z**2 / (2 * n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        return float((centre - half) / (1 + z**2 / n)), float((centre + half) / (1 + z**2 / n))


def measure_leak(episodes: Episodes, tasks: np.ndarray) -> Leak:
    """Fit extremely randomised trees on (s, a) of some episodes and judge them on the others.

    Trees need no scaling, find one column that gives the task away as well as a region of many, and are fast with
    30 classes. The split is by episode: neighbouring transitions are so alike that a split by transition would
    measure memory. The same episodes always give the same numbers.

    Args:
        episodes: The dataset.
        tasks: Ids of the tasks to tell apart; the others' episodes are left out.

    Raises:
        InputError: if there are no two tasks with two episodes each.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    chosen = episodes.select(np.flatnonzero(np.isin(episodes.tasks, tasks)))
    names, counts = np.unique(chosen.tasks, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise InputError("to look for leaks takes two tasks or more, with two episodes or more of each")
    rng = np.random.default_rng(0)
    held_out = _hold_out(chosen.tasks, rng)
    number = np.repeat(np.arange(len(chosen.tasks)), np.diff(chosen.offsets))  # episode of each row
    inputs = np.concatenate([chosen.observations, chosen.actions], axis=1)
    targets = chosen.tasks[number]
    fit = _some(np.flatnonzero(~held_out[number]), FIT_ROWS, rng)
    judged = _some(np.flatnonzero(held_out[number]), HELD_OUT_ROWS, rng)
    trees = ExtraTreesClassifier(TREES, min_samples_leaf=3, max_features=None, random_state=0)
    trees.fit(inputs[fit], targets[fit])
    logs = np.log(np.maximum(trees.predict_proba(inputs[judged]), LOWEST))
    right = trees.classes_[logs.argmax(axis=1)] == targets[judged]
    seen, group = np.unique(number[judged], return_inverse=True)
    sums = np.zeros((len(seen), logs.shape[1]))
    np.add.at(sums, group, logs)
    right_episodes = trees.classes_[sums.argmax(axis=1)] == chosen.tasks[seen]
    return Leak(float(right.mean()), len(judged), float(right_episodes.mean()), len(seen), len(names))


def _hold_out(tasks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the share :data:`HELD_OUT` of each task's episodes, one at least, (episodes,) bool."""
    held_out = np.zeros(len(tasks), dtype=bool)
    for task in np.unique(tasks):
        numbers = np.flatnonzero(tasks == task)
        # drawn: every fifth would be every fifth behaviour
        held_out[rng.permutation(numbers)[: max(1, round(HELD_OUT * len(numbers)))]] = True
    return held_out


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
