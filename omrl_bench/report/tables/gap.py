"""The generalisation gap: scores on training tasks against scores on test tasks, which are two sets of records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from omrl_bench.report.reading.provenance import shipped
from omrl_bench.report.reading.results import SetKey
from omrl_bench.report.tables.captions import INTERVAL_NOTE
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.markdown import escape, grid, page
from omrl_bench.report.tables.wide import Entry
from omrl_bench.stats.generalisation import generalisation_gap
from omrl_bench.stats.panels import ALL, Key, Panel, Panels, with_means


def gap_tables(sets: Sequence[SetKey], groups: Sequence[Panels], layouts: Sequence[Layout]) -> dict[int, str]:
    """Write scores on training and on test tasks and their difference as Markdown, by the position of the test set."""
    tables = {}
    for index, key in enumerate(sets):
        train = next((place for place, other in enumerate(sets) if _on_training_tasks(other, key)), None)
        if train is not None:
            of_train, of_test = _common(sets[train].suite, groups[train], groups[index])
            if of_train:
                gaps = generalisation_gap(of_train, of_test)
                lacking = sorted({key.family for key in groups[index]} - {key.family for key in of_test} - {ALL})
                if lacking:  # the mean over the others is not what the score table calls the mean
                    gaps = gaps[gaps["family"] != ALL]
                tables[index] = _gap_markdown(gaps, layouts[index], lacking)
    return tables


def _on_training_tasks(train: SetKey, test: SetKey) -> bool:
    """Whether one set evaluates what the other one trained on the training tasks; of suites of the package."""
    suite = shipped(train.suite) if train[1:] == test[1:] else None
    return suite is not None and suite.extends == test.suite and suite.protocol.split == "train"


def _common(train_suite: str, train: Panels, test: Panels) -> tuple[Panels, Panels]:
    """The panels of the families, conditions and methods that both have, as if of one suite."""
    of_train: dict[Key, Panel] = {}
    of_test: dict[Key, Panel] = {}
    for key, (panel, *_) in test.items():
        other = train.get(key._replace(suite=train_suite))
        if other and key.family != ALL:
            (of_train[key],), of_test[key] = other, panel
    return with_means(of_train), with_means(of_test)  # over the families that both have


def _gap_markdown(frame: pd.DataFrame, layout: Layout, lacking: Sequence[str]) -> str:
    rows = []
    indexed = frame.set_index(["family", "condition", "method"]).sort_index()
    for key in product(layout.families, layout.conditions, layout.methods):
        if key in indexed.index:
            row = indexed.loc[key]
            numbers = [f"{row[name]:.1f}" for name in ("score_train", "score_test")]
            rows.append([*map(escape, key), *numbers, str(Entry(row["gap"], row["gap_low"], row["gap_high"]))])
    headers = ["family", "condition", "method", "training tasks", "test tasks", "gap"]
    notes = ["Gap: score on training tasks minus score on test tasks.", INTERVAL_NOTE]
    notes += [f"No scores on training tasks: {', '.join(lacking)}. So there is no mean over families."] * bool(lacking)
    return page("Generalisation gap", grid(headers, rows, names=3), notes)
