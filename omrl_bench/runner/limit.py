"""The time that a run may take, and which jobs would still end in it."""

from __future__ import annotations

import math
import time

from omrl_bench.errors import InputError
from omrl_bench.runner.job import Job


class Limit:
    """Time from now on; jobs that would not end in it are not started.

    Args:
        hours: How long; without end if not given.

    Attributes:
        left: The jobs that were not started, as far as nobody else has done them.

    Raises:
        InputError: if that is no time at all.
    """

    def __init__(self, hours: float = math.inf) -> None:
        if not hours > 0:
            raise InputError(f"a limit of {hours} hours leaves no time for anything; give a number above 0")
        self.left: list[Job] = []
        self._end = time.monotonic() + 3600 * hours
        self._longest: dict[tuple[str, str], float] = {}

    @property
    def is_over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() >= self._end

    def measure(self, job: Job, seconds: float) -> None:
        """Take note of how long a job took: those of its family and method will take as long."""
        key = _key(job)
        self._longest[key] = max(seconds, self._longest.get(key, 0.0))

    def allows(self, job: Job, rounds: int = 1) -> bool:
        """Whether a job would end in time, if it began now.

        Its duration is that of the longest job of its family and method in this run, or, before there is one, what the
        preset says.

        Args:
            job: The job.
            rounds: Of jobs, one after the other, until it has ended: more than one if others begin before it.
        """
        seconds = self._longest.get(_key(job), job.preset.job_seconds)
        return time.monotonic() + rounds * seconds <= self._end


def _key(job: Job) -> tuple[str, str]:
    return job.cells[0].family, job.cells[0].method
