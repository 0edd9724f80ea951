"""The schema of a suite file, and how suites are found."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from omrl_bench.conditions import Condition
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.frozen import Frozen
from omrl_bench.registry import protocols
from omrl_bench.vocabulary import QUALITIES, Quality

from . import method_sets
from .protocol import AnyProtocol, Draws, Protocol, load_protocol

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]


def _dataset(name: str) -> str:
    for part in name.split("+", 1):
        if part not in QUALITIES:
            raise ValueError(f"{part!r} is no dataset to train on; there are {', '.join(QUALITIES)}")
    return name


def _no_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice")
    return names


def _given_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("none given")
    return _no_repeats(names)


def _expanded(names: tuple[str, ...]) -> tuple[str, ...]:
    """The methods with the members of each named set in its place; ValueError for a set that does not exist."""
    try:
        return method_sets.expanded(names)
    except InputError as error:
        raise ValueError(str(error)) from error


#: Methods, or sets of them (``@papers``).
Methods = Annotated[tuple[str, ...], AfterValidator(_no_repeats), AfterValidator(_expanded)]


class Preset(Frozen):
    """The budget of a suite."""

    seeds: Annotated[tuple[Annotated[int, Field(strict=True)], ...], AfterValidator(lambda s: check_seeds(s))]
    qualities: Annotated[tuple[Quality, ...], AfterValidator(_no_repeats)] = ()  # of the contexts given, if any are
    updates: Positive
    encoder_updates: Count
    evaluations: Count  # points of the learning curve, on validation tasks
    time_limit: Positive  # seconds after which a job (the seeds of one method on one family) is ended
    job_seconds: float = Field(gt=0)  # seconds that a trained method takes per job, measured; for the estimate only
    train_tasks: Count = 0  # of the training tasks, a fixed subset; 0 for all of them
    draws: Draws | None = None  # of each task in evaluations, instead of the protocol's
    methods: Methods = ()  # instead of the suite's
    families: Annotated[tuple[str, ...], AfterValidator(_no_repeats)] = ()  # instead of the suite's
    family_updates: dict[str, Positive] = {}  # instead of `updates`, for families that need more or fewer

    def of(self, family: str) -> Preset:
        """The preset of one family, with its number of updates and the time that they take."""
        updates = self.family_updates.get(family, self.updates)
        seconds = self.job_seconds * updates / self.updates
        return self.model_copy(update={"updates": updates, "job_seconds": seconds, "family_updates": {}})

    def updates_text(self) -> str:
        """Policy updates for people: ``10,000``, or ``10,000 (cheetah-vel: 30,000)``."""
        others = ", ".join(f"{family}: {updates:,}" for family, updates in self.family_updates.items())
        return f"{self.updates:,}" + (f" ({others})" if others else "")


class Suite(Frozen):
    """A named grid: families x datasets x methods x backbones x seeds, a protocol, and presets."""

    extends: str = ""  # the suite that all keys but name, version, title and protocol are those of, unless given

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")  # it becomes a folder
    version: Count
    title: str
    families: Annotated[tuple[str, ...], AfterValidator(_given_once)]
    datasets: Annotated[  # "expert+mixed": see dataset_parts
        tuple[Annotated[str, AfterValidator(_dataset)], ...], AfterValidator(_given_once)
    ]
    methods: Annotated[Methods, AfterValidator(_given_once)]
    backbones: Annotated[tuple[str, ...], AfterValidator(_given_once)]
    default_preset: str
    protocol: AnyProtocol
    presets: dict[str, Preset]
    context_rho: dict[str, float] = {}  # by family: contexts show sparse rewards (omrl_bench.data.contexts.sparse_view)

    @field_validator("name")
    @classmethod
    def _not_the_reports_folder(cls, name: str) -> str:
        if name == "report":
            raise ValueError("'report' is the folder of tables and figures")
        return name

    @model_validator(mode="after")
    def _default_exists(self) -> Suite:
        if self.default_preset not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise ValueError(f"default_preset {self.default_preset!r} is no preset of the file; known: {known}")
        return self

    @model_validator(mode="after")
    def _qualities_fit(self) -> Suite:
        for name, preset in self.presets.items():
            if not self.protocol.conditions(preset.qualities):
                raise ValueError(f"preset {name!r} gives no context qualities")
            if not self.protocol.gives_contexts and preset.qualities:
                raise ValueError(f"preset {name!r} gives context qualities, but {self.protocol.kind} gives no contexts")
            for condition in self.protocol.conditions(preset.qualities):
                if Condition.parse(condition.name) != condition:  # records hold its name only
                    raise ValueError(f"{self.protocol.kind} has a condition {condition.name!r} without a number")
        return self

    @model_validator(mode="after")
    def _family_updates_fit(self) -> Suite:
        for name, preset in self.presets.items():
            for family in preset.family_updates:
                if family not in (*self.families, *preset.families):
                    raise ValueError(f"preset {name!r} gives updates for {family!r}, which is no family of the suite")
        return self

    @model_validator(mode="after")
    def _context_rho_fits(self) -> Suite:
        families = {*self.families, *(name for preset in self.presets.values() for name in preset.families)}
        for family, rho in self.context_rho.items():
            if family not in families:
                raise ValueError(f"context_rho names {family!r}, which is no family of the suite")
            if not rho or not math.isfinite(rho):
                raise ValueError(f"context_rho of {family!r} is {rho}: the sparse view divides by it")
        return self

    def preset(self, name: str | None) -> tuple[str, Preset]:
        """Return a preset and its name; the default one if no name is given.

        Raises:
            InputError: if there is no such preset, with the nearest names.
        """
        name = name or self.default_preset
        if name not in self.presets:
            raise unknown_name(f"preset of suite {self.name!r}", name, self.presets)
        return name, self.presets[name]

    def protocol_of(self, preset: str | None) -> Protocol:
        """The protocol as a preset evaluates by it: with its own draws, if it has any."""
        draws = self.preset(preset)[1].draws
        return self.protocol if draws is None else self.protocol.model_copy(update={"draws": draws})

    def methods_of(self, preset: str | None) -> tuple[str, ...]:
        """Methods of a preset: its own, or the suite's."""
        return self.preset(preset)[1].methods or self.methods

    def families_of(self, preset: str | None) -> tuple[str, ...]:
        """Families of a preset: its own, or the suite's."""
        return self.preset(preset)[1].families or self.families

    def fingerprint(self, preset: str, family: str) -> str:
        """Hash of what changes a cell's numbers: version, protocol and budget (not the grid, nor the seeds)."""
        # what came after the first records counts only where it means something
        grid = {"seeds", "time_limit", "job_seconds", "methods", "families", "family_updates", "draws"}
        later = set() if self.presets[preset].train_tasks else {"train_tasks"}
        budget = self.presets[preset].of(family).model_dump_json(exclude=grid | later)
        text = f"{self.name} {self.version} {self.protocol_of(preset).fingerprint()} {budget}"
        if family in self.context_rho:
            text += f" rho {self.context_rho[family]}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def dataset_parts(dataset: str) -> tuple[str, str]:
    """Quality of the data that the policy learns from, and of those that its representation learns from.

    ``expert`` is the same for both; ``expert+mixed`` is a policy of expert data over a representation of mixed data,
    for methods that train the representation first (GENTLE, table 3).
    """
    policy, _, representation = dataset.partition("+")
    return policy, representation or policy


