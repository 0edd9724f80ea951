"""Records of policies that were trained elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from omrl_bench.api import MetaPolicy, Transitions
from omrl_bench.calls.data import announce
from omrl_bench.calls.evaluation import check_privileges, make_evaluation, policy_errors
from omrl_bench.calls.policies import PolicyOrFactory, as_factory
from omrl_bench.configuration import as_json
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.fingerprint import hash_text
from omrl_bench.processes import processors
from omrl_bench.protocols.suite import Suite, load_suite
from omrl_bench.registry import built_in, methods
from omrl_bench.registry.names import check_method_name
from omrl_bench.runner.circumstances import circumstances, now
from omrl_bench.runner.evaluation import Evaluation, Measured
from omrl_bench.runner.plan import Selection, data_status, prepare_data, select
from omrl_bench.runner.records import Cell, Record, check_statement, read_record, write_record
from omrl_bench.runner.run import taken
from omrl_bench.runner.states import hashes_with
from omrl_bench.runner.traces import write_traces


def record(
    policies: Mapping[int, PolicyOrFactory],
    method: str,
    suite: str,
    family: str,
    *,
    trained_with: str,
    out: str | Path = "runs",
    preset: str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    privileges: Iterable[str] = (),
    configuration: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> list[Path]:
    """Evaluate policies that were trained elsewhere, and leave the records that ``omrl-bench run`` would.

    The harness measures the returns; of the training it knows what you say. So the records are marked
    ``trained_elsewhere``, tables and leaderboard show them as self-reported, and they stay that way. All
    policies are evaluated before the first record is written.

    Args:
        policies: The policy of each training seed; what one can be, see :func:`omrl_bench.evaluate`.
        method: Name of the row. It must not be that of a registered method.
        suite: Name of a suite, or a TOML file of one's own.
        family: One of the suite's families.
        trained_with: What trained the policies, and where, in a line of at most 500 characters.
        out: Results folder.
        preset: Of the suite; its default if not given.
        dataset: What the policies were trained on, one of the suite's datasets; needed where it has several.
        backbone: The suite's backbone that the row belongs to; needed where it has several.
        privileges: What training or evaluation saw beyond data and contexts, names in
            :data:`omrl_bench.api.PRIVILEGES`: ``("descriptors",)`` if :func:`omrl_bench.load` was asked for them.
        configuration: Hyper-parameters, as far as JSON can hold them.
        replace: Whether records of the same cells that were made by this function are replaced. Those of ``omrl-bench
            run`` never are.

    Returns:
        The paths of the records, one for each seed.

    Raises:
        InputError: if a name does not exist or cannot be used, a record is there already, the local data are not what
            they should be, or a policy lacks what the protocol needs or returns what is no action.
    """
    definition = load_suite(suite)
    selection = select(
        definition,
        preset,
        [family],
        seeds=_seeds(policies),
        datasets=_one_of(definition, "dataset", dataset, definition.datasets),
        backbones=_one_of(definition, "backbone", backbone, definition.backbones),
    )
    told = check_privileges(privileges)
    fields: dict[str, Any] = {
        "trained_elsewhere": _statement(trained_with),
        "configuration": _configuration(configuration or {}),
        "privileges": tuple(sorted(told)),
    }
    cells = [_cell(selection, method, seed) for seed in selection.seeds]
    makers = {seed: as_factory(policy, selection) for seed, policy in policies.items()}
    results = Path(out)
    with taken(results, cells):
        _check_free(results, cells, replace)
        statuses = prepare_data(selection, processors(), announce)
        evaluation = make_evaluation(selection, told)
        started = time.perf_counter()
        measured = [_measured(evaluation, makers[cell.seed], cell.seed, selection) for cell in cells]
        fields["evaluate_seconds"] = round(time.perf_counter() - started, 2)
        fields["dataset_status"] = data_status(statuses, cells[0], selection.preset.qualities)
        records = _records(selection, cells, measured, fields)
        for written, each in zip(records, measured, strict=True):
            write_traces(results, written.cell, each.traces)
            write_record(results, written, each.cube)
    return [cell.record_path(results) for cell in cells]


def _one_of(suite: Suite, kind: str, name: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """The one dataset or backbone that the records are of."""
    if name is None and len(known) > 1:
        raise InputError(f"suite {suite.name!r} has several {kind}s; pass {kind}=, one of {', '.join(known)}")
    return (known[0] if name is None else name,)


def _seeds(policies: Mapping[int, PolicyOrFactory]) -> tuple[int, ...]:
    if not policies:
        raise InputError("no policies to record; pass {seed: policy}")
    for seed in policies:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise InputError(f"{seed!r} is no training seed; pass policies as {{0: policy, 1: another}}")
    return tuple(policies)


def _cell(selection: Selection, method: str, seed: int) -> Cell:
    if method.partition("[")[0] in methods():
        raise InputError(f"{method!r} is the name of a registered method; one that was trained elsewhere needs its own")
    check_method_name(method.partition("[")[0], built_in())
    try:
        return Cell(
            suite=selection.suite.name,
            family=selection.families[0],
            dataset=selection.datasets[0],
            method=method,
            backbone=selection.backbones[0],
            preset=selection.preset_name,
            seed=seed,
        )
    except ValidationError as error:
        raise InputError(f"method {method!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _statement(trained_with: str) -> str:
    try:
        return check_statement(" ".join(trained_with.split()))
    except ValueError as error:
        raise InputError(f"trained_with: {error}") from error


def _configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return as_json(configuration)
    except TypeError as error:
        raise InputError(str(error)) from error


def _check_free(results: Path, cells: Sequence[Cell], replace: bool) -> None:
    """Make sure that no record is lost that should stay; a failed one may go."""
    for cell in cells:
        path = cell.record_path(results)
        if not path.exists():
            continue
        found = read_record(path)
        if found.status == "complete" and found.trained_elsewhere is None:
            raise InputError(f"{path} is the record of a run and is not replaced; name the method or out otherwise")
        if found.status == "complete" and not replace:
            raise InputError(f"{path} is there already; pass replace=True to replace it, or another out")


def _measured(evaluation: Evaluation, make: Callable[[], MetaPolicy], seed: int, selection: Selection) -> Measured:
    with policy_errors(seed):
        return evaluation.measured(make, _no_attention, seed, pictured=seed == selection.preset.seeds[0])


def _no_attention(context: Transitions) -> None:
    """What a policy without attention weights says of a context."""


def _records(
    selection: Selection, cells: Sequence[Cell], measured: Sequence[Measured], fields: Mapping[str, Any]
) -> list[Record]:
    of = cells[0]
    stated = json.dumps(fields["configuration"], sort_keys=True)
    identity = hash_text("trained elsewhere", of.method, fields["trained_elsewhere"], stated)  # there is no source
    local, canonical = hashes_with(selection, of.family, of.dataset, identity)
    shared: dict[str, Any] = {
        **circumstances(),
        "peak_memory_mib": 0.0,  # of training, which nobody measured
        "device": "elsewhere",
        "hashes": local,
        "equivalent_to": canonical if canonical != local else None,
        "created": now(),
    }
    return [
        Record(
            cell=cell,
            family_version=get_family(cell.family).version,
            status="complete",
            trained_together=(cell.seed,),
            metrics=each.cube.metrics(),
            representation=each.representation,
            **shared,
            **fields,
        )
        for cell, each in zip(cells, measured, strict=True)
    ]
