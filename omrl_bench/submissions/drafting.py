"""Making the folder of a submission from the records of a run: whatever they tell is filled in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import Suite, load_suite, suite_names
from omrl_bench.registry.adapters import outermost_package, place_of
from omrl_bench.registry.imports import closure
from omrl_bench.runner.records import Record, read_cube_beside, read_record_of, record_files
from omrl_bench.submissions.declaration import FILE, RECORDS, RULESETS, SOURCE, STATEMENTS, TO_FILL_IN
from omrl_bench.submissions.files import source_digest

SUFFIXES = (".json", ".npz")


def draft(results: Path, adapter: str, suite: str, preset: str | None, out: Path) -> Path:
    """Write a submission's folder: records, source, and ``submission.toml`` with what is still to be filled in.

    Args:
        results: Results folder of the run.
        adapter: ``path/to/file.py:Class`` that was run; it is read, and not imported.
        suite: Name of a shipped suite.
        preset: Its preset; None for its default.
        out: Where to make the folder, which is called like the class.

    Returns:
        The folder.

    Raises:
        InputError: if there are no such records, no such file, or the folder is there already.
    """
    path, _, name = adapter.rpartition(":")
    file = Path(path)
    if not path.endswith(".py") or not name or not file.is_file():
        raise InputError(f"adapter {adapter!r}: write it as path/to/file.py:Class")
    if suite not in suite_names():
        raise InputError(f"suite {suite!r} does not come with the package; a row needs one that does")
    definition = load_suite(suite)
    preset_name, _ = definition.preset(preset)
    records = _records(results, suite, preset_name, name)
    if not records:
        raise InputError(f"{results} has no complete records of {name} in suite {suite!r}, preset {preset_name!r}")
    _check_one_table(records)
    folder = out / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise InputError(f"{folder} is there already; choose another --out, or delete it") from error
    for record in records:
        for ending in SUFFIXES:
            place = record.cell.record_path(Path()).with_suffix(ending)
            _copy(results / place, folder / RECORDS / place)
    entry = _copy_source(file.resolve(), folder / SOURCE)
    (folder / FILE).write_text(_text(records, definition, f"{entry}:{name}", source_digest(folder)), encoding="utf-8")
    return folder


def _records(results: Path, suite: str, preset: str, method: str) -> list[Record]:
    """Complete records of a row, as they can be read."""
    found = []
    for path in record_files(results / suite / preset, lambda error: None):
        if path.parts[-3] != method:
            continue
        record = read_record_of(results, path)
        if record.status == "complete":
            read_cube_beside(path, record)
            found.append(record)
    return found


def _check_one_table(records: Sequence[Record]) -> None:
    tables = sorted({(record.cell.dataset, record.cell.backbone) for record in records})
    if len(tables) > 1:
        several = "; ".join(", ".join(table) for table in tables)
        raise InputError(
            f"the records are of several datasets or backbones ({several}): a submission is of one of each"
        )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _copy_source(file: Path, folder: Path) -> str:
    """Copy an adapter's file and what it imports from beside it: its path in the folder."""
    place = place_of(file)
    package = outermost_package(file)
    files = set(closure([place.module], place.locate)) | set(package.rglob("*.py") if package else ())
    for each in sorted(files):
        _copy(each, folder / each.relative_to(place.root))
    return file.relative_to(place.root).as_posix()


def _text(records: Sequence[Record], suite: Suite, entry_point: str, sha256: str) -> str:
    """The declaration, as TOML, with comments."""
    first = records[0]
    cell = first.cell
    families = list(dict.fromkeys(record.cell.family for record in records))
    seeds = sorted({record.cell.seed for record in records})
    together = {(record.cell.family, record.job, record.trained_together): record.fit_seconds for record in records}
    versions = [f"{name}=={version}" for name, version in sorted(first.versions.items()) if name in _LOCKED]
    elsewhere = first.trained_elsewhere is not None
    lines = [
        "# A row for the leaderboard of omrl-bench. What every key means: docs/submitting.md",
        *_pairs(name=cell.method, version=1, summary=_to_fill("what the method does, in a line")),
        *_pairs(authors=[_to_fill("who")], contact=_to_fill("an address that is read")),
        *_pairs(paper="", licence=_to_fill("of the code, e.g. MIT")),
        "# " + "; ".join(f"{name}: {meaning}" for name, meaning in RULESETS.items()),
        *_pairs(ruleset="fixed"),
        *_table("code", entry_point=entry_point, sha256=sha256, address="", commit="", lock=versions),
        *_table("grid", suite=cell.suite, preset=cell.preset, dataset=cell.dataset, backbone=cell.backbone),
        *_pairs(families=families, seeds=seeds),
        *(line for family in families for line in _hashes(family, records)),
        *_table("privileges", **{name: _to_fill("where it comes from") for name in first.privileges}),
        *_table("effort", extra_data=_to_fill('"none", or what and from where')),
        *_pairs(tuning_episodes=0, ledger="", checkpoint="trained elsewhere" if elsewhere else "last"),
        *_pairs(hardware=_to_fill("processor or accelerator, and how many")),
        *_pairs(hours=round(sum(together.values()) / 3600, 3)),
        "",
        "[statements] # true if it is",
        *(f"{name} = false # {sentence}" for name, sentence in STATEMENTS.items()),
        *_absent(records, suite),
    ]
    return "\n".join(lines) + "\n"


_LOCKED = ("numpy", "torch", "gymnasium", "mujoco", "minari", "omrl-bench")


def _to_fill(what: str) -> str:
    return f"{TO_FILL_IN}: {what}"


def _pairs(**values: object) -> list[str]:
    """Keys and values; TOML writes strings, numbers and lists of them as JSON does."""
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]


def _table(header: str, **values: object) -> list[str]:
    return ["", f"[{header}]", *_pairs(**values)]


def _hashes(family: str, records: Iterable[Record]) -> list[str]:
    record = next(record for record in records if record.cell.family == family)
    hashes = (record.equivalent_to or record.hashes).model_dump()
    return _table(f"hashes.{family}", **hashes)


def _absent(records: Sequence[Record], suite: Suite) -> list[str]:
    """A table for what the preset has and the records have not."""
    preset = records[0].cell.preset
    there = {(record.cell.family, record.cell.seed) for record in records}
    lines = []
    for family in suite.families_of(preset):
        lacking = [seed for seed in suite.presets[preset].seeds if (family, seed) not in there]
        if lacking:
            values = {"family": family, "seeds": lacking, "why": _to_fill("why they are not there")}
            lines += ["", "[[absent]]", *_pairs(**values)]
    return lines
