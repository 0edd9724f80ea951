"""A method as the referee has it: in processes of its own, or, to debug, in this one."""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import sys
import tempfile
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from omrl_bench.api import Budget, MetaPolicy, Setup, Stage, TaskSpace, Transitions
from omrl_bench.errors import InputError
from omrl_bench.protocols.rollout import PolicyError
from omrl_bench.referee import returned
from omrl_bench.referee.declared import Declared, checked, described
from omrl_bench.referee.process import MethodError, MethodProcess, Warden, to_stdout
from omrl_bench.referee.training_data import write_training
from omrl_bench.referee.weights import collect
from omrl_bench.registry import BASELINES, load_class, source_hash
from omrl_bench.registry.imports import read_source

if TYPE_CHECKING:
    from omrl_bench.data.meta_dataset import MetaDataset

MAKES = 60.0  # seconds that a method has to be imported and constructed

#: stage, step, total, seeds (None for all), calls of `log` that this stands for.
Heard = Callable[[Stage, int, int, Sequence[int] | None, int], None]


class Method(AbstractContextManager["Method"]):
    """A method, not trained; leaving the context ends all that belongs to it.

    Attributes:
        refereed: Whether it runs in processes of its own: what a table asks for.
        declared: What it declares.
    """

    refereed: ClassVar[bool | None]
    declared: Declared

    @abstractmethod
    def fit(self, data: MetaDataset, budget: Budget, seeds: Sequence[int], log: Heard, points: int) -> None:
        """Train; ``points`` is how many points of a learning curve are taken during calls of ``log``."""

    @abstractmethod
    def save(self) -> None:
        """Take what was trained: from now on, policies begin there."""

    @abstractmethod
    def keep(self, folder: Path) -> None:
        """Write what was taken into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Take what :meth:`keep` wrote."""

    @abstractmethod
    def policy(self, seed: int) -> MetaPolicy:
        """A policy of a seed that knows nothing of those before it; during ``fit``, as it is then."""

    @abstractmethod
    def attention(self, seed: int, context: Transitions) -> np.ndarray | None:
        """See :meth:`omrl_bench.api.Algorithm.attention_weights`."""

    @abstractmethod
    def parameter_count(self) -> int:
        """See :meth:`omrl_bench.api.Algorithm.parameter_count`."""

    @abstractmethod
    def processor_seconds(self) -> float:
        """Processor time that training has used."""

    @abstractmethod
    def peak_memory_mib(self) -> float:
        """The most memory that training has had."""


