"""What figures show equals the numbers they were given, and methods look the same everywhere."""

import itertools
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from omrl_bench.envs.families import get_family
from omrl_bench.registry import BASELINES, methods
from omrl_bench.report.figures import attention as attention_figures
from omrl_bench.report.figures import canvas, styles
from omrl_bench.report.figures import embeddings as embedding_figures
from omrl_bench.report.figures import intervals as figures
from omrl_bench.report.figures import lines as line_figures
from omrl_bench.report.figures import matrices as matrix_figures
from omrl_bench.report.figures import trajectories as trajectory_figures
from omrl_bench.report.reading import groups
from omrl_bench.report.tables.layout import Layout
from omrl_bench.report.tables.wide import Entry, Table
from omrl_bench.stats.panels import ALL

METHODS = sorted(name for name, target in methods().items() if target.startswith(BASELINES))
PLAIN = {*groups.CONTROLS, "supervised"}
METHOD_NAMES = ("random", "task-blind", "oracle", "focal", "hs-hard", "mine")
LAYOUT = Layout(("ant-dir", "point-goal", ALL), ("high", "low"), METHOD_NAMES, frozenset({"oracle"}))
SIZES = {"ant-dir": (5, 20, 10), "point-goal": (3, 20, 10)}


def lightness(color):
    """L* of CIELAB, 0 to 100: what is left of a colour in black and white."""
    values = np.array(to_rgb(color))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


def all_lines(axes):
    """Data of the methods' lines of a panel by method."""
    return {
        line.get_label()[1:]: line.get_xydata() for line in axes.lines if line.get_label().startswith("_") and line.axes
    }


def lines_of(axes, methods=METHOD_NAMES):
    return {name: data for name, data in all_lines(axes).items() if name in methods}


def texts(figure_or_axes):
    return [text.get_text() for text in figure_or_axes.texts]


def random_frame(columns, families=LAYOUT.families, methods=METHOD_NAMES, conditions=LAYOUT.conditions, xs=(None,)):
    """Rows of made-up numbers: estimate, low, high after family, condition, method and x."""
    rng = np.random.default_rng(0)
    rows = []
    for family, condition, method, x in itertools.product(families, conditions, methods, xs):
        low, estimate, high = np.sort(rng.uniform(5, 95, 3))
        rows.append((family, condition, method, x, estimate, low, high))
    return pd.DataFrame(rows, columns=["family", "condition", "method", *columns]).dropna(axis=1, how="all")


def drawn(draw):
    """The figure that a figure function saves."""
    kept = []

    def keep(make):
        with mpl.rc_context():
            mpl.rcdefaults()
            kept.append(make())
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "render", keep)
        draw()
    return kept[0]


