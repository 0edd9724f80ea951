"""A package that brings a family of its own, written as its author would, and put on Python's path."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

INIT = '''
"""A ring of goals."""

from omrl_bench.envs.families import Family


def goals(descriptors):
    return descriptors[:, None]


FAMILY = Family(
    name="NAME",
    env_id="omrl/ID-v0",
    law="PACKAGE.law:Ring",
    horizon=12,
    observation_size=2,
    action_size=2,
    action_limit=0.1,
    descriptor=("goal_x", "goal_y"),
    controller="PACKAGE.behaviour:Walker",
    goals=goals,
)
'''

LAW = '''
"""The MDPs: closeness to the goal instead of the distance."""

import numpy as np

from omrl_bench.envs.point import PointRobot

from .rewards import closeness


class Ring(PointRobot):
    def reward(self, states, actions, next_states, descriptors):
        return closeness(next_states, descriptors)
'''

REWARDS = '''
"""What the law imports is part of the fingerprint."""

import numpy as np


def closeness(positions, goals):
    return np.exp(-4 * np.linalg.norm(positions - goals, axis=-1))
'''

BEHAVIOUR = '''
"""Who acts."""

from omrl_bench.data.behaviour import PointActor


class Walker(PointActor):
    """Walks to a guess of the goal."""
'''

SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 3 + ["extrapolation"] * 2
ANGLES = np.linspace(0, 2 * np.pi, len(SPLITS), endpoint=False)
TABLE = "task,split,goal_x,goal_y\n" + "".join(
    f"{task},{split},{0.5 * np.cos(angle):.6f},{0.5 * np.sin(angle):.6f}\n"
    for task, (split, angle) in enumerate(zip(SPLITS, ANGLES, strict=True))
)
FILES = {"__init__.py": INIT, "law.py": LAW, "rewards.py": REWARDS, "behaviour.py": BEHAVIOUR, "table": TABLE}


def _write(site, number="", changes=(), entry=None):
    """Write a package into a folder like site-packages, with replacements (file, old, new) of its text; None is all.

    Modules that were imported from it before are not imported again: every package of a test has a number of its own.
    """
    names = SimpleNamespace(
        package=f"omrl_bench_ring{number}", family=f"ring-goal{number}", env_id=f"omrl/RingGoal{number}-v0"
    )
    folder = site / names.package
    (folder / "tasks").mkdir(parents=True)
    (folder / "manifests").mkdir()
    for name, text in FILES.items():
        for file, old, new in changes:
            if file == name:
                assert old is None or old in text
                text = new if old is None else text.replace(old, new)
        text = text.replace("PACKAGE", names.package).replace("NAME", names.family).replace("ID-v0", names.env_id[5:])
        path = folder / name if name != "table" else folder / "tasks" / f"{names.family}-v0.csv"
        path.write_text(text)
    info = site / f"{names.package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {names.package.replace('_', '-')}\nVersion: 1.0\n")
    entry = entry or f"{names.family} = {names.package}:FAMILY"
    (info / "entry_points.txt").write_text(f"[omrl_bench.families]\n{entry}\n")
    return names


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write and install packages: the names of each. Processes that are started see them too."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    before = set(sys.modules)
    yield lambda *arguments, **keywords: _write(site, *arguments, **keywords)
    for module in [name for name in sys.modules if name.startswith("omrl_bench_ring") and name not in before]:
        del sys.modules[module]


@pytest.fixture(scope="session")
def frozen(tmp_path_factory):
    """The package with its manifest, made by its author's command, and the data that this left: site, data root."""
    from omrl_bench.cli.main import main

    site, root = tmp_path_factory.mktemp("frozen") / "site", tmp_path_factory.mktemp("frozen") / "datasets"
    _write(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setitem(os.environ, "MINARI_DATASETS_PATH", str(root))
        freeze = ["data", "freeze", "ring-goal", "--out", str(site / "omrl_bench_ring" / "manifests")]
        patch.setattr(sys, "argv", ["omrl-bench", *freeze])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    return SimpleNamespace(site=site, root=root)


@pytest.fixture
def ring(frozen, monkeypatch):
    """The frozen package on Python's path, in processes that are started too, with its data: the family."""
    from omrl_bench.envs.families import get_family
    from omrl_bench.envs.single import register

    monkeypatch.syspath_prepend(str(frozen.site))
    monkeypatch.setenv("PYTHONPATH", str(frozen.site))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(frozen.root))
    register()
    return get_family("ring-goal")
