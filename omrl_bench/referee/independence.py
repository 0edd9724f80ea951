"""Whether lanes depend on each other: the same lanes alone, in another order and a second time, earn the same.

Where they do not act the same to the last digit, as where a policy draws random numbers, the difference must be chance.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

TASKS = 40  # of one draw each that are played again
FEWEST = 8  # tasks that chance can be told from
SMALL = 1.0  # points of score that do not matter
CHANCE = 1e-6


def problem(alone: np.ndarray, among: np.ndarray) -> str | None:
    """Say what is wrong if lanes do not earn alone what they earn among others.

    Args:
        alone: (conditions, tasks) scores of one draw of each task, played without the other draws and tasks.
        among: The scores of the same draws among all.
    """
    if np.allclose(alone, among, rtol=0, atol=0.01):
        return None
    differences = (among - alone).mean(axis=0)
    mean, count = float(differences.mean()), len(differences)
    if count < FEWEST or abs(mean) <= SMALL:
        return None
    error = float(differences.std(ddof=1)) / np.sqrt(count)
    if error > 0 and 2 * stats.t.sf(abs(mean) / error, count - 1) > CHANCE:
        return None
    return (
        f"lanes depend on each other: {count} of them score {alone.mean():.1f} alone, in another order, and "
        f"{among.mean():.1f} among all; a policy may use nothing of other lanes, and begins anew at each reset"
    )
