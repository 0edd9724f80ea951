"""What is seen only across sets of records: fewer training tasks, and training against test tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import Preset, load_suite
from omrl_bench.report.figures.lines import task_number_figure
from omrl_bench.report.reading.frames import SetKey
from omrl_bench.report.tables.captions import INTERVAL_NOTE, MISSING
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.text import escape_markdown
from omrl_bench.stats.generalisation import generalisation_gap
from omrl_bench.stats.panels import ALL, Key, Panel, Panels, with_means

TRAIN_SUFFIX = "-train"  # suite X-train evaluates what X trained on its training tasks


def task_number_pictures(
    sets: Sequence[SetKey], summaries: Sequence[pd.DataFrame], layouts: Sequence[Layout]
) -> dict[int, dict[str, bytes]]:
    """Draw scores by the number of training tasks, where presets of a shipped suite differ in it.

    Args:
        sets: Which sets of records there are.
        summaries: Of each set.
        layouts: Of each set.

    Returns:
        The files' contents by format, by the position of the set with the most training tasks.
    """
    groups: dict[tuple[str, str, str, str], dict[int, int]] = {}
    for index, each in enumerate(sets):
        preset = _preset(each)
        if preset and preset.train_tasks:
            budget = f"{preset.updates} {preset.family_updates} {preset.encoder_updates}"
            groups.setdefault((each.suite, each.dataset, each.backbone, budget), {})[preset.train_tasks] = index
    pictures = {}
    for by_count in groups.values():
        if len(by_count) < 2:
            continue
        most = by_count[max(by_count)]
        condition = layouts[most].conditions[0]
        rows = []
        for count, index in sorted(by_count.items()):
            summary = summaries[index]
            here = summary[(summary["condition"] == condition) & (summary["family"] != ALL)]
            rows.append(here.assign(train_tasks=count))
        table = pd.concat(rows, ignore_index=True)
        columns = {"score_mean": "score", "score_mean_low": "low", "score_mean_high": "high"}
        several = table.groupby(["family", "method"], observed=True)["train_tasks"].transform("nunique") > 1
        scores = table[several].rename(columns=columns)
        if len(scores):
            note = f"Context quality {condition}; test tasks are always the same."
            pictures[most] = task_number_figure(scores, layouts[most], note)
    return pictures


def gap_tables(sets: Sequence[SetKey], groups: Sequence[Panels], layouts: Sequence[Layout]) -> dict[int, str]:
    """Write scores on training and on test tasks and their difference as Markdown, by the position of the test set."""
    tables = {}
    for index, key in enumerate(sets):
        train = key._replace(suite=key.suite + TRAIN_SUFFIX)
        if train in sets:
            of_train, of_test = _common(groups[sets.index(train)], groups[index])
            if of_train:
                gaps = generalisation_gap(of_train, of_test)
                lacking = sorted({key.family for key in groups[index]} - {key.family for key in of_test} - {ALL})
                if lacking:  # the mean over the others is not what the score table calls the mean
                    gaps = gaps[gaps["family"] != ALL]
                tables[index] = _gap_markdown(gaps, layouts[index], lacking)
    return tables


def _common(train: Panels, test: Panels) -> tuple[Panels, Panels]:
    """The panels of the families, conditions and methods that both have, as if of one suite."""
    of_train: dict[Key, Panel] = {}
    of_test: dict[Key, Panel] = {}
    for key, (panel, *_) in test.items():
        other = train.get(key._replace(suite=key.suite + TRAIN_SUFFIX))
        if other and key.family != ALL:
            (of_train[key],), of_test[key] = other, panel
    return with_means(of_train), with_means(of_test)  # over the families that both have


def _gap_markdown(frame: pd.DataFrame, layout: Layout, lacking: Sequence[str]) -> str:
    rows = []
    indexed = frame.set_index(["family", "condition", "method"]).sort_index()
    for family in layout.families:
        for condition in layout.conditions:
            for method in layout.methods:
                if (family, condition, method) in indexed.index:
                    row = indexed.loc[(family, condition, method)]
                    numbers = [f"{row[name]:.1f}" for name in ("score_train", "score_test")]
                    gap = f"{row['gap']:.1f} [{row['gap_low']:.1f}, {row['gap_high']:.1f}]"
                    rows.append([*map(escape_markdown, (family, condition, method)), *numbers, gap])
    headers = ["family", "condition", "method", "training tasks", "test tasks", "gap"]
    body = tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=["left"] * 3 + ["right"] * 3)
    notes = ["Gap: score on training tasks minus score on test tasks.", INTERVAL_NOTE]
    notes += [f"No scores on training tasks: {', '.join(lacking)}. So there is no mean over families."] * bool(lacking)
    title = "**Generalisation gap**"
    return f"{title}\n\n{body or MISSING}\n\n" + "".join(f"- {escape_markdown(note)}\n" for note in notes)


def _preset(key: SetKey) -> Preset | None:
    """The preset of a shipped suite."""
    try:
        return load_suite(key.suite).preset(key.preset)[1]
    except InputError:
        return None
