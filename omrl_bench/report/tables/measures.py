"""What records say of the methods' representations, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.markdown import escape, grid, page

MEASURES = {
    "dimensions": "dimensions in use",
    "saturated": "saturated share",
    "rms": "RMS",
    "separation": "separation rate",
    "uniformity": "uniformity",
    "alignment": "alignment",
    "silhouette": "silhouette",
    "probe": "probe R^2",
    "disentanglement": "disentanglement",
    "completeness": "completeness",
    "informativeness": "informativeness",
    "modularity": "modularity",
    "explicitness": "explicitness",
    "compactness": "compactness",
    "attention": "attention",
}
NOTE = (
    "Means over seeds. Dimensions in use: share of those that vary over contexts by a tenth of the most varying one; "
    "saturated share: of the entries of an embedding in [-1, 1], those beyond .95. "
    "RMS and separation rate: distances of contexts of different tasks (FOCAL++); uniformity and "
    "alignment: on the unit sphere, lower is better (HS-OMRL, equations 9 and 10); silhouette: contexts clustered by "
    "task; probe: R^2 of a ridge regression to the task descriptor, fitted on training tasks, on the evaluated ones; "
    "disentanglement, completeness, informativeness: DCI, of a lasso on the evaluated tasks; modularity, explicitness, "
    "compactness: InfoMEC; both from one context of each task, and empty where a descriptor has too few or too many "
    "parameters, or (InfoMEC) parameters that tell of one another; "
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


def measure_table(frame: pd.DataFrame, summary: pd.DataFrame, layout: Layout, condition: str) -> str:
    """Write the measures under one condition, beside score and collapsed seeds, as Markdown: a row per family, method.

    Args:
        frame: See :func:`measure_frame`.
        summary: With a column ``collapsed``, see :func:`omrl_bench.report.tables.boards.board_of`.
        layout: Order of rows.
        condition: Which condition.
    """
    names = [name for name in MEASURES if name in set(frame["measure"])]
    means = frame[frame["condition"] == condition].set_index(["family", "method", "measure"])["mean"]
    scores = summary[summary["condition"] == condition].set_index(["family", "method"])[["score_mean", "collapsed"]]
    rows = []
    for family in layout.families:
        for method in layout.methods:
            values = [means.get((family, method, name), np.nan) for name in names]
            if not np.isnan(values).all():
                texts = [MISSING if np.isnan(value) else f"{value:.3f}" for value in values]
                score, collapsed = scores.loc[(family, method)]
                rows.append([escape(family), escape(method), f"{score:.1f}", str(len(collapsed.split())), *texts])
    headers = ["family", "method", "score", "collapsed seeds", *(MEASURES[name] for name in names)]
    title = f"Representation by method, context quality {condition}"
    return page(title, grid(headers, rows, names=2), [NOTE])
