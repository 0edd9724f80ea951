"""Jobs on a Ray cluster that is there: a task per job, on any node, without a shared folder.

A job takes along what it needs and its records come back as bytes (:mod:`omrl_bench.runner.parcel`). A node's part is
:mod:`omrl_bench.runner.executors.child`: it starts the worker in a process of its own and watches it, as a task that
waits for a process cannot be cancelled. Jobs whose node or worker is lost, or that ran out of memory, are begun again
from here: Ray itself would retry the latter for ever.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from omrl_bench.errors import InputError
from omrl_bench.files import write_atomically
from omrl_bench.fingerprint import package_hash
from omrl_bench.processes import ONE_THREAD
from omrl_bench.runner.executors import Ended, Watcher, child
from omrl_bench.runner.job import Job, Progress, job_path
from omrl_bench.runner.parcel import bring_back, pack

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ModuleNotFoundError as error:
    raise InputError("Ray is not installed; pip install 'omrl-bench[ray]'") from error

POLL = 0.5  # seconds between looks at what the nodes say
RETRIES = 2  # of a job that was lost
PATIENCE = 5.0  # seconds for the cluster's address to answer


class Ray:
    """The nodes of a Ray cluster; this process must be on one of them.

    Args:
        jobs: Jobs at a time; by default, as many as the cluster has processors (and GPUs) for. More of them wait in the
            cluster, which may grow for them.
        address: The cluster's, ``auto`` or ``host:port``; None for ``$RAY_ADDRESS``, and else ``auto``.
        gpus_per_job: GPUs of each job: a part of one, or a whole number.

    Raises:
        InputError: if there is no cluster at that address, or it could never run such a job.
    """

    threads = 1

    def __init__(self, jobs: int | None = None, address: str | None = None, gpus_per_job: float | None = None) -> None:
        self._gpus = gpus_per_job or 0
        if self._gpus > 1 and self._gpus % 1:
            raise InputError(f"--gpus-per-job {self._gpus:g}: a part of one GPU, or a whole number of them")
        self._address = address or os.environ.get("RAY_ADDRESS") or "auto"
        _connect(self._address)
        self.slots = jobs or self._room()
        self._room()

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Ended]:
        """See :meth:`omrl_bench.runner.executors.Executor.run`."""
        crew = _Crew(self._gpus, watcher)
        waiting = iter(jobs)
        try:
            while True:
                while len(crew.running) < self.slots and (job := next(waiting, None)):
                    crew.start(_Running(job, *pack(job)))
                if not crew.running:
                    return
                if crew.is_idle():
                    self._room()  # the nodes may all be gone
                yield from crew.ended()
        finally:
            crew.dismiss()

    def _room(self) -> int:
        """Jobs that the cluster has processors and GPUs for.

        Raises:
            InputError: if it has none for any.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(_fitting(node, self._gpus) for node in nodes)
        if not room:
            kinds = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            found = ", ".join(f"{count} with {kind}" for kind, count in sorted(kinds.items()))
            wanted = "1 CPU" + (f" and {self._gpus:g} GPUs" if self._gpus else "")
            raise InputError(
                f"no node of the Ray cluster {self._address} can run a job of {wanted}; of its nodes, {found}"
            )
        return room


def _fitting(resources: dict[str, float], gpus: float) -> int:
    """Jobs that fit on a node."""
    by_processor = int(resources.get("CPU", 0))
    if not gpus:
        return by_processor
    on_gpus = resources.get("GPU", 0)
    by_gpu = int(on_gpus // gpus) if gpus >= 1 else int(on_gpus) * int(1 // gpus)
    return min(by_processor, by_gpu)


def _connect(address: str) -> None:
    """Connect to a cluster, unless this process is connected already.

    Raises:
        InputError: if there is none at that address.
    """
    if ray.is_initialized():
        return
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise InputError(
            f"--address {address}: Ray's client is not supported; run this command on a node of the cluster"
        )
    if port.isdecimal():
        try:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), PATIENCE).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise InputError(f"--address {address}: nothing answers there: {error}") from error
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"--address {address}: there is no Ray cluster that this machine is part of: {reason}"
        ) from error
    finally:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)


