"""The report end to end, on synthetic records."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import pandas as pd
import pytest

from omrl_bench.errors import InputError
from omrl_bench.report.build import _file_name, build
from omrl_bench.report.figures import canvas
from omrl_bench.report.reading.frames import load
from omrl_bench.report.site.leaderboard import leaderboard
from omrl_bench.stats.panels import ALL
from omrl_bench.stats.summary import SUMMARY_COLUMNS, summarise

NAMES = {f"{stem}.{ending}" for stem in ("score", "return", "drop") for ending in ("md", "tex")}
NAMES |= {f"score.{ending}" for ending in ("csv", "svg", "pdf", "png")} | {"methods.md"}
NAMES |= {"discrimination.md", "discrimination.csv"}
NAMES |= {f"profiles.{ending}" for ending in ("csv", "svg", "pdf", "png")}
COMPARED = {f"{stem}.{ending}" for stem in ("ranks", "improvement") for ending in ("csv", "svg", "pdf", "png")}
ROBUST = {"robust.md", "robust.tex"}  # where methods collect their contexts


def pictures(stem):
    return {f"{stem}.{ending}" for ending in ("svg", "pdf", "png")}


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are drawn, but not saved, which takes most of the time."""

    def draw_only(draw):
        with mpl.rc_context():
            draw()
        return dict.fromkeys(canvas.FORMATS, b"")

    monkeypatch.setattr(canvas, "render", draw_only)


def contents(paths, base):
    return {path.relative_to(base).as_posix(): path.read_bytes() for path in paths}


def test_files_and_their_contents(store, tmp_path):
    store.fill()
    store.put("point-goal", "focal", 2, error="ValueError: loss is NaN")
    out = tmp_path / "out"
    paths = build(store.path, out)
    assert {path.parent for path in paths} == {out / "shift-quick"}
    assert {path.name for path in paths} == NAMES | COMPARED == {path.name for path in (out / "shift-quick").iterdir()}

    table = pd.read_csv(out / "shift-quick" / "score.csv")
    assert tuple(table.columns) == (*SUMMARY_COLUMNS, "z", "z_low", "z_high", "collapsed", "privileges")
    assert set(table.query("method == 'oracle'")["privileges"]) == {"descriptors"}
    assert list(dict.fromkeys(table["family"])) == ["cheetah-vel", "point-goal", ALL]
    order = ["family", "condition", "method"]
    expected = summarise(load(store.path)[0]).sort_values(order, ignore_index=True)
    found = table[list(SUMMARY_COLUMNS)].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)

    for name in ("score.md", "score.tex", "return.md", "drop.tex"):
        assert "point-goal / focal: seed 2 failed: ValueError: loss is NaN" in (out / "shift-quick" / name).read_text()
    drawing = ElementTree.fromstring((out / "shift-quick" / "score.svg").read_text())
    assert drawing.tag.endswith("svg")
    assert (out / "shift-quick" / "score.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "shift-quick" / "score.png").read_bytes().startswith(b"\x89PNG")


def test_methods_beside_their_costs(store, tmp_path, unsaved):
    """Medians over seeds, one number per family, a dash where nothing was measured."""
    for seed, policy in enumerate((3.0, 1.0, 2.0)):
        times = {"representation": 10 * policy, "policy": policy}
        costs = {"parameters": 1234, "update_milliseconds": times, "peak_memory_mib": 512.4}
        store.put("point-goal", "focal", seed, costs=costs)
        store.put("cheetah-vel", "focal", seed, costs=costs | {"parameters": 2345})
        store.put(
            "point-goal", "oracle", seed, privileges=("descriptors",), costs={"update_milliseconds": {"policy": 7}}
        )
    build(store.path, tmp_path)
    lines = (tmp_path / "shift-quick" / "methods.md").read_text().splitlines()
    rows = {
        cells[1]: cells[2:-1] for cells in ([c.strip() for c in line.split("|")] for line in lines) if len(cells) > 3
    }
    names = ["cheetah-vel high", "cheetah-vel low", "point-goal high", "point-goal low"]
    assert rows["method"][:4] == names
    assert rows["focal"][4:] == ["2,345 / 1,234", "20.0 / 20.0", "2.0 / 2.0", "512 / 512"]
    assert rows["oracle \N{DAGGER}"][:2] == ["\N{EN DASH}"] * 2
    assert rows["oracle \N{DAGGER}"][4:] == ["\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH} / 7.0", "\N{EN DASH}"]
    scores = (tmp_path / "shift-quick" / "score.md").read_text()
    assert all(cell in scores for cell in rows["focal"][:4])


def test_methods_with_a_single_condition_have_it_once(store, tmp_path, unsaved):
    store.put("point-goal", "focal", 0, (80,))
    build(store.path, tmp_path)
    text = (tmp_path / "shift-quick" / "methods.md").read_text()
    assert text.count("point-goal high") == 1


def test_two_builds_make_the_same_bytes(store, tmp_path):
    store.fill(families=("point-goal",), seeds=2)
    with mpl.rc_context({"font.size": 30, "savefig.dpi": 20, "svg.hashsalt": "other"}):
        first = contents(build(store.path, tmp_path / "a"), tmp_path / "a")
        assert mpl.rcParams["font.size"] == 30  # settings are put back
    code = "import sys; from pathlib import Path; from omrl_bench.report.build import build; "
    code += "build(Path(sys.argv[1]), Path(sys.argv[2]))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland"}
    command = [sys.executable, "-c", code, str(store.path), str(tmp_path / "c")]
    subprocess.run(command, check=True, env=environment, timeout=120)
    assert contents(sorted((tmp_path / "c").rglob("*.*")), tmp_path / "c") == first


