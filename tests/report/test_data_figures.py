"""Pictures and films of data: every family, the same bytes for the same data, small files; the card as text."""

import io
import subprocess
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from PIL import Image

from omrl_bench.cards import film as films
from omrl_bench.cards.card import Local, make_card
from omrl_bench.cards.figures import COLORS, _plane, _principal_components, data_pictures
from omrl_bench.cards.page import card_markdown, card_sections
from omrl_bench.data.build import collect
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.errors import InputError
from omrl_bench.fingerprint import hash_text
from omrl_bench.vocabulary import SPLITS

QUALITIES = ("mixed", "expert", "medium", "random", "cross")
REFERENCE = (-60.0, -4.0)


def artificial(family, quality):
    """Two episodes of every task, of different lengths; `cross` has none of training tasks."""
    rng = np.random.default_rng(len(quality))
    table = family.tasks()
    tasks = np.repeat(table.ids("validation", "test", "extrapolation") if quality == "cross" else table.ids(), 2)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, family.horizon, len(tasks)))])
    shape = (offsets[-1], family.observation_size)
    return Episodes(
        observations=rng.standard_normal(shape).astype(np.float32),
        actions=np.zeros((shape[0], family.action_size), np.float32),
        rewards=rng.standard_normal(shape[0]).astype(np.float32),
        next_observations=rng.standard_normal(shape).astype(np.float32),
        terminated=np.zeros(shape[0], bool),
        offsets=offsets,
        tasks=tasks,
        behaviours=np.zeros(len(tasks), np.int64),
        seeds=np.zeros(len(tasks), np.int64),
    )


@pytest.fixture(scope="module")
def collected():
    """Real episodes of point-goal, by quality."""
    family = get_family("point-goal")
    levels = read_manifest(family).levels()
    return {q: collect(family, q, threads=1, episodes=6, levels=levels).episodes for q in QUALITIES}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_small_pictures(name):
    family = get_family(name)
    pictures = data_pictures(family, {q: artificial(family, q) for q in QUALITIES}, REFERENCE)
    assert set(pictures) == {"tasks", "coverage"} | ({"rollouts"} if name.startswith("point-") else set())
    for content in pictures.values():
        picture = Image.open(io.BytesIO(content))
        assert picture.format == "PNG" and picture.info == {}  # no date, no program
        assert len(content) <= 60 * 1024
        assert len(picture.convert("L").getcolors()) > 10


@pytest.mark.parametrize("name", ["ant-goal", "ant-fwd-back", "point-square", "point-sparse"])
def test_tasks_of_two_numbers_are_points_in_the_plane_and_the_legend_hides_none(name):
    family, figure = get_family(name), Figure(layout="constrained")
    axes = figure.subplots()
    _plane(axes, family)
    figure.draw_without_rendering()
    table = family.tasks()
    present = [split for split in SPLITS if split in table.splits]
    for points, split in zip(axes.collections, present, strict=True):
        assert points.get_label() == split
        np.testing.assert_array_equal(points.get_offsets(), table.descriptors[table.ids(split)])
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == present
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert (axes.get_xlabel(), axes.get_ylabel()) == family.descriptor


def test_the_same_data_makes_the_same_pictures(collected):
    family = get_family("point-goal")
    pictures = data_pictures(family, collected, REFERENCE)
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "image.cmap": "jet", "savefig.dpi": 30}):
        assert data_pictures(family, collected, REFERENCE) == pictures
        assert mpl.rcParams["font.size"] == 20  # and nothing of theirs stays behind
    assert Gcf.get_all_fig_managers() == []  # no state of pyplot
    other = collected | {"random": collected["mixed"]}
    assert all(data_pictures(family, other, REFERENCE)[name] != pictures[name] for name in pictures)


def test_every_quality_has_a_colour_of_its_own():
    assert set(COLORS) == set(QUALITIES) and len(set(COLORS.values())) == len(QUALITIES)


def test_goals():
    for name in ("point-goal", "point-square", "point-sparse"):
        table = get_family(name).tasks().descriptors
        np.testing.assert_array_equal(get_family(name).task_goals(), table[:, None])
    np.testing.assert_array_equal(get_family("point-wind").task_goals()[7], [[1, 0]])
    hard = get_family("point-hard")
    np.testing.assert_array_equal(hard.task_goals()[3], [hard.tasks().descriptors[3] / 2, hard.tasks().descriptors[3]])


def test_which_families_are_points():
    assert all(family.is_point == name.startswith("point-") for name, family in FAMILIES.items())


def test_principal_components_are_the_textbooks():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    values = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 3
    values[:, 5] = 7  # a constant has no variance to divide by
    project, shares = _principal_components(values)
    standardised = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    expected = PCA(2).fit(standardised)
    np.testing.assert_allclose(np.abs(project(values)), np.abs(expected.transform(standardised)), atol=1e-9)
    np.testing.assert_allclose(shares, expected.explained_variance_ratio_)


# -- the card as text


@pytest.fixture(scope="module")
def card(collected):
    family = get_family("point-goal")
    datasets = {
        q: Local(episodes, "0123456789abcdef" * 4, {f"{q}.episode": {"test": f"draws-{q}"}}, 0, 2**20, "canonical")
        for q, episodes in collected.items()
    }
    return make_card(family, read_manifest(family), datasets, learner=None)


