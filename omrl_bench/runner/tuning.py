"""Tuning by a rule: what ruleset ``tuned`` allows, as a study that can be repeated and resumed.

A file declares one space of hyper-parameters for all families. Each of three studies draws five points of it
quasi-randomly, trains each on every family, and picks for each family the point with the best mean score over all
conditions of validation tasks, within the number of episodes that the file declares. What was picked is then trained
and evaluated as the suite says; a study's score is the mean over families, and the median of the three is the row's. ::

    method = "focal"
    search = { suite = "shift-validation", preset = "screening" }
    final = { suite = "shift", preset = "standard" }
    families = ["point-sparse", "cheetah-vel"]
    episodes = 2000                              # of a study, on each family's validation tasks
    seeds = 1                                    # of each point; study k trains seeds k, k + 3, ...

    [space]
    beta = { low = 0.1, high = 10.0, log = true }
    "backbone.width" = { values = [64, 128, 256] }

The points depend on the file and the study alone, and the records are those of ``run``: an interrupted study goes on.
"""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator
from scipy.stats import qmc

from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.files import write_atomically
from omrl_bench.frozen import Frozen
from omrl_bench.protocols.suite import Suite, load_suite, parse_as, parse_toml
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.plan import Selection, select
from omrl_bench.runner.records import Cell, Record, read_cube_beside, read_record
from omrl_bench.runner.settings import Setting, method_name, split_reference

STUDIES, POINTS = 3, 5
DIGITS = 3  # of a number, because the row's name has it
SEARCH, FINAL = "search", "final"  # results folders
LEDGER, SCORES = "ledger.csv", "studies.csv"
VALIDATION = "validation"


class Axis(Frozen):
    """What one hyper-parameter may be: a range, or some values."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    values: tuple[Setting, ...] = ()

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Axis:
        is_range = self.low is not None and self.high is not None
        if is_range == bool(self.values):
            raise ValueError("give low and high, or values")
        if self.low is not None and self.high is not None and not (self.log <= (self.low > 0) and self.low < self.high):
            raise ValueError("low is below high, and above 0 where log is true")
        return self

    def at(self, share: float) -> Setting:
        """The value at a share in [0, 1) of the way through the axis."""
        if self.low is None or self.high is None:
            return self.values[int(share * len(self.values))]
        if self.log:
            value = float(np.exp(np.log(self.low) + share * np.log(self.high / self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.{DIGITS}g}")


class Place(Frozen):
    """A suite and one of its presets."""

    suite: str
    preset: str


class Tuning(Frozen):
    """What a tuning file declares."""

    method: str
    search: Place
    final: Place
    families: Annotated[tuple[str, ...], Field(min_length=1)]
    episodes: Annotated[int, Field(strict=True, ge=1)]
    seeds: Annotated[int, Field(strict=True, ge=1, le=10)] = 1
    space: Annotated[dict[str, Axis], Field(min_length=1)]

    @field_validator("method")
    @classmethod
    def _has_no_settings(cls, method: str) -> str:
        if split_reference(method)[1]:
            raise ValueError("the space holds what is changed: name the method without settings")
        return method

    def points(self, study: int) -> list[dict[str, Setting]]:
        """The points of a study: those of a scrambled Halton sequence, the same for every family."""
        rng = np.random.default_rng([zlib.crc32(self.model_dump_json(include={"method", "space"}).encode()), study])
        shares = qmc.Halton(len(self.space), seed=rng).random(POINTS)
        return [
            {name: axis.at(float(share)) for (name, axis), share in zip(self.space.items(), row, strict=True)}
            for row in shares
        ]

    def seeds_of(self, study: int) -> tuple[int, ...]:
        """Training seeds of a study's points."""
        return tuple(range(study, study + STUDIES * self.seeds, STUDIES))


class Tried(NamedTuple):
    """One line of the ledger: a point of a study on a family."""

    study: int
    family: str
    point: int
    reference: str
    episodes: int  # on validation tasks, those of the learning curve among them
    score: float  # mean over seeds, conditions, tasks and draws
    picked: bool


class StudyScore(NamedTuple):
    """What a study's picks score on a family's evaluated tasks; family ``all`` is the mean over them."""

    study: int
    family: str
    reference: str
    score: float
    episodes: int
    median: bool  # whether it is the study whose mean is the row's score


#: Trains and evaluates what is left of a selection in a results folder; returns the errors of what failed.
Run = Callable[[Selection, Path], Sequence[str]]