class TestStyles:
    def test_every_built_in_method_has_a_style_of_its_own(self):
        assert set(METHODS) <= set(styles._STYLES)
        looks = [(style.marker, style.line) for style in styles._STYLES.values()]
        assert len(set(looks)) == len(looks)  # without any colour
        assert len({style.color for style in styles._STYLES.values()}) == len(looks)

    def test_variants_differ_in_black_and_white(self):
        for members in groups.GROUPS.values():
            shades = [lightness(styles.method_style(name).color) for name in members]
            for first, second in itertools.combinations(shades, 2):
                assert abs(first - second) >= 8
            assert all(shade < 90 for shade in shades)  # can be seen on white

    def test_methods_without_an_objective_of_their_own_are_grey_and_only_they_are(self):
        for name, style in styles._STYLES.items():
            red, green, blue = to_rgb(style.color)
            assert (red == green == blue) == (name in PLAIN)

    def test_unknown_names_have_a_stable_style_that_no_built_in_has(self):
        style = styles.method_style("mine")
        assert style == styles.method_style("mine") != styles.method_style("yours")
        assert style.marker not in {other.marker for other in styles._STYLES.values()}

    def test_style_does_not_depend_on_the_other_methods(self):
        frame = random_frame(("threshold", "fraction", "fraction_low", "fraction_high"), xs=(0.0, 50.0, 100.0))
        looks = []
        for names in (METHOD_NAMES, ("focal", "mine")):
            rows = frame[frame["method"].isin(names)]
            layout = replace(LAYOUT, methods=names)
            figure = drawn(lambda rows=rows, layout=layout: line_figures.profile_figure(rows, layout, ("high",), SIZES))
            lines = {line.get_label()[1:]: line for line in figure.axes[0].lines}
            looks.append([(lines[m].get_color(), lines[m].get_marker(), lines[m]._dash_pattern) for m in names[-1:]])
            assert lines["focal"].get_color() == styles.method_style("focal").color
        assert looks[0] == looks[1]

    def test_which_methods_are_shown(self):
        few = ("task-blind", "focal", "focalpp-batch")
        assert styles.shown(few) == few
        assert styles.shown_note(few) == ""
        many = (*METHODS, "mine")
        chosen = styles.shown(many)
        assert len(chosen) == styles.MOST_LINES
        assert {"oracle", "task-blind", "mine", "focal", "hs-hard", "corro-cvae"} <= set(chosen)
        assert not {"random", "focalpp-batch", "hs-scl"} & set(chosen)
        assert list(chosen) == [name for name in many if name in chosen]
        assert f"{len(many) - len(chosen)} others" in styles.shown_note(many)
        without = tuple(name for name in many if name not in ("focal", "focalpp-sequence"))
        assert "focalpp-batch" in styles.shown(without)  # the next of its group stands for it


