"""Real runs of a tiny suite: the data, the suite, adapters good and bad, the command line."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

BRIEF = """
[presets.brief]
seeds = [0, 1]
qualities = ["high"]
updates = 4
encoder_updates = 0
evaluations = 0
time_limit = 2
job_seconds = 2
"""

HELD = '''
import json
import time
from pathlib import Path

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy

HERE = Path(__file__).parent


class Linear(MetaPolicy):
    def __init__(self, weights, limit):
        self.weights, self.limit = weights, limit

    def reset(self, lanes):
        self.goals = np.zeros((lanes, 2))

    def condition(self, context):
        self.goals = context.observations[:, -1].astype(float)

    def act(self, observations, explore=False):
        features = np.concatenate([observations, self.goals, np.ones((len(observations), 1))], axis=1)
        return np.clip(features @ self.weights, -self.limit, self.limit).astype(np.float32)


class Quick(Algorithm):
    """Behaviour cloning by stochastic gradient descent on (s, last state of the context)."""

    def fit(self, data, budget, seeds, log):
        self.weights = {seed: np.zeros((5, 2)) for seed in seeds}
        for number, (seed, weights) in enumerate(self.weights.items()):
            rng = np.random.default_rng(seed)
            weights += rng.normal(0, 0.01, (5, 2))
            for step in range(50):
                episodes = data.sample_episodes([rng], data.sample_tasks([rng], 16))[0]
                rows = data.sample_within([rng], episodes[None], 8)[0]
                goals = data.next_observations[data.episode_offsets[episodes + 1] - 1]
                goals = np.repeat(goals[:, None], 8, axis=1)
                features = np.concatenate([data.observations[rows], goals, np.ones((16, 8, 1))], axis=2).reshape(-1, 5)
                error = features @ weights - data.actions[rows].reshape(-1, 2)
                weights -= 0.1 * features.T @ error / len(features)
                self.pause(number, step)
                log("policy", number * 50 + step + 1, len(seeds) * 50)

    def pause(self, number, step):
        pass

    def policy(self, seed):
        return Linear(self.weights[seed], self.space.action_limit)

    def save(self, folder):
        weights = {seed: weights.tolist() for seed, weights in self.weights.items()}
        (folder / "weights.json").write_text(json.dumps(weights))

    def load(self, folder):
        weights = json.loads((folder / "weights.json").read_text())
        self.weights = {int(seed): np.array(values) for seed, values in weights.items()}


class Held(Quick):
    """The same, but it stops in the middle of the second seed's training while a file `hold` lies beside this one."""

    def pause(self, number, step):
        if number == 1 and step == 25 and (HERE / "hold").exists():
            (HERE / "reached").touch()
            while (HERE / "hold").exists():
                time.sleep(0.02)
