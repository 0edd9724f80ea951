"""``omrl-bench show``: a suite or a record in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omrl_bench.vocabulary import TRAINED_ON

if TYPE_CHECKING:
    from omrl_bench.protocols.suite import Suite
    from omrl_bench.runner.records import CurvePoint, Record

app = typer.Typer(help="Explain a suite or a record in words.", no_args_is_help=True)

BARS = "▁▂▃▄▅▆▇█"


@app.command()
def suite(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Suite: a name or a TOML file.")],
) -> None:
    """Explain a suite: what is trained on what, how it is evaluated, with which methods and budgets.

    Examples:
      omrl-bench show suite shift

      omrl-bench show suite my_suite.toml
    """
    from rich.console import Console

    from omrl_bench.cli.validate import presets_table
    from omrl_bench.protocols.suite import load_suite

    definition = load_suite(suite)
    tables = [presets_table(definition), methods_table(definition)]
    say(f"suite {definition.name}, version {definition.version}: {definition.title}")
    for sentence in (*training_sentences(definition), *evaluation_sentences(definition)):
        say(f"\n{sentence}")
    for table in tables:
        say("")
        Console().print(table)
    say(f"\nomrl-bench run --suite {suite} --preset {definition.default_preset}")


@app.command()
def record(
    path: Annotated[Path, typer.Argument(help="A record's JSON file, or a results folder.")],
    cell: Annotated[
        str | None, typer.Argument(help="In a results folder: SUITE/PRESET/FAMILY/DATASET/METHOD/BACKBONE/seed-N.")
    ] = None,
) -> None:
    """Show what a record says: scores, learning curve, hyper-parameters, costs, and what it was made from.

    Examples:
      omrl-bench show record results/shift/standard/point-goal/mixed/focal/iql/seed-0.json

      omrl-bench show record results shift/standard/point-goal/mixed/focal/iql/seed-0
    """
    from omrl_bench.errors import InputError
    from omrl_bench.runner.records import read_record

    file = path if cell is None else path / cell
    if file.suffix != ".json" and not file.exists():
        file = file.with_name(f"{file.name}.json")
    if file.is_dir():
        raise InputError(f"{file} is a folder; name a record in it, e.g. {_an_example(file)}")
    found = read_record(file)
    say(f"{' / '.join(found.cell.folder().parts)} / seed {found.cell.seed}: {found.status}")
    say(f"made {found.created}" + (f", weights trained for {found.trained_for}" if found.trained_for else ""))
    if found.trained_elsewhere:
        say(f"trained elsewhere, self-reported: {found.trained_elsewhere}")
        say("evaluated by omrl-bench; machine, versions and commit below are those of the evaluation")
    if found.error:
        say(f"error: {found.error}")
    _print_scores(found)
    if found.curve:
        say(f"\nlearning curve (score on validation tasks): {curve_text(found.curve)}")
    _print_fields(found, file)


def training_sentences(suite: Suite) -> list[str]:
    """What is trained on what."""
    from omrl_bench.protocols.suite import dataset_parts

    def describe(dataset: str) -> str:
        policy, representation = dataset_parts(dataset)
        if policy == representation:
            return f"{dataset} ({TRAINED_ON[policy]})"
        return f"{dataset} (the policy on {policy} data, its representation on {representation} data)"

    presets = suite.presets.values()
    families = dict.fromkeys([*suite.families, *(name for preset in presets for name in preset.families)])
    counts = {preset.train_tasks for preset in presets}
    subset = "" if counts == {0} else "; of the training tasks, a preset may take a fixed subset"
    several = "a training per quality of data: " if len(suite.datasets) > 1 else "data: "
    return [
        f"Trained on logged data of the training tasks of {', '.join(families)}{subset}; "
        f"{several}{', '.join(map(describe, suite.datasets))}; offline-RL learner: {', '.join(suite.backbones)}."
    ]


def evaluation_sentences(suite: Suite) -> list[str]:
    """The protocol in a sentence, and what the conditions are."""
    from omrl_bench.conditions import names
    from omrl_bench.data.contexts import SOURCES

    protocol, presets = suite.protocol, suite.presets.values()
    found = [f"Evaluated on the {protocol.split} tasks, protocol {protocol.kind}: {protocol.sentence()}"]
    conditions = dict.fromkeys(each for preset in presets for each in protocol.conditions(preset.qualities))
    given = all(condition.given for condition in conditions)
    if not given:
        found.append(f"Conditions are the episodes: {', '.join(names(tuple(conditions)))}.")
    if protocol.gives_contexts:
        qualities = dict.fromkeys(quality for preset in presets for quality in preset.qualities)
        ranges = {quality: SOURCES[quality] for quality in qualities}
        texts = [
            f"{quality} ({source} data"
            + (f", returns from rank {low} to {high} %" if (low, high) != (0, 100) else "")
            + ")"
            for quality, (source, low, high) in ranges.items()
        ]
        what = "Conditions are the qualities of the contexts" if given else "Qualities of the contexts"
        found.append(f"{what}: {', '.join(texts)}.")
    found.append(
        f"{_draws(suite)} The last checkpoint counts. Score: 0 is the random policy's return, 100 the expert's."
    )
    return found


def _draws(suite: Suite) -> str:
    """How often each task is evaluated, and in which presets."""
    of_number: dict[int, list[str]] = {}
    for preset in suite.presets:
        of_number.setdefault(suite.protocol_of(preset).draws, []).append(preset)
    texts = [
        f"{number} ({', '.join(presets)})" if len(of_number) > 1 else f"{number}"
        for number, presets in of_number.items()
    ]
    return f"Draws of each task and condition: {', '.join(texts)}."


def methods_table(suite: Suite) -> Any:
    """The suite's methods, what they may see beyond the data, and the presets that run them."""
    from rich.table import Table
    from rich.text import Text

    from omrl_bench.api import PRIVILEGES, Setup
    from omrl_bench.envs.families import get_family
    from omrl_bench.referee.method import declared_by
    from omrl_bench.registry import resolve_method
    from omrl_bench.runner.settings import split_reference

    by_preset = {name: suite.methods_of(name) for name in suite.presets}
    table = Table("method", "privileges", "presets")
    for method in dict.fromkeys([*suite.methods, *(name for names in by_preset.values() for name in names)]):
        setup = Setup(suite.default_preset, suite.backbones[0])
        target = resolve_method(split_reference(method)[0])[1]
        privileges = sorted(declared_by(target, get_family(suite.families[0]).space(), setup).privileges)
        meanings = "\n".join(
            f"{name}: {PRIVILEGES.get(name, 'no privilege that is known here')}" for name in privileges
        )
        presets = [name for name, names in by_preset.items() if method in names]
        all_of_them = "all" if len(presets) == len(by_preset) else ", ".join(presets)
        table.add_row(*map(Text, (method + (" †" if privileges else ""), meanings, all_of_them)))
    return table