class TestLines:
    def test_profiles(self):
        frame = random_frame(("threshold", "fraction", "fraction_low", "fraction_high"), xs=(0.0, 50.0, 100.0))
        figure = drawn(lambda: line_figures.profile_figure(frame, LAYOUT, ("high", "low"), SIZES))
        assert len(figure.axes) == 6
        for axes, (family, condition) in zip(
            figure.axes, itertools.product(LAYOUT.families, ("high", "low")), strict=True
        ):
            assert texts(axes)[0] == family
            assert f"{condition} context" in texts(axes)[1]
            rows = frame[(frame["family"] == family) & (frame["condition"] == condition)]
            lines = lines_of(axes)
            assert set(lines) == set(METHOD_NAMES)
            bands = [collection.get_paths()[0].vertices for collection in axes.collections]
            for band, method in zip(bands, METHOD_NAMES, strict=True):
                of_method = rows[rows["method"] == method]
                np.testing.assert_array_equal(lines[method], of_method[["threshold", "fraction"]])
                ends = {tuple(point) for point in band}
                assert set(of_method[["threshold", "fraction_low"]].itertuples(index=False, name=None)) <= ends
                assert set(of_method[["threshold", "fraction_high"]].itertuples(index=False, name=None)) <= ends
        note = " ".join(texts(figure)).replace("\n", " ")
        assert "95 % intervals" in note
        assert "sees more than the training data" in note
        assert "n = 5 \N{MULTIPLICATION SIGN} 20 \N{MULTIPLICATION SIGN} 10" in texts(figure.axes[0])[1]
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["random", "task-blind", "oracle \N{DAGGER}", "focal", "hs-hard", "mine"]

    def test_learning_curves(self):
        rows = [("ant-dir", "focal", seed, step, 10.0 * seed + step) for seed in range(3) for step in (10, 20)]
        rows += [("ant-dir", "oracle", 0, 10, 50.0)]
        curves = pd.DataFrame(rows, columns=["family", "method", "seed", "step", "score"])
        figure = drawn(lambda: line_figures.learning_figure(curves, LAYOUT))
        (axes,) = figure.axes  # families without curves have no panel
        lines = lines_of(axes)
        assert lines["focal"].tolist() == [[10, 20], [20, 30]]
        assert lines["oracle"].tolist() == [[10, 50]]
        band = axes.collections[1].get_paths()[0].vertices
        assert {(10, 10), (10, 30), (20, 20), (20, 40)} <= {tuple(point) for point in band.tolist()}
        assert texts(axes)[1] == "n = 3 seeds"

    def test_episodes_with_areas(self):
        episodes = ("episode-1", "episode-2", "episode-3")
        layout = replace(LAYOUT, conditions=episodes)
        frame = random_frame(("x", "score_mean", "score_mean_low", "score_mean_high"), conditions=episodes)
        areas = random_frame(("x", "area", "area_low", "area_high"), conditions=("",))
        figure = drawn(lambda: line_figures.episode_figure(frame, layout, SIZES, areas))
        assert not figure.legends
        for axes, family in zip(figure.axes, LAYOUT.families, strict=True):
            assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
            lines = lines_of(axes)
            bars = [each.get_segments() for each in axes.collections if isinstance(each, LineCollection)]
            labels = [text.get_text() for text in axes.get_legend().get_texts()]
            for method, segments, label in zip(METHOD_NAMES, bars, labels, strict=True):
                rows = frame[(frame["family"] == family) & (frame["method"] == method)]
                np.testing.assert_array_equal(lines[method][:, 1], rows["score_mean"])
                assert np.abs(lines[method][:, 0] - [0, 1, 2]).max() < 0.5
                np.testing.assert_array_equal(np.array(segments)[:, 0, 1], rows["score_mean_low"])
                np.testing.assert_array_equal(np.array(segments)[:, 1, 1], rows["score_mean_high"])
                area = areas[(areas["family"] == family) & (areas["method"] == method)].iloc[0]
                name = f"{method} †" if method in layout.marked else method
                assert label == f"{name}  {area['area']:.1f} [{area['area_low']:.1f}, {area['area_high']:.1f}]"

    def test_execution_is_not_joined_to_exploration(self):
        kinds = ("explore-1", "explore-2", "execute")
        frame = random_frame(("x", "score_mean", "score_mean_low", "score_mean_high"), conditions=kinds)
        figure = drawn(lambda: line_figures.episode_figure(frame, replace(LAYOUT, conditions=kinds), SIZES))
        assert np.isnan(lines_of(figure.axes[0])["focal"][2]).all()
        assert len(figure.legends) == 1

    def test_a_given_context_is_no_episode_and_says_what_it_is(self):
        conditions = ("explore-1", "explore-2", "execute-2", "execute-4", "high", "low")
        frame = random_frame(("x", "score_mean", "score_mean_low", "score_mean_high"), conditions=conditions)
        figure = drawn(lambda: line_figures.episode_figure(frame, replace(LAYOUT, conditions=conditions), SIZES))
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert labels == ["1\nexplore", "2", "2\nexecute", "4", "high\ncontext\ngiven", "low"]

    def test_numbers_of_training_tasks(self):
        frame = random_frame(("train_tasks", "score", "low", "high"), conditions=("",), xs=(4, 6, 10))
        figure = drawn(lambda: line_figures.task_number_figure(frame, LAYOUT, "Expert contexts."))
        axes = figure.axes[1]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "6", "10"]
        rows = frame[(frame["family"] == "point-goal") & (frame["method"] == "focal")]
        np.testing.assert_array_equal(lines_of(axes)["focal"][:, 1], rows["score"])
        assert np.abs(lines_of(axes)["focal"][:, 0] - [4, 6, 10]).max() < 1
        assert "Expert contexts. Bars:" in texts(figure)[0]

    def test_at_most_ten_lines(self):
        names = tuple(METHODS)
        layout = replace(LAYOUT, methods=names)
        frame = random_frame(("threshold", "fraction", "fraction_low", "fraction_high"), methods=names, xs=(0.0, 9.0))
        figure = drawn(lambda: line_figures.profile_figure(frame, layout, ("high",), SIZES))
        assert set(lines_of(figure.axes[0], names)) == set(styles.shown(names))
        assert f"{len(names) - 10} others are not" in texts(figure)[0].replace("\n", " ")

    def test_one_failure_does_not_squash_the_rest(self):
        curves = pd.DataFrame(
            [("ant-dir", "focal", 0, 1, -9000.0), ("ant-dir", "oracle", 0, 1, 90.0)],
            columns=["family", "method", "seed", "step", "score"],
        )
        figure = drawn(lambda: line_figures.learning_figure(curves, LAYOUT))
        assert figure.axes[0].get_ylim()[0] > -60


