"""What a results folder has of a cell: the hashes that its record would carry now, compared with those that it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from omrl_bench.api import Setup
from omrl_bench.data.contexts import context_name, source_dataset
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import dataset_folder, read_contexts, read_receipt
from omrl_bench.envs.families import Family, get_family
from omrl_bench.errors import InputError, RecordError
from omrl_bench.fingerprint import hash_text
from omrl_bench.protocols.protocol import Protocol
from omrl_bench.protocols.suite import dataset_parts
from omrl_bench.registry import load_class, resolve_method, source_hash
from omrl_bench.runner.equivalences import Equivalences
from omrl_bench.runner.records import Cell, Hashes, folder_key, read_cube_beside, read_record
from omrl_bench.runner.settings import configuration_of, method_name
from omrl_bench.vocabulary import State

if TYPE_CHECKING:
    from omrl_bench.runner.plan import Method, Selection


def state_of(
    cell: Cell, results: Path, expected: tuple[Hashes, Hashes], equal: Equivalences, in_process: bool = False
) -> tuple[State, str]:
    """Return what a results folder has of a cell, and why it is failed or stale.

    Args:
        cell: The cell.
        results: The folder.
        expected: See :func:`expected_hashes`.
        equal: What is declared equal.
        in_process: Whether a method that ran in the scorer's own process will do.

    Raises:
        InputError: if a disk that does not tell case shows the records of another name there.
    """
    path = cell.record_path(results)
    try:
        if not path.exists():
            return "missing", ""
        record = read_record(path)
        if record.cell != cell:
            _check_same_case(record.cell, cell, results)
            return "failed", f"its record is that of {record.cell.record_path(Path()).as_posix()}"
        if record.status == "failed":
            return "failed", record.error or ""
        its = [equal.of(hashes) for hashes in (record.hashes, record.equivalent_to) if hashes]
        if not any(equal.of(hashes) in its for hashes in expected):
            local, canonical = expected
            then, now = (record.equivalent_to, canonical) if record.equivalent_to else (record.hashes, local)
            changed = [
                name for name, value in then.model_dump().items() if not equal.same(name, value, getattr(now, name))
            ]
            return "stale", f"changed since: {', '.join(changed)}"
        if record.refereed is False and not in_process:
            return "stale", "its method ran in the scorer's own process (inline)"
        read_cube_beside(path, record)
    except RecordError as error:
        return "failed", f"its {'cube' if error.path.suffix == '.npz' else 'record'} {error.reason}"
    except OSError as error:  # its folder may not be looked into
        return "failed", f"its record cannot be read: {error.strerror}"
    return "complete", ""


def _check_same_case(found: Cell, cell: Cell, results: Path) -> None:
    """Raise InputError if a record lies in a cell's folder because the disk takes two names for one."""
    for name, other in zip(found.folder().parts, cell.folder().parts, strict=True):
        if name != other and folder_key(name) == folder_key(other):
            raise InputError(
                f"the records of {name!r} are in {results} already, and this disk takes the folder of {other!r} for "
                "theirs; rename one, or choose another results folder"
            )


def expected_hashes(
    selection: Selection, family_name: str, dataset: str, method: Method, backbone: str
) -> tuple[Hashes, Hashes]:
    """Hashes that a record of this cell would carry now, on the local data and on the canonical data.

    A record is up to date if it carries one of them, or names one as what its data were equivalent to: local data may
    be gone, or be of another processor.
    """
    return Expected(selection).hashes(family_name, dataset, method, backbone)


def trainer_of(selection: Selection, family_name: str, method: Method, backbone: str) -> tuple[str, str] | None:
    """The other method that a built-in one is trained as (``Algorithm.trained_as``), if there is one, and its hash."""
    name = load_class(method.target).trained_as if method.built_in else None
    if name is None:
        return None
    setup = Setup(selection.preset_name, backbone, method.settings)
    return method_name(name, method.settings), method_hash(resolve_method(name)[1], family_name, setup)