def curve_text(curve: Sequence[CurvePoint]) -> str:
    """A learning curve as bars between its lowest and highest score, and its ends in numbers."""
    import math

    scores = [point.score for point in curve]
    finite = [score for score in scores if math.isfinite(score)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    bars = "".join(BARS[round((score - low) * scale)] if math.isfinite(score) else "?" for score in scores)
    ends = f"{scores[0]:.1f} at step {curve[0].step:,}, {scores[-1]:.1f} at step {curve[-1].step:,}"
    return f"{bars}  {ends}; from {low:.1f} to {high:.1f}"


def say(text: str) -> None:
    """Print text that has somebody's words in it: as it is, but for control characters."""
    typer.echo("\n".join(map(_printable, text.split("\n"))))


def _an_example(folder: Path) -> Path | str:
    from omrl_bench.runner.records import record_files

    return next(
        iter(record_files(folder, lambda error: None)), "SUITE/PRESET/FAMILY/DATASET/METHOD/BACKBONE/seed-0.json"
    )


def _print_scores(record: Record) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not record.metrics:
        return
    table = Table("condition")
    for column in ("score", "raw return"):
        table.add_column(column, justify="right")
    for condition, metric in record.metrics.items():
        table.add_row(Text(_printable(condition)), f"{metric.score:.2f}", f"{metric.mean_return:.2f}")
    say("")
    Console().print(table)


def _print_fields(record: Record, file: Path) -> None:
    """Everything else, a line per field; what a newer schema adds is shown under its own name."""
    from omrl_bench.protocols.suite import seed_text
    from omrl_bench.runner.settings import flatten

    together = len(record.trained_together)
    times = {
        "training": f"{record.fit_seconds:.1f} s for {together} seed{'s' if together != 1 else ''} together",
        "evaluation": f"{record.evaluate_seconds:.1f} s",
        **{f"{stage} update": f"{value:g} ms" for stage, value in record.update_milliseconds.items()},
    }
    git = record.git
    state = ", with changes that were not committed" if git.get("dirty") is True else ""
    fields: dict[str, str] = {
        "privileges": ", ".join(record.privileges) or "none",
        "hyper-parameters": _pairs(flatten(record.configuration).items()),
        "parameters": f"{record.parameters:,} per seed",
        "seeds together": seed_text(record.trained_together),
        "times": _pairs(times.items()),
        "memory": f"{record.peak_memory_mib:g} MiB at most",
        "device": record.device,
        "machine": _pairs(record.machine.items()),
        "versions": _pairs(record.versions.items()),
        "commit": f"{git.get('commit', 'unknown')}{state}" + (f" ({git['unknown']})" if "unknown" in git else ""),
        "family version": record.family_version,
        "data": record.dataset_status,
        "hashes": _pairs(record.hashes.model_dump(exclude_defaults=True).items()),  # the first records have no `tasks`
        "cube": _cube_state(record, file),
    }
    if record.trained_elsewhere:
        fields |= dict.fromkeys(("parameters", "seeds together", "memory"), "not measured")
        fields["times"] = f"evaluation {times['evaluation']}"
    shown = {
        *(
            "schema_version",
            "cell",
            "family_version",
            "status",
            "error",
            "hashes",
            "dataset_status",
            "privileges",
            "configuration",
        ),
        *(
            "trained_together",
            "trained_for",
            "trained_elsewhere",
            "metrics",
            "curve",
            "parameters",
            "fit_seconds",
            "evaluate_seconds",
        ),
        *("update_milliseconds", "device", "peak_memory_mib", "machine", "versions", "git", "created", "cube"),
    }
    for name, value in record.model_dump(mode="json", exclude=shown, exclude_defaults=True).items():
        fields[name.replace("_", " ")] = _pairs(flatten(value).items()) if isinstance(value, dict) else str(value)
    say("")
    for name, text in fields.items():
        say(f"{name + ':':<18}{text or 'none'}")


def _cube_state(record: Record, file: Path) -> str:
    """Whether the cube beside a record is there and is its own."""
    from omrl_bench.errors import RecordError
    from omrl_bench.runner.cubes import read_cube

    if record.status != "complete":
        return "none"
    try:
        cube = read_cube(file.with_suffix(".npz"), record.cube)
    except RecordError as error:
        return f"it {error.reason}"
    conditions, tasks, draws = cube.returns.shape
    checked = "its hash agrees" if record.cube else "no hash to check it by"
    return f"returns of {conditions} conditions x {tasks} tasks x {draws} draws; {checked}"


def _pairs(items: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
