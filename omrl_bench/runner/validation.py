"""What is wrong with a suite, all of it, before anything runs: a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from omrl_bench.data.contexts import SOURCES, context_name, of_training_tasks, source_dataset
from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import Family, families, get_family
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.protocols.method_sets import expanded
from omrl_bench.protocols.protocol import Protocol, parse_protocol
from omrl_bench.protocols.suite import Suite, dataset_parts, load_suite, suite_names, suite_problem, suite_table
from omrl_bench.registry import backbones
from omrl_bench.runner.plan import Method, find_method
from omrl_bench.runner.records import Name
from omrl_bench.vocabulary import QUALITIES


def check_suite(reference: str) -> tuple[Suite | None, list[str]]:
    """Read a suite by name or file and return it with its problems; without it, if its keys are wrong.

    Raises:
        InputError: if there is no such suite, or the file is no TOML.
    """
    suite, problems = None, []
    try:
        suite = load_suite(reference)
    except InputError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        problems = [suite_problem(each) for each in error.__cause__.errors()]
    table = suite_table(reference)
    found = [*problems, *_name_problems(table, suite), *_registry_problems(table), *_family_problems(table)]
    return suite, list(dict.fromkeys(found))


def _name_problems(table: Mapping[str, Any], suite: Suite | None) -> Iterator[str]:
    """Names that become folders: the suite's, which may be taken, and the presets'."""
    name = table.get("name")
    if name in suite_names() and load_suite(str(name)) != suite:
        yield f"key 'name': suite {name!r} comes with the package and is another; records of both would mix: rename it"
    for preset in _tables(table, "presets"):
        try:
            TypeAdapter(Name).validate_python(preset)
        except ValidationError as error:
            yield f"preset {preset!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"


def _registry_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Families, methods and backbones that do not exist."""
    places = {"": table} | {f"presets.{name}.": preset for name, preset in _tables(table, "presets").items()}
    for prefix, place in places.items():
        for name in _texts(place, "families"):
            try:
                get_family(name)
            except InputError as error:
                yield f"key {prefix + 'families'!r}: {error}"
        preset = prefix.removeprefix("presets.").removesuffix(".") or str(table.get("default_preset"))
        yield from (f"key {prefix + 'methods'!r}: {problem}" for problem in _method_problems(table, place, preset))
    for name in _texts(table, "backbones"):
        if name not in backbones():
            yield f"key 'backbones': {unknown_name('backbone', name, backbones())}"


def _method_problems(table: Mapping[str, Any], place: Mapping[str, Any], preset: str) -> Iterator[str]:
    """Methods that do not exist, or have no such hyper-parameters, or whose records would mix."""
    with_backbones = [name for name in _texts(table, "backbones") if name in backbones()]
    known, _ = families()
    of_place = [known[name] for name in _families_of(table, place) if name in known] or list(known.values())
    found: list[Method] = []
    try:
        references = expanded(_texts(place, "methods"))
    except InputError as error:
        yield str(error)
        return
    for reference in references:
        try:
            found.append(find_method(reference, {}, preset, of_place[0], with_backbones))
        except InputError as error:
            yield str(error)
    names = [method.name for method in found]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        if len({method.target for method in found if method.name == name}) > 1:
            yield f"two methods are called {name!r}, and so is the folder of their records: rename one of the classes"


def _family_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Tasks, data and contexts that a family does not have, as far as the file says what it wants of them."""
    protocol = _protocol(table)
    presets = _tables(table, "presets")
    wanted = [name for place in (table, *presets.values()) for name in _texts(place, "families")]
    for name in dict.fromkeys(wanted):
        try:
            family = get_family(name)
        except InputError:  # said above
            continue
        if protocol and not len(family.tasks().ids(protocol.split)):
            yield f"family {name!r} has no {protocol.split} tasks"
        train, two = len(family.tasks().ids("train")), family.tasks().train_is_test
        for preset_name, preset in presets.items():
            count = preset.get("train_tasks", 0)
            if isinstance(count, int) and count > train and name in _families_of(table, preset) and not two:
                yield f"preset {preset_name!r}: {count} training tasks; family {name!r} has {train}"
        yield from _data_problems(table, family, protocol)


def _data_problems(table: Mapping[str, Any], family: Family, protocol: Protocol | None) -> Iterator[str]:
    """Datasets and context sets that a family does not have."""
    try:
        manifest = read_manifest(family)
    except InputError as error:
        yield str(error)
        return
    for dataset in _texts(table, "datasets"):
        for part in dataset_parts(dataset):
            if part in QUALITIES and part not in manifest.datasets:  # others are a matter of the schema
                yield f"family {family.name!r} has no {part} data"
    for preset in _tables(table, "presets").values():
        if protocol is None or family.name not in _families_of(table, preset):
            continue
        qualities = [quality for quality in _texts(preset, "qualities") if quality in SOURCES]
        for quality, unit in protocol.context_sets(qualities):
            entry = manifest.datasets.get(source_dataset(quality))
            if not of_training_tasks(quality) and protocol.split == "train":
                of_others = "are of other tasks than those for training"
                yield f"contexts of quality {quality!r} {of_others}, but split is 'train'"
            elif entry is None or context_name(quality, unit) not in entry.contexts:
                yield f"family {family.name!r} has no contexts of quality {quality!r} and unit {unit!r}"


def _protocol(table: Mapping[str, Any]) -> Protocol | None:
    """The suite's protocol; None if its table is wrong, which is a matter of the schema."""
    try:
        found = parse_protocol(table.get("protocol"))
    except ValidationError:
        return None
    return found if isinstance(found, Protocol) else None


def _families_of(table: Mapping[str, Any], preset: Mapping[str, Any]) -> list[str]:
    return _texts(preset, "families") or _texts(table, "families")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table of the file; empty if there is something else in its place."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _tables(table: Mapping[str, Any], key: str) -> dict[str, Mapping[str, Any]]:
    return {name: value for name, value in _table(table, key).items() if isinstance(value, dict)}


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    """The strings of a list; none if there is something else in its place."""
    value = table.get(key)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
