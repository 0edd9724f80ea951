"""The method's side: constructs it, trains it and lets it act, as the referee asks over the socket.

It knows what the messages hold and nothing else. After an error the process ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from omrl_bench.api import STAGES, Algorithm, Behaviour, Budget, MetaPolicy, Setup, Stage, TaskSpace, Transitions
from omrl_bench.errors import InputError
from omrl_bench.referee.declared import described
from omrl_bench.referee.frames import DTYPES, Channel, ClosedError
from omrl_bench.referee.training_data import MappedData
from omrl_bench.registry import load_class

FROM_REFEREE = 1 << 34  # bytes of arrays that it may send at once; it is not an enemy
SAY_EVERY = 0.05  # seconds between reports of progress that the referee need not answer
LONGEST_TEXT = 2000  # characters of an error


class Host:
    """One process of the method.

    Args:
        channel: To the referee.
    """

    algorithm: Algorithm

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.policies: dict[int, MetaPolicy] = {}
        self.forks: list[int] = []

    def serve(self) -> None:
        """Do what the referee asks until it says `continue`; without it, or after an error, the process ends."""
        try:
            while True:
                message, arrays = self.channel.receive()
                call = message.pop("call")
                if call == "continue":
                    return
                getattr(self, f"do_{call}")(**message, **arrays)
        except ClosedError:
            os._exit(0)
        except BaseException as error:  # it is somebody's code
            self.fail(error)

    def fail(self, error: BaseException) -> NoReturn:
        """Say what went wrong, and end."""
        try:
            traceback.print_exc()
            self.channel.send({"call": "error", **error_fields(error)})
        finally:
            os._exit(1)

    def reply(self, arrays: Mapping[str, np.ndarray] | None = None, **fields: Any) -> None:
        """Answer what was asked."""
        self.channel.send({"call": "ok", **fields}, arrays)

    def do_make(self, target: str, space: Mapping[str, Any], setup: Mapping[str, Any]) -> None:
        """Import and construct the method; say what it declares."""
        if setup["device"] != "cpu":  # the usual one is not set: a default device costs time at every call
            import torch

            torch.set_default_device(setup["device"])
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        self.space = TaskSpace(**space)
        cls = load_class(target)
        self.algorithm = cls(self.space, Setup(**setup))
        self.reply(**described(cls, self.algorithm))

    def do_fit(
        self, folder: str, privileges: Sequence[str], budget: Mapping[str, int], seeds: Sequence[int], points: int
    ) -> None:
        """Train on the data in a folder, and report."""
        data = MappedData(Path(folder), frozenset(privileges), self.make_behaviour, self.relabel)
        self.algorithm.fit(data, Budget(**budget), tuple(seeds), Reports(self, tuple(seeds), points))
        self.reply()

    def do_count(self) -> None:
        """Say how many parameters there are."""
        count: Any = self.algorithm.parameter_count()
        whole = isinstance(count, Integral) and not isinstance(count, bool)
        self.reply(count=int(count) if whole else None, type=type(count).__name__)

    def do_save(self, folder: str) -> None:
        """Write what was trained."""
        self.algorithm.save(Path(folder))
        self.reply()

    def do_load(self, folder: str) -> None:
        """Restore what was trained."""
        self.algorithm.load(Path(folder))
        self.reply()

    def do_policy(self, number: int, seed: int) -> None:
        """Make a policy, by a number of the referee's."""
        policy = self.policies[number] = self.algorithm.policy(seed)
        self.reply(observes=getattr(type(policy), "observe", None) is not MetaPolicy.observe)

    def do_release(self, number: int) -> None:
        """Forget a policy."""
        self.policies.pop(number, None)

    def do_reset(self, number: int, lanes: int) -> None:
        """See :meth:`omrl_bench.api.MetaPolicy.reset`, and so on."""
        self.policies[number].reset(lanes)

    def do_condition(self, number: int, **arrays: np.ndarray) -> None:
        """A context."""
        self.policies[number].condition(Transitions(**arrays))

    def do_observe(self, number: int, **arrays: np.ndarray) -> None:
        """What just happened."""
        self.policies[number].observe(Transitions(**arrays))

    def do_act(self, number: int, explore: bool, observations: np.ndarray) -> None:
        """Act; ``explore`` is passed on only where it is asked for, as everywhere."""
        policy = self.policies[number]
        self.give(policy.act(observations, explore=True) if explore else policy.act(observations))

    def do_end_episode(self, number: int) -> None:
        """An episode has ended."""
        self.policies[number].end_episode()

    def do_representation(self, number: int) -> None:
        """What the policy believes."""
        self.give(self.policies[number].representation())

    def do_attention(self, seed: int, **arrays: np.ndarray) -> None:
        """Weights of the transitions of contexts."""
        self.give(self.algorithm.attention_weights(seed, Transitions(**arrays)))

    def do_fork(self) -> None:
        """Serve on a socket that comes with the message in a process that begins where this one is."""
        connection = received_socket(self.channel.connection)
        if not can_fork():
            connection.close()
            self.reply(forked=False)
            return
        for pid in [pid for pid in self.forks if os.waitpid(pid, os.WNOHANG)[0]]:
            self.forks.remove(pid)
        pid = os.fork()
        if pid:
            self.forks.append(pid)
            connection.close()
            self.reply(forked=True)
            return
        self.channel.close()
        self.channel, self.forks = Channel(connection, FROM_REFEREE), []
        self.serve()
        os._exit(0)

    def give(self, value: Any) -> None:
        """Answer with what the method returned: an array of numbers, None, or the name of what else it is."""
        if isinstance(value, np.ndarray):
            native = value.astype(value.dtype.newbyteorder("="), copy=False)
            if native.dtype.str in DTYPES:
                self.reply({"value": native})
                return
            self.reply(returned=f"an array of {value.dtype.name}"[:100])
            return
        self.reply(returned=None if value is None else f"a {type(value).__name__}"[:100])

    def make_behaviour(self) -> Behaviour:
        """The behaviour policies of the family, for a method with the privilege."""
        from omrl_bench.data.behaviour import make_actor
        from omrl_bench.envs.families import get_family

        return make_actor(get_family(self.space.family))

    def relabel(self, name: str, episodes: np.ndarray, tasks: np.ndarray) -> np.ndarray:
        """Ask for rewards of episodes in other tasks."""
        self.channel.send({"call": "relabel", "name": name}, {"episodes": episodes, "tasks": tasks})
        message, arrays = self.channel.receive()
        if message["call"] == "error":
            raise InputError(message["text"])
        return arrays["rewards"]


