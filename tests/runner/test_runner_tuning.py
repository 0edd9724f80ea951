"""`omrl-bench tune`: the points, what they cost, what is picked, the median, and going on after an interruption."""

import math

import pandas as pd
import pytest

from omrl_bench.errors import InputError
from omrl_bench.runner.tuning import POINTS, STUDIES, Axis, read_tuning, tune

FILE = """
method = "focal"
search = {{ suite = "{folder}/search.toml", preset = "quick" }}
final = {{ suite = "{folder}/tiny.toml", preset = "quick" }}
families = ["point-goal"]
episodes = {episodes}
seeds = 1

[space]
beta = {{ low = 0.1, high = 10.0, log = true }}
"backbone.width" = {{ values = [8, 16] }}
"""
COST = 10 * 2 * (2 + 2)  # validation tasks, draws, conditions and points of the learning curve


@pytest.fixture
def declared(tiny, tmp_path):
    """A tuning file of the tiny suite, within so many episodes."""

    def write(episodes=POINTS * COST, **change):
        text = tiny().read_text()
        searched = text.replace('name = "tiny"', 'name = "search"').replace(
            'kind = "given-context"', 'kind = "given-context"\nsplit = "validation"'
        )
        (tmp_path / "search.toml").write_text(searched)
        path = tmp_path / "tuning.toml"
        path.write_text(FILE.format(folder=tmp_path, episodes=episodes))
        for old, new in change.items():
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        return path

    return write


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ({"low": 0.1, "high": 10.0, "log": True}, [0.1, 1.0, 9.55]),
        ({"low": 0.0, "high": 8.0}, [0.0, 4.0, 7.92]),
        ({"low": 1, "high": 9, "whole": True}, [1, 5, 9]),
        ({"values": (True, False)}, [True, False, False]),
        ({"values": ("mean", "sum", "max")}, ["mean", "sum", "max"]),
    ],
)
def test_values_of_an_axis(axis, expected):
    found = [Axis(**axis).at(share) for share in (0.0, 0.5, 0.99)]
    assert found == expected and [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize("axis", [{}, {"low": 1.0}, {"low": 2.0, "high": 1.0}, {"low": 0.0, "high": 1.0, "log": True}])
def test_an_axis_that_is_none(axis):
    with pytest.raises(ValueError, match=r"give low and high, or values|low is below high"):
        Axis(**axis)


def test_points_are_the_files_and_the_studys_alone(declared):
    tuning = read_tuning(declared())
    points = [tuning.points(study) for study in range(STUDIES)]
    assert points == [read_tuning(declared(episodes=COST)).points(study) for study in range(STUDIES)]
    assert all(len(of_study) == POINTS for of_study in points)
    betas = [point["beta"] for of_study in points for point in of_study]
    assert len(set(betas)) == len(betas) and all(0.1 <= beta <= 10 for beta in betas)
    assert {point["backbone.width"] for of_study in points for point in of_study} == {8, 16}
    for of_study in points:  # spread out: one in each quarter of the logarithmic axis
        assert {int(4 * math.log(point["beta"] / 0.1, 100)) for point in of_study} == {0, 1, 2, 3}
    assert [tuning.seeds_of(study) for study in range(STUDIES)] == [(0,), (1,), (2,)]


@pytest.mark.slow
def test_a_study_of_the_whole(cli, inline, declared, tmp_path):
    path = declared(episodes=2 * COST + 1)
    first = cli("tune", path, "--out", tmp_path / "tuned")
    assert first.code == 0, first.words
    ledger = pd.read_csv(tmp_path / "tuned" / "ledger.csv")
    assert list(ledger.groupby("study").size()) == [2] * STUDIES  # of five points, what the episodes allow
    assert (ledger["episodes"] == COST).all()
    picked = ledger[ledger["picked"]]
    assert list(picked["score"]) == list(ledger.groupby("study")["score"].max())
    scores = pd.read_csv(tmp_path / "tuned" / "studies.csv")
    of_family = scores[scores["family"] == "point-goal"]
    assert list(of_family["reference"]) == list(picked["reference"])
    means = scores[scores["family"] == "all"]
    assert list(means["episodes"]) == [2 * COST] * STUDIES
    assert list(means.loc[means["median"], "score"]) == [means["score"].median()]
    assert "the median: the row's score" in first.out

    records = sorted((tmp_path / "tuned" / "search").rglob("seed-*.json"))
    times = [record.stat().st_mtime_ns for record in records]
    written = (tmp_path / "tuned" / "ledger.csv").read_bytes()
    records[0].unlink()  # interrupted before it was written
    assert cli("tune", path, "--out", tmp_path / "tuned").code == 0
    assert [record.stat().st_mtime_ns for record in records[1:]] == times[1:]
    assert (tmp_path / "tuned" / "ledger.csv").read_bytes() == written


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"search.toml": "tiny.toml"}, "evaluates test tasks; tuning may look at those of validation only"),
        ({"tiny.toml": "search.toml"}, "evaluates the tasks that were tuned on"),
        ({'"focal"': '"focal[beta=2.0]"'}, "name the method without settings"),
        ({"beta": "betta"}, "unknown hyper-parameter of method 'focal' 'betta'"),
        ({"values = [8, 16]": "values = []"}, "give low and high, or values"),
    ],
)
def test_files_that_are_none(declared, tmp_path, change, words):
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        tune(read_tuning(declared(**change)), tmp_path / "out", lambda selection, results: ())


def test_too_few_episodes_for_a_point(declared, tmp_path):
    with pytest.raises(InputError, match=f"a point costs {COST} on a family, and {COST - 1} are declared"):
        tune(read_tuning(declared(episodes=COST - 1)), tmp_path, lambda selection, results: ())


def test_a_cell_that_fails_ends_the_study(declared, tmp_path):
    with pytest.raises(InputError, match="no memory; the same command tries it again"):
        tune(read_tuning(declared()), tmp_path, lambda selection, results: ("no memory",))
    assert not (tmp_path / "studies.csv").exists()


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"study\.toml cannot be read: No such file or directory$"):
        read_tuning(tmp_path / "study.toml")
    (tmp_path / "study.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"study\.toml cannot be read: it is not UTF-8 text$"):
        read_tuning(tmp_path / "study.toml")
