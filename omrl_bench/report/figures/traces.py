"""Pictures of what records keep of a method's representation: embeddings, paths and attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from omrl_bench.envs.families import families
from omrl_bench.report.figures.attention import attention_figure
from omrl_bench.report.figures.embeddings import embedding_figure
from omrl_bench.report.figures.styles import shown
from omrl_bench.report.figures.trajectories import trajectory_figure
from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.layout import Layout
from omrl_bench.runner.traces import Traces, read_traces


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
    definition = families()[0].get(family)
    if definition is None:  # its package is not installed here: where the goals are is not known
        return {}
    by_condition = dict(zip(traces.conditions, traces.paths, strict=True))
    detail = f"seed {seed}, one episode of each task"
    return trajectory_figure(definition, method, detail, by_condition, traces.tasks)


def _attention(family: str, method: str, seed: int, traces: Traces) -> dict[str, bytes]:
    assert traces.attention is not None
    by_condition = dict(zip(traces.conditions, traces.attention, strict=True))
    return attention_figure(method, f"{family}, seed {seed}, one context of each task", by_condition)
