"""The words that suites, datasets, protocols and commands share: each list in one place, which anything may import."""

from __future__ import annotations

from typing import Literal, get_args

#: Quality of a dataset that a method trains on, and who acted.
TrainingQuality = Literal["mixed", "expert", "medium", "random"]
TRAINED_ON: dict[str, str] = {
    "mixed": "ten behaviours, from the first to the expert",
    "expert": "the expert",
    "medium": "behaviour half-way between random and expert",
    "random": "uniform actions",
}
#: Of a dataset that only contexts are drawn from: the expert of another task acts. Tasks for training have none.
ContextOnly = Literal["cross"]
#: Quality of a context that a method is given; :data:`omrl_bench.data.contexts.SOURCES` says what it is drawn from.
Quality = Literal["high", "medium", "low", "random", "expert", "mixed", ContextOnly]

QUALITIES: tuple[str, ...] = get_args(TrainingQuality)
CONTEXT_ONLY: tuple[str, ...] = get_args(ContextOnly)
DATASETS = (*QUALITIES, *CONTEXT_ONLY)

#: Steps of a segment.
SEGMENT = 100
#: What one context draw is, in words.
Unit = Literal["episode", "transitions", "segment"]
UNITS: dict[Unit, str] = {
    "episode": "one whole logged episode",
    "transitions": "as many logged transitions, i.i.d., as an episode has steps",
    "segment": f"{SEGMENT} consecutive logged steps",
}

#: Which tasks of a family; learning curves are of the validation tasks, and defaults are chosen on them.
Split = Literal["train", "validation", "test", "extrapolation"]
SPLITS: tuple[str, ...] = get_args(Split)

_Unfinished = Literal["missing", "failed", "stale"]
#: What a results folder has of a cell.
State = Literal["complete", _Unfinished]
STATES: tuple[State, ...] = get_args(State)
#: Which cells run: each choice includes the ones before it, and `all` those that are complete.
Rerun = Literal[_Unfinished, "all"]
RERUNS: tuple[Rerun, ...] = get_args(Rerun)
