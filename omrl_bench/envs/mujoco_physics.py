"""MuJoCo physics for one lane (``mj_step``) and for many (``mujoco.rollout``), with the same numbers.

A state is ``mjSTATE_FULLPHYSICS``: time, qpos, qvel, act. The solver's warm start is no part of it, so
both classes zero it at the start of an environment step; within the frame skip it carries over as usual.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import resources

import mujoco
import numpy as np
from mujoco import rollout

from omrl_bench.envs.families import Family
from omrl_bench.envs.law import Physics

STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS

MODELS = 1024  # of tasks kept, those of a table and more; tasks that are drawn from a law have no end

UNSTABLE = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)

ModelOf = Callable[[np.ndarray], mujoco.MjModel]


def load_model(asset: str) -> mujoco.MjModel:
    """Compile a model file of ``envs/assets``; a law of another package gives the absolute path of its own.

    An unstable simulation becomes NaN (see the two physics) instead of being put back to the start without a word.
    The solver does not look for islands: one robot is one.
    """
    text = resources.files("omrl_bench.envs").joinpath("assets", asset).read_text(encoding="utf-8")
    model = mujoco.MjModel.from_xml_string(text)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET | mujoco.mjtDisableBit.mjDSBL_ISLAND
    return model


class Robot:
    """What the laws of all MuJoCo families share: model, initial states, observations.

    A subclass sets the class attributes, and writes :meth:`change` where tasks differ in dynamics.

    Attributes:
        FRAME_SKIP: Simulator steps per environment step.
        HIDDEN: Number of leading positions that an observation leaves out (where the robot is).
        POSITION_NOISE: Initial positions are at rest plus U(-noise, noise).
        VELOCITY_NOISE: Initial velocities are noise times N(0, 1).
    """

    FRAME_SKIP: int
    HIDDEN: int
    POSITION_NOISE: float
    VELOCITY_NOISE: float

    def __init__(self, family: Family) -> None:
        self.family = family
        self.model = self.compile()
        self.dt = self.model.opt.timestep * self.FRAME_SKIP
        self._rest = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, mujoco.MjData(self.model), self._rest, STATE)
        # state = (time, qpos, qvel)
        self._qpos = slice(1, 1 + self.model.nq)
        self._qvel = slice(1 + self.model.nq, 1 + self.model.nq + self.model.nv)
        self._task_models: dict[bytes, mujoco.MjModel] = {}

    def compile(self) -> mujoco.MjModel:
        """The nominal model."""
        return load_model(self.family.assets[0])

    def change(self, model: mujoco.MjModel, descriptor: np.ndarray) -> None:
        """Write a task's dynamics into a copy of the nominal model; nothing to write by default."""

    def scale_mass(self, model: mujoco.MjModel, scale: float) -> None:
        """Scale masses and inertias, as another density would."""
        model.body_mass[:] *= scale
        model.body_inertia[:] *= scale

    def task_model(self, descriptor: np.ndarray) -> mujoco.MjModel:
        """The model of a task: the nominal one, shared, or one of its own.

        Derived constants (inverse weights, subtree masses) are computed again with ``mj_setConst``: they are those
        that a compiler would have made of these numbers.
        """
        if "dynamics" not in self.family.varies:
            return self.model
        key = descriptor.tobytes()
        if key not in self._task_models:
            if len(self._task_models) == MODELS:
                self._task_models.clear()  # lanes keep theirs
            model = copy.copy(self.model)
            self.change(model, descriptor)
            mujoco.mj_setConst(model, mujoco.MjData(model))
            self._task_models[key] = model
        return self._task_models[key]

    def batched_physics(self, lanes: int) -> Physics:
        """``mujoco.rollout`` over all lanes."""
        return RolloutPhysics(self.task_model, self.model, self.FRAME_SKIP, lanes)

    def single_physics(self) -> Physics:
        """``mj_step``."""
        return StepPhysics(self.task_model, self.model, self.FRAME_SKIP)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Rest pose with noise on positions and velocities, (state size,)."""
        state = self._rest.copy()
        state[self._qpos] += rng.uniform(-self.POSITION_NOISE, self.POSITION_NOISE, self.model.nq)
        state[self._qvel] += self.VELOCITY_NOISE * rng.standard_normal(self.model.nv)
        return state

    def observation(self, states: np.ndarray) -> np.ndarray:
        """Qpos without where the robot is, then qvel: (lanes, observation size) of states (lanes, state size)."""
        return states[:, self._qpos.start + self.HIDDEN : self._qvel.stop].copy()

    def velocity(self, states: np.ndarray, next_states: np.ndarray, axes: int = 1) -> np.ndarray:
        """Mean velocity of the root over the step along the first axes, (lanes, axes)."""
        where = slice(self._qpos.start, self._qpos.start + axes)
        velocity: np.ndarray = (next_states[:, where] - states[:, where]) / self.dt
        return velocity

    def terminated(self, next_states: np.ndarray) -> np.ndarray:
        """Never, by default."""
        return np.zeros(len(next_states), dtype=bool)


class RolloutPhysics:
    """Steps lanes one after the other, without Python between them, each lane with the model of its task.

    Args:
        task_model: The model of a task's descriptor.
        nominal: Model of the lanes that no task was assigned to yet.
        frame_skip: Simulator steps per environment step.
        lanes: Number of lanes.
    """

    def __init__(self, task_model: ModelOf, nominal: mujoco.MjModel, frame_skip: int, lanes: int) -> None:
        self._task_model = task_model
        self._models = [nominal] * lanes
        self._frame_skip = frame_skip
        self._shortest = (frame_skip - 0.5) * nominal.opt.timestep
        self._data = [mujoco.MjData(nominal)]
        self._rollout = rollout.Rollout(nthread=0)
        size = mujoco.mj_stateSize(nominal, STATE)
        self._states = np.zeros((lanes, frame_skip, size))
        self._controls = np.zeros((lanes, frame_skip, nominal.nu))
        self._warmstart = np.zeros((lanes, nominal.nv))
        self._sensors = np.zeros((lanes, frame_skip, nominal.nsensordata))

    def assign(self, lanes: np.ndarray, descriptors: np.ndarray) -> None:
        """Give lanes the models of their tasks."""
        for lane, descriptor in zip(lanes.tolist(), descriptors, strict=True):
            self._models[lane] = self._task_model(descriptor)

    def advance(self, states: np.ndarray, actions: np.ndarray, lanes: np.ndarray | None = None) -> np.ndarray:
        """Next states after one environment step, (lanes, state size)."""
        count = len(states)
        self._controls[:count] = actions[:, None, :]
        self._rollout.rollout(
            self._models if lanes is None else [self._models[lane] for lane in lanes.tolist()],
            self._data,
            np.ascontiguousarray(states),
            self._controls[:count],
            skip_checks=True,
            nstep=self._frame_skip,
            initial_warmstart=self._warmstart[:count],
            state=self._states[:count],
            sensordata=self._sensors[:count],
        )
        following = self._states[:count, -1].copy()
        # a lane that became unstable was left as it was at that moment: its clock stands still
        following[following[:, 0] - states[:, 0] < self._shortest] = np.nan
        return following


class StepPhysics:
    """Steps one lane with ``mj_step``, as an ordinary environment does; ``data`` can be rendered."""

    def __init__(self, task_model: ModelOf, nominal: mujoco.MjModel, frame_skip: int) -> None:
        self._task_model = task_model
        self.model = nominal
        self.data = mujoco.MjData(nominal)
        self._frame_skip = frame_skip

    def assign(self, lanes: np.ndarray, descriptors: np.ndarray) -> None:
        """Take the model of the lane's task."""
        self.model = self._task_model(descriptors[0])

    def advance(self, states: np.ndarray, actions: np.ndarray, lanes: np.ndarray | None = None) -> np.ndarray:
        """Next state of the single lane, (1, state size)."""
        mujoco.mj_setState(self.model, self.data, states[0], STATE)
        self.data.qacc_warmstart[:] = 0
        self.data.ctrl[:] = actions[0]
        unstable = self._instabilities()
        mujoco.mj_step(self.model, self.data, self._frame_skip)
        following = np.empty_like(states)
        mujoco.mj_getState(self.model, self.data, following[0], STATE)
        if self._instabilities() > unstable:
            following[:] = np.nan
        return following

    def _instabilities(self) -> int:
        return sum(self.data.warning[kind].number for kind in UNSTABLE)

    def show(self, states: np.ndarray) -> None:
        """Put ``data`` into a state, ready to be rendered."""
        mujoco.mj_setState(self.model, self.data, states[0], STATE)
        mujoco.mj_forward(self.model, self.data)
