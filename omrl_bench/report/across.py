"""What is seen only across sets of records: fewer training tasks, and training against test tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import Preset, load_suite
from omrl_bench.report.captions import INTERVAL_NOTE, MISSING
from omrl_bench.report.frames import Results
from omrl_bench.report.layout import Layout
from omrl_bench.report.line_figures import task_number_figure
from omrl_bench.report.text import escape_markdown
from omrl_bench.stats.generalisation import generalisation_gap
from omrl_bench.stats.panels import ALL

TRAIN_SUFFIX = "-train"  # suite X-train evaluates what X trained on its training tasks


def task_number_pictures(
    sets: Sequence[Results], summaries: Sequence[pd.DataFrame], layouts: Sequence[Layout]
) -> dict[int, dict[str, bytes]]:
    """Draw scores by the number of training tasks, where presets of a shipped suite differ in it.

    Args:
        sets: All sets of records.
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
        condition = layouts[most].qualities[0]
        rows = []
        for count, index in sorted(by_count.items()):
            summary = summaries[index]
            here = summary[(summary["quality"] == condition) & (summary["family"] != ALL)]
            rows.append(here.assign(train_tasks=count))
        table = pd.concat(rows, ignore_index=True)
        columns = {"score_mean": "score", "score_mean_low": "low", "score_mean_high": "high"}
        several = table.groupby(["family", "method"], observed=True)["train_tasks"].transform("nunique") > 1
        scores = table[several].rename(columns=columns)
        if len(scores):
            note = f"Context quality {condition}; test tasks are always the same."
            pictures[most] = task_number_figure(scores, layouts[most], note)
    return pictures


def gap_tables(sets: Sequence[Results], layouts: Sequence[Layout]) -> dict[int, str]:
    """Write scores on training and on test tasks and their difference as Markdown, by the position of the test set."""
    keys = {(s.suite, s.preset, s.dataset, s.backbone): index for index, s in enumerate(sets)}
    tables = {}
    for (suite, *rest), index in keys.items():
        train = keys.get((suite + TRAIN_SUFFIX, *rest))  # type: ignore[arg-type]
        if train is not None:
            of_train, of_test = _common(sets[train].frame.assign(suite=suite), sets[index].frame)
            if len(of_train):
                gaps = generalisation_gap(of_train, of_test)
                lacking = sorted(set(sets[index].frame["family"]) - set(of_test["family"]))
                if lacking:  # the mean over the others is not what the score table calls the mean
                    gaps = gaps[gaps["family"] != ALL]
                tables[index] = _gap_markdown(gaps, layouts[index], lacking)
    return tables


def _common(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the families, conditions and methods that both frames have."""
    names = ["family", "quality", "method"]
    keys = [set(frame[names].drop_duplicates().itertuples(index=False, name=None)) for frame in (train, test)]
    both = pd.MultiIndex.from_tuples(sorted(keys[0] & keys[1]), names=names)
    return tuple(frame[pd.MultiIndex.from_frame(frame[names].astype(str)).isin(both)] for frame in (train, test))


def _gap_markdown(frame: pd.DataFrame, layout: Layout, lacking: Sequence[str]) -> str:
    rows = []
    indexed = frame.set_index(["family", "quality", "method"]).sort_index()
    for family in layout.families:
        for quality in layout.qualities:
            for method in layout.methods:
                if (family, quality, method) in indexed.index:
                    row = indexed.loc[(family, quality, method)]
                    numbers = [f"{row[name]:.1f}" for name in ("score_train", "score_test")]
                    gap = f"{row['gap']:.1f} [{row['gap_low']:.1f}, {row['gap_high']:.1f}]"
                    rows.append([*map(escape_markdown, (family, quality, method)), *numbers, gap])
    headers = ["family", "condition", "method", "training tasks", "test tasks", "gap"]
    body = tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=["left"] * 3 + ["right"] * 3)
    notes = ["Gap: score on training tasks minus score on test tasks.", INTERVAL_NOTE]
    notes += [f"No scores on training tasks: {', '.join(lacking)}. So there is no mean over families."] * bool(lacking)
    title = "**Generalisation gap**"
    return f"{title}\n\n{body or MISSING}\n\n" + "".join(f"- {escape_markdown(note)}\n" for note in notes)


def _preset(results: Results) -> Preset | None:
    """The preset of a shipped suite."""
    try:
        return load_suite(results.suite).preset(results.preset)[1]
    except InputError:
        return None
