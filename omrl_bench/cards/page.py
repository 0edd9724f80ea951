"""The data card as text: the same tables in the terminal and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import rich.table
from rich.box import SIMPLE_HEAD
from rich.text import Text

from omrl_bench.cards.card import EPISODE_QUANTILES, TASK_QUANTILES, WEAK, Card
from omrl_bench.cards.leak import HELD_OUT
from omrl_bench.data.contexts import SOURCES, context_name
from omrl_bench.envs.families import BUILT_IN
from omrl_bench.fingerprint import hash_text
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.report.tables.markdown import bullets, escape, grid, section
from omrl_bench.vocabulary import SPLITS, UNITS

LICENCE = "MIT; robot models: see omrl_bench/envs/assets/README.md"
HASH_DIGITS = 16
_MANY = 4  # descriptor columns that can still be named one by one
_CAPTIONS = {
    "tasks": "Tasks by split, and episode returns by quality; vertical lines: mean reference returns, random (dotted) "
    "and expert (dashed).",
    "coverage": "Where the datasets are: darker is more often (logarithmic); the outermost transitions are cut off.",
    "rollouts": "Episodes of four training tasks; filled marker: where an episode ends, hollow marker: goals of that "
    "task.",
}


@dataclass(frozen=True)
class Section:
    """A table of the card; columns after the first are right-aligned if they hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    numbers: bool = True


def card_sections(card: Card) -> list[Section]:
    """The card's tables, in order."""
    makers = (_family, _datasets, _task_returns, _episode_returns, _leaks, _hashes, _contexts)
    return [make(card) for make in makers]


def card_markdown(card: Card, pictures: Mapping[str, str]) -> str:
    """The card as a Markdown page.

    Args:
        card: The card.
        pictures: File of each picture, by its name (``tasks``, ``coverage``, ``rollouts``).
    """
    parts = []
    for each in card_sections(card):
        rows = [[escape(cell) for cell in row] for row in each.rows]
        body = grid(each.columns, rows, names=1 if each.numbers else len(each.columns))
        parts.append(section(each.title, body, bullets(each.notes), level=2))
    if pictures:
        shown = (f"![{_CAPTIONS[name]}]({file})\n\n{_CAPTIONS[name]}" for name, file in pictures.items())
        parts.append(section("Pictures", *shown, level=2))
    return section(card.family.name, *parts, level=1) + "\n"


def terminal_section(section: Section) -> rich.table.Table:
    """Lay a table of the card out for the terminal; what looks like Rich's markup in it is not interpreted."""
    view = rich.table.Table(
        title=Text(section.title),
        title_justify="left",
        caption=Text("\n".join(section.notes)),
        caption_justify="left",
        box=SIMPLE_HEAD,  # hashes fit into 80 columns
        show_header=any(section.columns),
    )
    for index, column in enumerate(section.columns):
        view.add_column(Text(column), justify="right" if index and section.numbers else "left", no_wrap=index == 0)
    for row in section.rows:
        view.add_row(*map(Text, row))
    return view


def _family(card: Card) -> Section:
    family = card.family
    splits = ", ".join(f"{card.splits[split]} {split}" for split in SPLITS if card.splits[split])
    weak = ", ".join(f"{_task_name(card, task)} {share:.0%}" for task, share in card.weak) or "none"
    rows = (
        ("environment", family.env_id + (f", a variant of {family.variant_of}" if family.variant_of else "")),
        ("what differs between tasks", f"{family.varies}; descriptor: {_descriptor(family.descriptor)}"),
        ("observation, action", f"{family.observation_size}, {family.action_size} in ±{family.action_limit:g}"),
        ("horizon", f"{family.horizon} steps"),
        ("tasks", splits + ("; the test tasks are the training tasks again" if card.train_is_test else "")),
        ("behaviour", card.made_by),
        *(("collected elsewhere", f"{quality}: {source}") for quality, source in card.taken.items()),
        ("reference returns", f"random {card.random:.4g}, expert {card.expert:.4g} (means over all tasks)"),
        ("below half of the median", weak),
        ("family fingerprint", family.fingerprint()),
        ("licence", LICENCE if family.home == BUILT_IN else f"that of package {family.home}"),
    )
    note = f"Below half of the median: expert return minus the mean random return, less than {WEAK:g} of its median."
    return Section("Family", ("", ""), rows, (note,), numbers=False)