def read_tuning(path: Path) -> Tuning:
    """Read a tuning file.

    Raises:
        InputError: if there is none, or the first thing that is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is not UTF-8 text") from error
    return parse_as(Tuning, parse_toml(text, str(path)), str(path))


def tune(tuning: Tuning, out: Path, run: Run) -> list[StudyScore]:
    """Do all studies, or what is left of them, and write ``ledger.csv`` and ``studies.csv``.

    Args:
        tuning: What is declared.
        out: Folder of the two files and of the results folders ``search`` and ``final``.
        run: Fills a results folder, see :func:`omrl_bench.runner.run.execute`.

    Raises:
        InputError: if a name does not exist, the search would look at other tasks than those of validation, the
            declared episodes allow no point, or a cell failed.
    """
    _check(tuning)
    tried: list[Tried] = []
    scores: list[StudyScore] = []
    for study in range(STUDIES):
        of_study = _search(tuning, study, out / SEARCH, run)
        tried += of_study
        _write(out / LEDGER, tried)
        scores += _final(tuning, study, [each for each in tried if each.study == study], out / FINAL, run)
    means = [each.score for each in scores if each.family == "all"]
    middle = statistics.median_low(means)
    chosen = means.index(middle)
    scores = [each._replace(median=each.study == chosen) for each in scores]
    _write(out / SCORES, scores)
    return scores


def _check(tuning: Tuning) -> None:
    search, final = load_suite(tuning.search.suite), load_suite(tuning.final.suite)
    if search.protocol.split != VALIDATION:
        raise InputError(
            f"search: suite {search.name!r} evaluates {search.protocol.split} tasks; tuning may look at those of "
            f"{VALIDATION} only, as shift-validation does"
        )
    if final.protocol.split == VALIDATION:
        raise InputError(f"final: suite {final.name!r} evaluates the tasks that were tuned on")
    for study in range(STUDIES):
        _selection(tuning, search, tuning.search.preset, tuning.families, tuning.points(study))
    _affordable(tuning, search)
    _selection(tuning, final, tuning.final.preset, tuning.families, [])


def _selection(
    tuning: Tuning,
    suite: Suite,
    preset: str,
    families: Iterable[str],
    points: Sequence[Mapping[str, Setting]],
    seeds: Iterable[int] = (),
) -> Selection:
    references = [method_name(tuning.method, point) for point in points] or [tuning.method]
    return select(suite, preset, families, dict.fromkeys(references), seeds)


def _affordable(tuning: Tuning, suite: Suite) -> int:
    """Points that the declared episodes allow on every family.

    Raises:
        InputError: if they allow none.
    """
    preset = suite.presets[tuning.search.preset]
    protocol = suite.protocol_of(tuning.search.preset)
    conditions = len(protocol.conditions(preset.qualities))
    tasks = max(len(get_family(family).tasks().ids(protocol.split)) for family in tuning.families)
    cost = tuning.seeds * tasks * protocol.draws * (conditions + preset.evaluations)
    if cost > tuning.episodes:
        raise InputError(f"key 'episodes': a point costs {cost:,} on a family, and {tuning.episodes:,} are declared")
    return min(POINTS, tuning.episodes // cost)


def _search(tuning: Tuning, study: int, results: Path, run: Run) -> list[Tried]:
    """Train the points of a study, as many as the declared episodes allow, and pick one for each family."""
    suite = load_suite(tuning.search.suite)
    points = tuning.points(study)[: _affordable(tuning, suite)]
    selection = _selection(tuning, suite, tuning.search.preset, tuning.families, points, tuning.seeds_of(study))
    _fill(selection, results, run)
    tried = []
    for family in tuning.families:
        of_family = []
        for number, point in enumerate(points):
            reference = _selection(tuning, suite, tuning.search.preset, [family], [point]).methods[0].name
            cells = _cells(selection, family, reference, results)
            episodes = sum(_episodes(record, cube) for record, cube in cells)
            of_family.append(Tried(study, family, number, reference, episodes, _score(cells), False))
        best = max(of_family, key=lambda each: each.score)
        tried += [each._replace(picked=each is best) for each in of_family]
    return tried


def _episodes(record: Record, cube: Cube) -> int:
    """Episodes that a cell played on validation tasks; a point of its learning curve counts as a whole condition."""
    return int(cube.returns.size + len(record.curve) * cube.returns[0].size)


def _score(cells: Sequence[tuple[Record, Cube]]) -> float:
    return float(np.mean([cube.scores().mean() for _, cube in cells]))


def _final(tuning: Tuning, study: int, tried: Sequence[Tried], results: Path, run: Run) -> list[StudyScore]:
    """Train what a study picked as the final suite says."""
    suite = load_suite(tuning.final.suite)
    scores = []
    for family in tuning.families:
        (picked,) = [each for each in tried if each.family == family and each.picked]
        selection = select(suite, tuning.final.preset, [family], [picked.reference])
        _fill(selection, results, run)
        score = _score(_cells(selection, family, selection.methods[0].name, results))
        episodes = sum(each.episodes for each in tried if each.family == family)
        scores.append(StudyScore(study, family, picked.reference, score, episodes, False))
    mean = float(np.mean([each.score for each in scores]))
    return [*scores, StudyScore(study, "all", "", mean, sum(each.episodes for each in scores), False)]


def _fill(selection: Selection, results: Path, run: Run) -> None:
    """Run what is not there yet."""
    errors = run(selection, results)
    if errors:
        raise InputError(f"{errors[0]}; the same command tries it again")


def _cells(selection: Selection, family: str, method: str, results: Path) -> list[tuple[Record, Cube]]:
    """The records of one method and family of a selection that has been run."""
    found = []
    for dataset in selection.datasets:
        for backbone in selection.backbones:
            for seed in selection.seeds:
                cell = Cell(
                    suite=selection.suite.name,
                    family=family,
                    dataset=dataset,
                    method=method,
                    backbone=backbone,
                    preset=selection.preset_name,
                    seed=seed,
                )
                path = cell.record_path(results)
                record = read_record(path)
                found.append((record, read_cube_beside(path, record)))
    return found


def _write(path: Path, rows: Sequence[Tried] | Sequence[StudyScore]) -> None:
    text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.4f")
    write_atomically(path, text.encode())
