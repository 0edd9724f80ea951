"""MuJoCo physics for one lane (``mj_step``) and for many (``mujoco.rollout``), with the same numbers.

A state is ``mjSTATE_FULLPHYSICS``: time, qpos, qvel, act. The solver's warm start is no part of it, so
both classes zero it at the start of an environment step; within the frame skip it carries over as usual.
"""

from __future__ import annotations

from importlib import resources

import mujoco
import numpy as np
from mujoco import rollout

STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


def load_model(asset: str) -> mujoco.MjModel:
    """Compile a model file of ``envs/assets``."""
    text = resources.files("omrl_bench.envs").joinpath("assets", asset).read_text(encoding="utf-8")
    return mujoco.MjModel.from_xml_string(text)


class RolloutPhysics:
    """Steps all lanes in parallel threads; one shared model, or one model per lane.

    Args:
        models: The compiled model, or a list with one per lane.
        frame_skip: Simulator steps per environment step.
        lanes: Number of lanes.
        threads: Number of threads, 1 or more.
    """

    def __init__(
        self, models: mujoco.MjModel | list[mujoco.MjModel], frame_skip: int, lanes: int, threads: int
    ) -> None:
        self._models = models if isinstance(models, list) else [models] * lanes
        self._frame_skip = frame_skip
        self._data = [mujoco.MjData(self._models[0]) for _ in range(threads)]
        self._rollout = rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._chunk = -(-lanes // threads)  # one chunk per thread: the default, ten, costs more than it balances
        size = mujoco.mj_stateSize(self._models[0], STATE)
        self._states = np.zeros((lanes, frame_skip, size))
        self._controls = np.zeros((lanes, frame_skip, self._models[0].nu))
        self._warmstart = np.zeros((lanes, self._models[0].nv))
        self._sensors = np.zeros((lanes, frame_skip, self._models[0].nsensordata))

    def advance(self, states: np.ndarray, actions: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """Next states after one environment step, (lanes, state size); ``descriptors`` play no part."""
        self._controls[:] = actions[:, None, :]
        self._rollout.rollout(
            self._models,
            self._data,
            np.ascontiguousarray(states),
            self._controls,
            skip_checks=True,
            nstep=self._frame_skip,
            initial_warmstart=self._warmstart,
            state=self._states,
            sensordata=self._sensors,
            chunk_size=self._chunk,
        )
        return self._states[:, -1].copy()


class StepPhysics:
    """Steps one lane with ``mj_step``, as an ordinary environment does; ``data`` can be rendered."""

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.model = model
        self.data = mujoco.MjData(model)
        self._frame_skip = frame_skip

    def advance(self, states: np.ndarray, actions: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """Next state of the single lane, (1, state size)."""
        mujoco.mj_setState(self.model, self.data, states[0], STATE)
        self.data.qacc_warmstart[:] = 0
        self.data.ctrl[:] = actions[0]
        mujoco.mj_step(self.model, self.data, self._frame_skip)
        following = np.empty_like(states)
        mujoco.mj_getState(self.model, self.data, following[0], STATE)
        return following

    def show(self, states: np.ndarray) -> None:
        """Put ``data`` into a state, ready to be rendered."""
        mujoco.mj_setState(self.model, self.data, states[0], STATE)
        mujoco.mj_forward(self.model, self.data)
