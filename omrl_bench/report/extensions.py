"""Statistics and figures that other packages add to the report, by entry point.

* ``omrl_bench.statistics``: ``name = "module:function"``; the function takes the tidy frame of one set of records
  (columns :data:`omrl_bench.report.reading.results.COLUMNS`) and returns a frame, which is written as ``<name>.csv``.
* ``omrl_bench.figures``: the function takes the :class:`~omrl_bench.report.reading.results.Results` of one set and the
  :class:`~omrl_bench.report.tables.layout.Layout` of its tables, and returns the contents of files by their ending,
  as :func:`omrl_bench.report.figures.canvas.render` makes them; they are written as ``<name>.<ending>``.
"""

from __future__ import annotations

from importlib import metadata

from omrl_bench.report.reading.results import Results
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.text import csv

STATISTICS, FIGURES = "omrl_bench.statistics", "omrl_bench.figures"


def extra_files(results: Results, layout: Layout) -> tuple[dict[tuple[str, str], bytes], list[str]]:
    """What installed packages add to one set of records.

    Returns:
        Contents by stem and ending; and a line for everything that failed, which costs nothing but itself.
    """
    files: dict[tuple[str, str], bytes] = {}
    problems = []
    for group in (STATISTICS, FIGURES):
        for point in sorted(metadata.entry_points(group=group), key=lambda each: each.name):
            try:
                function = point.load()
                if group == STATISTICS:
                    added = {(point.name, "csv"): csv(function(results.frame))}
                else:
                    added = {(point.name, ending): bytes(value) for ending, value in function(results, layout).items()}
            except Exception as error:  # it is somebody's code
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                problems.append(f"{group.removeprefix('omrl_bench.')}: {point.name} ({point.value}) left out: {reason}")
            else:
                files |= added
    return files, problems
