"""From a suite to the cells it wants, what is there of them already, and the jobs that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from omrl_bench import registry
from omrl_bench.api import Setup
from omrl_bench.data.contexts import source_dataset
from omrl_bench.data.manifest import ensure_dataset, verify_dataset
from omrl_bench.data.store import dataset_folder
from omrl_bench.envs.families import Family, get_family
from omrl_bench.errors import InputError, RecordError, unknown_name
from omrl_bench.protocols.method_sets import expanded
from omrl_bench.protocols.protocol import Protocol
from omrl_bench.protocols.suite import Preset, Suite, check_seeds, dataset_parts
from omrl_bench.registry import BASELINES, resolve_method
from omrl_bench.runner.equivalences import read_equivalences
from omrl_bench.runner.job import Job
from omrl_bench.runner.records import Cell, Hashes, folder_key, read_record_of, record_files
from omrl_bench.runner.settings import Setting, configuration_of, fit_settings, method_name, split_reference
from omrl_bench.runner.states import Expected, hashes_with, state_of, trainer_of
from omrl_bench.vocabulary import RERUNS, Rerun, State


class Method(NamedTuple):
    """A row.

    Attributes:
        name: What its records call it: a registered name or a class's, with the settings.
        target: Its class, see :func:`omrl_bench.registry.resolve_method`.
        settings: Hyper-parameters in place of its own.
    """

    name: str
    target: str
    settings: Mapping[str, Setting]

    @property
    def built_in(self) -> bool:
        """Whether it is one of the benchmark's own rows."""
        return self.target.startswith(f"{BASELINES}.") and not self.settings


@dataclass(frozen=True)
class Selection:
    """What the user asked for: a suite, restricted or extended by the command line.

    Attributes:
        suite: The whole suite.
        preset_name: What the preset is called in the suite, and the folder of its records; methods are told it.
        preset: The preset itself, with its own seeds and for all of its families
            (:meth:`omrl_bench.protocols.suite.Preset.of` is for one).
        families: Names.
        datasets: As the suite writes them, see :func:`omrl_bench.protocols.suite.dataset_parts`.
        methods: Rows.
        backbones: Names.
        seeds: Of training.
        device: Where to train.
    """

    suite: Suite
    preset_name: str
    preset: Preset
    families: tuple[str, ...]
    datasets: tuple[str, ...]
    methods: tuple[Method, ...]
    backbones: tuple[str, ...]
    seeds: tuple[int, ...]
    device: str = "cpu"

    @property
    def protocol(self) -> Protocol:
        """The suite's protocol as the preset evaluates by it."""
        return self.suite.protocol_of(self.preset_name)


@dataclass(frozen=True)
class PlannedCell:
    """A cell with what is known of it.

    Attributes:
        cell: The cell.
        method: Its row, which says how to make it; the cell has its name only.
        expected: The hashes that its record would carry now, see :func:`omrl_bench.runner.states.expected_hashes`.
        state: What the results folder has of it.
        reason: Why it is stale or failed; else empty.
    """

    cell: Cell
    method: Method
    expected: tuple[Hashes, Hashes]
    state: State
    reason: str


class CellElsewhere(NamedTuple):
    """A cell whose policy was trained elsewhere, with what is known of it."""

    cell: Cell
    state: State
    reason: str  # why it is stale, and what trained it


