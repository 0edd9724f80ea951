"""``submission.toml``: what somebody says of a row."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from omrl_bench.api import PRIVILEGES
from omrl_bench.errors import InputError
from omrl_bench.files import read_regular
from omrl_bench.frozen import Frozen
from omrl_bench.protocols.suite import check_seeds, key_problem, parse_toml
from omrl_bench.registry import methods
from omrl_bench.runner.records import Name, check_statement

FILE = "submission.toml"
RECORDS, SOURCE = "records", "source"  # folders beside it
MOST_BYTES = 2**16
TO_FILL_IN = "FILL IN"  # how a text begins that `new` could not know

Ruleset = Literal["fixed", "tuned", "offline-selected"]
RULESETS: Mapping[Ruleset, str] = {
    "fixed": "one setting for all families, chosen before any of the evaluated tasks was seen",
    "tuned": "one declared space for all families, picked per family on validation tasks",
    "offline-selected": "picked per family from the training data alone, without any episode",
}
Checkpoint = Literal["last", "trained elsewhere"]

#: What every author states, by the key under ``[statements]``.
STATEMENTS: Mapping[str, str] = {
    "training_data_only": "Nothing was trained on but the training tasks' data that the harness hands out.",
    "tasks_not_used": "No evaluated task, nor its descriptor or reference returns, was used to make or choose the row.",
    "all_seeds": "These are all seeds that were run, the first time that they were run with this setting.",
    "own_code": "The records were made by the code that is named here, by `omrl-bench run`, and were not edited.",
    "may_publish": "Records and text may be published with the benchmark, under its licence.",
}


def _said(text: str) -> str:
    if text.startswith(TO_FILL_IN):
        raise ValueError(f"still to be filled in: {text.removeprefix(TO_FILL_IN).lstrip(': ')}")
    return check_statement(text)


def _address(text: str) -> str:
    if text and not (text.startswith("https://") and text.isascii() and " " not in text):
        raise ValueError("an address begins with https:// (or it is empty, if there is none)")
    return text


Said = Annotated[str, AfterValidator(_said)]
Address = Annotated[str, Field(max_length=300), AfterValidator(_address)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
RowName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$")]  # it becomes a folder


class Code(Frozen):
    """Where the method's own code is: in the folder ``source``, or at an address and commit."""

    entry_point: Annotated[str, Field(pattern=r"^[\w./-]+\.py:[A-Za-z_]\w*$")]  # file, relative to `source`, and class
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""  # of the folder `source`, if it is here
    address: Address = ""  # of the repository of the adapter: never omrl-bench's, unless it is there
    commit: Annotated[str, Field(pattern="^([0-9a-f]{7,64})?$")] = ""  # of that repository
    lock: Annotated[tuple[Annotated[str, Field(pattern=r"^[\w.\[\]-]+==[\w.+!-]+$")], ...], Field(max_length=500)]

    @model_validator(mode="after")
    def _is_somewhere(self) -> Code:
        if not self.sha256 and not (self.address and self.commit):
            raise ValueError("give the sha256 of the folder source/, or the code's address and commit")
        return self


class Grid(Frozen):
    """What was run."""

    suite: Name
    preset: Name
    dataset: Name
    backbone: Name
    families: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    seeds: Annotated[tuple[Annotated[int, Field(strict=True)], ...], AfterValidator(check_seeds)]


class FamilyHashes(Frozen):
    """What the records of a family depend on, see :class:`omrl_bench.runner.records.Hashes`."""

    suite: Hash
    family: Hash
    dataset: Hash
    contexts: Hash
    tasks: Hash
    method: Hash


class Effort(Frozen):
    """What else was used."""

    extra_data: Said  # "none", or what and where from
    tuning_episodes: Annotated[int, Field(strict=True, ge=0)]  # of all development, on validation tasks
    ledger: str = ""  # file in this folder that lists them; needed where there are any
    checkpoint: Checkpoint
    hardware: Said
    hours: Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]  # of this hardware, development included

    @model_validator(mode="after")
    def _has_a_ledger(self) -> Effort:
        if self.tuning_episodes and not self.ledger:
            raise ValueError("key 'ledger': tuning used episodes, so name the file that lists them")
        return self


class Absent(Frozen):
    """Cells of the grid that are not there, and why."""

    family: Name
    seeds: tuple[int, ...]
    why: Said


class Declaration(Frozen):
    """All that ``submission.toml`` says."""

    name: RowName  # of the row: what its records call the method
    version: Annotated[int, Field(strict=True, ge=1, le=10_000)]  # one more whenever the row changes
    summary: Said
    authors: Annotated[tuple[Said, ...], Field(max_length=100)]
    contact: Said
    paper: Address = ""
    licence: Said  # of the code
    ruleset: Ruleset
    code: Code
    grid: Grid
    hashes: dict[Name, FamilyHashes]
    privileges: dict[str, Said] = {}  # where each comes from
    effort: Effort
    statements: dict[str, bool]
    absent: Annotated[tuple[Absent, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _is_a_row_of_its_own(self) -> Declaration:
        if self.name.lower() in {name.lower() for name in methods()}:
            raise ValueError(f"key 'name': {self.name!r} is the name of a registered method; rename the class")
        if self.code.entry_point.rpartition(":")[2] != self.name:
            raise ValueError("key 'name': it must be that of the class in code.entry_point, as in the records")
        if not self.authors:
            raise ValueError("key 'authors': nobody is named")
        for name in self.privileges:
            if name not in PRIVILEGES:
                raise ValueError(f"key 'privileges': unknown {name!r}; there are {', '.join(PRIVILEGES)}")
        return self

    @model_validator(mode="after")
    def _states_everything(self) -> Declaration:
        if set(self.statements) != set(STATEMENTS):
            raise ValueError(f"key 'statements': it has exactly {', '.join(STATEMENTS)}")
        denied = [name for name, value in self.statements.items() if not value]
        if denied:
            raise ValueError(f"key 'statements.{denied[0]}': set it to true if it is: {STATEMENTS[denied[0]]}")
        return self


def read_declaration(folder: Path) -> Declaration:
    """Read the declaration of a submission.

    Raises:
        InputError: with a line for everything that is wrong.
    """
    declaration, problems = parse_declaration(folder)
    if declaration is None:
        raise InputError("; ".join(problems))
    return declaration


def parse_declaration(folder: Path) -> tuple[Declaration | None, list[str]]:
    """Read the declaration of a submission; without it, if anything is wrong, which is said in a line each."""
    try:
        text = read_regular(folder / FILE, MOST_BYTES).decode()
        return Declaration.model_validate(parse_toml(text, FILE)), []
    except OSError as error:
        return None, [f"{FILE}: cannot be read: {error.strerror}"]
    except ValidationError as error:
        return None, [f"{FILE}: {_printable(key_problem(each))}" for each in error.errors()]
    except UnicodeDecodeError as error:
        return None, [f"{FILE}: not UTF-8 text: {error.reason} at byte {error.start}"]
    except (InputError, RecursionError, ValueError) as error:
        return None, [_printable(str(error) or f"{FILE}: not valid TOML")]


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:400]


def today() -> str:
    """The date in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
