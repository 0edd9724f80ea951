"""What the tests of the command line and of the runner share."""

import contextlib
import getpass
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

TINY = """
name = "tiny"
version = 0
title = "A suite for tests"
families = ["point-goal"]
datasets = ["mixed"]
methods = ["random", "focal"]
backbones = ["iql"]
default_preset = "quick"

[protocol]
kind = "given-context"
draws = 2

[presets.quick]
seeds = [0, 1]
qualities = ["high", "low"]
updates = 4
encoder_updates = 4
evaluations = 2
time_limit = 120
job_seconds = 100
"""


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def words(self):
        """Both outputs without line breaks (tables and paragraphs are wrapped)."""
        return " ".join(f"{self.out} {self.err}".split())


@pytest.fixture(scope="session")
def outcome_class():
    """The class of what a command returns, for those that run one in a process of its own."""
    return Outcome


@pytest.fixture
def invoke(monkeypatch):
    """Run the command line in this process."""
    from omrl_bench.cli.main import main

    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["omrl-bench", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
        return Outcome(code, out.getvalue(), err.getvalue())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def tiny_text():
    """A suite that trains in seconds, as TOML."""
    return TINY


@pytest.fixture
def write_suite(tmp_path):
    """Write a suite's text to a file, with replacements (old, new): its path."""

    def write(text, replacements, name="tiny.toml"):
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


SLURM = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/none
AuthInfo=cred_expire=10
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
NodeName=n[0-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[3]}] CPUs=1
PartitionName=main Nodes=n[0-1] Default=YES MaxTime=INFINITE State=UP
PartitionName=apart Nodes=n2 MaxTime=INFINITE State=UP
"""


class Slurm:
    """A real Slurm on this machine: nodes n0 and n1, and n2, in a partition `apart`, which does not see `hidden`."""

    def __init__(self, folder):
        self.folder, self.hidden = folder, folder / "hidden"
        for name in ("state", "hidden"):
            (folder / name).mkdir()
        self.conf = folder / "slurm.conf"
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        self.conf.write_text(SLURM.format(folder=folder, host=host, user=user, ports=four_free_ports()))
        self._daemons = [self._start("slurmctld", "-D")]
        self._daemons += [self._start("slurmd", "-D", "-N", node) for node in ("n0", "n1")]
        mount = f'mount -t tmpfs none "{self.hidden}" && exec "$@"'
        self._daemons.append(self._start("unshare", "-m", "sh", "-c", mount, "sh", "slurmd", "-D", "-N", "n2"))
        self.wait_for(lambda: self.idle() >= {"n0", "n1"})
        self.wait_for(lambda: "n2" in self.idle() or self._daemons[-1].poll() is not None)  # not allowed everywhere

    def _start(self, *command):
        with (self.folder / "daemons.log").open("a") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    @property
    def environment(self):
        return os.environ | {"SLURM_CONF": str(self.conf)}

    def __call__(self, *command):
        """Run one of Slurm's commands and return what it prints."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def idle(self):
        """Names of the nodes that can take a job."""
        return set(self("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())

    def tasks(self, states="PENDING,RUNNING,COMPLETING"):
        """What is in the queue: [id, name, state, node or reason]."""
        lines = self("squeue", "-h", "-r", "-t", states, "-o", "%i %j %T %R").splitlines()
        return [line.split(maxsplit=3) for line in lines]

    def names(self):
        """Submissions that Slurm remembers."""
        return {name for _, name, *_ in self.tasks("all")}

    def wait_for(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.tasks("all"), (self.folder / "daemons.log").read_text()[-2000:])
            time.sleep(0.2)

    def stop(self):
        self("scancel", "--user", getpass.getuser())
        with contextlib.suppress(AssertionError):
            self.wait_for(lambda: self.tasks() == [], 20)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(30)


def four_free_ports():
    """Ports, in a row, that nobody listens on."""
    for first in range(26817, 40000, 4):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + 4):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return range(first, first + 4)
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory):
    """A Slurm of our own, gone when the tests are over."""
    for command in ("slurmctld", "slurmd", "sbatch", "unshare"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed (Debian: apt-get install slurm-wlm)")
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.stop()


@pytest.fixture
def slurm(slurm_cluster, monkeypatch):
    """The same, for the commands of this process and of those that it starts; its queue is empty before and after."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_cluster.conf))
    yield slurm_cluster
    for name, *_ in slurm_cluster.tasks():
        slurm_cluster("scancel", name)
    slurm_cluster.wait_for(lambda: slurm_cluster.tasks() == [])