def select(
    suite: Suite,
    preset: str | None = None,
    families: Iterable[str] = (),
    methods: Iterable[str] = (),
    seeds: Iterable[int] = (),
    device: str = "cpu",
    settings: Mapping[str, Setting] | None = None,
    datasets: Iterable[str] = (),
    backbones: Iterable[str] = (),
) -> Selection:
    """Restrict a suite to some of what it has; methods may also be adapters of one's own.

    Args:
        suite: The suite.
        preset: Its preset; None for its default.
        families: Only these; all of the preset's if none are given.
        methods: Only these, by name or ``path/to/file.py:Class``, each perhaps with settings (``focal[beta=2.0]``), or
            sets of methods (``@papers``); all of the preset's if none are given.
        seeds: Only these; the preset's if none are given.
        device: Where to train.
        settings: Hyper-parameters to change in every method; each becomes a row of its own name.
        datasets: Only these, of the suite's; all of them if none are given.
        backbones: The same.

    Raises:
        InputError: for a name or hyper-parameter that does not exist, two methods of one name, or seeds that are
            negative or given twice.
    """
    preset_name, chosen = suite.preset(preset)
    wanted_datasets = _some_of(suite, "dataset", suite.datasets, datasets)
    wanted_backbones = _some_of(suite, "backbone", suite.backbones, backbones)
    known = tuple(dict.fromkeys((*suite.families, *suite.families_of(preset))))
    wanted_families = tuple(dict.fromkeys(families)) or suite.families_of(preset)
    for family in wanted_families:
        get_family(family)  # says "did you mean" if there is no such family at all
        if family not in known:
            raise unknown_name(f"family of suite {suite.name!r}", family, known)
        if not len(get_family(family).tasks().ids(suite.protocol.split)):
            raise InputError(f"suite {suite.name!r}: family {family!r} has no {suite.protocol.split} tasks")
    known_backbones = registry.backbones()
    for backbone in wanted_backbones:
        if backbone not in known_backbones:
            raise unknown_name("backbone", backbone, known_backbones)
    try:
        wanted_seeds = check_seeds(tuple(seeds) or chosen.seeds)
    except ValueError as error:
        raise InputError(f"--seeds: {error}") from error
    found: dict[str, Method] = {}
    for reference in expanded(methods) or suite.methods_of(preset):
        method = find_method(reference, settings or {}, preset_name, get_family(wanted_families[0]), wanted_backbones)
        if found.setdefault(method.name, method).target != method.target:
            raise InputError(
                f"two methods are called {method.name!r}, and so is the folder of their records: "
                f"{found[method.name].target} and {method.target}; rename one of the classes"
            )
        for name in found:
            if name != method.name and folder_key(name) == folder_key(method.name):
                raise InputError(
                    f"methods {name!r} and {method.name!r} have the same folder on disks that do not tell capital "
                    "letters from small ones; rename one of the classes"
                )
    return Selection(
        suite=suite,
        preset_name=preset_name,
        preset=chosen,
        families=wanted_families,
        datasets=wanted_datasets,
        methods=tuple(found.values()),
        backbones=wanted_backbones,
        seeds=wanted_seeds,
        device=check_device(device),
    )


def _some_of(suite: Suite, kind: str, known: tuple[str, ...], wanted: Iterable[str]) -> tuple[str, ...]:
    """Those that are wanted, in the suite's order; all if none are."""
    names = tuple(wanted) or known
    for name in names:
        if name not in known:
            raise unknown_name(f"{kind} of suite {suite.name!r}", name, known)
    return tuple(name for name in known if name in names)


def find_method(
    reference: str, settings: Mapping[str, Setting], preset: str, family: Family, with_backbones: Iterable[str]
) -> Method:
    """Resolve what names a method, perhaps with settings of its own, and add others to them.

    Raises:
        InputError: if there is no such method, or it has no such hyper-parameters (with one of the backbones).
    """
    base, own = split_reference(reference)
    name, target = resolve_method(base)
    changed = {**own, **settings}
    for backbone in with_backbones if changed else ():
        defaults = configuration_of(target, family, Setup(preset, backbone))
        changed = fit_settings(name, changed, defaults)
    method = Method(method_name(name, changed), target, changed)
    for backbone in with_backbones if changed else ():
        configuration_of(target, family, Setup(preset, backbone, changed))  # it may refuse a value
    return method


def check_device(device: str) -> str:
    """Return the device if torch can compute there.

    Raises:
        InputError: if it cannot, or the name is none of torch's.
    """
    if device != "cpu":  # torch takes a second to import
        import torch

        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"--device {device}: torch cannot use it here: {str(error).splitlines()[0]}") from error
    return device


def needed_datasets(selection: Selection) -> list[tuple[Family, str]]:
    """The datasets that training and contexts need."""
    return datasets_behind(selection.families, selection.datasets, selection.preset.qualities)


def datasets_behind(
    families: Iterable[str], datasets: Iterable[str], contexts: Iterable[str]
) -> list[tuple[Family, str]]:
    """The datasets behind those of a suite (``expert+mixed`` has two) and behind contexts of some qualities."""
    parts = [part for dataset in datasets for part in dataset_parts(dataset)]
    qualities = dict.fromkeys([*parts, *map(source_dataset, contexts)])
    return [(get_family(family), quality) for family in families for quality in qualities]


def unknown_statuses(selection: Selection) -> dict[tuple[str, str], str]:
    """What :func:`prepare_data` returns, for a plan that looks at no data."""
    return {(family.name, quality): "unknown" for family, quality in needed_datasets(selection)}


def prepare_data(selection: Selection, threads: int, announce: Callable[[str], None]) -> dict[tuple[str, str], str]:
    """Build the datasets that are missing, check all of them, and return their status by (family, quality).

    Raises:
        InputError: if a dataset is foreign, damaged, of another version, or disagrees with the manifest.
    """
    return prepare_datasets(needed_datasets(selection), threads, announce)


