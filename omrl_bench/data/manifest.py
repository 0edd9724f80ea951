"""The manifest of a family's canonical data, and the comparison of a local dataset with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from omrl_bench.api import BEHAVIOURS
from omrl_bench.data.behaviour import data_files, make_actor
from omrl_bench.data.build import EPISODES_PER_TASK, Collected, Levels, collect, collect_version, roll_out
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.elsewhere import read_minari
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.reference_returns import reference_returns
from omrl_bench.data.store import (
    check_minari_file,
    dataset_folder,
    dataset_id,
    part_hashes,
    read_episodes,
    write_dataset,
    writing,
)
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError
from omrl_bench.frozen import Frozen
from omrl_bench.vocabulary import DATASETS

#: A local dataset is equivalent if no task's mean return is this many standard errors away from the canonical one.
TOLERANCE = 5.0

Status = Literal["canonical", "equivalent", "wrong"]


class DatasetEntry(Frozen):
    """The canonical build of one dataset."""

    content: str
    parts: dict[str, str]  # content hash of the episodes of each split's tasks
    contexts: dict[str, dict[str, str]]  # hash of each context set that is drawn from it, by <quality>.<unit> and split
    episodes: tuple[int, ...]  # per task
    transitions: int
    dropped: int  # unstable episodes
    return_mean: tuple[float, ...]  # per task; 0 without episodes
    return_std: tuple[float, ...]  # per task, over episodes
    source: str = ""  # Minari id of what was collected elsewhere; empty: rolled out here


class Manifest(Frozen):
    """What a family's canonical data is."""

    family: str
    family_fingerprint: str
    random: tuple[float, ...]  # reference return per task: the random policy
    expert: tuple[float, ...]  # reference return per task: the expert's mean action
    # what `medium` is relative to, mean returns in the tasks of the family's first version:
    random_level: float  # of the random policy
    behaviours: tuple[float, ...]  # of each behaviour's sampled actions
    datasets: dict[str, DatasetEntry]

    def levels(self) -> Levels:
        """What `medium` is relative to."""
        return Levels(self.random_level, self.behaviours)

    def reference(self) -> tuple[float, float]:
        """Mean reference return over tasks, of the random policy and of the expert."""
        return float(np.mean(self.random)), float(np.mean(self.expert))


def manifest_name(family: Family) -> str:
    """Name of the file that holds a family's manifest, e.g. ``point-goal-v1.json``."""
    return f"{family.name}-{family.version}.json"


def read_manifest(family: Family) -> Manifest:
    """Read a family's manifest.

    Raises:
        InputError: if it is missing, or describes another version of the family.
    """
    name = manifest_name(family)
    folder = data_files(family).joinpath("manifests")
    file = folder.joinpath(name)
    freeze = f"its authors make one with omrl-bench data freeze {family.name} --out {folder}"
    if not file.is_file():
        raise InputError(f"family {family.name!r} has no manifest {name} yet; {freeze}")
    manifest = Manifest.model_validate_json(file.read_text(encoding="utf-8"))
    if manifest.family_fingerprint != family.fingerprint():
        raise InputError(f"manifest {name} is of another definition of {family.name}; {freeze}")
    return manifest


def build_dataset(
    family: Family,
    quality: str,
    threads: int,
    progress: Callable[[float], None] = lambda fraction: None,
    say: Callable[[str], object] = lambda text: None,
    again: bool = True,
) -> None:
    """Build one dataset into Minari's root folder; one that was collected elsewhere is taken from there.

    Where another process builds it, this one waits.

    Args:
        family: The family.
        quality: Quality of the dataset.
        threads: Simulator threads.
        progress: Called with the fraction simulated.
        say: Told whom this waits for.
        again: Whether one that is there, perhaps after waiting, is replaced.

    Raises:
        InputError: if the folder cannot be written to, the simulation is unstable, or the data cannot be taken.
    """
    manifest = read_manifest(family)
    source = manifest.datasets[quality].source
    with writing(family, quality, say) as place:
        if place.exists() and not again:
            return
        if source:
            collected = Collected(read_minari(family, source), dropped=0)
        else:
            collected = collect(family, quality, threads, levels=manifest.levels(), progress=progress)
        write_dataset(family, quality, collected.episodes, manifest.reference(), collected.dropped, source)


def ensure_dataset(family: Family, quality: str, threads: int, say: Callable[[str], object]) -> None:
    """Build a dataset if it is not there; say so first.

    Raises:
        InputError: see :func:`build_dataset`.
    """
    if not dataset_folder(family, quality).exists():
        say(f"building {dataset_id(family, quality)}")
        build_dataset(family, quality, threads, say=say, again=False)


def verify_dataset(family: Family, quality: str) -> tuple[Status, str]:
    """Compare a local dataset with the manifest; return the status and the reason.

    Raises:
        InputError: if the dataset is missing, foreign, damaged, or of another version.
    """
    check_minari_file(family, quality)
    return compare(read_episodes(family, quality)[0], family, quality)