def test_hostile_names_reach_files_escaped(store, tmp_path):
    store.fill(seeds=2)
    for seed in range(2):
        for family in ("point-goal", "cheetah-vel"):
            store.put(family, "a|b_c%$x^2$", seed)
    folder = build(store.path, tmp_path / "out")[0].parent
    assert r"| a\|b\_c%\$x^2\$ " in (folder / "score.md").read_text()
    assert r"a\textbar{}b\_c\%\$x\textasciicircum{}2\$ &" in (folder / "score.tex").read_text()
    assert "a|b_c%$x^2$" in set(pd.read_csv(folder / "score.csv")["method"])
    ElementTree.fromstring((folder / "score.svg").read_text())


def test_suites_presets_datasets_and_backbones(store, tmp_path, unsaved):
    for dataset in ("mixed", "expert"):
        store.fill(families=("ant-dir",), seeds=1, dataset=dataset)
    store.fill(families=("ant-dir",), seeds=1, suite="my:ood suite", preset="standard")
    paths = build(store.path, tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in paths}
    # three sets, of which two have a figure of their datasets
    assert len(names) == len(paths) == 3 * len(NAMES | COMPARED) + 3
    assert {"shift-quick/datasets-iql.svg", "shift-quick/ranks-expert-iql.csv"} <= names
    assert {"shift-quick/score-mixed-iql.md", "shift-quick/score-expert-iql.md"} <= names
    assert "my_ood_suite-standard/score.md" in names  # names from records become plain file names
    assert all(path.is_file() for path in paths)
    assert len(build(store.path, tmp_path / "one", suite="shift", preset="quick")) == 2 * len(NAMES | COMPARED) + 3


def test_names_stay_in_the_folder():
    assert "/" not in _file_name("../../x/y\\z")
    assert _file_name("limited-v1.2+x") == "limited-v1.2+x"


def test_order_of_families_and_methods(store, tmp_path, unsaved):
    store.fill(seeds=1)
    table = pd.read_csv(build(store.path, tmp_path)[0].parent / "score.csv")
    assert list(dict.fromkeys(table["family"])) == ["cheetah-vel", "point-goal", ALL]
    assert list(dict.fromkeys(table["method"])) == ["task-blind", "oracle", "focal"]


def test_without_both_conditions_there_is_no_drop_table(store, tmp_path, unsaved):
    store.put("ant-dir", "focal", 0, levels=(80,))
    assert {path.name for path in build(store.path, tmp_path)} == NAMES - {
        "drop.md",
        "drop.tex",
    }  # and one method has no rank


def test_scores_far_outside_and_missing_cells_can_be_drawn(store, tmp_path, unsaved):
    store.fill(seeds=1)
    store.put("point-goal", "focal", 0, levels=(-900, 900))
    store.put("point-goal", "long" * 50, 0)
    store.put("point-goal", "corro", 0)
    assert len(build(store.path, tmp_path)) == len(NAMES | COMPARED)


def test_many_families_and_conditions(store, tmp_path, unsaved):
    for number in range(7):
        store.put(f"a-family-with-a-long-name-{number}", "focal", 0, tasks=1, draws=1)
    assert len(build(store.path, tmp_path)) == len(NAMES)


