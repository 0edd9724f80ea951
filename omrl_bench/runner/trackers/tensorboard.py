"""Curves for TensorBoard, as files: ``tensorboard --logdir <results>/.track/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omrl_bench.errors import InputError

try:
    from tensorboard.summary import Writer
except ImportError as error:
    raise InputError(f"{error}; pip install 'omrl-bench[tensorboard]'") from error


class TensorBoard:
    """A folder of event files for each seed; those of an earlier training of the seed go."""

    def init(self, *, project: str, name: str, group: str, config: Mapping[str, Any], dir: str) -> TensorBoardRun:
        """See :meth:`omrl_bench.runner.trackers.Tracker.init`."""
        folder = Path(dir, "tensorboard", group, f"seed-{config['seed']}")
        folder.mkdir(parents=True, exist_ok=True)
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        return TensorBoardRun(folder)


class TensorBoardRun:
    """The event file of one seed."""

    def __init__(self, folder: Path) -> None:
        self._writer = Writer(str(folder))

    def log(self, data: Mapping[str, float], step: int) -> None:
        """See :meth:`omrl_bench.runner.trackers.TrackerRun.log`."""
        for name, value in data.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        """See :meth:`omrl_bench.runner.trackers.TrackerRun.finish`."""
        self._writer.close()