def test_every_row_of_the_card_fits_its_columns(card):
    titles = [section.title for section in card_sections(card)]
    assert len(set(titles)) == len(titles)
    for section in card_sections(card):
        assert section.rows and all(len(row) == len(section.columns) for row in section.rows)


def test_the_card_as_markdown(card):
    text = card_markdown(card, {"tasks": "point-goal-tasks.png"})
    assert text == card_markdown(card, {"tasks": "point-goal-tasks.png"})
    assert text.startswith("# point-goal\n") and text.endswith("\n")
    assert "](point-goal-tasks.png)" in text and "coverage" not in text
    assert "| below half of the median | none |" in " ".join(text.split())
    assert hash_text("draws-expert") in text and "0123456789abcdef " in text
    for quality in QUALITIES:
        assert f"\n| {quality} " in text


def test_weak_tasks_are_listed_by_name(card):
    weak = replace(card, weak=((7, 0.31), (59, -0.2)))
    text = card_markdown(weak, {})
    x, y = get_family("point-goal").tasks().descriptors[7]
    assert f"task 7 (train, goal\\_x {x:.3g}, goal\\_y {y:.3g}) 31%, task 59 (" in text and ") -20%" in text


def test_many_descriptor_columns_are_summed_up(card):
    walker = replace(card, family=get_family("walker-params"), learner="PPO", weak=((1, 0.3),))
    text = card_markdown(walker, {})
    assert "65 log multipliers (8 mass, 24 inertia, 9 damping, 24 friction)" in text
    assert "one PPO agent" in text and "task 1 (train) 30%" in text


# -- films


def test_the_median_episode(collected):
    episodes = collected["mixed"]
    number = films.median_episode(episodes, 7)
    assert episodes.tasks[number] == 7
    returns = episodes.returns()
    assert sorted(returns[episodes.tasks == 7])[2] == returns[number]
    train = get_family("point-goal").tasks().ids("train")
    assert films.median_episode(collected["cross"], train[0]) is None


@pytest.mark.parametrize(("name", "count"), [("point-goal", 16), ("point-square", 21), ("point-hard", 33)])
def test_a_point_film_shows_the_whole_episode(name, count):
    family = get_family(name)
    episodes = collect(family, "expert", threads=1, episodes=1).episodes
    pictures = films.film(family, episodes, 5)
    assert len(pictures) == count
    assert all(picture.shape == (240, 320, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert any((a != b).any() for a, b in pairwise(pictures))
    content = films.encode(pictures, ".gif")
    assert content == films.encode(films.film(family, episodes, 5), ".gif")
    assert Image.open(io.BytesIO(content)).n_frames >= count - 1  # equal pictures may become one
    assert len(content) < 2**20


@pytest.mark.parametrize("changed", ["rewards", "actions", "seeds"])
def test_a_film_of_another_episode_is_refused(changed):
    family = get_family("point-square")
    episodes = collect(family, "expert", threads=1, episodes=1).episodes
    array = getattr(episodes, changed).copy()
    array[3 if changed == "seeds" else slice(60, 80)] += 1 if changed == "seeds" else np.float32(1e-3)
    with pytest.raises(InputError, match="episode 3 of point-square cannot be filmed: its replay has reward"):
        films.film(family, replace(episodes, **{changed: array}), 3)


def test_endings(tmp_path, monkeypatch):
    films.check_ending(tmp_path / "film.gif")
    films.check_ending(tmp_path / "film.GIF")
    for name in ("film.avi", "film", "film.gif.txt"):
        with pytest.raises(InputError, match=r"a film is a \.gif or an \.mp4 file"):
            films.check_ending(tmp_path / name)
    monkeypatch.setattr(films, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install imageio-ffmpeg"):
        films.check_ending(tmp_path / "film.mp4")


def test_mp4():
    pytest.importorskip("imageio_ffmpeg", reason="imageio's FFmpeg plugin is not installed")
    content = films.encode([np.full((240, 320, 3), value, np.uint8) for value in (0, 100, 200)], ".mp4")
    assert content[4:8] == b"ftyp"


def test_a_machine_that_cannot_draw(monkeypatch):
    cheetah = get_family("cheetah-vel")
    monkeypatch.setenv("MUJOCO_GL", "bogus")  # fails when MuJoCo is imported
    with pytest.raises(InputError, match=r"cannot draw here \(RuntimeError.*bogus\).*MUJOCO_GL=egl.*libegl1.*osmesa"):
        films.check_renderer(cheetah)
    films.check_renderer(get_family("point-goal"))  # needs no MuJoCo


@pytest.mark.parametrize("code", [-11, 134, 1])
def test_a_library_that_takes_the_process_down(monkeypatch, code):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, "", ""))
    with pytest.raises(InputError, match=f"its process ended with code {code}"):
        films.check_renderer(get_family("ant-dir"))


def test_a_renderer_that_does_not_answer(monkeypatch):
    def hang(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(InputError, match="no answer within"):
        films.check_renderer(get_family("ant-dir"))