class TestRowsAndMatrices:
    def test_scores(self):
        rng = np.random.default_rng(1)
        entries = {
            (method, family, condition): Entry(*np.sort(rng.uniform(0, 100, 3))[[1, 0, 2]])
            for method, family, condition in itertools.product(METHOD_NAMES[1:], LAYOUT.families, LAYOUT.conditions)
        }
        entries["focal", "ant-dir", "low"] = Entry(-400.0, -410.0, -390.0)
        table = Table("", LAYOUT, entries, ())
        figure = drawn(lambda: figures.score_figure(table, SIZES))
        for axes, family in zip(figure.axes, LAYOUT.families, strict=True):
            segments = [each for each in axes.collections if isinstance(each, LineCollection)]
            for condition, bars in zip(LAYOUT.conditions, segments, strict=True):
                found = [(segment[0, 0], segment[1, 0]) for segment in bars.get_segments()]
                expected = [(e.low, e.high) for e in (entries[m, family, condition] for m in METHOD_NAMES[1:])]
                assert found == expected
            points = [
                line.get_xydata() for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata()) > 1
            ]
            for condition, (marks, rows) in zip(LAYOUT.conditions, ((p[:, 0], p[:, 1]) for p in points), strict=True):
                inside = [entries[m, family, condition].estimate for m in METHOD_NAMES[1:]]
                assert marks.tolist() == [value for value in inside if value > -60]
                assert set(np.round(rows)) <= set(range(1, 6))
            assert "no results" in texts(axes) or "lacks a family" in texts(axes)
        assert "-400.0" in texts(figure.axes[0])

    def test_ranks_are_sorted(self):
        ranks = {"random": 6, "task-blind": 5, "oracle": 1, "focal": 2, "hs-hard": 2, "mine": 4}
        rows = [(ALL, "high", m, r, max(r - 1, 1), min(r + 1, 6)) for m, r in ranks.items()]
        frame = pd.DataFrame(rows, columns=["family", "condition", "method", "rank", "rank_low", "rank_high"])
        frame["could_be_best"] = frame["rank"] < 3
        figure = drawn(lambda: figures.rank_figure(frame, LAYOUT, [(ALL, "high")]))
        (axes,) = figure.axes
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == ["oracle \N{DAGGER}", "focal", "hs-hard", "mine", "task-blind", "random"]
        bold = [label.get_fontweight() == "bold" for label in axes.get_yticklabels()]
        assert bold == [True, True, True, False, False, False]
        assert [line.get_xdata()[0] for line in axes.lines] == [1, 2, 2, 4, 5, 6]
        assert [line.get_color() for line in axes.lines][1] == styles.method_style("focal").color
        bars = next(each for each in axes.collections if isinstance(each, LineCollection)).get_segments()
        assert [(bar[0, 0], bar[1, 0]) for bar in bars] == [(1, 2), (1, 3), (1, 3), (3, 5), (4, 6), (5, 6)]

    def test_improvements(self):
        numbers = {("focal", "oracle"): (0.2, 0.1, 0.3), ("oracle", "focal"): (0.8, 0.7, 0.9)}
        numbers |= {("focal", "mine"): (0.55, 0.4, 0.7), ("mine", "focal"): (0.45, 0.3, 0.6)}
        rows = [(ALL, "low", *pair, *values) for pair, values in numbers.items()]
        names = ["family", "condition", "first", "second", "improvement", "improvement_low", "improvement_high"]
        frame = pd.DataFrame(rows, columns=names)
        figure = drawn(lambda: matrix_figures.improvement_figure(frame, LAYOUT, [(ALL, "low")]))
        (axes,) = figure.axes
        image = axes.images[0].get_array().filled(np.nan)
        expected = [[np.nan, 80, np.nan], [20, np.nan, 55], [np.nan, 45, np.nan]]
        np.testing.assert_allclose(image, expected)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["oracle \N{DAGGER}", "focal", "mine"]
        cells = {text.get_text(): text for text in axes.texts[:-2]}
        assert set(cells) == {"80", "20", "55", "45"}
        assert {name for name, text in cells.items() if text.get_fontweight() == "bold"} == {"80", "20"}
        assert cells["80"].get_position() == (1, 0)

    def test_training_data_and_contexts(self):
        rng = np.random.default_rng(2)
        conditions, names = ("expert", "medium", "random"), ["family", "method", "dataset", "condition", "score_mean"]
        rows = [
            ("ant-dir", method, dataset, condition, rng.uniform(0, 100))
            for method, dataset, condition in itertools.product(("focal", "hs-hard"), ("random", "expert"), conditions)
        ]
        rows.append(("ant-dir", "oracle", "expert", "medium", 90.0))  # one dataset: no panel
        frame = pd.DataFrame(rows, columns=names)
        layout = replace(LAYOUT, conditions=conditions)
        figure = drawn(lambda: matrix_figures.dataset_figure(frame, layout))
        assert [texts(axes)[-2] for axes in figure.axes] == ["focal", "hs-hard"]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["expert", "random"]
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(conditions)
        values = frame.set_index(["method", "dataset", "condition"])["score_mean"]
        for axes, method in zip(figure.axes, ("focal", "hs-hard"), strict=True):
            expected = [[values[method, row, column] for column in conditions] for row in ("expert", "random")]
            np.testing.assert_array_equal(axes.images[0].get_array(), expected)
            frames = sorted((patch.get_x() + 0.47, patch.get_y() + 0.45) for patch in axes.patches)
            np.testing.assert_allclose(frames, [(0, 0), (2, 1)], atol=1e-12)
        assert matrix_figures.dataset_figure(frame[frame["dataset"] == "expert"], layout) == {}

    def test_colours_of_matrices_are_readable_in_black_and_white(self):
        shades = [lightness(matrix_figures._COLORS(value)[:3]) for value in np.linspace(0, 1, 21)]
        assert (np.diff(shades) < 0).all()
        assert shades[0] - shades[-1] > 60


