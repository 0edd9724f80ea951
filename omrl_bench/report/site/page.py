"""The leaderboard as a page: one HTML file that opens from disk, without a network, and the same data as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from omrl_bench.files import write_atomically
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.report.site.models import Board, Leaderboard
from omrl_bench.report.tables.captions import MISSING


class Row(NamedTuple):
    """A line of the table for readers without JavaScript: a score for each family, with its interval."""

    method: str
    dataset: str
    backbone: str
    scores: list[str]


def build_site(
    results: Path,
    out: Path,
    suite: str | None = None,
    preset: str | None = None,
    warn: Callable[[str], object] = lambda line: None,
    submissions: Path | None = None,
) -> list[Path]:
    """Write ``<out>/index.html`` and ``<out>/leaderboard.json``. The same records make the same bytes.

    Args:
        results: Folder of records.
        out: Folder to write to.
        suite: Only this suite.
        preset: Only this preset.
        warn: Called with a line for each file that cannot be used, before anything is written.
        submissions: Folder of merged submissions, whose rows are shown too.

    Returns:
        The files written.

    Raises:
        InputError: if there are no complete records, or they do not fit together.
    """
    content = leaderboard(results, suite, preset, warn, submissions)
    files = {"index.html": page(content), "leaderboard.json": content.model_dump_json(indent=1) + "\n"}
    for name, text in files.items():
        write_atomically(out / name, text.encode())
    return [out / name for name in files]


def page(content: Leaderboard) -> str:
    """Write the page: everything that it needs is inside, and its policy forbids it to load anything else."""
    folder = resources.files("omrl_bench.report.site").joinpath("templates")
    template, style, script = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("index.html.jinja2", "style.css", "script.js")
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        leaderboard=content,
        data=htmlsafe_json_dumps(_compact(content), dumps=json.dumps, separators=(",", ":"), allow_nan=False),
        boards=[(board, list(_rows(content, board)), _weak(board)) for board in content.boards],
        style=Markup(style),
        style_hash=_source_hash(style),
        script=Markup(script),
        script_hash=_source_hash(script),
    )


def _compact(content: Leaderboard) -> dict[str, Any]:
    """What the page's script reads: names of fields stand once, not in every run and entry."""
    fields = content.model_dump()
    for name in ("runs", "entries"):
        columns = list(fields[name][0]) if fields[name] else []
        fields[name] = {"columns": columns, "data": [list(each.values()) for each in fields[name]]}
    return fields


def _rows(content: Leaderboard, board: Board) -> Iterable[Row]:
    """The main scores of a board, a row per table and method, best first by the first family."""
    scores: dict[tuple[str, str, str], dict[str, tuple[float, str]]] = {}
    for entry in content.entries:
        run = content.runs[entry.run]
        if (run.suite, run.preset, entry.condition) == (board.suite, board.preset, board.main_condition):
            text = f"{entry.score:.1f} [{entry.score_low:.1f}, {entry.score_high:.1f}]"
            scores.setdefault((run.method, run.dataset, run.backbone), {})[run.family] = entry.score, text
    missing = float("-inf"), MISSING
    for key in sorted(scores, key=lambda key: (-scores[key].get(board.families[0], missing)[0], key)):
        yield Row(*key, scores=[scores[key].get(family, missing)[1] for family in board.families])


def _weak(board: Board) -> set[str]:
    """Families that do not discriminate, in one table at least, under the main condition."""
    rows = (row for row in board.discrimination if row.condition == board.main_condition)
    return {row.family for row in rows if row.discriminates is False}


def _source_hash(text: str) -> str:
    """What a content security policy calls an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
