"""Scores of any policy under a suite's protocol, as a tidy frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from omrl_bench.api import PRIVILEGES
from omrl_bench.calls.data import ensure
from omrl_bench.calls.policies import PolicyOrFactory, as_factory
from omrl_bench.data.contexts import source_dataset
from omrl_bench.data.datasets import Datasets
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.processes import processors
from omrl_bench.protocols.rollout import PolicyError
from omrl_bench.protocols.suite import load_suite
from omrl_bench.runner.cubes import Cube
from omrl_bench.runner.evaluation import Evaluation
from omrl_bench.runner.plan import Selection, select

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    policy: PolicyOrFactory,
    suite: str,
    family: str,
    preset: str | None = None,
    *,
    seed: int = 0,
    split: str | None = None,
    privileges: Iterable[str] = (),
) -> pd.DataFrame:
    """Evaluate a policy as the suite evaluates every method.

    It is given, told and asked what ``omrl-bench run`` gives, tells and asks a method, and the numbers are the same.
    Nothing is trained or written. Data that contexts are drawn from are built if they are not on this machine.

    Args:
        policy: One trained seed: any object with ``reset(lanes)``, ``condition(context)`` and ``act(observations)``,
            see :class:`omrl_bench.calls.policies.Policy`; or a class or function without arguments that makes one.
        suite: Name of a suite, or a TOML file of one's own.
        family: One of the suite's families.
        preset: Whose conditions to take; the suite's default if not given.
        seed: Training seed that the environments' seeds belong to, so that seeds do not share their episodes' luck.
        split: Other tasks than the suite's: choose checkpoints and hyper-parameters on ``"validation"``.
        privileges: ``("descriptors",)`` gives the policy the true task parameters in its contexts.

    Returns:
        One row for each condition, task and draw, with columns ``suite``, ``preset``, ``family``, ``seed``,
        ``condition`` (a context quality, or an episode), ``task``, ``draw``, ``return`` (undiscounted) and ``score``
        (0 is the random policy's return, 100 the expert's): those of
        :func:`omrl_bench.report.reading.frames.load` that do not depend on how the policy was trained.

    Raises:
        InputError: if a name does not exist, the policy lacks what the protocol needs (before anything is simulated),
            or it returns what is no action.
    """
    selection = select(load_suite(suite), preset, [family], seeds=[seed])
    told = check_privileges(privileges)
    make = as_factory(policy, selection)
    for quality in dict.fromkeys(source_dataset(quality) for quality in selection.preset.qualities):
        ensure(get_family(family), quality)
    evaluation = make_evaluation(selection, told)
    with policy_errors(seed):
        cube = evaluation.cube(make, seed, split).stored()
    return _frame(cube, suite=selection.suite.name, preset=selection.preset_name, family=family, seed=seed)


def make_evaluation(selection: Selection, privileges: frozenset[str]) -> Evaluation:
    """The evaluation of a selection's one family; its data are there."""
    suite, (family,) = selection.suite, selection.families
    datasets = Datasets(get_family(family), privileges, suite.context_rho.get(family))
    preset = selection.preset
    return Evaluation(datasets, selection.protocol, preset.qualities, preset.train_tasks, processors())


@contextmanager
def policy_errors(seed: int) -> Iterator[None]:
    """Say of which seed the policy is that returned what is no action."""
    try:
        yield
    except PolicyError as error:
        raise InputError(f"the policy of seed {seed}: {error}") from error


def check_privileges(privileges: Iterable[str]) -> frozenset[str]:
    """Return privileges, or raise InputError for one that does not exist."""
    if isinstance(privileges, str):
        raise InputError(f"privileges are several names: privileges=({privileges!r},)")
    found = frozenset(privileges)
    for name in sorted(found - set(PRIVILEGES)):
        raise unknown_name("privilege", name, PRIVILEGES)
    return found


def _frame(cube: Cube, **constant: str | int) -> pd.DataFrame:
    import pandas as pd

    conditions, tasks, draws = cube.returns.shape
    return pd.DataFrame(
        {
            **constant,
            "condition": np.repeat(cube.conditions, tasks * draws),
            "task": np.tile(np.repeat(cube.tasks, draws), conditions),
            "draw": np.tile(np.arange(draws), conditions * tasks),
            "return": cube.returns.ravel().astype(float),
            "score": cube.scores().ravel().astype(float),
        }
    )