def compare(episodes: Episodes, family: Family, quality: str) -> tuple[Status, str]:
    """Compare episodes with the manifest.

    ``canonical``: the same bytes. ``equivalent``: not the same, as on a processor that rounds differently, but
    every task's mean return agrees within its standard error. ``wrong``: anything else.
    """
    entry = read_manifest(family).datasets[quality]
    if episodes.content_hash() == entry.content:
        return "canonical", "the content hash is the manifest's"
    counts, expected = episodes.counts(len(family.tasks())), np.array(entry.episodes)
    if len(counts) != len(expected):
        return "wrong", f"it has task {len(counts) - 1}, the canonical dataset has tasks 0 to {len(expected) - 1}"
    missing = np.abs(counts - expected) > entry.dropped  # elsewhere, other episodes may be unstable
    if missing.any():
        task = int(missing.argmax())
        return "wrong", f"task {task} has {counts[task]} episodes, the canonical dataset {expected[task]}"
    mean, std = _moments(episodes, len(counts))
    spread = np.hypot(std, np.array(entry.return_std)) / np.sqrt(np.maximum(expected, 1))
    distance = np.abs(mean - np.array(entry.return_mean)) / np.maximum(spread, 1e-9)
    worst = int(distance.argmax())
    reason = f"task {worst}'s mean return is {distance[worst]:.1f} standard errors from the canonical one"
    if not distance[worst] <= TOLERANCE:  # NaN is wrong, too
        return "wrong", reason
    return "equivalent", f"other bytes, but the returns agree: at most, {reason}"


def freeze(
    family: Family, threads: int, announce: Callable[[str], None], taken: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Build all datasets of a family and return its new manifest as JSON. Only for a new version of a family.

    Args:
        family: The family.
        threads: Simulator threads.
        announce: Told what is being done.
        taken: Minari ids of the datasets that were collected elsewhere, by quality; the others are rolled out.

    Raises:
        InputError: if the family has no behaviour policies, or a dataset cannot be taken.
    """
    announce("reference returns")
    random_means, expert_means = map(_rounded, reference_returns(family, threads))
    reference = float(np.mean(random_means)), float(np.mean(expert_means))
    levels = Levels(_random_level(family, threads), _behaviour_means(family, threads))
    datasets = {}
    for quality in DATASETS:
        announce(f"dataset {quality}")
        if quality in taken:
            collected = Collected(read_minari(family, taken[quality]), dropped=0)
        else:
            collected = collect(family, quality, threads, levels=levels)
        source = taken.get(quality, "")
        datasets[quality] = dataset_entry(family, quality, collected, source)
        with writing(family, quality, announce):
            write_dataset(family, quality, collected.episodes, reference, collected.dropped, source)
    manifest = Manifest(
        family=family.name,
        family_fingerprint=family.fingerprint(),
        random=random_means,
        expert=expert_means,
        random_level=levels.random,
        behaviours=levels.behaviours,
        datasets=datasets,
    )
    return json.dumps(manifest.model_dump(exclude_defaults=True), indent=None, separators=(",", ": ")) + "\n"


def dataset_entry(family: Family, quality: str, collected: Collected, source: str = "") -> DatasetEntry:
    """What a manifest says of a dataset.

    Args:
        family: The family.
        quality: In :data:`omrl_bench.vocabulary.DATASETS`.
        collected: The dataset.
        source: Minari id of what was collected elsewhere.
    """
    table, episodes = family.tasks(), collected.episodes
    mean, std = _moments(episodes, len(table))
    return DatasetEntry(
        content=episodes.content_hash(),
        parts=part_hashes(family, episodes),
        contexts=draw_contexts(family, quality, episodes).hashes(table.by_split()),
        episodes=tuple(episodes.counts(len(table)).tolist()),
        transitions=len(episodes.rewards),
        dropped=collected.dropped,
        return_mean=_rounded(mean),
        return_std=_rounded(std),
        source=source,
    )


def _random_level(family: Family, threads: int) -> float:
    """Mean return of the random policy in the tasks of the family's first version."""
    table = family.tasks()
    first = collect_version(family, "random", table.since[0], threads, evaluation_episodes=EPISODES_PER_TASK).episodes
    means = _rounded(_moments(first, len(table))[0])
    return float(np.mean(np.array(means)[table.first()]))


def _behaviour_means(family: Family, threads: int) -> tuple[float, ...]:
    """Mean return of each behaviour's sampled actions, two episodes of each task of the family's first version."""
    ids = np.repeat(family.tasks().first(), 2)
    tasks, behaviours = np.repeat(ids, BEHAVIOURS), np.tile(np.arange(BEHAVIOURS), len(ids))
    seeds = np.random.SeedSequence(len(tasks) + 1).generate_state(len(tasks)).astype(np.int64)
    rng = np.random.default_rng(1)
    episodes = roll_out(family, make_actor(family), tasks, behaviours, seeds, rng, threads).episodes
    returns = episodes.returns()
    return _rounded(np.array([returns[episodes.behaviours == k].mean() for k in range(BEHAVIOURS)]))


def _moments(episodes: Episodes, tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the episodes' returns, per task; 0 without episodes."""
    returns, counts = episodes.returns(), np.maximum(episodes.counts(tasks), 1)
    mean = np.bincount(episodes.tasks, returns, tasks) / counts
    variance = np.bincount(episodes.tasks, (returns - mean[episodes.tasks]) ** 2, tasks) / counts
    return mean, np.sqrt(variance)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values, 4).tolist())
