"""Measures of a task representation: embeddings of contexts, and what they tell of the tasks.

Embeddings are arrays (contexts, size); tasks are the task of each context, (contexts,). Encoders differ in their scale,
so distances are measured on embeddings divided by their largest absolute value, or on the unit sphere. Nothing is
centred: an encoder that gives every context nearly the same embedding is to look like one.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GroupKFold

from omrl_bench.stats.disentanglement import disentanglement

RIDGE = 10.0 ** np.arange(-6, 4)  # strengths of the linear probe's penalty, chosen by cross-validation over tasks
FOLDS = 5
IN_USE = 0.1  # a dimension is in use if it deviates by so much of what the most deviating one does
SATURATED = 0.95  # absolute value from which on an entry of an embedding in [-1, 1] is saturated
UNIFORMITY_TEMPERATURE = 2.0  # of HS-OMRL, equation 9; Wang and Isola (2020) use 2


def measures(
    embeddings: np.ndarray, tasks: np.ndarray, train: tuple[np.ndarray, np.ndarray] | None, descriptors: np.ndarray
) -> dict[str, float]:
    """All measures of one encoder on one set of contexts.

    Args:
        embeddings: (contexts, size) of the evaluated tasks.
        tasks: (contexts,) task ids.
        train: Embeddings and task ids of training tasks, which the linear probe is fitted on; None leaves it out.
        descriptors: (all tasks, descriptor size), true parameters by task id.

    Returns:
        By name: ``dimensions``, ``saturated``, ``rms``, ``separation``, ``uniformity``, ``alignment``, ``silhouette``,
        ``probe``, and those of :mod:`omrl_bench.stats.disentanglement`, of the first context of each task; NaN where a
        measure is not defined (a single task, a single context of each).
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    result = {
        "dimensions": dimensions_in_use(embeddings),
        "saturated": saturated_share(embeddings),
        "rms": root_mean_square(embeddings, tasks),
        "separation": effective_separation_rate(embeddings, tasks),
        "uniformity": uniformity(embeddings),
        "alignment": alignment(embeddings, tasks),
        "silhouette": silhouette(embeddings, tasks),
    }
    if train is not None:
        z, of_task = np.asarray(train[0], dtype=np.float64), train[1]
        result["probe"] = linear_probe(z, descriptors[of_task], of_task, embeddings, descriptors[tasks])
    each, first = np.unique(tasks, return_index=True)
    return result | disentanglement(embeddings[first], descriptors[each])


def dimensions_in_use(embeddings: np.ndarray) -> float:
    """Share of the dimensions that vary over contexts, by :data:`IN_USE` of the most varying one at least; 0 if none.

    An encoder that has collapsed to one of them tells tasks apart along a line.
    """
    deviation = embeddings.std(axis=0)
    return float((deviation > IN_USE * deviation.max()).mean())


def saturated_share(embeddings: np.ndarray) -> float:
    """Share of the entries beyond :data:`SATURATED`; NaN for embeddings that are not confined to [-1, 1].

    A saturated tanh has no gradient by which to tell tasks apart.
    """
    size = np.abs(embeddings)
    return float((size > SATURATED).mean()) if size.max() <= 1 else float("nan")


def root_mean_square(embeddings: np.ndarray, tasks: np.ndarray) -> float:
    """Root mean squared distance of two contexts of different tasks, in [-1, 1]^size (FOCAL++, section 4.3)."""
    different = tasks[:, None] != tasks[None, :]
    if not different.any():
        return float("nan")
    return float(np.sqrt(_squared_distances(_bounded(embeddings))[different].mean()))


def effective_separation_rate(embeddings: np.ndarray, tasks: np.ndarray) -> float:
    """Share of the pairs of different tasks that lie further apart than random points do (FOCAL++, section 4.3).

    That is further than sqrt(2 l / 3), the root mean squared distance of two uniform points of [-1, 1]^l.
    """
    different = tasks[:, None] != tasks[None, :]
    if not different.any():
        return float("nan")
    distances = np.sqrt(_squared_distances(_bounded(embeddings))[different])
    return float((distances > np.sqrt(2 * embeddings.shape[1] / 3)).mean())