class Reports:
    """How the method reports progress: the referee is waited for where it may want to evaluate.

    Args:
        host: Serves it then.
        seeds: Those of the job.
        points: Of the learning curve.
    """

    def __init__(self, host: Host, seeds: tuple[int, ...], points: int) -> None:
        self._host, self._seeds, self._points = host, seeds, points
        self._of: tuple[str, tuple[int, ...]] | None = None
        self._pending: dict[str, Any] | None = None  # the last report, of `calls`, that was not sent
        self._calls, self._said = 0, 0.0

    def __call__(self, stage: Stage, step: int, total: int, seeds: Sequence[int] | None = None) -> None:
        """See :class:`omrl_bench.api.Log`."""
        if stage not in STAGES:
            raise ValueError(f"log was called with stage {stage!r}; there are {', '.join(STAGES)}")
        of = stage, self._seeds if seeds is None else tuple(int(seed) for seed in seeds)
        step, total = int(step), int(total)
        changed, self._of = of != self._of, of
        if changed and self._pending:
            self._host.channel.send({"call": "progress", **self._pending, "calls": self._calls})
            self._calls = 0
        self._calls += 1
        self._pending = {"stage": stage, "step": step, "total": total, "seeds": of[1]}
        points = self._points if stage == "policy" else 0
        if changed or step >= total or step * points // total > (step - 1) * points // total:
            self._send("log")
            self._host.serve()
        elif time.monotonic() - self._said > SAY_EVERY:
            self._send("progress")

    def _send(self, call: str) -> None:
        self._host.channel.send({"call": call, **(self._pending or {}), "calls": self._calls})
        self._pending, self._calls, self._said = None, 0, time.monotonic()


def error_fields(error: BaseException) -> dict[str, str]:
    """What the referee is told of an error: its kind, its first line, and where it was raised."""
    lines = str(error).strip().splitlines()
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = lines[0] if lines else "no message"
    kind, of_people = type(error).__name__, isinstance(error, InputError)
    if isinstance(error, SystemExit):
        kind, text = "", f"the method ended its process, with {error.code!r}"
    return {"kind": kind[:200], "text": text[:LONGEST_TEXT], "where": where[:200], "input": "yes" if of_people else ""}


def received_socket(connection: socket.socket) -> socket.socket:
    """The socket that comes with one byte."""
    _, (descriptor, *_), _, _ = socket.recv_fds(connection, 1, 1)
    return socket.socket(fileno=descriptor)


def can_fork() -> bool:
    """Whether a fork of this process can go on: threads do not come along, and a GPU cannot be used in both."""
    torch = sys.modules.get("torch")
    try:
        threads = len(list(Path("/proc/self/task").iterdir()))
    except OSError:  # not Linux
        threads = threading.active_count()
    return threads == 1 and not (torch is not None and torch.cuda.is_initialized())