class TestScenes:
    tasks = np.repeat(np.arange(5), 8)
    conditions = ["high", "low"] * 20

    def embeddings(self):
        rng = np.random.default_rng(3)
        return 6 * rng.normal(size=(5, 4))[self.tasks] + rng.normal(size=(40, 4))

    def test_embeddings(self):
        places = embedding_figures.coordinates(self.embeddings())
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        assert (self.tasks[distances.argmin(axis=1)] == self.tasks).mean() > 0.9  # a task's contexts stay together
        with mpl.rc_context():
            figure = embedding_figures.draw_embeddings("focal", "ant-dir", places, self.tasks, self.conditions)
        left, right = figure.axes
        found = np.concatenate([each.get_offsets() for each in left.collections])
        assert {*map(tuple, found)} == {*map(tuple, places)}
        for points, condition in zip(right.collections, ("high", "low"), strict=True):
            chosen = np.array(self.conditions) == condition
            np.testing.assert_array_equal(points.get_offsets(), places[chosen])
        assert [text.get_text() for text in right.get_legend().get_texts()] == ["high", "low"]

    def test_embeddings_have_the_same_bytes(self):
        arguments = "focal", "ant-dir", self.embeddings(), self.tasks, self.conditions
        assert embedding_figures.embedding_figure(*arguments) == embedding_figures.embedding_figure(*arguments)

    def test_embeddings_that_do_not_fit(self):
        with pytest.raises(ValueError, match="3 contexts cannot be placed"):
            embedding_figures.embedding_figure("x", "", np.zeros((3, 2)), np.zeros(3), ["a"] * 3)
        with pytest.raises(ValueError, match="5 embeddings, 4 tasks"):
            embedding_figures.embedding_figure("x", "", np.zeros((5, 2)), np.zeros(4), ["a"] * 5)

    def test_attention(self):
        pairs = {name: np.random.default_rng(5).random((3, 6, 2)) for name in ("high", "low")}
        pairs["low"][1, 4:] = np.nan
        pairs["low"][..., 0][np.isfinite(pairs["low"][..., 0])] = 0.0
        figure = drawn(lambda: attention_figures.attention_figure("focalpp-batch", "point-sparse, seed 0", pairs))
        high, low = figure.axes
        np.testing.assert_array_equal(high.collections[0].get_offsets(), pairs["high"].reshape(-1, 2))
        assert len(low.collections[0].get_offsets()) == 16
        assert texts(high)[1].startswith("rank correlation")
        assert texts(low)[:2] == ["low", "one reward only"]
        with pytest.raises(ValueError, match="no attention weights"):
            attention_figures.attention_figure("x", "", {})

    def test_trajectories(self):
        family = get_family("point-goal")
        tasks = np.array([40, 41, 41])
        paths = {name: np.random.default_rng(4).normal(size=(3, 6, 2)) for name in ("high", "low")}
        figure = drawn(lambda: trajectory_figures.trajectory_figure(family, "focal", "seed 0", paths, tasks))
        for axes, (name, path) in zip(figure.axes, paths.items(), strict=True):
            assert texts(axes)[0] == name
            np.testing.assert_array_equal(axes.collections[0].get_segments(), path)
            goals = axes.collections[-1].get_offsets()
            np.testing.assert_array_equal(goals, family.tasks().descriptors[tasks])
            colors = axes.collections[0].get_colors()
            assert (colors[1] == colors[2]).all()
            assert (colors[0] != colors[1]).any()
            np.testing.assert_array_equal(axes.collections[-1].get_facecolors(), colors)
            low, high = axes.get_xlim()
            assert low < path[..., 0].min() < path[..., 0].max() < high

    def test_trajectories_that_do_not_fit(self):
        with pytest.raises(ValueError, match="cheetah-vel has no paths"):
            trajectory_figures.trajectory_figure(get_family("cheetah-vel"), "x", "", {}, np.zeros(1))
        with pytest.raises(ValueError, match=r"high: paths of shape \(2, 5, 3\)"):
            family = get_family("point-goal")
            trajectory_figures.trajectory_figure(family, "x", "", {"high": np.zeros((2, 5, 3))}, np.zeros(2, int))


