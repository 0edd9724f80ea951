"""Films of logged episodes: their seed and actions again, in the ordinary Gymnasium environment."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np

from omrl_bench.data.episodes import Episodes
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError

SIZE = (320, 240)  # width, height of a picture
#: Steps from one picture to the next, at most: a longer episode than 50 pictures is filmed so.
EVERY, FEW = 4, 50
STEPS_PER_SECOND = 20  # half-cheetah's real time
#: Replayed rewards may differ from the stored float32 by this much.
TOLERANCE = 1e-5
PROBE_SECONDS = 120
#: What a MuJoCo family needs, in a process of its own: a missing library may fail at import, at the first call, or
#: take the process down with it.
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco/>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(data)
renderer.render()
"""


def check_ending(path: Path) -> None:
    """Check that films can be written to a file of this name.

    Raises:
        InputError: if not.
    """
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise InputError(f"{path}: a film is a .gif or an .mp4 file, not {path.suffix or 'a file without ending'}")
    if path.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise InputError(
            f"{path}: an .mp4 file needs imageio's FFmpeg plugin; pip install imageio-ffmpeg, or take .gif"
        )


def check_renderer(family: Family) -> None:
    """Check that MuJoCo can draw on this machine, if the family needs it to.

    Raises:
        InputError: if it cannot, with what to set and to install.
    """
    if family.is_point:
        return
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer within {PROBE_SECONDS} s"
    else:
        if done.returncode == 0:
            return
        lines = [line.strip() for line in done.stderr.splitlines() if "Error" in line]
        reason = lines[-1] if lines else f"its process ended with code {done.returncode}"
    raise InputError(
        f"MuJoCo cannot draw here ({reason}); without a display, set MUJOCO_GL=egl (Debian, Ubuntu: libegl1) or "
        "MUJOCO_GL=osmesa (libosmesa6)"
    )


def median_episode(episodes: Episodes, task: int) -> int | None:
    """The number of the task's episode with the median return (the lower one of two); None if there is none."""
    numbers = np.flatnonzero(episodes.tasks == task)
    if not len(numbers):
        return None
    order = np.argsort(episodes.returns()[numbers], kind="stable")
    return int(numbers[order[(len(order) - 1) // 2]])


def film(family: Family, episodes: Episodes, number: int) -> list[np.ndarray]:
    """Replay an episode and return its pictures, (height, width, 3) uint8 each.

    Args:
        family: The family.
        episodes: The dataset.
        number: Number of the episode in it.

    Raises:
        InputError: if this machine's simulation does not give the stored rewards, or the episode's seed is unknown.
    """
    from omrl_bench.envs.single import register

    register()
    rows = slice(episodes.offsets[number], episodes.offsets[number + 1])
    actions, rewards, task = episodes.actions[rows], episodes.rewards[rows], int(episodes.tasks[number])
    if episodes.seeds[number] < 0:
        raise InputError(f"episode {number} of {family.name} cannot be filmed: these data do not replay from seeds")
    point = family.is_point
    env = gymnasium.make(family.env_id, task=task, render_mode=None if point else "rgb_array")
    every = EVERY if len(actions) > FEW else 1
    pictures = []
    try:
        observation, _ = env.reset(seed=int(episodes.seeds[number]))
        way = [observation]
        for step, (action, stored) in enumerate(zip(actions, rewards, strict=True)):
            if step % every == 0 and not point:
                pictures.append(_rendered(env))
            observation, value, *_ = env.step(action)
            reward = float(value)
            way.append(observation)
            if not np.isclose(reward, stored, rtol=TOLERANCE, atol=TOLERANCE):
                raise InputError(
                    f"episode {number} of {family.name} cannot be filmed: its replay has reward {reward:.6g} at "
                    f"step {step}, the dataset {stored:.6g}; data of another machine replays there, or build it here: "
                    f"omrl-bench data build {family.name} --force"
                )
        if not point:
            pictures.append(_rendered(env))
    finally:
        env.close()
    return _drawn(family, task, np.array(way)[:, :2], every) if point else pictures


def encode(pictures: list[np.ndarray], ending: str) -> bytes:
    """Write pictures as a ``.gif`` or ``.mp4`` film; see :func:`check_ending`.

    A picture stands for :data:`EVERY` steps and stays that long; a short episode, which has one for each step, plays
    that much slower.
    """
    import imageio.v3 as imageio

    frames = np.stack(pictures)
    if ending.lower() == ".mp4":
        return imageio.imwrite("<bytes>", frames, extension=".mp4", plugin="FFMPEG", fps=STEPS_PER_SECOND / EVERY)
    milliseconds = 1000 * EVERY // STEPS_PER_SECOND
    return imageio.imwrite("<bytes>", frames, extension=".gif", plugin="pillow", duration=milliseconds, loop=0)


def _rendered(env: gymnasium.Env[np.ndarray, np.ndarray]) -> np.ndarray:
    picture: np.ndarray = env.render()  # type: ignore[assignment]
    return picture.copy()


def _drawn(family: Family, task: int, way: np.ndarray, every: int) -> list[np.ndarray]:
    """Pictures of a point's way: position, trail and goals."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        places = family.task_goals()[task]
        axes.plot(*places.T, "*", color="#D55E00", markersize=12, linestyle="")
        (trail,) = axes.plot([], [], "-", color="#666666", linewidth=1)
        (position,) = axes.plot([], [], "o", color="#0072B2", markersize=7)
        everything = np.concatenate([way, places, [[0, 0]]])
        low, high = everything.min(axis=0) - 0.2, everything.max(axis=0) + 0.2
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axes.tick_params(labelsize=6)
        pictures = []
        for step in dict.fromkeys([*range(0, len(way), every), len(way) - 1]):
            trail.set_data(*way[: step + 1].T)
            position.set_data(*way[step : step + 1].T)
            axes.set_title(f"{family.name}, task {task}, step {step}", fontsize=7)
            canvas.draw()  # type: ignore[no-untyped-call]
            pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())  # type: ignore[no-untyped-call]
    return pictures
