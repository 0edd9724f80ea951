"""Pictures; in a process of their own, because a failed OpenGL start may abort it."""

import json
import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from omrl_bench.envs.single import register
from omrl_bench.errors import InputError

register()

SCRIPT = """
import json
import mujoco
try:
    mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 16, 16).close()
except Exception as error:
    print(json.dumps({"no_gl": f"{type(error).__name__}: {error}"}))
    raise SystemExit
import gymnasium
import numpy as np
from omrl_bench.envs.single import register

register()
env = gymnasium.make("omrl/CheetahVel-v0", render_mode="rgb_array", disable_env_checker=True)
env.reset(seed=0)
first = env.render()
for _ in range(10):
    env.step(np.ones(6, np.float32))
moved = env.render()
env.reset(seed=0)
again = env.render()
env.close()
env.close()
silent = gymnasium.make("omrl/CheetahVel-v0")
silent.reset(seed=0)
print(json.dumps({
    "shape": list(moved.shape), "dtype": str(moved.dtype), "contrast": float(moved.std()),
    "moved": float((moved != first).mean()), "reset_differs": float((again != first).mean()),
    "without_mode": silent.render() is None,
}))
"""


@pytest.fixture(scope="module")
def pictures():
    """What the script saw, or a skip where OpenGL is missing."""
    environment = dict(os.environ)
    if "DISPLAY" not in environment:
        environment.setdefault("MUJOCO_GL", "egl")
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    if not lines and ("OpenGL" in done.stderr or "EGL" in done.stderr or done.returncode < 0):
        pytest.skip(f"no OpenGL: {done.stderr[-200:]}")
    assert lines, done.stderr[-800:]
    seen = json.loads(lines[-1])
    if "no_gl" in seen:
        pytest.skip(f"no OpenGL: {seen['no_gl']}")
    return seen


def test_render_returns_a_picture(pictures):
    assert pictures["shape"] == [240, 320, 3]
    assert pictures["dtype"] == "uint8"
    assert pictures["contrast"] > 5
    assert pictures["moved"] > 0.01


def test_no_picture_without_a_render_mode(pictures):
    assert pictures["without_mode"]


def test_the_picture_after_reset_is_of_the_new_episode(pictures):
    assert pictures["reset_differs"] == 0


def test_a_family_without_pictures_does_not_promise_them():
    """It may refuse the render mode, or leave it out of its metadata."""
    try:
        env = gymnasium.make("omrl/PointGoal-v0", render_mode="rgb_array", disable_env_checker=True)
    except InputError:
        return
    env.reset(seed=0)
    assert isinstance(env.render(), np.ndarray) or "rgb_array" not in env.unwrapped.metadata["render_modes"]