def check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds, or raise ValueError if one is negative or given twice."""
    if not seeds:
        raise ValueError("no seeds")
    for seed in seeds:
        if seed < 0:
            raise ValueError(f"seed {seed} is negative")
        if seeds.count(seed) > 1:
            raise ValueError(f"seed {seed} is given twice")
    return seeds


def suite_names() -> list[str]:
    """Names of the suites that come with the package."""
    names = (file.name for file in resources.files("omrl_bench.protocols").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml") and name != method_sets.FILE)


def load_suite(name: str) -> Suite:
    """Read a suite: by name, or from a TOML file of one's own.

    Raises:
        InputError: if there is no such suite, or the file does not describe one.
    """
    return parse_suite(_read(name), _where(name))


def parse_suite(text: str, where: str) -> Suite:
    """Parse the text of a suite file; ``where`` names it in errors.

    Raises:
        InputError: naming the file and the first key that is wrong.
    """
    return parse_as(Suite, read_table(text, where), where, suite_problem)


def suite_table(name: str) -> dict[str, Any]:
    """The keys of a suite, by name or file, with those of the suite that it extends; none of them is checked.

    Raises:
        InputError: if there is no such suite, or the file is no TOML.
    """
    return read_table(_read(name), _where(name))


def read_table(text: str, where: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """Parse a suite's TOML and add what it takes from the suite that it extends.

    A table of presets is joined preset by preset and key by key. A preset may extend another of its suite in the same
    way (``extends = "standard"``). Left out of what is inherited are qualities of contexts where the protocol gives no
    contexts, and updates of families that the suite does not have.

    Args:
        text: The TOML.
        where: Names the text in errors.
        extending: The files on the way to this one.

    Raises:
        InputError: if it is no TOML, or it or one of its presets extends what does not exist, or itself.
    """
    table = parse_toml(text, where)
    base_name = table.get("extends", "")
    if not base_name or not isinstance(base_name, str):
        return _with_extended_presets(table, where)
    file = base_name
    if base_name.endswith(".toml"):  # beside this file
        file = str(Path(where).parent / base_name)
    if file in extending:
        raise InputError(f"{where}: key 'extends': {' extends '.join((*extending, file))}")
    try:
        base = read_table(_read(file), _where(file), (*extending, file))
    except InputError as error:
        raise InputError(f"{where}: key 'extends': {error}") from error
    joined = {key: value for key, value in base.items() if key not in ("name", "version", "title", "extends")} | table
    inherited, own, protocol = base.get("presets"), table.get("presets", {}), joined.get("protocol")
    if isinstance(inherited, dict) and isinstance(own, dict) and isinstance(protocol, dict):
        families = joined.get("families", [])
        joined["presets"] = _joined_presets(inherited, own, [*families], _gives_contexts(protocol))
    return _with_extended_presets(joined, where)


def _joined_presets(
    base: dict[str, Any], own: dict[str, Any], families: list[Any], gives_contexts: bool
) -> dict[str, Any]:
    """Presets of the suite that is extended, with what the extending one says; families are those of the latter."""
    joined = {name: preset for name, preset in own.items() if name not in base}
    for name, inherited in base.items():
        said = own.get(name, {})
        if not isinstance(inherited, dict) or not isinstance(said, dict):
            joined[name] = said
            continue
        kept = {key: value for key, value in inherited.items() if gives_contexts or key != "qualities"}
        updates, known = kept.get("family_updates"), [*families, *(kept | said).get("families", [])]
        if isinstance(updates, dict):
            kept["family_updates"] = {family: number for family, number in updates.items() if family in known}
        joined[name] = kept | said
    return joined


def _with_extended_presets(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The table with presets that name another one under ``extends`` filled up with what that one says."""
    presets = table.get("presets")
    if not isinstance(presets, dict):
        return table
    return table | {"presets": {name: _extended_preset(presets, (name,), where) for name in presets}}