'''

BAD = """
import os
import signal
import time

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy


class Policy(MetaPolicy):
    def __init__(self, action):
        self.action = action

    def reset(self, lanes):
        pass

    def condition(self, context):
        pass

    def act(self, observations, explore=False):
        return self.action(len(observations))


class Zero(Algorithm):
    def fit(self, data, budget, seeds, log):
        pass

    def policy(self, seed):
        return Policy(self.action)

    def action(self, lanes):
        return np.zeros((lanes, self.space.action_size), np.float32)

    def save(self, folder):
        pass

    def load(self, folder):
        pass


class Raises(Zero):
    def fit(self, data, budget, seeds, log):
        raise RuntimeError("the matrix is singular")


class Nan(Zero):
    def action(self, lanes):
        return super().action(lanes) * np.nan


class Shape(Zero):
    def action(self, lanes):
        return super().action(lanes)[:, :1]


class Kills(Zero):
    def fit(self, data, budget, seeds, log):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(Zero):
    def fit(self, data, budget, seeds, log):
        print("last words")
        os._exit(3)


class ExitsWell(Zero):
    def fit(self, data, budget, seeds, log):
        os._exit(0)


class Hangs(Zero):
    def fit(self, data, budget, seeds, log):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log("policy", 1, 2)
        time.sleep(90)  # long enough


class Init(Zero):
    def __init__(self, space, setup):
        super().__init__(space, setup)
        raise RuntimeError("no licence found")
"""


def once(factory, name, make):
    """Call make(folder) once per test session, whatever the number of xdist's processes: (folder, what it returned)."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, result = root / name, root / f"{name}.json"
    with FileLock(root / f"{name}.lock"):
        if not result.exists():
            folder.mkdir()
            result.write_text(json.dumps(make(folder)))
    return folder, json.loads(result.read_text())


@pytest.fixture(scope="session")
def datasets(tmp_path_factory):
    """Minari's root folder with the mixed data of point-goal, built by the real command."""

    def build(folder):
        command = [sys.executable, "-m", "omrl_bench", "data", "build", "point-goal", "--quality", "mixed"]
        environment = os.environ | {"MINARI_DATASETS_PATH": str(folder)}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)

    return once(tmp_path_factory, "omrl-point-goal-mixed", build)[0]


@pytest.fixture(scope="session")
def omrl(datasets, outcome_class):
    """Run the command line in a process of its own, where its standard output is no terminal."""

    def run(*arguments, cwd=None):
        command = [sys.executable, "-m", "omrl_bench", *map(str, arguments)]
        environment = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
        environment["MINARI_DATASETS_PATH"] = str(datasets)
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300)
        return outcome_class(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def cli(invoke, datasets, monkeypatch):
    """Run the command line in this process (its workers are real processes), without the report at the end of a run."""
    import omrl_bench.cli.run

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    monkeypatch.setattr(omrl_bench.cli.run, "_report", lambda *_: None)
    return invoke


@pytest.fixture
def tiny(write_suite, tiny_text):
    """The tiny suite's file; called with replacements, a changed copy of it."""
    return lambda *replacements, name="tiny.toml": write_suite(tiny_text + BRIEF, replacements, name)


@pytest.fixture
def held(tmp_path):
    """An adapter that can be stopped in the middle of its training."""
    return Held(tmp_path / "held")


class Held:
    """The adapter `Held`, in a folder of its own."""

    def __init__(self, folder):
        folder.mkdir()
        self.file = folder / "held.py"
        self.file.write_text(HELD)
        self._hold, self._reached = folder / "hold", folder / "reached"

    @property
    def reference(self):
        return f"{self.file}:Held"

    def hold(self):
        self._reached.unlink(missing_ok=True)
        self._hold.touch()

    def release(self):
        self._hold.unlink()

    def wait_until_reached(self, process, seconds=90):
        """Wait until a worker is in the middle of its training; the process that started it is still running."""
        deadline = time.monotonic() + seconds
        while not self._reached.exists():
            assert process.poll() is None, "the run ended early"
            assert time.monotonic() < deadline, "no worker got that far"
            time.sleep(0.05)


@pytest.fixture
def bad(tmp_path):
    """References of adapters that go wrong in the way of their name: bad("Raises")."""
    (tmp_path / "bad.py").write_text(BAD)
    return lambda name: f"{tmp_path / 'bad.py'}:{name}"


@pytest.fixture
def jobs(datasets, monkeypatch, tiny, bad, tmp_path):
    """Jobs of some bad adapters, as they are planned now."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))

    def make(*names, rerun="stale", results=tmp_path / "runs"):
        from omrl_bench.protocols.suite import load_suite
        from omrl_bench.runner.plan import inspect_cells, make_jobs, select

        selection = select(load_suite(str(tiny())), methods=[bad(name) for name in names])
        cells = inspect_cells(selection, results)
        return make_jobs(selection, cells, rerun, {("point-goal", "mixed"): "canonical"}, results, 1)

    return make


@pytest.fixture
def begin(datasets, tmp_path):
    """Start the real command in the background: begin(arguments) -> process; its output goes to tmp_path/output."""
    started = []

    def start(*arguments, code=None):
        program = ["-c", code] if code else ["-m", "omrl_bench"]
        command = [sys.executable, *program, *map(str, arguments)]
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | {"MINARI_DATASETS_PATH": str(datasets)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
            )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def undisturbed(omrl, tmp_path_factory, outcome_class, tiny_text):
    """One whole, undisturbed run of the tiny suite and an adapter: (results folder, how the command ended)."""

    def run(folder):
        (folder / "tiny.toml").write_text(tiny_text)
        held = Held(folder / "held")
        suite, results = folder / "tiny.toml", folder / "runs"
        methods = ("--method", "random", "--method", "focal", "--method", held.reference)
        return omrl("run", "--suite", suite, *methods, "--out", results, "--jobs", 2)

    folder, outcome = once(tmp_path_factory, "omrl-undisturbed", run)
    assert outcome[0] == 0, outcome
    return folder / "runs", outcome_class(*outcome)


@pytest.fixture(scope="session")
def failures(omrl, tmp_path_factory, outcome_class, tiny_text):
    """One run of a good adapter and three bad ones: (results folder, how the command ended)."""

    def run(folder):
        (folder / "tiny.toml").write_text(tiny_text)
        (folder / "bad.py").write_text(BAD)
        (folder / "good.py").write_text(HELD)
        good = ("--method", f"{folder / 'good.py'}:Quick")
        adapters = [f"--method={folder / 'bad.py'}:{name}" for name in ("Raises", "Kills", "Exits")]
        common = ("--suite", folder / "tiny.toml", "--out", folder / "runs", "--jobs", 2)
        return omrl("run", *common, *good, *adapters)

    folder, outcome = once(tmp_path_factory, "omrl-failures", run)
    return folder / "runs", outcome_class(*outcome)


@pytest.fixture
def inline(monkeypatch):
    """Let runs of the command line in this process train in this process too, which takes no time to start.

    Their records are as the first ones, which do not say where the method ran: tables take them.
    """
    from omrl_bench.referee.method import InProcess
    from omrl_bench.runner import executors

    monkeypatch.setattr(InProcess, "refereed", None)
    monkeypatch.setitem(executors.BUILT_IN, "local", executors.BUILT_IN["inline"])


@pytest.fixture
def results(undisturbed, tmp_path):
    """A copy of the undisturbed run's results, to be changed."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "results"))