class InProcess(Method):
    """A method in this process, where breakpoints stop and everything can be reached: no table takes its numbers.

    Args:
        target: Its class, see :func:`omrl_bench.registry.resolve_method`.
        space: What the tasks share.
        setup: How to build it.
    """

    refereed = False

    def __init__(self, target: str, space: TaskSpace, setup: Setup) -> None:
        cls = load_class(target)
        self._make = partial(cls, space, setup)
        self.algorithm = self._make()
        self._name = name_of(target)
        self.declared = checked(self._name, described(cls, self.algorithm))

    def __exit__(self, *_: object) -> None:
        pass

    def fit(self, data: MetaDataset, budget: Budget, seeds: Sequence[int], log: Heard, points: int) -> None:
        """Call the method's own."""

        def report(stage: Stage, step: int, total: int, seeds: Sequence[int] | None = None) -> None:
            log(stage, step, total, seeds, 1)

        self.algorithm.fit(data, budget, seeds, report)

    def save(self) -> None:
        """What was trained is here."""

    def keep(self, folder: Path) -> None:
        """Call the method's own."""
        self.algorithm.save(folder)

    def load(self, folder: Path) -> None:
        """Call the method's own; one that cannot load is as it was made."""
        try:
            self.algorithm.load(folder)
        except Exception:
            self.algorithm = self._make()
            raise

    def policy(self, seed: int) -> MetaPolicy:
        """The method's own."""
        return self.algorithm.policy(seed)

    def attention(self, seed: int, context: Transitions) -> np.ndarray | None:
        """The method's own."""
        value: Any = self.algorithm.attention_weights(seed, context)
        return returned.attention(*returned.array_or_words(value), self._name, context.valid.shape)

    def parameter_count(self) -> int:
        """The method's own."""
        count: Any = self.algorithm.parameter_count()
        return returned.parameter_count(count, type(count).__name__, self._name)

    def processor_seconds(self) -> float:
        """Of this process."""
        return time.process_time()

    def peak_memory_mib(self) -> float:
        """Of this process."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)


class Hosted(Method):
    """A method in processes of its own.

    One process trains. Each policy that is asked for afterwards has a process of its own, in which nothing has run
    before, and what was saved is loaded. During training, and for a method that holds behaviour policies, which are not
    saved, it is a fork of the process that trains.

    Args:
        target: Its class, see :func:`omrl_bench.registry.resolve_method`.
        space: What the tasks share.
        setup: How to build it.
        output: Where to write what it prints.
        timeout: Seconds that it has to be imported and constructed.

    Raises:
        InputError: if the method cannot be imported, or what it declares is wrong.
        MethodError: if it raises something.
    """

    refereed = True

    def __init__(
        self,
        target: str,
        space: TaskSpace,
        setup: Setup,
        output: Callable[[bytes], object] | None = to_stdout,
        timeout: float | None = None,
    ) -> None:
        self._name, self._numbers = name_of(target), itertools.count()
        self._asked: dict[str, Any] = {"target": target, "space": asdict(space), "setup": _plain(setup)}
        self._timeout = MAKES if timeout is None else timeout
        self._warden = Warden(self._name, _worth_importing(target), output)
        self._folder = Path(tempfile.mkdtemp(prefix="omrl-referee-"))
        self._end = weakref.finalize(self, _end, self._warden, self._folder)
        try:
            self._trainer, said = self._made()
            self.declared = checked(self._name, said)
        except BaseException:
            self._end()
            raise
        self._forks = False  # whether a policy is a fork of the process that trains

    def __exit__(self, *_: object) -> None:
        self._end()

    def fit(self, data: MetaDataset, budget: Budget, seeds: Sequence[int], log: Heard, points: int) -> None:
        """Train in a process, whose reports and questions are answered meanwhile."""
        folder = self._warden.folder / "data"
        write_training(folder, data, self.declared.privileges)
        order: dict[str, Any] = {"budget": asdict(budget), "seeds": list(seeds), "points": points}
        self._trainer.tell("fit", folder=str(folder), privileges=sorted(self.declared.privileges), **order)
        self._forks = True
        while True:
            message, arrays = self._trainer.hear("fit")
            call = message.get("call")
            if call == "ok":
                break
            if call == "relabel":
                self._relabel(data, message, arrays)
            elif call in ("log", "progress"):
                log(*_report(message, seeds))
                if call == "log":
                    self._trainer.tell("continue")
            else:
                raise MethodError(f"{self._name}: fit answered with something unknown")
        shutil.rmtree(folder, ignore_errors=True)

    def save(self) -> None:
        """Let it save into a folder of its own, and copy what is a file there."""
        saved = Path(tempfile.mkdtemp(dir=self._warden.folder))
        self._trainer.ask("save", folder=str(saved))
        collect(saved, self._folder / "weights", self._name)
        shutil.rmtree(saved, ignore_errors=True)
        if "behaviour" not in self.declared.privileges:
            self._forks = False
            self._trainer.close()

    def keep(self, folder: Path) -> None:
        """Copy what was saved."""
        shutil.copytree(self._folder / "weights", folder, dirs_exist_ok=True)

    def load(self, folder: Path) -> None:
        """Copy it, and see whether it loads."""
        weights = self._folder / "weights"
        shutil.copytree(folder, weights)
        try:
            self._loaded().close()
        except (MethodError, InputError):
            shutil.rmtree(weights)
            raise

    def policy(self, seed: int) -> MetaPolicy:
        """A policy in a process of its own."""
        process, close = self._process()
        number = next(self._numbers)
        said, _ = process.ask("policy", number=number, seed=seed)
        return HostedPolicy(process, number, self._name, bool(said.get("observes")), close)

    def attention(self, seed: int, context: Transitions) -> np.ndarray | None:
        """Of a process of its own."""
        process, close = self._process()
        try:
            said, arrays = process.ask("attention", _arrays(context), seed=seed)
        finally:
            close()
        return returned.attention(arrays.get("value"), said.get("returned"), self._name, context.valid.shape)

    def parameter_count(self) -> int:
        """Of the process that trains."""
        said, _ = self._trainer.ask("count")
        return returned.parameter_count(said.get("count"), str(said.get("type"))[:100], self._name)

    def processor_seconds(self) -> float:
        """Of the process that trains; not of processes that it starts."""
        return self._trainer.processor_seconds()

    def peak_memory_mib(self) -> float:
        """Of the process that trains."""
        return self._trainer.peak_memory_mib()

    def _made(self) -> tuple[MethodProcess, dict[str, Any]]:
        """A process with the method, not trained, and what it declares."""
        process = self._warden.start()
        said, _ = process.ask("make", timeout=self._timeout, **self._asked)
        return process, said

    def _loaded(self) -> MethodProcess:
        """A process with what was trained; a folder of its own, so that nothing can be left for the next one."""
        process, _ = self._made()
        copy = Path(tempfile.mkdtemp(dir=self._warden.folder))
        shutil.copytree(self._folder / "weights", copy, dirs_exist_ok=True)
        process.ask("load", folder=str(copy))
        return process

    def _process(self) -> tuple[MethodProcess, Callable[[], None]]:
        """A process in which a policy can act, and how to end it."""
        process = self._trainer.fork() if self._forks else self._loaded()
        return (process, process.close) if process else (self._trainer, lambda: None)

    def _relabel(self, data: MetaDataset, message: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        of = data.representation_data if message.get("name") == "representation" else data
        try:
            rewards = of.relabelled_rewards(arrays["episodes"], arrays["tasks"])
        except (InputError, IndexError, KeyError, ValueError) as error:
            self._trainer.tell("error", text=str(error))
        else:
            self._trainer.tell("rewards", {"rewards": rewards})


class HostedPolicy(MetaPolicy):
    """A policy in another process; its process ends with this object.

    Args:
        process: Where it is.
        number: Its number there.
        method: Name of the method, for errors.
        observes: Whether it wants to know what happens.
        close: Ends the process.
    """

    def __init__(
        self, process: MethodProcess, number: int, method: str, observes: bool, close: Callable[[], None]
    ) -> None:
        self._process, self._number, self.method, self._observes = process, number, method, observes
        weakref.finalize(self, close).atexit = False

    def reset(self, lanes: int) -> None:
        """See :class:`omrl_bench.api.MetaPolicy`; so all others."""
        self._lanes = lanes
        self._process.tell("reset", number=self._number, lanes=lanes)

    def condition(self, context: Transitions) -> None:
        """A context."""
        self._process.tell("condition", _arrays(context), number=self._number)

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """Actions, of whatever shape: the simulation checks them."""
        said, arrays = self._process.ask("act", {"observations": observations}, number=self._number, explore=explore)
        if "value" not in arrays:
            raise PolicyError(
                f"{self.method}: act returned {said.get('returned') or 'None'}; expected a NumPy array "
                "(lanes, action size)"
            )
        return arrays["value"]

    def observe(self, transitions: Transitions) -> None:
        """What just happened."""
        if self._observes:
            self._process.tell("observe", _arrays(transitions), number=self._number)

    def representation(self) -> np.ndarray | None:
        """What the policy believes."""
        said, arrays = self._process.ask("representation", number=self._number)
        return returned.representation(arrays.get("value"), said.get("returned"), self.method, self._lanes)

    def end_episode(self) -> None:
        """An episode has ended."""
        self._process.tell("end_episode", number=self._number)


def declared_by(target: str, space: TaskSpace, setup: Setup) -> Declared:
    """What a method declares: of the benchmark's own methods found here, of others in a process of theirs.

    Raises:
        InputError: if the method cannot be imported in time, or what it declares is wrong.
        Exception: whatever one of the benchmark's own raises.
        MethodError: what another one raises.
    """
    if target.startswith(f"{BASELINES}."):
        return InProcess(target, space, setup).declared
    try:
        source = source_hash(target, setup.backbone)
    except InputError:  # of two things that are wrong, what its own process says is nearer to the cause
        source = ""
    return _declared_elsewhere(target, source, space, json.dumps(_plain(setup), sort_keys=True))


@lru_cache(maxsize=256)  # a plan asks again and again
def _declared_elsewhere(target: str, source: str, space: TaskSpace, setup: str) -> Declared:
    with Hosted(target, space, Setup(**json.loads(setup)), output=None) as method:
        return method.declared


def name_of(target: str) -> str:
    """The class of a method, for errors."""
    return target.rpartition(":")[2]


def _arrays(transitions: Transitions) -> dict[str, np.ndarray]:
    values = {field.name: getattr(transitions, field.name) for field in fields(transitions)}
    return {name: value for name, value in values.items() if value is not None}


def _plain(setup: Setup) -> dict[str, Any]:
    return {
        "preset": setup.preset,
        "backbone": setup.backbone,
        "settings": dict(setup.settings),
        "device": setup.device,
    }


def _report(message: dict[str, Any], seeds: Sequence[int]) -> tuple[Stage, int, int, Sequence[int] | None, int]:
    """What a report of progress says, once it is known to be one."""
    stage, of = message.get("stage"), message.get("seeds")
    step, total, calls = (message.get(name) for name in ("step", "total", "calls"))
    if not (isinstance(of, list) and of and set(map(str, of)) <= set(map(str, seeds))):
        raise MethodError(f"log was called with seeds {str(of)[:100]}; this job trains {', '.join(map(str, seeds))}")
    if type(step) is not int or type(total) is not int or type(calls) is not int or total < 1:
        raise MethodError(f"log was called with step {step} of {total}; expected integers, the second at least 1")
    return stage, step, total, tuple(map(int, of)), calls  # type: ignore[return-value]  # whoever hears it checks


def _worth_importing(target: str) -> str:
    """What to import once for all processes of a method: nothing that is somebody's; empty for nothing."""
    module = target.rpartition(":")[0]
    if module.startswith(f"{BASELINES}."):
        return module
    if not module.endswith(".py"):
        return "torch"
    try:
        source = read_source(Path(module))
    except InputError:
        return ""
    return "torch" if "torch" in source or BASELINES in source else ""


def _end(warden: Warden, folder: Path) -> None:
    warden.close()
    shutil.rmtree(folder, ignore_errors=True)
