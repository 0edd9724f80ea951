"""A paper's tables with our numbers beside the published ones, and which of its orderings survive: Markdown and CSV."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from omrl_bench.files import write_atomically
from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.papers.claims import orderings_frame, orderings_section, summary
from omrl_bench.report.papers.curves import Curves, draw_curves, find_curves, picture_name
from omrl_bench.report.papers.mapping import (
    AS_PUBLISHED,
    VARIANTS,
    Field,
    Paper,
    PaperFigure,
    PaperTable,
    Published,
    Target,
    all_targets,
    figure_columns,
    figure_targets,
    load_paper,
    locate,
    locate_variants,
    published,
)
from omrl_bench.report.papers.orderings import Ordering, orderings
from omrl_bench.report.papers.samples import Sample, samples
from omrl_bench.report.reading.frames import read
from omrl_bench.report.tables.captions import INTERVAL_NOTE, MISSING, SCORE_NOTE, sizes_text
from omrl_bench.report.tables.markdown import bullets, escape, grid, section
from omrl_bench.report.tables.text import csv
from omrl_bench.report.tables.wide import Entry

_OURS = ("ours", "ours_low", "ours_high", "our_return", "n_seeds", "n_tasks", "n_draws")  # see _numbers
_VARIANT = ("variant", "variant_low", "variant_high", "variant_return", *(f"variant_{name}" for name in _OURS[-3:]))


@dataclass(frozen=True)
class Comparison:
    """A paper beside our records.

    Attributes:
        paper: The paper's tables.
        preset: Preset of our suites.
        located: Our place of every published number, or the reason why there is none.
        variants: Our second place of published numbers, in the environment as the paper has it.
        found: Our results by place.
        orderings: Published orderings with our verdicts, on the first places.
        notes: What is wrong with, or missing from, our records.
        curves: Our learning curves by the label of the paper's figure, where there are any.
    """

    paper: Paper
    preset: str
    located: Mapping[Published, Target | str]
    variants: Mapping[Published, Target]
    found: Mapping[Target, Sample]
    orderings: Sequence[Ordering]
    notes: Sequence[str]
    curves: Mapping[str, Curves]


def compare_with(name: str, results: Path, preset: str) -> Comparison:
    """Put a paper beside the records of a results folder, which may be empty.

    Raises:
        InputError: if there is no such paper or preset.
    """
    paper = load_paper(name)
    located = locate(paper, published(name), preset)
    targets = all_targets(paper, located, preset)
    wanted = {(target.suite, target.preset) for target in targets}
    wanted |= {(figure.suite, preset) for figure in paper.figures if figure.suite}
    readings = {(suite, of): read(results, suite, of) for suite, of in sorted(wanted)}
    found, notes = samples(readings, targets, preset)
    return Comparison(
        paper=paper,
        preset=preset,
        located=located,
        variants=locate_variants(paper, located),
        found=found,
        orderings=orderings(paper, located, found),
        notes=notes,
        curves=find_curves(paper, readings, preset),
    )


def write(comparison: Comparison, out: Path) -> list[Path]:
    """Write ``<paper>.md``, and where the paper has tables ``<paper>.csv`` and ``<paper>-orderings.csv``.

    What it shows as curves only becomes ``<paper>-figure-<n>`` in all formats, where our records have such curves.
    The same records make the same bytes.

    Raises:
        InputError: if the folder cannot be written to.
    """
    name = comparison.paper.name
    files = {f"{name}.md": page(comparison).encode()}
    if comparison.located:
        frames = {f"{name}.csv": numbers_frame(comparison)}
        frames[f"{name}-orderings.csv"] = orderings_frame(comparison.orderings)
        files |= {file: csv(frame) for file, frame in frames.items()}
    files |= draw_curves(comparison.paper, comparison.curves)
    for file, content in files.items():
        write_atomically(out / file, content)
    return [out / file for file in files]


def page(comparison: Comparison) -> str:
    """Write the whole page as Markdown."""
    paper = comparison.paper
    reference = f"{paper.authors}. {paper.venue}." + (f" arXiv:{paper.arxiv}." if paper.arxiv else "")
    blocks = [escape(reference), f"Published: {escape(paper.numbers)}"]
    if comparison.located or any(figure.suite for figure in paper.figures):
        blocks.append(escape(f"Ours: {_budget(comparison)}. {SCORE_NOTE} {INTERVAL_NOTE}"))
    if comparison.located:
        blocks.append("Published returns are of the paper's own environments: compare orders, not values.")
    if comparison.variants:
        blocks.append(
            "Where our environment differs from the paper's and we have that one too, a third column has our score in "
            f"it ({AS_PUBLISHED}: preset {VARIANTS}, of the same budget). Orderings are judged in our environment only."
        )
    blocks += ["What differs everywhere:", bullets(paper.differs)]
    if comparison.orderings:
        blocks += ["What survives:", bullets(summary(paper, comparison.orderings))]
    blocks += [_table(comparison, table) for table in paper.tables]
    if comparison.orderings:
        blocks.append(orderings_section(comparison.orderings))
    if paper.figures:
        shown = [block for figure in paper.figures for block in _figure(comparison, figure)]
        blocks.append(section("Published as a figure only", *shown, level=2))
    if comparison.notes:
        blocks.append(section("Notes on our records", bullets(comparison.notes), level=2))
    return section(paper.title, *blocks, level=1) + "\n"


def numbers_frame(comparison: Comparison) -> pd.DataFrame:
    """One row per published number: the number, where ours is, ours with its interval, or why there is none.

    Columns ``variant...`` are ours in the environment as the paper has it, where it differs, from preset
    :data:`~omrl_bench.report.papers.mapping.VARIANTS`.
    """
    rows = []
    for row, place in comparison.located.items():
        about = {"paper": comparison.paper.name, **vars(row)}
        sample = None
        if isinstance(place, Target):
            about |= {"preset": place.preset, **{f"our_{name}": value for name, value in place._asdict().items()}}
            sample = comparison.found.get(place)
        if sample:
            about |= dict(zip(_OURS, _numbers(sample), strict=True))
        second = comparison.variants.get(row)
        if second:
            about["variant_family"] = second.family
            if second in comparison.found:
                about |= dict(zip(_VARIANT, _numbers(comparison.found[second]), strict=True))
        about["missing"] = "" if sample else place if isinstance(place, str) else "no complete records"
        about["differs"] = " ".join(_differences(comparison.paper, [row]).values())
        rows.append(about)
    of_place = (f"our_{name}" for name in Target._fields if name != "preset")
    columns = ["paper", *Published.__dataclass_fields__, "preset", *of_place, *_OURS]
    columns += ["variant_family", *_VARIANT, "missing", "differs"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys((*_OURS[-3:], *_VARIANT[-3:]), "Int64"))


def _budget(comparison: Comparison) -> str:
    """The preset, and the updates that it gives in each suite of the page."""
    paper = comparison.paper
    named = [*(setting.suite for setting in paper.conditions), *(figure.suite for figure in paper.figures)]
    suites: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(filter(None, named)):
        preset = load_suite(name).preset(comparison.preset)[1]
        budget = f"{preset.encoder_updates:,} updates of the representation, {preset.updates_text()} of the policy"
        suites[budget].append(name)
    texts = (f"{budget} ({', '.join(names)})" for budget, names in suites.items())
    return f"preset {comparison.preset}, today with {'; '.join(texts)}"


def _table(comparison: Comparison, table: PaperTable) -> str:
    rows = [row for row in comparison.located if row.table == table.label]
    blocks = [escape(table.caption)]
    whose = ["published", "ours"] + [f"ours, {AS_PUBLISHED}"] * any(row in comparison.variants for row in rows)
    for part in dict.fromkeys(_fields(row, table.parts) for row in rows):
        body = _grid(comparison, table, [row for row in rows if _fields(row, table.parts) == part], whose)
        blocks.append(section(", ".join(part), body) if part else body)
    differs = [*table.differs, *(f"{k}: {v}" for k, v in _differences(comparison.paper, rows).items())]
    blocks += ["What differs:", bullets(differs), "Ours:", bullets(_sources(comparison, rows))]
    return section(table.label, *blocks, level=2)


def _grid(comparison: Comparison, table: PaperTable, rows: Sequence[Published], whose: Sequence[str]) -> str:
    """The table in the paper's layout: for each of its columns two or three, whose numbers are published and ours."""
    by_place = {(_fields(row, table.rows), _fields(row, table.columns)): row for row in rows}
    columns = list(dict.fromkeys(column for _, column in by_place))
    headers = [*table.rows, *(f"{', '.join(column)}: {each}" for column in columns for each in whose)]
    body = []
    for key in dict.fromkeys(key for key, _ in by_place):
        cells = [escape(value) for value in key]
        for column in columns:
            cells += _cells(comparison, by_place.get((key, column)))[: len(whose)]
        body.append(cells)
    return grid([escape(header) for header in headers], body, len(table.rows))


