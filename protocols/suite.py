"""The schema of a suite file, and how suites are found."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from omrl_bench.errors import InputError, unknown_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)
ONE_SHOT = 2  # episodes: one to collect the context, one that uses it
Quality = Literal["high", "medium", "low", "random", "expert", "mixed", "cross"]
TrainingQuality = Literal["mixed", "expert", "medium", "random"]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]


def _dataset(name: str) -> str:
    for part in name.split("+", 1):
        if part not in get_args(TrainingQuality):
            raise ValueError(f"{part!r} is no dataset to train on; there are {', '.join(get_args(TrainingQuality))}")
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


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Protocol(_Frozen):
    """How a trained method is evaluated."""

    kind: Literal["given-context", "one-shot", "zero-shot", "explore"]
    unit: Literal["episode", "transitions", "segment"] = "episode"  # what one context draw is
    split: Literal["test", "extrapolation", "train"] = "test"
    draws: Annotated[int, Field(strict=True, ge=1, le=20)] = 10  # context draws per task and quality, one episode each
    episodes: Annotated[int, Field(strict=True, ge=0, le=20)] = 0  # of `zero-shot`; of exploration in `explore`

    @model_validator(mode="after")
    def _episodes_fit(self) -> Protocol:
        if self.kind in ("zero-shot", "explore") and not self.episodes:
            raise ValueError(f"{self.kind} needs a number of episodes")
        if self.kind in ("given-context", "one-shot") and self.episodes:
            raise ValueError(f"{self.kind} takes no number of episodes")
        if self.kind != "given-context" and self.unit != "episode":
            raise ValueError(f"{self.kind} takes no unit: the method collects its contexts")
        return self

    def conditions(self, qualities: tuple[str, ...]) -> tuple[str, ...]:
        """Names of what is measured: the context qualities, or the episodes that a method collects itself."""
        if self.kind == "given-context":
            return qualities
        if self.kind == "explore":
            return (*(f"explore-{number + 1}" for number in range(self.episodes)), "execute")
        return tuple(f"episode-{number + 1}" for number in range(self.episodes or ONE_SHOT))


class Preset(_Frozen):
    """The budget of a suite."""

    seeds: Annotated[tuple[Annotated[int, Field(strict=True)], ...], AfterValidator(lambda s: check_seeds(s))]
    qualities: Annotated[tuple[Quality, ...], AfterValidator(_no_repeats)] = ()  # of the contexts given, if any are
    updates: Positive
    encoder_updates: Count
    evaluations: Count  # points of the learning curve, on validation tasks
    time_limit: Positive  # seconds after which a job (the seeds of one method on one family) is ended
    job_seconds: float = Field(gt=0)  # seconds that a trained method takes per job, measured; for the estimate only
    train_tasks: Count = 0  # of the training tasks, a fixed subset; 0 for all of them
    methods: Annotated[tuple[str, ...], AfterValidator(_no_repeats)] = ()  # instead of the suite's
    families: Annotated[tuple[str, ...], AfterValidator(_no_repeats)] = ()  # instead of the suite's
    family_updates: dict[str, Positive] = {}  # instead of `updates`, for families that learn slower

    def of(self, family: str) -> Preset:
        """The preset of one family, with its number of updates and the time that they take."""
        updates = self.family_updates.get(family, self.updates)
        seconds = self.job_seconds * updates / self.updates
        return self.model_copy(update={"updates": updates, "job_seconds": seconds, "family_updates": {}})

    def updates_text(self) -> str:
        """Policy updates for people: ``10,000``, or ``10,000 (cheetah-vel: 30,000)``."""
        others = ", ".join(f"{family}: {updates:,}" for family, updates in self.family_updates.items())
        return f"{self.updates:,}" + (f" ({others})" if others else "")


class Suite(_Frozen):
    """A named grid: families x datasets x methods x backbones x seeds, a protocol, and presets."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")  # it becomes a folder
    version: Count
    title: str
    families: Annotated[tuple[str, ...], AfterValidator(_given_once)]
    datasets: Annotated[  # "expert+mixed": see dataset_parts
        tuple[Annotated[str, AfterValidator(_dataset)], ...], AfterValidator(_given_once)
    ]
    methods: Annotated[tuple[str, ...], AfterValidator(_given_once)]
    backbones: Annotated[tuple[str, ...], AfterValidator(_given_once)]
    default_preset: str
    protocol: Protocol
    presets: dict[str, Preset]

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
            if self.protocol.kind == "given-context" and not preset.qualities:
                raise ValueError(f"preset {name!r} gives no context qualities")
            if self.protocol.kind != "given-context" and preset.qualities:
                raise ValueError(f"preset {name!r} gives context qualities, but {self.protocol.kind} gives no contexts")
        return self

    @model_validator(mode="after")
    def _family_updates_fit(self) -> Suite:
        for name, preset in self.presets.items():
            for family in preset.family_updates:
                if family not in (*self.families, *preset.families):
                    raise ValueError(f"preset {name!r} gives updates for {family!r}, which is no family of the suite")
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

    def methods_of(self, preset: str | None) -> tuple[str, ...]:
        """Methods of a preset: its own, or the suite's."""
        return self.preset(preset)[1].methods or self.methods

    def families_of(self, preset: str | None) -> tuple[str, ...]:
        """Families of a preset: its own, or the suite's."""
        return self.preset(preset)[1].families or self.families

    def fingerprint(self, preset: str, family: str) -> str:
        """Hash of what changes a cell's numbers: version, protocol and budget (not the grid, nor the seeds)."""
        # what came after the first records counts only where it means something
        grid = {"seeds", "time_limit", "job_seconds", "methods", "families", "family_updates"}
        later = set() if self.presets[preset].train_tasks else {"train_tasks"}
        budget = self.presets[preset].of(family).model_dump_json(exclude=grid | later)
        protocol = self.protocol.model_dump_json(exclude=None if self.protocol.episodes else {"episodes"})
        text = f"{self.name} {self.version} {protocol} {budget}"
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
    files = resources.files("omrl_bench.protocols").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_suite(name: str) -> Suite:
    """Read a suite: by name, or from a TOML file of one's own.

    Raises:
        InputError: if there is no such suite, or the file does not describe one.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"suite file {name} does not exist")
        try:
            return parse_suite(path.read_text(encoding="utf-8"), name)
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    if name not in suite_names():
        raise unknown_name("suite", name, suite_names())
    file = resources.files("omrl_bench.protocols").joinpath(f"{name}.toml")
    return parse_suite(file.read_text(encoding="utf-8"), f"{name}.toml")


def parse_suite(text: str, where: str) -> Suite:
    """Parse the text of a suite file; ``where`` names it in errors.

    Raises:
        InputError: naming the file and the first key that is wrong.
    """
    return parse_as(Suite, text, where, suite_problem)


def parse_as(model: type[Model], text: str, where: str, problem: Callable[[ErrorDetails], str] | None = None) -> Model:
    """Parse TOML into a model; ``where`` names the text in errors, ``problem`` puts one in words.

    Raises:
        InputError: naming the text and the first key that is wrong.
    """
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
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
    models = (Suite, Protocol, Preset)  # by depth: the file, [protocol], [presets.<name>]
    depth = len(error["loc"]) - 1
    if error["type"] != "extra_forbidden" or depth >= len(models):
        return key_problem(error)
    hint = str(unknown_name("key", str(error["loc"][-1]), models[depth].model_fields)).partition("; ")[2]
    return f"{key_problem(error)}; {hint}"


def seed_text(seeds: tuple[int, ...]) -> str:
    """Seeds as ``--seeds`` takes them: 0-4, or 0,3,7."""
    if len(seeds) > 1 and all(b - a == 1 for a, b in pairwise(seeds)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))
