"""Where the curves of a training are shown while it goes on: one module per tracker, imported when it is used.

A tracker has the shape of wandb: an object, or a module, with ``init``, which begins a run and returns what has ``log``
and ``finish``. There is one run for each seed, in the process that trains it. If it has ``login`` too, that is called
once, without arguments, before anything trains.

Other packages add trackers under the entry-point group ``omrl_bench.trackers`` (``name = "module:object"``).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Protocol, runtime_checkable

from omrl_bench.errors import InputError, unknown_name
from omrl_bench.named import import_named

ENTRY_POINTS = "omrl_bench.trackers"
PROJECT = "omrl-bench"
BUILT_IN = {
    "tensorboard": f"{__name__}.tensorboard:TensorBoard",
    "wandb": f"{__name__}.wandb:Wandb",
}


class TrackerRun(Protocol):
    """The curves of one seed."""

    def log(self, data: dict[str, float], step: int) -> object:
        """Show values after so many updates; ``step`` never goes back."""
        ...

    def finish(self) -> object:
        """Nothing more will come."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Shows curves somewhere."""

    def init(self, *, project: str, name: str, group: str, config: Mapping[str, Any], dir: str) -> TrackerRun:
        """Begin a run.

        Args:
            project: :data:`PROJECT`.
            name: The cell in short, ``family / method / seed 0``.
            group: What the seeds of a row share: ``suite/preset/family/dataset/method/backbone``.
            config: The cell, the budget and the method's hyper-parameters.
            dir: Folder for files, in the results folder; it is there.
        """
        ...


def trackers() -> dict[str, str]:
    """All trackers: name -> ``module:object``. A built-in one wins over an entry point of its name."""
    return {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)} | BUILT_IN


def find_tracker(name: str) -> Tracker:
    """Import a tracker.

    Raises:
        InputError: if there is none of that name, with the nearest names; what it needs is not installed, with the
            extra to install; or it is no tracker.
    """
    known = trackers()
    if name not in known:
        raise unknown_name("tracker", name, known)
    found = import_named(known[name], f"tracker {name!r}")
    tracker = found() if isinstance(found, type) else found
    if not isinstance(tracker, Tracker):
        raise InputError(f"tracker {name!r}: {known[name]} has no init, see {__name__}")
    return tracker


def log_in(name: str) -> None:
    """Make sure that a tracker can be used, before anything trains.

    Raises:
        InputError: as :func:`find_tracker`, or if it refuses.
    """
    login = getattr(find_tracker(name), "login", None)
    try:
        if login is not None:
            login()
    except Exception as error:  # somebody's code
        raise InputError(f"tracker {name!r}: {str(error).strip() or type(error).__name__}") from error