def _cells(comparison: Comparison, row: Published | None) -> list[str]:
    """What is published, ours, and ours in the environment as published."""
    if row is None:
        return [MISSING] * 3
    places = (comparison.located[row], comparison.variants.get(row))
    return [row.text or MISSING, *(_ours(comparison, place) for place in places)]


def _ours(comparison: Comparison, place: Target | str | None) -> str:
    """``83.1 [80.2, 86.0]``; measures of the representation are of the order of 1."""
    sample = comparison.found.get(place) if isinstance(place, Target) else None
    if sample is None:
        return MISSING
    return str(Entry(sample.estimate, sample.low, sample.high, decimals=3 if sample.is_measure else 1))


def _differences(paper: Paper, rows: Iterable[Published]) -> dict[str, str]:
    """What differs for each environment, condition and algorithm of some numbers, or that it has no counterpart."""
    found: dict[str, str] = {}
    for row in rows:
        for name, part in (
            (row.env, paper.environments[row.env]),
            (f"{row.condition} ({row.split} tasks)", paper.setting(row.split, row.condition)),
            (row.algorithm, paper.algorithms[row.algorithm]),
        ):
            text = " ".join(part.differs) or (f"no counterpart: {part.absent}." if part.absent else "")
            if text:
                found[name] = text
    return found


