"""What ``leaderboard.json`` holds and the page shows.

The models are the documentation of the file; ``Leaderboard.model_json_schema()`` is its JSON Schema. Every number of a
method stands in a :class:`BoardEntry`; everything else about the row it belongs to stands once, in a :class:`Run`.
"""

from __future__ import annotations

from typing import Literal

from omrl_bench import __version__
from omrl_bench.frozen import Frozen
from omrl_bench.report.tables.boards import DISCRIMINATION_NOTES
from omrl_bench.report.tables.captions import INTERVAL_NOTE, RATIO_NOTE, SCORE_NOTE, Z_NOTE
from omrl_bench.stats.bootstrap import CONFIDENCE
from omrl_bench.stats.collapse import DEVIATIONS, POINTS

SCHEMA_VERSION: Literal[2] = 2
Badge = Literal["reference", "verified", "self-reported"]
RANK_NOTE = (
    "Rank: place by mean score among all methods, controls too, of the same suite, preset, data, backbone, family and "
    f"condition; equal means share a rank. (low to high): {100 * CONFIDENCE:.0f} % interval on new tasks, marginal: of "
    "each method on its own. Could be best: the set of these methods holds the best one with 95 % confidence."
)
BADGE_NOTE = (
    "Badge: reference, a row of the benchmark's own methods, run by the maintainers, without a doubt; verified, a "
    "submitted row that the maintainers ran again and that came out the same (by what: in its details); self-reported, "
    "any other. Badges come from the maintainers' files, never from what a row says of itself. Doubts: what speaks "
    "against comparing a row, such as seeds that lack, another version of the suite or of the evaluated tasks, data "
    "that are not the canonical ones, code that was not committed. A commit is that of the method's own code."
)
COLLAPSE_NOTE = (
    f"Collapsed: a seed whose score lies more than {POINTS:g} points and {DEVIATIONS:g} usual deviations below the "
    "median of the method's seeds. Intervals of few seeds hide such a seed, or do not show what it means."
)


class BoardEntry(Frozen):
    """What one run of a method scored under one condition; low and high bound the 95 % interval."""

    run: int  # position in Leaderboard.runs
    condition: str  # context quality, or episode
    rank: int
    rank_low: int
    rank_high: int
    could_be_best: bool  # not worse than any other, tested against all of them together
    score: float
    score_low: float
    score_high: float
    iqm: float
    iqm_low: float
    iqm_high: float
    ratio: float | None  # of sums over tasks
    ratio_low: float | None
    ratio_high: float | None
    z: float | None  # of the family's methods, for family "all" the mean over families; null where they are too few
    z_low: float | None
    z_high: float | None
    return_mean: float | None  # undiscounted; null for family "all": returns of families have no common scale
    return_mean_low: float | None
    return_mean_high: float | None
    seeds: int
    tasks: int
    draws: int  # per task and seed
    collapsed: tuple[str, ...]  # seeds; for family "all" each with its family, as in "ant-dir:4"


class Run(Frozen):
    """A method in one table and family; family ``all`` stands for the mean over the table's families."""

    suite: str
    preset: str
    dataset: str
    backbone: str
    family: str
    method: str
    control: bool  # a row that bounds the others
    privileges: tuple[str, ...]  # what it sees beyond the training data and the context
    status: Literal["complete", "partial", "missing"]  # seeds: all that the table has, some, none
    reasons: tuple[str, ...]  # what is missing or failed, and why
    badge: Badge
    verified: str | None  # what the maintainers ran again, and how it compared
    ruleset: str | None  # of a submitted row, as the next two
    tuning_episodes: int | None  # of all its development
    paper: str | None
    doubts: tuple[str, ...]  # what speaks against comparing it
    parameters: float | None  # trained, per seed; like the next two a median over seeds, and for `all` a mean of those
    training_seconds: float | None  # wall-clock time per seed: that of its process, by the seeds trained in it
    memory_mib: float | None  # peak of the training process
    created: str | None  # date of the newest record
    versions: dict[str, str]  # of packages; several, if seeds differ, with commas
    commits: tuple[str, ...]  # of the method's own code


class Notes(Frozen):
    """What a reader must know of one table: what is missing, failed or not as it should be."""

    dataset: str
    backbone: str
    notes: tuple[str, ...]


class Discrimination(Frozen):
    """How well one table tells its methods apart in one family under one condition; null where it is not known."""

    dataset: str
    backbone: str
    family: str
    condition: str
    methods: int  # without controls
    between: float | None  # standard deviation of the true scores of the best three quarters of the methods
    error: float | None  # standard error of their scores, on these tasks
    reliability: float | None
    reliability_new: float | None  # on new tasks
    rank_agreement: float | None  # Kendall's tau of two halves of the seeds
    at_oracle: int | None  # methods that are not shown to be below the oracle
    discriminates: bool | None  # whether the reliability is high enough


class Board(Frozen):
    """One suite with one preset."""

    suite: str
    preset: str
    title: str
    kind: str  # what conditions are: "context quality" or "episode"
    conditions: tuple[str, ...]
    main_condition: str
    families: tuple[str, ...]  # in order, `all` first if there are several
    tables: tuple[Notes, ...]
    discrimination: tuple[Discrimination, ...]


class Leaderboard(Frozen):
    """All results of a folder of records."""

    schema_version: Literal[2] = SCHEMA_VERSION
    omrl_bench: str = __version__
    notes: tuple[str, ...] = (
        *(SCORE_NOTE, INTERVAL_NOTE, Z_NOTE, RATIO_NOTE, RANK_NOTE),
        *(COLLAPSE_NOTE, *DISCRIMINATION_NOTES, BADGE_NOTE),
    )
    boards: tuple[Board, ...]
    runs: tuple[Run, ...]
    entries: tuple[BoardEntry, ...]
