"""A simulation that becomes unstable says so: MuJoCo would put it back to the start without a word."""

import mujoco
import numpy as np
import pytest

from omrl_bench.envs.families import FAMILIES
from omrl_bench.envs.mujoco_physics import STATE

every_robot = pytest.mark.parametrize(
    "family", [pytest.param(f, id=f.name) for f in FAMILIES.values() if f.assets and not f.variant_of]
)


@pytest.fixture(autouse=True)
def warnings_go_elsewhere(tmp_path, monkeypatch):
    """MuJoCo writes MUJOCO_LOG.TXT into the working folder."""
    monkeypatch.chdir(tmp_path)


def physics_of(family, kind, lanes):
    law = family.make_law()
    physics = law.single_physics() if kind == "single" else law.batched_physics(lanes)
    physics.assign(np.arange(lanes), family.tasks().descriptors[:lanes])
    return law, physics


def thrown(law, speed):
    """A start at an absurd speed."""
    state = law.initial_state(np.random.default_rng(0))
    state[-law.model.nv :] = speed
    return state


@pytest.mark.parametrize("kind", ["single", "batched"])
@every_robot
def test_an_unstable_simulation_gives_nan_and_stays_so(family, kind):
    law, physics = physics_of(family, kind, 1)
    states, still = thrown(law, 1e200)[None], np.zeros((1, family.action_size))
    for _ in range(3):
        following = physics.advance(states, still)
        assert np.isnan(following[0, 1:]).all()  # but for the time
        assert np.isnan(law.observation(following)).all()
        reward = law.reward(states, still, following, family.tasks().descriptors[:1])
        assert np.isnan(reward).all()
        states = following


@pytest.mark.parametrize("speed", [1e6, 1e12, 1e100])
@pytest.mark.parametrize("kind", ["single", "batched"])
@every_robot
def test_no_absurd_speed_leads_back_to_the_start(family, kind, speed):
    law, physics = physics_of(family, kind, 1)
    states = thrown(law, speed)[None]
    for _ in range(3):
        states = physics.advance(states, np.zeros((1, family.action_size)))
        assert not np.abs(states[0, 1:]).max() < 1e4


def test_mujoco_itself_would_restart():
    """What the two tests above guard against."""
    law = FAMILIES["cheetah-dir"].make_law()
    law.model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    data = mujoco.MjData(law.model)
    mujoco.mj_setState(law.model, data, thrown(law, 1e200), STATE)
    mujoco.mj_step(law.model, data)
    assert np.abs(data.qvel).max() < 10


@every_robot
def test_an_unstable_lane_leaves_the_others_alone(family):
    """Lanes take turns in one thread's data."""
    results = []
    for speed in (0.1, 1e200, np.nan):
        law, physics = physics_of(family, "batched", 3)
        calm = [law.initial_state(np.random.default_rng(seed)) for seed in (1, 2)]
        states = np.stack([calm[0], thrown(law, speed), calm[1]])
        rng = np.random.default_rng(3)
        for _ in range(4):
            states = physics.advance(states, rng.uniform(-1, 1, (3, family.action_size)))
        results.append(states)
    assert np.isnan(results[1][1, 1:]).all()
    for other in results[1:]:
        np.testing.assert_array_equal(other[[0, 2]], results[0][[0, 2]])


@every_robot
def test_a_lane_is_sound_again_after_a_reset(family):
    for kind in ("single", "batched"):
        law, physics = physics_of(family, kind, 1)
        still, start = np.zeros((1, family.action_size)), law.initial_state(np.random.default_rng(1))[None]
        expected = physics.advance(start, still)
        physics.advance(thrown(law, 1e200)[None], still)
        np.testing.assert_array_equal(physics.advance(start, still), expected)