def _datasets(card: Card) -> Section:
    columns = ("quality", "tasks", "episodes", "transitions", "mean length", "dropped", "MiB")
    rows = tuple(
        (
            each.quality,
            str(each.tasks),
            f"{each.episodes:,}",
            f"{each.transitions:,}",
            f"{each.mean_length:.1f}",
            str(each.dropped),
            f"{each.size / 2**20:.1f}",
        )
        for each in card.datasets
    )
    note = "Dropped: episodes that were not stored because the simulation became unstable."
    return Section("Datasets", columns, rows, (note,))


def _task_returns(card: Card) -> Section:
    names = {0: "min", 50: "median", 100: "max"}
    columns = ("quality", "n", *(names.get(quantile, f"{quantile} %") for quantile in TASK_QUANTILES))
    rows = tuple((each.quality, str(each.tasks), *map(_decimal, each.task_quantiles)) for each in card.datasets)
    return Section("Returns: quantiles over tasks of a task's mean", columns, rows)


def _episode_returns(card: Card) -> Section:
    columns = ("quality", "n", "mean", *(f"{quantile} %" for quantile in EPISODE_QUANTILES))
    rows = tuple(
        (each.quality, f"{each.episodes:,}", *map(_decimal, (each.mean_return, *each.episode_quantiles)))
        for each in card.datasets
    )
    return Section("Returns: quantiles over episodes", columns, rows)


def _leaks(card: Card) -> Section:
    rows = []
    for quality, leak in card.leaks.items():
        low, high = leak.interval()
        rows.append(
            (
                quality,
                f"{leak.chance:.1%}",
                f"{leak.transition_accuracy:.1%} (n = {leak.transitions:,})",
                f"{leak.episode_accuracy:.1%} [{low:.1%}, {high:.1%}] (n = {leak.episodes:,})",
            )
        )
    notes = (
        f"Accuracy of extremely randomised trees, fitted on {1 - HELD_OUT:.0%} of each training task's episodes, "
        f"judged on the rest. Episode: sum of the log probabilities of its transitions; [95 % interval].",
        "Behaviour that is told its task leaves traces in (s, a). Far above chance: recognising the behaviour is a "
        "shortcut here, which fails when the context is another's.",
    )
    columns = ("quality", "chance", "per transition", "per episode")
    return Section("Leak check: which task is it, from (s, a) alone?", columns, tuple(rows), notes)


def _contexts(card: Card) -> Section:
    hashes = {name: value for each in card.datasets for name, value in each.contexts.items()}
    of_all = {name: hash_text(*of_splits.values()) for name, of_splits in hashes.items()}
    rows = tuple(
        (quality, source, *(of_all.get(context_name(quality, unit), MISSING) for unit in UNITS))
        for quality, (source, _, _) in SOURCES.items()
    )
    note = "A context quality, the dataset that it is drawn from, and the hash of the draws of each unit."
    return Section("Context sets", ("quality", "from", *UNITS), rows, (note,), numbers=False)


def _hashes(card: Card) -> Section:
    rows = tuple((each.quality, each.status, each.content[:HASH_DIGITS]) for each in card.datasets)
    notes = (
        "Status: canonical has the manifest's bytes, equivalent its returns within the standard error, wrong neither.",
        f"Content: the first {HASH_DIGITS} digits of the sha256 of all arrays.",
    )
    return Section("Versions of the datasets", ("quality", "status", "content"), rows, notes, numbers=False)


def _descriptor(names: tuple[str, ...]) -> str:
    if len(names) <= _MANY:
        return ", ".join(names)
    groups = Counter(name.split("_")[0] for name in names)
    return f"{len(names)} log multipliers ({', '.join(f'{count} {group}' for group, count in groups.items())})"


def _task_name(card: Card, task: int) -> str:
    table, names = card.family.tasks(), card.family.descriptor
    values = zip(names, table.descriptors[task].tolist(), strict=True) if len(names) <= _MANY else ()
    return f"task {task} ({', '.join([table.splits[task], *(f'{name} {value:.3g}' for name, value in values)])})"


def _decimal(value: float) -> str:
    return f"{value:.1f}"