def test_nothing_to_report(store, tmp_path):
    with pytest.raises(InputError, match="no complete records; run a suite first"):
        build(store.path, tmp_path / "out")
    store.put("ant-dir", "focal", 0, error="boom")
    with pytest.raises(InputError, match="no complete records of suite 'shift' of preset 'quick'"):
        build(store.path, tmp_path / "out", "shift", "quick")
    assert not (tmp_path / "out").exists()


def test_records_that_do_not_fit_together(store, tmp_path):
    store.fill(families=("ant-dir",), seeds=2)
    store.put("all", "focal", 1)
    with pytest.raises(InputError, match="cannot report suite 'shift', preset 'quick': a family must not be called"):
        build(store.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    store.put("ant-dir", "focal", 0, preset="standard")  # another set
    with pytest.raises(InputError, match=r"preset 'quick': a family .*; the rest is written"):
        build(store.path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"shift-standard"}
    assert "focal" in (tmp_path / "out" / "shift-standard" / "score.md").read_text()


def test_learning_curves_are_drawn_where_records_have_them(store, tmp_path, unsaved):
    store.put("point-goal", "focal", 0, costs={"curve": ({"step": 10, "score": 5.0}, {"step": 20, "score": 50.0})})
    names = {path.name for path in build(store.path, tmp_path)}
    assert names == NAMES | pictures("learning")


def test_episodes_are_drawn_where_methods_collect_their_contexts(store, tmp_path, monkeypatch, unsaved):
    monkeypatch.setattr(sys.modules[type(store).__module__], "QUALITIES", ("episode-1", "episode-2"))
    store.fill(families=("point-goal",), seeds=2, suite="zero-shot")
    folder = build(store.path, tmp_path)[0].parent
    names = {path.name for path in folder.iterdir()}
    assert names == (NAMES | COMPARED | ROBUST | pictures("episodes")) - {"drop.md", "drop.tex"}
    assert set(pd.read_csv(folder / "ranks.csv")["condition"]) == {"episode-1", "episode-2"}


def test_a_suite_that_explores_has_no_area_under_its_episodes(store, tmp_path, monkeypatch, unsaved):
    monkeypatch.setattr(sys.modules[type(store).__module__], "QUALITIES", ("explore-1", "execute"))
    store.fill(families=("point-goal",), seeds=2, suite="ood")
    names = {path.name for path in build(store.path, tmp_path)}
    assert names == (NAMES | COMPARED | ROBUST | pictures("episodes")) - {"drop.md", "drop.tex"}


def test_a_given_context_beside_episodes_is_drawn_with_them(store, tmp_path, monkeypatch, unsaved):
    """Suite `explore`: `high` is the bound of what exploration can reach."""
    monkeypatch.setattr(sys.modules[type(store).__module__], "QUALITIES", ("execute-2", "high"))
    store.fill(families=("point-hard",), seeds=2, suite="explore")
    folder = build(store.path, tmp_path)[0].parent
    assert pictures("episodes") <= {path.name for path in folder.iterdir()}


def test_the_mean_over_families_is_that_over_all_in_every_table(store, tmp_path, unsaved):
    """Although the methods that the profiles show lack the third family."""
    hidden = ("behaviour", "focalpp-batch", "focalpp-series", "hs-scl", "pearl", "random")
    for method in (*hidden, "borel", "focal", "gentle", "hs-hard", "oracle", "task-blind"):
        for family in ("cheetah-vel", "point-goal", *(("ant-dir",) if method in hidden else ())):
            store.put(family, method, 0)
    folder = build(store.path, tmp_path)[0].parent
    tables = {name: pd.read_csv(folder / f"{name}.csv").query("family == 'all'") for name in ("score", "ranks")}
    for name, table in tables.items():
        assert set(table["method"]) == set(hidden), name
    assert set(pd.read_csv(folder / "improvement.csv").query("family == 'all'")["first"]) == set(hidden)
    profiles = pd.read_csv(folder / "profiles.csv")
    assert len(profiles) and "all" not in set(profiles["family"])


def test_numbers_of_profiles_ranks_and_improvements(store, tmp_path, unsaved):
    store.fill(seeds=2)
    folder = build(store.path, tmp_path)[0].parent
    ranks = pd.read_csv(folder / "ranks.csv").query("family == 'all' and condition == 'low'")
    assert dict(zip(ranks["method"], ranks["rank"], strict=True)) == {"oracle": 1, "focal": 2, "task-blind": 3}
    improvements = pd.read_csv(folder / "improvement.csv").query("family == 'all' and condition == 'low'")
    pairs = improvements.set_index(["first", "second"])["improvement"]
    assert pairs["oracle", "focal"] == 1
    assert pairs["focal", "oracle"] == 0
    profiles = pd.read_csv(folder / "profiles.csv").query("family == 'point-goal' and condition == 'high'")
    scores = load(store.path)[0].query("family == 'point-goal' and condition == 'high' and method == 'focal'")
    by_run = scores.groupby(["seed", "task"])["score"].mean()
    of_focal = profiles[profiles["method"] == "focal"]
    assert len(of_focal) == 8
    for threshold, fraction in zip(of_focal["threshold"], of_focal["fraction"], strict=True):
        assert fraction == pytest.approx((by_run > threshold).mean())


@pytest.mark.slow
def test_large_sets_are_rendered_in_processes_with_the_same_bytes(store, tmp_path, monkeypatch):
    for dataset in ("mixed", "expert"):
        store.fill(families=("ant-dir",), seeds=1, dataset=dataset)
    store.put("all", "focal", 0, suite="uneven")

    def contents(out):
        with pytest.raises(InputError, match="cannot report suite 'uneven'"):
            build(store.path, out)
        return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*.*"))}

    alone = contents(tmp_path / "alone")
    monkeypatch.setattr("omrl_bench.report.build._WORTH_PROCESSES", 0)
    monkeypatch.setattr("omrl_bench.report.build.processors", lambda: 2)
    assert contents(tmp_path / "together") == alone
    assert len(alone) == 2 * len(NAMES | COMPARED) + 3


def test_collapsed_seeds_are_written_where_there_are_any(boards, tmp_path, unsaved):
    folder = build(boards.path, tmp_path)[0].parent
    collapsed = pd.read_csv(folder / "collapsed.csv")
    assert list(collapsed[["family", "method", "condition", "seed"]].itertuples(index=False, name=None)) == [
        ("point-goal", "m4", "high", 1)
    ]
    scores = pd.read_csv(folder / "score.csv", dtype={"collapsed": str}, keep_default_na=False)
    marked = scores[scores["collapsed"] != ""][["family", "method", "condition", "collapsed"]]
    assert sorted(marked.itertuples(index=False, name=None)) == [
        ("all", "m4", "high", "point-goal:1"),
        ("point-goal", "m4", "high", "1"),
    ]
    table = pd.read_csv(folder / "discrimination.csv").set_index(["family", "condition"])["discriminates"]
    assert table["point-goal", "low"] and not table["cheetah-vel", "high"] and not table["cheetah-vel", "low"]


def test_beside_a_given_context_as_bound_the_last_episode_is_what_counts(store, tmp_path, monkeypatch, unsaved):
    conditions = ("execute-2", "high")
    monkeypatch.setattr(sys.modules[type(store).__module__], "QUALITIES", conditions)
    store.fill(families=("point-sparse",), seeds=2, suite="explore")
    folder = build(store.path, tmp_path)[0].parent
    assert "Score in execute-2: mean, interquartile mean" in (folder / "robust.md").read_text()
    assert "Score by method and episode" in (folder / "score.md").read_text()
    header = next(line for line in (folder / "methods.md").read_text().splitlines() if line.startswith("| method"))
    assert "execute-2" in header and "high" in header
    (board,) = leaderboard(store.path).boards
    assert (board.kind, board.main_condition) == ("episode", "execute-2")


def test_ratio_of_sums_stands_beside_mean_and_interquartile_mean_of_the_last_episode(
    store, tmp_path, monkeypatch, unsaved
):
    monkeypatch.setattr(sys.modules[type(store).__module__], "QUALITIES", ("episode-1", "episode-2"))
    store.fill(families=("point-goal",), seeds=2, suite="zero-shot")
    folder = build(store.path, tmp_path)[0].parent
    text = (folder / "robust.md").read_text()
    assert "Score in episode-2: mean, interquartile mean and ratio of sums" in text
    row = pd.read_csv(folder / "score.csv").query("method == 'focal' and condition == 'episode-2'").iloc[0]
    cells = [cell.strip() for line in text.splitlines() if line.startswith("| focal") for cell in line.split("|")[2:5]]
    assert [float(cell.split()[0]) for cell in cells] == [
        pytest.approx(row[name], abs=0.051) for name in ("score_mean", "score_iqm", "score_ratio")
    ]