def uniformity(embeddings: np.ndarray, temperature: float = UNIFORMITY_TEMPERATURE) -> float:
    """Log mean of exp(-t |z - z'|^2) over pairs on the unit sphere; low means evenly spread (HS-OMRL, equation 9)."""
    squared = _squared_distances(_normalised(embeddings))
    return float(np.log(np.exp(-temperature * squared[_pairs(len(squared))]).mean()))


def alignment(embeddings: np.ndarray, tasks: np.ndarray) -> float:
    """Mean |z - z'|^2 over pairs of the same task on the unit sphere; low means close together (HS-OMRL, equation 10).

    HS-OMRL's pairs are two views of one trajectory; ours are two contexts of one task, which all methods have.
    """
    same = (tasks[:, None] == tasks[None, :]) & _pairs(len(tasks))
    if not same.any():
        return float("nan")
    return float(_squared_distances(_normalised(embeddings))[same].mean())


def silhouette(embeddings: np.ndarray, tasks: np.ndarray) -> float:
    """Mean silhouette coefficient of the contexts, clustered by their tasks: -1 to 1."""
    if not 1 < len(np.unique(tasks)) < len(tasks):
        return float("nan")
    return float(silhouette_score(embeddings, tasks))


def linear_probe(
    train: np.ndarray, targets: np.ndarray, tasks: np.ndarray, test: np.ndarray, expected: np.ndarray
) -> float:
    """R^2 of a ridge regression from z to the task descriptor, fitted on training tasks, judged on others.

    Args:
        train: (contexts, size).
        targets: (contexts, descriptor size).
        tasks: (contexts,) task ids; the penalty is chosen for tasks that were not fitted, too.
        test: (other contexts, size).
        expected: (other contexts, descriptor size).
    """
    center, spread = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-12)
    folds = GroupKFold(min(FOLDS, len(np.unique(tasks)))).split(train, targets, tasks)
    model = RidgeCV(alphas=RIDGE, cv=list(folds)).fit((train - center) / spread, targets)
    predicted = model.predict((test - center) / spread).reshape(expected.shape)
    residual = ((expected - predicted) ** 2).sum()
    total = ((expected - expected.mean(axis=0)) ** 2).sum()
    return float(1 - residual / total) if total > 0 else float("nan")


def attention_by_reward(weights: np.ndarray, rewards: np.ndarray, valid: np.ndarray) -> float:
    """Rank correlation of attention weight and reward within a context, mean over contexts (FOCAL++, figure 7).

    Args:
        weights: (contexts, n) attention weight of each transition.
        rewards: (contexts, n).
        valid: (contexts, n) bool; False where a shorter context is padded.

    Returns:
        Spearman's correlation, -1 to 1. A context of one reward or one weight says nothing and is left out; NaN if all
        are.
    """
    ranks = [rankdata(np.where(valid, x, np.nan), axis=1, nan_policy="omit") for x in (weights, rewards)]
    a, b = (np.where(valid, x - np.nanmean(x, axis=1, keepdims=True), 0.0) for x in ranks)
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    telling = spread > 0
    return float(((a * b).sum(axis=1)[telling] / spread[telling]).mean()) if telling.any() else float("nan")


def _bounded(embeddings: np.ndarray) -> np.ndarray:
    """Divided by the largest absolute value, so that all lie in [-1, 1]^size."""
    largest = np.abs(embeddings).max()
    bounded: np.ndarray = embeddings / (largest if largest > 0 else 1)
    return bounded


def _normalised(embeddings: np.ndarray) -> np.ndarray:
    """On the unit sphere; an embedding of 0 stays there."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: np.ndarray = embeddings / np.where(length > 0, length, 1)
    return unit


def _squared_distances(embeddings: np.ndarray) -> np.ndarray:
    squared = (embeddings**2).sum(axis=1)
    distances: np.ndarray = np.maximum(squared[:, None] + squared[None, :] - 2 * embeddings @ embeddings.T, 0)
    return distances


def _pairs(count: int) -> np.ndarray:
    """Each pair of two different contexts, (count, count) bool."""
    return ~np.eye(count, dtype=bool)
