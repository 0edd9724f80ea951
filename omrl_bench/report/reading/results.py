"""What reading a results folder gives: tidy frames, and notes on what is missing from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from omrl_bench.api import STAGES
from omrl_bench.runner.equivalences import Equivalences
from omrl_bench.runner.records import Record
from omrl_bench.submissions.shelf import Submitted

#: Columns of the tidy frame; ``range`` is the expert's return minus the random policy's, of the task.
COLUMNS = (
    *("suite", "preset", "family", "dataset", "method", "backbone", "seed"),
    *("condition", "task", "draw", "return", "score", "range"),
)

#: Columns of the frame of costs, of a stage its milliseconds per update; 0 where a method has no such stage.
COST_COLUMNS = ("family", "method", "seeds_together", "parameters", *STAGES, "memory")

#: Columns of the frame of learning curves: mean score on the validation tasks after so many policy updates.
CURVE_COLUMNS = ("family", "method", "seed", "step", "score")

NO_RESULTS = "no results"  # the reason of a row that has none

REFERENCE = "\N{DOUBLE DAGGER}"  # marks a row of another results folder
VERIFIED = "\N{CHECK MARK}"  # marks a submitted row that was run again
SELF_REPORTED = "\N{WHITE CIRCLE}"  # marks one that was not

#: Those of them that are names, and so categorical.
NAMES = tuple(name for name in COLUMNS if name not in ("seed", "task", "draw", "return", "score", "range"))


class SetKey(NamedTuple):
    """What all records of one set of tables and figures share."""

    suite: str
    preset: str
    dataset: str
    backbone: str


class Note(NamedTuple):
    """What a reader must know of some records; as text, :attr:`text`.

    Attributes:
        text: The sentence.
        family: The family that it is about; empty if it is about more, as with the method.
        method: The method that it is about.
        reason: Where it is about a row, one method in one family: the sentence without their names.
    """

    text: str
    family: str = ""
    method: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return self.text


def on_row(family: str, method: str, reason: str) -> Note:
    """A note on one method in one family."""
    return Note(f"{family} / {method}: {reason}", family, method, reason)


def on_family(family: str, said: str) -> Note:
    """A note on a family, whatever the method."""
    return Note(f"{family}: {said}", family)


@dataclass(frozen=True)
class Results:
    """What one set of tables and figures is made of.

    Attributes:
        suite: Name of the suite.
        preset: Name of the preset.
        dataset: Quality of the training data.
        backbone: Offline-RL learner under the methods.
        frame: Tidy frame with columns :data:`COLUMNS`, of the complete records only; names are categorical.
        costs: One row per complete record, with columns :data:`COST_COLUMNS`.
        notes: What is missing, failed or not as it should be.
        privileges: Of each method that has any.
        curves: One row per point of the complete records' learning curves, with columns :data:`CURVE_COLUMNS`.
        records: The complete records that the frames are made of.
        every: All records that could be read, failed ones too.
        reference: Methods whose records are of another results folder, see
            :func:`omrl_bench.report.reading.frames.read`.
        submitted: Of each method whose records are a submission, what is known of it.
        folders: The results folder of each method.
        equal: Hashes that these folders declare equal.
    """

    suite: str
    preset: str
    dataset: str
    backbone: str
    frame: pd.DataFrame
    costs: pd.DataFrame
    notes: tuple[Note, ...]
    privileges: Mapping[str, tuple[str, ...]]
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CURVE_COLUMNS)))
    records: tuple[Record, ...] = ()
    every: tuple[Record, ...] = ()
    reference: frozenset[str] = frozenset()
    submitted: Mapping[str, Submitted] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    equal: Equivalences = field(default_factory=Equivalences)


@dataclass(frozen=True)
class Reading:
    """What reading a results folder once gives.

    Attributes:
        sets: The records, kept apart by (suite, preset, dataset, backbone), sorted by them.
        unusable: A line for each file or folder that cannot be used as a record or as the cube of one, sorted.
        unplaced: Those of them that no set has a note on.
    """

    sets: tuple[Results, ...]
    unusable: tuple[str, ...]
    unplaced: tuple[str, ...]

    @property
    def notes(self) -> list[Note]:
        """What is missing, failed, left out or unreadable."""
        return [*(note for each in self.sets for note in each.notes), *map(Note, self.unplaced)]

    def frame(self) -> pd.DataFrame:
        """All sets in one tidy frame, with columns :data:`COLUMNS`."""
        frames = [each.frame for each in self.sets if len(each.frame)]
        if len(frames) > 1:
            frame = pd.concat(frames, ignore_index=True)
            return frame.astype(dict.fromkeys(NAMES, "category"))  # which differ from set to set, and so were lost
        return frames[0] if frames else pd.DataFrame(columns=list(COLUMNS))
