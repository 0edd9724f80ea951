"""What records say of the methods' representations: measures as a table, embeddings and paths as pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from tabulate import tabulate

from omrl_bench.envs.families import FAMILIES
from omrl_bench.report.figures.attention import attention_figure
from omrl_bench.report.figures.embeddings import embedding_figure
from omrl_bench.report.figures.styles import shown
from omrl_bench.report.figures.trajectories import trajectory_figure
from omrl_bench.report.reading.frames import Results
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.text import escape_markdown
from omrl_bench.runner.traces import Traces, read_traces

MEASURES = {
    "rms": "RMS",
    "separation": "separation rate",
    "uniformity": "uniformity",
    "alignment": "alignment",
    "silhouette": "silhouette",
    "probe": "probe R^2",
    "attention": "attention",
}
NOTE = (
    "Means over seeds. RMS and separation rate: distances of contexts of different tasks (FOCAL++); uniformity and "
    "alignment: on the unit sphere, lower is better (HS-OMRL, equations 9 and 10); silhouette: contexts clustered by "
    "task; probe: R^2 of a ridge regression to the task descriptor, fitted on training tasks, on the evaluated ones; "
    "attention: rank correlation of a transition's attention weight with its reward (FOCAL++, figure 7)."
)


def measure_frame(results: Results) -> pd.DataFrame:
    """Measures of the complete records, long form.

    Returns:
        One row per (family, condition, method, measure): ``mean``, ``minimum``, ``maximum`` over seeds, ``n_seeds``.
    """
    rows = [
        (record.cell.family, condition, record.cell.method, name, value)
        for record in results.records
        for condition, values in record.representation.items()
        for name, value in values.items()
    ]
    key = ["family", "condition", "method", "measure"]
    frame = pd.DataFrame(rows, columns=[*key, "value"])
    columns = {"mean": "mean", "minimum": "min", "maximum": "max", "n_seeds": "count"}
    return frame.groupby(key, sort=True)["value"].agg(**columns).reset_index()


def measure_table(frame: pd.DataFrame, layout: Layout, condition: str) -> str:
    """Write the measures under one condition as Markdown, a section of rows per family."""
    names = [name for name in MEASURES if name in set(frame["measure"])]
    means = frame[frame["condition"] == condition].set_index(["family", "method", "measure"])["mean"]
    rows = []
    for family in layout.families:
        for method in layout.methods:
            values = [means.get((family, method, name), np.nan) for name in names]
            if not np.isnan(values).all():
                texts = [MISSING if np.isnan(value) else f"{value:.3f}" for value in values]
                rows.append([escape_markdown(family), escape_markdown(method), *texts])
    headers = ["family", "method", *(MEASURES[name] for name in names)]
    body = tabulate(
        rows, headers, tablefmt="github", disable_numparse=True, colalign=["left", "left", *["right"] * len(names)]
    )
    title = escape_markdown(f"Representation by method, context quality {condition}")
    return f"**{title}**\n\n{body}\n\n- {escape_markdown(NOTE)}\n"


def trace_pictures(results: Results, layout: Layout) -> dict[tuple[str, str], bytes]:
    """Draw embeddings, paths and attention of the first family that has them, for the methods of the line figures.

    One family only, and not every method: placing embeddings takes a second each.
    """
    files: dict[tuple[str, str], bytes] = {}
    found = _traces(results)
    draw: dict[str, Callable[[str, str, int, Traces], dict[str, bytes]]] = {
        "embeddings": _embeddings,
        "paths": _paths,
        "attention": _attention,
    }
    for kind, picture in draw.items():
        having = {key: value for key, value in found.items() if getattr(value[1], kind) is not None}
        family = next((name for name in layout.families if any(name == of for of, _ in having)), None)
        for method in shown([name for name in layout.methods if (family, name) in having]):
            seed, traces = having[str(family), method]
            files |= {
                (f"{kind}-{method}", end): content
                for end, content in picture(str(family), method, seed, traces).items()
            }
    return files


def _traces(results: Results) -> dict[tuple[str, str], tuple[int, Traces]]:
    """By family and method: seed and traces of the first seed that has some."""
    found: dict[tuple[str, str], tuple[int, Traces]] = {}
    for record in results.records:
        key = record.cell.family, record.cell.method
        traces = None if key in found else read_traces(results.folders[record.cell.method], record.cell)
        if traces is not None:
            found[key] = record.cell.seed, traces
    return found


def _embeddings(family: str, method: str, seed: int, traces: Traces) -> dict[str, bytes]:
    assert traces.embeddings is not None
    conditions, tasks, draws, size = traces.embeddings.shape
    ids = np.tile(np.repeat(traces.tasks, draws), conditions)
    conditions = np.repeat(traces.conditions, tasks * draws).tolist()
    detail = f"{family}, seed {seed}, {draws} contexts per task and quality"
    return embedding_figure(method, detail, traces.embeddings.reshape(-1, size), ids, conditions)


def _paths(family: str, method: str, seed: int, traces: Traces) -> dict[str, bytes]:
    assert traces.paths is not None
    by_condition = dict(zip(traces.conditions, traces.paths, strict=True))
    detail = f"seed {seed}, one episode of each task"
    return trajectory_figure(FAMILIES[family], method, detail, by_condition, traces.tasks)


def _attention(family: str, method: str, seed: int, traces: Traces) -> dict[str, bytes]:
    assert traces.attention is not None
    by_condition = dict(zip(traces.conditions, traces.attention, strict=True))
    return attention_figure(method, f"{family}, seed {seed}, one context of each task", by_condition)
