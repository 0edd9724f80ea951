"""What other packages bring by entry point, without a line changed here: a protocol, a statistic, a figure."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import iterate_records

MODULE = '''
from typing import ClassVar

from omrl_bench.conditions import Condition
from omrl_bench.protocols.protocol import NEEDED, Protocol


class Warmed(Protocol):
    """A given context, then episodes in which what was seen is added to it."""

    gives_contexts: ClassVar[bool] = True
    asks: ClassVar[tuple[str, ...]] = NEEDED
    rounds: int = 2

    def conditions(self, qualities):
        return tuple(Condition(f"from-{quality}", number + 1) for quality in qualities for number in range(self.rounds))

    def sentence(self):
        return f"a method is given an episode, then acts for {self.rounds}."

    def context_sets(self, qualities):
        return tuple((quality, "episode") for quality in qualities)

    def evaluate(self, policy, rollout, conditions, context):
        played = []
        for condition in conditions:
            if condition.number == 1:
                acting = policy()
                acting.reset(rollout.lanes)
                acting.condition(context(Condition.context(condition.kind.removeprefix("from-"))))
            played.append(rollout.episode(acting, condition.number - 1))
        return played


def worst(frame):
    """The lowest score of any task, by method and condition."""
    of_task = frame.groupby(["method", "condition", "task"], observed=True)["score"].mean()
    return of_task.groupby(["method", "condition"], observed=True).min().rename("worst").reset_index()


def spread(results, layout):
    from matplotlib.figure import Figure

    from omrl_bench.report.figures import canvas
    from omrl_bench.report.figures.styles import method_style

    def draw():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        for method in layout.methods:
            scores = results.frame.loc[results.frame["method"] == method, "score"]
            axes.plot(sorted(scores), **method_style(method).artist())
        return figure

    return canvas.render(draw)


def broken(frame):
    raise RuntimeError("no such thing")
'''

POINTS = """
[omrl_bench.protocols]
warmed = omrl_extra:Warmed

[omrl_bench.statistics]
worst = omrl_extra:worst
broken = omrl_extra:broken

[omrl_bench.figures]
spread = omrl_extra:spread
"""


@pytest.fixture
def extra(tmp_path, monkeypatch):
    """An installed package that brings a protocol, statistics and a figure; workers find it, too."""
    folder = tmp_path / "site"
    info = folder / "omrl_extra-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "omrl_extra.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: omrl-extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def warmed(tiny):
    """A suite of the protocol that the package brings."""
    return tiny(('"given-context"', '"warmed"\nrounds = 3'))


def test_a_protocol_from_outside_runs_like_ours(extra, warmed, cli, tmp_path):
    shown = cli("show", "suite", warmed)
    assert "a method is given an episode, then acts for 3." in shown.words
    assert "Conditions are the episodes: from-high-1, from-high-2, from-high-3, from-low-1" in shown.words
    assert "Qualities of the contexts: high (mixed data" in shown.words
    assert cli("validate", warmed).code == 0
    done = cli("run", "--suite", warmed, "--out", tmp_path / "runs")
    assert done.code == 0, done
    conditions = tuple(f"from-{quality}-{number}" for quality in ("high", "low") for number in (1, 2, 3))
    records = list(iterate_records(tmp_path / "runs"))
    assert {record.cell.method for record in records} == {"random", "focal"}
    for record in records:
        cube = read_cube(record.cell.cube_path(tmp_path / "runs"), record.cube)
        assert cube.conditions == tuple(record.metrics) == conditions
        if record.cell.method == "focal":  # its context stays what it was given, and the start is always the same
            np.testing.assert_array_equal(cube.returns[0], cube.returns[1])
            assert not np.array_equal(cube.returns[0], cube.returns[3])
    assert "4 complete" in cli("status", "--suite", warmed, "--out", tmp_path / "runs").words


def test_its_keys_are_checked_as_ours_are(extra, tiny, cli):
    wrong = cli("validate", tiny(('"given-context"', '"warmed"\nround = 3')))
    assert wrong.code == 2
    assert "unknown key 'protocol.round'; did you mean 'rounds'" in wrong.words
    assert "did you mean 'warmed'" in cli("validate", tiny(('"given-context"', '"warmd"'))).words


def test_conditions_that_a_record_could_not_tell_from_a_context_quality_are_refused(extra, warmed, cli):
    module = extra / "omrl_extra.py"
    module.write_text(module.read_text().replace('(Condition(f"from-{quality}", number + 1)', '(Condition("recall")'))
    sys.modules.pop("omrl_extra", None)
    wrong = cli("validate", warmed)
    assert wrong.code == 2
    assert "warmed has a condition 'recall' without a number" in wrong.words


def test_without_its_package_a_suite_is_bad_input(warmed, cli):
    assert re.search("unknown protocol 'warmed'; known: .*given-context", cli("validate", warmed).words)


@pytest.mark.slow
def test_statistics_and_figures_from_outside_are_in_the_report(extra, tiny, cli, tmp_path):
    assert cli("run", "--suite", tiny(), "--out", tmp_path / "runs").code == 0
    done = cli("report", "--results", tmp_path / "runs", "--out", tmp_path / "report")
    assert done.code == 0, done
    folder = tmp_path / "report" / "tiny-quick"
    table = pd.read_csv(folder / "worst.csv")
    scores = pd.read_csv(folder / "score.csv").set_index(["method", "condition"])["score_mean"]
    assert list(table.columns) == ["method", "condition", "worst"] and len(table) == 4
    assert all(row.worst < scores[row.method, row.condition] for row in table.itertuples())
    assert (folder / "spread.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "score.md").exists() and not (folder / "broken.csv").exists()
    assert "statistics: broken (omrl_extra:broken) left out: RuntimeError: no such thing" in done.err
