"""The rule that says where seeds are paired.

Two methods that are trained with the same seed number share no training; what they may share is the noise of their
evaluation, where the environment draws it from that number. Pairing seeds costs half of the degrees of freedom and wins
only where that noise is large, so a rule decides, for a family and condition, from all methods that have the same
seeds. Seeds are paired if both hold:

* Friedman's test (1937), methods as blocks and seeds as treatments, says that some seeds are good for all methods
  (p < 0.01);
* the mean rank correlation of two methods' seed means, r = (M W - 1) / (M - 1) with Kendall's W (1939), is above what
  pairing must win to shorten an interval of S seeds: 1 - (t(2 S - 2) / t(S - 1))^2, t being the 97.5 % quantile.

Pairing is valid whatever the correlation is, and so is not pairing where the correlation is not negative: the rule
chooses the shorter interval, not the valid one. It uses ranks, so that a collapsed seed of one method weighs no more
than any other.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.special import chdtrc, stdtrit
from scipy.stats import rankdata

from omrl_bench.stats.panels import Key, Panel, Panels

LEVEL = 0.01
#: Table, family, condition and seeds for which seeds are paired.
Paired = frozenset[tuple[object, ...]]


def pairing(groups: Panels) -> Paired:
    """Apply the rule to every family and condition of some panels."""
    means: dict[tuple[object, ...], list[np.ndarray]] = defaultdict(list)
    for key, group in groups.items():
        if len(group) == 1:
            means[_place(key, group[0])].append(group[0].scores.mean(axis=1))
    return frozenset(place for place, of_methods in means.items() if seeds_correlate(np.array(of_methods)))


def are_paired(paired: Paired, key: Key, first: Panel, second: Panel) -> bool:
    """Whether the seeds of two panels of a family, under the condition of a key, are paired."""
    return first.seeds == second.seeds and _place(key, first) in paired


def seeds_correlate(seed_means: np.ndarray) -> bool:
    """The rule, for the seed means (methods, seeds) of all methods of a family and condition."""
    number = seed_means.shape[1]
    varying = seed_means[np.ptp(seed_means, axis=1) > 0]
    methods = len(varying)
    if methods < 2 or number < 2:
        return False
    ranks = rankdata(varying, axis=1)
    between = (ranks.sum(axis=0) - methods * (number + 1) / 2) ** 2
    # corrected for ties: the ranks' own variance, not that of 1, ..., S
    statistic = (number - 1) * between.sum() / ((ranks - (number + 1) / 2) ** 2).sum()
    correlation = (statistic / (number - 1) - 1) / (methods - 1)
    worth = 1 - (stdtrit(2 * number - 2, 0.975) / stdtrit(number - 1, 0.975)) ** 2
    return bool(chdtrc(number - 1, statistic) < LEVEL and correlation > worth)


def _place(key: Key, panel: Panel) -> tuple[object, ...]:
    return *key.table, panel.family, key.condition, panel.seeds