def _sources(comparison: Comparison, rows: Sequence[Published]) -> list[str]:
    """Which of our records stand beside the numbers of a table, and why some have none."""
    first = _found_at(comparison, [comparison.located[row] for row in rows])
    second = _found_at(comparison, [comparison.variants[row] for row in rows if row in comparison.variants])
    return [*first, *(f"{AS_PUBLISHED}, preset {VARIANTS}: {line}" for line in second)]


def _found_at(comparison: Comparison, places: Sequence[Target | str]) -> list[str]:
    """How much is found at some places, and where nothing is."""
    sizes: dict[str, list[str]] = defaultdict(list)
    lacking: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # methods by reason and family
    for place in places:
        if isinstance(place, str):
            lacking[f"no counterpart of {place}"].clear()
            continue
        what = f"suite {place.suite}, {place.dataset} data, backbone {place.backbone}, condition {place.condition}"
        what += f", measure {place.measure} of the representation" if place.measure else ""
        sample = comparison.found.get(place)
        if sample is None:
            lacking[f"no complete records of {what}"][place.family].append(place.method)
        elif sample.is_measure:
            sizes[what].append(f"{len(sample.panel.seeds)} seeds; the interval covers seeds only")
        else:
            sizes[what].append(sizes_text((len(sample.panel.seeds), len(sample.panel.tasks), sample.panel.draws)))
    lines = [f"{what}: n = {' or '.join(dict.fromkeys(n))}" for what, n in sizes.items()]
    for reason, families in lacking.items():
        texts = (f"{family} ({', '.join(dict.fromkeys(names))})" for family, names in families.items())
        lines.append(reason + ": " * bool(families) + ", ".join(texts))
    return lines


def _figure(comparison: Comparison, figure: PaperFigure) -> list[str]:
    text = f"{figure.label}: {figure.caption} Nearest of ours: {figure.nearest}."
    blocks = [bullets([text])]
    targets = figure_targets(figure, comparison.preset)
    if not targets:
        return blocks
    columns = figure_columns(figure, comparison.preset)
    if not any(target in comparison.found for target in targets):
        presets = (comparison.preset, *figure.presets)
        where = f"suite {figure.suite}, preset{'s' * (len(presets) > 1)} {', '.join(presets)}"
        return [*blocks, escape(f"No complete records of {where}, for {', '.join(figure.methods)}.")]
    texts = {(target.method, target.family, target.preset): _ours(comparison, target) for target in targets}
    body = [[escape(method), *(texts[method, family, of] for family, of in columns)] for method in figure.methods]
    headers = [f"{family}, preset {of}" if figure.presets else family for family, of in columns]
    blocks.append(grid(["method", *map(escape, headers)], body))
    curves = comparison.curves.get(figure.label)
    if curves:
        blocks.append(f"![Learning curves of our runs]({picture_name(comparison.paper, figure.label)}.svg)")
        drawn = set(zip(curves.frame["method"], curves.frame["family"], strict=True))
        places = [(target.method, target.family) for target in targets if target in comparison.found]
        lacking = [f"{method} on {family}" for method, family in places if (method, family) not in drawn]
        if lacking:
            what = f"No curves (weights that were trained for another suite leave them there): {', '.join(lacking)}."
            blocks.append(escape(what))
    return blocks


def _numbers(sample: Sample) -> tuple[float, ...]:
    """Score, lower and upper end of its interval, return, numbers of seeds, tasks and draws."""
    panel = sample.panel
    sizes = (len(panel.seeds), 0 if sample.is_measure else len(panel.tasks), panel.draws)
    return sample.estimate, sample.low, sample.high, float(panel.returns.mean()), *sizes


def _fields(row: Published, names: Sequence[Field]) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in names)
