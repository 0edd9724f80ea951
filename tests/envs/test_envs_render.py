"""Pictures; in a process of their own, because a failed OpenGL start may abort it."""

import json
import os
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest

from omrl_bench.envs.families import FAMILIES
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
from omrl_bench.envs.families import FAMILIES
from omrl_bench.envs.single import register

register()
env = gymnasium.make("omrl/CheetahVel-v1", render_mode="rgb_array", disable_env_checker=True)
env.reset(seed=0)
first = env.render()
for _ in range(10):
    env.step(np.ones(6, np.float32))
moved = env.render()
env.reset(seed=0)
again = env.render()
env.close()
env.close()
silent = gymnasium.make("omrl/CheetahVel-v1")
silent.reset(seed=0)
switched = {}
for family in [f for f in FAMILIES.values() if f.assets and f.varies == "dynamics"]:
    env = gymnasium.make(family.env_id, render_mode="rgb_array", disable_env_checker=True)
    seen = []
    for task in (0, 5, 0):
        env.reset(seed=0, options={"task": task})
        seen.append(env.render())
    env.close()
    same = float((seen[0] != seen[2]).mean())
    switched[family.name] = [list(seen[1].shape), min(float(picture.std()) for picture in seen), same]
print(json.dumps({
    "shape": list(moved.shape), "dtype": str(moved.dtype), "contrast": float(moved.std()),
    "moved": float((moved != first).mean()), "reset_differs": float((again != first).mean()),
    "without_mode": silent.render() is None, "switched": switched,
}))
"""


@pytest.fixture(scope="module")
def pictures():
    """What the script saw, or a skip where OpenGL is missing."""
    environment = dict(os.environ)
    if "DISPLAY" not in environment:
        environment.setdefault("MUJOCO_GL", "egl")
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120)
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


def test_every_robot_is_drawn_after_a_change_of_task(pictures):
    assert set(pictures["switched"]) == {"walker-params", "hopper-params", "cheetah-mass", "ant-mass"}
    for shape, contrast, same in pictures["switched"].values():
        assert shape == [240, 320, 3]
        assert contrast > 5
        assert same == 0


class Sketch:
    """Stands in for MuJoCo's renderer where there is no OpenGL; remembers what it was given."""

    made: list["Sketch"]

    def __init__(self, model, height, width):
        self.model, self.shape, self.open = model, (height, width, 3), True
        self.made.append(self)

    def update_scene(self, data, camera):
        assert self.open
        assert mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA, camera) >= 0
        self.positions, self.centre = data.qpos.copy(), data.subtree_com[0].copy()

    def render(self):
        return np.zeros(self.shape, np.uint8)

    def close(self):
        self.open = False


@pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES.values() if f.assets])
def test_the_picture_is_of_the_tasks_model_and_disturbs_nothing(family, monkeypatch):
    monkeypatch.setattr(mujoco, "Renderer", Sketch)
    monkeypatch.setattr(Sketch, "made", [], raising=False)
    law, table = family.make_law(), family.tasks()
    watched = gymnasium.make(family.env_id, render_mode="rgb_array", disable_env_checker=True)
    unwatched = gymnasium.make(family.env_id, disable_env_checker=True)
    for task in (0, 5, 5):
        for env in (watched, unwatched):
            env.reset(seed=3, options={"task": task})
        for action in np.random.default_rng(task).uniform(-1, 1, (3, family.action_size)):
            assert watched.render().shape == (240, 320, 3)
            seen, expected = watched.step(action), unwatched.step(action)
            np.testing.assert_array_equal(seen[0], expected[0])
            assert seen[1] == expected[1]
        watched.render()
        sketch, model = Sketch.made[-1], law.task_model(table.descriptors[task])
        np.testing.assert_array_equal(sketch.positions[law.HIDDEN :], seen[0][: model.nq - law.HIDDEN])
        for array in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
            np.testing.assert_array_equal(getattr(sketch.model, array), getattr(model, array))
        data = mujoco.MjData(model)
        data.qpos[:] = sketch.positions
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(sketch.centre, data.subtree_com[0], rtol=1e-12)  # what the camera follows
    assert len(Sketch.made) == (2 if family.varies == "dynamics" else 1)
    watched.close()
    assert not any(sketch.open for sketch in Sketch.made)


def test_a_family_without_pictures_does_not_promise_them():
    """It may refuse the render mode, or leave it out of its metadata."""
    try:
        env = gymnasium.make("omrl/PointGoal-v1", render_mode="rgb_array", disable_env_checker=True)
    except InputError:
        return
    env.reset(seed=0)
    assert isinstance(env.render(), np.ndarray) or "rgb_array" not in env.unwrapped.metadata["render_modes"]