class Expected:
    """The same for all cells of a selection, of which many share their data or their source: each is read once.

    Args:
        selection: What is asked for.
    """

    def __init__(self, selection: Selection) -> None:
        self._preset = selection.preset_name
        self._of_data = cache(lambda family, dataset: hashes_with(selection, family, dataset, ""))
        self._of_source = cache(source_hash)

    def hashes(self, family_name: str, dataset: str, method: Method, backbone: str) -> tuple[Hashes, Hashes]:
        """See :func:`expected_hashes`."""
        setup = Setup(self._preset, backbone, method.settings)
        its = {"method": method_hash(method.target, family_name, setup, self._of_source)}
        local, canonical = self._of_data(family_name, dataset)
        return local.model_copy(update=its), canonical.model_copy(update=its)


def hashes_with(selection: Selection, family_name: str, dataset: str, method: str) -> tuple[Hashes, Hashes]:
    """The same of one cell, given the hash of its method."""
    suite = selection.suite.fingerprint(selection.preset_name, family_name)
    return hashes_of(suite, family_name, dataset, selection.protocol, selection.preset.qualities, method)


def hashes_of(
    suite: str, family_name: str, dataset: str, protocol: Protocol, qualities: Sequence[str], method: str
) -> tuple[Hashes, Hashes]:
    """The same, given the hashes of suite and method, on the data and tasks of this machine."""
    family = get_family(family_name)
    contexts = protocol.context_sets(qualities)
    local, canonical = (
        Hashes(
            suite=suite,
            family=family.training_fingerprint(),
            dataset=_hash_of_parts(dataset, hash_data),
            contexts=hash_text(*(hash_context(*key) for key in contexts)),
            method=method,
            tasks=evaluated_hash(family, protocol.split),
        )
        for hash_data, hash_context in _data_hashes(family, protocol.split)
    )
    return local, canonical


def method_hash(target: str, family_name: str, setup: Setup, source: Callable[[str, str], str] = source_hash) -> str:
    """Hash of a method: that of its source (:func:`omrl_bench.registry.source_hash`) and of its configuration."""
    # the configuration first: a method that cannot be imported is better said so than not to be found
    configuration = json.dumps(configuration_of(target, get_family(family_name), setup), sort_keys=True)
    return hash_text(source(target, setup.backbone), configuration)


def evaluated_hash(family: Family, split: str) -> str:
    """Hash of the rows and the reference returns of the tasks that are evaluated."""
    manifest, table = read_manifest(family), family.tasks()
    tasks = table.ids(split)
    references = [(manifest.random[task], manifest.expert[task]) for task in tasks]
    return hash_text(table.row_text(tasks), json.dumps(references))


def _hash_of_parts(dataset: str, hash_data: Callable[[str], str]) -> str:
    policy, representation = dataset_parts(dataset)
    if policy == representation:
        return hash_data(policy)
    return hash_text(hash_data(policy), hash_data(representation))


def _data_hashes(family: Family, split: str) -> Iterable[tuple[Callable[[str], str], Callable[[str, str], str]]]:
    """Hashes of a dataset's training data by its quality, and of a split's contexts by their quality and unit.

    First those of the local data, then those of the canonical data.
    """
    manifest, splits = read_manifest(family), family.tasks().by_split()

    def canonical_data(quality: str) -> str:
        return manifest.datasets[quality].parts["train"]

    def canonical_context(quality: str, unit: str) -> str:
        entry = manifest.datasets[source_dataset(quality)]
        return hash_text(entry.contexts[context_name(quality, unit)][split], entry.parts[split])

    def local_data(quality: str) -> str:
        if not dataset_folder(family, quality).exists():
            return canonical_data(quality)
        return read_receipt(family, quality).parts["train"]

    def local_context(quality: str, unit: str) -> str:
        source = source_dataset(quality)
        if not dataset_folder(family, source).exists():
            return canonical_context(quality, unit)
        receipt = read_receipt(family, source)
        if receipt.content == manifest.datasets[source].content:
            return canonical_context(quality, unit)
        hashes = read_contexts(family, source).hashes(splits)
        return hash_text(hashes[context_name(quality, unit)][split], receipt.parts[split])

    yield local_data, local_context
    yield canonical_data, canonical_context
