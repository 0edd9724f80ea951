"""`omrl-bench data show` and `omrl-bench data render`."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from omrl_bench.cards.film import check_renderer
from omrl_bench.data.build import collect
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import write_dataset
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError

GAOL = "unknown family 'point-gaol'; did you mean 'point-goal' or 'point-goal-h10' or 'point-goal-h200'?"


def fill(root, family, qualities, episodes, reference, levels=None):
    """Write small datasets of a family to a Minari root folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "MINARI_DATASETS_PATH", str(root))
        for quality in qualities:
            collected = collect(family, quality, threads=1, episodes=episodes, levels=levels)
            write_dataset(family, quality, collected.episodes, reference)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A root folder with point-goal's datasets, of five episodes per task."""
    root = tmp_path_factory.mktemp("small") / "minari"
    family = get_family("point-goal")
    manifest = read_manifest(family)
    fill(root, family, ("mixed", "expert", "medium", "random"), 5, manifest.reference(), manifest.levels())
    return root


@pytest.fixture
def data(cli, small, monkeypatch):
    """Run `omrl-bench data` on those."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(small))
    return lambda *arguments: cli("data", *arguments)


def test_show_writes_the_card(data, small, tmp_path):
    first = data("show", "point-goal", "--out", tmp_path / "cards")
    assert first.code == 0, first
    assert (small / "omrl/point-goal/cross-v1").is_dir()  # was missing: built, and said so first
    assert first.out.startswith("building omrl/point-goal/cross-v1\n")
    files = {path.name: path.read_bytes() for path in (tmp_path / "cards").iterdir()}
    assert set(files) == {f"point-goal{end}" for end in (".md", "-tasks.png", "-coverage.png", "-rollouts.png")}
    page = files["point-goal.md"].decode()
    for word in (
        "omrl/PointGoal-v1",
        get_family("point-goal").fingerprint(),
        "cross",
        "3.3%",
        "wrong",
        "canonical",
        "MIT",
    ):
        assert word in page
    assert all(f"]({name})" in page for name in files if name.endswith("png"))
    again = data("show", "point-goal", "--out", tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert all(word in again.words for word in ("Leak check", "per episode", "below half of the median none"))


def test_show_fits_80_columns(data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = data("show", "point-goal").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_show_without_out_writes_nothing(data, tmp_path):
    assert data("show", "point-goal").code == 0
    assert list((tmp_path / "work").iterdir()) == []


def test_show_into_a_file_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = data("show", "point-goal", "--out", tmp_path / "file")
    assert outcome.code == 2 and outcome.err.startswith("error: cannot write")


def test_render_a_point(data, tmp_path):
    outcome = data("render", "point-goal", "--task", "7")
    assert outcome.code == 0, outcome
    path = tmp_path / "work" / "point-goal-task7-expert.gif"
    assert outcome.out.startswith("point-goal-task7-expert.gif: episode ") and "task 7, return -" in outcome.out
    with Image.open(path) as picture:
        assert picture.size == (320, 240) and picture.n_frames > 5 and picture.info["duration"] == 200
    assert path.stat().st_size < 2**20
    other = tmp_path / "films" / "random.gif"
    assert data("render", "point-goal", "--task", "7", "--quality", "random", "--out", other).code == 0
    assert other.read_bytes() != path.read_bytes()


def test_cross_has_no_episode_of_a_training_task(data):
    task = int(get_family("point-goal").tasks().ids("train")[0])
    outcome = data("render", "point-goal", "--task", task, "--quality", "cross")
    assert outcome.code == 2
    assert outcome.err == f"error: task {task} (train) of point-goal has no episode of quality 'cross'\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("show", "point-gaol"), GAOL),
        (("render", "point-gaol", "--task", "1"), GAOL),
        (("render", "point-goal", "--task", "140"), "task 140 does not exist; the table has tasks 0 to 139"),
        (("render", "point-goal", "--task", "-1"), "task -1 does not exist; the table has tasks 0 to 139"),
        (
            ("render", "point-goal", "--task", "1", "--quality", "expret"),
            "unknown quality 'expret'; did you mean 'expert'?",
        ),
        (
            ("render", "point-goal", "--task", "1", "--out", "film.avi"),
            "film.avi: a film is a .gif or an .mp4 file, not .avi",
        ),
    ],
)
def test_bad_input(cli, tmp_path, arguments, line):
    outcome = cli("data", *arguments)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {line}\n")
    assert not (tmp_path / "minari").exists()


def test_render_where_nothing_can_be_drawn(cli, tmp_path, monkeypatch):
    """It says so before it builds anything."""
    monkeypatch.setenv("MUJOCO_GL", "bogus")
    outcome = cli("data", "render", "cheetah-vel", "--task", "3")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert outcome.err.startswith("error: MuJoCo cannot draw here (RuntimeError") and "MUJOCO_GL=egl" in outcome.err
    assert not (tmp_path / "minari").exists() and list((tmp_path / "work").iterdir()) == []


def test_render_a_cheetah(tmp_path, monkeypatch):
    """In a process of its own: MuJoCo takes MUJOCO_GL when it is imported, once."""
    family = get_family("cheetah-vel")
    for way in (os.environ.get("MUJOCO_GL", "egl"), "egl", "osmesa"):
        monkeypatch.setenv("MUJOCO_GL", way)
        try:
            check_renderer(family)
            break
        except InputError as error:
            reason = str(error)
    else:
        pytest.skip(reason)
    fill(tmp_path / "minari", family, ["random"], 1, (-400.0, -30.0))
    done = subprocess.run(
        [sys.executable, "-m", "omrl_bench", "data", "render", "cheetah-vel", "--task", "3", "--quality", "random"],
        cwd=tmp_path,
        env=os.environ | {"MINARI_DATASETS_PATH": str(tmp_path / "minari")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "cheetah-vel-task3-random.gif") as picture:
        assert picture.size == (320, 240) and picture.n_frames == 51
        assert len(picture.convert("L").getcolors()) > 20  # something is drawn
    assert (tmp_path / "cheetah-vel-task3-random.gif").stat().st_size < 2 * 2**20