def prepare_datasets(
    needed: Iterable[tuple[Family, str]], threads: int, announce: Callable[[str], None]
) -> dict[tuple[str, str], str]:
    """The same for some datasets."""
    statuses: dict[tuple[str, str], str] = {}
    for family, quality in needed:
        ensure_dataset(family, quality, threads, announce)
        status, reason = verify_dataset(family, quality)
        if status == "wrong":
            raise InputError(
                f"dataset {dataset_folder(family, quality)} differs from its manifest: {reason}; "
                f"omrl-bench data build {family.name} --quality {quality} --force"
            )
        statuses[family.name, quality] = status
    return statuses


def inspect_cells(selection: Selection, results: Path, in_process: bool = False) -> list[PlannedCell]:
    """Return every cell of the selection with its state; nothing is run or built.

    Args:
        selection: What is asked for.
        results: Results folder.
        in_process: Whether records of methods that ran in the scorer's own process will do, as to go on debugging.

    Raises:
        InputError: if a method cannot be loaded, local data are damaged, or the folder's equivalences.
    """
    cells = []
    equal, hashes = read_equivalences(results), Expected(selection)
    for family in selection.families:
        for dataset in selection.datasets:
            for method in selection.methods:
                for backbone in selection.backbones:
                    expected = hashes.hashes(family, dataset, method, backbone)
                    for seed in selection.seeds:
                        cell = Cell(
                            suite=selection.suite.name,
                            family=family,
                            dataset=dataset,
                            method=method.name,
                            backbone=backbone,
                            preset=selection.preset_name,
                            seed=seed,
                        )
                        state = state_of(cell, results, expected, equal, in_process)
                        cells.append(PlannedCell(cell, method, expected, *state))
    return cells


def inspect_elsewhere(selection: Selection, results: Path) -> list[CellElsewhere]:
    """Return what a results folder has of a selection's suite, preset, families and seeds that was trained elsewhere.

    There is no source to compare: it is complete as long as suite, family, data and contexts are what they were.
    """
    found = []
    equal = read_equivalences(results)
    for path in record_files(results / selection.suite.name / selection.preset_name, lambda error: None):
        try:
            record = read_record_of(results, path)
        except RecordError:  # `report` says what is wrong with it
            continue
        cell = record.cell
        wanted = (selection.families, selection.seeds, selection.datasets)
        selected = all(one in some for one, some in zip((cell.family, cell.seed, cell.dataset), wanted, strict=True))
        if record.trained_elsewhere is not None and selected:
            expected = hashes_with(selection, cell.family, cell.dataset, record.hashes.method)
            state, reason = state_of(cell, results, expected, equal)
            note = f"trained elsewhere, self-reported: {record.trained_elsewhere}"
            found.append(CellElsewhere(cell, state, f"{reason}; {note}" if reason else note))
    return found


def make_jobs(
    selection: Selection,
    cells: Iterable[PlannedCell],
    rerun: Rerun,
    statuses: Mapping[tuple[str, str], str],
    results: Path,
    threads: int,
) -> list[Job]:
    """Group the cells that are to run into jobs: those that differ in their seed only train together.

    At most :data:`omrl_bench.runner.records.SEEDS_TOGETHER` of them, always the same ones: seeds 0 to 4 of ten are
    those of five, and find the training of those; more to a job is not faster.
    """
    wanted = RERUNS[: RERUNS.index(rerun) + 1]
    results = results.resolve()
    todo = [planned for planned in cells if rerun == "all" or planned.state in wanted]
    jobs = []
    for _, group in groupby(todo, key=lambda planned: planned.cell.group()):
        members = list(group)
        cell, method, (local, canonical) = members[0].cell, members[0].method, members[0].expected
        jobs.append(
            Job(
                cells=tuple(member.cell for member in members),
                target=method.target,
                settings=dict(method.settings),
                protocol=selection.protocol,
                preset=selection.preset.of(cell.family),
                hashes=local,
                trainer=trainer_of(selection, cell.family, method, cell.backbone) or (method.name, local.method),
                equivalent_to=canonical if canonical != local else None,
                dataset_status=data_status(statuses, cell, selection.preset.qualities),
                results=results,
                threads=threads,
                context_rho=selection.suite.context_rho.get(cell.family),
                device=selection.device,
                train_again=rerun == "all",
            )
        )
    return jobs


def data_status(statuses: Mapping[tuple[str, str], str], cell: Cell, qualities: Iterable[str]) -> str:
    """Status of the data that a cell trains on and takes contexts from: of several, one that is not canonical."""
    parts = [*dataset_parts(cell.dataset), *map(source_dataset, qualities)]
    of_parts = [statuses[cell.family, part] for part in parts]
    return next((status for status in of_parts if status != "canonical"), "canonical")
