"""The manifest of a family's canonical data, and the comparison of a local dataset with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from omrl_bench.data.behaviour import EXPERT, make_actor
from omrl_bench.data.build import collect, roll_out
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.store import QUALITIES, Episodes, dataset_folder, dataset_id, read_episodes, write_dataset
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError

REFERENCE_EPISODES = 20
#: A local dataset is equivalent if no task's mean return is this many standard errors away from the canonical one.
TOLERANCE = 5.0

Status = Literal["canonical", "equivalent", "wrong"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetEntry(_Frozen):
    """The canonical build of one dataset."""

    content: str
    contexts: str
    episodes: int
    transitions: int
    return_mean: tuple[float, ...]  # per task
    return_std: tuple[float, ...]  # per task, over episodes


class Manifest(_Frozen):
    """What a family's canonical data is."""

    family: str
    family_fingerprint: str
    random: tuple[float, ...]  # reference return per task: the random policy
    expert: tuple[float, ...]  # reference return per task: the expert's mean action
    datasets: dict[str, DatasetEntry]


def read_manifest(family: Family) -> Manifest:
    """Read a family's manifest.

    Raises:
        InputError: if it is missing, or describes another version of the family.
    """
    name = f"{family.name}-{family.version}.json"
    file = resources.files("omrl_bench.data").joinpath("manifests", name)
    freeze = f"omrl-bench data freeze {family.name}"
    if not file.is_file():
        raise InputError(f"family {family.name!r} has no manifest {name} yet; maintainers: {freeze}")
    manifest = Manifest.model_validate_json(file.read_text(encoding="utf-8"))
    if manifest.family_fingerprint != family.fingerprint():
        raise InputError(f"manifest {name} is of another definition of {family.name}; maintainers: {freeze}")
    return manifest


def build_dataset(family: Family, quality: str, threads: int) -> None:
    """Build one dataset into Minari's root folder.

    Raises:
        InputError: if the folder cannot be written to.
    """
    manifest = read_manifest(family)
    episodes = collect(family, quality, threads)
    write_dataset(family, quality, episodes, (float(np.mean(manifest.random)), float(np.mean(manifest.expert))))


def ensure_dataset(family: Family, quality: str, threads: int, announce: Callable[[str], None]) -> None:
    """Build a dataset if it is not there; say so first."""
    if not dataset_folder(family, quality).exists():
        announce(f"building {dataset_id(family, quality)}")
        build_dataset(family, quality, threads)


def verify_dataset(family: Family, quality: str) -> tuple[Status, str]:
    """Compare a local dataset with the manifest; return the status and the reason.

    Raises:
        InputError: if the dataset is missing, foreign, damaged, or of another version.
    """
    return compare(read_episodes(family, quality)[0], family, quality)


def compare(episodes: Episodes, family: Family, quality: str) -> tuple[Status, str]:
    """Compare episodes with the manifest.

    ``canonical``: the same bytes. ``equivalent``: not the same, as on a processor that rounds differently, but
    every task's mean return agrees within its standard error. ``wrong``: anything else.
    """
    entry = read_manifest(family).datasets[quality]
    if episodes.content_hash() == entry.content:
        return "canonical", "the content hash is the manifest's"
    counts = np.bincount(episodes.tasks, minlength=len(family.tasks()))
    expected = entry.episodes // len(family.tasks())
    if not np.all(counts == expected):
        task = int(np.flatnonzero(counts != expected)[0])
        return "wrong", f"task {task} has {counts[task]} episodes, the canonical dataset {expected}"
    returns = episodes.returns().reshape(len(counts), expected)
    spread = np.hypot(returns.std(axis=1), np.array(entry.return_std)) / np.sqrt(expected)
    distance = np.abs(returns.mean(axis=1) - np.array(entry.return_mean)) / np.maximum(spread, 1e-9)
    worst = int(distance.argmax())
    reason = f"task {worst}'s mean return is {distance[worst]:.1f} standard errors from the canonical one"
    if not distance[worst] <= TOLERANCE:  # NaN is wrong, too
        return "wrong", reason
    return "equivalent", f"other bytes, but the returns agree: at most, {reason}"


def freeze(family: Family, threads: int, announce: Callable[[str], None]) -> str:
    """Build all datasets of a family and return its new manifest as JSON. Only for a new version of a family."""
    table = family.tasks()
    announce("reference returns")
    tasks = np.repeat(table.ids(), REFERENCE_EPISODES)
    seeds = np.random.SeedSequence(len(tasks)).generate_state(len(tasks)).astype(np.int64)
    behaviours = np.full(len(tasks), EXPERT)
    rng = np.random.default_rng(0)
    expert = roll_out(family, make_actor(family), tasks, behaviours, seeds, rng, threads, deterministic=True)
    datasets = {}
    reference = {"expert": expert.returns().reshape(len(table), -1).mean(axis=1)}
    for quality in reversed(QUALITIES):  # `random` first, for its returns
        announce(f"dataset {quality}")
        episodes = collect(family, quality, threads)
        returns = episodes.returns().reshape(len(table), -1)
        if quality == "random":
            reference["random"] = returns.mean(axis=1)
            means = float(reference["random"].mean()), float(reference["expert"].mean())
        datasets[quality] = DatasetEntry(
            content=episodes.content_hash(),
            contexts=draw_contexts(family, quality, episodes).fingerprint(),
            episodes=len(episodes.tasks),
            transitions=len(episodes.rewards),
            return_mean=tuple(np.round(returns.mean(axis=1), 4).tolist()),
            return_std=tuple(np.round(returns.std(axis=1), 4).tolist()),
        )
        write_dataset(family, quality, episodes, means)
    manifest = Manifest(
        family=family.name,
        family_fingerprint=family.fingerprint(),
        random=tuple(np.round(reference["random"], 4).tolist()),
        expert=tuple(np.round(reference["expert"], 4).tolist()),
        datasets=datasets,
    )
    return json.dumps(manifest.model_dump(), indent=None, separators=(",", ": ")) + "\n"