class TestCanvas:
    def figure(self):
        frame = random_frame(("threshold", "fraction", "fraction_low", "fraction_high"), xs=(0.0, 50.0))
        layout = replace(LAYOUT, methods=(*METHOD_NAMES, "a<b>&$x^2$"))
        hostile = frame[frame["method"] == "focal"].assign(method="a<b>&$x^2$")
        return line_figures.profile_figure(pd.concat([frame, hostile]), layout, ("high",), SIZES)

    def test_same_bytes_whatever_the_users_settings(self):
        first = self.figure()
        assert set(first) == set(canvas.FORMATS)
        with mpl.rc_context({"font.size": 30, "savefig.dpi": 20, "svg.hashsalt": "other", "lines.linewidth": 9}):
            assert self.figure() == first
            assert mpl.rcParams["font.size"] == 30  # settings are put back
        ElementTree.fromstring(first["svg"])  # names are escaped
        assert first["pdf"].startswith(b"%PDF")
        assert first["png"].startswith(b"\x89PNG")

    def test_long_names_are_cut(self):
        assert canvas.short("a\n b") == "a b"
        assert len(canvas.short("x" * 99)) == 24

    def test_notes_are_broken_and_have_room(self):
        sheets = [
            canvas.sheet(1, height=1.0, per_row=1, left=0.5, gap=0.2, below=0.3, note=note)
            for note in ((), ("word " * 60, "", "end"))
        ]
        bare, noted = (sheet.figure.get_size_inches() for sheet in sheets)
        assert bare[0] == noted[0] == pytest.approx(3.5)
        (text,) = texts(sheets[1].figure)
        lines = text.split("\n")
        assert len(lines) > 3
        assert max(map(len, lines)) <= 3.3 / 0.041
        assert lines[-1] == "end"
        assert noted[1] - bare[1] == pytest.approx(canvas.LINE * len(lines))

    def test_panels_are_equally_large_and_inside(self):
        sheet = canvas.sheet(5, width=1.5, height=1.0, per_row=2, left=0.5, gap=0.2, below=0.5, between=0.07)
        size = sheet.figure.get_size_inches()
        boxes = np.array([axes.get_position().bounds for axes in sheet.panels]) * np.tile(size, 2)
        np.testing.assert_allclose(boxes[:, 2:], [(1.5, 1.0)] * 5)
        np.testing.assert_allclose(boxes[:2, 0], (0.5, 2.2))
        np.testing.assert_allclose(boxes[::2, 1], (3.6, 2.1, 0.6))
        assert size[1] - boxes[0, 1] - 1.0 == pytest.approx(canvas.TITLE + 0.05)
        assert [sheet.first_in_row(index) for index in range(5)] == [True, False, True, False, True]
        assert [sheet.last_in_column(index) for index in range(5)] == [False, False, False, True, True]

    def test_rows_are_equally_long_and_fill_the_figure(self):
        for count, per_row, columns, width in ((5, 4, 3, 7.2), (4, 4, 4, 7.2), (2, 3, 2, 5.2), (1, 3, 1, 3.5)):
            sheet = canvas.sheet(count, per_row=per_row, left=0.5, gap=0.2, below=0.3)
            assert sheet.columns == columns
            assert sheet.figure.get_size_inches()[0] == pytest.approx(width)
            box = sheet.panels[0].get_window_extent()
            assert box.width == pytest.approx(box.height)  # a panel without a height is square

    def test_as_many_panels_of_a_given_width_as_fit_a_page(self):
        assert canvas.sheet(9, width=1.5, left=0.5, gap=0.2, below=0.3).columns == 3  # 4 of them are 7.3 inches
        assert canvas.sheet(9, width=9.0, left=0.5, gap=0.2, below=0.3).columns == 1

    def test_a_legend_takes_as_many_rows_as_it_needs(self):
        def made(labels, word=""):
            handles = [Line2D([], [], label=label) for label in labels]
            return canvas.sheet(1, height=1.0, left=0.5, gap=0.2, below=0.3, legend=handles, word=word)

        heights = [made(labels).figure.get_size_inches()[1] for labels in ((), ("a",), ["a long name"] * 9)]
        assert heights[0] < heights[1] < heights[2]
        (legend,) = made(["a long name"] * 9).figure.legends
        assert 1 < legend._ncols < 9
        sheet = made(("high", "low"), "context quality")
        assert texts(sheet.figure) == ["context quality"]
        assert sheet.figure.legends[0]._ncols == 2


def test_every_built_in_method_is_in_one_group():
    members = [name for group in groups.GROUPS.values() for name in group]
    assert sorted(members) == METHODS
    assert set(groups.CONTROLS) == {"random", "behaviour", "task-blind", "oracle"}


def test_every_member_of_a_group_has_a_style_of_its_own():
    found = [styles.method_style(name) for members in groups.GROUPS.values() for name in members]
    assert set(styles._STYLES) == {name for members in groups.GROUPS.values() for name in members}
    assert len({(style.marker, style.line) for style in found}) == len(found)  # told apart in black and white


@pytest.mark.parametrize("group", sorted(groups.GROUPS))
def test_a_member_too_many_is_an_error(group):
    """It would have no style of its own."""
    crowded = {**groups.GROUPS, group: (*groups.GROUPS[group], *(f"another-{number}" for number in range(6)))}
    with pytest.raises(ValueError, match="zip"):
        styles._styles(crowded)
