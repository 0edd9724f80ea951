"""What is said of a board's rows and of the board itself: estimates, collapsed seeds, and how well it discriminates."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from omrl_bench.report.reading.groups import BOUNDS, CONTROLS
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.report.tables.layout import ALMOST, Layout
from omrl_bench.report.tables.markdown import escape, grid, page
from omrl_bench.stats.collapse import collapsed_seeds
from omrl_bench.stats.discrimination import BEST, HALVES, RELIABLE, discrimination
from omrl_bench.stats.panels import ALL, Key, Panels
from omrl_bench.stats.standardised import with_z_scores
from omrl_bench.stats.summary import SUMMARY_RESAMPLES, summarise

ORACLE = BOUNDS[0]
DISCRIMINATION_NOTES = (
    f"Methods: without controls. SD: standard deviation of the true scores of the best {100 * BEST:.0f} % of them; "
    "SE: root mean square of their standard errors; reliability: SD^2 / (SD^2 + SE^2), which is the correlation of the "
    "scores with those of the same methods trained again. On these tasks; on new tasks the interaction of methods and "
    "tasks adds to the error.",
    f"tau: rank agreement (Kendall) of two halves of the seeds, all methods, mean over {HALVES} random halves. "
    "At the oracle: methods that are not shown to be below it.",
    f"{ALMOST} does not discriminate: the reliability on these tasks is below {RELIABLE}.",
)


class Board(NamedTuple):
    """What a set of records says.

    Attributes:
        summary: Of :func:`omrl_bench.stats.summary.summarise`, with z-scores and a column ``collapsed``: the collapsed
            seeds of the row, with spaces; in rows of family ``all`` each with its family, as in ``ant-dir:4``.
        collapsed: The collapsed seeds.
        discrimination: A row per family and condition.
    """

    summary: pd.DataFrame
    collapsed: pd.DataFrame
    discrimination: pd.DataFrame


def board_of(groups: Panels, resamples: int = SUMMARY_RESAMPLES) -> Board:
    """Estimate everything that the tables and the page show of some panels."""
    summary = with_z_scores(summarise(groups, resamples), CONTROLS)
    collapsed = collapsed_seeds(groups, CONTROLS)
    names: dict[tuple[str, ...], list[str]] = {}
    for row in collapsed.to_dict("records"):
        key = Key(*(row[name] for name in Key._fields))
        names.setdefault(key, []).append(str(row["seed"]))
        names.setdefault(key._replace(family=ALL), []).append(f"{key.family}:{row['seed']}")
    keys = summary[list(Key._fields)].itertuples(index=False, name=None)
    summary["collapsed"] = [" ".join(names.get(key, [])) for key in keys]
    return Board(summary, collapsed, discrimination(groups, CONTROLS, ORACLE))


def discrimination_table(boards: pd.DataFrame, layout: Layout) -> str:
    """Write how well each board discriminates as Markdown."""
    indexed = boards.set_index(["family", "condition"])
    texts = []
    for column in ((family, condition) for family in layout.families for condition in layout.conditions):
        if column in indexed.index:
            row = indexed.loc[column]
            names = ("between", "error", "reliability", "between_new", "error_new", "reliability_new", "rank_agreement")
            numbers = [_number(row[name], 1 if name.startswith(("between", "error")) else 2) for name in names]
            verdict = {True: "yes", False: f"no {ALMOST}"}.get(row["discriminates"], MISSING)
            counts = str(row["methods"]), _number(row["at_oracle"], 0)
            texts.append([*map(escape, column), counts[0], *numbers, counts[1], verdict])
    headers = ["family", "condition", "methods", "SD", "SE", "reliability", "SD, new tasks", "SE, new tasks"]
    headers += ["reliability, new tasks", "tau", "at the oracle", "discriminates"]
    return page("How well each board tells its methods apart", grid(headers, texts, names=2), DISCRIMINATION_NOTES)


def _number(value: float, decimals: int) -> str:
    return MISSING if pd.isna(value) else f"{value:.{decimals}f}"
