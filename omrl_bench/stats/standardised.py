"""Scores in units of what the methods of a family differ by, so that their mean gives each family the same say.

In the mean of scores a family whose methods lie far apart decides the order: of the variance between methods it can
carry four fifths. In the mean of z-scores every family has the same.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from omrl_bench.stats.panels import ALL, Key

FEWEST_METHODS = 3
_BOARD = [name for name in Key._fields if name not in ("family", "method")]
_SCORES = ["score_mean", "score_mean_low", "score_mean_high"]
_Z = ["z", "z_low", "z_high"]


def with_z_scores(summary: pd.DataFrame, controls: Collection[str] = ()) -> pd.DataFrame:
    """Add columns ``z``, ``z_low``, ``z_high`` to a summary.

    Args:
        summary: See :func:`omrl_bench.stats.summary.summarise`.
        controls: Methods that do not count in the mean and deviation: a random policy and an oracle would make
            everything between them look alike. They have z-scores like all others.

    Returns:
        The summary. In a family and condition z is the score minus the mean over methods, divided by their standard
        deviation; the interval is that of the score, mean and deviation being taken as known. Family ``all`` has the
        mean over the families; families are independent, so the ends of its interval are the roots of the summed
        squares of theirs (Zou and Donner 2008). NaN with fewer than :data:`FEWEST_METHODS` methods, or where all score
        the same.
    """
    single = summary["family"] != ALL
    counted = summary[single & ~summary["method"].isin(controls)]
    of_board = counted.groupby([*_BOARD, "family"], observed=True)["score_mean"]
    laws = of_board.agg(center="mean", spread="std", number="count").reset_index()
    laws.loc[(laws["number"] < FEWEST_METHODS) | ~(laws["spread"] > 1e-9), "spread"] = np.nan
    table = summary.merge(laws.drop(columns="number"), how="left", on=[*_BOARD, "family"])
    for z, score in zip(_Z, _SCORES, strict=True):
        table[z] = (table[score] - table["center"]) / table["spread"]
    key = [*_BOARD, "method"]
    families = table[single.to_numpy()].assign(
        below=lambda rows: (rows["z"] - rows["z_low"]) ** 2, above=lambda rows: (rows["z_high"] - rows["z"]) ** 2
    )
    of_method = families.groupby(key, observed=True)[["z", "below", "above"]]
    total = of_method.agg(lambda values: values.sum(skipna=False))
    number = of_method.size()
    means = pd.DataFrame({"z": total["z"] / number})
    means["z_low"] = means["z"] - np.sqrt(total["below"]) / number
    means["z_high"] = means["z"] + np.sqrt(total["above"]) / number
    over = ~single.to_numpy()
    if over.any():
        table.loc[over, _Z] = means.loc[pd.MultiIndex.from_frame(table.loc[over, key])].to_numpy()
    return table.drop(columns=["center", "spread"])