def _extended_preset(presets: dict[str, Any], path: tuple[str, ...], where: str) -> Any:
    """The last preset of a path, each of which extends the next."""
    preset = presets[path[-1]]
    if not isinstance(preset, dict) or "extends" not in preset:
        return preset
    base, key = preset["extends"], f"{where}: key 'presets.{path[-1]}.extends'"
    if not isinstance(base, str) or base not in presets:
        raise InputError(f"{key}: {unknown_name('preset', str(base), presets)}")
    if base in path:
        raise InputError(f"{key}: {' extends '.join((*path, base))}")
    inherited = _extended_preset(presets, (*path, base), where)
    own = {name: value for name, value in preset.items() if name != "extends"}
    return inherited | own if isinstance(inherited, dict) else own


def _gives_contexts(protocol: dict[str, Any]) -> bool:
    try:
        return load_protocol(str(protocol.get("kind"))).gives_contexts
    except InputError:  # said when the suite is parsed
        return True


def _where(name: str) -> str:
    return name if name.endswith(".toml") else f"{name}.toml"


def _read(name: str) -> str:
    """The text of a suite."""
    if not name.endswith(".toml"):
        if name not in suite_names():
            raise unknown_name("suite", name, suite_names())
        return resources.files("omrl_bench.protocols").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    path = Path(name)
    if not path.is_file():
        raise InputError(f"suite file {name} does not exist")
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: not UTF-8 text: {error.reason} at byte {error.start}; TOML has no other, so save it as UTF-8"
        ) from error


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML; ``where`` names the text in errors.

    Raises:
        InputError: if it is none.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error


def parse_as(
    model: type[Model], table: Mapping[str, Any], where: str, problem: Callable[[ErrorDetails], str] | None = None
) -> Model:
    """Make a model of the keys of a file; ``where`` names the file in errors, ``problem`` puts one in words.

    Raises:
        InputError: naming the file and the first key that is wrong.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{where}: {(problem or key_problem)(error.errors()[0])}") from error


def key_problem(error: ErrorDetails) -> str:
    """What is wrong with one key of a file."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    reason = error["msg"].removeprefix("Value error, ")
    return f"key {key!r}: {reason}" if key else reason


def suite_problem(error: ErrorDetails) -> str:
    """What is wrong with one key of a suite file, with the nearest names of an unknown one."""
    depth = len(error["loc"]) - 1
    if error["type"] != "extra_forbidden" or depth > 2:
        return key_problem(error)
    name = str(error["loc"][-1])
    if depth == 1:  # [protocol]
        taking = {kind: load_protocol(kind).model_fields for kind in protocols()}
        others = [kind for kind, fields in taking.items() if name in fields]
        if others:
            return f"{key_problem(error)} of this protocol; {', '.join(others)} take{'s' * (len(others) == 1)} it"
        known = dict.fromkeys(field for fields in taking.values() for field in fields)
    else:
        known = dict.fromkeys((Preset if depth else Suite).model_fields)  # [presets.<name>], or the file
    return f"{key_problem(error)}; {str(unknown_name('key', name, known)).partition('; ')[2]}"


def seed_text(seeds: tuple[int, ...]) -> str:
    """Seeds as ``--seeds`` takes them: 0-4, or 0,3,7."""
    if len(seeds) > 1 and all(b - a == 1 for a, b in pairwise(seeds)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))
