"""Curves for Weights & Biases: on its server or, with ``WANDB_MODE=offline``, in ``<results>/.track/wandb``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omrl_bench.errors import InputError
from omrl_bench.runner.trackers import TrackerRun

try:
    import wandb
except ImportError as error:
    raise InputError(f"{error}; pip install 'omrl-bench[wandb]'") from error


class Wandb:
    """Runs beside any that the process may have."""

    def login(self) -> None:
        """Ask for a key where there is a terminal and none is known; raise if there is none."""
        wandb.login()

    def init(self, *, project: str, name: str, group: str, config: Mapping[str, Any], dir: str) -> TrackerRun:
        """See :meth:`omrl_bench.runner.trackers.Tracker.init`."""
        quiet = wandb.Settings(console="off")  # what is printed is the job's log
        return wandb.init(
            project=project, name=name, group=group, config=dict(config), dir=dir, reinit="create_new", settings=quiet
        )