@dataclass
class _Running:
    """A job that is on its way.

    Attributes:
        job: The job.
        files: What it takes along.
        file: Which of them is the job's.
        started: When it was first handed to the cluster.
        attempts: How often it was.
        node: Name of the node that has taken it up.
        told: Whether the watcher knows.
    """

    job: Job
    files: child.Files
    file: str
    started: float = field(default_factory=time.monotonic)
    attempts: int = 0
    node: str = ""
    told: bool = False


class _Crew:
    """The tasks of a run, and the mailbox that their nodes write to.

    Attributes:
        running: Jobs, by the reference of what their task will return.
    """

    def __init__(self, gpus: float, watcher: Watcher) -> None:
        self.running: dict[Any, _Running] = {}
        self._gpus, self._watcher = gpus, watcher
        ray.cloudpickle.register_pickle_by_value(child)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        mailbox = ray.remote(child.Mailbox).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
        self._mailbox = mailbox.remote()
        self._task = ray.remote(child.run_there).options(num_cpus=1, num_gpus=gpus, max_retries=0)

    def start(self, each: _Running) -> None:
        """Hand a job to the cluster."""
        job = each.job
        if job.device != "cpu" and not self._gpus:
            raise InputError(f"--device {job.device} on Ray: say how many GPUs, e.g. --gpus-per-job 1 or 0.25")
        each.attempts, each.node = each.attempts + 1, ""
        arguments = (each.files, each.file, package_hash(), job.preset.time_limit, ONE_THREAD)
        self.running[self._task.remote(self._mailbox, job.token, *arguments)] = each

    def is_idle(self) -> bool:
        """Whether no node has taken up any of the jobs."""
        return not any(each.node for each in self.running.values())

    def ended(self) -> Iterator[Ended]:
        """Wait a moment, tell what the nodes say, and yield the jobs that have ended."""
        done, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=POLL)
        self._read()
        for reference in done:
            each = self.running.pop(reference)
            how = self._how(each, reference)
            if how is None:
                self.start(each)
                continue
            self._tell_start(each)
            yield Ended(each.job, time.monotonic() - each.started, how)

    def _how(self, each: _Running, reference: Any) -> str | None:
        """Write what a job has brought back, and return how it ended; None if it is to be begun again."""
        try:
            came = ray.get(reference)
        except RayTaskError as error:  # such as a full disk there
            return f"its node failed: {type(error.cause).__name__}: {error.cause}"[:600]
        except RayError as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            lost = f"its node or its worker was lost {each.attempts} times; the last time: {reason}"[:600]
            return None if each.attempts <= RETRIES else lost
        code, node, log = came["code"], came["node"], job_path(each.job).with_suffix(".log")
        if code == child.REFUSED:
            log_text: str = came["log"].decode(errors="replace")
            raise InputError(f"node {node}: {''.join(log_text.splitlines()[-1:])}")
        if code == -signal.SIGKILL and not came["over"] and each.attempts <= RETRIES:  # as where memory ran out
            return None
        bring_back(each.job, came["files"])
        write_atomically(log, came["log"], durable=False)
        return f"{child.how(code, came['over'], each.job.preset.time_limit)} on {node}; its output is in {log}"

    def _read(self) -> None:
        """Tell what the nodes say, and keep the seeds that are finished."""
        try:
            news = ray.get(self._mailbox.take.remote(), timeout=child.GRACE)
        except RayError:  # it is being started again; what jobs bring back in the end is all of it
            return
        for each in self.running.values():
            said = news.get(each.job.token)
            if said is None:
                continue
            if "node" in said:
                each.node = said.pop("node").decode()
                self._tell_start(each)
            if "progress" in said:
                progress = Progress.model_validate_json(said.pop("progress"))
                self._watcher.progressed(each.job, f"{progress.stage} on {each.node}", progress.fraction)
            bring_back(each.job, said)

    def _tell_start(self, each: _Running) -> None:
        if not each.told:
            each.told = True
            self._watcher.started(each.job)

    def dismiss(self) -> None:
        """End all that still runs; what is finished is kept."""
        with suppress(RayError):
            if self.running:
                self._read()
            left = list(self.running)
            for force in (False, True):
                for reference in left:
                    ray.cancel(reference, force=force)
                if left:
                    _, left = ray.wait(left, num_returns=len(left), timeout=2 * child.GRACE)
            ray.kill(self._mailbox)
